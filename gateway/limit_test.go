package gateway

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/fakeengine"
)

func ptu(strategy berth.OverflowStrategy) func(*berth.Route) {
	return func(r *berth.Route) {
		r.Plan = berth.PlanPTU
		r.Limits = berth.Limits{IsMetered: true, PTU: berth.DefaultPTUCapacity, Overflow: strategy}
	}
}

func requestsPerMinute(r *berth.Route) { r.Limits.Requests = 10 }

func tokensPerMinute(r *berth.Route) { r.Limits.Tokens = 1000 }

func TestLimits(t *testing.T) {
	t.Parallel()
	refuse := func(dimension string, wait time.Duration) *fixedLimiter {
		return &fixedLimiter{refusal: &Refusal{Dimension: dimension, Limit: 10, Used: 9, Asked: 2, RetryAfter: wait}}
	}
	for name, s := range map[string]scenario{
		// conformance 144
		"too many requests": {
			plan: plan{limiter: refuse("requests", 1500*time.Millisecond), route: requestsPerMinute}, path: nativePath, body: generation("x"),
			status: 429, unasked: true, header: map[string]string{"Retry-After": "2", "X-Should-Retry": ""},
			want: map[string]any{
				"code":    "Throttling.RateQuota",
				"message": "Requests rate limit exceeded, please try again later. The limit is 10 requests per minute; 9 are used or reserved, this call asks for 2.",
			},
			record: ended(berth.EndRefused, 429, tokens(0, 0, 0), source(berth.SourceUnknown, false)),
		},
		"too many tokens": {
			plan: plan{limiter: refuse("tokens", time.Minute), route: requestsPerMinute}, path: chatPath, body: chat("x", `"stream":true`),
			status: 429, unasked: true, header: map[string]string{"Retry-After": "60", "X-Should-Retry": ""},
			want:   map[string]any{"error.code": "insufficient_quota", "error.type": "insufficient_quota"},
			record: ended(berth.EndRefused, 429),
		},
		"too many tokens for a long time": {
			plan: plan{limiter: refuse("tokens", time.Hour+time.Millisecond), route: requestsPerMinute}, path: nativePath, body: generation("x"),
			status: 429, unasked: true, header: map[string]string{"Retry-After": "", "Retry-After-Ms": "", "X-Should-Retry": "false"},
			want: map[string]any{
				"code":    "Throttling.AllocationQuota",
				"message": "Allocated quota exceeded, please increase your quota limit. The limit is 10 tokens per minute; 9 are used or reserved, this call asks for 2. It passes in 1h0m1s, if nothing else comes: calls that declared nothing used more than they held. Send max_tokens.",
			},
			record: ended(berth.EndRefused, 429),
		},
		"more than the limit in one call": {
			plan: plan{limiter: refuse("tokens", 0), route: requestsPerMinute}, path: nativePath, body: generation("x"),
			status: 400, unasked: true, header: map[string]string{"Retry-After": "", "X-Should-Retry": "false"},
			want: map[string]any{"code": "InvalidParameter"}, record: ended(berth.EndRefused, 400),
		},
		// conformance 111
		"ptu within its reservation": {
			plan: plan{limiter: &fixedLimiter{}, route: ptu(berth.OverflowEnable)}, path: chatPath, body: chat("37+85"), status: 200,
			header: map[string]string{"X-Dashscope-Ptu-Overflow": ""},
			want: map[string]any{
				"service_tier": "ptu-standard", "usage.prompt_tokens_details.provisioned_tokens": 5.0,
				"usage.completion_tokens_details.provisioned_tokens": 1.0,
			},
			record: ended(berth.EndStop, 200, class(berth.ClassReserved)),
		},
		"ptu within its reservation, native": {
			plan: plan{limiter: &fixedLimiter{}, route: ptu(berth.OverflowEnable)}, path: nativePath, body: generation("37+85"), status: 200,
			want: map[string]any{
				"service_tier": "ptu-standard", "usage.prompt_tokens_details.provisioned_tokens": 5.0,
				"usage.completion_tokens_details.provisioned_tokens": 1.0,
			},
			record: ended(berth.EndStop, 200, class(berth.ClassReserved)),
		},
		// conformance 112
		"ptu beyond it": {
			plan: plan{limiter: refuse("input tokens", time.Second), route: ptu(berth.OverflowEnable)}, path: chatPath, body: chat("37+85"), status: 200,
			header: map[string]string{"X-Dashscope-Ptu-Overflow": "true"}, lacks: []string{"ptu-standard", "provisioned"},
			record: ended(berth.EndStop, 200, class(berth.ClassOverflow)),
		},
		"ptu with an input that could never fit": {
			plan: plan{limiter: refuse("input tokens", 0), route: ptu(berth.OverflowEnable)}, path: nativePath, body: generation("37+85", `"stream":true`), status: 200,
			header: map[string]string{"X-Dashscope-Ptu-Overflow": "true"}, record: ended(berth.EndStop, 200, class(berth.ClassOverflow)),
		},
		// conformance 113
		"ptu beyond it, without overflow": {
			plan: plan{limiter: refuse("input tokens", time.Second), route: ptu(berth.OverflowDisable)}, path: nativePath, body: generation("x"),
			status: 429, unasked: true, want: map[string]any{"code": "Throttling.AllocationQuota"},
			record: ended(berth.EndRefused, 429, class(berth.ClassReserved)),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s.run(t)
		})
	}
}

// What a call reserved is corrected exactly once, however it ends.
func TestSettlement(t *testing.T) {
	t.Parallel()
	fault := func(f fakeengine.Fault) []fakeengine.Script {
		return []fakeengine.Script{{Faults: []fakeengine.Fault{f}}}
	}
	for name, tc := range map[string]struct {
		plan plan
		body string
		want Tokens // zero: erased
	}{
		"a good call":         {plan{}, chat("count to 3", `"max_tokens":100`), Tokens{1, 7, 3, 0, 3}},
		"a thinking call":     {plan{scripts: []fakeengine.Script{{Reasoning: "a b", Reply: "c"}}}, chat("x", `"enable_thinking":true`), Tokens{1, 5, 3, 2, 1}},
		"an engine's 500":     {plan{scripts: fault(fakeengine.Fault{Kind: fakeengine.FaultError500})}, chat("x"), Tokens{}},
		"no engine":           {plan{route: func(r *berth.Route) { r.Targets[0] = deadTarget("rep_dead") }}, chat("x"), Tokens{}},
		"a full journal":      {plan{meter: &memoryMeter{full: true}}, chat("x"), Tokens{}},
		"nobody knows better": {plan{scripts: fault(fakeengine.Fault{Kind: fakeengine.FaultNoUsage}), route: tokensPerMinute}, chat("1234", `"max_tokens":9`), Tokens{1, 4 + 7 + 12, 9, 0, 9}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			limits := &fixedLimiter{}
			tc.plan.limiter = limits
			change := tc.plan.route
			tc.plan.route = func(r *berth.Route) {
				requestsPerMinute(r)
				if change != nil {
					change(r)
				}
			}
			h := open(t, tc.plan)
			h.post(t, chatPath, tc.body)
			h.Close()
			if len(limits.settled) != 1 || limits.settled[0] != tc.want {
				t.Errorf("settled %+v, want once %+v", limits.settled, tc.want)
			}
		})
	}
}

// byInput is a limiter that has room for so much input.
type byInput struct {
	fixedLimiter
	room  int64
	never bool // what does not fit never will
}

func (l *byInput) Standing(time.Time, berth.Limits) Standing { return l.standing() }

func (l *byInput) standing() Standing {
	return Standing{Tokens: Level{Limit: 1000, Used: 1000 - l.room, Reset: 90 * time.Second}}
}

func (l *byInput) Reserve(now time.Time, limits berth.Limits, ask Tokens, standing *Standing) (Reservation, *Refusal) {
	held, _ := l.fixedLimiter.Reserve(now, limits, ask, standing)
	*standing = l.standing()
	if ask.Input <= l.room {
		return held, nil
	}
	refusal := &Refusal{Dimension: DimensionTokens, Limit: 1000, Used: 1000 - l.room, Asked: ask.Input, RetryAfter: 1500 * time.Millisecond}
	if l.never {
		refusal.RetryAfter = 0
	}
	return nil, refusal
}

// The bound alone refuses nobody: where it does not fit the input is counted, and near the
// limit nothing is held that is not needed. The prompt here is 5 tokens, and 20 by its bound.
func TestInputIsCountedWhereItsBoundDoesNotFit(t *testing.T) {
	t.Parallel()
	const bound, exact = 20, 5
	for name, c := range map[string]struct {
		room    int64
		never   bool
		dialect Dialect
		asked   []int64
		shrunk  []int64
		status  int
	}{
		"far from the limit":      {room: 1000, asked: []int64{bound}, status: 200},
		"not far":                 {room: nearCalls*bound - 1, asked: []int64{bound}, shrunk: []int64{exact}, status: 200},
		"as near as a bound":      {room: bound, asked: []int64{bound}, shrunk: []int64{exact}, status: 200},
		"near":                    {room: bound - 1, asked: []int64{bound, exact}, status: 200},
		"at it":                   {room: exact, asked: []int64{bound, exact}, status: 200},
		"beyond":                  {room: exact - 1, asked: []int64{bound, exact}, status: 429},
		"for ever":                {room: exact - 1, never: true, asked: []int64{bound, exact}, status: 400},
		"an engine without":       {room: 1153, dialect: mute{}, asked: []int64{1 + 1024 + 128}, status: 200},
		"an engine without, near": {room: 1152, dialect: mute{}, asked: []int64{1153}, status: 429},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := &byInput{room: c.room, never: c.never}
			h := open(t, plan{limiter: &l.fixedLimiter, limits: l, route: tokensPerMinute, dialect: c.dialect})
			for range 2 { // the second call finds all counts known
				l.asked, l.shrunk = nil, nil
				got := h.post(t, chatPath, chat("1"))
				var asked []int64
				for _, a := range l.asked {
					asked = append(asked, a.Input)
				}
				if got.status != c.status || !slices.Equal(asked, c.asked) || !slices.Equal(l.shrunk, c.shrunk) {
					t.Errorf("status %d after asking for %v, shrunk to %v; want %d, %v, %v: %s", got.status, asked, l.shrunk, c.status, c.asked, c.shrunk, got.body)
				}
				wait, final := got.header.Get("Retry-After-Ms"), got.header.Get("X-Should-Retry")
				if (wait == "1500") != (c.status == 429) || (final == "false") != (c.status == 400) {
					t.Errorf("wait %q, final %q", wait, final)
				}
				if left, reset := got.header.Get("X-Ratelimit-Remaining-Tokens"), got.header.Get("X-Ratelimit-Reset-Tokens"); left != strconv.FormatInt(c.room, 10) || reset != "1m30s" {
					t.Errorf("the headers say %s tokens and %s", left, reset)
				}
			}
		})
	}
}

// A count that fails refuses only what the bound refuses for a while, and with its wait;
// else the caller is told of the count.
func TestACountThatFailsNearTheLimit(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		engine int // status of a count
		never  bool
		status int
	}{
		"for a while":            {500, false, 429},
		"for ever, by the bound": {500, true, 500},
		"the engine refuses it":  {400, false, 400},
	} {
		l := &byInput{room: 3, never: c.never}
		h := open(t, plan{limiter: &l.fixedLimiter, limits: l, route: tokensPerMinute, engine: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(c.engine)
			_, _ = w.Write([]byte(`{"error":{"message":"no such role"}}`))
		})})
		if got := h.post(t, chatPath, chat("1")); got.status != c.status {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
}

// What is measured of a template makes the bound an upper one, for prompts of any kind.
func TestTheBoundIsOne(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		rule := fakeengine.PromptRule{PerCall: rapid.IntRange(0, 300).Draw(rt, "call"), PerMessage: rapid.IntRange(0, 50).Draw(rt, "message"), PerWord: 1}
		h := open(t, plan{scripts: []fakeengine.Script{{PromptTokens: &rule}}, route: tokensPerMinute})
		defer h.Close()
		var messages []map[string]string
		for range rapid.IntRange(0, 5).Draw(rt, "messages") {
			messages = append(messages, map[string]string{
				"role": rapid.SampledFrom([]string{"system", "assistant", "user"}).Draw(rt, "role"), "content": rapid.StringMatching(`([a-zé字] ){0,9}`).Draw(rt, "text"),
			})
		}
		messages = append(messages, map[string]string{"role": "user", "content": "a"})
		list, _ := json.Marshal(messages)
		c := h.parsed(t, fmt.Sprintf(`{"model":%q,"messages":%s}`, deployed, list))
		exact, err := h.countCall(t.Context(), c)
		if bound := h.boundInput(t.Context(), c); err != nil || bound < exact {
			rt.Errorf("bound %d, exact %d, %v", bound, exact, err)
		}
	})
}

// conformance 97
// A budget ends the thinking and not the answer, plain and streamed, in every dialect, and
// the usage adds up. An engine that cannot do it is not asked.
func TestThinkingBudget(t *testing.T) {
	t.Parallel()
	scripts := []fakeengine.Script{{Reasoning: "a b c d e", Reply: "f g"}}
	for name, s := range map[string]scenario{
		"OpenAI": {
			plan: plan{scripts: scripts}, path: chatPath, body: chat("x", `"enable_thinking":true`, `"thinking_budget":2`), status: 200,
			want: map[string]any{
				"choices.0.message.reasoning_content": "a b", "choices.0.message.content": "f g", "choices.0.finish_reason": "stop",
				"usage.completion_tokens": 4.0, "usage.completion_tokens_details.reasoning_tokens": 2.0,
			},
			record: ended(berth.EndStop, 200, tokens(5, 4, 2)),
		},
		"OpenAI, two answers, streamed": {
			plan: plan{scripts: scripts}, path: chatPath, body: chat("x", `"enable_thinking":true`, `"thinking_budget":2`, `"n":2`, `"stream":true`), status: 200,
			lacks: []string{`"reasoning_content":" c"`}, record: ended(berth.EndStop, 200, tokens(5, 8, 4)),
		},
		"native": {
			plan: plan{scripts: scripts}, path: nativePath, body: generation("x", `"enable_thinking":true`, `"thinking_budget":3`, `"max_tokens":1`, `"result_format":"message"`), status: 200,
			want: map[string]any{
				"output.choices.0.message.reasoning_content": "a b c", "output.choices.0.message.content": "f",
				"output.choices.0.finish_reason": "length", "usage.output_tokens_details.reasoning_tokens": 3.0,
			},
			record: ended(berth.EndLength, 200, tokens(5, 4, 3)),
		},
		"without thinking it bounds nothing": {
			plan: plan{scripts: scripts}, path: chatPath, body: chat("x", `"enable_thinking":false`, `"thinking_budget":1`), status: 200,
			want: map[string]any{"choices.0.message.content": "f g"}, record: ended(berth.EndStop, 200, tokens(5, 2, 0)),
		},
		"an engine that cannot": {
			plan: plan{scripts: scripts, dialect: mute{}}, path: chatPath, body: chat("x", `"enable_thinking":true`, `"thinking_budget":2`), status: 400, unasked: true,
			holds: []string{"The parameter thinking_budget (thinking.budget_tokens) is not supported"}, record: ended(berth.EndRefused, 400),
		},
		"zero": {
			plan: plan{scripts: scripts}, path: nativePath, body: generation("x", `"enable_thinking":true`, `"thinking_budget":0`), status: 400, unasked: true,
			want:   map[string]any{"message": "The thinking_budget parameter must be a positive integer and not greater than 2147483647"},
			record: ended(berth.EndRefused, 400),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s.run(t)
		})
	}
}

// What was used within a reservation stays within each part of it, wherever the marks
// between thinking and content were counted.
func TestUsedTokensStayWithinTheirParts(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.Int64Range(0, 20)
		asked := Tokens{Content: part.Draw(t, "content"), Thinking: part.Draw(t, "thinking")}
		asked.Output = asked.Content + asked.Thinking
		used := Tokens{Content: part.Draw(t, "content"), Thinking: part.Draw(t, "thinking")}
		used.Output = used.Content + used.Thinking
		got := used.within(asked)
		if got.Output != used.Output || got.Content+got.Thinking != used.Output {
			t.Fatalf("%+v became %+v", used, got)
		}
		if used.Output <= asked.Output && (got.Content > asked.Content || got.Thinking > asked.Thinking) {
			t.Fatalf("%+v is not within %+v", got, asked)
		}
	})
}

// A deployment without limits never meets its limiter.
func TestNoLimitsCostNothing(t *testing.T) {
	t.Parallel()
	limits := &fixedLimiter{}
	h := open(t, plan{limiter: limits})
	if got := h.post(t, chatPath, chat("37+85")); got.status != 200 || len(limits.asked) > 0 {
		t.Errorf("status %d, asked %v", got.status, limits.asked)
	}
}

// 5xx and unknown codes of the meter are internal; what it says is for operators.
func TestUnknownErrorsAreInternal(t *testing.T) {
	t.Parallel()
	for _, err := range []error{&berth.Error{Code: berth.CodeInternal, Message: "disk on fire"}, berth.Errorf(berth.CodeConflict, "disk on fire")} {
		f := failureOf(err)
		if body := string(f.appendNative(nil, "id")); f.status != 500 || strings.Contains(body, "fire") || !strings.Contains(body, "An internal error has occured") {
			t.Errorf("%v: %s", err, body)
		}
	}
}

// What the header says is true to the second, whatever the wait; where it may not say it,
// it says nothing and the sentence does.
func TestAnyWaitIsToldTruly(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		wait := time.Duration(rapid.OneOf(rapid.Int64Range(1, 70_000), rapid.Int64Range(60_000, 1<<40)).Draw(t, "ms")) * time.Millisecond
		f := refused(&Refusal{Dimension: "tokens", Limit: 10, Used: 20, Asked: 5, RetryAfter: wait})
		h := http.Header{}
		f.header(h)
		if wait > time.Minute {
			told := f.sentence[strings.LastIndex(f.sentence, "passes in ")+len("passes in "):]
			told, _, _ = strings.Cut(told, ",")
			if d, err := time.ParseDuration(told); err != nil || d < wait || d >= wait+time.Second || h.Get("Retry-After")+h.Get("Retry-After-Ms") != "" || h.Get("X-Should-Retry") != "false" {
				t.Fatalf("%s: %v, %q", wait, h, f.sentence)
			}
			return
		}
		seconds, err := strconv.Atoi(h.Get("Retry-After"))
		ms, errMS := strconv.Atoi(h.Get("Retry-After-Ms"))
		if err != nil || errMS != nil || seconds < 1 || seconds > 60 || h.Get("X-Should-Retry") != "" {
			t.Fatalf("%s: %v", wait, h)
		}
		if least := max(wait, time.Second); time.Duration(ms)*time.Millisecond != least || time.Duration(seconds)*time.Second-least >= time.Second || time.Duration(seconds)*time.Second < least {
			t.Fatalf("%s: told %d s and %d ms", wait, seconds, ms)
		}
	})
}
