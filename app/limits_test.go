package app

import (
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/gateway"
)

// A limit that is used up in one moment lets nothing pass until a minute later, and then
// all of it, whatever was refused meanwhile; Retry-After said so.
//
// conformance 109
func TestALimitRecoversWithinAMinute(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		limits berth.Limits
		ask    gateway.Tokens
		calls  int // that fit
	}{
		"rpm": {berth.Limits{Requests: 3}, gateway.Tokens{Requests: 1, Input: 10, Output: 5, Content: 5}, 3},
		"tpm": {berth.Limits{Tokens: 100}, gateway.Tokens{Requests: 1, Input: 20, Output: 30, Content: 30}, 2},
		"ptu": {
			berth.Limits{IsMetered: true, PTU: berth.PTUCapacity{InputTPM: 1000, OutputTPM: 90}},
			gateway.Tokens{Requests: 1, Input: 20, Output: 30, Content: 30}, 3,
		},
		"ptu, thinking": {
			berth.Limits{IsMetered: true, PTU: berth.PTUCapacity{InputTPM: 1000, OutputTPM: 90, ThinkingTPM: 50}},
			gateway.Tokens{Requests: 1, Input: 20, Output: 35, Thinking: 25, Content: 10}, 2,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := (&lastMinute{now: time.Now}).newLimiter("dep_1")
				try := func() *gateway.Refusal {
					var s gateway.Standing
					r, refusal := l.Reserve(time.Now(), c.limits, c.ask, &s)
					if refusal == nil {
						r.Settle(time.Now(), c.ask)
					}
					return refusal
				}
				for round := range 3 {
					for range c.calls {
						if refusal := try(); refusal != nil {
							t.Fatalf("round %d: %+v", round, refusal)
						}
					}
					begun := time.Now()
					for wait := time.Minute; wait > 0; wait = time.Minute - time.Since(begun) {
						refusal := try()
						if refusal == nil || refusal.RetryAfter != wait {
							t.Fatalf("round %d, %s before it recovers: %+v", round, wait, refusal)
						}
						time.Sleep(min(wait, 7*time.Second+time.Millisecond))
					}
				}
			})
		})
	}
}

// The wait of a refused call is exact, also while what calls used beyond their reservations
// is paid: it passes then, if nothing else comes, and not before.
//
// conformance 144
func TestTheWaitOfARefusedCallIsTrue(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		limits := berth.Limits{Requests: 20, Tokens: rapid.Int64Range(50, 200).Draw(t, "limit")}
		begun := time.Now()
		now := begun
		type done struct {
			at   time.Time
			used int64
		}
		var history []done // of calls that passed: when, and what they used
		replay := func() func(time.Time) *gateway.Refusal {
			l := (&lastMinute{now: time.Now}).newLimiter("dep_1")
			l.(*limiter).begun = begun
			ask := func(at time.Time, used int64) *gateway.Refusal {
				var s gateway.Standing
				r, refusal := l.Reserve(at, limits, gateway.Tokens{Requests: 1, Output: 30, Content: 30}, &s)
				if refusal == nil {
					r.Settle(at, gateway.Tokens{Requests: 1, Output: used, Content: used})
				}
				return refusal
			}
			for _, d := range history {
				if refusal := ask(d.at, d.used); refusal != nil {
					t.Fatalf("passed before, refused now: %+v", refusal)
				}
			}
			return func(at time.Time) *gateway.Refusal { return ask(at, 30) }
		}
		for range rapid.IntRange(1, 20).Draw(t, "calls") {
			now = now.Add(time.Duration(rapid.Int64Range(0, 20_000).Draw(t, "ms")) * time.Millisecond)
			try := replay()
			refusal := try(now)
			if refusal == nil {
				history = append(history, done{now, rapid.Int64Range(0, 600).Draw(t, "used")})
				continue
			}
			try = replay()
			if early := try(now.Add(refusal.RetryAfter - time.Millisecond)); early == nil {
				t.Fatalf("told to wait %s, and it passes before", refusal.RetryAfter)
			}
			try = replay()
			if again := try(now.Add(refusal.RetryAfter)); again != nil {
				t.Fatalf("after %s it is refused for %s more", refusal.RetryAfter, again.RetryAfter)
			}
			now = now.Add(refusal.RetryAfter) // debts are paid while time passes
		}
	})
}
