package app

import (
	"testing"
	"testing/synctest"
	"time"

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
				l := (&lastMinute{}).newLimiter("dep_1")
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
