package store_test

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/berthhq/berth/store"
	"github.com/berthhq/berth/store/pgtest"
)

// before makes a database with the schema of an older Berth, and an account in it.
func before(t *testing.T, dialect goose.Dialect, driver, folder, url string) {
	t.Helper()
	db, err := sql.Open(driver, url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	p, err := goose.NewProvider(dialect, db, os.DirFS(filepath.Join("migrations", folder)), goose.WithTableName("schema_version"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.UpTo(t.Context(), 22); err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), "INSERT INTO accounts (id, name, currency, time_zone) VALUES ('old', 'old', 'CNY', 'UTC')"); err != nil {
		t.Fatal(err)
	}
}

// newest is the newest schema.
func newest(t *testing.T) (version int) {
	t.Helper()
	files, err := os.ReadDir("migrations/sqlite")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(files[len(files)-1].Name(), "%d_", &version); err != nil {
		t.Fatal(err)
	}
	return version
}

func TestAFileIsCopiedBeforeItsSchemaChanges(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "berth.db")
	before(t, goose.DialectSQLite3, "sqlite", "sqlite", path)
	for i, name := range []string{"before-1", "before-9", "before-20", "before-21", "before-22.123.partial"} {
		file := path + "." + name
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		at := time.Date(2026, 1, i+1, 0, 0, 0, 0, time.UTC)
		if err := os.Chtimes(file, at, at); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // the second time nothing changes
		s := mustOpen(t, path)
		if list := accounts(t, s); len(list) != 1 || list[0].ID != "old" {
			t.Errorf("accounts are %v", list)
		}
		mustClose(t, s)
	}

	made := fmt.Sprintf("berth.db.before-%d", newest(t))
	want := []string{"berth.db", "berth.db.before-20", "berth.db.before-21", made}
	if got := names(t, filepath.Dir(path)); !slices.Equal(got, want) {
		t.Errorf("there are %v, want %v", got, want)
	}
	made = filepath.Join(filepath.Dir(path), made)
	if info, err := os.Stat(made); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the copy is %v, %v", info, err)
	}
	db, err := sql.Open("sqlite", made)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	var version int
	var account string
	if err := db.QueryRowContext(t.Context(), "SELECT max(version_id), (SELECT id FROM accounts) FROM schema_version").Scan(&version, &account); err != nil || version != 22 || account != "old" {
		t.Errorf("the copy has schema %d, account %q, %v", version, account, err)
	}
}

func names(t *testing.T, folder string) (list []string) {
	t.Helper()
	files, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		list = append(list, f.Name())
	}
	return list
}

func TestAnOlderCopyIsNotReplaced(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "berth.db")
	before(t, goose.DialectSQLite3, "sqlite", "sqlite", path)
	old := fmt.Sprintf("%s.before-%d", path, newest(t))
	if err := os.WriteFile(old, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	mustClose(t, mustOpen(t, path))
	if content, err := os.ReadFile(old); err != nil || string(content) != "old" {
		t.Errorf("it has %q, %v", content, err)
	}
	if _, err := os.Stat(old + "-2"); err != nil {
		t.Error(err)
	}
}

// Nothing is migrated without a copy.
func TestAFileThatCannotBeCopiedStaysAsItIs(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "data")
	path := filepath.Join(folder, "berth.db")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	before(t, goose.DialectSQLite3, "sqlite", "sqlite", path)
	long := filepath.Join(folder, strings.Repeat("x", 240)+".db") // no file may have a much longer name
	if err := os.Rename(path, long); err != nil {
		t.Fatal(err)
	}
	_, err := store.Open(t.Context(), store.Config{Path: long})
	if err == nil || !strings.Contains(err.Error(), "copy the database before its schema changes: ") {
		t.Errorf("got %v", err)
	}
	db, err := sql.Open("sqlite", long)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	var version int
	if err := db.QueryRowContext(t.Context(), "SELECT max(version_id) FROM schema_version").Scan(&version); err != nil || version != 22 {
		t.Errorf("it has schema %d, %v", version, err)
	}
}

// A Postgres database is copied into a file of its old schema, with which one can go back.
func TestAServerIsCopiedBeforeItsSchemaChanges(t *testing.T) {
	t.Parallel()
	url := pgtest.Empty(t)
	before(t, goose.DialectPostgres, "pgx", "postgres", url)
	folder := t.TempDir()
	for range 2 { // the second time nothing changes
		s, err := store.Open(t.Context(), store.Config{URL: url, Copies: filepath.Join(folder, "berth.db")})
		if err != nil {
			t.Fatal(err)
		}
		if list := accounts(t, s); len(list) != 1 || list[0].ID != "old" {
			t.Errorf("accounts are %v", list)
		}
		mustClose(t, s)
	}
	made := fmt.Sprintf("berth.db.before-%d", newest(t))
	if got := names(t, folder); !slices.Equal(got, []string{made}) {
		t.Fatalf("there are %v", got)
	}
	path := filepath.Join(folder, made)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the copy is %v, %v", info, err)
	}
	c, err := store.Inspect(t.Context(), path)
	if err != nil || c.Schema != 22 || rowsOf(t, c, "accounts") != 1 {
		t.Errorf("the copy is %+v, %v", c, err)
	}
	// The way back.
	back := pgtest.Empty(t)
	if err := store.Copy(t.Context(), store.Config{Path: path}, store.Config{URL: back}, func(store.CopiedTable) {}, nil); err != nil {
		t.Fatal(err)
	}
	s := mustConnect(t, back)
	defer mustClose(t, s)
	if list := accounts(t, s); len(list) != 1 || list[0].ID != "old" {
		t.Errorf("accounts are %v", list)
	}
}

// Nothing is migrated without a copy.
func TestAServerThatCannotBeCopiedStaysAsItIs(t *testing.T) {
	t.Parallel()
	url := pgtest.Empty(t)
	before(t, goose.DialectPostgres, "pgx", "postgres", url)
	for copies, want := range map[string]string{
		"": "The database has data of an older Berth in it (schema 22)",
		filepath.Join(t.TempDir(), "missing", "berth.db"): "copy the database before its schema changes: ",
	} {
		_, err := store.Open(t.Context(), store.Config{URL: url, Copies: copies})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if got := query(t, url, "SELECT max(version_id) FROM schema_version"); got != "22" {
		t.Errorf("it has schema %s", got)
	}
	// Where there is nothing to keep nothing is needed.
	query(t, url, "DELETE FROM accounts")
	s, err := store.Open(t.Context(), store.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
}
