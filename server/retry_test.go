package server_test

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/server"
)

// refusing returns a desk whose every operation fails with err.
func refusing(t *testing.T, err error) *desk {
	t.Helper()
	d := newDesk(t)
	o := d.options
	o.Authenticate = func(string, string) (*berth.KeyEntry, error) { return nil, err }
	d.server.Config.Handler = server.New(o)
	return d
}

// conformance 143, 144, 145
func TestEveryRefusalSaysWhetherToTryAgain(t *testing.T) {
	t.Parallel()
	refusal := func(code berth.Code, wait time.Duration) error {
		return &berth.Error{Code: code, Message: "No.", RetryAfter: wait}
	}
	for name, c := range map[string]struct {
		err          error
		status       int
		after, never string // of a POST
		neverOfGet   string
	}{
		"a limit that passes":                {refusal(berth.CodeThrottled, 1500*time.Millisecond), 429, "2", "", ""},
		"a limit that passes at once":        {refusal(berth.CodeThrottled, time.Millisecond), 429, "1", "", ""},
		"a limit that passes late":           {refusal(berth.CodeThrottled, time.Hour), 429, "60", "", ""},
		"a limit that waiting does not cure": {refusal(berth.CodeThrottled, 0), 429, "", "false", "false"},
		"what comes up by itself":            {refusal(berth.CodeUnavailable, 5*time.Second), 503, "5", "", ""},
		"what does not":                      {refusal(berth.CodeUnavailable, 0), 503, "", "false", "false"},
		"a conflict":                         {refusal(berth.CodeConflict, 0), 409, "", "false", "false"},
		"a purchase that does not fit":       {refusal(berth.CodeNoCapacity, 0), 400, "", "false", "false"},
		"a mistake":                          {refusal(berth.CodeInvalid, 0), 400, "", "", ""},
		"a failure may have written":         {errors.New("disk"), 500, "", "false", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := refusing(t, c.err)
			for call, never := range map[string]string{
				"POST /api/v1/deployments": c.never, "DELETE /berth/v1/keys/x": c.never, "GET /api/v1/deployments": c.neverOfGet,
			} {
				a := d.ask(request{key: "admin", call: call})
				if a.status != c.status || a.header.Get("Retry-After") != c.after || a.header.Get("X-Should-Retry") != never {
					t.Errorf("%s: %d, retry-after %q, x-should-retry %q", call, a.status, a.header.Get("Retry-After"), a.header.Get("X-Should-Retry"))
				}
			}
		})
	}
}

// conformance 5, 142
func TestAPanicIsAnsweredAndLogged(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	var log bytes.Buffer
	o := d.options
	o.Authenticate = func(string, string) (*berth.KeyEntry, error) { panic("of a programmer") }
	o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	d.server.Config.Handler = server.New(o)
	a := d.mustRefuse("a panic", request{key: "admin", call: "POST /api/v1/deployments"}, http.StatusInternalServerError, "InternalError", "An internal error has occured")
	if strings.Contains(a.text, "programmer") || a.header.Get("X-Should-Retry") != "false" {
		t.Errorf("got %s", a.text)
	}
	for _, want := range []string{"of a programmer", "retry_test.go", a.string("request_id")} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %q: %s", want, &log)
		}
	}
}

// The error's shape follows the base where there is no operation (api.md 1, 9.7).
func TestUnknownPathsAreRefusedInTheShapeOfTheirBase(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	ask := func(path, key string) (*http.Response, string) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, d.server.URL+path, nil)
		must(t, err)
		r.Header.Set("Authorization", "Bearer "+key)
		r.Header.Set("X-Request-Id", "mine")
		response, err := d.server.Client().Do(r)
		must(t, err)
		defer response.Body.Close()
		var body bytes.Buffer
		_, err = body.ReadFrom(response.Body)
		must(t, err)
		return response, strings.TrimSpace(body.String())
	}
	for path, c := range map[string]struct {
		key, body, anthropicID string
		status                 int
	}{
		"/api/v1/nothing":                {d.keys["guest"], `{"request_id":"mine","code":"NotFound","message":"Not found!"}`, "", 404},
		"/compatible-mode/v1/nothing":    {d.keys["guest"], `{"error":{"message":"Not found!","type":"invalid_request_error","param":null,"code":"not_found"},"request_id":"mine"}`, "", 404},
		"/v1/nothing":                    {"sk-wrong", `{"error":{"message":"Invalid API-key provided.","type":"invalid_request_error","param":null,"code":"invalid_api_key"},"request_id":"mine"}`, "", 401}, // conformance 3
		"/apps/anthropic/v1/nothing":     {d.keys["guest"], `{"type":"error","error":{"type":"not_found_error","message":"Not found!"},"request_id":"mine","code":"NotFound","message":"Not found!"}`, "mine", 404},
		"/apps/anthropic/nothing":        {"sk-wrong", `{"type":"error","error":{"type":"authentication_error","message":"Invalid API-key provided."},"request_id":"mine","code":"InvalidApiKey","message":"Invalid API-key provided."}`, "mine", 401},
		"/apps/anthropic/deployments/no": {d.keys["guest"], `{"request_id":"mine","code":"NotFound","message":"Model: no not found!"}`, "mine", 404},
	} {
		response, body := ask(path, c.key)
		if response.StatusCode != c.status || body != c.body || response.Header.Get("X-Request-Id") != "mine" || response.Header.Get("Request-Id") != c.anthropicID {
			t.Errorf("%s: %d %s", path, response.StatusCode, body)
		}
	}
}
