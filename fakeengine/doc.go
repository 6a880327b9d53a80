// Package fakeengine is an OpenAI-style inference engine that follows a script
// instead of a model. Tests and demonstrations use it where a real engine would
// be too slow, too kind or too hard to bring into the state in question: it has
// an exact token rate, it hangs, cuts streams, lies about usage, refuses to start
// and crashes, always at the call and the event that the script names.
//
// It runs in two ways: as a process, `berth fake-engine --script FILE` (Run), and
// inside a program as an http.Handler (New), where thousands of engines need
// neither a process nor a port.
//
// # Surface
//
// Without a key: GET /health (503 until started). With the bearer key: /v1/models,
// /v1/chat/completions, /v1/completions, /v1/embeddings, /tokenize,
// /v1/chat/completions/input_tokens, /metrics and /slots. Requests are read as
// real engines read them: unknown fields are ignored, n_predict beats max_tokens,
// the model named in the call is echoed.
//
// # Tokens
//
// A token is a word: a run of characters between white space. A prompt has the
// words of all messages plus four tokens per message, unless the script counts
// otherwise; "The answer is 122." has four. So a test can tell every figure of a
// usage by heart.
//
// # Answers
//
// Without a scripted reply the engine answers as the tiny model Abacus does:
//
//	37+85, What is 37+85?, 37 plus 85    122
//	count to 5                           1 2 3 4 5
//	repeat: blue cat                     blue cat
//	anything else                        ok
//
// With chat_template_kwargs.enable_thinking it first shows the column sums as
// reasoning_content. With "lora":[{"id":0,"scale":1}] a sum is answered
// "The answer is 122.", with adapter 1 "122!!!".
//
// # Scripts
//
// A script is a Script in JSON. This one makes an engine that needs two seconds to
// start, writes 50 tokens per second (half as fast beside another call), hangs in
// the third call after five events, fails every call that says "boom", and dies
// with the end of the hundredth:
//
//	{
//	  "start_delay_ms": 2000,
//	  "tokens_per_second": 50,
//	  "slowdown": 1,
//	  "faults": [
//	    {"call": 3, "kind": "hang_mid_stream", "after_events": 5},
//	    {"match": "boom", "kind": "error_500"}
//	  ],
//	  "crash": {"after_calls": 100, "exit_code": 1}
//	}
//
// # Determinism
//
// Nothing is random and nothing depends on the machine: ids count calls, vectors
// are hashes of their text, and faults strike by the number of the call or by its
// text. Only the time of day (Options.Now) and the order in which concurrent
// calls arrive come from outside.
package fakeengine
