package gateway

import (
	"reflect"
	"strings"
	"testing"
)

// Events as engines write them.
var engineEvents = map[string]string{
	"llama.cpp": `{"choices":[{"finish_reason":null,"index":0,"delta":{"content":" token"}}],"created":1790000000,"id":"chatcmpl-0123456789abcdef","model":"abacus",` +
		`"system_fingerprint":"b1-1","object":"chat.completion.chunk","usage":{"completion_tokens":7,"prompt_tokens":100,"total_tokens":107,"prompt_tokens_details":{"cached_tokens":3}},` +
		`"timings":{"cache_n":3,"prompt_n":97,"prompt_ms":31.5,"prompt_per_token_ms":0.32,"prompt_per_second":3079.3,"predicted_n":7,"predicted_ms":1e2,"predicted_per_token_ms":-0.5E-3}}`,
	"vLLM": `{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1790000000,"model":"abacus","choices":[{"index":0,"delta":{"reasoning":"好的 \n\"a\"\u00e9","tool_calls":[{"index":0}]},` +
		`"logprobs":{"content":[{"token":"a","logprob":-0.1,"bytes":[97],"top_logprobs":[]}]},"finish_reason":null,"token_ids":null}],"usage":{"prompt_tokens":5,"total_tokens":6,"completion_tokens":1,` +
		`"completion_tokens_details":{"reasoning_tokens":1}}}`,
	"the figures at the end": `{"choices":[],"usage":{"prompt_tokens":100,"completion_tokens":32,"total_tokens":132}}`,
	"with space":             ` { "choices" : [ { "index" : 1 , "delta" : { } , "finish_reason" : "stop" } ] } `,
	"an error":               `{"error":{"message":"out of memory"}}`,
}

// What engines write is read in one pass: otherwise it is read right, but dearly.
func TestEnginesAreReadQuickly(t *testing.T) {
	t.Parallel()
	for name, event := range engineEvents {
		var r reply
		if _, ok := r.readQuickly([]byte(event), chatting); !ok {
			t.Errorf("%s: gave up on %s", name, event)
		}
	}
}

// FuzzScan: what the quick way does not give up is valid, and means the same as the
// slow way says.
func FuzzScan(f *testing.F) {
	for _, event := range engineEvents {
		f.Add([]byte(event))
	}
	for _, odd := range []string{
		`{"choices":[{"delta":{"content":"\ud83d\ude00"}}]}`, `{"choices":[{"delta":{"content":"\ud83d"}}]}`, "{\"choices\":[\n]}", `{"choices":[01]}`,
		`{"choices":[1.]}`, `{"choices":[-]}`, `{"choices":[1e]}`, `{"choices":[nul]}`, `{"choices":[],}`, `{"choices":[{},]}`, `{"choices":[]}x`,
		"{\"choices\":[\"\x01\"]}", "{\"choices\":[\"\xff\"]}", `{"choices":["\x"]}`, `{"choices":["\u12g4"]}`, `{"choi\u0063es":[]}`, `{"choices":[[],3,null,{"delta":3}]}`,
		`{"choices":[{"delta":{"content":"a","content":null}}],"choices":[{"index":2}],"choices":3}`, `{"choices":` + strings.Repeat("[", 70) + strings.Repeat("]", 70) + `}`,
		`{"usage":{"prompt_tokens_details":{"cached_tokens":1,"cached_tokens":2},"prompt_tokens":3,"completion_tokens":1},"choices":[]}`, `{"usage":3,"timings":[],"choices":[]}`,
		`{"choices":[{"delta":{"tool_calls":[ ]}},{"message":{"tool_calls":[ 1]}},{"text":"x","embedding":[1],"logprobs":{}}]}`, `[]`, `{}`, ``, `{`, `{"a"`, `{"a":`, `{"a":"\`, `{"a":1`,
	} {
		f.Add([]byte(odd))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, o := range []*operation{chatting, embedding} {
			var quick, slow reply
			complete, ok := quick.readQuickly(data, o)
			if !ok {
				continue
			}
			if wanted, valid := slow.readAnything(data, o); !valid || wanted != complete {
				t.Fatalf("%q: valid %v, complete %v, read quickly as %v", data, valid, wanted, complete)
			}
			if !reflect.DeepEqual(quick, slow) {
				t.Fatalf("%q is read quickly as\n%+v, slowly as\n%+v", data, quick, slow)
			}
		}
	})
}

func BenchmarkReply(b *testing.B) {
	for _, name := range []string{"llama.cpp", "the figures at the end"} {
		event := []byte(engineEvents[name])
		b.Run("quick/"+name, func(b *testing.B) {
			var r reply
			b.SetBytes(int64(len(event)))
			b.ReportAllocs()
			for b.Loop() {
				if _, ok := r.readQuickly(event, chatting); !ok {
					b.Fatal("gave up")
				}
			}
		})
		b.Run("slow/"+name, func(b *testing.B) {
			var r reply
			b.SetBytes(int64(len(event)))
			b.ReportAllocs()
			for b.Loop() {
				if _, ok := r.readAnything(event, chatting); !ok {
					b.Fatal("no JSON")
				}
			}
		})
	}
}
