package process

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/berthhq/berth/engine/keeper"
)

func TestReason(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		exit keeper.Exit
		want string
	}{
		"a silent engine": {
			keeper.Exit{Code: 3},
			"the engine ended with exit status 3",
		},
		"killed by the system": {
			keeper.Exit{Code: -1, Signal: syscall.SIGKILL, Tail: "0.12 I srv  update_slots: all slots are idle\n"},
			"the engine was killed (signal 9), usually because the machine ran out of memory: srv update_slots: all slots are idle",
		},
		"a crash": {
			keeper.Exit{Code: -1, Signal: syscall.SIGSEGV},
			"the engine was ended by signal 11 (segmentation fault)",
		},
		"a lost keeper": {
			keeper.Exit{Code: -1, Err: fmt.Errorf("%w: signal: killed", keeper.ErrKeeperLost)},
			"the engine ended: keeper was lost: signal: killed",
		},
		"llama.cpp: the cause comes first, and paths are no errors": {
			keeper.Exit{Code: 1, Tail: `...........
0.00.003.538 I srv    load_model: loading model '/models/error/abacus.gguf'
0.00.012.018 E gguf_init_from_reader: invalid magic characters: 'root', expected 'GGUF'
0.00.012.196 E llama_adapter_lora_init: failed to apply lora adapter
0.00.012.218 E cmn  common_init_: failed to load lora adapter '/models/a.gguf'
0.00.012.220 E cmn  common_init_: failed to create context with model '/models/error/abacus.gguf'
0.00.012.226 I srv    operator(): operator(): cleaning up before exit...
0.00.012.960 E srv          init: exiting due to model loading error
`},
			"the engine ended with exit status 1: gguf_init_from_reader: invalid magic characters: 'root', expected 'GGUF'; " +
				"llama_adapter_lora_init: failed to apply lora adapter; cmn common_init_: failed to load lora adapter '/models/a.gguf'; " +
				"srv init: exiting due to model loading error",
		},
		"python: the exception is the last line": {
			keeper.Exit{Code: 1, Tail: "Traceback (most recent call last):\n  File \"serve.py\", line 9\n    load()\nValueError: no weights\n"},
			"the engine ended with exit status 1: ValueError: no weights",
		},
		"no line speaks of trouble": {
			keeper.Exit{Code: 0, Tail: "one\n\ntwo\n"},
			"the engine ended with exit status 0: one; two",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := reason(c.exit); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
	if got := reason(keeper.Exit{Err: errors.New("x")}); got != "the engine ended: x" {
		t.Errorf("got %s", got)
	}
}
