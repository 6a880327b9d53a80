package gateway

import (
	"net/http"
	"strings"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/fakeengine"
)

func status(s berth.Status) func(*berth.Route) { return func(r *berth.Route) { r.Status = s } }

func TestScenarios(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]scenario{
		// conformance 82, 103
		"an OpenAI call": {
			path: chatPath, body: chat("37+85"), status: 200,
			want: map[string]any{
				"object": "chat.completion", "model": deployed, "choices.0.index": 0.0,
				"choices.0.message.role": "assistant", "choices.0.message.content": "122", "choices.0.finish_reason": "stop",
				"choices.0.logprobs": nil, "usage.prompt_tokens": 5.0, "usage.completion_tokens": 1.0, "usage.total_tokens": 6.0,
				"system_fingerprint": nil,
			},
			holds: []string{`{"id":"chatcmpl-`}, lacks: []string{"service_tier", "completion_tokens_details"},
			engine: []string{`"model":"abacus"`, `"enable_thinking":false`},
			record: ended(berth.EndStop, 200, tokens(5, 1, 0), source(berth.SourceEngine, true), class(berth.ClassDedicated)),
		},
		// conformance 81, 86, 87
		"a native call": {
			path: nativePath, body: generation("37+85"), status: 200,
			want: map[string]any{
				"output.choices.0.message.content": "122", "output.choices.0.message.role": "assistant",
				"output.choices.0.finish_reason": "stop", "usage.input_tokens": 5.0, "usage.output_tokens": 1.0,
				"usage.total_tokens": 6.0, "usage.prompt_tokens_details.cached_tokens": 0.0,
			},
			record: ended(berth.EndStop, 200, tokens(5, 1, 0), source(berth.SourceEngine, true)),
		},
		// conformance 86
		"a native call for text": {
			path: nativePath, body: generation("37+85", `"result_format":"text"`), status: 200,
			want:   map[string]any{"output.text": "122", "output.finish_reason": "stop", "output.choices": nil},
			record: ended(berth.EndStop, 200),
		},
		"a native call on the multimodal path answers with parts": {
			path: multimodalPath, body: generation("37+85"), status: 200,
			want:   map[string]any{"output.choices.0.message.content.0.text": "122"},
			record: ended(berth.EndStop, 200),
		},
		"text parts are joined for the engine": {
			path:   nativePath,
			body:   `{"model":"` + deployed + `","input":{"messages":[{"role":"user","content":[{"text":"37"},{"text":"+85","cache_control":{"type":"ephemeral"}}]}]}}`,
			status: 200, want: map[string]any{"output.choices.0.message.content": "122"},
			engine: []string{`"content":"37+85"`},
			record: ended(berth.EndStop, 200),
		},
		"a prompt with a history": {
			path:   nativePath,
			body:   `{"model":"` + deployed + `","input":{"prompt":"37+85","history":[{"user":"hi","bot":"ok"}]}}`,
			status: 200, want: map[string]any{"output.choices.0.message.content": "122"},
			engine: []string{`[{"role":"user","content":"hi"},{"role":"assistant","content":"ok"},{"role":"user","content":"37+85"}]`},
			record: ended(berth.EndStop, 200),
		},
		"a trailing slash is no redirect": { // conformance 141
			path: chatPath + "/", body: chat("37+85"), status: 200, record: ended(berth.EndStop, 200),
		},
		"the chat alias below the native base": {
			path: "/api/v1/chat/completions", body: chat("37+85"), status: 200, record: ended(berth.EndStop, 200),
		},
		"the native alias below the compatible base": {
			path: "/compatible-mode/v1/services/aigc/text-generation/generation", body: generation("37+85"), status: 200,
			want: map[string]any{"output.choices.0.message.content": "122"}, record: ended(berth.EndStop, 200),
		},

		// conformance 1
		"without a key": {
			path: nativePath, body: generation("x"), headers: []string{"Authorization: "}, status: 401, unasked: true,
			want: map[string]any{"code": "InvalidApiKey", "message": "No API-key provided."},
		},
		// conformance 2
		"with an unknown key": {
			path: nativePath, body: generation("x"), headers: []string{"Authorization: Bearer sk-nobody"}, status: 401, unasked: true,
			want: map[string]any{"code": "InvalidApiKey", "message": "Invalid API-key provided."},
		},
		"with an unknown key, compatible": {
			path: chatPath, body: chat("x"), headers: []string{"Authorization: Bearer sk-nobody"}, status: 401, unasked: true,
			want: map[string]any{"error.type": "invalid_request_error", "error.code": "invalid_api_key", "error.message": "Incorrect API key provided.", "error.param": nil},
		},
		// conformance 84
		"a key of another workspace": {
			path: nativePath, body: generation("x"), headers: []string{"Authorization: Bearer " + otherKey}, status: 403, unasked: true,
			want: map[string]any{"code": "Model.AccessDenied", "message": "Model access denied."},
		},
		"a key of another workspace, compatible": {
			path: chatPath, body: chat("x"), headers: []string{"Authorization: Bearer " + otherKey}, status: 403, unasked: true,
			want: map[string]any{"error.type": "access_denied", "error.code": "Model.AccessDenied"},
		},
		// conformance 11
		"a workspace that is not the key's": {
			path: nativePath, body: generation("x"), headers: []string{"X-DashScope-WorkSpace: llm-bbbbbbbb"}, status: 403, unasked: true,
			want: map[string]any{"code": "Workspace.AccessDenied"},
		},
		// conformance 83
		"an unknown model": {
			path: nativePath, body: strings.Replace(generation("x"), deployed, "My abacus", 1), status: 404, unasked: true,
			want: map[string]any{"code": "ModelNotFound", "message": "Model can not be found."},
		},
		"an unknown model, compatible": {
			path: chatPath, body: strings.Replace(chat("x"), deployed, "nope", 1), status: 404, unasked: true,
			want: map[string]any{"error.code": "model_not_found", "error.message": "The model nope does not exist or you do not have access to it."},
		},
		"a deployment that is being deleted": {
			plan: plan{route: status(berth.StatusDeleting)}, path: nativePath, body: generation("x"), status: 404, unasked: true,
		},
		// conformance 85, 145
		"a deployment that is coming up": {
			plan: plan{route: status(berth.StatusPending)}, path: nativePath, body: generation("x"), status: 503, unasked: true,
			want:   map[string]any{"code": "ModelUnavailable", "message": "Model is unavailable, please try again later."},
			header: map[string]string{"Retry-After": "5", "X-Should-Retry": ""},
		},
		// conformance 85, 145
		"a stopped deployment": {
			plan: plan{route: status(berth.StatusStopped)}, path: chatPath, body: chat("x"), status: 503, unasked: true,
			want:   map[string]any{"error.code": "ModelUnavailable"},
			header: map[string]string{"Retry-After": "", "X-Should-Retry": "false"},
		},
		"a deployment in arrears": {
			plan: plan{route: status(berth.StatusArrearsDown)}, path: nativePath, body: generation("x"), status: 400, unasked: true,
			want: map[string]any{"code": "Arrearage"},
		},
		"a running deployment without an engine": {
			plan: plan{route: func(r *berth.Route) { r.Targets = nil }}, path: nativePath, body: generation("x"), status: 503, unasked: true,
			header: map[string]string{"Retry-After": "5"},
		},
		"a wrong method": {
			method: http.MethodGet, path: nativePath, status: 400, unasked: true,
			want:   map[string]any{"code": "InvalidParameter", "message": "Request method 'GET' is not supported."},
			header: map[string]string{"Allow": "POST"},
		},
		"an asynchronous call": {
			path: nativePath, body: generation("x"), headers: []string{"X-DashScope-Async: enable"}, status: 403, unasked: true,
			want:   map[string]any{"code": "AccessDenied", "message": "Current user api does not support asynchronous calls."},
			record: ended(berth.EndRefused, 403, source(berth.SourceUnknown, false)),
		},
		"a body that is too large": {
			plan: plan{bounds: Bounds{Body: 100}}, path: nativePath, body: generation(strings.Repeat("x", 100)), status: 400, unasked: true,
			want: map[string]any{"code": "BadRequest.TooLarge", "message": "Payload Too Large."},
		},
		"a body that is too large, compatible": {
			plan: plan{bounds: Bounds{Body: 100}}, path: chatPath, body: chat(strings.Repeat("x", 100)), status: 400, unasked: true,
			want: map[string]any{"error.code": "invalid_request_error", "error.message": "Payload Too Large."},
		},
		"too many bodies at once": {
			plan: plan{bounds: Bounds{BodiesInFlight: 10}}, path: chatPath, body: chat("x"), status: 429, unasked: true,
			want: map[string]any{"error.code": "Throttling"}, header: map[string]string{"Retry-After": "1"},
		},
		"a client's request id": { // conformance 9, 142
			path: nativePath, body: generation("x"), headers: []string{"X-Request-Id: third", "X-DashScope-RequestId: second", "x-acs-req-uuid: first"},
			status: 200, header: map[string]string{"X-Request-Id": "first"}, want: map[string]any{"request_id": "first"},
			record: ended(berth.EndStop, 200, func(t *testing.T, r berth.UsageRecord) {
				if r.CallID != "first" || r.ID == "first" {
					t.Errorf("record %s of call %s", r.ID, r.CallID)
				}
			}),
		},
		"a request id that would break a log": {
			path: nativePath, body: `{}`, headers: []string{`X-Request-Id: a"b`}, status: 400, unasked: true, lacks: []string{`a\"b`},
		},
		"a full journal": {
			plan: plan{meter: &memoryMeter{full: true}}, path: nativePath, body: generation("x"), status: 503, unasked: true,
			want: map[string]any{"code": "ModelUnavailable", "message": "The journal is full; try again later."}, header: map[string]string{"Retry-After": "7"},
		},

		"an adapter": {
			plan: plan{route: func(r *berth.Route) { r.Plan = berth.PlanLoRA; r.Targets[0].Adapter = 0 }}, path: chatPath, body: chat("37+85"), status: 200,
			want: map[string]any{"choices.0.message.content": "The answer is 122."}, engine: []string{`"lora":[{"id":0,"scale":1}]`},
			record: ended(berth.EndStop, 200, class(berth.ClassShared)),
		},
		"two answers": {
			path: nativePath, body: generation("37+85", `"n":2`), status: 200,
			want: map[string]any{
				"output.choices.0.message.content": "122", "output.choices.0.index": 0.0,
				"output.choices.1.message.content": "122", "output.choices.1.index": 1.0, "usage.output_tokens": 2.0,
			},
			engine: []string{`"n":2`}, record: ended(berth.EndStop, 200, tokens(5, 2, 0)),
		},
		"an answer cut by max_tokens": {
			path: chatPath, body: chat("count to 5", `"max_completion_tokens":2`), status: 200,
			want: map[string]any{"choices.0.message.content": "1 2", "choices.0.finish_reason": "length"}, lacks: []string{"max_completion"},
			engine: []string{`"max_tokens":2`}, record: ended(berth.EndLength, 200, tokens(7, 2, 0)),
		},
		"what SDKs send without a meaning is not passed on": {
			path: chatPath, body: chat("37+85", `"user":"u","metadata":{},"store":false,"service_tier":"auto","modalities":["text"],"stop":null`), status: 200,
			record: ended(berth.EndStop, 200), engine: []string{`{"messages":[{"role":"user","content":"37+85"}],"model":`},
		},
		"repetition_penalty goes by both of its names": {
			path: chatPath, body: chat("37+85", `"repetition_penalty":1.10`), status: 200,
			engine: []string{`"repetition_penalty":1.10`, `"repeat_penalty":1.10`}, record: ended(berth.EndStop, 200),
		},
		"an escaped name is the same name": {
			path: chatPath, body: chat("37+85", `"\u006dax_tokens":0`), status: 400, unasked: true,
			want: map[string]any{"error.message": "Range of max_tokens should be [1, 2147483647]"}, record: ended(berth.EndRefused, 400),
		},

		// conformance 95
		"thinking": {
			path: nativePath, body: generation("37+85", `"enable_thinking":true`), status: 200,
			plan: plan{scripts: []fakeengine.Script{{Reasoning: "seven and five ", Reply: "122"}}},
			want: map[string]any{
				"output.choices.0.message.reasoning_content": "seven and five", "output.choices.0.message.content": "122",
				"usage.output_tokens": 4.0, "usage.output_tokens_details.reasoning_tokens": 3.0,
			},
			engine: []string{`"enable_thinking":true`}, record: ended(berth.EndStop, 200, tokens(5, 4, 3)),
		},
		"max_tokens leaves thinking out in the native dialect": {
			path: nativePath, body: generation("x", `"enable_thinking":true,"max_tokens":2,"thinking_budget":3`), status: 200,
			plan:   plan{scripts: []fakeengine.Script{{Reasoning: "hm ", Reply: "one two three four"}}},
			want:   map[string]any{"output.choices.0.message.content": "one two", "output.choices.0.finish_reason": "length"},
			engine: []string{`"max_tokens":5`}, record: ended(berth.EndLength, 200, source(berth.SourceCounted, true)),
		},
		"a deployment that always thinks": {
			plan: plan{route: func(r *berth.Route) { r.FixedThinking = new(true) }}, path: chatPath, body: chat("37+85", `"enable_thinking":false`),
			status: 400, unasked: true, want: map[string]any{"error.message": "The value of the enable_thinking parameter is restricted to True."},
			record: ended(berth.EndRefused, 400),
		},
		// conformance 96
		"thinking where there is none": {
			plan: plan{route: func(r *berth.Route) { r.Thinking = berth.ThinkingNone }}, path: nativePath, body: generation("x", `"enable_thinking":true`),
			status: 400, unasked: true,
			want:   map[string]any{"code": "InvalidParameter.NotSupportEnableThinking", "message": "The model " + deployed + " does not support enable_thinking."},
			record: ended(berth.EndRefused, 400),
		},
		"a model without thinking is not told of it": {
			plan: plan{route: func(r *berth.Route) { r.Thinking = berth.ThinkingNone }}, path: nativePath, body: generation("37+85", `"enable_thinking":false`),
			status: 200, record: ended(berth.EndStop, 200),
		},

		"an engine that fails": {
			plan: plan{scripts: []fakeengine.Script{{Faults: []fakeengine.Fault{{Kind: fakeengine.FaultError500}}}}}, path: nativePath, body: generation("x"),
			status: 500, want: map[string]any{"code": "ModelServiceFailed", "message": "Failed to request model service."},
			record: ended(berth.EndEngineFailed, 500, source(berth.SourceUnknown, false)), lacks: []string{"scripted"},
		},
		"an engine that talks garbage": {
			plan: plan{scripts: []fakeengine.Script{{Faults: []fakeengine.Fault{{Kind: fakeengine.FaultGarbage}}}}}, path: chatPath, body: chat("x"),
			status: 500, want: map[string]any{"error.code": "ModelServiceFailed"}, record: ended(berth.EndEngineFailed, 500, source(berth.SourceUnknown, false)),
		},
		"an engine that cuts a plain answer": {
			plan: plan{scripts: []fakeengine.Script{{Faults: []fakeengine.Fault{{Kind: fakeengine.FaultCutStream}}}}}, path: chatPath, body: chat("x"),
			status: 500, want: map[string]any{"error.code": "ModelServiceFailed"}, record: ended(berth.EndEngineFailed, 500),
		},
		"an engine that cuts a stream": {
			plan: plan{scripts: []fakeengine.Script{{Faults: []fakeengine.Fault{{Kind: fakeengine.FaultCutStream, AfterEvents: 3}}}}},
			path: chatPath, body: chat("count to 5", `"stream":true`), status: 200,
			holds:  []string{`data: {"error":{"message":"Failed to request model service.","type":"ModelServiceFailed","param":null,"code":"ModelServiceFailed"}`},
			lacks:  []string{"[DONE]"},
			record: ended(berth.EndEngineFailed, 200, source(berth.SourceCounted, false), tokens(7, 2, 0)),
		},
		"an engine that reports an error within a stream": {
			plan: plan{scripts: []fakeengine.Script{{Faults: []fakeengine.Fault{{Kind: fakeengine.FaultError500, AfterEvents: 3}}}}},
			path: nativePath, body: generation("count to 5"), headers: []string{"X-DashScope-SSE: enable"}, status: 200,
			holds:  []string{"id:3\nevent:error\n:HTTP_STATUS/500\ndata:{"}, // conformance 94
			record: ended(berth.EndEngineFailed, 200),
		},
		"an engine that fails before the first event of a stream": {
			plan: plan{scripts: []fakeengine.Script{{Faults: []fakeengine.Fault{{Kind: fakeengine.FaultGarbage}}}}}, path: chatPath, body: chat("x", `"stream":true`),
			status: 500, want: map[string]any{"error.code": "ModelServiceFailed"}, header: map[string]string{"Content-Type": "application/json"},
			record: ended(berth.EndEngineFailed, 500),
		},
		"an engine that does not report usage": {
			plan: plan{scripts: []fakeengine.Script{{Faults: []fakeengine.Fault{{Kind: fakeengine.FaultNoUsage}}}}}, path: nativePath,
			body: generation("count to 5"), headers: []string{"Accept: text/event-stream"}, status: 200,
			record: ended(berth.EndStop, 200, tokens(3, 5, 0), source(berth.SourceCounted, true)), // 10 bytes / 4
		},
		"a plain answer without usage is nobody's to bill": {
			plan: plan{scripts: []fakeengine.Script{{Faults: []fakeengine.Fault{{Kind: fakeengine.FaultNoUsage}}}}}, path: chatPath, body: chat("37+85"), status: 200,
			record: ended(berth.EndStop, 200, source(berth.SourceUnknown, false)),
		},
		"a prompt beyond the engine's context": {
			plan: plan{scripts: []fakeengine.Script{{ContextTokens: 3}}}, path: nativePath, body: generation("one two three"), status: 400,
			want: map[string]any{"code": "InvalidParameter", "message": "the prompt exceeds the context size"}, record: ended(berth.EndRefused, 400, source(berth.SourceUnknown, false)),
		},
		"an event too large to hold": {
			plan: plan{scripts: []fakeengine.Script{{Faults: []fakeengine.Fault{{Kind: fakeengine.FaultHugeLine, AfterEvents: 1, Bytes: 2 << 20}}}}},
			path: nativePath, body: generation("x"), status: 500, want: map[string]any{"code": "ModelServiceFailed"}, record: ended(berth.EndEngineFailed, 500),
		},
		"a refused connection is tried elsewhere": {
			plan: plan{route: func(r *berth.Route) {
				r.Targets = append([]berth.Target{deadTarget("rep_dead1"), deadTarget("rep_dead2")}, r.Targets...)
			}},
			path: chatPath, body: chat("37+85"), status: 200,
			record: ended(berth.EndStop, 200, func(t *testing.T, r berth.UsageRecord) {
				if r.ReplicaID != "rep_0" {
					t.Errorf("served by %s", r.ReplicaID)
				}
			}),
		},
		"all connections refused": {
			plan: plan{route: func(r *berth.Route) { r.Targets = []berth.Target{deadTarget("rep_dead")} }}, path: nativePath, body: generation("x"),
			status: 503, unasked: true, want: map[string]any{"code": "ModelUnavailable"}, record: ended(berth.EndEngineFailed, 503, source(berth.SourceUnknown, false)),
		},
		"a hanging engine, plain native": {
			plan: plan{bounds: Bounds{NativeCall: 50 * time.Millisecond}, scripts: []fakeengine.Script{{Faults: []fakeengine.Fault{{Kind: fakeengine.FaultHangBeforeHeaders}}}}},
			path: nativePath, body: generation("x"), status: 500, want: map[string]any{"code": "RequestTimeOut"}, record: ended(berth.EndTimeout, 500, source(berth.SourceUnknown, false)),
		},
		"a plain native call that takes too long has what there is": {
			plan: plan{bounds: Bounds{NativeCall: 2 * time.Second}, scripts: []fakeengine.Script{{Faults: []fakeengine.Fault{{Kind: fakeengine.FaultHangMidStream, AfterEvents: 3}}}}},
			path: nativePath, body: generation("count to 5"), status: 200,
			want:   map[string]any{"output.choices.0.message.content": "1 2", "output.choices.0.finish_reason": "length"},
			record: ended(berth.EndTimeout, 200, source(berth.SourceCounted, true), tokens(7, 2, 0)),
		},
		"an idle stream": {
			plan: plan{bounds: Bounds{StreamIdle: time.Second}, scripts: []fakeengine.Script{{Faults: []fakeengine.Fault{{Kind: fakeengine.FaultHangMidStream, AfterEvents: 3}}}}},
			path: chatPath, body: chat("count to 5", `"stream":true`), status: 200, holds: []string{`"code":"ResponseTimeout"`},
			record: ended(berth.EndEngineFailed, 200, source(berth.SourceCounted, false)),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s.run(t)
		})
	}
}

// deadTarget is an engine that nothing listens for: port 1 of loopback.
func deadTarget(id string) berth.Target {
	return berth.Target{ReplicaID: id, URL: "http://127.0.0.1:1", Adapter: -1, Slots: 4}
}
