package gateway

import (
	"testing"
	"time"

	berth "github.com/berthhq/berth"
)

func TestSilenceBlames(t *testing.T) {
	t.Parallel()
	at := func(minutes float64) time.Time {
		return time.Unix(1_790_000_000, 0).Add(time.Duration(minutes * float64(time.Minute)))
	}
	for name, c := range map[string]struct {
		s    silence
		want bool
	}{
		"it never spoke, another does":                {silence{sent: at(0), ended: at(3), others: at(2)}, true},
		"it spoke before the call":                    {silence{sent: at(0), ended: at(3), spoke: at(-1), others: at(2)}, true},
		"a slow prompt: it answers others meanwhile":  {silence{sent: at(0), ended: at(3), spoke: at(2.5), others: at(2)}, false},
		"it stopped after the call had come":          {silence{sent: at(0), ended: at(4), spoke: at(1), others: at(3)}, true},
		"and was not silent for long enough":          {silence{sent: at(0), ended: at(4), spoke: at(2.5), others: at(3.5)}, false},
		"nobody waited for long":                      {silence{sent: at(0), ended: at(1.9), others: at(1.8)}, false},
		"just long enough":                            {silence{sent: at(0), ended: at(2), others: at(1.8)}, true},
		"all are silent":                              {silence{sent: at(0), ended: at(30), spoke: at(-1), others: at(-1)}, false},
		"the others fell silent as well, soon after":  {silence{sent: at(0), ended: at(30), spoke: at(-1), others: at(5)}, false},
		"there are no others":                         {silence{sent: at(0), ended: at(30)}, false},
		"the others spoke before it stopped to speak": {silence{sent: at(0), ended: at(30), spoke: at(10), others: at(16)}, false},
	} {
		if got := c.s.blames(2 * time.Minute); got != c.want {
			t.Errorf("%s: blames %v", name, got)
		}
	}
}

// Three calls in a row that a silent replica is to blame for eject it, if their prompts
// differ. A call that went on after all, or ends for a reason of its own, is not one.
func TestSilenceEjects(t *testing.T) {
	t.Parallel()
	type ending struct {
		prompt string
		err    error
		began  bool
		whole  bool // the engine makes its answer in one piece
	}
	gone, late, cut := ending{err: fail(problemGone)}, ending{err: timedOut()}, ending{err: wasCut()}
	with := func(e ending, prompt string) ending { e.prompt = prompt; return e }
	for name, c := range map[string]struct {
		waited time.Duration
		ends   []ending
		want   bool
	}{
		"three who left":               {3 * time.Minute, []ending{with(gone, "a"), with(gone, "b"), with(gone, "c")}, true},
		"three that timed out":         {3 * time.Minute, []ending{with(late, "a"), with(late, "b"), with(late, "c")}, true},
		"one who asks again and again": {3 * time.Minute, []ending{with(gone, "a"), with(gone, "a"), with(late, "a"), with(gone, "a")}, false},
		"two":                          {3 * time.Minute, []ending{with(gone, "a"), with(gone, "b"), with(gone, "a")}, false},
		"with a failure among them":    {3 * time.Minute, []ending{with(gone, "a"), {err: fail(problemEngine)}, with(gone, "b")}, true},
		"they soon left":               {time.Minute, []ending{with(gone, "a"), with(gone, "b"), with(gone, "c")}, false},
		"calls that were cut":          {3 * time.Minute, []ending{with(cut, "a"), with(cut, "b"), with(cut, "c")}, false},
		"an answer that had begun":     {3 * time.Minute, []ending{{"a", gone.err, true, false}, {"b", gone.err, true, false}, {"c", gone.err, true, false}}, false},
		"whole answers take longer":    {3 * time.Minute, []ending{{"a", gone.err, false, true}, {"b", gone.err, false, true}, {"c", gone.err, false, true}}, false},
		"but not for ever":             {6 * time.Minute, []ending{{"a", gone.err, false, true}, {"b", gone.err, false, true}, {"c", gone.err, false, true}}, true},
	} {
		now := time.Unix(1_790_000_000, 0)
		g := &Gateway{now: func() time.Time { return now }, logger: quiet(), bounds: Bounds{}.withDefaults()}
		targets := []berth.Target{{ReplicaID: "other"}, {ReplicaID: "quiet"}}
		for _, e := range c.ends {
			call := &call{
				route: &berth.Route{Targets: targets}, target: targets[1], lease: &lease{replica: g.table.replica("quiet")}, sent: now, taken: true,
				request: request{operation: chatting, stream: !e.whole, prompt: prompt{content: value(e.prompt)}},
			}
			now = now.Add(c.waited)
			g.table.replica("other").speaks(now)
			g.judge(call, e.err, e.began)
		}
		h := g.table.replica("quiet").health.Load()
		if got := h != nil && h.ejections > 0; got != c.want {
			t.Errorf("%s: ejected %v", name, got)
		}
	}
}

// Who tries a silent replica may wait in vain, so it is tried less often than others.
func TestASilentReplicaIsTriedSeldom(t *testing.T) {
	t.Parallel()
	var h health
	now := time.Unix(1_790_000_000, 0)
	for prompt := range uint64(ejectAfter) {
		h, _ = h.failed("k", fault{weight: 1, prompt: prompt + 1}, now)
	}
	if h = h.tried(h.until); !h.until.Equal(now.Add(ejectFirst + silentTrialMost)) {
		t.Errorf("the next may try it %s after its ejection", h.until.Sub(now))
	}
	if next, ejected := h.failed("k", fault{weight: 1, prompt: 1}, now.Add(5*time.Second)); ejected != 2*ejectFirst || next.trial {
		t.Errorf("a trial with a prompt of before ejects it for %s", ejected)
	}
}

// What a stream says in its course shows that its replica works.
func TestAReplicaSpeaks(t *testing.T) {
	t.Parallel()
	h := open(t, plan{meter: &memoryMeter{beats: true}})
	if got := h.post(t, chatPath, chat("1+1", `"stream":true`)); got.status != 200 {
		t.Fatal(got.body)
	}
	r := h.table.replica("rep_0")
	if since := time.Since(r.lastSpoke()); since < 0 || since > patience {
		t.Errorf("it spoke %s ago", since)
	}
	before := r.lastSpoke()
	c := &call{lease: &lease{replica: r}, request: request{operation: chatting, n: 1}, route: h.route, key: &berth.KeyEntry{}, reservation: unlimited{}}
	if h.marksProgress(c); !r.lastSpoke().After(before) {
		t.Error("a beat of a stream that goes on does not show")
	}
}
