package api

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Message is one turn of a conversation.
type Message struct {
	Role    string `json:"role"` // system, user or assistant
	Content string `json:"content"`
}

// ChatRequest is what [Client.Chat] asks. Nil fields are left to the model.
type ChatRequest struct {
	Model          string    `json:"model"` // a deployed model
	Messages       []Message `json:"messages"`
	MaxTokens      *int64    `json:"max_tokens,omitempty"`
	Temperature    *float64  `json:"temperature,omitempty"`
	EnableThinking *bool     `json:"enable_thinking,omitempty"`
}

// Answer is a whole answer, or as much of it as came.
type Answer struct {
	Text         string    `json:"text"`
	Reasoning    string    `json:"reasoning,omitempty"`
	FinishReason string    `json:"finish_reason"` // stop, length or tool_calls
	Usage        ChatUsage `json:"usage"`
}

// ChatUsage counts the tokens of one call.
type ChatUsage struct {
	PromptTokens     int64 `json:"prompt_tokens"`
	CompletionTokens int64 `json:"completion_tokens"` // reasoning included
	TotalTokens      int64 `json:"total_tokens"`
	PromptDetails    struct {
		CachedTokens int64 `json:"cached_tokens"`
	} `json:"prompt_tokens_details"`
	CompletionDetails struct {
		ReasoningTokens int64 `json:"reasoning_tokens"`
	} `json:"completion_tokens_details"`
}

// streamedChat is a ChatRequest as it is sent.
type streamedChat struct {
	ChatRequest
	Stream        bool          `json:"stream"`
	StreamOptions streamOptions `json:"stream_options"`
}

type streamOptions struct {
	IncludeUsage bool `json:"include_usage"`
}

type chunk struct {
	wireError
	Choices []struct {
		Delta struct {
			Content          string `json:"content"`
			ReasoningContent string `json:"reasoning_content"`
		} `json:"delta"`
		FinishReason string `json:"finish_reason"`
	} `json:"choices"`
	Usage *ChatUsage `json:"usage"`
}

// Chat asks for an answer and hands each piece of it to onDelta, unless that is nil, as
// it comes. An error of onDelta ends the call. With any error, what had come until then
// is in the answer.
func (c *Client) Chat(ctx context.Context, r ChatRequest, onDelta func(reasoning, content string) error) (Answer, error) {
	response, err := c.send(ctx, request{
		method: http.MethodPost,
		path:   "/compatible-mode/v1/chat/completions",
		body:   streamedChat{r, true, streamOptions{IncludeUsage: true}},
	})
	if err != nil {
		return Answer{}, err
	}
	defer response.Body.Close()
	if onDelta == nil {
		onDelta = func(string, string) error { return nil }
	}
	return readStream(response.Body, onDelta)
}

// The longest line of a stream that is read.
const maxLineBytes = 16 << 20

func readStream(stream io.Reader, onDelta func(reasoning, content string) error) (Answer, error) {
	a := assembly{onDelta: onDelta}
	lines := bufio.NewScanner(stream)
	lines.Buffer(nil, maxLineBytes)
	for lines.Scan() {
		data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data:"))
		data = bytes.TrimSpace(data)
		if !ok || bytes.Equal(data, []byte("[DONE]")) {
			continue
		}
		if err := a.take(data); err != nil {
			return a.answer(), err
		}
	}
	if err := lines.Err(); err != nil {
		return a.answer(), fmt.Errorf("read the answer: %w", err)
	}
	if a.finishReason == "" {
		return a.answer(), fmt.Errorf("the answer was cut off: %w", io.ErrUnexpectedEOF)
	}
	return a.answer(), nil
}

// assembly is an answer that is being put together.
type assembly struct {
	onDelta         func(reasoning, content string) error
	text, reasoning strings.Builder
	finishReason    string
	usage           ChatUsage
}

func (a *assembly) answer() Answer {
	return Answer{Text: a.text.String(), Reasoning: a.reasoning.String(), FinishReason: a.finishReason, Usage: a.usage}
}

func (a *assembly) take(data []byte) error {
	var piece chunk
	if err := json.Unmarshal(data, &piece); err != nil {
		return fmt.Errorf("read a piece of the answer: %w", err)
	}
	if e := piece.refusal(); e != nil {
		return e
	}
	if piece.Usage != nil {
		a.usage = *piece.Usage
	}
	for _, choice := range piece.Choices {
		a.finishReason = cmp.Or(choice.FinishReason, a.finishReason)
		reasoning, content := choice.Delta.ReasoningContent, choice.Delta.Content
		if reasoning == "" && content == "" {
			continue
		}
		a.reasoning.WriteString(reasoning)
		a.text.WriteString(content)
		if err := a.onDelta(reasoning, content); err != nil {
			return err
		}
	}
	return nil
}
