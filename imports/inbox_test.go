package imports_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/imports"
)

// sending is a body; stopped ends it.
type sending struct {
	io.Reader
	stop func()
}

func (s sending) Stop() {
	if s.stop != nil {
		s.stop()
	}
}

func send(content []byte) sending { return sending{Reader: bytes.NewReader(content)} }

func content(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b)
	return b
}

func announced(name string, content []byte) berth.UploadFile {
	sum := sha256.Sum256(content)
	return berth.UploadFile{Name: name, SizeBytes: int64(len(content)), SHA256: hex.EncodeToString(sum[:])}
}

func wantOffset(t *testing.T, b *imports.Inbox, f berth.UploadFile, want int64) {
	t.Helper()
	if got, err := b.Offset("upl_1", f); got != want || err != nil {
		t.Errorf("the offset is %d, %v; want %d", got, err, want)
	}
}

// Pieces over broken connections and restarts make the same file.
func TestAFileInPieces(t *testing.T) {
	t.Parallel()
	dir, whole := t.TempDir(), content(3<<20)
	f := announced("w.gguf", whole)
	broken := errors.New("connection reset")
	at := int64(0)
	for _, size := range []int{1, 1 << 20, 100, 1<<20 + 7} {
		b := &imports.Inbox{Dir: dir} // as after a restart
		wantOffset(t, b, f, at)
		piece := io.MultiReader(bytes.NewReader(whole[at:int(at)+size]), iotest.ErrReader(broken))
		got, err := b.Append(t.Context(), "upl_1", f, at, sending{Reader: piece})
		at += int64(size)
		if got != at || berth.CodeOf(err) != berth.CodeInvalid || !errors.Is(err, broken) {
			t.Fatalf("after a broken connection: %d, %v; want %d", got, err, at)
		}
	}
	// A kill leaves bytes behind the note; they count for nothing.
	part := filepath.Join(dir, "upl_1", ".part", "w.gguf")
	file, err := os.OpenFile(part, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteString("rubbish"); err != nil {
		t.Fatal(err)
	}
	_ = file.Close()
	b := &imports.Inbox{Dir: dir}
	wantOffset(t, b, f, at)
	if got, err := b.Append(t.Context(), "upl_1", f, at, send(whole[at:])); got != f.SizeBytes || err != nil {
		t.Fatalf("the rest: %d, %v", got, err)
	}
	wantOffset(t, b, f, f.SizeBytes)
	if kept, err := os.ReadFile(filepath.Join(b.Folder("upl_1"), "w.gguf")); err != nil || !bytes.Equal(kept, whole) {
		t.Errorf("the file is not what was sent: %v", err)
	}
	if entries, _ := os.ReadDir(b.Folder("upl_1")); len(entries) != 1 {
		t.Errorf("beside it lie %v", entries)
	}
	// A repeat of the last request is told the same.
	if got, err := b.Append(t.Context(), "upl_1", f, f.SizeBytes, send(nil)); got != f.SizeBytes || err != nil {
		t.Errorf("a repeat: %d, %v", got, err)
	}
}

func TestAppendRefuses(t *testing.T) {
	t.Parallel()
	b, whole := &imports.Inbox{Dir: t.TempDir()}, content(1000)
	f := announced("w.gguf", whole)
	if _, err := b.Append(t.Context(), "upl_1", f, 0, send(whole[:400])); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		offset int64
		body   []byte
		code   berth.Code
		want   string
	}{
		"a hole":            {500, whole[500:], berth.CodeConflict, "has 400 bytes of w.gguf, not 500"},
		"an overlap":        {300, whole[300:], berth.CodeConflict, "has 400 bytes of w.gguf, not 300"},
		"more than said":    {400, append(bytes.Clone(whole[400:]), 'x'), berth.CodeInvalid, "beyond the 1000 bytes"},
		"one that is empty": {400, nil, "", ""},
	} {
		_, err := b.Append(t.Context(), "upl_1", f, c.offset, send(c.body))
		if berth.CodeOf(err) != c.code || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		wantOffset(t, b, f, 400)
	}
	// Other bytes than announced: the file begins anew, and can be sent again.
	if got, err := b.Append(t.Context(), "upl_1", f, 400, send(whole[:600])); got != 0 || berth.CodeOf(err) != berth.CodeInvalid || !strings.Contains(err.Error(), "announced was "+f.SHA256) {
		t.Errorf("other bytes: %d, %v", got, err)
	}
	wantOffset(t, b, f, 0)
	if got, err := b.Append(t.Context(), "upl_1", f, 0, send(whole)); got != 1000 || err != nil {
		t.Errorf("again: %d, %v", got, err)
	}
}

// A connection that hangs does not keep the next one away.
func TestTheNextRequestEndsTheOneBefore(t *testing.T) {
	t.Parallel()
	b, whole := &imports.Inbox{Dir: t.TempDir()}, content(1000)
	f := announced("w.gguf", whole)
	from, to := io.Pipe()
	stopped := sync.OnceFunc(func() { _ = to.CloseWithError(errors.New("stopped")) })
	first := make(chan error, 1)
	go func() {
		_, err := b.Append(context.Background(), "upl_1", f, 0, sending{from, stopped})
		first <- err
	}()
	if _, err := to.Write(whole[:300]); err != nil {
		t.Fatal(err)
	}
	if !b.Busy("upl_1") || b.Busy("upl_2") {
		t.Error("who is busy is not known")
	}
	// What the first one had taken is kept, so the second is told to go on there.
	got, err := b.Append(t.Context(), "upl_1", f, 0, send(whole))
	if got != 300 || berth.CodeOf(err) != berth.CodeConflict {
		t.Errorf("got %d, %v", got, err)
	}
	if err := <-first; berth.CodeOf(err) != berth.CodeInvalid {
		t.Errorf("the first one: %v", err)
	}
	if got, err := b.Append(t.Context(), "upl_1", f, 300, send(whole[300:])); got != 1000 || err != nil {
		t.Errorf("the rest: %d, %v", got, err)
	}
	if b.Busy("upl_1") {
		t.Error("nobody writes and it is busy")
	}
}

func TestTheInboxForgets(t *testing.T) {
	t.Parallel()
	b := &imports.Inbox{Dir: filepath.Join(t.TempDir(), "models", "uploads")}
	if ids, err := b.Uploads(); len(ids) != 0 || err != nil {
		t.Errorf("an empty one has %v, %v", ids, err)
	}
	if free, err := b.FreeBytes(); free <= 0 || err != nil {
		t.Errorf("%d bytes are free: %v", free, err)
	}
	f := announced("w.gguf", content(10))
	if _, err := b.Append(t.Context(), "upl_1", f, 0, send(content(10)[:5])); err != nil {
		t.Fatal(err)
	}
	if ids, _ := b.Uploads(); len(ids) != 1 || ids[0] != "upl_1" {
		t.Errorf("it has %v", ids)
	}
	for range 2 {
		if err := b.Remove("upl_1"); err != nil {
			t.Error(err)
		}
	}
	wantOffset(t, b, f, 0)
}
