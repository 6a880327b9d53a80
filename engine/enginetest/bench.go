package enginetest

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/berthhq/berth/engine"
	"github.com/berthhq/berth/fakeengine"
)

// bench is one Runner with a receiver of its exits.
type bench struct {
	Harness
	client    *http.Client
	receiving sync.Mutex       // whoever holds it keeps exits from being received
	exits     chan engine.Exit // large enough for every test
}

func newBench(t *testing.T, h Harness) *bench {
	t.Helper()
	transport := &http.Transport{}
	b := &bench{Harness: h, client: &http.Client{Transport: transport}, exits: make(chan engine.Exit, 1000)}
	received := make(chan struct{})
	go func() {
		defer close(received)
		for exit := range h.Runner.Exits() {
			b.receiving.Lock()
			b.exits <- exit
			b.receiving.Unlock()
		}
	}()
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		b.mustClose(t)
		<-received
	})
	return b
}

func bounded(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func (b *bench) launch(t testing.TB, replicaID, nonce string, script fakeengine.Script) engine.Launch {
	t.Helper()
	l := b.Launch(t, script)
	l.ReplicaID, l.Nonce = replicaID, nonce
	return l
}

func (b *bench) mustStart(t testing.TB, replicaID, nonce string, script fakeengine.Script) engine.Instance {
	t.Helper()
	i, err := b.Runner.Start(bounded(t), b.launch(t, replicaID, nonce, script))
	if err != nil {
		t.Fatalf("start %s: %v", replicaID, err)
	}
	return i
}

func (b *bench) mustStop(t testing.TB, replicaID, nonce string, grace time.Duration) {
	t.Helper()
	if err := b.Runner.Stop(bounded(t), replicaID, nonce, grace); err != nil {
		t.Fatalf("stop %s: %v", replicaID, err)
	}
}

func (b *bench) mustClose(t testing.TB) {
	t.Helper()
	if err := b.Runner.Close(bounded(t)); err != nil {
		t.Errorf("close: %v", err)
	}
}

func (b *bench) mustExit(t testing.TB) engine.Exit {
	t.Helper()
	select {
	case exit := <-b.exits:
		return exit
	case <-time.After(patience):
		t.Fatal("no exit was delivered")
		return engine.Exit{}
	}
}

// call is one chat call; it returns the status, or 0 when nobody answered.
func (b *bench) call(t testing.TB, i engine.Instance, key string) int {
	t.Helper()
	body := `{"messages":[{"role":"user","content":"37+85"}]}`
	r, err := http.NewRequestWithContext(bounded(t), http.MethodPost, i.Endpoint.URL+"/v1/chat/completions", bytes.NewReader([]byte(body)))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+key)
	response, err := b.client.Do(r)
	if err != nil {
		return 0
	}
	defer func() { _ = response.Body.Close() }()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return 0
	}
	return response.StatusCode
}

// mustServe returns once the engine answers a call. What is started need not listen
// yet, and the only way to learn that it does is to ask.
func (b *bench) mustServe(t testing.TB, i engine.Instance) {
	t.Helper()
	ctx := bounded(t)
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for b.call(t, i, i.Endpoint.Key) != http.StatusOK {
		select {
		case <-ctx.Done():
			t.Fatalf("%s does not answer", i.ReplicaID)
		case <-again.C:
		}
	}
}

func (b *bench) mustBeGone(t testing.TB, i engine.Instance) {
	t.Helper()
	if status := b.call(t, i, i.Endpoint.Key); status != 0 {
		t.Errorf("%s answers %d after its end", i.ReplicaID, status)
	}
	if b.Runner.Runs(i.ReplicaID, i.Nonce) {
		t.Errorf("%s runs after its end", i.ReplicaID)
	}
	for _, other := range b.Runner.Instances() {
		if other.Nonce == i.Nonce {
			t.Errorf("%s is listed after its end", i.ReplicaID)
		}
	}
}
