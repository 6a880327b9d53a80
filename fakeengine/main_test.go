package fakeengine_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/berthhq/berth/fakeengine"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const chatPath = "/v1/chat/completions"

// served is an engine behind a real server, whose connections can be cut.
type served struct {
	*fakeengine.Engine
	url    string
	client *http.Client
}

func mustServe(t testing.TB, script fakeengine.Script) served {
	t.Helper()
	engine := mustNew(t, script, fakeengine.Options{})
	server := httptest.NewServer(engine)
	t.Cleanup(func() {
		engine.Kill(0)
		server.Close()
	})
	return served{Engine: engine, url: server.URL, client: server.Client()}
}

func mustNew(t testing.TB, script fakeengine.Script, options fakeengine.Options) *fakeengine.Engine {
	t.Helper()
	if err := script.Validate(); err != nil {
		t.Fatal(err)
	}
	return fakeengine.New(script, options)
}

// post sends a body and returns the answer, with whatever error cut it.
func (s served) post(t testing.TB, path, body string) (status int, answer string, err error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	response, err := s.client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	got, err := io.ReadAll(response.Body)
	return response.StatusCode, string(got), err
}

// mustAsk hands a request to the engine without a network and returns the answer,
// which must have the status.
func mustAsk(t testing.TB, engine http.Handler, method, path, body string, status int) []byte {
	t.Helper()
	recorder := httptest.NewRecorder()
	engine.ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body)))
	if recorder.Code != status {
		t.Fatalf("%s %s %s: status %d, want %d: %s", method, path, body, recorder.Code, status, recorder.Body)
	}
	return recorder.Body.Bytes()
}

// reply is what a client makes of an answer, streamed or not: the joined texts of
// each choice, and the usage if there was one.
type reply struct {
	Choices []spoken
	Usage   string // as JSON, "" without
	Model   string
}

type spoken struct{ Thinking, Content, Finish string }

// wireAnswer reads plain answers and chunks of both dialects.
type wireAnswer struct {
	ID, Object, Model string
	Created           int64
	Choices           []struct {
		Index          int
		Message, Delta struct {
			Role      *string
			Content   string
			Reasoning string `json:"reasoning_content"`
		}
		Text         string
		FinishReason string `json:"finish_reason"`
	}
	Usage json.RawMessage
}

func (r *reply) add(t testing.TB, part []byte) {
	t.Helper()
	var wire wireAnswer
	if err := json.Unmarshal(part, &wire); err != nil {
		t.Fatalf("%v in %q", err, part)
	}
	r.Model = wire.Model
	if wire.Usage != nil {
		r.Usage = string(wire.Usage)
	}
	for _, c := range wire.Choices {
		for len(r.Choices) <= c.Index {
			r.Choices = append(r.Choices, spoken{})
		}
		s := &r.Choices[c.Index]
		s.Thinking += c.Message.Reasoning + c.Delta.Reasoning
		s.Content += c.Message.Content + c.Delta.Content + c.Text
		s.Finish += c.FinishReason
	}
}

func mustPlain(t testing.TB, body []byte) reply {
	t.Helper()
	var r reply
	r.add(t, body)
	return r
}

// mustStreamed reads a whole stream, which must end with [DONE].
func mustStreamed(t testing.TB, body []byte) reply {
	t.Helper()
	var r reply
	events := dataOf(body)
	if len(events) == 0 || events[len(events)-1] != "[DONE]" {
		t.Fatalf("stream without its end: %q", body)
	}
	for _, event := range events[:len(events)-1] {
		r.add(t, []byte(event))
	}
	return r
}

// dataOf returns the data of all whole events of a stream.
func dataOf(stream []byte) []string {
	var out []string
	for _, frame := range bytes.SplitAfter(stream, []byte("\n\n")) {
		if data, ok := bytes.CutSuffix(frame, []byte("\n\n")); ok {
			out = append(out, strings.TrimPrefix(string(data), "data: "))
		}
	}
	return out
}

// chat is the body of a chat with one user message; extra is put before the end,
// for example `,"stream":true`.
func chat(text, extra string) string {
	return `{"model":"m","messages":[{"role":"user","content":` + quoted(text) + `}]` + extra + `}`
}

// prompt is the body of a text completion.
func prompt(text, extra string) string {
	return `{"model":"m","prompt":` + quoted(text) + extra + `}`
}

func quoted(text string) string {
	out, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	return string(out)
}
