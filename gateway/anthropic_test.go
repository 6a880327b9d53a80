package gateway

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/api"
	"github.com/berthhq/berth/fakeengine"
)

const messagesPath = "/apps/anthropic/v1/messages"

// message is an Anthropic body: the user's text, max_tokens 64 and further members.
func message(text string, more ...string) string {
	return fmt.Sprintf(`{"model":%q,"max_tokens":64,"messages":[{"role":"user","content":%q}]%s}`, deployed, text, joined(more))
}

// conversation is an Anthropic body with these messages.
func conversation(messages string, more ...string) string {
	return fmt.Sprintf(`{"model":%q,"max_tokens":64,"messages":%s%s}`, deployed, messages, joined(more))
}

// conformance 158
func TestRefusedAnthropicParameters(t *testing.T) {
	t.Parallel()
	const tool = `"tools":[{"name":"f","input_schema":{}}]`
	for members, sentence := range map[string]string{
		`"temperature":2.0`:          "Temperature should be in [0.0, 2.0)",
		`"top_p":0`:                  "Range of top_p should be (0.0, 1.0]",
		`"top_k":-1`:                 "Parameter top_k be greater than or equal to 0",
		`"stream":"yes"`:             "'stream' must be a boolean",
		`"system":5`:                 "'system' must be a string or a list of text blocks",
		`"system":[{"type":"x"}]`:    `Content blocks of the type "x" are not supported; this model takes text.`,
		`"stop_sequences":"a"`:       "'stop_sequences' must be a list of strings",
		`"stop_sequences":["a",1]`:   "'stop_sequences' must be a list of strings",
		`"mcp_servers":[]`:           `The parameter "mcp_servers" is not supported; leave it out.`,
		`"enable_thinking":true`:     `The parameter "enable_thinking" is not supported; leave it out.`,
		`"thinking":true`:            "'thinking' must be an object",
		`"thinking":{}`:              "Field required: thinking.type",
		`"thinking":{"type":"deep"}`: "'thinking.type' must be enabled, disabled or adaptive",
		`"thinking":{"type":"enabled","budget_tokens":0}`:                    "'thinking.budget_tokens' must be a positive integer",
		`"thinking":{"type":"enabled","lora":1}`:                             `The parameter "thinking.lora" is not supported; leave it out.`,
		`"tools":[5]`:                                                        "'tools' must be a list of objects",
		`"tools":[{"name":"","input_schema":{}}]`:                            "Field required: tools.name",
		`"tools":[{"name":"f"}]`:                                             "Field required: tools.input_schema",
		`"tools":[{"name":"f","input_schema":{},"description":5}]`:           "'tools.description' must be a string",
		`"tools":[{"name":"f","input_schema":{},"strict":5}]`:                "'tools.strict' must be a boolean",
		`"tools":[{"name":"f","input_schema":{},"defer_loading":true}]`:      `The parameter "tools.defer_loading" is not supported; leave it out.`,
		`"tools":[{"type":"web_search_20250305","name":"web_search"}]`:       `Tools of the type "web_search_20250305" are not available here; describe a tool of yours with name and input_schema.`,
		`"tool_choice":{"type":"any"}`:                                       "'tool_choice' needs tools; send them, or leave it out.",
		`"tool_choice":{"type":"must"},` + tool:                              "'tool_choice.type' must be auto, any, tool or none",
		`"tool_choice":{"type":"tool"},` + tool:                              "Field required: tool_choice.name",
		`"tool_choice":{"type":"tool","name":"g"},` + tool:                   `'tool_choice.name' is "g", which is not the name of a tool.`,
		`"tool_choice":{"type":"any","x":1},` + tool:                         `The parameter "tool_choice.x" is not supported; leave it out.`,
		`"tool_choice":{"type":"any","disable_parallel_tool_use":1},` + tool: "'tool_choice.disable_parallel_tool_use' must be a boolean",
		`"output_config":{"format":{"type":"xml"}}`:                          `'output_config.format' must be an object with "type":"json_schema" and a schema`,
		`"output_config":{"task_budget":{}}`:                                 `The parameter "output_config.task_budget" is not supported; leave it out.`,
	} {
		_, f := parse(anthropic{}, message("x", members), thinkingRoute())
		if f == nil || f.sentence != sentence || f.problem != problemInvalid {
			t.Errorf("%s: %v, want %q", members, f, sentence)
		}
	}
	for body, sentence := range map[string]string{
		`{"model":"m","messages":[{"role":"user","content":"x"}]}`:                     "Field required: max_tokens",
		`{"model":"m","messages":[{"role":"user","content":"x"}],"max_tokens":null}`:   "Field required: max_tokens",
		`{"model":"m","messages":[{"role":"user","content":"x"}],"max_tokens":0}`:      "Range of max_tokens should be [1, 4096]",
		`{"model":"m","messages":[{"role":"user","content":"x"}],"max_tokens":"many"}`: "Range of max_tokens should be [1, 4096]",
		`{"model":"m","messages":[{"role":"user","content":"x"}],"max_tokens":4097}`:   "Range of max_tokens should be [1, 4096]",
		`{"model":"m","max_tokens":5}`:                                                 "Field required: messages",
	} {
		if _, f := parse(anthropic{}, body, thinkingRoute()); f == nil || f.sentence != sentence {
			t.Errorf("%s: %v, want %q", body, f, sentence)
		}
	}
	for _, name := range engineFields {
		if _, f := parse(anthropic{}, message("x", fmt.Sprintf("%q:1", name)), thinkingRoute()); f == nil || !strings.Contains(f.sentence, name) {
			t.Errorf("%s passes: %v", name, f)
		}
	}
	if _, f := parse(anthropic{}, message("x", `"temperature":1.5`), thinkingRoute()); f != nil {
		t.Error(f)
	}
	for kind, refusal := range map[string]string{"enabled": "The model " + deployed + " does not support enable_thinking.", "disabled": "", "adaptive": ""} {
		_, f := parse(anthropic{}, message("x", `"thinking":{"type":"`+kind+`"}`), &berth.Route{DeployedModel: deployed})
		if refusal == "" && f != nil || refusal != "" && (f == nil || f.sentence != refusal) {
			t.Errorf("thinking %s on a model that cannot: %v", kind, f)
		}
	}
}

func TestRefusedAnthropicMessages(t *testing.T) {
	t.Parallel()
	for messages, sentence := range map[string]string{
		`[]`:                                "[] is too short",
		`{}`:                                "'messages' must be a list",
		`["hi"]`:                            "'messages' must be a list of objects",
		`[{"content":"x"}]`:                 "Field required: role",
		`[{"role":"tool","content":"x"}]`:   `The role "tool" is not known; use user or assistant.`,
		`[{"role":"user"}]`:                 "Field required: content",
		`[{"role":"user","content":5}]`:     "'content' must be a string or a list of blocks",
		`[{"role":"user","content":["x"]}]`: "'content' must be a string or a list of blocks",
		`[{"role":"user","content":"x","name":"y"}]`:                                                      `The parameter "messages.name" is not supported; leave it out.`,
		`[{"role":"assistant","content":"x"}]`:                                                            "The input messages do not contain elements with the role of user.",
		`[{"role":"user","content":[{}]}]`:                                                                "Field required: content.type",
		`[{"role":"user","content":[{"type":"text"}]}]`:                                                   "Field required: content.text",
		`[{"role":"user","content":[{"type":"text","text":"x","lora":1}]}]`:                               `The parameter "content.lora" is not supported; leave it out.`,
		`[{"role":"user","content":[{"type":"image","source":{"type":"url","url":"http://10.0.0.1/"}}]}]`: `Content blocks of the type "image" are not supported; this model takes text.`,
		`[{"role":"user","content":[{"type":"tool_use","id":"a","name":"f","input":{}}]}]`:                "A content block of the type tool_use cannot stand in user.",
		`[{"role":"user","content":[{"type":"thinking","thinking":"x"}]}]`:                                "A content block of the type thinking cannot stand in user.",
		`[{"role":"user","content":[{"type":"tool_result","tool_use_id":"a","content":"x"}]}]`:            `The tool_result for "a" answers no tool_use of a message before it.`,
		`[{"role":"user","content":[{"type":"tool_result"}]}]`:                                            "Field required: content.tool_use_id",
		`[{"role":"assistant","content":[{"type":"tool_use","name":"f","input":{}}]}]`:                    "Field required: content.id",
		`[{"role":"assistant","content":[{"type":"tool_use","id":"a","input":{}}]}]`:                      "Field required: content.name",
		`[{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":"{}"}]}]`:         "Field required: content.input",
		`[{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"a","is_error":1}]}]`:                 "'is_error' must be a boolean",
		`[{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"a","content":[{"type":"image"}]}]}]`: `Content blocks of the type "image" are not supported; this model takes text.`,
	} {
		if _, f := parse(anthropic{}, conversation(messages), thinkingRoute()); f == nil || f.sentence != sentence {
			t.Errorf("%s: %v, want %q", messages, f, sentence)
		}
	}
}

// What a body becomes for an engine.
func TestAnthropicBodies(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ body, want string }{
		"a text": {message(`37"+85`, `"temperature":1.50,"top_k":3,"stop_sequences":["a","b"],"metadata":{"user_id":"u"},"cache_control":{"type":"ephemeral"}`),
			`{"messages":[{"role":"user","content":"37\"+85"}],"temperature":1.50,"top_k":3,"stop":["a","b"]}`},
		"blocks and a system text": {conversation(`[{"role":"user","content":[{"type":"text","text":"3\u00377"},{"type":"text","text":"+85","cache_control":{"type":"ephemeral"}}]}]`,
			`"system":[{"type":"text","text":"Be "},{"type":"text","text":"short."}]`),
			`{"messages":[{"role":"system","content":"Be short."},{"role":"user","content":"3\u00377+85"}]}`},
		"a system message is folded in": {conversation(`[{"role":"user","content":"x"},{"role":"system","content":[{"type":"text","text":"Count."}]}]`, `"system":"Be short."`),
			`{"messages":[{"role":"system","content":"Be short.\n\nCount."},{"role":"user","content":"x"}]}`},
		"a whole round of tools": {conversation(`[{"role":"user","content":"weather?"},
			{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":""},{"type":"redacted_thinking","data":"zz"},{"type":"text","text":"Let me see.","citations":null},
				{"type":"tool_use","id":"t1","name":"f","input":{ "city":"Köln \"x\""}},{"type":"tool_use","id":"t2","name":"f","input":{}}]},
			{"role":"user","content":[{"type":"text","text":"go on"},{"type":"tool_result","tool_use_id":"t1","content":[{"type":"text","text":"su"},{"type":"text","text":"n"}]},{"type":"tool_result","tool_use_id":"t2","is_error":true}]}]`,
			`"tools":[{"name":"f","description":"d","input_schema":{"type":"object"},"strict":true,"type":"custom","cache_control":null}],"tool_choice":{"type":"auto","disable_parallel_tool_use":true}`),
			`{"messages":[{"role":"user","content":"weather?"},{"role":"assistant","content":"Let me see.","reasoning_content":"hm","tool_calls":[{"id":"t1","type":"function","function":{"name":"f","arguments":"{ \"city\":\"Köln \\\"x\\\"\"}"}},{"id":"t2","type":"function","function":{"name":"f","arguments":"{}"}}]},` +
				`{"role":"tool","content":"sun","tool_call_id":"t1"},{"role":"tool","content":"Error: ","tool_call_id":"t2"},{"role":"user","content":"go on"}],` +
				`"parallel_tool_calls":false,"tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object"},"strict":true}}]}`},
		"any tool": {message("x", `"tool_choice":{"type":"any"},"tools":[{"name":"f","input_schema":{}},{"name":"g","input_schema":{}}]`),
			`{"messages":[{"role":"user","content":"x"}],"tool_choice":"required","tools":[{"type":"function","function":{"name":"f","parameters":{}}},{"type":"function","function":{"name":"g","parameters":{}}}]}`},
		"one tool is the only one offered": {message("x", `"tool_choice":{"type":"tool","name":"g"},"tools":[{"name":"f","input_schema":{}},{"name":"\u0067","input_schema":{}}]`),
			`{"messages":[{"role":"user","content":"x"}],"tool_choice":"required","tools":[{"type":"function","function":{"name":"\u0067","parameters":{}}}]}`},
		"no tool": {message("x", `"tool_choice":{"type":"none"},"tools":[{"name":"f","input_schema":{}}]`),
			`{"messages":[{"role":"user","content":"x"}],"tool_choice":"none","tools":[{"type":"function","function":{"name":"f","parameters":{}}}]}`},
		"a schema": {message("x", `"output_config":{"effort":"low","format":{"type":"json_schema","schema":{"type":"object"}}}`),
			`{"messages":[{"role":"user","content":"x"}],"response_format":{"type":"json_schema","json_schema":{"name":"answer","schema":{"type":"object"}}}}`},
	} {
		r, f := parse(anthropic{}, c.body, thinkingRoute())
		if f != nil {
			t.Errorf("%s: %v", name, f)
			continue
		}
		if got := string(appendEngineBody(nil, &r, nil)); got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, c.want)
		}
		if !json.Valid([]byte(c.want)) {
			t.Errorf("%s: the test wants no JSON", name)
		}
	}
}

func TestAnthropicThinking(t *testing.T) {
	t.Parallel()
	for thinking, want := range map[string]struct {
		on     bool
		budget int64
	}{
		`null`:                {false, 0},
		`{"type":"disabled"}`: {false, 0},
		`{"type":"adaptive","display":"summarized"}`:  {false, 0},
		`{"type":"enabled"}`:                          {true, 0},
		`{"type":"enabled","budget_tokens":10}`:       {true, 10},
		`{"type":"enabled","budget_tokens":10000000}`: {true, 64},
	} {
		r, f := parse(anthropic{}, message("x", `"thinking":`+thinking), thinkingRoute())
		if f != nil {
			t.Errorf("%s: %v", thinking, f)
			continue
		}
		// max_tokens counts thinking, too.
		if r.thinks() != want.on || r.budget != want.budget || r.engineMax != 64 || r.declared != 64 {
			t.Errorf("%s: thinks %v, budget %d, at most %d", thinking, r.thinks(), r.budget, r.engineMax)
		}
	}
}

// conformance 157, 158, 159, 160, 161, 164
func TestAnthropic(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]scenario{
		"plain": {
			path: messagesPath, body: message("37+85"), status: 200,
			want: map[string]any{
				"type": "message", "role": "assistant", "model": deployed, "content.0.type": "text", "content.0.text": "122", "content.1": nil,
				"stop_reason": "end_turn", "stop_sequence": nil,
				"usage.input_tokens": 5.0, "usage.output_tokens": 1.0, "usage.cache_creation_input_tokens": 0.0, "usage.cache_read_input_tokens": 0.0,
			},
			holds: []string{`"id":"msg_`}, engine: []string{`"max_tokens":64`},
			record: ended(berth.EndStop, 200, tokens(5, 1, 0), source(berth.SourceEngine, true)),
		},
		"with a key of its own and any version": {
			path: messagesPath, body: message("37+85"), headers: []string{"Authorization: ", "X-Api-Key: " + keyText, "Anthropic-Version: 2099-01-01"}, status: 200,
			want: map[string]any{"content.0.text": "122"}, record: ended(berth.EndStop, 200),
		},
		"below the native base": {
			path: "/api/v1/v1/messages", body: message("37+85"), status: 200,
			want: map[string]any{"content.0.text": "122"}, record: ended(berth.EndStop, 200),
		},
		"thinking": {
			path: messagesPath, body: message("37+85", `"thinking":{"type":"enabled","budget_tokens":1024}`), status: 200,
			want: map[string]any{
				"content.0.type": "thinking", "content.0.signature": "", "content.1.type": "text", "content.1.text": "122",
				"usage.output_tokens_details.thinking_tokens": 3.0,
			},
			record: ended(berth.EndStop, 200, tokens(5, 4, 3)),
		},
		"not thinking": {
			path: messagesPath, body: message("37+85", `"thinking":{"type":"disabled"}`), status: 200,
			want: map[string]any{"content.0.type": "text"}, lacks: []string{"thinking"}, record: ended(berth.EndStop, 200),
		},
		"cached tokens are told apart": {
			plan: plan{scripts: []fakeengine.Script{{CachedTokens: 3}}},
			path: messagesPath, body: message("37+85"), status: 200,
			want:   map[string]any{"usage.input_tokens": 2.0, "usage.cache_read_input_tokens": 3.0},
			record: ended(berth.EndStop, 200, tokens(5, 1, 0)),
		},
		"a stop sequence": {
			path: messagesPath, body: message("count to 9", `"stop_sequences":["5"]`), status: 200,
			want: map[string]any{"content.0.text": "1 2 3 4 ", "stop_reason": "end_turn", "stop_sequence": nil}, record: ended(berth.EndStop, 200),
		},
		"too long": {
			path: messagesPath, body: strings.Replace(message("count to 9"), "64", "2", 1), status: 200,
			want: map[string]any{"stop_reason": "max_tokens"}, record: ended(berth.EndLength, 200),
		},
		"nothing to say": {
			plan: plan{engine: canned(nil)}, path: messagesPath, body: message("x", `"stream":true`), status: 500,
			want: map[string]any{"error.type": "api_error"}, record: ended(berth.EndEngineFailed, 500),
		},
		"within a reservation": {
			plan: plan{
				route:   func(r *berth.Route) { r.Plan, r.Limits.IsMetered = berth.PlanPTU, true },
				limiter: &fixedLimiter{},
			},
			path: messagesPath, body: message("37+85"), status: 200,
			want: map[string]any{
				"service_tier": "ptu-standard", "usage.prompt_tokens_details.provisioned_tokens": 5.0, "usage.prompt_tokens_details.cached_tokens": nil,
				"usage.output_tokens_details.provisioned_tokens": 1.0, "usage.output_tokens_details.thinking_tokens": nil,
			},
			record: ended(berth.EndStop, 200, class(berth.ClassReserved)),
		},
		"no max_tokens": {
			path: messagesPath, body: strings.Replace(message("x"), `"max_tokens":64,`, "", 1), status: 400, unasked: true,
			want: map[string]any{
				"type": "error", "error.type": "invalid_request_error", "error.message": "Field required: max_tokens",
				"code": "InvalidParameter", "message": "Field required: max_tokens",
			},
			record: ended(berth.EndRefused, 400),
		},
		"a name that stands twice": {
			path: messagesPath, body: message("x", `"stream":true,"stream":true`), status: 400, unasked: true,
			want: map[string]any{"error.type": "invalid_request_error", "error.message": `The name "stream" stands twice in the body; send it once.`},
		},
		"no key": {
			path: messagesPath, body: message("x"), headers: []string{"Authorization: "}, status: 401, unasked: true,
			want: map[string]any{"error.type": "authentication_error", "error.message": "No API-key provided.", "code": "InvalidApiKey"},
		},
		"a key of nobody": {
			path: messagesPath, body: message("x"), headers: []string{"Authorization: ", "X-Api-Key: sk-wrong"}, status: 401, unasked: true,
			want: map[string]any{"error.type": "authentication_error"},
		},
		"another workspace's key": {
			path: messagesPath, body: message("x"), headers: []string{"Authorization: Bearer " + otherKey}, status: 403, unasked: true,
			want: map[string]any{"error.type": "permission_error", "code": "Model.AccessDenied"},
		},
		"an unknown model": {
			path: messagesPath, body: `{"model":"nobody","max_tokens":1,"messages":[]}`, status: 404, unasked: true,
			want: map[string]any{"error.type": "not_found_error", "code": "ModelNotFound"},
		},
		"a wrong method": {
			method: "GET", path: messagesPath, status: 400, unasked: true,
			want: map[string]any{"type": "error", "error.type": "invalid_request_error"},
		},
		"not up yet": {
			plan: plan{route: func(r *berth.Route) { r.Status = berth.StatusPending }}, path: messagesPath, body: message("x"), status: 503, unasked: true,
			header: map[string]string{"Retry-After": "5"}, want: map[string]any{"error.type": "overloaded_error"},
		},
		"beyond a limit": {
			plan: plan{
				route:   func(r *berth.Route) { r.Limits.Requests = 1 },
				limiter: &fixedLimiter{refusal: &Refusal{Dimension: DimensionRequests, Limit: 1, Used: 1, Asked: 1, RetryAfter: 7e9}},
			},
			path: messagesPath, body: message("x"), status: 429, unasked: true,
			header: map[string]string{"Retry-After": "7"}, want: map[string]any{"error.type": "rate_limit_error", "code": "Throttling.RateQuota"},
			record: ended(berth.EndRefused, 429),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s.run(t)
		})
	}
}

// events returns the names of the frames of a stream, each checked against its data.
func events(t testing.TB, body string) (names []string, frames []map[string]any) {
	t.Helper()
	frames = datas(t, body)
	for i, line := range strings.Split(strings.TrimSuffix(body, "\n\n"), "\n\n") {
		name, _, _ := strings.Cut(strings.TrimPrefix(line, "event: "), "\n")
		if frames[i]["type"] != name {
			t.Errorf("frame %d is named %s and of the type %v", i, name, frames[i]["type"])
		}
		names = append(names, name)
	}
	return names, frames
}

// conformance 162
func TestAnthropicStream(t *testing.T) {
	t.Parallel()
	h := open(t, plan{scripts: []fakeengine.Script{{Reply: "Hi you", Reasoning: "Let me see"}}})
	got := h.post(t, messagesPath, message("x", `"stream":true,"thinking":{"type":"enabled","budget_tokens":9}`), "X-Request-Id: mine")
	if got.status != 200 || got.header.Get("Content-Type") != "text/event-stream" || got.header.Get("Request-Id") != "mine" || got.header.Get("X-Request-Id") != "mine" {
		t.Fatalf("%d %v", got.status, got.header)
	}
	names, frames := events(t, got.body)
	want := strings.Fields(`message_start
		content_block_start content_block_delta content_block_delta content_block_delta content_block_delta content_block_stop
		content_block_start content_block_delta content_block_delta content_block_stop
		message_delta message_stop`)
	if fmt.Sprint(names) != fmt.Sprint(want) {
		t.Errorf("the events are %v\nwant %v", names, want)
	}
	for path, want := range map[string]any{
		"0.message.type": "message", "0.message.stop_reason": nil, "0.message.usage.input_tokens": 5.0, "0.message.usage.output_tokens": 0.0,
		"1.content_block.type": "thinking", "1.content_block.signature": "", "1.index": 0.0,
		"2.delta.type": "thinking_delta", "2.delta.thinking": "Let",
		"5.delta.type": "signature_delta", "5.delta.signature": "", "6.index": 0.0,
		"7.content_block.type": "text", "7.content_block.text": "", "7.index": 1.0, "8.delta.type": "text_delta", "8.delta.text": "Hi",
		"11.delta.stop_reason": "end_turn", "11.delta.stop_sequence": nil, "11.usage.output_tokens": 5.0, "11.usage.input_tokens": 5.0,
	} {
		var list []any
		for _, f := range frames {
			list = append(list, f)
		}
		if got := lookUpPath(list, path); got != want {
			t.Errorf("%s is %v, want %v", path, got, want)
		}
	}
	if strings.Contains(got.body, "[DONE]") {
		t.Error("the stream has a [DONE]")
	}
}

// conformance 163
func TestAnthropicTools(t *testing.T) {
	t.Parallel()
	chunks := []string{
		`{"choices":[{"index":0,"delta":{"role":"assistant","content":null}}]}`,
		`{"choices":[{"index":0,"delta":{"content":"Let me see."}}]}`,
		`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c1","type":"function","function":{"name":"f","arguments":""}}]}}],"timings":{"prompt_n":3,"cache_n":2,"predicted_n":1}}`,
		`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":null,"type":null,"function":{"name":null,"arguments":"{\"a\""}}]}}]}`,
		`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":":1}"}},{"index":1,"type":"function","function":{"name":"g","arguments":"{}"}}]}}]}`,
		`{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}`,
		`{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":9,"prompt_tokens_details":{"cached_tokens":2}}}`,
	}
	h := open(t, plan{engine: canned(chunks)})
	got := h.post(t, messagesPath, message("x", `"stream":true,"tools":[{"name":"f","input_schema":{}}]`))
	m := rebuilt(t, got.body)
	for path, want := range map[string]any{
		"content.0.text": "Let me see.", "content.1.type": "tool_use", "content.1.id": "c1", "content.1.name": "f", "content.1.input.a": 1.0,
		"content.2.name": "g", "content.3": nil, "stop_reason": "tool_use",
		"usage.input_tokens": 3.0, "usage.cache_read_input_tokens": 2.0, "usage.output_tokens": 9.0,
	} {
		if got := lookUpPath(m, path); got != want {
			t.Errorf("%s is %v, want %v", path, got, want)
		}
	}
	if id, _ := lookUpPath(m, "content.2.id").(string); !strings.HasPrefix(id, "toolu_") {
		t.Errorf("a call without an id got %q", id)
	}

	whole := open(t, plan{engine: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"choices":[{"index":0,"message":{"content":null,"tool_calls":[
		{"id":"c1","function":{"name":"f","arguments":"{\"a\": 1}"}},{"id":"c2","function":{"name":"g","arguments":"{\"a\":"}}]},"finish_reason":"stop"}]}`)
	})})
	m = whole.post(t, messagesPath, message("x")).json(t)
	for path, want := range map[string]any{
		"content.0.id": "c1", "content.0.input.a": 1.0, "content.1.name": "g", "content.1.input.a": nil, "stop_reason": "tool_use",
	} {
		if got := lookUpPath(m, path); got != want {
			t.Errorf("%s is %v, want %v", path, got, want)
		}
	}
}

// rebuilt makes a message of a stream, as Anthropic's helper does.
func rebuilt(t testing.TB, body string) map[string]any {
	t.Helper()
	_, frames := events(t, body)
	var m map[string]any
	var blocks []any
	var partial string
	for _, f := range frames {
		switch f["type"] {
		case "message_start":
			m = f["message"].(map[string]any)
		case "content_block_start":
			if int(f["index"].(float64)) != len(blocks) {
				t.Errorf("block %v is the %d.", f["index"], len(blocks))
			}
			blocks, partial = append(blocks, f["content_block"]), ""
		case "content_block_delta":
			block, d := blocks[int(f["index"].(float64))].(map[string]any), f["delta"].(map[string]any)
			switch d["type"] {
			case "thinking_delta":
				block["thinking"] = block["thinking"].(string) + d["thinking"].(string)
			case "text_delta":
				block["text"] = block["text"].(string) + d["text"].(string)
			case "signature_delta":
				block["signature"] = d["signature"]
			case "input_json_delta":
				partial += d["partial_json"].(string)
			}
		case "content_block_stop":
			if block := blocks[int(f["index"].(float64))].(map[string]any); block["type"] == "tool_use" && partial != "" {
				var input any
				if err := json.Unmarshal([]byte(partial), &input); err != nil {
					t.Errorf("the input of %v is %s: %v", block["name"], partial, err)
				}
				block["input"] = input
			}
		case "message_delta":
			maps.Copy(m, f["delta"].(map[string]any))
			m["usage"] = f["usage"]
		}
	}
	m["content"] = blocks
	return m
}

// conformance 162
func TestAnthropicStreamedEqualsPlain(t *testing.T) {
	t.Parallel()
	h, follow := openScripted(t)
	rapid.Check(t, func(rt *rapid.T) {
		script := speech(rt)
		script.CachedTokens = rapid.IntRange(0, 3).Draw(rt, "cached")
		follow(script)
		kind := "disabled"
		if script.Reasoning != "" {
			kind = "enabled"
		}
		limit := rapid.IntRange(1, 8).Draw(rt, "max_tokens")
		body := fmt.Sprintf(`{"model":%q,"max_tokens":%d,"thinking":{"type":%q},"messages":[{"role":"user","content":"x"}]`, deployed, limit, kind)
		plain := h.post(t, messagesPath, body+`}`).json(t)
		streamed := rebuilt(t, h.post(t, messagesPath, body+`,"stream":true}`).body)
		delete(plain, "id")
		delete(streamed, "id")
		p, _ := json.Marshal(plain)
		s, _ := json.Marshal(streamed)
		if string(p) != string(s) {
			rt.Fatalf("plain    %s\nstreamed %s", p, s)
		}
		if kind == "disabled" { // the native max_tokens leaves thinking out
			native := readNative(h.post(t, nativePath, generation("x", fmt.Sprintf(`"max_tokens":%d`, limit))).json(t))
			if text := lookUpPath(plain, "content.0.text"); text != native.content[0] {
				rt.Fatalf("anthropic %q, native %q", text, native.content[0])
			}
		}
	})
}

func TestAnthropicFailureInsideAStream(t *testing.T) {
	t.Parallel()
	h := open(t, plan{scripts: []fakeengine.Script{{Faults: []fakeengine.Fault{{Kind: fakeengine.FaultCutStream, AfterEvents: 3}}}}})
	got := h.post(t, messagesPath, message("count to 9", `"stream":true`), "X-Request-Id: mine")
	names, frames := events(t, got.body)
	last := frames[len(frames)-1]
	if names[0] != "message_start" || names[len(names)-1] != "error" || at(last, "error", "type") != "api_error" ||
		at(last, "error", "message") != problemEngine.message || last["request_id"] != "mine" {
		t.Errorf("got %s", got.body)
	}
}

func TestAnthropicModels(t *testing.T) {
	t.Parallel()
	h := open(t, plan{})
	list := h.do(t, "GET", "/apps/anthropic/v1/models?limit=10", "").json(t)
	for path, want := range map[string]any{
		"data.0.type": "model", "data.0.id": deployed, "data.0.display_name": deployed, "data.0.created_at": "2026-09-21T14:13:20Z",
		"has_more": false, "first_id": deployed, "last_id": deployed,
	} {
		if got := lookUpPath(list, path); got != want {
			t.Errorf("%s is %v, want %v", path, got, want)
		}
	}
	if got := h.do(t, "GET", "/apps/anthropic/v1/models/"+deployed, "").json(t); got["id"] != deployed {
		t.Errorf("got %v", got)
	}
	empty := h.do(t, "GET", "/apps/anthropic/v1/models", "", "Authorization: Bearer "+otherKey)
	if empty.body != `{"data":[],"has_more":false,"first_id":null,"last_id":null}` {
		t.Errorf("got %s", empty.body)
	}
	if got := h.do(t, "GET", "/apps/anthropic/v1/models/nobody", ""); got.status != 404 || at(got.json(t), "error", "type") != "not_found_error" {
		t.Errorf("got %d %s", got.status, got.body)
	}
}

// The paths whose errors have Anthropic's shape are the ones that speak it.
func TestAnthropicPaths(t *testing.T) {
	t.Parallel()
	h := open(t, plan{})
	for _, r := range h.Routes() {
		for _, base := range r.Bases {
			path := strings.Replace(base+r.Path, "{id}", deployed, 1)
			got := h.do(t, "DELETE", path, "")
			native := strings.Contains(path, "/services/") || strings.HasSuffix(path, "/tokenizer")
			if speaks := got.json(t)["type"] == "error"; speaks != (api.IsAnthropic(path) && !native) {
				t.Errorf("%s answers %s", path, got.body)
			}
			if id := got.header.Get("Request-Id"); (id != "") != api.IsAnthropic(path) || id != "" && id != got.header.Get("X-Request-Id") {
				t.Errorf("%s: request-id is %q", path, id)
			}
		}
	}
}

// As many results of tools as a body has room for are matched with their calls at once:
// looked for one by one, they would keep a processor busy for minutes.
func TestManyToolResults(t *testing.T) {
	t.Parallel()
	const many = 80_000 // some 8 MiB
	var calls, results strings.Builder
	for i := range many {
		fmt.Fprintf(&calls, `,{"type":"tool_use","id":"%08d","name":"f","input":{}}`, i)
		fmt.Fprintf(&results, `,{"type":"tool_result","tool_use_id":"%08d"}`, i)
	}
	body := conversation(`[{"role":"assistant","content":[` + calls.String()[1:] + `]},{"role":"user","content":[` + results.String()[1:] + `]}]`)
	began := time.Now()
	if _, failed := parse(anthropic{}, body, thinkingRoute()); failed == nil || !strings.Contains(failed.sentence, "role of user") {
		t.Errorf("got %v", failed)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
}

func FuzzAnthropic(f *testing.F) {
	f.Add(message("x", `"system":[{"type":"text","text":"a"}],"stop_sequences":["a"],"thinking":{"type":"enabled","budget_tokens":5}`))
	f.Add(conversation(`[{"role":"assistant","content":[{"type":"thinking","thinking":"\n","signature":""},{"type":"tool_use","id":"\u0041","name":"f","input":{"a":[1,"\""]}}]},
		{"role":"user","content":[{"type":"tool_result","tool_use_id":"A","content":[{"type":"text","text":"\\"}],"is_error":true},{"type":"text","text":"x"}]},{"role":"system","content":"y"}]`,
		`"tools":[{"name":"f","description":"d","input_schema":{}}],"tool_choice":{"type":"tool","name":"f","disable_parallel_tool_use":true},"output_config":{"format":{"type":"json_schema","schema":{}}}`))
	f.Fuzz(func(t *testing.T, body string) {
		r, failed := parse(anthropic{}, body, thinkingRoute())
		if failed != nil {
			if object, err := checkBody((anthropic{}).failure(nil, failed, "id")); err != nil || len(object) == 0 {
				t.Fatalf("the refusal of %s is no JSON: %v", body, err)
			}
			return
		}
		out := appendEngineBody(nil, &r, []berth.Field{rawField("model", "m"), rawField("max_tokens", 5)})
		if _, err := checkBody(out); err != nil {
			t.Fatalf("%s became %s: %v", body, out, err)
		}
		var decoded struct {
			Messages []struct {
				Role, Content string
				ToolCalls     []struct {
					Function struct{ Arguments string }
				} `json:"tool_calls"`
			}
			MaxTokens int64 `json:"max_tokens"`
		}
		if err := json.Unmarshal(out, &decoded); err != nil || decoded.MaxTokens != 5 || r.maxTokens < 1 {
			t.Fatalf("%s became %s: %v", body, out, err)
		}
		for _, m := range decoded.Messages {
			for _, c := range m.ToolCalls {
				if !json.Valid([]byte(c.Function.Arguments)) {
					t.Fatalf("arguments are no JSON in %s", out)
				}
			}
		}
	})
}

const countPath = messagesPath + "/count_tokens"

// conformance 165
func TestAnthropicCount(t *testing.T) {
	t.Parallel()
	h := open(t, plan{scripts: []fakeengine.Script{{CachedTokens: 2, PromptTokens: &fakeengine.PromptRule{PerCall: 7, PerMessage: 5, PerWord: 3}}}})
	calls := 0
	for _, body := range []string{
		message("one two three"),
		message("x", `"system":[{"type":"text","text":"be brief"}]`),
		message("x", `"thinking":{"type":"enabled","budget_tokens":9},"stream":false`),
		conversation(`[{"role":"user","content":"x"},{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":{}}]},
			{"role":"user","content":[{"type":"tool_result","tool_use_id":"a","content":"so much"},{"type":"text","text":"and now"}]}]`, `"tools":[{"name":"f","input_schema":{}}]`),
	} {
		used := h.post(t, messagesPath, body).json(t)
		calls++
		sum := at(used, "usage", "input_tokens").(float64) + at(used, "usage", "cache_read_input_tokens").(float64) + at(used, "usage", "cache_creation_input_tokens").(float64)
		for _, asked := range []string{body, strings.Replace(body, `"max_tokens":64,`, "", 1)} {
			got := h.post(t, countPath, asked, "X-Request-Id: mine")
			if got.body != fmt.Sprintf(`{"input_tokens":%.0f}`, sum) || got.header.Get("Request-Id") != "mine" {
				t.Errorf("%s: counted %d %s, used %v", asked, got.status, got.body, sum)
			}
		}
	}
	h.meter.wait(t, calls)
	if n := len(h.meter.records); n != calls {
		t.Errorf("%d records of %d calls", n, calls)
	}
	if n := h.InFlight("", ""); n != 0 {
		t.Errorf("%d counts still count as in flight", n)
	}
	for body, want := range map[string]string{
		`{"model":"nobody"}`: "not_found_error",
		strings.Replace(message("x"), `"messages"`, `"m"`, 1): "invalid_request_error",
		message("x", `"enable_thinking":true`):                "invalid_request_error",
		`{"model":"` + deployed + `"`:                         "invalid_request_error",
	} {
		if got := h.post(t, countPath, body); at(got.json(t), "error", "type") != want {
			t.Errorf("%s: %d %s", body, got.status, got.body)
		}
	}
	if got := h.do(t, "GET", countPath, ""); got.status != 400 {
		t.Errorf("GET: %d %s", got.status, got.body)
	}
}

func TestAnthropicCountElsewhere(t *testing.T) {
	t.Parallel()
	h := open(t, plan{dialect: uncounted{}})
	if got := h.post(t, countPath, message("x")); got.status != 400 || at(got.json(t), "code") != "UnsupportedOperation" || got.header.Get("X-Should-Retry") != "false" {
		t.Errorf("an engine that cannot: %d %s", got.status, got.body)
	}
	gone := httptest.NewServer(nil)
	gone.Close()
	h = open(t, plan{route: func(r *berth.Route) {
		lost := r.Targets[0]
		lost.ReplicaID, lost.URL = "rep_9", gone.URL
		r.Targets = append(r.Targets, lost)
	}})
	for range 4 {
		if got := h.post(t, countPath, message("x")); got.body != `{"input_tokens":5}` {
			t.Errorf("beside an engine that is gone: %d %s", got.status, got.body)
		}
		h.table.live("dep_1").counts = counts{}
	}
}

// uncounted is a dialect of an engine that cannot count.
type uncounted struct{ llama }

func (uncounted) Count(berth.EngineCall) (berth.EngineCount, bool) { return berth.EngineCount{}, false }
