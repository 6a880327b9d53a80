package fakeengine

import "strings"

// completion is a plain answer or one chunk of a stream, of chats and of text
// completions alike.
type completion struct {
	ID      string   `json:"id"`
	Object  string   `json:"object"`
	Created int64    `json:"created"` // Unix seconds
	Model   string   `json:"model"`
	Choices []choice `json:"choices"`
	Usage   *usage   `json:"usage,omitempty"`
}

// choice has a Message in a plain chat, a Delta in a streamed one, and a Text in
// text completions.
type choice struct {
	Index        int     `json:"index"`
	Message      *speech `json:"message,omitempty"`
	Delta        *speech `json:"delta,omitempty"`
	Text         *string `json:"text,omitempty"`
	FinishReason *string `json:"finish_reason"` // null until the choice ends
}

type speech struct {
	Role      string  `json:"role,omitempty"`
	Content   *string `json:"content,omitempty"`
	Reasoning *string `json:"reasoning_content,omitempty"`
}

type usage struct {
	PromptTokens      int                `json:"prompt_tokens"`
	CompletionTokens  int                `json:"completion_tokens"`
	TotalTokens       int                `json:"total_tokens"`
	PromptDetails     *promptDetails     `json:"prompt_tokens_details,omitempty"`
	CompletionDetails *completionDetails `json:"completion_tokens_details,omitempty"`
}

type promptDetails struct {
	CachedTokens int `json:"cached_tokens"`
}

type completionDetails struct {
	ReasoningTokens int `json:"reasoning_tokens"`
}

// dialect is what differs between the two endpoints that produce text. The
// choices it makes have neither index nor finish reason yet.
type dialect interface {
	// object names plain answers and chunks, and what their ids begin with.
	object(streamed bool) (object, idPrefix string)
	// whole is the choice of a plain answer; extra is added to the content.
	whole(a answer, extra string) choice
	// opening is the choice of the chunk before the first token; ok is false if
	// the dialect has no such chunk.
	opening() (c choice, ok bool)
	// piece is the choice of the chunk with one token.
	piece(text string, thinking bool) choice
	// closing is the choice of the chunk that carries the finish reason.
	closing() choice
}

type chatDialect struct{}

var _ dialect = chatDialect{}

func (chatDialect) object(streamed bool) (object, idPrefix string) {
	if streamed {
		return "chat.completion.chunk", "chatcmpl-"
	}
	return "chat.completion", "chatcmpl-"
}

func (chatDialect) whole(a answer, extra string) choice {
	said := speech{Role: "assistant", Content: new(strings.Join(a.content, "") + extra)}
	if len(a.thinking) > 0 {
		said.Reasoning = new(strings.Join(a.thinking, ""))
	}
	return choice{Message: &said}
}

func (chatDialect) opening() (choice, bool) {
	return choice{Delta: &speech{Role: "assistant", Content: new("")}}, true
}

func (chatDialect) piece(text string, thinking bool) choice {
	if thinking {
		return choice{Delta: &speech{Reasoning: &text}}
	}
	return choice{Delta: &speech{Content: &text}}
}

func (chatDialect) closing() choice { return choice{Delta: &speech{}} }

type textDialect struct{}

var _ dialect = textDialect{}

func (textDialect) object(bool) (object, idPrefix string) { return "text_completion", "cmpl-" }

func (textDialect) whole(a answer, extra string) choice {
	return choice{Text: new(strings.Join(a.content, "") + extra)}
}

func (textDialect) opening() (choice, bool) { return choice{}, false }

func (textDialect) piece(text string, _ bool) choice { return choice{Text: &text} }

func (textDialect) closing() choice { return choice{Text: new("")} }
