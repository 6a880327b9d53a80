package gateway

import (
	"slices"
	"strconv"
	"unicode/utf8"
)

// appendTextChoice appends an answer of text completions, or a piece of one that begins
// offset characters after the answer's beginning.
func appendTextChoice(dst []byte, p *part, offset int64, unfinished string) []byte {
	dst = strconv.AppendInt(append(dst, `{"index":`...), p.index, 10)
	dst = appendOr(append(dst, `,"text":`...), p.content, `""`)
	dst = appendOr(append(dst, `,"finish_reason":`...), p.finish, unfinished)
	dst = append(dst, `,"logprobs":`...)
	return append(appendTextLogprobs(dst, p.logprobs, offset), '}')
}

func (w *openAIStream) appendText(dst []byte, p *part) []byte {
	for int64(len(w.offsets)) <= p.index && p.index < maxAnswers {
		w.offsets = append(w.offsets, 0)
	}
	offset := int64(0)
	if p.index >= 0 && p.index < int64(len(w.offsets)) {
		offset = w.offsets[p.index]
		w.offsets[p.index] += int64(utf8.RuneCount(unescapeOf(p.content)))
	}
	return appendTextChoice(dst, p, offset, "null")
}

func unescapeOf(v value) []byte {
	if !v.isString() {
		return nil
	}
	return unescape(v.inner())
}

// appendTextLogprobs says an engine's logprobs as text completions have them: four lists.
// llama.cpp says them as chats do, vLLM as it has to be.
func appendTextLogprobs(dst []byte, logprobs value, offset int64) []byte {
	tokens := member(logprobs, "content")
	switch {
	case logprobs == nil:
		return append(dst, "null"...)
	case !tokens.isArray():
		return appendLegacyLogprobs(dst, logprobs)
	}
	names, values, tops, offsets := []byte(`{"tokens":[`), []byte(`],"token_logprobs":[`), []byte(`],"top_logprobs":[`), []byte(`],"text_offset":[`)
	first := true
	for token := range elements(tokens) {
		if !first {
			names, values, tops, offsets = append(names, ','), append(values, ','), append(tops, ','), append(offsets, ',')
		}
		first = false
		name := member(token, "token")
		names = appendOr(names, onlyString(name), `""`)
		values = appendOr(values, member(token, "logprob"), "null")
		tops = appendTopLogprobs(tops, member(token, "top_logprobs"))
		offsets = strconv.AppendInt(offsets, offset, 10)
		offset += int64(utf8.RuneCount(unescapeOf(name)))
	}
	dst = append(append(append(append(dst, names...), values...), tops...), offsets...)
	return append(dst, "]}"...)
}

// appendTopLogprobs appends an object with the likeliest tokens; of two that are written
// alike the likelier one.
func appendTopLogprobs(dst []byte, list value) []byte {
	dst = append(dst, '{')
	var seen []string
	first := true
	for token := range elements(list) {
		name := member(token, "token")
		if !name.isString() || slices.Contains(seen, string(name)) {
			continue
		}
		seen = append(seen, string(name))
		dst = append(append(appendComma(dst, &first), name...), ':')
		dst = appendOr(dst, member(token, "logprob"), "null")
	}
	return append(dst, '}')
}

// appendLegacyLogprobs passes on the four lists and nothing else.
func appendLegacyLogprobs(dst []byte, logprobs value) []byte {
	dst = append(dst, '{')
	first := true
	for _, name := range []string{"tokens", "token_logprobs", "top_logprobs", "text_offset"} {
		dst = append(append(append(appendComma(dst, &first), '"'), name...), `":`...)
		list := member(logprobs, name)
		if !list.isArray() {
			list = nil
		}
		dst = appendOr(dst, list, "[]")
	}
	return append(dst, '}')
}
