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

	berth "github.com/berthhq/berth"
)

// probeBytesMax bounds what is read of an answer to a probe.
const probeBytesMax = 1 << 20

// askOneToken is a chat call with the fields of a driver; nil when the engine answered
// it with a token.
func askOneToken(ctx context.Context, client *http.Client, e Endpoint, fields []berth.Field) error {
	body := map[string]json.RawMessage{"messages": json.RawMessage(`[{"role":"user","content":"hello"}]`)}
	for _, f := range fields {
		body[f.Name] = f.Value
	}
	text, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("say the probe: %w", err)
	}
	answer, err := ask(ctx, client, e, http.MethodPost, "/v1/chat/completions", text)
	if err != nil {
		return err
	}
	var said struct {
		Choices []json.RawMessage `json:"choices"`
		Usage   struct {
			CompletionTokens int64 `json:"completion_tokens"`
		} `json:"usage"`
	}
	if err := json.Unmarshal(answer, &said); err != nil {
		return fmt.Errorf("read the engine's answer: %w", err)
	}
	if len(said.Choices) == 0 || said.Usage.CompletionTokens < 1 {
		return errors.New("the engine answered without a token")
	}
	return nil
}

// askOneVector is a call for an embedding; nil when the engine answered it with one.
func askOneVector(ctx context.Context, client *http.Client, e Endpoint, fields []berth.Field) error {
	body := map[string]json.RawMessage{"input": json.RawMessage(`"hello"`)}
	for _, f := range fields {
		body[f.Name] = f.Value
	}
	text, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("say the probe: %w", err)
	}
	answer, err := ask(ctx, client, e, http.MethodPost, "/v1/embeddings", text)
	if err != nil {
		return err
	}
	var said struct {
		Data []struct {
			Embedding []float64 `json:"embedding"`
		} `json:"data"`
	}
	if err := json.Unmarshal(answer, &said); err != nil {
		return fmt.Errorf("read the engine's answer: %w", err)
	}
	if len(said.Data) != 1 || len(said.Data[0].Embedding) == 0 {
		return errors.New("the engine answered without a vector")
	}
	return nil
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
