package api_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berthhq/berth/api"
)

// serve starts a server of one handler and returns a client for it.
func serve(t *testing.T, handle http.HandlerFunc) *api.Client {
	t.Helper()
	server := httptest.NewServer(handle)
	t.Cleanup(server.Close)
	return &api.Client{BaseURL: server.URL + "/", Key: "sk-test", HTTP: server.Client()}
}

func TestEachMethodSaysWhatItWants(t *testing.T) {
	t.Parallel()
	from := time.Date(2026, 10, 1, 8, 0, 0, 0, api.DefaultZone)
	for want, call := range map[string]func(context.Context, *api.Client) error{
		`POST /api/v1/deployments {"model_name":"m","plan":"mu","capacity":2}`: func(ctx context.Context, c *api.Client) error {
			_, err := c.CreateDeployment(ctx, api.CreateDeployment{ModelName: "m", Plan: "mu", Capacity: ptr(int64(2))})
			return err
		},
		`GET /api/v1/deployments/a%2Fb `: func(ctx context.Context, c *api.Client) error {
			_, err := c.GetDeployment(ctx, "a/b")
			return err
		},
		`GET /api/v1/deployments?page_no=2&page_size=10&plan=ptu `: func(ctx context.Context, c *api.Client) error {
			_, err := c.ListDeployments(ctx, 2, 10, "ptu")
			return err
		},
		`DELETE /api/v1/deployments/x `: func(ctx context.Context, c *api.Client) error {
			_, err := c.DeleteDeployment(ctx, "x")
			return err
		},
		`GET /api/v1/deployments/models?model_source=base&page_no=1&page_size=100&version=v1.0 `: func(ctx context.Context, c *api.Client) error {
			_, err := c.DeployableModels(ctx, 1, 100, "base")
			return err
		},
		`GET /berth/v1/deployments/x/events?cursor=evt_1 `: func(ctx context.Context, c *api.Client) error {
			_, err := c.Events(ctx, "x", "evt_1")
			return err
		},
		`POST /berth/v1/uploads {"files":[{"name":"w.gguf","size_bytes":3,"sha256":"ab"}]}`: func(ctx context.Context, c *api.Client) error {
			_, err := c.CreateUpload(ctx, api.CreateUpload{Files: []api.UploadFile{{Name: "w.gguf", SizeBytes: 3, SHA256: "ab"}}})
			return err
		},
		`POST /berth/v1/fine-tunes {"model":"m","upload":"upl_1","training_type":"sft"}`: func(ctx context.Context, c *api.Client) error {
			_, err := c.RegisterFineTune(ctx, api.RegisterFineTune{Model: "m", Upload: "upl_1", TrainingType: "sft"})
			return err
		},
		`GET /api/v1/fine-tunes?page_no=2&page_size=10 `: func(ctx context.Context, c *api.Client) error {
			_, err := c.ListFineTunes(ctx, 2, 10)
			return err
		},
		`GET /berth/v1/uploads/upl_1 `: func(ctx context.Context, c *api.Client) error {
			_, err := c.GetUpload(ctx, "upl_1")
			return err
		},
		`PATCH /berth/v1/uploads/upl_1/files/a%2Fb abc`: func(ctx context.Context, c *api.Client) error {
			_, err := c.AppendUpload(ctx, "upl_1", "a/b", 3, strings.NewReader("abc"))
			return err
		},
		`DELETE /berth/v1/uploads/upl_1 `: func(ctx context.Context, c *api.Client) error {
			return c.DeleteUpload(ctx, "upl_1")
		},
		`GET /berth/v1/deployments/x/replicas `: func(ctx context.Context, c *api.Client) error {
			_, err := c.Replicas(ctx, "x")
			return err
		},
		`GET /berth/v1/deployments/x/logs?lines=20 `: func(ctx context.Context, c *api.Client) error {
			_, err := c.Logs(ctx, "x", 20)
			return err
		},
		`POST /berth/v1/models {"name":"m","base":"b","adapter":"/f"}`: func(ctx context.Context, c *api.Client) error {
			_, err := c.AddModel(ctx, api.AddModel{Name: "m", Base: "b", Adapter: "/f"})
			return err
		},
		`GET /berth/v1/models `:      func(ctx context.Context, c *api.Client) error { _, err := c.ListModels(ctx); return err },
		`GET /berth/v1/models/m `:    func(ctx context.Context, c *api.Client) error { _, err := c.GetModel(ctx, "m"); return err },
		`DELETE /berth/v1/models/m `: func(ctx context.Context, c *api.Client) error { return c.DeleteModel(ctx, "m") },
		`GET /berth/v1/specs `:       func(ctx context.Context, c *api.Client) error { _, err := c.Specs(ctx); return err },
		`POST /berth/v1/keys {"role":"admin","expires_at":"2026-10-01T08:00:00+08:00"}`: func(ctx context.Context, c *api.Client) error {
			_, err := c.CreateKey(ctx, api.CreateKey{Role: "admin", ExpiresAt: from})
			return err
		},
		`GET /berth/v1/keys `:          func(ctx context.Context, c *api.Client) error { _, err := c.ListKeys(ctx); return err },
		`DELETE /berth/v1/keys/key_1 `: func(ctx context.Context, c *api.Client) error { return c.RevokeKey(ctx, "key_1") },
		`GET /berth/v1/usage?from=2026-10-01T00%3A00%3A00Z&group_by=deployed_model%2Cday `: func(ctx context.Context, c *api.Client) error {
			_, err := c.Usage(ctx, api.UsageFilter{From: from}, "deployed_model", "day")
			return err
		},
		`GET /berth/v1/usage/records?cursor=use_1&deployed_model=x&to=2026-10-01T00%3A00%3A00Z `: func(ctx context.Context, c *api.Client) error {
			_, err := c.UsageRecords(ctx, api.UsageFilter{To: from, DeployedModel: "x"}, "use_1")
			return err
		},
		`GET /berth/v1/nodes `: func(ctx context.Context, c *api.Client) error { _, err := c.Nodes(ctx); return err },
		`GET /healthz `:        func(ctx context.Context, c *api.Client) error { _, err := c.Health(ctx); return err },
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			var got, key string
			client := serve(t, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				got, key = fmt.Sprintf("%s %s %s", r.Method, r.RequestURI, body), r.Header.Get("Authorization")
				fmt.Fprint(w, `{}`)
			})
			if err := call(t.Context(), client); err != nil {
				t.Fatal(err)
			}
			if got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			if key != "Bearer sk-test" {
				t.Errorf("sent the key as %q", key)
			}
		})
	}
}

func TestTheIdempotencyKeyIsAHeader(t *testing.T) {
	t.Parallel()
	var keys []string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		keys = append(keys, fmt.Sprint(r.Header.Values("Idempotency-Key"), string(body)))
		_, _ = io.WriteString(w, "{}")
	})
	for _, key := range []string{"", "order-7"} {
		if _, err := c.CreateDeployment(t.Context(), api.CreateDeployment{ModelName: "m", IdempotencyKey: key}); err != nil {
			t.Fatal(err)
		}
	}
	if want := `[[]{"model_name":"m"} [order-7]{"model_name":"m"}]`; fmt.Sprint(keys) != want {
		t.Errorf("got %s, want %s", keys, want)
	}
}

func TestErrorsOfEveryShape(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status int
		header http.Header
		body   string
		want   api.Error
	}{
		"native": {
			409, nil, `{"request_id":"r1","code":"Conflict","message":"It exists."}`,
			api.Error{Status: 409, RequestID: "r1", Code: "Conflict", Message: "It exists."},
		},
		"the wait and the id in the header": {
			429, http.Header{"Retry-After": {"7"}, "X-Request-Id": {"r2"}}, `{"code":"Throttling","message":"Slower."}`,
			api.Error{Status: 429, RequestID: "r2", Code: "Throttling", Message: "Slower.", RetryAfter: 7 * time.Second},
		},
		"compatible": {
			401, nil, `{"error":{"message":"Bad key.","type":"invalid_request_error","param":null,"code":"invalid_api_key"},"request_id":"r3"}`,
			api.Error{Status: 401, RequestID: "r3", Code: "invalid_api_key", Message: "Bad key."},
		},
		"somebody else's": {
			502, nil, `<html>`,
			api.Error{Status: 502, Code: "HTTP 502", Message: "The server answered 502 Bad Gateway."},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				for k, v := range c.header {
					w.Header()[k] = v
				}
				w.WriteHeader(c.status)
				fmt.Fprint(w, c.body)
			})
			_, err := client.GetDeployment(t.Context(), "x")
			var got *api.Error
			if !errors.As(err, &got) || *got != c.want {
				t.Errorf("got %+v, want %+v", err, c.want)
			}
		})
	}
}

func TestWaitDeploymentEndsWhenNothingComesUpAnyMore(t *testing.T) {
	t.Parallel()
	statuses := []api.Status{api.StatusPending, api.StatusDeploying, api.StatusFailed}
	var looks atomic.Int64
	client := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"request_id":"r","output":{"status":%q}}`, statuses[looks.Add(1)-1])
	})
	var seen []api.Status
	end, err := client.WaitDeployment(t.Context(), "x", func(d api.Deployment) { seen = append(seen, d.Status) })
	if err != nil || end.Status != api.StatusFailed || !reflect.DeepEqual(seen, statuses) {
		t.Errorf("got %v, %v after %v", end.Status, err, seen)
	}
}

func TestWaitDeploymentIsInterruptible(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	client := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"output":{"status":"PENDING"}}`)
	})
	_, err := client.WaitDeployment(ctx, "x", func(api.Deployment) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func stream(frames ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for _, f := range frames {
			fmt.Fprint(w, f, "\n\n")
		}
	}
}

func delta(reasoning, content string) string {
	return fmt.Sprintf(`data: {"choices":[{"delta":{"reasoning_content":%q,"content":%q},"finish_reason":null}],"usage":null}`, reasoning, content)
}

const (
	finish = `data: {"choices":[{"delta":{"content":null},"finish_reason":"stop"}]}`
	figure = `data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7,"completion_tokens_details":{"reasoning_tokens":1}}}`
)

func TestChatPutsTheAnswerTogether(t *testing.T) {
	t.Parallel()
	client := serve(t, stream(": hello", delta("hm", ""), delta("", "4"), delta("", "2"), finish, figure, "data: [DONE]"))
	var pieces []string
	got, err := client.Chat(t.Context(), api.ChatRequest{Model: "x"}, func(reasoning, content string) error {
		pieces = append(pieces, reasoning+"|"+content)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got.Text != "42" || got.Reasoning != "hm" || got.FinishReason != "stop" {
		t.Errorf("got %+v", got)
	}
	if got.Usage.TotalTokens != 7 || got.Usage.CompletionDetails.ReasoningTokens != 1 {
		t.Errorf("got %+v", got.Usage)
	}
	if want := []string{"hm|", "|4", "|2"}; !reflect.DeepEqual(pieces, want) {
		t.Errorf("got pieces %q", pieces)
	}
}

func TestChatAsksForAStreamWithUsage(t *testing.T) {
	t.Parallel()
	var body []byte
	client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ = io.ReadAll(r.Body)
		stream(finish)(w, r)
	})
	_, err := client.Chat(t.Context(), api.ChatRequest{
		Model: "x", Messages: []api.Message{{Role: "user", Content: "hi"}},
		MaxTokens: ptr(int64(5)), Temperature: ptr(0.0), EnableThinking: ptr(false),
	}, nil)
	want := `{"model":"x","messages":[{"role":"user","content":"hi"}],"max_tokens":5,"temperature":0,"enable_thinking":false,"stream":true,"stream_options":{"include_usage":true}}`
	if err != nil || string(body) != want {
		t.Errorf("got %s, %v", body, err)
	}
}

func TestChatKeepsWhatCameBeforeAFailure(t *testing.T) {
	t.Parallel()
	refused := `data: {"error":{"message":"Gone.","type":"server_error","param":null,"code":"ModelServiceFailed"}}`
	stop := errors.New("stop")
	for name, c := range map[string]struct {
		frames  []string
		onDelta func(string, string) error
		check   func(error) bool
	}{
		"an error in the stream": {
			frames: []string{delta("", "half"), refused},
			check: func(err error) bool {
				var e *api.Error
				return errors.As(err, &e) && e.Code == "ModelServiceFailed" && e.Status == 0
			},
		},
		"a stream that is cut": {
			frames: []string{delta("", "half")},
			check:  func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) },
		},
		"a reader that has enough": {
			frames:  []string{delta("", "half"), delta("", "more"), finish},
			onDelta: func(string, string) error { return stop },
			check:   func(err error) bool { return errors.Is(err, stop) },
		},
		"a piece that is no JSON": {
			frames: []string{delta("", "half"), "data: {"},
			check:  func(err error) bool { return err != nil && strings.Contains(err.Error(), "read a piece") },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := serve(t, stream(c.frames...)).Chat(t.Context(), api.ChatRequest{}, c.onDelta)
			if got.Text != "half" || !c.check(err) {
				t.Errorf("got %q, %v", got.Text, err)
			}
		})
	}
}
