package gateway

import (
	"slices"
	"time"
)

// silence is a call that ended, given up by the gateway or its client, before its answer
// began.
type silence struct {
	sent, ended time.Time // to the replica, and when it was given up
	spoke       time.Time // when the replica last began, went on with or ended any answer; zero: never
	others      time.Time // when another replica of the deployment did; zero: never
}

// blames reports whether it is the replica that was silent, and not a prompt that takes
// long: the replica said nothing to anybody for so long, and another replica spoke in the
// second half of that time. Who waits for a slow prompt at a replica that answers others
// blames nobody, and neither does anybody when all are silent.
func (s silence) blames(patience time.Duration) bool {
	since := s.sent
	if s.spoke.After(since) {
		since = s.spoke
	}
	quiet := s.ended.Sub(since)
	return quiet >= patience && s.others.After(since.Add(quiet/2))
}

// silent returns what the end of a call, before its answer began, tells of its replica: a
// failure, or nothing. Several calls with one prompt are one failure, because it may be the
// prompt that takes so long.
func (g *Gateway) silent(c *call) (f fault) {
	s := silence{sent: c.sent, ended: g.now(), spoke: c.lease.replica.lastSpoke()}
	for i := range c.route.Targets {
		if id := c.route.Targets[i].ReplicaID; id != c.target.ReplicaID {
			if at := g.table.replica(id).lastSpoke(); at.After(s.others) {
				s.others = at
			}
		}
	}
	// An engine says nothing of a whole answer before its end.
	patience := g.bounds.StreamIdle
	if !c.request.engineStreams() {
		patience = max(patience, g.bounds.NativeCall)
	}
	if s.blames(patience) {
		f = fault{weight: 1, prompt: hashOfText(hashStart, c.request.prompt.content) | 1}
	}
	return f
}

// speaks notes that the replica said something to somebody.
func (r *replica) speaks(now time.Time) { r.spoke.Store(now.UnixNano()) }

func (r *replica) lastSpoke() time.Time {
	if at := r.spoke.Load(); at != 0 {
		return time.Unix(0, at)
	}
	return time.Time{}
}

// counted reports whether a failure is one of a prompt that had its failure before.
func (h *health) counted(prompt uint64) bool {
	return prompt != 0 && slices.Contains(h.silences[:], prompt)
}
