package test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/pb33f/libopenapi-validator/config"
	"github.com/pb33f/libopenapi-validator/content"
	validation "github.com/pb33f/libopenapi-validator/errors"

	"github.com/berthhq/berth/api"
	"github.com/berthhq/berth/internal/sse"
)

// contract is api/openapi.yaml, ready to hold requests and answers against.
type contract struct {
	// answers are judged strictly: what is not described is a fault. Requests may hold
	// more than is described, as those of official clients do.
	answers, requests validator.Validator
	aliases           map[string]string
}

// theContract is read once; a document that is no OpenAPI 3.1 fails every test that
// starts a server.
var theContract = sync.OnceValues(func() (*contract, error) {
	document, err := libopenapi.NewDocument([]byte(api.OpenAPI))
	if err != nil {
		return nil, fmt.Errorf("read api/openapi.yaml: %w", err)
	}
	model, err := document.BuildV3Model()
	if err != nil {
		return nil, fmt.Errorf("read api/openapi.yaml: %w", err)
	}
	formats := []config.Option{
		config.WithFormatAssertions(), config.WithContentAssertions(),
		config.WithBodyDecoder("text/event-stream", content.JSONDecoder()), // one event at a time: see events
		config.WithBodyDecoder("application/x-ndjson", content.TextDecoder()),
	}
	requests, faults := validator.NewValidator(document, formats...)
	answers, more := validator.NewValidator(document, append(formats, config.WithStrictMode(),
		config.WithStrictIgnoredHeadersExtra("Request-Id"), // the id again, below the Anthropic base
		config.WithStrictIgnorePaths("$.body.content[*].input.*", // whatever a tool takes
			"$.body.hyper_parameters.*", "$.body.output.hyper_parameters.*", "$.body.output.jobs[*].hyper_parameters.*"))...) // whatever was registered
	if err := errors.Join(append(faults, more...)...); err != nil {
		return nil, fmt.Errorf("read api/openapi.yaml: %w", err)
	}
	c := &contract{answers: answers, requests: requests, aliases: map[string]string{}}
	node := model.Model.Extensions.GetOrZero("x-berth-aliases")
	if node == nil {
		return nil, errors.New("api/openapi.yaml has no x-berth-aliases")
	}
	if err := node.Decode(&c.aliases); err != nil {
		return nil, fmt.Errorf("read x-berth-aliases of api/openapi.yaml: %w", err)
	}
	if ok, faults := c.requests.ValidateDocument(); !ok {
		return nil, fmt.Errorf("api/openapi.yaml is no OpenAPI 3.1: %s", sentences(faults))
	}
	return c, nil
})

// held holds everything that goes through it against the contract: every answer to its
// last byte, and every request that was accepted. What is wrong fails the test when it
// ends.
type held struct {
	next     http.RoundTripper
	contract *contract
	mu       sync.Mutex
	faults   map[string]string // by operation and complaint: an example
}

// holdToContract wraps a transport for the length of a test.
func holdToContract(t testing.TB, next http.RoundTripper) http.RoundTripper {
	t.Helper()
	c, err := theContract()
	must(t, err)
	h := &held{next: next, contract: c, faults: map[string]string{}}
	t.Cleanup(func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		for fault, example := range h.faults {
			t.Errorf("%s\ndescribe it in api/openapi.yaml, or correct the answer\nin %s", fault, example)
		}
	})
	return h
}

// RoundTrip implements http.RoundTripper.
func (h *held) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Path == "/openapi.json" { // the contract does not describe itself
		return h.next.RoundTrip(r)
	}
	var body []byte
	if r.GetBody != nil {
		copied, err := r.GetBody()
		if err != nil {
			return nil, err
		}
		if body, err = io.ReadAll(copied); err != nil {
			return nil, err
		}
	}
	response, err := h.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	response.Body = &heard{ReadCloser: response.Body, end: func(answer []byte, whole bool) { h.check(r, body, response, answer, whole) }}
	return response, nil
}

// heard is a body that is looked at when it has been read or is given up.
type heard struct {
	io.ReadCloser
	text []byte
	once sync.Once
	end  func(text []byte, whole bool)
}

func (b *heard) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.text = append(b.text, p[:n]...)
	if err != nil {
		b.once.Do(func() { b.end(b.text, errors.Is(err, io.EOF)) })
	}
	return n, err
}

func (b *heard) Close() error {
	err := b.ReadCloser.Close()
	b.once.Do(func() { b.end(b.text, false) })
	return err
}

// refused are the answers with which what nobody described may be met: a path or a
// method that is not there. That all that is there is described, app's tests hold.
var refused = map[int]bool{http.StatusBadRequest: true, http.StatusUnauthorized: true, http.StatusNotFound: true}

func (h *held) check(r *http.Request, body []byte, response *http.Response, answer []byte, whole bool) {
	if r.Method == http.MethodHead || r.URL.Path == "/openapi.json" { // that it is OpenAPI 3.1 was checked as a whole
		return
	}
	asked := h.contract.request(r, body)
	for _, part := range parts(response, answer, whole) {
		_, faults := h.contract.answers.ValidateHttpResponse(asked, part)
		if len(faults) > 0 && (faults[0].IsPathMissingError() || faults[0].IsOperationMissingError()) {
			if !refused[response.StatusCode] {
				h.fault(r, response, fmt.Sprintf("answered %d, and is not described", response.StatusCode), answer)
			}
			return
		}
		h.complain(r, response, "the answer", faults, answer)
	}
	if response.StatusCode/100 == 2 {
		_, faults := h.contract.requests.ValidateHttpRequestSync(asked)
		h.complain(r, response, "the request was accepted and", faults, body)
	}
}

// request returns a copy of r as it is described: its path is the documented one, cleaned
// as the server cleans it, and its body is JSON, as the server takes any.
func (c *contract) request(r *http.Request, body []byte) *http.Request {
	clone := r.Clone(r.Context())
	clone.URL.Path = c.documented(path.Clean("/" + r.URL.Path))
	if r.URL.RawPath != "" {
		clone.URL.RawPath = c.documented(path.Clean("/" + r.URL.RawPath))
	}
	if clone.Header.Get("Content-Type") == "" {
		clone.Header.Set("Content-Type", "application/json")
	}
	clone.Body = io.NopCloser(bytes.NewReader(body))
	return clone
}

// documented puts the documented prefix in the place of an alias, the longest that fits.
func (c *contract) documented(path string) string {
	alias, target := "", path
	for prefix, instead := range c.aliases {
		rest, ok := strings.CutPrefix(path, prefix)
		if ok && (rest == "" || rest[0] == '/') && len(prefix) > len(alias) {
			alias, target = prefix, instead+rest
		}
	}
	return target
}

// parts returns what of an answer can be judged: all of it, or each event of a stream,
// or of an answer that was not read to its end nothing but status and header.
func parts(response *http.Response, answer []byte, whole bool) []*http.Response {
	part := func(body []byte) *http.Response {
		clone := *response
		clone.Body = io.NopCloser(bytes.NewReader(body))
		return &clone
	}
	if strings.HasPrefix(response.Header.Get("Content-Type"), "text/event-stream") {
		var list []*http.Response
		for _, event := range events(answer) {
			list = append(list, part(event))
		}
		return list
	}
	if !whole {
		return nil
	}
	return []*http.Response{part(answer)}
}

// events returns the events of a stream that have data, each as an object of its fields
// in JSON. The last one is left out unless a blank line closed it.
func events(stream []byte) (list [][]byte) {
	end := bytes.LastIndex(stream, []byte("\n\n"))
	if end < 0 {
		return nil
	}
	reader := sse.NewReader(bytes.NewReader(stream[:end+2]), 0)
	for {
		event, err := reader.Next()
		if err != nil {
			return list
		}
		fields := map[string]string{"data": string(event.Data)}
		for name, value := range map[string][]byte{"id": event.ID, "event": event.Type} {
			if value != nil {
				fields[name] = string(value)
			}
		}
		if event.Data == nil {
			continue
		}
		text, err := json.Marshal(fields)
		if err == nil {
			list = append(list, text)
		}
	}
}

func (h *held) complain(r *http.Request, response *http.Response, what string, faults []*validation.ValidationError, text []byte) {
	if len(faults) > 0 {
		h.fault(r, response, fmt.Sprintf("%d: %s is not as described: %s", response.StatusCode, what, sentences(faults)), text)
	}
}

// figures are what makes the same complaint look different each time.
var figures = regexp.MustCompile(`Declared \w+: \[[^]]*\]|[0-9a-f-]{8,}|[0-9]+`)

func (h *held) fault(r *http.Request, response *http.Response, complaint string, text []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	key := figures.ReplaceAllString(r.Method+" "+r.URL.Path+" "+complaint, "#")
	for known := range h.faults {
		if figures.ReplaceAllString(known, "#") == key {
			return
		}
	}
	h.faults[r.Method+" "+r.URL.Path+" "+complaint] = fmt.Sprintf("%s\n%s", response.Header.Get("X-Request-Id"), text)
}

// sentences are what is wrong, each with its place.
func sentences(faults []*validation.ValidationError) string {
	var list []string
	for _, f := range faults {
		if len(f.SchemaValidationErrors) == 0 {
			list = append(list, f.Message+": "+f.Reason)
		}
		for _, inner := range f.SchemaValidationErrors {
			list = append(list, inner.FieldPath+": "+inner.Reason)
		}
	}
	return strings.Join(list, "; ")
}

// answering is a transport whose answers are made up.
type answering func(*http.Request) *http.Response

func (a answering) RoundTrip(r *http.Request) (*http.Response, error) { return a(r), nil }

// What every test relies on: that an answer beside the contract is seen.
func TestWhatIsNotDescribedIsSeen(t *testing.T) {
	t.Parallel()
	const (
		key     = `{"id":"key_1","workspace_id":"llm-1","role":"admin","hint":"sk-…","created_at":"2026-10-02T00:00:00Z"}`
		wrong   = `{"request_id":"r","code":"InvalidParameter","message":"No."}`
		chunk   = `{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[],"system_fingerprint":null}`
		chats   = "POST /v1/chat/completions"
		one     = `{"model":"m","messages":[{"role":"user","content":"hi"}]}`
		streams = "text/event-stream"
	)
	c, err := theContract()
	must(t, err)
	for name, test := range map[string]struct {
		request, body string
		status        int
		kind, answer  string
		want          string // "": nothing is wrong
	}{
		"as described":                   {"DELETE /berth/v1/keys/key_1", "", 200, "", key, ""},
		"a field too many":               {"DELETE /berth/v1/keys/key_1", "", 200, "", key[:len(key)-1] + `,"hash":"x"}`, "'hash'"},
		"a field too few":                {"DELETE /berth/v1/keys/key_1", "", 200, "", `{"id":"key_1"}`, "missing properties"},
		"a value of none of the listed":  {"DELETE /berth/v1/keys/key_1", "", 200, "", strings.Replace(key, "admin", "king", 1), "must be one of"},
		"a time that is none":            {"DELETE /berth/v1/keys/key_1", "", 200, "", strings.Replace(key, "2026-10-02T", "2026-10-02 ", 1), "date-time"},
		"a code of another status":       {"DELETE /berth/v1/keys/key_1", "", 404, "", wrong, "must be 'NotFound'"},
		"a status that is not there":     {"DELETE /berth/v1/keys/key_1", "", 409, "", wrong, "409"},
		"another type of content":        {"DELETE /berth/v1/keys/key_1", "", 200, "text/plain", key, "text/plain"},
		"a method that is not there":     {"PATCH /berth/v1/keys/key_1", "", 200, "", key, "is not described"},
		"a path that is not there":       {"GET /berth/v1/secrets", "", 200, "", "{}", "is not described"},
		"which is refused":               {"GET /berth/v1/secrets", "", 404, "", wrong, ""},
		"a request beside the contract":  {"POST /berth/v1/keys", `{"role":"king"}`, 200, "", key[:len(key)-1] + `,"key":"sk-1"}`, "request was accepted"},
		"below another base":             {chats, one, 400, "", wrong, "missing property"},
		"a stream":                       {chats, one, 200, streams, "data: " + chunk + "\n\ndata: [DONE]\n\n", ""},
		"an event that is no chunk":      {chats, one, 200, streams, "data: {}\n\ndata: [DONE]\n\n", "data"},
		"half an event is no fault":      {chats, one, 200, streams, "data: " + chunk + "\n\ndata: {", ""},
		"a request id that is not there": {"GET /berth/v1/keys", "", 200, "none", `{"keys":[]}`, "X-Request-Id"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := &held{contract: c, faults: map[string]string{}, next: answering(func(r *http.Request) *http.Response {
				header := http.Header{"Content-Type": {cmp.Or(test.kind, "application/json")}, "X-Request-Id": {"r"}}
				if test.kind == "none" {
					header = http.Header{"Content-Type": {"application/json"}}
				}
				return &http.Response{StatusCode: test.status, Header: header, Request: r, Body: io.NopCloser(strings.NewReader(test.answer))}
			})}
			method, path, _ := strings.Cut(test.request, " ")
			request, err := http.NewRequestWithContext(t.Context(), method, "http://berth.test"+path, strings.NewReader(test.body))
			must(t, err)
			request.Header.Set("Authorization", "Bearer sk-1")
			request.Header.Set("Content-Type", "application/json")
			response, err := h.RoundTrip(request)
			must(t, err)
			_, err = io.ReadAll(response.Body)
			must(t, errors.Join(err, response.Body.Close()))
			found := fmt.Sprint(h.faults)
			if (test.want == "") != (len(h.faults) == 0) || !strings.Contains(found, test.want) {
				t.Errorf("got %s, want %q", found, test.want)
			}
		})
	}
}
