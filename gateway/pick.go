package gateway

import (
	"cmp"
	"errors"
	"net"
	"slices"
	"syscall"
	"time"

	berth "github.com/berthhq/berth"
)

// candidate is what the choice of a replica for a call depends on.
type candidate struct {
	hash    uint64 // of the replica's id
	load    int64  // calls in flight
	slots   int64  // calls that it works on at once, at least 1
	ejected bool   // it failed lately
	tried   bool   // it did not take this call
}

// rank orders replicas before their loads do: one with a free slot before a full one, one
// that was ejected last of all, so that the last one never is. 0 is out of the question.
func (c *candidate) rank() int {
	switch {
	case c.tried:
		return 0
	case c.ejected:
		return 1
	case c.load >= c.slots:
		return 2
	}
	return 3
}

// A replica gets at most 5/4 of its share of the calls for the sake of affinity.
const (
	shareMost = 5
	sharePart = 4
)

// choose returns the index of the replica that gets a call, −1 when none is left. It looks
// at those of the highest rank only.
//
// Calls with the same key go to the same replica as long as its load allows that:
// consistent hashing with bounded loads (Mirrokni, Thorup and Zadimoghaddam, SODA 2018).
// The order in which replicas are tried for a key is that of the highest random weight
// (Thaler and Ravishankar, 1998), which needs no ring: when a replica comes, only keys
// move that are its own now, and when one goes, only those that were. With c = 5/4, m
// calls in flight and S slots in all, a replica of s slots takes a call while it has less
// than ⌈c·(m+1)·s/S⌉; at least one always has.
//
// Key 0 is none: then the least load per slot decides, and among equals turn.
func choose(all []candidate, key uint64, turn uint32) int {
	best := 0
	for i := range all {
		best = max(best, all[i].rank())
	}
	if best == 0 {
		return -1
	}
	if key == 0 {
		return leastLoaded(all, best, turn)
	}
	var calls, slots int64
	for i := range all {
		if c := &all[i]; c.rank() == best {
			calls, slots = calls+c.load, slots+c.slots
		}
	}
	at, weight := -1, uint64(0)
	for i := range all {
		c := &all[i]
		if c.rank() != best || c.load >= loadBound(calls+1, c.slots, slots) {
			continue
		}
		if w := mix(key ^ c.hash); at < 0 || w > weight {
			at, weight = i, w
		}
	}
	return at
}

// loadBound is the most calls for a replica that has slots of all, when there are calls.
func loadBound(calls, slots, all int64) int64 {
	return (shareMost*calls*slots + sharePart*all - 1) / (sharePart * all)
}

func leastLoaded(all []candidate, rank int, turn uint32) int {
	at := -1
	for i := range all {
		j := (int(turn%uint32(len(all))) + i) % len(all)
		c := &all[j]
		if c.rank() == rank && (at < 0 || c.load*all[at].slots < all[at].load*c.slots) {
			at = j
		}
	}
	return at
}

// hashOfText is FNV-1a, and mix the finalizer of MurmurHash3: the same in every gateway,
// so that all of them send a conversation to the same replica.
func hashOfText[T ~string | ~[]byte](from uint64, text T) uint64 {
	const prime = 1099511628211
	for i := range len(text) {
		from = (from ^ uint64(text[i])) * prime
	}
	return from
}

const hashStart = 14695981039346656037

func mix(h uint64) uint64 {
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// openingBytes is how much of a prompt decides about affinity, at most.
const openingBytes = 1 << 10

// affinity returns the key that calls share whose prompts begin alike, so that an engine
// that keeps what it has read need not read it again; 0 where none may keep it, because
// workspaces share it.
func affinity(c *call) uint64 {
	if classOf(c.route.Plan) != berth.ClassDedicated || !c.request.operation.writes {
		return 0
	}
	key := hashOfText(hashStart, c.route.DeploymentID)
	return hashOfText(key, opening(c.request.prompt.content)) | 1
}

// opening returns the beginning of a list of messages: up to the end of the first one of
// a user, because that is what the next call of the same conversation begins with.
func opening(messages value) []byte {
	end := len(messages)
	for message := range elements(messages) {
		at := cap(messages) - cap(message) // where it begins: it is a part of messages
		if at >= openingBytes {
			break
		}
		if string(member(message, "role")) == `"user"` {
			end = at + len(message)
			break
		}
	}
	return messages[:min(end, openingBytes)]
}

// pick chooses the replica for a call among the targets that are not in tried; ok is false
// when none is left. key is its affinity.
func (t *table) pick(l *live, targets []berth.Target, tried []string, key uint64, now func() time.Time) (target berth.Target, ok bool) {
	var few [8]candidate // on the stack
	all := few[:0]
	for i := range targets {
		r := t.replica(targets[i].ReplicaID)
		c := candidate{
			hash: r.hash, load: r.inFlight.Load(), slots: max(targets[i].Slots, 1),
			tried: len(tried) > 0 && slices.Contains(tried, targets[i].ReplicaID),
		}
		if h := r.health.Load(); h != nil && len(targets) > 1 && !c.tried {
			var trial bool
			if c.ejected, trial = r.ejected(h, targets[i].Key, now()); trial {
				return targets[i], true
			}
		}
		all = append(all, c)
	}
	at := choose(all, key, l.turn.Add(1))
	if at < 0 {
		return berth.Target{}, false
	}
	return targets[at], true
}

// A replica that fails is ejected: it gets no calls while others take them, for a second
// at first and twice as long each time that the one call that may try it fails, too.
const (
	ejectAfter = 3 // failures in a row
	ejectFirst = time.Second
	ejectMost  = 30 * time.Second
	trialMost  = 10 * time.Second // until another call may try, if nothing is heard of one

	// silentTrialMost is the same for a replica that is silent: each trial may be a caller
	// who waits for nothing.
	silentTrialMost = 30 * time.Second
)

// fault is a failure as it counts against a replica.
type fault struct {
	weight int    // of ejectAfter; 0: it does not count
	broke  bool   // an answer broke off
	prompt uint64 // of a call whose answer never began: its hash; 0 of other failures
}

// health is what failed calls told of an engine.
type health struct {
	engine    string    // its key, which is another after each start
	failures  int       // in a row
	ejections int       // since it last answered
	until     time.Time // no calls before; zero: it is not ejected
	trial     bool      // a call tries it
	broke     bool      // it broke off an answer: only a whole one shows that it works

	silences [ejectAfter]uint64 // the prompts of the last calls whose answers never began
}

// failed returns the health after a failure, and for how long the engine is ejected because
// of it. What fails of calls that began before an ejection makes it no longer, and another
// silence for the same prompt ejects nobody.
func (h health) failed(engine string, f fault, now time.Time) (next health, ejected time.Duration) {
	if h.engine != engine {
		h = health{engine: engine}
	}
	h.broke = h.broke || f.broke
	if now.Before(h.until) && !h.trial || !h.trial && h.counted(f.prompt) {
		return h, 0
	}
	if f.prompt != 0 {
		h.silences[h.failures%ejectAfter] = f.prompt
	}
	h.failures += f.weight
	if h.failures >= ejectAfter {
		ejected = min(ejectFirst<<min(h.ejections, 10), ejectMost)
		h.until = now.Add(ejected)
		h.ejections++
	}
	h.trial = false
	return h, ejected
}

// takes reports whether an engine may get calls: all of them, none, or one as a trial.
func (h health) takes(engine string, now time.Time) (calls, trial bool) {
	switch {
	case h.engine != engine || h.until.IsZero():
		return true, false
	case now.Before(h.until):
		return false, false
	}
	return false, true
}

// tried returns the health while a call tries the engine.
func (h health) tried(now time.Time) health {
	h.until, h.trial = now.Add(h.trialTime()), true
	return h
}

// trialTime is how long a call tries the engine before another may.
func (h health) trialTime() time.Duration {
	if h.silences != [ejectAfter]uint64{} {
		return silentTrialMost
	}
	return trialMost
}

// ejected reports whether a replica whose health is h gets no calls for now, and whether
// the caller's call is to try it.
func (r *replica) ejected(h *health, engine string, now time.Time) (ejected, trial bool) {
	calls, due := h.takes(engine, now)
	if !due {
		return !calls, false
	}
	next := h.tried(now)
	return true, r.health.CompareAndSwap(h, &next) // one of many is the trial
}

// worked forgets failures when an answer has begun, or is whole, and reports whether
// there were any.
func (r *replica) worked(whole bool) bool {
	h := r.health.Load()
	if h == nil || h.broke && !whole {
		return false
	}
	return r.health.CompareAndSwap(h, nil)
}

// failed remembers a failure and returns for how long the replica is ejected because of
// it, 0 when it is not, and how long each call may try it afterwards.
func (r *replica) failed(engine string, f fault, now time.Time) (ejected, trial time.Duration) {
	for {
		old := r.health.Load()
		var h health
		if old != nil {
			h = *old
		}
		next, ejected := h.failed(engine, f, now)
		if r.health.CompareAndSwap(old, &next) {
			return ejected, next.trialTime()
		}
	}
}

// errNotServing is why an engine did not take a call that it answered: it is loading, or
// full.
var errNotServing = errors.New("the engine takes no calls now")

// notTaken reports whether an engine has certainly not begun with a call, so that another
// one may get it: nobody listened, or it said so.
func notTaken(err error) bool {
	var dial *net.OpError
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, errNotServing) || errors.As(err, &dial) && dial.Op == "dial"
}

// judge remembers how an engine met a call: err is nil when it began to answer, or when
// the answer is whole. What a client or the gateway ended says nothing about it once the
// answer has begun, and before that only as much as [silence] says.
func (g *Gateway) judge(c *call, err error, began bool) {
	if err == nil {
		c.lease.replica.speaks(g.now())
		if c.lease.replica.worked(began) && c.place != nil {
			c.place.room.trust(c.target.ReplicaID)
		}
		return
	}
	f := g.faultOf(c, err, began)
	if f.weight == 0 {
		return
	}
	wait, trial := c.lease.replica.failed(c.target.Key, f, g.now())
	if wait <= 0 {
		return
	}
	if c.place != nil {
		c.place.room.distrust(c.target.ReplicaID, wait, trial)
	}
	if len(c.route.Targets) > 1 {
		g.logger.Warn("replica ejected", "replica", c.target.ReplicaID, "deployment", c.route.DeploymentID, "for", wait, "cause", cmp.Or(errors.Unwrap(err), err).Error())
	}
}

// faultOf is what a call's failure counts against its replica.
func (g *Gateway) faultOf(c *call, err error, began bool) fault {
	if notTaken(err) {
		return fault{weight: ejectAfter, broke: began}
	}
	switch failureOf(err).problem {
	case problemEngine, problemIdle:
		return fault{weight: 1, broke: began}
	case problemTimeout, problemGone:
		if c.taken && !began {
			return g.silent(c)
		}
	}
	return fault{}
}
