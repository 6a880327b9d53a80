//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/berthhq/berth/api"
)

// rival is a best-effort deployment: so many calls at once, for ever.
type rival struct {
	name   string // in the report
	lane   string // where it competes
	model  string
	atOnce int

	mu     sync.Mutex
	tokens int64 // of answers that came whole while it counted
	calls  int64
	failed int64
}

// report is what came out at one engine.
type report struct {
	machine
	found         api.Findings
	percent       float64 // of a replica that was sold
	input, output int64   // tokens per minute that were reserved
	loadBefore    string
	length        time.Duration

	calls, refused      int   // of the reservation
	got, missing        int64 // tokens of its answers, and of those that did not come
	gotInput, gotOutput int64
	firsts              []time.Duration
	oneMore             int // status of a call beyond it; 0: not asked
	rivals              []*rival
	lanes               []*laneUse
	late                time.Duration // of the schedule, at most
}

// laneUse is how many slots of a lane were taken, on the average.
type laneUse struct {
	name                     string
	slots, guaranteed        int64
	busy, bestEffort, looked float64
}

// The flood asks for ten times its share of a lane's slots, the smallest for twice its
// share.
const (
	floods = 10
	small  = 2
)

// warmUp is how long the flood runs before anything counts.
const warmUp = 3 * time.Second

func measure(ctx context.Context, o options, m machine) (r *report, err error) {
	s, err := serve(ctx, o.berth, m)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	r = &report{machine: m, percent: o.sold, loadBefore: load(), length: o.length}
	step := func(format string, args ...any) { fmt.Fprintf(os.Stderr, "  "+format+"\n", args...) }
	if r.found, err = s.calibrated(ctx, o.calibrate); err != nil {
		return nil, err
	}
	step("%d ns per input token, %d per output token, first token p95 %d ms", r.found.InputNSPerToken, r.found.OutputNSPerToken, r.found.FirstTokenP95MS)
	if err := r.invite(ctx, s); err != nil {
		return nil, err
	}
	ptu, calls, err := r.sell(ctx, s, o)
	if err != nil {
		return nil, err
	}
	step("%d calls per minute are sold, %d tokens in and %d out", len(calls), r.input, r.output)
	err = r.crowd(ctx, s, ptu, calls, o)
	return r, err
}

// invite deploys best effort: two deployments with next to no reservation, whose calls are
// overflow, and an adapter each for two more.
func (r *report) invite(ctx context.Context, s *server) error {
	one := int64(1)
	overflow := func(suffix string) api.CreateDeployment {
		return api.CreateDeployment{ModelName: "base", Plan: api.PlanPTU, Suffix: suffix, PTU: &api.PTUCapacity{InputTPM: 1, OutputTPM: 1}}
	}
	lora := func(model string) api.CreateDeployment {
		return api.CreateDeployment{ModelName: model, Plan: api.PlanLoRA, Capacity: &one}
	}
	for _, d := range []struct {
		api.CreateDeployment
		name, lane string
		times      int
	}{
		{overflow("flood"), "overflow of ptu", "base", floods},
		{overflow("small"), "overflow of another", "base", small},
		{lora("words"), "lora", "lora", floods},
		{lora("shout"), "another lora", "lora", small},
	} {
		strategy := ""
		if d.Plan == api.PlanPTU {
			strategy = api.OverflowEnable
		}
		model, err := s.deploy(ctx, d.CreateDeployment, strategy)
		if err != nil {
			return err
		}
		if r.replicas == 1 {
			d.lane = "mixed"
		}
		r.rivals = append(r.rivals, &rival{name: fmt.Sprintf("%s, %d × its share", d.name, d.times), lane: d.lane, model: model, atOnce: d.times})
	}
	// As many calls at once as that many shares of a lane's slots.
	for _, v := range r.rivals {
		v.atOnce = max(int(int64(v.atOnce)*r.found.Slots/int64(r.sharing(v.lane))), 2)
	}
	return nil
}

// sharing is how many deployments compete in a lane.
func (r *report) sharing(lane string) (n int) {
	for _, v := range r.rivals {
		if v.lane == lane {
			n++
		}
	}
	return n
}

// words is how many words have about the tokens of the calibration's calls.
func (r *report) words(ctx context.Context, s *server, output int64, random *rand.Rand) (int, error) {
	var counted [2]int64
	for i, words := range []int{1, 41} {
		var err error
		if counted[i], err = s.count(ctx, r.rivals[0].model, prompt(words, random), output); err != nil {
			return 0, err
		}
	}
	each := float64(counted[1]-counted[0]) / 40
	return max(int(float64(r.found.FirstTokenInput-counted[0])/max(each, 0.25)), 1), nil
}

// sell reserves what the given part of a replica makes of such calls, and returns their
// words: all of them together are all tokens of a minute, to the last one.
func (r *report) sell(ctx context.Context, s *server, o options) (ptu string, calls []string, err error) {
	random := rand.New(rand.NewPCG(3, 4))
	words, err := r.words(ctx, s, o.output, random)
	if err != nil {
		return "", nil, err
	}
	n := sellable(o.sold, r.found.FirstTokenInput, o.output, r.found.InputNSPerToken, r.found.OutputNSPerToken)
	for range n {
		p := prompt(words, random)
		input, err := s.count(ctx, r.rivals[0].model, p, o.output)
		if err != nil {
			return "", nil, err
		}
		calls, r.input, r.output = append(calls, p), r.input+input, r.output+o.output
	}
	ptu, err = s.deploy(ctx, api.CreateDeployment{
		ModelName: "base", Plan: api.PlanPTU, Suffix: "sold", PTU: &api.PTUCapacity{InputTPM: r.input, OutputTPM: r.output},
	}, api.OverflowDisable)
	return ptu, calls, err
}

// crowd makes the calls of the reservation while the flood goes on.
func (r *report) crowd(ctx context.Context, s *server, ptu string, calls []string, o options) error {
	words := len(calls[0]) // the flood asks for as long prompts
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var all sync.WaitGroup
	defer all.Wait()
	defer stop()
	began := time.Now().Add(warmUp)
	ended := began.Add(o.length)
	for i, v := range r.rivals {
		for n := range v.atOnce {
			all.Go(func() {
				v.flood(ctx, s, words, o.output, began, ended, rand.New(rand.NewPCG(uint64(i), uint64(n)))) //nolint:gosec // not negative
			})
		}
	}
	if !sleep(ctx, time.Until(began)) {
		return context.Cause(ctx)
	}
	all.Go(func() { r.look(ctx, s, ptu) })
	if err := r.callAll(ctx, s, ptu, calls, began, o); err != nil {
		return err
	}
	sleep(ctx, time.Until(ended))
	return context.Cause(ctx)
}

// callAll makes the calls of the reservation at their moments, and one more.
func (r *report) callAll(ctx context.Context, s *server, ptu string, calls []string, began time.Time, o options) error {
	var reserved sync.WaitGroup
	var mu sync.Mutex
	perCall := (r.input + r.output) / int64(len(calls))
	for i, at := range moments(len(calls), o.length, rand.New(rand.NewPCG(5, 6))) {
		if !sleep(ctx, time.Until(began.Add(at))) {
			return context.Cause(ctx)
		}
		r.late = max(r.late, time.Since(began.Add(at)))
		r.calls++
		reserved.Go(func() {
			// Another minute's calls have as many tokens, and other words at their beginning.
			got := s.chat(ctx, ptu, rotated(calls[i%len(calls)], i/len(calls)), o.output)
			mu.Lock()
			defer mu.Unlock()
			if got.status != http.StatusOK {
				r.refused++
				r.missing += perCall
				return
			}
			r.firsts = append(r.firsts, got.first)
			r.got += got.input + got.output
			r.gotInput += got.input
			r.gotOutput += got.output
		})
	}
	reserved.Wait()
	if o.length == minute && time.Since(began) < minute { // later the first ones count no more
		r.oneMore = s.chat(ctx, ptu, calls[0], o.output).status
	}
	return nil
}

// flood makes calls until ctx ends and counts those that ended between the two moments.
func (v *rival) flood(ctx context.Context, s *server, letters int, output int64, began, ended time.Time, random *rand.Rand) {
	for ctx.Err() == nil {
		// Answers differ in length, or else an engine would end all of them at once.
		tokens := output/2 + random.Int64N(output+1)
		got := s.chat(ctx, v.model, prompt(letters*2/11, random), tokens)
		now := time.Now()
		v.mu.Lock()
		switch {
		case now.Before(began), now.After(ended):
		case got.status == http.StatusOK:
			v.calls++
			v.tokens += got.input + got.output
		default:
			v.failed++
		}
		v.mu.Unlock()
		if got.status != http.StatusOK && !sleep(ctx, 100*time.Millisecond) {
			return
		}
	}
}

// look notes how many slots are taken, again and again.
func (r *report) look(ctx context.Context, s *server, ptu string) {
	for sleep(ctx, 250*time.Millisecond) {
		e, err := s.Explain(ctx, ptu)
		if err != nil || e.Queue == nil {
			continue
		}
		for _, have := range e.Queue.Replicas {
			use := r.lane(have.Lane)
			use.slots, use.guaranteed = have.Slots, have.GuaranteedSlots
			use.busy += float64(have.Busy)
			use.bestEffort += float64(have.BusyBestEffort)
			use.looked++
		}
	}
}

func (r *report) lane(name string) *laneUse {
	for _, l := range r.lanes {
		if l.name == name {
			return l
		}
	}
	r.lanes = append(r.lanes, &laneUse{name: name})
	return r.lanes[len(r.lanes)-1]
}

// rotated begins with another word than before, times further on; the tokens are the same
// but for those at the seam.
func rotated(words string, times int) string {
	all := strings.Fields(words)
	times %= len(all)
	return strings.Join(append(all[times:], all[:times]...), " ") + " "
}

// sleep reports whether ctx did not end before.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
