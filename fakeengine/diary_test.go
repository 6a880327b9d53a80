package fakeengine

import (
	"os"
	"path/filepath"
	"testing"
)

// What each call made an engine do is in its diary token by token, that of calls which were
// not the last ones to speak, too; a folder has the diaries of several processes.
func TestDiaries(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, entries := range map[string][]Entry{
		"1.jsonl": {{2, "second", 5, 0}, {1, "first", 7, 3}, {2, "second", 5, 9}}, // call 3 never worked
		"2.jsonl": {{4, "\"quoted\" \u00e4", 1, 1}},
	} {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if err := e.write(f); err != nil {
				t.Fatal(err)
			}
		}
		_ = f.Close()
	}
	got, err := Diaries(dir)
	want := []Entry{{1, "first", 7, 3}, {2, "second", 5, 9}, {4, "\"quoted\" \u00e4", 1, 1}}
	if err != nil || len(got) != len(want) {
		t.Fatalf("%+v, %v", got, err)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got %+v, want %+v", got[i], want[i])
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "3.jsonl"), []byte("spoilt\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Diaries(dir); err == nil {
		t.Error("a spoilt diary is read")
	}
	if err := (Entry{Call: 1, Says: string(make([]byte, entryBytes))}).write(nil); err == nil {
		t.Error("an entry that is too long is written")
	}
}
