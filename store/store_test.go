package store_test

import (
	"context"
	"database/sql"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/store"
	"github.com/berthhq/berth/store/pgtest"
	"github.com/berthhq/berth/store/sqlitetest"
	"github.com/berthhq/berth/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.M{M: m}) }

func TestStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t testing.TB) berth.Store {
		return mustOpen(t, sqlitetest.File(t))
	})
}

func TestStoreOnPostgres(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t testing.TB) berth.Store { return mustConnect(t, pgtest.Database(t)) })
}

// mustConnect opens a store on Postgres that the caller closes.
func mustConnect(t testing.TB, url string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// mustOpen opens a store that the caller closes.
func mustOpen(t testing.TB, path string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustClose(t testing.TB, s *store.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func mustTx(t testing.TB, s *store.Store, fn func(berth.Tx) error) {
	t.Helper()
	if err := s.Tx(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func accounts(t testing.TB, s *store.Store) []berth.Account {
	t.Helper()
	var list []berth.Account
	err := s.View(t.Context(), func(tx berth.Tx) (err error) {
		list, err = tx.Accounts().Accounts(t.Context())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestAReopenedStoreHasWhatWasWritten(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a folder with % and ?", "berth.db")
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	s := mustOpen(t, path)
	mustTx(t, s, func(tx berth.Tx) error {
		return tx.Accounts().InsertAccount(t.Context(), berth.Account{ID: "1"})
	})
	mustClose(t, s)
	mustClose(t, s) // twice is fine

	s = mustOpen(t, path)
	defer mustClose(t, s)
	if got := accounts(t, s); len(got) != 1 {
		t.Errorf("got %v, want the account", got)
	}
}

func TestOnlyTheOwnerCanReadTheFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := mustOpen(t, filepath.Join(dir, "berth.db"))
	defer mustClose(t, s)
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil {
			t.Fatal(err)
		}
		if mode := info.Mode().Perm(); mode != 0o600 {
			t.Errorf("%s has mode %o", f.Name(), mode)
		}
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte(strings.Repeat("not a database", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{
		"no path":           "",
		"no such folder":    filepath.Join(dir, "none", "berth.db"),
		"not a database":    text,
		"a folder, no file": dir,
	} {
		if s, err := store.Open(t.Context(), store.Config{Path: path}); err == nil {
			t.Errorf("%s: opened", name)
			mustClose(t, s)
		}
	}
}

func TestASchemaOfANewerBerthIsRefused(t *testing.T) {
	t.Parallel()
	path := sqlitetest.File(t)
	exec(t, path, "INSERT INTO schema_version (version_id, is_applied) VALUES (9999, 1)")

	_, err := store.Open(t.Context(), store.Config{Path: path})
	if berth.CodeOf(err) != berth.CodeUnsupported || !strings.Contains(err.Error(), "newer Berth (schema 9999") {
		t.Errorf("got %v", err)
	}
}

// exec runs one statement beside the store.
func exec(t testing.TB, path, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestMigrationsAreLoggedOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "berth.db")
	var log strings.Builder
	for range 2 {
		s, err := store.Open(t.Context(), store.Config{Path: path, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		mustClose(t, s)
	}
	if n := strings.Count(log.String(), "version=1 "); n != 1 {
		t.Errorf("logged %d times:\n%s", n, log.String())
	}
}

func TestTwoStoresOnOneNewFileWriteSideBySide(t *testing.T) {
	t.Parallel()
	const rounds = 50
	path := filepath.Join(t.TempDir(), "berth.db")
	var wg, opened sync.WaitGroup
	opened.Add(2)
	for range 2 {
		wg.Go(func() {
			s, err := store.Open(t.Context(), store.Config{Path: path})
			opened.Done()
			if err != nil {
				t.Errorf("open: %v", err)
				return
			}
			opened.Wait()
			for range rounds {
				err := s.Tx(t.Context(), func(tx berth.Tx) error {
					read, err := tx.RoutingVersion(t.Context())
					if err != nil {
						return err
					}
					raised, err := tx.Route(t.Context())
					if err == nil && raised != read+1 {
						t.Errorf("the other store wrote between %d and %d", read, raised)
					}
					return err
				})
				if err != nil {
					t.Errorf("Tx: %v", err)
				}
			}
			if err := s.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
	}
	wg.Wait()

	s := mustOpen(t, path)
	defer mustClose(t, s)
	mustTx(t, s, func(tx berth.Tx) error {
		got, err := tx.RoutingVersion(t.Context())
		if got != 2*rounds {
			t.Errorf("got routing version %d, want %d", got, 2*rounds)
		}
		return err
	})
}

func TestAWaitForTheWriterEndsWithTheContext(t *testing.T) {
	t.Parallel()
	s := mustOpen(t, sqlitetest.File(t))
	defer mustClose(t, s)
	mustTx(t, s, func(berth.Tx) error {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if err := s.Tx(ctx, func(berth.Tx) error { return nil }); err == nil {
			t.Error("a second Tx began inside the first")
		}
		return nil
	})
}

func TestATimeOutsideTheCalendarIsRefused(t *testing.T) {
	t.Parallel()
	s := mustOpen(t, sqlitetest.File(t))
	defer mustClose(t, s)
	err := s.Tx(t.Context(), func(tx berth.Tx) error {
		return tx.Keys().Insert(t.Context(), berth.Key{ID: "key", ExpiresAt: time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)})
	})
	if berth.CodeOf(err) != berth.CodeInvalid {
		t.Errorf("got %v, want a refusal", err)
	}
}
