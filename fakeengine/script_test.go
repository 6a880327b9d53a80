package fakeengine_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/berthhq/berth/fakeengine"
)

func mustWrite(t testing.TB, text string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "script.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoad(t *testing.T) {
	t.Parallel()
	got, err := fakeengine.Load(mustWrite(t, `{
		"model": "tiny", "reply": "yes", "reasoning": "why", "tokens_per_second": 50, "prompt_tokens_per_second": 0.5,
		"slowdown": 1.5, "slots": 4, "context_tokens": 1000, "prompt_tokens": {"per_call": 3, "per_message": 2, "per_word": 1},
		"cached_tokens": 5, "embedding_dimensions": 8, "start_delay_ms": 20, "ignore_sigterm": true,
		"refuse_start": {"exit_code": 3, "message": "no"}, "crash": {"after_calls": 10, "exit_code": 2},
		"faults": [{"call": 3, "kind": "hang_mid_stream", "after_events": 5}, {"match": "boom", "kind": "huge_line", "bytes": 10}]
	}`))
	if err != nil {
		t.Fatal(err)
	}
	want := fakeengine.Script{
		Model: "tiny", Reply: "yes", Reasoning: "why", TokensPerSecond: 50, PromptTokensPerSecond: 0.5,
		Slowdown: 1.5, Slots: 4, ContextTokens: 1000, PromptTokens: &fakeengine.PromptRule{PerCall: 3, PerMessage: 2, PerWord: 1},
		CachedTokens: 5, EmbeddingDimensions: 8, StartDelayMS: 20, IgnoreSIGTERM: true,
		RefuseStart: &fakeengine.RefuseStart{ExitCode: 3, Message: "no"}, Crash: &fakeengine.Crash{AfterCalls: 10, ExitCode: 2},
		Faults: []fakeengine.Fault{
			{Call: 3, Kind: fakeengine.FaultHangMidStream, AfterEvents: 5},
			{Match: "boom", Kind: fakeengine.FaultHugeLine, Bytes: 10},
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("loaded %+v, want %+v", got, want)
	}
}

func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ script, message string }{
		"an unknown field":            {`{"token_rate": 5}`, `unknown field "token_rate"`},
		"an unknown field in a fault": {`{"faults": [{"kind": "refuse", "after": 5}]}`, `unknown field "after"`},
		"two values":                  {`{} {}`, "more than one"},
		"no JSON":                     {`reply: yes`, "invalid character"},
		"a negative rate":             {`{"tokens_per_second": -1}`, "tokens_per_second: -1 is not in 0.001 to 1e+06"},
		"a rate that never ends":      {`{"prompt_tokens_per_second": 1e-9}`, "prompt_tokens_per_second"},
		"a negative slowdown":         {`{"slowdown": -0.1}`, "slowdown"},
		"too many slots":              {`{"slots": 65537}`, "slots"},
		"too long a start":            {`{"start_delay_ms": 3600001}`, "start_delay_ms"},
		"a start refused with 0":      {`{"refuse_start": {}}`, "refuse_start.exit_code: 0 is not in 1 to 255"},
		"a crash before any call":     {`{"crash": {}}`, "crash.after_calls"},
		"a negative prompt rule":      {`{"prompt_tokens": {"per_word": -1}}`, "prompt_tokens.per_word"},
		"an unknown fault":            {`{"faults": [{"kind": "refuse"}, {"kind": "explode"}]}`, `faults[1].kind: unknown kind "explode"`},
		"a fault without a kind":      {`{"faults": [{}]}`, "faults[0].kind"},
		"a size of something small":   {`{"faults": [{"kind": "refuse", "bytes": 5}]}`, "faults[0].bytes: only a huge_line"},
		"a fault before the stream":   {`{"faults": [{"kind": "refuse", "after_events": -1}]}`, "faults[0].after_events"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := fakeengine.Load(mustWrite(t, test.script)); err == nil || !strings.Contains(err.Error(), test.message) {
				t.Errorf("error %v does not say %q", err, test.message)
			}
		})
	}
	if _, err := fakeengine.Load(filepath.Join(t.TempDir(), "none.json")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: error %v", err)
	}
}
