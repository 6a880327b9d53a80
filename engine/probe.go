package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	berth "github.com/berthhq/berth"
)

// probeBytesMax bounds what is read of an answer to a probe.
const probeBytesMax = 1 << 20

// Spent is what questions of ours made an engine do.
type Spent struct {
	Calls  int64 // that were answered
	Input  int64 // tokens, the cached ones among them
	Cached int64
	Output int64
	// Unheard is how many calls broke off: nobody knows what they made the engine do.
	Unheard int64
}

// Add adds what other questions came to.
func (s *Spent) Add(o Spent) {
	s.Calls += o.Calls
	s.Input += o.Input
	s.Cached += o.Cached
	s.Output += o.Output
	s.Unheard += o.Unheard
}

// ProbeMark begins the record of questions of ours to an engine.
func ProbeMark(replicaID, nonce, modelName string, at time.Time) berth.UsageMark {
	return berth.UsageMark{UsageRecord: berth.UsageRecord{
		ReplicaID: replicaID, Nonce: nonce, ModelName: modelName, Class: berth.ClassProbe, StartedAt: at,
	}}
}

// Settle completes the record of questions that ended with err. It is billed to nobody.
func (s Spent) Settle(m *berth.UsageMark, id string, at time.Time, err error) {
	m.ID, m.EndedAt = id, at
	m.InputTokens, m.CachedTokens, m.OutputTokens = s.Input, s.Cached, s.Output
	m.End, m.HTTPStatus, m.Source = berth.EndStop, http.StatusOK, berth.SourceEngine
	if err != nil {
		m.End, m.HTTPStatus = berth.EndEngineFailed, 0
	}
	if s.Unheard > 0 {
		m.Source = berth.SourceCounted
	}
	m.Most = berth.Tokens{Input: s.Input + s.Unheard*ProbeInput, Output: s.Output + s.Unheard*ProbeOutput}
}

// The most that one unheard probe can have made an engine do: a word within a chat
// template, and a token.
const (
	ProbeInput  = 1024
	ProbeOutput = 1
)

// probeUsage is what an engine says that a probe has cost it.
type probeUsage struct {
	PromptTokens     int64 `json:"prompt_tokens"`
	CompletionTokens int64 `json:"completion_tokens"`
	PromptDetails    *struct {
		CachedTokens int64 `json:"cached_tokens"`
	} `json:"prompt_tokens_details"`
}

func (u probeUsage) spent() Spent {
	s := Spent{Calls: 1, Input: u.PromptTokens, Output: u.CompletionTokens}
	if u.PromptDetails != nil {
		s.Cached = u.PromptDetails.CachedTokens
	}
	return s
}

// unanswered is what a probe without an answer has cost: nothing where the engine refused
// it or was not there yet.
func unanswered(err error) Spent {
	var refused *refusal
	if errors.As(err, &refused) || errors.Is(err, syscall.ECONNREFUSED) {
		return Spent{}
	}
	return Spent{Unheard: 1}
}

// askOneToken is a chat call with the fields of a driver; nil when the engine answered
// it with a token.
func askOneToken(ctx context.Context, client *http.Client, e Endpoint, fields []berth.Field) (Spent, error) {
	body := map[string]json.RawMessage{"messages": json.RawMessage(`[{"role":"user","content":"hello"}]`)}
	for _, f := range fields {
		body[f.Name] = f.Value
	}
	text, err := json.Marshal(body)
	if err != nil {
		return Spent{}, fmt.Errorf("say the probe: %w", err)
	}
	answer, err := ask(ctx, client, e, http.MethodPost, "/v1/chat/completions", text)
	if err != nil {
		return unanswered(err), err
	}
	var said struct {
		Choices []json.RawMessage `json:"choices"`
		Usage   probeUsage        `json:"usage"`
	}
	if err := json.Unmarshal(answer, &said); err != nil {
		return Spent{Unheard: 1}, fmt.Errorf("read the engine's answer: %w", err)
	}
	if len(said.Choices) == 0 || said.Usage.CompletionTokens < 1 {
		err = errors.New("the engine answered without a token")
	}
	return said.Usage.spent(), err
}

// askOneVector is a call for an embedding; nil when the engine answered it with one.
func askOneVector(ctx context.Context, client *http.Client, e Endpoint, fields []berth.Field) (Spent, error) {
	body := map[string]json.RawMessage{"input": json.RawMessage(`"hello"`)}
	for _, f := range fields {
		body[f.Name] = f.Value
	}
	text, err := json.Marshal(body)
	if err != nil {
		return Spent{}, fmt.Errorf("say the probe: %w", err)
	}
	answer, err := ask(ctx, client, e, http.MethodPost, "/v1/embeddings", text)
	if err != nil {
		return unanswered(err), err
	}
	var said struct {
		Data []struct {
			Embedding []float64 `json:"embedding"`
		} `json:"data"`
		Usage probeUsage `json:"usage"`
	}
	if err := json.Unmarshal(answer, &said); err != nil {
		return Spent{Unheard: 1}, fmt.Errorf("read the engine's answer: %w", err)
	}
	if len(said.Data) != 1 || len(said.Data[0].Embedding) == 0 {
		err = errors.New("the engine answered without a vector")
	}
	return said.Usage.spent(), err
}

// Answers reports whether an engine of ours says anything at all when it is asked how it
// is. llama.cpp, vLLM and the fake engine answer at once, whatever else they do, as long
// as they have a thread or a turn left for it.
func Answers(ctx context.Context, client *http.Client, e Endpoint) bool {
	_, err := ask(ctx, client, e, http.MethodGet, "/health", nil)
	var refused *refusal
	return err == nil || errors.As(err, &refused)
}

// ask returns the body of a 200 answer. Other answers are an error with the engine's
// own message.
func ask(ctx context.Context, client *http.Client, e Endpoint, method, path string, body []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, e.URL+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("ask engine: %w", err)
	}
	if e.Key != "" {
		request.Header.Set("Authorization", "Bearer "+e.Key)
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask engine: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(response.Body, probeBytesMax))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the engine's answer: %w", err)
	case response.StatusCode != http.StatusOK:
		return nil, &refusal{status: response.StatusCode, message: errorMessage(answer)}
	}
	return answer, nil
}

// refusal is an answer other than 200.
type refusal struct {
	status  int
	message string
}

func (r *refusal) Error() string {
	return fmt.Sprintf("the engine answered %d: %s", r.status, r.message)
}

// Refused reports whether err is an engine's answer, or that it did not come in time, and
// not that the engine cannot be reached.
func Refused(err error) bool {
	var unreached *url.Error
	return err != nil && (!errors.As(err, &unreached) || unreached.Timeout())
}

// The paths of vLLM, which the fake engine has as well.
const (
	loadPath   = "/v1/load_lora_adapter"
	unloadPath = "/v1/unload_lora_adapter"
)

// loadByName gives a running engine an adapter. One that is there already is no error:
// its name is made of its content.
func loadByName(ctx context.Context, client *http.Client, e Endpoint, a berth.AdapterRef) error {
	body, err := json.Marshal(map[string]string{"lora_name": adapterName(a.Digest), "lora_path": a.Path})
	if err != nil {
		return fmt.Errorf("say the adapter: %w", err)
	}
	_, err = ask(ctx, client, e, http.MethodPost, loadPath, body)
	var refused *refusal
	if errors.As(err, &refused) && strings.Contains(refused.message, "already been loaded") {
		return nil
	}
	return err
}

// unloadByName is the counterpart of loadByName. One that is not there is no error.
func unloadByName(ctx context.Context, client *http.Client, e Endpoint, a berth.AdapterRef) error {
	body, err := json.Marshal(map[string]string{"lora_name": adapterName(a.Digest)})
	if err != nil {
		return fmt.Errorf("say the adapter: %w", err)
	}
	_, err = ask(ctx, client, e, http.MethodPost, unloadPath, body)
	var refused *refusal
	if errors.As(err, &refused) && refused.status == http.StatusNotFound {
		return nil
	}
	return err
}

// errorMessage finds the sentence in an error body: OpenAI's {"error":{"message"}},
// a {"message"}, or else its beginning as it is.
func errorMessage(body []byte) string {
	var said struct {
		Error struct {
			Message string `json:"message"`
		} `json:"error"`
		Message string `json:"message"`
	}
	_ = json.Unmarshal(body, &said) // what is no such JSON is shown as it is
	for _, message := range []string{said.Error.Message, said.Message} {
		if message != "" {
			return message
		}
	}
	text := strings.TrimSpace(strings.ToValidUTF8(string(body[:min(len(body), 200)]), ""))
	if text == "" {
		return "an empty body"
	}
	return text
}
