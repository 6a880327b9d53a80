package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/berthhq/berth/api"
)

// noon is the time at which every test happens.
var noon = time.Date(2026, 10, 2, 12, 0, 0, 0, time.UTC)

// fake is a server that answers what it is told to and remembers what it was asked.
type fake struct {
	*httptest.Server
	mu      sync.Mutex
	answers map[string][]http.HandlerFunc // by method and path; the last one stays
	asked   []string
}

func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{answers: map[string][]http.HandlerFunc{}}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	f.mu.Lock()
	f.asked = append(f.asked, strings.TrimSpace(fmt.Sprintf("%s %s %s", r.Method, r.RequestURI, body)))
	key := r.Method + " " + r.URL.Path
	answers := f.answers[key]
	if len(answers) > 1 {
		f.answers[key] = answers[1:]
	}
	f.mu.Unlock()
	if len(answers) == 0 {
		refuse(404, "NotFound", "There is no "+r.URL.Path+".")(w, r)
		return
	}
	answers[0](w, r)
}

// on makes the server give these answers, one after the other.
func (f *fake) on(call string, answers ...http.HandlerFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers[call] = answers
}

func (f *fake) calls() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

// bare answers with an object of ours, output with an envelope around one.
func bare(v any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(v) }
}

func output(v any) http.HandlerFunc { return bare(api.Envelope[any]{RequestID: "r-1", Output: v}) }

func refuse(status int, code, message string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(api.Error{RequestID: "r-9", Code: code, Message: message})
	}
}

// result is what a command left behind.
type result struct {
	code     int
	out, err string
}

// run executes a command line against the fake, with an environment of pairs.
func (f *fake) run(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	return run(t, stdin, map[string]string{"BERTH_URL": f.URL, "BERTH_API_KEY": "sk-test"}, args...)
}

func run(t *testing.T, stdin string, env map[string]string, args ...string) result {
	t.Helper()
	var out, errs bytes.Buffer
	root := New(Options{
		Version: "1.2.3",
		In:      strings.NewReader(stdin),
		Out:     &out,
		Err:     &errs,
		Env:     func(name string) string { return env[name] },
		Now:     func() time.Time { return noon },
		Local:   []*cobra.Command{{Use: "serve", Short: "Run the server", Run: func(*cobra.Command, []string) {}}},
	})
	root.SetArgs(args)
	code := Execute(t.Context(), root)
	return result{code, out.String(), errs.String()}
}

// mustWrite makes a file in a data directory.
func mustWrite(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func ptr[T any](v T) *T { return &v }
