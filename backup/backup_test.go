package backup

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

// sample is an archive of three files, one of them larger than any buffer.
func sample(t *testing.T) (archive []byte, written Manifest, contents map[string]string) {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	large := make([]byte, 300_000)
	for i := range large {
		large[i] = byte(random.IntN(256))
	}
	contents = map[string]string{"berth.db": "rows", "journal/local-00000001": strings.Repeat("\x00", 100_000), "models/imported/a/w.gguf": string(large)}
	dir := t.TempDir()
	var files []Source
	for _, name := range []string{"berth.db", "journal/local-00000001", "models/imported/a/w.gguf"} {
		path := filepath.Join(dir, filepath.Base(name))
		if err := os.WriteFile(path, []byte(contents[name]), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, Source{name, path})
	}
	var b bytes.Buffer
	m := Manifest{
		Head: Head{Berth: "v1", Schema: 7, TakenAt: time.Date(2026, 11, 23, 3, 0, 0, 123, time.UTC)}, Data: "/data",
		Tables: []Table{{"usage", 3, "0102"}}, Models: []Model{{Name: "m", Path: "/m.gguf", Digest: "sha256:00"}},
	}
	written, err := Write(t.Context(), &b, m, files)
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), written, contents
}

func TestWhatIsPackedIsUnpacked(t *testing.T) {
	t.Parallel()
	archive, written, contents := sample(t)
	dir := t.TempDir()
	m, err := Unpack(t.Context(), bytes.NewReader(archive), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Files) != 3 || m.Files[2] != written.Files[2] || m.Tables[0] != written.Tables[0] || m.Models[0] != written.Models[0] || !m.TakenAt.Equal(written.TakenAt) || m.Data != "/data" || m.Format != Format {
		t.Errorf("unpacked %+v of %+v", m, written)
	}
	for name, want := range contents {
		path := filepath.Join(dir, filepath.FromSlash(name))
		got, err := os.ReadFile(path)
		if err != nil || string(got) != want {
			t.Errorf("%s has %d bytes, %v", name, len(got), err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if m.Bytes() != int64(4+100_000+300_000) {
		t.Errorf("%d bytes", m.Bytes())
	}
}

// Cut short at any place, or with any byte another: never taken for whole.
func TestDamageIsSeen(t *testing.T) {
	t.Parallel()
	archive, _, _ := sample(t)
	random := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		n := random.IntN(len(archive))
		if _, err := Verify(t.Context(), bytes.NewReader(archive[:n]), nil); !errors.Is(err, ErrIncomplete) {
			t.Errorf("cut at %d of %d: %v", n, len(archive), err)
		}
		spoiled := bytes.Clone(archive)
		spoiled[n] ^= 1 << random.IntN(8)
		m, err := Verify(t.Context(), bytes.NewReader(spoiled), nil)
		if err == nil && m.Schema != 7 { // a byte that says nothing may differ
			t.Errorf("byte %d is another: %+v", n, m)
		}
	}
	if _, err := Verify(t.Context(), strings.NewReader("no archive at all"), nil); !errors.Is(err, ErrIncomplete) {
		t.Errorf("no archive: %v", err)
	}
}

// A sum that does not fit, with everything else in order.
func TestAnotherContentIsSeen(t *testing.T) {
	t.Parallel()
	archive, _, _ := sample(t)
	plain := unzstd(t, archive)
	at := bytes.Index(plain, []byte("rows"))
	plain[at] = 'R'
	if _, err := Verify(t.Context(), bytes.NewReader(zstded(t, plain)), nil); !errors.Is(err, ErrIncomplete) || !strings.Contains(err.Error(), "berth.db") {
		t.Errorf("%v", err)
	}
	escaping := bytes.ReplaceAll(unzstd(t, archive), []byte("berth.db"), []byte("../er.db"))
	dir := t.TempDir()
	if _, err := Unpack(t.Context(), bytes.NewReader(zstded(t, escaping)), dir, nil); err == nil {
		t.Error("a file outside was written")
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(dir), "er.db")); len(left) > 0 {
		t.Errorf("%v", left)
	}
}

func unzstd(t *testing.T, b []byte) []byte {
	t.Helper()
	r, err := zstd.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	plain, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

func zstded(t *testing.T, b []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	out := w.EncodeAll(b, nil)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestTheHeadIsJudgedBeforeAnythingIsWritten(t *testing.T) {
	t.Parallel()
	archive, _, _ := sample(t)
	dir := t.TempDir()
	no := errors.New("no")
	_, err := Unpack(t.Context(), bytes.NewReader(archive), dir, func(h Head) error {
		if h.Schema != 7 || h.Berth != "v1" {
			t.Errorf("%+v", h)
		}
		return no
	})
	if left, _ := os.ReadDir(dir); !errors.Is(err, no) || len(left) > 0 {
		t.Errorf("%v, %v", err, left)
	}
	newer := bytes.Replace(unzstd(t, archive), []byte(`"format": 1`), []byte(`"format": 2`), 1)
	if _, err := Verify(t.Context(), bytes.NewReader(zstded(t, newer)), nil); err == nil || !strings.Contains(err.Error(), "newer") {
		t.Errorf("%v", err)
	}
}

func TestAnEndedContextEndsAnArchive(t *testing.T) {
	t.Parallel()
	archive, _, _ := sample(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	cancel(why)
	if _, err := Verify(ctx, bytes.NewReader(archive), nil); !errors.Is(err, why) {
		t.Errorf("%v", err)
	}
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := Write(ctx, &b, Manifest{}, []Source{{"f", path}}); !errors.Is(err, why) {
		t.Errorf("%v", err)
	}
	if _, err := Verify(t.Context(), &b, nil); !errors.Is(err, ErrIncomplete) {
		t.Errorf("what was given up is taken for whole: %v", err)
	}
}
