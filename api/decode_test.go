package api_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/berthhq/berth/api"
)

func ptr[T any](v T) *T { return &v }

func TestDecodeCreate(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		body string
		want api.CreateDeployment
	}{
		"an empty object is left to the rules of the domain": {
			`{}`, api.CreateDeployment{},
		},
		"everything that mu takes": {
			`{"name":"plus","model_name":"m","plan":"mu","deploy_spec":"MU1","billing_method":"POST_PAY","charge_type":"post_paid",
			  "capacity":4,"enable_thinking":true,"max_context_length":32768,"rpm_limit":600,"tpm_limit":200000,"suffix":"x"}`,
			api.CreateDeployment{
				Name: "plus", ModelName: "m", Plan: "mu", DeploySpec: "MU1", BillingMethod: "POST_PAY", ChargeType: "post_paid",
				Capacity: ptr(int64(4)), EnableThinking: ptr(true), MaxContextLength: ptr(int64(32768)),
				RPMLimit: ptr(int64(600)), TPMLimit: ptr(int64(200000)), Suffix: "x",
			},
		},
		"reserved throughput, one dimension left out": {
			`{"model_name":"m","ptu_capacity":{"input_tpm":20000,"thinking_output_tpm":null,"other":1}}`,
			api.CreateDeployment{ModelName: "m", PTU: &api.PTUCapacity{InputTPM: 20000}},
		},
		"the two roles of a separated template": {
			`{"prefill_capacity":2,"decode_capacity":4}`,
			api.CreateDeployment{PrefillCapacity: ptr(int64(2)), DecodeCapacity: ptr(int64(4))},
		},
		"whole numbers in any notation": {
			`{"capacity":4.0,"rpm_limit":1e3,"tpm_limit":-0.0,"max_context_length":9223372036854775807}`,
			api.CreateDeployment{Capacity: ptr(int64(4)), RPMLimit: ptr(int64(1000)), TPMLimit: ptr(int64(0)), MaxContextLength: ptr(int64(9223372036854775807))},
		},
		"null is absent": {
			`{"model_name":null,"capacity":null,"ptu_capacity":null,"deploy_spec":null,"enable_thinking": null}`,
			api.CreateDeployment{},
		},
		"unknown fields are ignored, and names are exact": {
			`{"model_version":7,"Capacity":"x","model_name":"m"}`, api.CreateDeployment{ModelName: "m"},
		},
		"template_id stands in for deploy_spec":   {`{"template_id":"MU2"}`, api.CreateDeployment{DeploySpec: "MU2"}},
		"deploy_spec is stronger":                 {`{"template_id":"MU2","deploy_spec":"MU1"}`, api.CreateDeployment{DeploySpec: "MU1"}},
		"deploy_spec as an object":                {`{"deploy_spec":{"template_id":"MU1","x":[]}}`, api.CreateDeployment{DeploySpec: "MU1"}},
		"the old spelling of the name is a name":  {`{"diasplay_name":"n"}`, api.CreateDeployment{Name: "n"}},
		"the documented spelling is stronger":     {`{"diasplay_name":"old","name":"new"}`, api.CreateDeployment{Name: "new"}},
		"white space around the body is harmless": {"\n {} \t", api.CreateDeployment{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := api.DecodeCreate([]byte(c.body))
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %+v, %v\nwant %+v", got, err, c.want)
			}
		})
	}
}

func TestDecodeCreateRefuses(t *testing.T) {
	t.Parallel()
	const wantSpec = "a string, or an object with a string template_id"
	for body, want := range map[string]api.FieldError{
		`{"capacity":1.5}`:                                      {"capacity", `1.5`, "an integer"},
		`{"capacity":"4"}`:                                      {"capacity", `"4"`, "an integer"},
		`{"capacity":true}`:                                     {"capacity", `true`, "an integer"},
		`{"capacity":99999999999999999999}`:                     {"capacity", `99999999999999999999`, "an integer"},
		`{"capacity":1e999999999}`:                              {"capacity", `1e999999999`, "an integer"},
		`{"name":7}`:                                            {"name", `7`, "a string"},
		`{"model_name":["a"]}`:                                  {"model_name", `["a"]`, "a string"},
		`{"enable_thinking":"true"}`:                            {"enable_thinking", `"true"`, "true or false"},
		`{"enable_thinking":1}`:                                 {"enable_thinking", `1`, "true or false"},
		`{"ptu_capacity":"x"}`:                                  {"ptu_capacity", `"x"`, "an object"},
		`{"ptu_capacity":[1]}`:                                  {"ptu_capacity", `[1]`, "an object"},
		`{"ptu_capacity":{"output_tpm":"9"}}`:                   {"ptu_capacity.output_tpm", `"9"`, "an integer"},
		`{"deploy_spec":5}`:                                     {"deploy_spec", `5`, wantSpec},
		`{"deploy_spec":{}}`:                                    {"deploy_spec", `{}`, wantSpec},
		`{"deploy_spec":{"template_id":null}}`:                  {"deploy_spec", `{"template_id":null}`, wantSpec},
		`{"suffix":"a","suffix":1}`:                             {"suffix", `twice`, "there once"},
		`{"capacity":1,"name":"n","capacity":1}`:                {"capacity", `twice`, "there once"},
		`{"capacity":1,"capacit\u0079":2}`:                      {"capacity", `twice`, "there once"},
		`{"unknown":{},"unknown":[]}`:                           {"unknown", `twice`, "there once"},
		`{"ptu_capacity":{"input_tpm":1,"input_tpm":2}}`:        {"ptu_capacity.input_tpm", `twice`, "there once"},
		`{"deploy_spec":{"template_id":"a","template_id":"b"}}`: {"deploy_spec.template_id", `twice`, "there once"},
		`{"model_name":"a\u0000b"}`:                             {"model_name", `"a\u0000b"`, "a string without NUL characters"},
		"{\"name\":\"\xff\"}":                                   {"", "{\"name\":\"\xff\"}", "UTF-8"},
		`{"` + strings.Repeat("x", 50) + `":1,"` + strings.Repeat("x", 50) + `":2}`: {strings.Repeat("x", 40) + "…", `twice`, "there once"},
		`{"name":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]}`:                      {"name", `[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,…`, "a string"},
		``:       {"", ``, "exactly one JSON object"},
		`null`:   {"", `null`, "exactly one JSON object"},
		`[]`:     {"", `[]`, "exactly one JSON object"},
		`{} {}`:  {"", `{} {}`, "exactly one JSON object"},
		`{"a":}`: {"", `{"a":}`, "exactly one JSON object"},
	} {
		_, err := api.DecodeCreate([]byte(body))
		var got *api.FieldError
		if !errors.As(err, &got) || *got != want {
			t.Errorf("%s: got %+v, want %+v", body, err, want)
		}
	}
}

func TestFieldErrorIsASentence(t *testing.T) {
	t.Parallel()
	for want, e := range map[string]api.FieldError{
		"The field capacity must be an integer, not 1.5.": {"capacity", "1.5", "an integer"},
		"The body must be exactly one JSON object.":       {"", "[]", "exactly one JSON object"},
	} {
		if got := e.Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// What is decoded means the same when it is written and read again, and everything
// that is refused is refused with a field and a short value.
func FuzzDecodeCreate(f *testing.F) {
	f.Add([]byte(`{"model_name":"m","capacity":4.0,"deploy_spec":{"template_id":"MU1"},"ptu_capacity":{"input_tpm":1e3}}`))
	f.Add([]byte(`{"capacity":"é…é…é…é…é…é…é…é…é…é…é…é…é…"}`))
	f.Add([]byte(`[[[[`))
	f.Add(bytes.Repeat([]byte{0x80}, 50))
	f.Fuzz(func(t *testing.T, body []byte) {
		first, err := api.DecodeCreate(body)
		if err != nil {
			var refused *api.FieldError
			if !errors.As(err, &refused) || len(refused.Value) > 43 || refused.Want == "" {
				t.Fatalf("refused with %#v", err)
			}
			return
		}
		text, err := json.Marshal(first)
		if err != nil {
			t.Fatal(err)
		}
		again, err := api.DecodeCreate(text)
		if err != nil || !reflect.DeepEqual(first, again) {
			t.Fatalf("%s: got %+v, then %+v, %v", text, first, again, err)
		}
	})
}
