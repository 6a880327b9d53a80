package gateway

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
)

// FuzzMembers walks JSON and compares with encoding/json.
func FuzzMembers(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"a":1}`, ` { "a" : [ 1 , {"b":null} , "x\"]}" ] , "c\u0064" : true } `, `{"a":-1.5e3,"b":"\\"}`, `{"":{"":[]}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		object, err := checkBody(body)
		if err != nil {
			return
		}
		var want any
		if err := json.Unmarshal(body, &want); err != nil {
			return // a number too large for it
		}
		if got := decode(t, object); !reflect.DeepEqual(got, want) {
			t.Fatalf("%s is read as %v", body, got)
		}
		without := appendWithoutNulls(nil, object)
		if _, err := checkBody(without); err != nil {
			t.Fatalf("%s without nulls is %s: %v", body, without, err)
		}
	})
}

// decode builds what encoding/json does with the functions under test.
func decode(t *testing.T, v value) any {
	switch {
	case v.isObject():
		m := map[string]any{}
		for name, member := range members(v) {
			m[string(name)] = decode(t, member)
		}
		return m
	case v.isArray():
		a := []any{}
		for element := range elements(v) {
			a = append(a, decode(t, element))
		}
		return a
	case v.isString():
		return v.text()
	}
	var scalar any
	if err := json.Unmarshal(v, &scalar); err != nil {
		t.Fatalf("scalar %q: %v", v, err)
	}
	return scalar
}

// FuzzReply gives both writers whatever an engine may send: what goes out is JSON, one
// value per frame, whatever comes in.
func FuzzReply(f *testing.F) {
	f.Add([]byte(`{"choices":[{"index":0,"delta":{"role":"assistant","content":"a\u00e9"}}]}`), []byte(`{"choices":[{"index":1,"delta":{"reasoning":"r"},"finish_reason":"stop","logprobs":{"content":[{"token":"a"}]}}]}`))
	f.Add([]byte(`{"choices":[{"delta":{"tool_calls":[{"function":{"arguments":null}}]}}],"timings":{"prompt_n":1,"predicted_n":2}}`), []byte(`{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":-2}}`))
	f.Add([]byte("{\"choices\":[{\"logprobs\":{\"content\":[\n{}\n]},\"delta\":{\"content\":\"b\"}}]}"), []byte("{\n}"))
	f.Add([]byte("{\"choices\":[{\"delta\":{\"content\":\"a\"}}] ,\r\n \"x\":1}"), []byte(`{"error":{"message":"m"}}`))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		for _, d := range []dialect{openAI{}, native{}, native{parts: true}, anthropic{}, openAICompletions{}, openAIResponses{}} {
			for _, stream := range []bool{true, false} {
				checkWriter(t, d, stream, first, second)
			}
		}
	})
}

func checkWriter(t *testing.T, d dialect, stream bool, chunks ...[]byte) {
	c := &call{id: "id", dialect: d, request: request{model: value(`"m"`), stream: stream, collected: !stream, n: 2, wantsUsage: true}}
	w := d.writer(c)
	var out []byte
	var r reply
	for _, chunk := range chunks {
		if r.read(chunk, chatting) != nil {
			continue
		}
		c.usage.observe(&r, 2)
		out = w.event(out, &r, &c.usage)
	}
	out = w.end(out, &c.usage)
	if !stream {
		if len(out) > 0 && !json.Valid(out) {
			t.Fatalf("%T wrote %s", w, out)
		}
		return
	}
	for line := range bytes.SplitSeq(out, []byte("\n")) {
		data, ok := bytes.CutPrefix(line, []byte("data:"))
		if ok && string(data) != " [DONE]" && !json.Valid(data) {
			t.Fatalf("%T wrote the line %s of\n%s", w, line, out)
		}
	}
}

// FuzzVectors gives both writers of embeddings whatever an engine may send.
func FuzzVectors(f *testing.F) {
	f.Add([]byte(`{"data":[{"index":1,"embedding":[0.5,-1e-7]},{"index":0,"embedding":"AACAPwAAAAA="}],"usage":{"prompt_tokens":1}}`))
	f.Add([]byte(`{"data":[{"embedding":[1e400]},{"index":1,"embedding":"AADAfwAAgH8="}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, d := range []dialect{openAIEmbeddings{}, nativeEmbeddings{}} {
			for _, packed := range []bool{true, false} {
				c := &call{id: "id", dialect: d, request: request{operation: embedding, model: value(`"m"`), n: 1, packed: packed, prompt: prompt{count: 2}}}
				var r reply
				if r.read(body, embedding) != nil || c.request.suits(&r) != nil {
					continue
				}
				c.usage.whole(&r)
				if out := d.writer(c).event(nil, &r, &c.usage); !json.Valid(out) {
					t.Fatalf("%T wrote %s", d, out)
				}
			}
		}
	})
}
