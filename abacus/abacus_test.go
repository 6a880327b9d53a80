package abacus

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestExtractWritesTheFilesOnceAndMendsThem(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := mustExtract(t, dir)
	old := time.Unix(1, 0)
	for _, path := range []string{f.Base, f.Words, f.Shout} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o644 || filepath.Dir(path) != dir {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		if magic := mustRead(t, path)[:4]; string(magic) != "GGUF" {
			t.Errorf("%s begins with %q", path, magic)
		}
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
	}

	words := mustRead(t, f.Words)
	words[100] ^= 1
	mustWrite(t, f.Words, words) // same size, other content
	mustWrite(t, f.Shout, nil)

	if again := mustExtract(t, dir); again != f {
		t.Errorf("paths %v became %v", f, again)
	}
	for path, kept := range map[string]bool{f.Base: true, f.Words: false, f.Shout: false} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.ModTime().Equal(old) != kept {
			t.Errorf("%s: left alone = %v, want %v", path, !kept, kept)
		}
	}
	if mustRead(t, f.Words)[100] == words[100] {
		t.Error("the changed file was not mended")
	}
	if all, _ := os.ReadDir(dir); len(all) != 3 {
		t.Errorf("%d files, want 3", len(all))
	}
}

func TestExtractIntoAFolderThatDoesNotExistFails(t *testing.T) {
	t.Parallel()
	if _, err := Extract(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("extracted")
	}
}

func mustExtract(t *testing.T, dir string) Files {
	t.Helper()
	f, err := Extract(dir)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func mustWrite(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}
