package gateway

import (
	"bytes"
	"errors"
	"iter"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// The functions of this file walk JSON that jsontext has accepted. They return parts
// of their argument, never copies, and are not to be used on anything else.

// value is one JSON value as it was written, without space around it.
type value []byte

func (v value) isObject() bool { return len(v) > 0 && v[0] == '{' }
func (v value) isArray() bool  { return len(v) > 0 && v[0] == '[' }
func (v value) isString() bool { return len(v) > 0 && v[0] == '"' }
func (v value) isNull() bool   { return string(v) == "null" }

// present reports whether there is a value other than null.
func (v value) present() bool { return len(v) > 0 && !v.isNull() }

// inner returns what stands between the quotes or brackets.
func (v value) inner() []byte { return v[1 : len(v)-1] }

// within reports whether v is a part of the value that whole is a part of, not a copy. No
// function here cuts capacities, so parts of one array end together.
func (v value) within(whole value) bool {
	return cap(v) > 0 && cap(whole) > 0 && &v[:cap(v)][cap(v)-1] == &whole[:cap(whole)][cap(whole)-1]
}

// text returns the text of a string, "" for any other value.
func (v value) text() string {
	if !v.isString() {
		return ""
	}
	return string(unescape(v.inner()))
}

func (v value) boolean() (b, ok bool) {
	return string(v) == "true", string(v) == "true" || string(v) == "false"
}

func (v value) integer() (int64, bool) {
	n, err := strconv.ParseInt(string(v), 10, 64)
	return n, err == nil
}

func (v value) number() (float64, bool) {
	f, err := strconv.ParseFloat(string(v), 64)
	return f, err == nil
}

// unescape returns the text of the inner part of a string; itself when nothing in it
// is escaped, which is the common case and costs nothing.
func unescape(inner []byte) []byte {
	if bytes.IndexByte(inner, '\\') < 0 {
		return inner
	}
	quoted := append(append([]byte{'"'}, inner...), '"')
	text, _ := jsontext.AppendUnquote(nil, quoted) // cannot fail on checked JSON
	return text
}

// members yields the names (unescaped) and values of an object; none of anything else.
func members(object value) iter.Seq2[[]byte, value] {
	return func(yield func([]byte, value) bool) {
		if !object.isObject() {
			return
		}
		for i := skipSpace(object, 1); object[i] != '}'; {
			nameEnd := skipString(object, i)
			name := object[i+1 : nameEnd-1]
			start := skipSpace(object, skipSpace(object, nameEnd)+1)
			end := skipValue(object, start)
			if !yield(unescape(name), object[start:end]) {
				return
			}
			i = next(object, end)
		}
	}
}

// elements yields the values of an array; none of anything else.
func elements(array value) iter.Seq[value] {
	return func(yield func(value) bool) {
		if !array.isArray() {
			return
		}
		for i := skipSpace(array, 1); array[i] != ']'; {
			end := skipValue(array, i)
			if !yield(array[i:end]) {
				return
			}
			i = next(array, end)
		}
	}
}

// member returns the named member of an object, nil when there is none.
func member(object value, name string) value {
	for n, v := range members(object) {
		if string(n) == name {
			return v
		}
	}
	return nil
}

// next returns the start of what follows a member or element: the next one, or the
// closing bracket.
func next(b []byte, end int) int {
	i := skipSpace(b, end)
	if b[i] == ',' {
		return skipSpace(b, i+1)
	}
	return i
}

func skipSpace(b []byte, i int) int {
	for b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t' {
		i++
	}
	return i
}

// skipString returns the end of the string that begins at i.
func skipString(b []byte, i int) int {
	for i++; b[i] != '"'; i++ {
		if b[i] == '\\' {
			i++
		}
	}
	return i + 1
}

// skipValue returns the end of the value that begins at i.
func skipValue(b []byte, i int) int {
	switch b[i] {
	case '"':
		return skipString(b, i)
	case '{', '[':
		return skipNested(b, i)
	}
	for i < len(b) && !endsScalar(b[i]) {
		i++
	}
	return i
}

// endsScalar reports whether c cannot be part of a number or a literal.
func endsScalar(c byte) bool {
	switch c {
	case ',', ']', '}', ' ', '\n', '\r', '\t':
		return true
	}
	return false
}

func skipNested(b []byte, i int) int {
	for depth := 0; ; {
		switch b[i] {
		case '"':
			i = skipString(b, i)
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
		i++
	}
}

// appendString appends text as a JSON string. Bytes that are no UTF-8 are replaced.
func appendString(dst []byte, text string) []byte {
	dst, _ = jsontext.AppendQuote(dst, text) // the error reports the replacement
	return dst
}

// appendWithoutNulls appends v, its objects without members that are null: clients
// take an absent member of a tool call, but not a null one.
func appendWithoutNulls(dst []byte, v value) []byte {
	switch {
	case v.isObject():
		dst = append(dst, '{')
		first := true
		for name, member := range members(v) {
			if member.isNull() {
				continue
			}
			dst = appendComma(dst, &first)
			dst = appendString(dst, string(name))
			dst = append(dst, ':')
			dst = appendWithoutNulls(dst, member)
		}
		return append(dst, '}')
	case v.isArray():
		dst = append(dst, '[')
		first := true
		for element := range elements(v) {
			dst = appendComma(dst, &first)
			dst = appendWithoutNulls(dst, element)
		}
		return append(dst, ']')
	}
	return append(dst, v...)
}

func appendComma(dst []byte, first *bool) []byte {
	if *first {
		*first = false
		return dst
	}
	return append(dst, ',')
}

// checkBody returns the JSON object that body is, without space around it, or the
// failure to tell the client: no object, broken JSON, text that is not UTF-8, a name
// that stands twice.
func checkBody(body []byte) (value, error) {
	if object := value(bytes.Trim(body, " \n\r\t")); jsontext.Value(object).IsValid() && object.isObject() {
		return object, nil
	}
	decoder := jsontext.NewDecoder(bytes.NewBuffer(body))
	err := decoder.SkipValue()
	var syntax *jsontext.SyntacticError
	if errors.Is(err, jsontext.ErrDuplicateName) && errors.As(err, &syntax) {
		return nil, fail(problemInvalid).say("The name %q stands twice in the body; send it once.", syntax.JSONPointer.LastToken())
	}
	return nil, fail(problemNotJSON).because(err)
}

// checkReply returns the JSON object that an engine sent, on one line, so that no piece
// of it breaks a line-wise stream. Names that stand twice do no harm there: only what
// is read is passed on.
func checkReply(data []byte) (value, bool) {
	object := jsontext.Value(bytes.Trim(data, " \n\r\t"))
	if !value(object).isObject() || !object.IsValid(jsontext.AllowDuplicateNames(true)) {
		return nil, false
	}
	if bytes.IndexByte(object, '\n') >= 0 || bytes.IndexByte(object, '\r') >= 0 {
		object = object.Clone()
		_ = object.Compact(jsontext.AllowDuplicateNames(true)) // cannot fail on valid JSON
	}
	return value(object), true
}
