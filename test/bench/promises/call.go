//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"
)

// prompt is made of words that no other has, from the first on, as those of a calibration:
// no engine has read any of it before.
func prompt(words int, random *rand.Rand) string {
	var b strings.Builder
	for range words {
		for range 2 + random.IntN(6) {
			b.WriteByte('a' + byte(random.IntN(26)))
		}
		b.WriteByte(' ')
	}
	return b.String()
}

type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// messages put the words first and end with a question whose answer is long enough.
func messages(words string, output int64) []message {
	return []message{{"user", words}, {"assistant", "ok"}, {"user", fmt.Sprintf("count to %d", output)}}
}

// said is what a call came to. Status 0: no whole answer.
type said struct {
	status        int
	first, took   time.Duration // from its beginning to the first token, to the end
	input, output int64         // tokens
}

// chat is a streamed call of a deployment.
func (s *server) chat(ctx context.Context, model, words string, output int64) said {
	body, _ := json.Marshal(map[string]any{
		"model": model, "messages": messages(words, output), "max_tokens": output, "temperature": 0,
		"stream": true, "stream_options": map[string]any{"include_usage": true},
	}) // cannot fail
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.BaseURL+"/compatible-mode/v1/chat/completions", bytes.NewReader(body))
	if err != nil {
		return said{}
	}
	r.Header.Set("Authorization", "Bearer "+s.Key)
	r.Header.Set("Content-Type", "application/json")
	began := time.Now()
	answer, err := s.http.Do(r)
	if err != nil {
		return said{}
	}
	defer answer.Body.Close()
	got := said{status: answer.StatusCode}
	if got.status != http.StatusOK {
		return got
	}
	got.status = 0
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data: "))
		switch {
		case !ok:
		case string(data) == "[DONE]":
			got.status, got.took = http.StatusOK, time.Since(began)
		case got.first == 0 || bytes.Contains(data, []byte(`"completion_tokens"`)): // the others say nothing new
			got.hear(data, began)
		}
	}
	return got
}

// hear reads an event.
func (s *said) hear(data []byte, began time.Time) {
	var e struct {
		Choices []struct{ Delta struct{ Content string } }
		Usage   *struct {
			Prompt int64 `json:"prompt_tokens"`
			Output int64 `json:"completion_tokens"`
		}
	}
	if json.Unmarshal(data, &e) != nil {
		return
	}
	if s.first == 0 && len(e.Choices) > 0 && e.Choices[0].Delta.Content != "" {
		s.first = time.Since(began)
	}
	if e.Usage != nil {
		s.input, s.output = e.Usage.Prompt, e.Usage.Output
	}
}

// count asks for the exact tokens of a call's prompt.
func (s *server) count(ctx context.Context, model, words string, output int64) (int64, error) {
	body, _ := json.Marshal(map[string]any{"model": model, "messages": messages(words, output)}) // cannot fail
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.BaseURL+"/apps/anthropic/v1/messages/count_tokens", bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	r.Header.Set("Authorization", "Bearer "+s.Key)
	r.Header.Set("Content-Type", "application/json")
	answer, err := s.http.Do(r)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	var counted struct {
		Input int64 `json:"input_tokens"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&counted); err != nil || counted.Input == 0 {
		return 0, errors.Join(fmt.Errorf("count the tokens of a prompt: %s", answer.Status), err)
	}
	return counted.Input, nil
}
