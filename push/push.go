package push

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	berth "github.com/berthhq/berth"
)

// Options of a [Pusher]; URL, Types, Store and Logger are required.
type Options struct {
	URL     string
	Secrets [][]byte // sign every message; see [Secrets]
	Token   string   // "": none; sent as bearer token
	Types   []string
	Source  string // of the events; default "berth"
	Subject Subject
	// Batch is how many events one message has at most; default 100.
	Batch int
	// Single sends each event as a message of its own.
	Single bool
	// Timeout is how long an answer may take; default 30 s.
	Timeout time.Duration
	Version string // of Berth, for User-Agent
	Store   berth.Store
	Logger  *slog.Logger
	Now     func() time.Time // default time.Now
	// Every is the pause between two looks into the store when nothing waits; default 1 s.
	Every time.Duration
	// Transport replaces the connections of its own; tests have others.
	Transport http.RoundTripper
}

// Pusher sends what the store has for the URL. Run is called once.
type Pusher struct {
	opt     Options
	maker   maker
	client  *http.Client
	records bool // some type of them is wanted

	mu    sync.Mutex
	state berth.PushState
	kind  int // of the failure: the status of the answer, 0 without one
}

// New returns a Pusher.
func New(o Options) *Pusher {
	o.Source = cmp.Or(o.Source, "berth")
	o.Subject = cmp.Or(o.Subject, SubjectWorkspace)
	o.Batch = cmp.Or(o.Batch, 100)
	o.Timeout = cmp.Or(o.Timeout, 30*time.Second)
	o.Every = cmp.Or(o.Every, time.Second)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Transport == nil {
		o.Transport = newTransport()
	}
	p := &Pusher{opt: o, maker: maker{source: o.Source, subject: o.Subject, wanted: map[string]bool{}}}
	for _, t := range o.Types {
		p.maker.wanted[t] = true
	}
	p.state = berth.PushState{URL: o.URL, Types: o.Types, Messages: map[berth.PushOutcome]int64{}}
	if u, err := url.Parse(o.URL); err == nil { // the configuration has checked it
		u.RawQuery = ""
		p.state.URL = u.String()
	}
	p.records = p.maker.wanted[TypeRecord] || p.maker.wanted[TypeUnbilled]
	p.client = &http.Client{
		Transport: o.Transport, Timeout: o.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return p
}

// newTransport obeys the rule for endpoint models (design 10): no proxy, nothing
// link-local, whatever the name resolves to.
func newTransport() *http.Transport {
	return &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second, Control: berth.RefuseLinkLocal}).DialContext,
		TLSHandshakeTimeout: 10 * time.Second, MaxIdleConns: 1, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true,
	}
}

// Begin notes where the push begins: with what is written from the first time on.
func (p *Pusher) Begin(ctx context.Context) error {
	return p.opt.Store.Tx(ctx, func(tx berth.Tx) error { return tx.Pushes().Begin(ctx, p.records) })
}

// batch is what is delivered at once, and what is to be noted then.
type batch struct {
	events  []event
	last    int64   // number of the last record; 0: none
	notices []int64 // their numbers
}

func (b *batch) empty() bool { return b.last == 0 && len(b.notices) == 0 }

// next reads what waits: notices, of which there are few, then records.
func (p *Pusher) next(ctx context.Context) (batch, error) {
	var b batch
	err := p.opt.Store.View(ctx, func(tx berth.Tx) error {
		b = batch{}
		notices, err := tx.Pushes().Notices(ctx, int64(p.opt.Batch))
		if err != nil {
			return err
		}
		for i := range notices {
			b.notices = append(b.notices, notices[i].Number)
			if e, ok := p.maker.notice(&notices[i]); ok {
				b.events = append(b.events, e)
			}
		}
		left := int64(p.opt.Batch - len(notices))
		if left <= 0 || !p.records {
			return nil
		}
		records, last, err := tx.Pushes().Records(ctx, left)
		if err != nil {
			return err
		}
		b.last = last
		for i := range records {
			if e, ok := p.maker.record(&records[i]); ok {
				b.events = append(b.events, e)
			}
		}
		return nil
	})
	return b, err
}

// done notes that a batch was delivered.
func (p *Pusher) done(ctx context.Context, b batch) error {
	return p.opt.Store.Tx(ctx, func(tx berth.Tx) error {
		if err := tx.Pushes().Forget(ctx, b.notices); err != nil || b.last == 0 {
			return err
		}
		return tx.Pushes().Delivered(ctx, b.last)
	})
}

// Run sends until ctx ends. A batch that is on its way then is given up, and comes again
// with the next start.
func (p *Pusher) Run(ctx context.Context) {
	defer p.client.CloseIdleConnections()
	failed := 0 // reads and notes of the store, in a row
	for ctx.Err() == nil {
		b, err := p.next(ctx)
		if err == nil && !b.empty() {
			if !p.deliver(ctx, b.events) {
				return
			}
			err = p.done(ctx, b)
		}
		switch {
		case err != nil && ctx.Err() == nil:
			// The store says itself what is wrong with it.
			failed++
			if !p.sleep(ctx, pause(err, failed, rand.Float64())) { //nolint:gosec // a pause is no secret
				return
			}
			continue
		case b.empty() && !p.sleep(ctx, p.opt.Every):
			return
		}
		failed = 0
	}
}

func (p *Pusher) sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// deliver returns when all events were taken, or false when ctx has ended.
func (p *Pusher) deliver(ctx context.Context, events []event) bool {
	for len(events) > 0 {
		n := len(events)
		var content any = events
		kind := "application/cloudevents-batch+json"
		if p.opt.Single {
			n, content, kind = 1, events[0], "application/cloudevents+json"
		}
		body, err := encode(content)
		if err != nil {
			p.opt.Logger.Error("an event cannot be written as JSON and is left out", "event", events[0].ID, "error", err)
			events = events[n:]
			continue
		}
		if !p.insist(ctx, kind, body) {
			return false
		}
		p.delivered(n)
		events = events[n:]
	}
	return true
}

// insist sends a message until it is taken.
func (p *Pusher) insist(ctx context.Context, kind string, body []byte) bool {
	for tries := 1; ; tries++ {
		err := p.send(ctx, kind, body)
		if err != nil && ctx.Err() != nil {
			return false
		}
		p.count(outcome(err))
		if err == nil {
			return true
		}
		wait := pause(err, tries, rand.Float64()) //nolint:gosec // a pause is no secret
		p.failing(err, tries, wait)
		if !p.sleep(ctx, wait) {
			return false
		}
	}
}

// saidMost is how much of an answer is read and repeated, in bytes.
const saidMost = 200

func (p *Pusher) send(ctx context.Context, kind string, body []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.opt.URL, bytes.NewReader(body))
	if err != nil {
		return err
	}
	now, id := p.opt.Now(), messageID(body)
	request.Header.Set("Content-Type", kind)
	request.Header.Set("User-Agent", "berth/"+cmp.Or(p.opt.Version, "dev"))
	request.Header.Set("Webhook-Id", id)
	request.Header.Set("Webhook-Timestamp", strconv.FormatInt(now.Unix(), 10))
	if len(p.opt.Secrets) > 0 {
		request.Header.Set("Webhook-Signature", sign(p.opt.Secrets, id, now, body))
	}
	if p.opt.Token != "" {
		request.Header.Set("Authorization", "Bearer "+p.opt.Token)
	}
	response, err := p.client.Do(request)
	if err != nil {
		// Without the URL, whose query may be a secret.
		if fault := new(url.Error); errors.As(err, &fault) {
			err = fault.Err
		}
		return fmt.Errorf("it does not answer: %w", err)
	}
	defer response.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(response.Body, saidMost)) // its status has said it
	if response.StatusCode/100 == 2 {
		return nil
	}
	return &answered{status: response.StatusCode, after: retryAfter(response.Header, now), said: printable(said)}
}

// printable is text for one line.
func printable(b []byte) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0xfffd || r == 0x7f {
			return ' '
		}
		return r
	}, string(bytes.ToValidUTF8(b, nil))))
}

// failing notes a failure, and logs it when it is of another kind than before: sentences
// of receivers and of the network have ids and ports in them.
func (p *Pusher) failing(err error, tries int, wait time.Duration) {
	now, kind := p.opt.Now(), 0
	if a := new(answered); errors.As(err, &a) {
		kind = a.status
	}
	p.mu.Lock()
	changed := !p.state.Failing || p.kind != kind
	p.kind = kind
	if !p.state.Failing {
		p.state.Failing, p.state.Since = true, now
	}
	p.state.Reason, p.state.Tries, p.state.NextAt = err.Error(), tries, now.Add(wait)
	p.mu.Unlock()
	if changed {
		p.opt.Logger.Warn("the push URL does not take events; they wait, and it is tried again", "error", err, "next_try_in", wait.Round(time.Second))
	}
}

func outcome(err error) berth.PushOutcome {
	var a *answered
	switch {
	case err == nil:
		return berth.PushTaken
	case !errors.As(err, &a):
		return berth.PushUnanswered
	case a.lasting():
		return berth.PushRefused
	}
	return berth.PushPutOff
}

func (p *Pusher) count(o berth.PushOutcome) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state.Messages[o]++
}

func (p *Pusher) delivered(n int) {
	now := p.opt.Now()
	p.mu.Lock()
	was := p.state
	if was.Failing || was.Since.IsZero() {
		p.state.Since = now
	}
	p.state.Failing, p.state.Reason, p.state.Tries, p.state.NextAt = false, "", 0, time.Time{}
	p.state.DeliveredAt = now
	p.state.Delivered += int64(n)
	p.mu.Unlock()
	if was.Failing {
		p.opt.Logger.Info("the push URL takes events again", "after", now.Sub(was.Since).Round(time.Second))
	}
}

// State returns how the push stands.
func (p *Pusher) State() berth.PushState {
	p.mu.Lock()
	defer p.mu.Unlock()
	state := p.state
	state.Messages = maps.Clone(state.Messages)
	return state
}
