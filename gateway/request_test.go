package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	berth "github.com/berthhq/berth"
)

// parsers are the two dialects, each with a way to put members where clients put
// parameters.
var parsers = map[string]struct {
	dialect dialect
	body    func(...string) string
}{
	"OpenAI": {openAI{}, func(members ...string) string { return chat("say json", members...) }},
	"native": {native{}, func(members ...string) string { return generation("say json", members...) }},
}

func parse(d dialect, body string, route *berth.Route) (request, *failure) {
	object, err := checkBody([]byte(body))
	if err != nil {
		return request{}, failureOf(err)
	}
	r, err := d.parse(object, http.Header{}, route)
	if err != nil {
		return r, failureOf(err)
	}
	return r, nil
}

func thinkingRoute() *berth.Route {
	return &berth.Route{DeployedModel: deployed, Thinking: berth.ThinkingOptional, ContextLength: 4096}
}

// conformance 97, 98, 99
func TestRefusedParameters(t *testing.T) {
	t.Parallel()
	for members, sentence := range map[string]string{
		`"temperature":2.0`:          "Temperature should be in [0.0, 2.0)",
		`"temperature":-0.1`:         "Temperature should be in [0.0, 2.0)",
		`"temperature":"1"`:          "'temperature' must be Float",
		`"top_p":0`:                  "Range of top_p should be (0.0, 1.0]",
		`"top_p":1.1`:                "Range of top_p should be (0.0, 1.0]",
		`"top_k":-1`:                 "Parameter top_k be greater than or equal to 0",
		`"repetition_penalty":0`:     "Repetition_penalty should be greater than 0.0",
		`"presence_penalty":2.5`:     "Presence_penalty should be in [-2.0, 2.0]",
		`"n":5`:                      "Range of n should be [1, 4]",
		`"n":0`:                      "Range of n should be [1, 4]",
		`"seed":-1`:                  "Range of seed should be [0, 9223372036854775807]",
		`"seed":9223372036854775808`: "Range of seed should be [0, 9223372036854775807]",
		`"max_tokens":4097`:          "Range of max_tokens should be [1, 4096]",
		`"max_tokens":0`:             "Range of max_tokens should be [1, 4096]",
		`"max_tokens":1.5`:           "Range of max_tokens should be [1, 4096]",
		`"thinking_budget":0`:        "The thinking_budget parameter must be a positive integer and not greater than 4096",
		`"thinking_budget":5000`:     "The thinking_budget parameter must be a positive integer and not greater than 4096",
		`"stop":["a",1]`:             `The "stop" parameter must be of type "str", "list[str]", "list[int]", or "list[list[int]]", and all elements within the list must be of the same type.`,
		`"stop":{}`:                  `The "stop" parameter must be of type "str", "list[str]", "list[int]", or "list[list[int]]", and all elements within the list must be of the same type.`,
		`"max_tokens":true`:          "Range of max_tokens should be [1, 4096]",
		`"thinking_budget":"5"`:      "The thinking_budget parameter must be a positive integer and not greater than 4096",
		`"stop":""`:                  `The "stop" parameter holds an empty string, which would end every answer; leave it out.`,
		`"stop":["a",""]`:            `The "stop" parameter holds an empty string, which would end every answer; leave it out.`,
		`"tools":[5]`:                "'tools' must be a list of objects",
		`"tools":[{}]`:               "Field required: tools.function.name",
		`"tools":[{"type":"function","function":{"name":5}}]`:        "Field required: tools.function.name",
		`"tools":[{"type":"web_search"}]`:                            "Tools of the type web_search are not available here; send functions.",
		`"tool_choice":{"type":"function","function":{"name":"f"}}`:  "'tool_choice' asks for a function, and there are no tools; send them, or leave tool_choice out.",
		`"response_format":{"type":"json_schema"}`:                   "Field required: response_format.json_schema.schema",
		`"response_format":{"type":"json_schema","json_schema":"x"}`: "Field required: response_format.json_schema.schema",
		`"stop":[1,2]`:                     `Token ids in "stop" are not supported; use strings.`,
		`"top_logprobs":6`:                 "Range of top_logprobs should be [0, 5]",
		`"tool_choice":"required"`:         `tool_choice is one of the strings that should be ["none", "auto"]`,
		`"enable_search":true`:             "Web search is not available here; leave enable_search out or false.",
		`"response_format":{"type":"xml"}`: "'response_format' must be an object whose 'type' is text, json_object or json_schema",
		`"enable_thinking":"yes"`:          "'enable_thinking' must be a boolean",
		`"enable_thinking":true,"response_format":{"type":"json_object"}`: "Json mode response is not supported when enable_thinking is true",
	} {
		for name, p := range parsers {
			_, f := parse(p.dialect, p.body(members), thinkingRoute())
			if f == nil || f.sentence != sentence || f.problem != problemInvalid {
				t.Errorf("%s with %s: %v, want %q", name, members, f, sentence)
			}
		}
	}
}

func TestRefusedMessages(t *testing.T) {
	t.Parallel()
	for messages, sentence := range map[string]string{
		`[]`:                                "[] is too short", // conformance 99
		`{}`:                                "'messages' must be a list",
		`["hi"]`:                            "'messages' must be a list of objects",
		`[{"content":"x"}]`:                 "Field required: role",
		`[{"role":"boss","content":"x"}]`:   `The role "boss" is not known; use system, user, assistant or tool.`,
		`[{"role":"system","content":"x"}]`: "The input messages do not contain elements with the role of user.",
		`[{"role":"user"}]`:                 "The content field is a required field.",
		`[{"role":"user","content":null}]`:  "The content field is a required field.",
		`[{"role":"user","content":5}]`:     "input content must be a string.",
		`[{"role":"user","content":["x"]}]`: "input content must be a string.",
		`[{"role":"user","content":[{"type":"image_url","image_url":{"url":"http://10.0.0.1/"}}]}]`: "input content must be a string.",
		`[{"role":"user","content":[{"image":"http://10.0.0.1/"}]}]`:                                `Content parts of the kind "image" are not supported; this model takes text.`,
		`[{"role":"user","content":"x"},{"role":"tool","content":"y"}]`:                             `messages with role "tool" must be a response to a preceeding message with "tool_calls"`,
	} {
		for name, body := range map[string]string{
			"OpenAI": `{"model":"m","messages":` + messages + `}`,
			"native": `{"model":"m","input":{"messages":` + messages + `}}`,
		} {
			_, f := parse(parsers[name].dialect, body, thinkingRoute())
			if f == nil || f.sentence != sentence {
				t.Errorf("%s with %s: %v, want %q", name, messages, f, sentence)
			}
		}
	}
}

func TestRefusedNativeCombinations(t *testing.T) {
	t.Parallel()
	for parameters, sentence := range map[string]string{
		`"enable_thinking":true,"result_format":"text"`:                   `The result_format parameter must be "message" when enable_thinking is true`,
		`"enable_thinking":true,"stream":true,"incremental_output":false`: `The incremental_output parameter must be "true" when enable_thinking is true`,
		`"n":2,"result_format":"text"`:                                    `The result_format parameter must be "message" when n is greater than 1 or tools are given`,
		`"result_format":"xml"`:                                           "'result_format' must be text or message",
		`"response_format":{"type":"json_object"}`:                        "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.",
	} {
		_, f := parse(native{}, generation("hi", parameters), thinkingRoute())
		if f == nil || f.sentence != sentence {
			t.Errorf("%s: %v, want %q", parameters, f, sentence)
		}
	}
}

func TestMalformedBodies(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]*problem{
		``:                         problemNotJSON,
		`[]`:                       problemNotJSON,
		`{`:                        problemNotJSON,
		`{} {}`:                    problemNotJSON,
		"{\"model\":\"\xff\"}":     problemNotJSON,
		`{"a":1,"a":2}`:            problemInvalid,
		`{"a":{"b":1,"\u0062":2}}`: problemInvalid,
		`{"model":5}`:              nil,
	} {
		_, err := checkBody([]byte(body))
		if want == nil && err == nil {
			continue
		}
		if f := failureOf(err); f.problem != want {
			t.Errorf("%s: %v", body, f)
		}
	}
	var f *failure
	_, err := checkBody([]byte(`{"a":{"b":1,"b":2}}`))
	if !errors.As(err, &f) || f.sentence != `The name "b" stands twice in the body; send it once.` {
		t.Errorf("got %v", err)
	}
	for _, body := range []string{`{}`, `{"model":""}`, `{"model":5}`, `{"model":null}`} {
		if _, err := modelOf(value(body)); failureOf(err).problem != problemNoModel {
			t.Errorf("%s: %v", body, err)
		}
	}
	for body, want := range map[string]string{`{"model":"m"}`: problemNoInput.message, `{"model":"m","input":{}}`: `Either "prompt" or "messages" must exist and cannot both be none`} {
		if _, f := parse(native{}, body, thinkingRoute()); f == nil || f.sentence+f.message != want {
			t.Errorf("%s: %v", body, f)
		}
	}
}

// engineFields are what llama.cpp and vLLM take from anybody who can reach them: none of
// it may come from a client. n_predict beats max_tokens, lora and model choose other
// weights, slots, caches and priorities are other people's.
var engineFields = strings.Fields(`
	adaptive_decay adaptive_target add_generation_prompt add_special_tokens allowed_token_ids antiprompt
	backend_sampling bad_words best_of cache_prompt cache_salt chat_format chat_template chat_template_kwargs
	continue_final_message continuous_usage_stats detokenize documents dry_allowed_length dry_base dry_multiplier
	dry_penalty_last_n dry_sequence_breakers dynatemp_exponent dynatemp_range echo
	generation_prompt grammar grammar_lazy grammar_triggers guided_choice guided_decoding_backend guided_grammar
	guided_json guided_regex id_slot ignore_eos include_reasoning include_stop_str_in_output input_extra
	input_prefix input_suffix json_schema kv_transfer_params length_penalty logit_bias logits_processors lora
	max_completion_len max_new_tokens media_marker min_keep min_p min_tokens mirostat mirostat_eta mirostat_tau mm_processor_kwargs
	n_cache_reuse n_cmpl n_discard n_indent n_keep n_predict n_probs parse_tool_calls penalize_nl
	penalty_last_n post_sampling_probs preserved_tokens priority prompt prompt_logprobs reasoning_budget
	reasoning_control reasoning_effort reasoning_format reasoning_in_content repeat_last_n repeat_penalty request_id return_progress
	return_token_ids return_tokens return_tokens_as_token_ids samplers sampling_seed skip_special_tokens slot_id
	spaces_between_special_tokens speculative.n_max speculative.n_min speculative.p_min stop_token_ids
	structured_outputs t_max_predict_ms t_max_prompt_ms temperature_last tfs_z thinking_budget_message
	thinking_budget_tokens thinking_forced_open timings_per_token top_n_sigma truncate_prompt_tokens typical_p
	use_beam_search verbose vllm_xargs xtc_probability xtc_threshold`)

func TestEngineFieldsAreRefused(t *testing.T) {
	t.Parallel()
	for _, name := range engineFields {
		for dialect, p := range parsers {
			_, f := parse(p.dialect, p.body(fmt.Sprintf("%q:1", name)), thinkingRoute())
			if f == nil || f.problem != problemInvalid || !strings.Contains(f.sentence, name) {
				t.Errorf("%s lets %s pass: %v", dialect, name, f)
			}
		}
	}
	for where, body := range map[string]string{
		"input.lora":     `{"model":"m","input":{"prompt":"x","lora":1}}`,
		"n_predict":      `{"model":"m","input":{"prompt":"x"},"n_predict":1}`,
		"stream_options": chat("x", `"stream_options":{"continuous_usage_stats":true}`),
	} {
		d := parsers["native"].dialect
		if where == "stream_options" {
			d = openAI{}
		}
		if _, f := parse(d, body, thinkingRoute()); f == nil || !strings.Contains(f.sentence, where) {
			t.Errorf("%s passes: %v", where, f)
		}
	}
}

func TestWhatTheGatewaySaysWins(t *testing.T) {
	t.Parallel()
	r, f := parse(openAI{}, chat("x", `"seed":7,"temperature":0.50,"top_k":3`), thinkingRoute())
	if f != nil {
		t.Fatal(f)
	}
	got := appendEngineBody(nil, &r, []berth.Field{rawField("seed", 1), rawField("model", "other")})
	want := `{"messages":[{"role":"user","content":"x"}],"temperature":0.50,"top_k":3,"seed":1,"model":"other"}`
	if string(got) != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

func TestAsk(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		dialect dialect
		body    string
		want    Tokens
	}{
		"undeclared":                       {openAI{}, chat("1234"), Tokens{1, 4 + 16 + 64, 256, 0, 256}},
		"declared, two answers":            {openAI{}, chat("1234", `"max_tokens":10,"n":2`), Tokens{1, 84, 20, 0, 20}},
		"OpenAI's limit counts thinking":   {openAI{}, chat("1234", `"max_tokens":10,"enable_thinking":true`), Tokens{1, 84, 10, 10, 10}},
		"the native one does not":          {native{}, generation("1234", `"max_tokens":10,"enable_thinking":true,"thinking_budget":5`), Tokens{1, 84, 15, 5, 10}},
		"the model's ceiling for thought":  {native{}, generation("1234", `"max_tokens":10,"enable_thinking":true`), Tokens{1, 84, 4096, 4096, 10}},
		"tools are input":                  {openAI{}, chat("1234", `"tools":[{"function":{"name":"f"}}]`), Tokens{1, 84 + 6*27 + 100, 256, 0, 256}},
		"escapes may hide longer texts":    {openAI{}, chat("1\u095834"), Tokens{1, 3*6 + 80, 256, 0, 256}},
		"texts that normalizing lengthens": {openAI{}, chat("\u0958"), Tokens{1, 3*3 + 80, 256, 0, 256}},
	} {
		r, f := parse(tc.dialect, tc.body, thinkingRoute())
		if f != nil {
			t.Fatal(f)
		}
		if got := r.ask(r.bound(&overhead{call: 64, message: 16, tools: 100}), new(history)); got != tc.want {
			t.Errorf("%s: %+v, want %+v", name, got, tc.want)
		}
	}
}

func TestHistory(t *testing.T) {
	t.Parallel()
	var h history
	if got := h.expect(); got != expectedAtFirst {
		t.Errorf("at first %d", got)
	}
	for i := range 3 * historyLength {
		h.add(int64(i))
	}
	// The last sort saw 512+240 … 512+240−255, of which 95 of 100 are below this one.
	if got := h.expect(); got < 2*historyLength || got >= 3*historyLength {
		t.Errorf("expected %d", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(chat("x", `"tools":[{}],"stop":["a"]`))
	f.Add(generation("x", `"n":2,"incremental_output":true`))
	f.Add(`{"model":"m","input":{"messages":[{"role":"user","content":[{"text":"a\"b"},{"text":"c"}]}],"prompt":"p","history":[{"user":"u","bot":"b"}]}}`)
	f.Add("{ \"model\" : \"m\" ,\n\"messages\" :[ {\"role\":\"user\" , \"content\": \"\\u0041\" } ] }")
	f.Fuzz(func(t *testing.T, body string) {
		for _, d := range []dialect{openAI{}, native{}} {
			r, failed := parse(d, body, thinkingRoute())
			if failed != nil {
				continue
			}
			out := appendEngineBody(nil, &r, []berth.Field{rawField("model", "m"), rawField("max_tokens", 5)})
			if _, err := checkBody(out); err != nil {
				t.Fatalf("%s became %s: %v", body, out, err)
			}
			var decoded struct {
				Messages  []struct{ Role, Content any }
				MaxTokens int64 `json:"max_tokens"`
			}
			if err := json.Unmarshal(out, &decoded); err != nil || decoded.MaxTokens != 5 {
				t.Fatalf("%s became %s: %v", body, out, err)
			}
			for _, m := range decoded.Messages {
				if _, ok := m.Content.(string); !ok && m.Content != nil {
					t.Fatalf("a content is no string in %s", out)
				}
			}
		}
	})
}

// A template that has no place for tools would drop them, and the calls in a conversation.
func TestToolsOfAModelWithout(t *testing.T) {
	t.Parallel()
	const (
		function = `{"type":"function","function":{"name":"f"}}`
		history  = `[{"role":"user","content":"x"},{"role":"assistant","tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"1","content":"y"}]`
		turns    = `[{"role":"user","content":"x"},{"role":"assistant","content":[{"type":"tool_use","id":"1","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"1","content":"y"}]}]`
		items    = `[{"role":"user","content":"x"},{"type":"function_call","call_id":"1","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"1","output":"y"}]`
	)
	named := fmt.Sprintf(`{"model":%q,`, deployed)
	for body, d := range map[string]dialect{
		chat("x", `"tools":[`+function+`]`):                             openAI{},
		chat("x", `"tools":[`+function+`],"tool_choice":"none"`):        openAI{},
		named + `"messages":` + history + `}`:                           openAI{},
		generation("x", `"tools":[`+function+`]`):                       native{},
		named + `"input":{"messages":` + history + `}}`:                 native{},
		message("x", `"tools":[{"name":"f","input_schema":{}}]`):        anthropic{},
		named + `"max_tokens":5,"messages":` + turns + `}`:              anthropic{},
		named + `"input":"x","tools":[{"type":"function","name":"f"}]}`: openAIResponses{},
		named + `"input":` + items + `}`:                                openAIResponses{},
	} {
		route := thinkingRoute()
		if _, f := parse(d, body, route); f != nil {
			t.Errorf("%s of a model with tools: %v", body, f)
		}
		route.NoTools = true
		if _, f := parse(d, body, route); f == nil || f.sentence != "The tool call is not supported." || f.problem != problemInvalid {
			t.Errorf("%s: %v", body, f)
		}
	}
	for body, d := range map[string]dialect{chat("x", `"tools":[]`): openAI{}, chat("x", `"tools":null`): openAI{},
		named + `"messages":[{"role":"user","content":"x"},{"role":"assistant","content":"y","tool_calls":[]},{"role":"user","content":"z"}]}`: openAI{},
		message("x", `"tools":[]`): anthropic{}} {
		route := thinkingRoute()
		route.NoTools = true
		if _, f := parse(d, body, route); f != nil {
			t.Errorf("%s: %v", body, f)
		}
	}
}

// What is of the wrong type is never passed over.
func TestRefusedOfOneDialect(t *testing.T) {
	t.Parallel()
	named := fmt.Sprintf(`{"model":%q,`, deployed)
	for body, c := range map[string]struct {
		dialect  dialect
		sentence string
	}{
		chat("x", `"modalities":"audio"`):                               {openAI{}, "'modalities' must be a list"},
		chat("x", `"stream_options":{"include_usage":"yes"}`):           {openAI{}, "'stream_options.include_usage' must be a boolean"},
		chat("x", `"max_completion_tokens":0`):                          {openAI{}, "Range of max_tokens should be [1, 4096]"},
		named + `"input":{"prompt":"x","history":[1]}}`:                 {native{}, "'history' must be a list of objects with user and bot"},
		named + `"input":"x","max_output_tokens":0}`:                    {openAIResponses{}, "Range of max_output_tokens should be [1, 4096]"},
		named + `"input":"x","max_output_tokens":4097}`:                 {openAIResponses{}, "Range of max_output_tokens should be [1, 4096]"},
		named + `"input":"x","tools":[{"type":"function"}]}`:            {openAIResponses{}, "Field required: tools.name"},
		named + `"input":"x","text":{"format":{"type":"json_schema"}}}`: {openAIResponses{}, "Field required: text.format.schema"},
		named + `"prompt":"x","max_tokens":0}`:                          {openAICompletions{}, "Range of max_tokens should be [1, 4096]"},
		message("x", `"stop_sequences":[""]`):                           {anthropic{}, "'stop_sequences' holds an empty string, which would end every answer; leave it out"},
	} {
		if _, f := parse(c.dialect, body, thinkingRoute()); f == nil || f.sentence != c.sentence {
			t.Errorf("%s: %v, want %q", body, f, c.sentence)
		}
	}
}
