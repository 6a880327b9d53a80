package gateway

import (
	"strings"
	"testing"
	"time"

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
			plan: plan{limiter: refuse("tokens", time.Hour), route: requestsPerMinute}, path: chatPath, body: chat("x", `"stream":true`),
			status: 429, unasked: true, header: map[string]string{"Retry-After": "60"},
			want:   map[string]any{"error.code": "insufficient_quota", "error.type": "insufficient_quota"},
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
		"a good call":         {plan{}, chat("count to 3", `"max_tokens":100`), Tokens{1, 7, 3, 0}},
		"a thinking call":     {plan{scripts: []fakeengine.Script{{Reasoning: "a b", Reply: "c"}}}, chat("x", `"enable_thinking":true`), Tokens{1, 5, 3, 2}},
		"an engine's 500":     {plan{scripts: fault(fakeengine.Fault{Kind: fakeengine.FaultError500})}, chat("x"), Tokens{}},
		"no engine":           {plan{route: func(r *berth.Route) { r.Targets[0] = deadTarget("rep_dead") }}, chat("x"), Tokens{}},
		"a full journal":      {plan{meter: &memoryMeter{full: true}}, chat("x"), Tokens{}},
		"nobody knows better": {plan{scripts: fault(fakeengine.Fault{Kind: fakeengine.FaultNoUsage})}, chat("1234", `"max_tokens":9`), Tokens{1, 84, 9, 0}},
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
