package fakeengine

import (
	"hash/fnv"
	"strings"
	"unicode"
)

// words counts the tokens of a text.
func words(text string) int {
	n := 0
	for range strings.FieldsSeq(text) {
		n++
	}
	return n
}

// pieces cuts a text into its tokens: each word with the white space before it,
// the last also with what follows. Joined they are the text again. White space
// alone is one piece.
func pieces(text string) []string {
	var out []string
	start, inWord := 0, false
	for i, r := range text {
		space := unicode.IsSpace(r)
		if inWord && space {
			out = append(out, text[start:i])
			start = i
		}
		inWord = !space
	}
	switch rest := text[start:]; {
	case rest == "":
	case !inWord && len(out) > 0:
		out[len(out)-1] += rest
	default:
		out = append(out, rest)
	}
	return out
}

// tokenID is the number of a token in the engine's vocabulary, the same for the
// same word; 1 to 2^31-1.
func tokenID(word string) int {
	hash := fnv.New32a()
	hash.Write([]byte(word))
	return int(hash.Sum32()>>1) | 1
}

// count applies the rule to the messages or prompts of a call.
func (p PromptRule) count(texts []string, messages int) int {
	total := p.PerCall + messages*p.PerMessage
	for _, text := range texts {
		total += p.PerWord * words(text)
	}
	return total
}
