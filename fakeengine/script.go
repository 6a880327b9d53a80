package fakeengine

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// Script says how an engine behaves. The zero value is an engine that is ready at
// once, answers at once and never fails. As JSON, unknown fields are refused.
type Script struct {
	// Model is the name listed by /v1/models and echoed to calls that name none;
	// "" means "fake".
	Model string `json:"model,omitempty"`

	// Reply is the text of every answer; "" means the answers of Abacus.
	Reply string `json:"reply,omitempty"`
	// Reasoning is put before every chat answer as reasoning_content, unless the
	// call says enable_thinking false; "" means as Abacus, only when asked for.
	Reasoning string `json:"reasoning,omitempty"`

	// TokensPerSecond is the speed of one answer that has the engine to itself,
	// 0.001 to 1,000,000; 0 produces at once.
	TokensPerSecond float64 `json:"tokens_per_second,omitempty"`
	// PromptTokensPerSecond is the speed of reading prompt tokens that are not
	// cached, before the first token, 0.001 to 1,000,000; 0 reads at once.
	PromptTokensPerSecond float64 `json:"prompt_tokens_per_second,omitempty"`
	// Slowdown is what each further running call adds to the time of a token, as
	// a part of that time, 0 to 100: at 0.5 a token takes twice as long beside
	// two others.
	Slowdown float64 `json:"slowdown,omitempty"`
	// Slots is how many calls run at once; others wait in order of arrival.
	// At most 65,536; 0 means as many as come.
	Slots int `json:"slots,omitempty"`
	// ContextTokens bounds prompt and output of a call together: a prompt that
	// leaves no room is a 400, an output that reaches it ends with "length".
	// 0 means no bound.
	ContextTokens int `json:"context_tokens,omitempty"`

	// PromptTokens says how prompts are counted; absent means one token per word
	// and four per message.
	PromptTokens *PromptRule `json:"prompt_tokens,omitempty"`
	// CachedTokens is how many tokens of each prompt are reported as cached, at
	// most all but one.
	CachedTokens int `json:"cached_tokens,omitempty"`
	// EmbeddingDimensions is the length of vectors for calls that ask for none,
	// 1 to 8,192; 0 means 64.
	EmbeddingDimensions int `json:"embedding_dimensions,omitempty"`

	// RefuseAdapters are parts of the paths of adapters that the engine cannot load.
	RefuseAdapters []string `json:"refuse_adapters,omitempty"`

	// StartDelayMS is the time from New until the engine is ready, in
	// milliseconds, at most an hour. Until then everything answers 503.
	StartDelayMS int `json:"start_delay_ms,omitempty"`
	// RefuseStart makes the process exit before it listens. An engine inside a
	// program has no process to end: whoever starts it looks at this field.
	RefuseStart *RefuseStart `json:"refuse_start,omitempty"`
	// Crash ends the engine after a number of calls.
	Crash *Crash `json:"crash,omitempty"`
	// IgnoreSIGTERM makes Run go on when its context ends, so that only SIGKILL
	// or a crash ends the process.
	IgnoreSIGTERM bool `json:"ignore_sigterm,omitempty"`

	// Diary is a folder in which each process of the engine keeps a file of what every call
	// has made it do so far ([Entry]), so that this is known after SIGKILL, too.
	Diary string `json:"diary,omitempty"`

	// Faults strike calls; the first that fits a call is taken.
	Faults []Fault `json:"faults,omitempty"`
}

// PromptRule counts the tokens of a prompt; each part 0 to 1,000,000.
type PromptRule struct {
	PerCall    int `json:"per_call"`    // tokens, once
	PerMessage int `json:"per_message"` // tokens per chat message
	PerWord    int `json:"per_word"`    // tokens per word
}

// RefuseStart is an engine that does not come up.
type RefuseStart struct {
	ExitCode int    `json:"exit_code"`         // of the process, 1 to 255
	Message  string `json:"message,omitempty"` // written to standard error
}

// Crash is an engine that dies: open calls are cut, new ones get no answer.
type Crash struct {
	// AfterCalls is the number of calls after whose end the engine dies, from 1;
	// it does not matter how they ended.
	AfterCalls int `json:"after_calls"`
	// ExitCode is that of the process, 1 to 255; 0 means 139, as after a
	// segmentation fault.
	ExitCode int `json:"exit_code,omitempty"`
}

const (
	defaultModel               = "fake"
	defaultEmbeddingDimensions = 64
	defaultCrashCode           = 139

	maxRate                = 1_000_000
	minRate                = 0.001
	maxSlowdown            = 100
	maxSlots               = 65_536
	maxStartDelayMS        = 60 * 60 * 1000
	maxPromptRule          = 1_000_000
	maxEmbeddingDimensions = 8_192
	maxCount               = 1_000_000_000 // calls, events, tokens
)

// Load reads and validates the script in a JSON file.
func Load(path string) (Script, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Script{}, fmt.Errorf("read script: %w", err)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	var script Script
	if err := decoder.Decode(&script); err != nil {
		return Script{}, fmt.Errorf("script %s: %w", path, err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return Script{}, fmt.Errorf("script %s: more than one JSON value", path)
	}
	if err := script.Validate(); err != nil {
		return Script{}, fmt.Errorf("script %s: %w", path, err)
	}
	return script, nil
}

// Validate returns an error that names every field out of its range, nil if the
// script can be followed.
func (s Script) Validate() error {
	faults := make([]error, 0, len(s.Faults))
	for i, f := range s.Faults {
		faults = append(faults, f.validate(fmt.Sprintf("faults[%d]", i)))
	}
	return errors.Join(
		checkRate("tokens_per_second", s.TokensPerSecond),
		checkRate("prompt_tokens_per_second", s.PromptTokensPerSecond),
		check("slowdown", s.Slowdown, 0, maxSlowdown),
		check("slots", s.Slots, 0, maxSlots),
		check("context_tokens", s.ContextTokens, 0, maxCount),
		s.PromptTokens.validate(),
		check("cached_tokens", s.CachedTokens, 0, maxCount),
		check("embedding_dimensions", s.EmbeddingDimensions, 0, maxEmbeddingDimensions),
		check("start_delay_ms", s.StartDelayMS, 0, maxStartDelayMS),
		s.RefuseStart.validate(),
		s.Crash.validate(),
		errors.Join(faults...),
	)
}

func (p *PromptRule) validate() error {
	if p == nil {
		return nil
	}
	return errors.Join(
		check("prompt_tokens.per_call", p.PerCall, 0, maxPromptRule),
		check("prompt_tokens.per_message", p.PerMessage, 0, maxPromptRule),
		check("prompt_tokens.per_word", p.PerWord, 0, maxPromptRule),
	)
}

func (r *RefuseStart) validate() error {
	if r == nil {
		return nil
	}
	return check("refuse_start.exit_code", r.ExitCode, 1, 255)
}

func (c *Crash) validate() error {
	if c == nil {
		return nil
	}
	return errors.Join(
		check("crash.after_calls", c.AfterCalls, 1, maxCount),
		check("crash.exit_code", c.ExitCode, 0, 255),
	)
}

func check[N int | float64](field string, value, least, most N) error {
	if value >= least && value <= most {
		return nil
	}
	return fmt.Errorf("%s: %v is not in %v to %v", field, value, least, most)
}

func checkRate(field string, perSecond float64) error {
	if perSecond == 0 {
		return nil
	}
	return check(field, perSecond, minRate, maxRate)
}

// The methods below fill in what a script leaves out.

func (s Script) model() string {
	if s.Model == "" {
		return defaultModel
	}
	return s.Model
}

func (s Script) promptRule() PromptRule {
	if s.PromptTokens == nil {
		return PromptRule{PerMessage: 4, PerWord: 1}
	}
	return *s.PromptTokens
}

func (s Script) dimensions() int {
	if s.EmbeddingDimensions == 0 {
		return defaultEmbeddingDimensions
	}
	return s.EmbeddingDimensions
}

func (c Crash) exitCode() int {
	if c.ExitCode == 0 {
		return defaultCrashCode
	}
	return c.ExitCode
}
