package fakeengine

import (
	"errors"
	"strings"
)

var errContextExceeded = errors.New("the prompt exceeds the context size")

// answer is what the engine says to a call, decided before the first token, so
// that a stream and a plain answer cannot differ. All choices are alike.
type answer struct {
	thinking []string // tokens of the reasoning
	content  []string // tokens of the content
	finish   string   // "stop" or "length"
	prompt   int      // tokens, cached ones included
	cached   int      // tokens
}

// answer decides about a call. It returns errContextExceeded if the prompt leaves
// no room for a token.
func (s Script) answer(r request) (answer, error) {
	a := answer{finish: "stop", prompt: s.promptRule().count(r.allTexts(), len(r.Messages))}
	a.cached = min(s.CachedTokens, max(a.prompt-1, 0))
	limit := r.outputLimit()
	if s.ContextTokens > 0 {
		room := s.ContextTokens - a.prompt
		if room <= 0 {
			return answer{}, errContextExceeded
		}
		if limit < 0 || limit > room {
			limit = room
		}
	}
	thought, reply := s.say(r)
	a.thinking, a.content = pieces(thought), pieces(cutAtStop(reply, r.Stop))
	if b := r.ThinkingBudget; b != nil && *b >= 0 && *b < len(a.thinking) {
		a.thinking = a.thinking[:*b]
	}
	if limit >= 0 && limit < a.outputTokens() {
		a.finish = "length"
		a.thinking = a.thinking[:min(limit, len(a.thinking))]
		a.content = a.content[:limit-len(a.thinking)]
	}
	return a, nil
}

// say returns the whole reasoning and content. Only chats think.
func (s Script) say(r request) (thought, reply string) {
	thought, reply = abacus(r.lastText(), r.lora())
	if s.Reply != "" {
		reply = s.Reply
	}
	on, said := r.thinks()
	switch {
	case len(r.Messages) == 0 || said && !on:
		thought = ""
	case s.Reasoning != "":
		thought = s.Reasoning
	case !on:
		thought = ""
	}
	return thought, reply
}

// cutAtStop ends a text before the stop sequence that comes first.
func cutAtStop(text string, stops []string) string {
	for _, stop := range stops {
		if stop != "" {
			text, _, _ = strings.Cut(text, stop)
		}
	}
	return text
}

// outputTokens is the length of one choice, reasoning included.
func (a answer) outputTokens() int { return len(a.thinking) + len(a.content) }

// token returns the i-th token of the output and whether it is reasoning.
func (a answer) token(i int) (text string, thinking bool) {
	if i < len(a.thinking) {
		return a.thinking[i], true
	}
	return a.content[i-len(a.thinking)], false
}

// usage returns the figures as they are reported when each choice has come to
// the given number of tokens; nil if the call's fault leaves them out.
func (a answer) usage(outputTokens, choices int, f Fault) *usage {
	u := usage{PromptTokens: a.prompt, CompletionTokens: outputTokens * choices}
	u.PromptDetails = &promptDetails{CachedTokens: a.cached}
	if thinking := min(len(a.thinking), outputTokens); thinking > 0 {
		u.CompletionDetails = &completionDetails{ReasoningTokens: thinking * choices}
	}
	return u.spoilt(f)
}

// spoilt applies the two faults of usage and adds up the total.
func (u usage) spoilt(f Fault) *usage {
	switch f.Kind {
	case FaultNoUsage:
		return nil
	case FaultWrongUsage:
		u.PromptTokens += wrongUsageTokens
		u.CompletionTokens += wrongUsageTokens
	}
	u.TotalTokens = u.PromptTokens + u.CompletionTokens
	return &u
}
