package push

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"go.uber.org/goleak"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/store/sqlitetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var secret = "whsec_" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("k"), 32))

// message is one that a receiver got.
type message struct {
	at     time.Time
	header http.Header
	body   []byte
	ids    []string
	events []map[string]any
	answer int // 0: none
}

// receiver answers as its script says, then 200; it is a transport, so that time can be
// made up.
type receiver struct {
	t      testing.TB
	mu     sync.Mutex
	script []func() (status int, header http.Header)
	got    []message
}

func (r *receiver) RoundTrip(q *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(q.Body)
	if err != nil {
		return nil, err
	}
	m := message{at: time.Now(), header: q.Header.Clone(), body: body, answer: http.StatusOK}
	if q.Header.Get("Content-Type") == "application/cloudevents+json" {
		body = slices.Concat([]byte("["), body, []byte("]"))
	}
	if err := json.Unmarshal(body, &m.events); err != nil {
		r.t.Errorf("%s: %v", body, err)
	}
	for _, e := range m.events {
		m.ids = append(m.ids, e["id"].(string))
	}
	var header http.Header
	r.mu.Lock()
	if len(r.script) > 0 {
		next := r.script[0]
		r.script = r.script[1:]
		m.answer, header = next()
	}
	r.got = append(r.got, m)
	r.mu.Unlock()
	if m.answer == 0 {
		<-q.Context().Done()
		return nil, q.Context().Err()
	}
	return &http.Response{StatusCode: m.answer, Header: header, Body: io.NopCloser(strings.NewReader("because\nof x")), Request: q}, nil
}

func (r *receiver) messages() []message {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

// taken returns the ids of what was answered with 2xx.
func (r *receiver) taken() (ids []string) {
	for _, m := range r.messages() {
		if m.answer/100 == 2 {
			ids = append(ids, m.ids...)
		}
	}
	return ids
}

func answers(statuses ...int) (script []func() (int, http.Header)) {
	for _, s := range statuses {
		script = append(script, func() (int, http.Header) { return s, http.Header{} })
	}
	return script
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func usage(n int) berth.UsageRecord {
	at := time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC)
	return berth.UsageRecord{
		ID: fmt.Sprintf("use_%04d", n), CallID: "call", WorkspaceID: "llm-1", KeyID: "key_1", DeploymentID: "dep_1", DeployedModel: "m-1", ModelName: "m",
		Plan: berth.PlanMU, Class: berth.ClassDedicated, StartedAt: at, FirstTokenAt: at.Add(time.Second), EndedAt: at.Add(2 * time.Second),
		InputTokens: 10, CachedTokens: 4, OutputTokens: 5, ThinkingTokens: 2, Billable: true, End: berth.EndStop, HTTPStatus: 200, Source: berth.SourceEngine,
	}
}

func insert(t testing.TB, s berth.Store, from, to int) (ids []string) {
	t.Helper()
	var list []berth.UsageRecord
	for n := from; n < to; n++ {
		list = append(list, usage(n))
		ids = append(ids, list[len(list)-1].ID)
	}
	must(t, s.Tx(context.Background(), func(tx berth.Tx) error { return tx.Usage().Insert(context.Background(), list) }))
	return ids
}

// pusher is one that runs until stop.
func pusher(t testing.TB, s berth.Store, r http.RoundTripper, change func(*Options)) (p *Pusher, log *bytes.Buffer, stop func()) {
	t.Helper()
	secrets, err := Secrets(secret)
	must(t, err)
	log = &bytes.Buffer{}
	o := Options{
		URL: "https://meter.example.com/v1?key=hidden", Secrets: secrets, Types: []string{TypeRecord, TypeUnbilled, TypeStatus, TypeClosed},
		Store: s, Transport: r, Logger: slog.New(slog.NewTextHandler(log, nil)), Batch: 10, Every: time.Minute,
	}
	if change != nil {
		change(&o)
	}
	p = New(o)
	must(t, p.Begin(context.Background()))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.Run(ctx)
	}()
	return p, log, sync.OnceFunc(func() {
		cancel()
		<-done
	})
}

// Whatever a receiver does, everything arrives, in order, and nothing is sent ahead of what
// was not taken.
func TestEverythingArrivesInOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := sqlitetest.Open(t)
		r := &receiver{t: t, script: answers(500, 0, 503, 200, 410, 400, 429, 200, 408, 302)}
		p, log, stop := pusher(t, s, r, nil)
		defer stop()
		want := insert(t, s, 100, 125)
		want = append(want, insert(t, s, 0, 7)...) // earlier ids that come later
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if got := r.taken(); !slices.Equal(got, want) {
			t.Errorf("%v arrived instead of %v", got, want)
		}
		var last []string
		for i, m := range r.messages() {
			if last != nil && !slices.Equal(m.ids, last) {
				t.Errorf("message %d has %v while %v was not taken", i, m.ids, last)
			}
			last = m.ids
			if m.answer/100 == 2 {
				last = nil
			}
			if len(m.ids) > 10 {
				t.Errorf("%d events in a message", len(m.ids))
			}
		}
		got := r.messages()
		for i, most := range []time.Duration{time.Second, 2*time.Second + 30*time.Second, 4 * time.Second} {
			if waited := got[i+1].at.Sub(got[i].at); waited > most || waited < most/4 {
				t.Errorf("the try after failure %d came after %s", i+1, waited)
			}
		}
		for _, i := range []int{4, 5} { // 410, 400
			if waited := got[i+1].at.Sub(got[i].at); waited < pauseLast/2 || waited > pauseLast {
				t.Errorf("after %d it was tried again after %s", got[i].answer, waited)
			}
		}
		if st := p.State(); st.Failing || st.Delivered != int64(len(want)) || st.Reason != "" || strings.Contains(st.URL, "hidden") {
			t.Errorf("%+v", st)
		}
		stop()
		if n := strings.Count(log.String(), "does not take"); n != 8 || strings.Count(log.String(), "takes events again") != 3 || strings.Contains(log.String(), "hidden") {
			t.Errorf("%d warnings: %s", n, log)
		}
	})
}

// A URL that is dead for days costs a line in the log and a try each five minutes, and the
// memory of one batch.
func TestADeadURLIsTriedForEver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := sqlitetest.Open(t)
		var dead atomic.Bool
		dead.Store(true)
		r := &receiver{t: t}
		through := roundTrip(func(q *http.Request) (*http.Response, error) {
			if dead.Load() {
				r.mu.Lock()
				r.got = append(r.got, message{})
				r.mu.Unlock()
				return nil, fmt.Errorf("connection from port %d refused", time.Now().UnixNano())
			}
			return r.RoundTrip(q)
		})
		p, log, stop := pusher(t, s, through, nil)
		defer stop()
		want := insert(t, s, 0, 30)
		time.Sleep(72 * time.Hour)
		synctest.Wait()
		tries := len(r.messages())
		if tries < 72*60/5 || tries > 2*72*60/5+20 {
			t.Errorf("%d tries in 72 h", tries)
		}
		if st := p.State(); !st.Failing || !strings.Contains(st.Reason, "refused") || st.Tries != tries || !st.NextAt.After(time.Now()) {
			t.Errorf("%+v after %d tries", st, tries)
		}
		dead.Store(false)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if got := r.taken(); !slices.Equal(got, want) {
			t.Errorf("%v arrived", got)
		}
		stop()
		if n := strings.Count(log.String(), "level=WARN"); n != 1 {
			t.Errorf("%d warnings: %s", n, log)
		}
	})
}

// What retention deletes before it could be delivered is counted, once; the rest arrives.
func TestWhatRetentionDeletesFirstIsCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := sqlitetest.Open(t)
		r := &receiver{t: t}
		for _, status := range []int{500, 429, 404, 0} {
			r.script = append(r.script, func() (int, http.Header) { return status, nil })
		}
		p, log, stop := pusher(t, s, r, func(o *Options) { o.Timeout = time.Second })
		defer stop()
		ctx := context.Background()
		state := berth.Push{Store: s, State: p.State}
		look := func() berth.PushState {
			t.Helper()
			got, err := state.Get(berth.WithCaller(ctx, berth.Caller{Role: berth.RoleOwner}))
			must(t, err)
			return got
		}
		want := insert(t, s, 0, 30)
		time.Sleep(time.Minute + time.Second) // it has seen them, and its first try has failed
		synctest.Wait()
		must(t, s.Tx(ctx, func(tx berth.Tx) error {
			days, err := tx.Usage().ChangedDays(ctx, berth.UsageDayKey{}, 100)
			return errors.Join(err, tx.Usage().Rated(ctx, days))
		}))
		keep := berth.Retention{Store: s, Now: func() time.Time { return usage(29).StartedAt.AddDate(0, 0, 10) }, Keep: berth.Keep{Records: 24 * time.Hour}}
		for _, unpushed := range []int64{30, 0} {
			if d, err := keep.Sweep(ctx); err != nil || d.Unpushed != unpushed {
				t.Errorf("%+v, %v", d, err)
			}
		}
		if got := look(); got.Waiting != (berth.PushWaiting{Lost: 30}) {
			t.Errorf("%+v", got)
		}
		late := insert(t, s, 30, 32)
		time.Sleep(time.Hour)
		synctest.Wait()
		// The batch that was under way when they were deleted arrives.
		if got := r.taken(); !slices.Equal(got, slices.Concat(want[:10], late)) {
			t.Errorf("%v arrived", got)
		}
		got := look()
		outcomes := map[berth.PushOutcome]int64{berth.PushTaken: 2, berth.PushPutOff: 2, berth.PushRefused: 1, berth.PushUnanswered: 1}
		if !maps.Equal(got.Messages, outcomes) || got.Delivered != 12 || got.Waiting != (berth.PushWaiting{Lost: 30}) {
			t.Errorf("%+v: %s", got, log)
		}
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(q *http.Request) (*http.Response, error) { return f(q) }

// What was taken and not noted before the process ended comes again as it was.
func TestARepeatIsRecognised(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := sqlitetest.Open(t)
		r := &receiver{t: t}
		first := New(Options{URL: "https://h", Types: []string{TypeRecord}, Store: s, Transport: r, Logger: slog.New(slog.DiscardHandler), Batch: 4})
		must(t, first.Begin(t.Context()))
		want := insert(t, s, 0, 6)
		b, err := first.next(t.Context())
		must(t, err)
		if !first.deliver(t.Context(), b.events) {
			t.Fatal("not delivered")
		}
		// It ends here, before done.
		_, _, stop := pusher(t, s, r, func(o *Options) { o.Batch, o.Types = 4, []string{TypeRecord} })
		time.Sleep(time.Minute)
		stop()
		got := r.messages()
		if len(got) != 3 || !slices.Equal(got[0].ids, want[:4]) || !slices.Equal(got[1].ids, want[:4]) || !slices.Equal(got[2].ids, want[4:]) {
			t.Fatalf("%+v", got)
		}
		if got[0].header.Get("Webhook-Id") != got[1].header.Get("Webhook-Id") || got[1].header.Get("Webhook-Id") == got[2].header.Get("Webhook-Id") {
			t.Error("the same message has another id, or another the same")
		}
	})
}

// The signature as the library of Standard Webhooks reads it, and the events as the SDK of
// CloudEvents does.
func TestOthersUnderstandIt(t *testing.T) {
	t.Parallel()
	s := sqlitetest.Open(t)
	old := "whsec_" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("o"), 24))
	secrets, err := Secrets(old + "\n" + secret + "\n")
	must(t, err)
	got := make(chan message, 10)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		if err != nil {
			t.Error(err)
		}
		got <- message{header: q.Header, body: body}
	}))
	defer server.Close()
	for _, single := range []bool{false, true} {
		_, _, stop := pusher(t, s, nil, func(o *Options) {
			o.URL, o.Secrets, o.Single, o.Token, o.Source, o.Every = server.URL, secrets, single, "token", "berth/eu", 0
		})
		insert(t, s, 1, 2)
		if single {
			insert(t, s, 2, 3)
		}
		m := <-got
		stop()
		for _, key := range []string{old, secret} {
			hook, err := webhooks.NewWebhook(key)
			must(t, err)
			if err := hook.Verify(m.body, m.header); err != nil {
				t.Errorf("single %t: %v", single, err)
			}
		}
		if hook, err := webhooks.NewWebhook("whsec_" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("x"), 24))); err != nil || hook.Verify(m.body, m.header) == nil {
			t.Errorf("another secret fits, too: %v", err)
		}
		if m.header.Get("Authorization") != "Bearer token" || !strings.HasPrefix(m.header.Get("User-Agent"), "berth/") {
			t.Errorf("%v", m.header)
		}
		kind := "application/cloudevents-batch+json"
		text := m.body
		if single {
			kind = "application/cloudevents+json"
			text = slices.Concat([]byte("["), text, []byte("]"))
		}
		if m.header.Get("Content-Type") != kind {
			t.Errorf("%v", m.header)
		}
		var events []cloudevents.Event
		must(t, json.Unmarshal(text, &events))
		for _, e := range events {
			if err := e.Validate(); err != nil {
				t.Errorf("%s: %v", text, err)
			}
			if e.Type() != "berth.usage.record" || e.Source() != "berth/eu" || e.Subject() != "llm-1" || !strings.HasPrefix(e.ID(), "use_") || !e.Time().Equal(usage(1).StartedAt) {
				t.Errorf("%s", text)
			}
			var data map[string]any
			must(t, e.DataAs(&data))
			if data["input_tokens"] != 10.0 || data["total_tokens"] != 15.0 || data["model_name"] != "m" || data["billable"] != true {
				t.Errorf("%v", data)
			}
		}
	}
}

func TestWhatIsToldOfWhat(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC)
	unbilled := usage(1)
	unbilled.Billable, unbilled.KeyID = false, ""
	change := berth.Notice{Event: berth.Event{ID: "evt_1", DeploymentID: "dep_1", At: at, Status: berth.StatusRunning, Capacity: 2, ReadyCapacity: 1, Reason: "It serves."},
		Deployment: berth.Deployment{DeployedModel: "m-1", WorkspaceID: "llm-1", ModelName: "m", Plan: berth.PlanMU}}
	warned := berth.Notice{Budget: berth.BudgetNews{ID: "bud_llm-1_2026-10_100_warned", At: at, AccountID: "77", WorkspaceID: "llm-1", Month: "2026-10", Kind: berth.BudgetWarned, Amount: 100, Spent: 85, Currency: "CNY"}}
	stopped := warned
	stopped.Budget.ID, stopped.Budget.Kind = "bud_llm-1_2026-10_100_stopped", berth.BudgetStopped
	month := berth.Notice{Month: berth.Month{AccountID: "77", Month: "2026-10", ClosedAt: at}}
	record := usage(1)
	for name, test := range map[string]struct {
		subject Subject
		types   []string
		make    func(*maker) (event, bool)
		want    string // type, subject, id; "": nothing
	}{
		"a record":                {SubjectWorkspace, []string{TypeRecord}, func(m *maker) (event, bool) { return m.record(&record) }, "berth.usage.record llm-1 use_0001"},
		"a record of a key":       {SubjectKey, []string{TypeRecord}, func(m *maker) (event, bool) { return m.record(&record) }, "berth.usage.record key_1 use_0001"},
		"of a deployment":         {SubjectDeployment, []string{TypeRecord}, func(m *maker) (event, bool) { return m.record(&record) }, "berth.usage.record m-1 use_0001"},
		"without a key":           {SubjectKey, []string{TypeUnbilled}, func(m *maker) (event, bool) { return m.record(&unbilled) }, "berth.usage.unbilled llm-1 use_0001"},
		"unbilled":                {SubjectWorkspace, []string{TypeRecord}, func(m *maker) (event, bool) { return m.record(&unbilled) }, ""},
		"an event":                {SubjectKey, []string{TypeStatus}, func(m *maker) (event, bool) { return m.notice(&change) }, "berth.deployment.status llm-1 evt_1"},
		"an event that is not":    {SubjectKey, []string{TypeRecord}, func(m *maker) (event, bool) { return m.notice(&change) }, ""},
		"a warning":               {SubjectKey, []string{TypeWarned}, func(m *maker) (event, bool) { return m.notice(&warned) }, "berth.budget.warning llm-1 bud_llm-1_2026-10_100_warned"},
		"of another type":         {SubjectKey, []string{TypeStopped}, func(m *maker) (event, bool) { return m.notice(&warned) }, ""},
		"a stop":                  {SubjectWorkspace, []string{TypeStopped}, func(m *maker) (event, bool) { return m.notice(&stopped) }, "berth.budget.stopped llm-1 bud_llm-1_2026-10_100_stopped"},
		"a closed month":          {SubjectWorkspace, []string{TypeClosed}, func(m *maker) (event, bool) { return m.notice(&month) }, "berth.statement.closed 77 stm_77_2026-10"},
		"what is not kept longer": {SubjectWorkspace, []string{TypeStatus, TypeClosed}, func(m *maker) (event, bool) { return m.notice(&berth.Notice{}) }, ""},
	} {
		m := maker{source: "berth", subject: test.subject, wanted: map[string]bool{}}
		for _, k := range test.types {
			m.wanted[k] = true
		}
		e, ok := test.make(&m)
		got := ""
		if ok {
			got = e.Type + " " + e.Subject + " " + e.ID
		}
		if got != test.want {
			t.Errorf("%s: %q instead of %q", name, got, test.want)
		}
	}
}

// Where an endpoint model may not be aimed, the push may not either; nor is it led there.
func TestTheRuleOfEndpointsHolds(t *testing.T) {
	t.Parallel()
	s := sqlitetest.Open(t)
	p := New(Options{URL: "http://169.254.169.254/latest", Types: []string{TypeRecord}, Store: s, Logger: slog.New(slog.DiscardHandler)})
	if err := p.send(t.Context(), "application/json", []byte("{}")); err == nil || !strings.Contains(err.Error(), "link-local") {
		t.Errorf("%v", err)
	}
	followed := false
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		followed = followed || q.URL.Path == "/there"
		http.Redirect(w, q, "/there", http.StatusTemporaryRedirect)
	}))
	defer server.Close()
	p = New(Options{URL: server.URL, Types: []string{TypeRecord}, Store: s, Logger: slog.New(slog.DiscardHandler)})
	err := p.send(t.Context(), "application/json", []byte("{}"))
	p.client.CloseIdleConnections()
	if a := new(answered); !errors.As(err, &a) || a.status != http.StatusTemporaryRedirect || followed {
		t.Errorf("%v, followed %t", err, followed)
	}
}

func TestPauses(t *testing.T) {
	t.Parallel()
	away := errors.New("connection refused")
	gone, busy := &answered{status: 410}, &answered{status: 429, after: 10 * time.Minute}
	for n := 1; n < 100; n++ {
		for _, random := range []float64{0, 0.5, 0.999} {
			full := min(pauseFirst<<min(n-1, 16), pauseLast)
			if got := pause(away, n, random); got < full/2 || got > full {
				t.Errorf("after failure %d %s", n, got)
			}
			if got := pause(gone, n, random); got < pauseLast/2 || got > pauseLast {
				t.Errorf("after a 410 %s", got)
			}
			if got := pause(busy, n, random); got != 10*time.Minute {
				t.Errorf("after a 429 that asks for 10 min %s", got)
			}
		}
	}
	if got := pause(&answered{status: 503, after: 999 * time.Hour}, 1, 0); got != pauseMost {
		t.Errorf("%s", got)
	}
	now := time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{"": 0, "7": 7 * time.Second, "-7": 0, "soon": 0, "Mon, 23 Nov 2026 03:01:00 GMT": time.Minute, "Mon, 23 Nov 2026 02:01:00 GMT": 0} {
		if got := retryAfter(http.Header{"Retry-After": {text}}, now); got != want {
			t.Errorf("%q: %s", text, got)
		}
	}
}

func TestSecretsAreChecked(t *testing.T) {
	t.Parallel()
	for text, ok := range map[string]bool{
		secret: true, secret + " " + secret: true, "": false, "whsec_": false, "secret": false, secret[6:]: false,
		"whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 23)): false, "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 65)): false,
		secret + "!": false, secret + " " + secret + " " + secret: false,
	} {
		if list, err := Secrets(text); (err == nil) != ok || ok && len(list) == 0 {
			t.Errorf("%q: %v", text, err)
		}
	}
}
