package imports_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/imports"
)

// FuzzInspect patches the header of a real file, weights or adapter. Whatever comes of it, the answer is a
// model file or a refusal, never a panic, and never more memory than a header may have.
func FuzzInspect(f *testing.F) {
	files := mustExtract(f)
	weights, content := mustRead(f, files.Base), mustRead(f, files.Words)
	at := func(key string) uint32 { return uint32(bytes.Index(content, []byte(key)) + len(key)) }
	huge := binary.LittleEndian.AppendUint64(nil, 1<<40)

	f.Add(false, uint32(0), []byte("GGUF"))
	f.Add(false, uint32(4), []byte{1})
	f.Add(false, uint32(8), huge)
	f.Add(false, uint32(16), huge)
	f.Add(false, uint32(24), huge)
	f.Add(false, at("general.architecture"), []byte{9, 0, 0, 0, 8, 0, 0, 0})
	f.Add(false, at("general.type"), []byte{4, 0, 0, 0})
	f.Add(false, at("adapter.lora.alpha"), []byte{12, 0, 0, 0})
	f.Add(false, at("blk.0.attn_q.weight.lora_a"), []byte{0xff, 0xff, 0xff, 0xff})
	f.Add(false, at("blk.0.attn_q.weight.lora_a")+4, huge)
	f.Add(false, uint32(len(content)), []byte{})

	inWeights := func(key string) uint32 { return uint32(bytes.Index(weights, []byte(key)) + len(key)) }
	f.Add(true, inWeights("qwen3.block_count")+4, []byte{0xff, 0xff, 0xff, 0xff})
	f.Add(true, inWeights("qwen3.attention.head_count_kv"), []byte{9, 0, 0, 0, 4, 0, 0, 0})
	f.Add(true, inWeights("qwen3.attention.key_length"), []byte{12, 0, 0, 0})
	f.Add(true, inWeights("tokenizer.ggml.tokens"), []byte{9, 0, 0, 0, 9, 0, 0, 0})

	path := filepath.Join(f.TempDir(), "patched.gguf")
	f.Fuzz(func(t *testing.T, base bool, offset uint32, patch []byte) {
		patched := bytes.Clone(content)
		if base {
			patched = bytes.Clone(weights)
		}
		if at := int(offset) % (len(patched) + 1); at+len(patch) <= len(patched) {
			copy(patched[at:], patch)
		} else {
			patched = patched[:at]
		}
		if err := os.WriteFile(path, patched, 0o600); err != nil {
			t.Fatal(err)
		}
		var files imports.Files
		m, err := files.Inspect(t.Context(), path)
		switch {
		case err != nil && berth.CodeOf(err) != berth.CodeInvalid:
			t.Errorf("refused with %s: %v", berth.CodeOf(err), err)
		case err == nil && (m.Digest == "" || m.Architecture == "" || m.KVBytesPerToken < 0 || m.Parameters < 0 || m.ContextLength < 0):
			t.Errorf("accepted as %+v", m)
		}
	})
}
