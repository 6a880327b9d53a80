package gateway

import "strings"

// The checks of this file return the sentence to refuse a value with, "" when it is
// good (api.md 3.3).

func float(name, rangeSentence string, good func(float64) bool) func(value) string {
	return func(v value) string {
		f, ok := v.number()
		switch {
		case !ok:
			return "'" + name + "' must be Float"
		case !good(f):
			return rangeSentence
		}
		return ""
	}
}

func withinTwo(f float64) bool { return f >= -2 && f <= 2 }

func atLeast(least int64, sentence string) func(value) string {
	return func(v value) string {
		if n, ok := v.integer(); !ok || n < least {
			return sentence
		}
		return ""
	}
}

func boolean(name string) func(value) string {
	return kind(name, "a boolean", func(v value) bool { _, ok := v.boolean(); return ok })
}

func text(name string) func(value) string   { return kind(name, "a string", value.isString) }
func array(name string) func(value) string  { return kind(name, "a list", value.isArray) }
func object(name string) func(value) string { return kind(name, "an object", value.isObject) }

func kind(name, what string, good func(value) bool) func(value) string {
	return func(v value) string {
		if good(v) {
			return ""
		}
		return "'" + name + "' must be " + what
	}
}

// off refuses true for a switch that cannot be on.
func off(name, sentence string) func(value) string {
	isBoolean := boolean(name)
	return func(v value) string {
		if on, _ := v.boolean(); on {
			return sentence
		}
		return isBoolean(v)
	}
}

// hasElements reports whether v is a list that is not empty.
func hasElements(v value) bool {
	for range elements(v) {
		return true
	}
	return false
}

func checkN(v value) string {
	if n, ok := v.integer(); !ok || n < 1 || n > 4 {
		return "Range of n should be [1, 4]"
	}
	return ""
}

func checkTopLogprobs(v value) string {
	if n, ok := v.integer(); !ok || n < 0 || n > 5 {
		return "Range of top_logprobs should be [0, 5]"
	}
	return ""
}

// checkStop takes a string or a list of strings. Lists of token ids are documented,
// but engines read them as text.
func checkStop(v value) string {
	const mixed = `The "stop" parameter must be of type "str", "list[str]", "list[int]", or "list[list[int]]", and all elements within the list must be of the same type.`
	const empty = `The "stop" parameter holds an empty string, which would end every answer; leave it out.`
	if v.isString() {
		if len(v.inner()) == 0 {
			return empty
		}
		return ""
	}
	if !v.isArray() {
		return mixed
	}
	strings, total, blank := 0, 0, false
	for element := range elements(v) {
		total++
		if element.isString() {
			strings++
			blank = blank || len(element.inner()) == 0
		}
	}
	switch {
	case strings == total && blank:
		return empty
	case strings == total:
		return ""
	case strings > 0:
		return mixed
	}
	return `Token ids in "stop" are not supported; use strings.`
}

func checkToolChoice(v value) string {
	if v.isObject() || v.text() == "auto" || v.text() == "none" {
		return ""
	}
	return `tool_choice is one of the strings that should be ["none", "auto"]`
}

func checkResponseFormat(v value) string {
	switch member(v, "type").text() {
	case "text", "json_object":
		return ""
	case "json_schema":
		if !member(member(v, "json_schema"), "schema").isObject() {
			return "Field required: response_format.json_schema.schema" // without one engines hold answers to nothing, or to any JSON
		}
		return ""
	}
	return "'response_format' must be an object whose 'type' is text, json_object or json_schema"
}

func checkResultFormat(v value) string {
	if v.text() == "text" || v.text() == "message" {
		return ""
	}
	return "'result_format' must be text or message"
}

// checkTools takes a list of functions. Engines fail at others.
func checkTools(v value) string {
	if !v.isArray() {
		return "'tools' must be a list"
	}
	for tool := range elements(v) {
		switch kind := member(tool, "type"); {
		case !tool.isObject():
			return "'tools' must be a list of objects"
		case kind.present() && kind.text() != "function":
			return "Tools of the type " + kind.text() + " are not available here; send functions."
		case member(member(tool, "function"), "name").text() == "":
			return "Field required: tools.function.name"
		}
	}
	return ""
}

// checkModalities takes what a text model can do.
func checkModalities(v value) string {
	if !v.isArray() {
		return "'modalities' must be a list"
	}
	for element := range elements(v) {
		if element.text() != "text" {
			return "Only the modality text is available here."
		}
	}
	return ""
}

func checkDimensions(name string) func(value) string {
	return atLeast(1, "'"+name+"' must be a positive integer")
}

func checkEncodingFormat(v value) string {
	return oneOf("encoding_format", "float", "base64")(v)
}

// checkOutputType takes dense vectors only; no engine makes sparse ones.
func checkOutputType(v value) string {
	if v.text() == "sparse" || v.text() == "dense&sparse" {
		return "The output_type " + v.text() + " is not available here; leave it out, or set it to dense."
	}
	return oneOf("output_type", "dense")(v)
}

// oneOf takes some words.
func oneOf(name string, words ...string) func(value) string {
	return func(v value) string {
		for _, word := range words {
			if v.text() == word {
				return ""
			}
		}
		return "'" + name + "' must be " + strings.Join(words, " or ")
	}
}

// maxAnswers of one call.
const maxAnswers = 4

// checkCompletionLogprobs: a number here, other than in chats.
func checkCompletionLogprobs(v value) string {
	if n, ok := v.integer(); !ok || n < 0 || n > 5 {
		return "Range of logprobs should be [0, 5]"
	}
	return ""
}

// empty refuses a text that says something.
func empty(name string) func(value) string {
	return func(v value) string {
		if v.isString() && len(v.inner()) == 0 {
			return ""
		}
		return "The parameter " + name + " is not available here; leave it out."
	}
}

// exactly refuses every number but one.
func exactly(name string, only int64, sentence string) func(value) string {
	return func(v value) string {
		switch n, ok := v.integer(); {
		case !ok:
			return "'" + name + "' must be an integer"
		case n != only:
			return sentence
		}
		return ""
	}
}
