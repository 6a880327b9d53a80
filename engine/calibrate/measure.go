package calibrate

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/engine"
)

// Options of a measurement. All are required.
type Options struct {
	Client *http.Client
	Now    func() time.Time
	// Draw returns random numbers, of which prompts are made; several goroutines call it.
	Draw func() uint64
	// Budget is about how long the engine is driven; three times as long at most.
	Budget time.Duration
}

// Result is what a measurement has found.
type Result struct {
	Line                         berth.CostLine
	DeviationPPM                 int64
	FirstTokenP50, FirstTokenP95 time.Duration
	FirstTokenInput              int64 // average prompt of those calls, in tokens
	EngineVersion                string
	Used                         Used
}

// Used is what all calls of a measurement came to, for its usage record. It is true after
// a failure, too, but for the calls that failed, which are unheard.
type Used struct {
	engine.Spent
	Began, Ended time.Time
}

// Each call makes an engine read and write less than so many tokens.
const (
	CallInput  = 4 * mostInput
	CallOutput = 2 * mostOutput
)

// Rounds of a measurement.
const (
	leastRounds = 2  // of each shape
	mostRounds  = 12 // of each shape
	// roundLeast is how long a round should be, so that its beginning and end do not count.
	roundLeast   = 250 * time.Millisecond
	callsMost    = 64 // of a slot in one round
	mostFirsts   = 400
	leastFirsts  = 3 // calls of a slot for times to the first token, the first one aside
	mostOutput   = 256
	mostInput    = 1024
	leastContext = 64
	// MostDeviationPPM is how far rounds may be from the line, on average.
	MostDeviationPPM = 500_000
)

// measurement is one on its way.
type measurement struct {
	target
	Options
	slots int64

	mu   sync.Mutex
	used Used
}

// Measure drives a running engine that answers, whose slots nobody else uses. Errors are
// sentences for people.
func Measure(ctx context.Context, driver engine.Driver, at engine.Endpoint, l engine.Launch, o Options) (Result, error) {
	began := o.Now()
	ctx, cancel := context.WithTimeout(ctx, 3*o.Budget)
	defer cancel()
	m := &measurement{
		Options: o, slots: max(l.Spec.Slots, 1),
		target: target{driver: driver, endpoint: at, model: l.Model.Name, client: o.Client, now: o.Now, draw: o.Draw},
	}
	r, err := m.run(ctx, l.Spec.ContextLength)
	r.Used = m.used
	r.Used.Began, r.Used.Ended = began, o.Now()
	if errors.Is(err, context.DeadlineExceeded) && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = fmt.Errorf("the calls were not done after %s; allow the calibration more time", 3*o.Budget)
	}
	return r, err
}

func (m *measurement) run(ctx context.Context, room int64) (Result, error) {
	if room == 0 {
		room = 4 * mostInput
	}
	if room < leastContext {
		return Result{}, ErrShapes
	}
	began := m.Now()
	perWord, err := m.scout(ctx)
	if err != nil {
		return Result{}, err
	}
	shapes := func(part int64) []shape { return shapesOf(room, perWord, part) }
	part, calls, err := m.size(ctx, shapes)
	if err != nil {
		return Result{}, err
	}
	samples, err := m.rounds(ctx, shapes(part), calls, began.Add(m.Budget*7/10))
	if err != nil {
		return Result{}, err
	}
	line, deviation, err := Fit(typical(samples, len(shapes(part))))
	if err != nil {
		return Result{}, err
	}
	if deviation > MostDeviationPPM {
		return Result{}, fmt.Errorf("the times of like calls differ too much (%d %% from the line); let nothing else run on the machine and try again", deviation/10_000)
	}
	r := Result{Line: line, DeviationPPM: deviation}
	err = m.firstTokens(ctx, shapes(part)[2], began.Add(m.Budget), &r)
	return r, err
}

// scout finds out how many tokens a word comes to, in thousandths.
func (m *measurement) scout(ctx context.Context) (perWord int64, err error) {
	var tokens [2]int64
	for i, words := range []int64{1, 9} {
		s, err := m.one(ctx, shape{words: words, output: 2})
		if err != nil {
			return 0, err
		}
		tokens[i] = s.input
	}
	return max((tokens[1]-tokens[0])*1000/8, 250), nil
}

// shapesOf are a short prompt with a long answer, a long one with a short answer, and
// one in between: of the largest sizes that a slot has room for, divided by part.
func shapesOf(room, perWord, part int64) []shape {
	input, output := min(room/3, mostInput)/part, min(room/4, mostOutput)/part
	words := func(tokens int64) int64 { return max(tokens*1000/perWord, 1) }
	return []shape{
		{words(min(8, input)), max(output, 8)},
		{words(max(input, 8)), min(max(output, 2), 4)},
		{words(max(input/2, 8)), max(output/2, 4)},
	}
}

// size finds sizes of calls that fit the budget, and how many a slot makes in one round.
// The calls that it makes warm the engine up.
func (m *measurement) size(ctx context.Context, shapes func(part int64) []shape) (part, calls int64, err error) {
	const smallest = 16
	var took time.Duration
	for part = smallest; ; part /= 2 {
		took = 0
		for _, s := range shapes(part) {
			sample, err := m.round(ctx, s, 1)
			if err != nil {
				return 0, 0, err
			}
			took += sample.Took
		}
		// Twice the size takes about twice as long, and three such rounds shall fit.
		if part == 1 || took*2*3 > m.Budget/2 {
			break
		}
	}
	calls = min(max(int64(3*roundLeast/max(took, 1)), 1), callsMost)
	return part, calls, nil
}

// rounds makes rounds of each shape in turn until the time is over.
func (m *measurement) rounds(ctx context.Context, shapes []shape, calls int64, until time.Time) ([]Sample, error) {
	var samples []Sample
	for n := 0; n < mostRounds && (n < leastRounds || m.Now().Before(until)); n++ {
		for _, s := range shapes {
			sample, err := m.round(ctx, s, calls)
			if err != nil {
				return nil, err
			}
			samples = append(samples, sample)
		}
	}
	return samples, nil
}

// round keeps every slot busy with calls of one shape.
func (m *measurement) round(ctx context.Context, s shape, calls int64) (Sample, error) {
	var sample Sample
	var mu sync.Mutex
	left := new(atomic.Int64)
	left.Store(calls * m.slots)
	began := m.Now()
	err := m.each(ctx, func(ctx context.Context) error {
		for left.Add(-1) >= 0 {
			got, err := m.one(ctx, s)
			if err != nil {
				return err
			}
			mu.Lock()
			sample.Input += got.input - got.cached
			sample.Output += got.output
			mu.Unlock()
		}
		return nil
	})
	sample.Took = m.Now().Sub(began)
	return sample, err
}

// firstTokens measures times to the first token with all slots busy and no queue: each
// slot gets its next call when its last one has ended. Answers have different lengths,
// or else all prompts would come at once.
func (m *measurement) firstTokens(ctx context.Context, s shape, until time.Time, r *Result) error {
	var mu sync.Mutex
	var firsts []time.Duration
	var input int64
	err := m.each(ctx, func(ctx context.Context) error {
		for n := 0; n <= leastFirsts || m.Now().Before(until); n++ {
			this := s
			this.output = max(s.output/2+int64(m.Draw()%uint64(s.output+1)), 1) //nolint:gosec // bounded by the shape
			got, err := m.one(ctx, this)
			if err != nil {
				return err
			}
			mu.Lock()
			if n > 0 { // the first ones of all slots come at once
				firsts, input = append(firsts, got.firstToken), input+got.input
			}
			enough := len(firsts) >= mostFirsts
			mu.Unlock()
			if enough && n >= leastFirsts {
				return nil
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.Sort(firsts)
	r.FirstTokenP50, r.FirstTokenP95 = quantile(firsts, 0.5), quantile(firsts, 0.95)
	r.FirstTokenInput = input / int64(len(firsts))
	return nil
}

// each runs fn once for every slot at the same time and returns the first error, which
// ends the others.
func (m *measurement) each(ctx context.Context, fn func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	for range m.slots {
		all.Go(func() {
			if err := fn(ctx); err != nil {
				cancel(err) // only the first counts
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}

// one makes a call and adds it to what was used.
func (m *measurement) one(ctx context.Context, s shape) (said, error) {
	got, err := m.call(ctx, s)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		m.used.Unheard++
		return got, err
	}
	m.used.Calls++
	m.used.Input += got.input
	m.used.Cached += got.cached
	m.used.Output += got.output
	return got, nil
}
