package gateway

import (
	"maps"

	berth "github.com/berthhq/berth"
)

// use says what becomes of a member of a request body.
type use int

const (
	usePass   use = iota // copied to the engine, byte for byte
	useOurs              // read by the dialect; the gateway tells the engine in its own words
	useIgnore            // sent by SDKs, without a meaning here
)

// field is a row of a dialect's allowlist. What is on no list is refused: engines take
// members that beat the ones checked here (n_predict, lora, priority, cache_salt …).
type field struct {
	use use
	// check returns the sentence to refuse a value with, "" for none.
	check func(value) string
	// also is a second name under which the engine is told, because engines differ.
	also string
}

type fields map[string]field

// sampling is what all dialects pass on alike.
var sampling = fields{
	"temperature":         {check: float("temperature", "Temperature should be in [0.0, 2.0)", func(f float64) bool { return f >= 0 && f < 2 })},
	"top_p":               {check: float("top_p", "Range of top_p should be (0.0, 1.0]", func(f float64) bool { return f > 0 && f <= 1 })},
	"top_k":               {check: atLeast(0, "Parameter top_k be greater than or equal to 0")},
	"presence_penalty":    {check: float("presence_penalty", "Presence_penalty should be in [-2.0, 2.0]", withinTwo)},
	"frequency_penalty":   {check: float("frequency_penalty", "Frequency_penalty should be in [-2.0, 2.0]", withinTwo)},
	"repetition_penalty":  {check: float("repetition_penalty", "Repetition_penalty should be greater than 0.0", func(f float64) bool { return f > 0 }), also: "repeat_penalty"},
	"seed":                {check: atLeast(0, "Range of seed should be [0, 9223372036854775807]")},
	"stop":                {check: checkStop},
	"logprobs":            {check: boolean("logprobs")},
	"top_logprobs":        {check: checkTopLogprobs},
	"tool_choice":         {check: checkToolChoice},
	"parallel_tool_calls": {check: boolean("parallel_tool_calls")},

	"n":               {use: useOurs, check: checkN},
	"max_tokens":      {use: useOurs},
	"tools":           {use: useOurs, check: checkTools},
	"response_format": {use: useOurs, check: checkResponseFormat},
	"enable_thinking": {use: useOurs, check: boolean("enable_thinking")},
	"thinking_budget": {use: useOurs},
	"stream":          {use: useOurs, check: boolean("stream")},

	"enable_search":  {use: useIgnore, check: off("enable_search", "Web search is not available here; leave enable_search out or false.")},
	"search_options": {use: useIgnore},
}

// openAIFields is the allowlist of the OpenAI dialect.
var openAIFields = with(sampling, fields{
	"model":                 {use: useOurs},
	"messages":              {use: useOurs, check: array("messages")},
	"stream_options":        {use: useOurs, check: object("stream_options")},
	"max_completion_tokens": {use: useOurs},

	"modalities":             {use: useIgnore, check: checkModalities},
	"user":                   {use: useIgnore},
	"metadata":               {use: useIgnore},
	"store":                  {use: useIgnore},
	"safety_identifier":      {use: useIgnore},
	"service_tier":           {use: useIgnore},
	"prompt_cache_key":       {use: useIgnore},
	"prompt_cache_retention": {use: useIgnore},
})

// nativeFields are the members of a native body, nativeParameters those of its
// parameters.
var (
	nativeFields = fields{
		"model":      {use: useOurs},
		"input":      {use: useOurs, check: object("input")},
		"parameters": {use: useOurs, check: object("parameters")},
		"stream":     {use: useOurs, check: boolean("stream")}, // where a few clients put it
	}
	nativeInput = fields{
		"messages": {use: useOurs, check: array("messages")},
		"prompt":   {use: useOurs, check: text("prompt")},
		"history":  {use: useOurs, check: array("history")},
	}
	nativeParameters = with(sampling, fields{
		"result_format":      {use: useOurs, check: checkResultFormat},
		"incremental_output": {use: useOurs, check: boolean("incremental_output")},
	})
)

// with returns the rows of both lists.
func with(base, more fields) fields {
	all := maps.Clone(base)
	maps.Copy(all, more)
	return all
}

// pick returns the named rows of a list.
func pick(list fields, names ...string) fields {
	some := fields{}
	for _, name := range names {
		some[name] = list[name]
	}
	return some
}

// read goes through an object: checks each member, adds what passes to r and hands the
// dialect its own. prefix stands before the names in refusals.
func (list fields) read(object value, prefix string, r *request, ours func(name string, v value) error) error {
	for name, v := range members(object) {
		row, ok := list[string(name)]
		if !ok {
			return invalid("The parameter %q is not supported; leave it out.", prefix+string(name))
		}
		if v.isNull() {
			continue
		}
		if row.check != nil {
			if sentence := row.check(v); sentence != "" {
				return invalid("%s", sentence)
			}
		}
		switch row.use {
		case usePass:
			r.pass(string(name), v)
			if row.also != "" {
				r.pass(row.also, v)
			}
		case useOurs:
			if err := ours(string(name), v); err != nil {
				return err
			}
		}
	}
	return nil
}

// pass adds a member to the body for the engine.
func (r *request) pass(name string, v value) {
	r.fields = append(r.fields, berth.Field{Name: name, Value: v})
}
