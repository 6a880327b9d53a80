// Package sqlitetest gives tests a real SQLite store. Its schema is made once for each test
// binary; each test gets a copy of that file, which takes a fraction of the time of the
// migrations. Tests of opening and migrating open the store themselves.
package sqlitetest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/berthhq/berth/store"
)

// Open returns a new, empty store with the newest schema. It is closed after the test.
func Open(t testing.TB) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{Path: File(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// File returns the path of a new, empty database with the newest schema.
func File(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "berth.db")
	Put(t, path)
	return path
}

// Put makes the file of an empty database with the newest schema, whose folder must exist.
func Put(t testing.TB, path string) {
	t.Helper()
	file, err := template()
	if err == nil {
		err = os.WriteFile(path, file, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// template returns what every file has in it at first.
var template = sync.OnceValues(func() (_ []byte, err error) {
	dir, err := os.MkdirTemp("", "berth-schema-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := filepath.Join(dir, "berth.db")
	s, err := store.Open(context.Background(), store.Config{Path: path})
	if err != nil {
		return nil, err
	}
	if err := s.Close(); err != nil { // which leaves nothing in files beside it
		return nil, err
	}
	return os.ReadFile(path)
})
