package gateway

import (
	"net/http"
	"testing"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/fakeengine"
)

// An input of 100 tokens, 60 of them cached, and an answer of 3.
var longCall = fakeengine.Script{PromptTokens: &fakeengine.PromptRule{PerCall: 100}, CachedTokens: 60, Reply: "a b c"}

func terms(strategy berth.OverflowStrategy, terms berth.PTUTerms) func(*berth.Route) {
	return func(r *berth.Route) {
		ptu(strategy)(r)
		r.Terms = terms
	}
}

// conformance 115
// Cached and long input counts by the model's factors against the reservation, and answers
// say so in every dialect; the record has the tokens as they were.
func TestProvisionedTokensAreAfterFactors(t *testing.T) {
	t.Parallel()
	// 60 × 0.2 + 20 + 20 × 1.5, and 3 × 1.25 rounded up
	const input, output = 62.0, 4.0
	factors := berth.PTUTerms{CacheFactor: 200, MaxInput: 100, LongInput: []berth.LongInput{{Above: 80, Input: 1500, Output: 1250}}}
	for name, c := range map[string]struct{ path, body, input, output string }{
		"chat":   {chatPath, chat("x"), "usage.prompt_tokens_details.provisioned_tokens", "usage.completion_tokens_details.provisioned_tokens"},
		"native": {nativePath, generation("x"), "usage.prompt_tokens_details.provisioned_tokens", "usage.completion_tokens_details.provisioned_tokens"},
		"completions": {
			completionsPath, `{"model":"` + deployed + `","prompt":"x"}`,
			"usage.prompt_tokens_details.provisioned_tokens", "usage.completion_tokens_details.provisioned_tokens",
		},
		"responses": {
			"/v1/responses", `{"model":"` + deployed + `","input":"x"}`,
			"usage.input_tokens_details.provisioned_tokens", "usage.output_tokens_details.provisioned_tokens",
		},
		"messages": {messagesPath, message("x"), "usage.prompt_tokens_details.provisioned_tokens", "usage.output_tokens_details.provisioned_tokens"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			limits := &fixedLimiter{}
			h := open(t, plan{scripts: []fakeengine.Script{longCall}, limiter: limits, route: terms(berth.OverflowDisable, factors)})
			got := h.post(t, c.path, c.body)
			answer := got.json(t)
			if got.status != http.StatusOK || lookUpPath(answer, c.input) != input || lookUpPath(answer, c.output) != output || answer["service_tier"] != "ptu-standard" {
				t.Errorf("answered %d %s", got.status, got.body)
			}
			h.Close()
			if want := (Tokens{Requests: 1, Input: input, Output: output, Content: output}); len(limits.settled) != 1 || limits.settled[0] != want {
				t.Errorf("settled %+v, want %+v", limits.settled, want)
			}
			r := h.meter.wait(t, 1)[0]
			if r.InputTokens != 100 || r.CachedTokens != 60 || r.OutputTokens != 3 || r.Class != berth.ClassReserved {
				t.Errorf("recorded %+v", r)
			}
			if asked := limits.asked[0]; name == "chat" && (asked.Input < 110 || asked.Output != 320) {
				t.Errorf("reserved %+v", asked)
			}
		})
	}
}

// An input that is longer than reservations serve is overflow whatever the strategy, and
// takes nothing of the reservation. Only near the length, by the bound, it is counted.
func TestAnInputLongerThanReservationsServe(t *testing.T) {
	t.Parallel()
	const none = -100
	for name, c := range map[string]struct {
		longest int64
		plan    plan
		status  int
		class   berth.Class
		counted int
	}{
		"longer":               {99, plan{}, 200, berth.ClassOverflow, 1},
		"as long":              {100, plan{}, 200, berth.ClassReserved, 1},
		"far from it":          {100_000, plan{}, 200, berth.ClassReserved, 0},
		"nobody can count":     {1000, plan{dialect: mute{}}, 200, berth.ClassOverflow, none},
		"the bound is enough":  {1200, plan{dialect: mute{}}, 200, berth.ClassReserved, none},
		"the count goes wrong": {1, plan{engine: http.NotFoundHandler()}, 500, berth.ClassReserved, none},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			limits := &fixedLimiter{}
			c.plan.limiter, c.plan.route = limits, terms(berth.OverflowDisable, berth.PTUTerms{MaxInput: c.longest})
			if c.plan.engine == nil {
				c.plan.scripts = []fakeengine.Script{longCall}
			}
			h := open(t, c.plan)
			got := h.post(t, chatPath, chat("x"))
			overflow := got.header.Get("X-Dashscope-Ptu-Overflow") == "true"
			if r := h.meter.wait(t, 1)[0]; got.status != c.status || r.Class != c.class || overflow != (c.class == berth.ClassOverflow) {
				t.Errorf("answered %d %v as %s: %s", got.status, got.header, r.Class, got.body)
			}
			if reserved := len(limits.asked) > 0; reserved != (c.class == berth.ClassReserved && c.status == 200) {
				t.Errorf("reserved %+v", limits.asked)
			}
			const samples = 5 // that tell what the template adds
			if counted := len(h.table.live("dep_1").counts.known); counted != max(0, c.counted+samples) {
				t.Errorf("counted %d prompts", counted)
			}
		})
	}
}
