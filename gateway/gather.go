package gateway

import (
	"cmp"
	"slices"
)

// gathered is one answer put together from the parts of a stream. Texts are inner parts
// of JSON strings, which join without decoding; all are copies.
type gathered struct {
	index     int64
	content   []byte
	reasoning []byte
	logprobs  []byte // elements of logprobs.content
	calls     []toolCall
	finish    value
	written   int64 // pieces of content
}

// gathering holds the answers of a call.
type gathering []gathered

// answer returns the one with the index, a new one if need be.
func (all *gathering) answer(index int64) *gathered {
	for i := range *all {
		if (*all)[i].index == index {
			return &(*all)[i]
		}
	}
	*all = append(*all, gathered{index: index})
	return &(*all)[len(*all)-1]
}

// sort puts the answers in the order of their indices; a stream has them in any.
func (all gathering) sort() {
	slices.SortFunc(all, func(a, b gathered) int { return cmp.Compare(a.index, b.index) })
}

// add takes in a part.
func (a *gathered) add(p *part) {
	if p.finish != nil {
		a.finish = append(a.finish[:0], p.finish...)
	}
	if len(p.content) > len(`""`) {
		a.content = append(a.content, p.content.inner()...)
		a.written++
	}
	if p.reasoning != nil {
		a.reasoning = append(a.reasoning, p.reasoning.inner()...)
	}
	if p.toolCalls != nil {
		a.calls = mergeToolCalls(a.calls, p.toolCalls)
	}
	if list := member(p.logprobs, "content"); list.isArray() && len(list.inner()) > 0 {
		if len(a.logprobs) > 0 {
			a.logprobs = append(a.logprobs, ',')
		}
		a.logprobs = append(a.logprobs, list.inner()...)
	}
}

// forget drops what was said so far, but not how much that was.
func (a *gathered) forget() {
	a.content, a.reasoning, a.logprobs, a.calls = a.content[:0], a.reasoning[:0], a.logprobs[:0], a.calls[:0]
}

// part returns the answer as an engine would have given it in one piece.
func (a *gathered) part() part {
	p := part{index: a.index, finish: a.finish, content: quoted(a.content)}
	if len(a.reasoning) > 0 {
		p.reasoning = quoted(a.reasoning)
	}
	if len(a.calls) > 0 {
		p.toolCalls = appendMergedCalls(nil, a.calls)
	}
	if len(a.logprobs) > 0 {
		p.logprobs = appendLogprobs(nil, a.logprobs)
	}
	return p
}

func quoted(inner []byte) value { return appendQuoted(nil, inner) }

// appendQuoted appends a string whose inner part is given.
func appendQuoted(dst, inner []byte) []byte {
	return append(append(append(dst, '"'), inner...), '"')
}

func appendLogprobs(dst, elements []byte) []byte {
	return append(append(append(dst, `{"content":[`...), elements...), `]}`...)
}
