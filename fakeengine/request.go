package fakeengine

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

const maxChoices = 128

// request is the body of a call to any endpoint that takes one. What an engine
// does not know it ignores.
type request struct {
	Model string `json:"model"`

	Messages []message `json:"messages"` // chat
	Prompt   texts     `json:"prompt"`   // completions; /tokenize as vLLM has it
	Input    texts     `json:"input"`    // embeddings
	Content  texts     `json:"content"`  // /tokenize as llama.cpp has it

	Stream        bool          `json:"stream"`
	StreamOptions streamOptions `json:"stream_options"`

	N                   *int  `json:"n"`
	MaxTokens           *int  `json:"max_tokens"`
	MaxCompletionTokens *int  `json:"max_completion_tokens"`
	NPredict            *int  `json:"n_predict"` // llama.cpp's own name, which wins there and here
	Stop                texts `json:"stop"`

	ThinkingBudget *int `json:"thinking_budget_tokens"` // llama.cpp's; nil or negative: no bound

	Dimensions     int    `json:"dimensions"`
	EncodingFormat string `json:"encoding_format"`

	Lora               []loraScale  `json:"lora"`
	ChatTemplateKwargs templateArgs `json:"chat_template_kwargs"`
}

type streamOptions struct {
	IncludeUsage         bool `json:"include_usage"`
	ContinuousUsageStats bool `json:"continuous_usage_stats"` // vLLM's: usage so far in every chunk
}

type loraScale struct {
	ID    adapter `json:"id"`
	Scale float64 `json:"scale"` // 0 leaves the adapter out
}

type templateArgs struct {
	EnableThinking *bool `json:"enable_thinking"`
}

type message struct {
	Role    string  `json:"role"`
	Content content `json:"content"`
}

// content is the text of a message: a string, null, or the texts of a list of parts.
type content string

func (c *content) UnmarshalJSON(b []byte) error {
	var text string // null leaves it empty
	if json.Unmarshal(b, &text) == nil {
		*c = content(text)
		return nil
	}
	var parts []struct {
		Text string `json:"text"`
	}
	if err := json.Unmarshal(b, &parts); err != nil {
		return errors.New("content must be a string or a list of parts")
	}
	var joined strings.Builder
	for _, part := range parts {
		joined.WriteString(part.Text)
	}
	*c = content(joined.String())
	return nil
}

// texts is a string or a list of strings.
type texts []string

func (t *texts) UnmarshalJSON(b []byte) error {
	var one *string // null leaves the list empty
	if json.Unmarshal(b, &one) == nil {
		if one != nil {
			*t = texts{*one}
		}
		return nil
	}
	var many []string
	if err := json.Unmarshal(b, &many); err != nil {
		return errors.New("must be a string or a list of strings")
	}
	*t = many
	return nil
}

// lastText is what the call is about: the last user message, else the last prompt
// or input.
func (r request) lastText() string {
	for i := len(r.Messages) - 1; i >= 0; i-- {
		if r.Messages[i].Role == "user" {
			return string(r.Messages[i].Content)
		}
	}
	if all := r.allTexts(); len(r.Messages) == 0 && len(all) > 0 {
		return all[len(all)-1]
	}
	return ""
}

// allTexts is everything that is counted as prompt.
func (r request) allTexts() []string {
	var all []string
	for _, m := range r.Messages {
		all = append(all, string(m.Content))
	}
	all = append(all, r.Prompt...)
	all = append(all, r.Input...)
	return append(all, r.Content...)
}

func (r request) choices() int {
	if r.N == nil {
		return 1
	}
	return *r.N
}

// outputLimit is the most tokens the caller wants per choice, -1 for any number.
func (r request) outputLimit() int {
	for _, limit := range []*int{r.NPredict, r.MaxCompletionTokens, r.MaxTokens} {
		if limit != nil {
			return max(*limit, -1)
		}
	}
	return -1
}

// lora is the first adapter that the call switches on.
func (r request) lora() adapter {
	for _, l := range r.Lora {
		if l.Scale != 0 {
			return l.ID
		}
	}
	return adapterNone
}

// thinks reports whether the call asks for thinking, and whether it says so at all.
func (r request) thinks() (on, said bool) {
	if on := r.ChatTemplateKwargs.EnableThinking; on != nil {
		return *on, true
	}
	return false, false
}

// The check functions return what is wrong with a call to their endpoint, as the
// caller is told it.

func checkChat(r request) error {
	if len(r.Messages) == 0 {
		return errors.New("'messages' is required")
	}
	return checkChoices(r)
}

func checkCompletion(r request) error {
	if len(r.Prompt) != 1 {
		return errors.New("'prompt' must be one text")
	}
	return checkChoices(r)
}

func checkEmbeddings(r request) error {
	if len(r.Input) == 0 {
		return errors.New("'input' is required")
	}
	if err := check("'dimensions'", r.Dimensions, 0, maxEmbeddingDimensions); err != nil {
		return err
	}
	if f := r.EncodingFormat; f != "" && f != "float" && f != "base64" {
		return fmt.Errorf("'encoding_format' %q is not known", f)
	}
	return nil
}

func checkChoices(r request) error {
	return check("'n'", r.choices(), 1, maxChoices)
}
