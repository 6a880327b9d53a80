package imports_test

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/abacus"
	"github.com/berthhq/berth/imports"
)

func mustExtract(t testing.TB) abacus.Files {
	t.Helper()
	files, err := abacus.Extract(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func mustWrite(t testing.TB, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func mustRead(t testing.TB, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func TestInspectBase(t *testing.T) {
	t.Parallel()
	files := mustExtract(t)
	var done, total int64
	f := imports.Files{Progress: func(_ string, d, n int64) { done, total = d, n }}
	got, err := f.InspectBase(t.Context(), files.Base)
	if err != nil {
		t.Fatal(err)
	}
	if got.Stat.SizeBytes != 1744544 || got.Stat.Inode == 0 || got.Stat.ModifiedNS == 0 || got.Stat.ChangedNS == 0 {
		t.Errorf("stat is %+v", got.Stat)
	}
	if done != total || total != got.Stat.SizeBytes {
		t.Errorf("progress ended at %d of %d", done, total)
	}
	got.Stat = berth.FileStat{}
	want := berth.ModelFile{
		Path:            files.Base,
		Digest:          "sha256:1a60ccf987cafb6f0009bd072799a7c60cc5ff5773579d13b601a93ac575e6db",
		Architecture:    "qwen3",
		ContextLength:   32768,
		KVBytesPerToken: 4 * 2 * (32 + 32) * 2, // layers, heads, key and value, bytes
		Parameters:      862208,
		Thinking:        true,
		NoTools:         true,
	}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestInspectAdapter(t *testing.T) {
	t.Parallel()
	files := mustExtract(t)
	var f imports.Files
	base, err := f.InspectBase(t.Context(), files.Base)
	if err != nil {
		t.Fatal(err)
	}
	words, err := f.InspectAdapter(t.Context(), files.Words, base)
	if err != nil {
		t.Fatal(err)
	}
	if words.Architecture != "qwen3" || words.Digest == base.Digest || words.KVBytesPerToken != 0 {
		t.Errorf("the adapter is %+v", words)
	}
	either, err := f.Inspect(t.Context(), files.Words)
	if err != nil || either != words {
		t.Errorf("Inspect says %+v, %v", either, err)
	}
}

func TestInspectRefuses(t *testing.T) {
	t.Parallel()
	files := mustExtract(t)
	var f imports.Files
	base, err := f.InspectBase(t.Context(), files.Base)
	if err != nil {
		t.Fatal(err)
	}
	content := mustRead(t, files.Base)
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	asBase := func(path string) error {
		_, err := f.InspectBase(t.Context(), path)
		return err
	}
	asAdapter := func(path string, base berth.ModelFile) error {
		_, err := f.InspectAdapter(t.Context(), path, base)
		return err
	}
	other := base
	other.Architecture = "llama"
	// One tensor has 64 inputs instead of 128.
	narrow := []byte(strings.Replace(string(content),
		"blk.0.attn_q.weight\x02\x00\x00\x00\x80\x00\x00\x00", "blk.0.attn_q.weight\x02\x00\x00\x00\x40\x00\x00\x00", 1))

	for name, c := range map[string]struct {
		err  error
		code berth.Code
		want string
	}{
		"missing":         {asBase("/nowhere/x.gguf"), berth.CodeNotFound, "There is no file /nowhere/x.gguf; check the path"},
		"a directory":     {asBase("/"), berth.CodeInvalid, "/ is a directory; name a file in it."},
		"a pipe":          {asBase(pipe), berth.CodeInvalid, "is not a regular file"},
		"empty":           {asBase(mustWrite(t, "x.gguf", nil)), berth.CodeInvalid, "x.gguf is not a GGUF file (it is empty); convert"},
		"something else":  {asBase(mustWrite(t, "x.gguf", []byte("PK\x03\x04 zip"))), berth.CodeInvalid, `x.gguf is not a GGUF file (it begins with "PK\x03\x04"); convert`},
		"short":           {asBase(mustWrite(t, "x.gguf", content[:3])), berth.CodeInvalid, `(it begins with "GGU")`},
		"cut in header":   {asBase(mustWrite(t, "x.gguf", content[:100])), berth.CodeInvalid, "x.gguf is cut off in its header; copy or download it again."},
		"cut in data":     {asBase(mustWrite(t, "x.gguf", content[:len(content)-1])), berth.CodeInvalid, "x.gguf is cut off: its tensors need more bytes than follow its header"},
		"a part":          {asBase(mustWrite(t, "x-00001-of-00003.gguf", content)), berth.CodeInvalid, "is one part of a split model; join the parts"},
		"adapter as base": {asBase(files.Words), berth.CodeInvalid, "is an adapter (LoRA), not the weights of a model"},
		"base as adapter": {asAdapter(files.Base, base), berth.CodeInvalid, "has the weights of a whole model, not an adapter"},
		"another architecture": {asAdapter(files.Words, other), berth.CodeInvalid,
			"The adapter abacus-words-lora-f16.gguf is for architecture qwen3, the base abacus-0.8m-f16.gguf is llama"},
		"other shapes": {asAdapter(files.Words, berth.ModelFile{Architecture: "qwen3", Path: mustWrite(t, "narrow.gguf", narrow)}), berth.CodeInvalid,
			`does not fit the base narrow.gguf: its "blk.0.attn_q.weight.lora_a" is [128 8], the base's tensor is [64 128]`},
		"the base is gone": {asAdapter(files.Words, berth.ModelFile{Architecture: "qwen3", Path: "/nowhere/base.gguf"}), berth.CodeNotFound, "There is no file /nowhere/base.gguf"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if berth.CodeOf(c.err) != c.code || c.err == nil || !strings.Contains(c.err.Error(), c.want) {
				t.Errorf("got  %s: %v\nwant %s: %s", berth.CodeOf(c.err), c.err, c.code, c.want)
			}
		})
	}
}

// Headers that would cost the parser memory or time without end.
func TestInspectRefusesBombs(t *testing.T) {
	t.Parallel()
	u32 := func(n uint32) string { return string(binary.LittleEndian.AppendUint32(nil, n)) }
	u64 := func(n uint64) string { return string(binary.LittleEndian.AppendUint64(nil, n)) }
	str := func(s string) string { return u64(uint64(len(s))) + s }
	head := func(tensors, entries uint64) string { return "GGUF" + u32(3) + u64(tensors) + u64(entries) }

	for name, c := range map[string]struct{ content, want string }{
		"entries":          {head(0, 1<<40), "1099511627776 metadata entries; at most 65536"},
		"tensors":          {head(1<<40, 0), "1099511627776 tensors"},
		"a text":           {head(0, 1) + str("a") + u32(8) + u64(1<<40), "bytes of text"},
		"a list":           {head(0, 1) + str("x.feed_forward_length") + u32(9) + u32(0) + u64(1<<30), "items of x.feed_forward_length"},
		"lists of lists":   {head(0, 1) + str("x.feed_forward_length") + u32(9) + strings.Repeat(u32(9)+u64(1), 1000), "items of the unknown type 9"},
		"layers":           {head(0, 1) + str("x.block_count") + u32(4) + u32(1<<31), "2147483648 layers"},
		"split tensors":    {head(0, 1) + str("split.count") + u32(2) + "\x02\x00", "one part of a split model"},
		"an alignment":     {head(0, 1) + str("general.alignment") + u32(4) + u32(0), "divide by zero"},
		"no architecture":  {head(0, 0), "it names no architecture"},
		"a newer version":  {"GGUF" + u32(9) + u64(0) + u64(0), "version 9 is not known"},
		"big-endian":       {"GGUF" + "\x00\x00\x00\x03" + u64(0) + u64(0), "does not load (it is big-endian)"},
		"many dimensions":  {head(1, 0) + str("t") + u32(1<<30), "1073741824 dimensions"},
		"a tensor far off": {head(1, 0) + str("t") + u32(1) + u64(1) + u32(0) + u64(1<<63), "lies beyond every file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// Room for what the counts announce, so that they are not refused for it.
			path := mustWrite(t, "bomb.gguf", []byte(c.content+strings.Repeat("\x00", 4096)))
			var f imports.Files
			_, err := f.Inspect(t.Context(), path)
			if berth.CodeOf(err) != berth.CodeInvalid || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestInspectPlain(t *testing.T) {
	t.Parallel()
	path := mustWrite(t, "script.json", []byte("{}"))
	var f imports.Files
	got, err := f.InspectPlain(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	const sum = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
	if got.Digest != sum || got.Path != path || got.Stat.SizeBytes != 2 {
		t.Errorf("got %+v", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.InspectPlain(ctx, path); !errors.Is(err, context.Canceled) {
		t.Errorf("after cancel: %v", err)
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	read := 0
	f := imports.Files{Progress: func(string, int64, int64) { read++ }}
	path := mustWrite(t, "x", []byte("weights"))
	was, err := f.InspectPlain(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	read = 0

	now, err := f.Verify(t.Context(), was)
	if err != nil || now != was || read != 0 {
		t.Errorf("untouched: %+v, %v, read %d times; want it as it was, unread", now, err, read)
	}

	if err := os.Chtimes(path, time.Time{}, time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	touched, err := f.Verify(t.Context(), was)
	if err != nil || touched.Digest != was.Digest || touched.Stat == was.Stat || read == 0 {
		t.Errorf("touched: %+v, %v, read %d times; want the same digest, another state, read", touched, err, read)
	}

	if err := os.WriteFile(path, []byte("weightz"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Verify(t.Context(), touched); berth.CodeOf(err) != berth.CodeInvalid || !strings.Contains(err.Error(), "has changed since it was added") {
		t.Errorf("changed: %v", err)
	}

	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Verify(t.Context(), was); berth.CodeOf(err) != berth.CodeNotFound {
		t.Errorf("gone: %v", err)
	}
}
