package calibrate

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/engine"
)

// Bounds of what is read of an engine.
const (
	lineBytesMax  = 1 << 20
	errorBytesMax = 4 << 10
)

// shape is what a call should be like. How many tokens its words come to, and how long
// the answer is, the engine says afterwards.
type shape struct {
	words  int64 // of the prompt
	output int64 // tokens
}

// said is what a call came to.
type said struct {
	input, cached, output int64
	firstToken            time.Duration
}

// lostError is a call whose connection did not last. That is how the end of an engine looks
// to its callers, before its runner knows.
type lostError struct{ error }

func (e lostError) Unwrap() error { return e.error }

// target is an engine that is driven.
type target struct {
	driver   engine.Driver
	endpoint engine.Endpoint
	model    string
	client   *http.Client
	now      func() time.Time
	draw     func() uint64
}

// prompt is made of words that no other prompt has, from the first on, so that no engine
// has read any of it before.
func (t *target) prompt(words int64) string {
	var b strings.Builder
	for range words {
		n := t.draw()
		for letters := 2 + n%6; letters > 0; letters-- {
			n /= 26
			b.WriteByte('a' + byte(n%26))
		}
		b.WriteByte(' ')
	}
	return b.String()
}

// body asks for an answer of exactly so many tokens. Engines that cannot be told to go on
// after their last word count as far as they are asked to.
func (t *target) body(s shape) ([]byte, error) {
	type message struct {
		Role    string `json:"role"`
		Content string `json:"content"`
	}
	body := map[string]any{
		"messages": []message{
			{"user", t.prompt(s.words)}, {"assistant", "ok"}, {"user", "count to " + strconv.FormatInt(s.output, 10)},
		},
		"ignore_eos": true,
	}
	call := berth.EngineCall{Model: t.model, Adapter: -1, MaxTokens: s.output, Stream: true, Class: berth.ClassProbe}
	for _, f := range t.driver.Fields(call) {
		body[f.Name] = json.RawMessage(f.Value)
	}
	return json.Marshal(body)
}

// call makes one call and reads it to its end.
func (t *target) call(ctx context.Context, s shape) (said, error) {
	body, err := t.body(s)
	if err != nil {
		return said{}, fmt.Errorf("say a call: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, t.endpoint.URL+"/v1/chat/completions", bytes.NewReader(body))
	if err != nil {
		return said{}, fmt.Errorf("call the engine: %w", err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+t.endpoint.Key)
	begun := t.now()
	answer, err := t.client.Do(r)
	if err != nil {
		return said{}, lostError{fmt.Errorf("call the engine: %w", err)}
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, errorBytesMax)) // the status says enough
		return said{}, fmt.Errorf("the engine answered %d: %s", answer.StatusCode, bytes.TrimSpace(text))
	}
	return t.read(answer.Body, begun)
}

// event is what counts of a piece of a stream.
type event struct {
	Choices []struct {
		Delta struct {
			Content          string `json:"content"`
			ReasoningContent string `json:"reasoning_content"`
			Reasoning        string `json:"reasoning"`
		} `json:"delta"`
	} `json:"choices"`
	Usage *struct {
		PromptTokens     int64 `json:"prompt_tokens"`
		CompletionTokens int64 `json:"completion_tokens"`
		PromptDetails    *struct {
			CachedTokens int64 `json:"cached_tokens"`
		} `json:"prompt_tokens_details"`
	} `json:"usage"`
}

func (e *event) text() bool {
	for _, c := range e.Choices {
		if c.Delta.Content+c.Delta.ReasoningContent+c.Delta.Reasoning != "" {
			return true
		}
	}
	return false
}

// read follows a stream. Only the events up to the first token and the last one with
// usage are looked into, for this program shares the machine with the engine.
func (t *target) read(body io.Reader, begun time.Time) (said, error) {
	var s said
	var last []byte
	lines := bufio.NewScanner(body)
	lines.Buffer(make([]byte, 0, 16<<10), lineBytesMax)
	for lines.Scan() {
		data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data:"))
		if !ok {
			continue
		}
		if s.firstToken == 0 {
			var e event
			if json.Unmarshal(data, &e) == nil && e.text() { // [DONE] is no JSON
				s.firstToken = max(t.now().Sub(begun), 1)
			}
		}
		if bytes.Contains(data, []byte(`"completion_tokens"`)) {
			last = append(last[:0], data...)
		}
	}
	if err := lines.Err(); err != nil {
		return s, lostError{fmt.Errorf("read the engine's answer: %w", err)}
	}
	var e event
	if err := json.Unmarshal(last, &e); err != nil || e.Usage == nil {
		return s, errors.New("the engine did not say how many tokens a call had")
	}
	s.input, s.output = e.Usage.PromptTokens, e.Usage.CompletionTokens
	if d := e.Usage.PromptDetails; d != nil {
		s.cached = min(d.CachedTokens, s.input)
	}
	if s.firstToken == 0 { // nothing to be seen in any token
		s.firstToken = max(t.now().Sub(begun), 1)
	}
	return s, nil
}
