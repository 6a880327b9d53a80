package gateway

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/berthhq/berth/fakeengine"
)

const responsesPath = "/compatible-mode/v1/responses"

func respond(input string, more ...string) string {
	return fmt.Sprintf(`{"model":%q,"input":%s%s}`, deployed, input, joined(more))
}

// namedFrames returns the data of a stream whose frames have names, which must be the
// types of their data, and the numbers that count them.
func namedFrames(t *testing.T, body string) (list []map[string]any) {
	t.Helper()
	for i, frame := range frames(body) {
		name, data, ok := strings.Cut(frame, "\ndata: ")
		var v map[string]any
		if err := json.Unmarshal([]byte(data), &v); !ok || err != nil {
			t.Fatalf("frame %q: %v", frame, err)
		}
		if name != fmt.Sprint("event: ", v["type"]) || v["sequence_number"] != float64(i) {
			t.Errorf("frame %d is %s, %v, %v", i, name, v["type"], v["sequence_number"])
		}
		list = append(list, v)
	}
	return list
}

func TestResponses(t *testing.T) {
	t.Parallel()
	h := open(t, plan{})
	chatted := h.post(t, chatPath, chat("count to 5", `"enable_thinking":true`)).json(t)
	for _, path := range []string{responsesPath, "/v1/responses", "/api/v1/responses", "/api/v2/apps/protocols/compatible-mode/v1/responses"} {
		plain := h.post(t, path, respond(`"count to 5"`, `"reasoning":{"effort":"low"}`, `"instructions":"be brief"`, `"store":true`))
		v := plain.json(t)
		if plain.status != http.StatusOK || v["object"] != "response" || v["status"] != "completed" || !strings.HasPrefix(fmt.Sprint(v["id"]), "resp_") ||
			v["model"] != deployed || v["instructions"] != "be brief" || v["error"] != nil {
			t.Fatalf("%s: %d %s", path, plain.status, plain.body)
		}
		if at(v, "output", 0, "type") != "reasoning" || at(v, "output", 0, "content", 0, "text") != at(chatted, "choices", 0, "message", "reasoning_content") ||
			at(v, "output", 1, "type") != "message" || at(v, "output", 1, "content", 0, "text") != at(chatted, "choices", 0, "message", "content") {
			t.Errorf("%s: %v, of the chat %v", path, v["output"], chatted["choices"])
		}
		if at(v, "usage", "output_tokens") != at(chatted, "usage", "completion_tokens") ||
			at(v, "usage", "output_tokens_details", "reasoning_tokens") != at(chatted, "usage", "completion_tokens_details", "reasoning_tokens") {
			t.Errorf("%s: %v, of the chat %v", path, v["usage"], chatted["usage"])
		}
	}
}

func TestStreamedResponses(t *testing.T) {
	t.Parallel()
	h := open(t, plan{})
	plain := h.post(t, responsesPath, respond(`[{"role":"user","content":[{"type":"input_text","text":"count to 5"}]}]`, `"enable_thinking":true`)).json(t)
	streamed := h.post(t, responsesPath, respond(`"count to 5"`, `"enable_thinking":true`, `"stream":true`))
	events := namedFrames(t, streamed.body)
	var order []string
	said := map[string]string{}
	for _, e := range events {
		name := e["type"].(string)
		if len(order) == 0 || order[len(order)-1] != name {
			order = append(order, name)
		}
		if delta, ok := e["delta"].(string); ok {
			said[name] += delta
		}
	}
	want := strings.Fields(`response.created response.in_progress
		response.output_item.added response.content_part.added response.reasoning_text.delta response.reasoning_text.done response.content_part.done response.output_item.done
		response.output_item.added response.content_part.added response.output_text.delta response.output_text.done response.content_part.done response.output_item.done
		response.completed`)
	if fmt.Sprint(order) != fmt.Sprint(want) {
		t.Errorf("the order is\n%v, want\n%v", order, want)
	}
	last := events[len(events)-1]["response"]
	for i, delta := range []string{"response.reasoning_text.delta", "response.output_text.delta"} {
		whole := at(plain, "output", i, "content", 0, "text")
		if said[delta] == "" || said[delta] != whole || at(last, "output", i, "content", 0, "text") != whole {
			t.Errorf("%s: %q, whole %q, at the end %v", delta, said[delta], whole, at(last, "output", i))
		}
	}
	if fmt.Sprint(at(last, "usage")) != fmt.Sprint(plain["usage"]) || at(last, "id") != at(events[0], "response", "id") || strings.Contains(streamed.body, "[DONE]") {
		t.Errorf("%v", last)
	}
}

func TestAResponseThatIsCut(t *testing.T) {
	t.Parallel()
	h := open(t, plan{})
	v := h.post(t, responsesPath, respond(`"count to 50"`, `"max_output_tokens":3`)).json(t)
	if v["status"] != "incomplete" || at(v, "incomplete_details", "reason") != "max_output_tokens" || at(v, "output", 0, "status") != "incomplete" {
		t.Errorf("%v", v)
	}
	body := h.post(t, responsesPath, respond(`"count to 50"`, `"max_output_tokens":3`, `"stream":true`)).body
	if !strings.Contains(body, "event: response.incomplete\n") {
		t.Error(body)
	}
}

// conformance 155: a failure within a stream is one frame that both kinds of clients know.
func TestAResponseThatFails(t *testing.T) {
	t.Parallel()
	h := open(t, plan{scripts: []fakeengine.Script{{Faults: []fakeengine.Fault{{Kind: fakeengine.FaultCutStream, AfterEvents: 2}}}}})
	events := namedFrames(t, h.post(t, responsesPath, respond(`"count to 50"`, `"stream":true`)).body)
	last := events[len(events)-1]
	if last["type"] != "error" || last["code"] != "ModelServiceFailed" || at(last, "error", "message") == nil || last["message"] != at(last, "error", "message") {
		t.Errorf("%v", last)
	}
}

func TestFunctionsOfResponses(t *testing.T) {
	t.Parallel()
	var asked []byte
	h := open(t, plan{engine: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var v json.RawMessage
		_ = json.NewDecoder(r.Body).Decode(&v)
		asked = v
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = fmt.Fprint(w, `data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"add","arguments":""}}]},"finish_reason":null}]}`+"\n\n"+
			`data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"a\":"}}]},"finish_reason":null}]}`+"\n\n"+
			`data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"1}"}}]},"finish_reason":null}]}`+"\n\n"+
			`data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"call_2","function":{"name":"sub","arguments":"{}"}}]},"finish_reason":null}]}`+"\n\n"+
			`data: {"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":1,"completion_tokens":2}}`+"\n\ndata: [DONE]\n\n")
	})})
	body := respond(`[{"role":"developer","content":"be brief"},{"role":"user","content":"add"},
		{"type":"reasoning","id":"rs_1","summary":[]},
		{"type":"function_call","call_id":"a","name":"add","arguments":"{}"},{"type":"function_call","call_id":"b","name":"sub","arguments":"{}"},
		{"type":"function_call_output","call_id":"a","output":"3"},{"type":"function_call_output","call_id":"b","output":"4"}]`,
		`"tools":[{"type":"function","name":"add","parameters":{"type":"object"},"strict":true},{"type":"function","name":"sub"}]`,
		`"tool_choice":"auto"`, `"text":{"format":{"type":"json_schema","name":"x","schema":{"type":"object"}}}`)
	v := h.post(t, responsesPath, body).json(t)
	if at(v, "output", 0, "type") != "function_call" || at(v, "output", 0, "call_id") != "call_1" || at(v, "output", 0, "name") != "add" ||
		at(v, "output", 0, "arguments") != `{"a":1}` || at(v, "output", 1, "call_id") != "call_2" || at(v, "status") != "completed" {
		t.Errorf("%v", v)
	}
	var sent map[string]any
	if err := json.Unmarshal(asked, &sent); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]any{
		"messages.0.role": "system", "messages.1.content": "add", "messages.2.tool_calls.0.id": "a", "messages.2.tool_calls.1.function.name": "sub",
		"messages.3.role": "tool", "messages.3.tool_call_id": "a", "messages.4.content": "4", "messages.5": nil,
		"tools.0.function.name": "add", "tools.0.function.strict": true, "tools.1.type": "function", "tool_choice": "auto",
		"response_format.type": "json_schema", "response_format.json_schema.name": "x",
	} {
		if got := lookUpPath(sent, path); got != want {
			t.Errorf("%s: %v, want %v in %s", path, got, want, asked)
		}
	}
	streamed := h.post(t, responsesPath, strings.Replace(body, `"tool_choice":"auto"`, `"stream":true,"tool_choice":{"type":"function","name":"add"}`, 1))
	arguments := ""
	for _, e := range namedFrames(t, streamed.body) {
		if e["type"] == "response.function_call_arguments.done" && e["output_index"] == 0.0 {
			arguments = fmt.Sprint(e["arguments"])
		}
	}
	if arguments != `{"a":1}` || !strings.Contains(string(asked), `"tool_choice":"required"`) || strings.Contains(string(asked), `"name":"sub","parameters"`) {
		t.Errorf("%q of %s; asked %s", arguments, streamed.body, asked)
	}
}

func TestResponsesRefuse(t *testing.T) {
	t.Parallel()
	h := open(t, plan{})
	for body, sentence := range map[string]string{
		respond(`"a"`, `"previous_response_id":"resp_1"`):                              "The parameter previous_response_id is not available here",
		respond(`"a"`, `"conversation":"c"`):                                           "The parameter conversation is not available here",
		respond(`"a"`, `"background":true`):                                            "The parameter background is not available here",
		respond(`"a"`, `"include":["message.output_text.logprobs"]`):                   "The parameter include is not available here",
		respond(`"a"`, `"truncation":"auto"`):                                          "'truncation' must be disabled",
		respond(`"a"`, `"max_output_tokens":0`):                                        "Range of max_output_tokens",
		respond(`"a"`, `"tools":[{"type":"web_search"}]`):                              `Tools of the type "web_search" are not available here`,
		respond(`"a"`, `"tool_choice":"required"`):                                     "'tool_choice' asks for a function",
		respond(`"a"`, `"tool_choice":{"type":"file_search"}`):                         "'tool_choice' must be",
		respond(`"a"`, `"text":{"verbosity":"low"}`):                                   `The parameter "text.verbosity" is not supported`,
		respond(`"a"`, `"text":{"format":{"type":"grammar"}}`):                         "'text.format' must be",
		respond(`"a"`, `"reasoning":{"effort":1}`):                                     "'reasoning.effort' must be",
		respond(`[{"role":"user","content":[{"type":"input_image","image_url":""}]}]`): `Content parts of the type "input_image"`,
		respond(`[{"type":"item_reference","id":"x"}]`):                                `Input items of the type "item_reference"`,
		respond(`[{"type":"computer_call"}]`):                                          `Input items of the type "computer_call"`,
		respond(`[{"role":"tool","content":"x"}]`):                                     `The role "tool" is not known`,
		respond(`[]`):                     "[] is too short",
		`{"model":"` + deployed + `"}`:    "Field required: input",
		respond(`"a"`, `"n":2`):           `The parameter "n" is not supported`,
		respond(`"a"`, `"lora":[]`):       `The parameter "lora" is not supported`,
		respond(`"a"`, `"temperature":2`): "Temperature should be in [0.0, 2.0)",
	} {
		got := h.post(t, responsesPath, body)
		v := got.json(t)
		if said := fmt.Sprint(at(v, "error", "message")); got.status != http.StatusBadRequest || !strings.HasPrefix(said, sentence) || at(v, "error", "code") != "invalid_parameter_error" {
			t.Errorf("%s: %d %s", body, got.status, got.body)
		}
	}
}

// The tokenizer says what usage will say.
func TestTheNativeTokenizer(t *testing.T) {
	t.Parallel()
	h := open(t, plan{})
	for _, input := range []string{`{"prompt":"blue cat and dog"}`, `{"messages":[{"role":"system","content":"x"},{"role":"user","content":"blue cat"}]}`} {
		body := `{"model":"` + deployed + `","input":` + input + `,"parameters":{}}`
		used := h.post(t, nativePath, body).json(t)
		got := h.post(t, "/api/v1/tokenizer", body, "X-Request-Id: mine")
		if v := got.json(t); got.status != http.StatusOK || at(v, "usage", "input_tokens") != at(used, "usage", "input_tokens") || v["request_id"] != "mine" || v["output"] == nil {
			t.Errorf("%s, usage %v", got.body, used["usage"])
		}
	}
	if got := h.post(t, "/api/v1/tokenizer", `{"model":"`+deployed+`"}`); got.status != http.StatusBadRequest || got.json(t)["code"] != "BadRequest.EmptyInput" {
		t.Errorf("%d %s", got.status, got.body)
	}
	if n := len(h.meter.records); n != 2 {
		t.Errorf("%d usage records", n)
	}
}
