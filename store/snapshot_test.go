package store_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/store"
	"github.com/berthhq/berth/store/sqlitetest"
)

// rowsOf returns how many rows a table has.
func rowsOf(t testing.TB, c store.Contents, table string) int64 {
	t.Helper()
	at := slices.IndexFunc(c.Tables, func(is store.TableContents) bool { return is.Name == table })
	if at < 0 {
		t.Fatalf("there is no table %s in %+v", table, c.Tables)
	}
	return c.Tables[at].Rows
}

// more waits until so much has been done.
func more(t testing.TB, done *atomic.Int64, want int64) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for done.Load() < want {
		if t.Failed() {
			t.FailNow()
		}
		<-tick.C
	}
}

// While transactions write two tables each, a snapshot has whole ones only, all that were
// done before it began, and none that began after it was pinned.
func TestASnapshotIsOfOneMoment(t *testing.T) {
	t.Parallel()
	path := sqlitetest.File(t)
	s := mustOpen(t, path)
	defer mustClose(t, s)
	atOneMoment(t, s, store.Config{Path: path})
}

func atOneMoment(t *testing.T, s *store.Store, from store.Config) {
	t.Helper()
	dir := t.TempDir()
	var done atomic.Int64
	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			err := s.Tx(t.Context(), func(tx berth.Tx) error {
				id := fmt.Sprintf("acc_%06d", n)
				if err := tx.Accounts().InsertAccount(t.Context(), berth.Account{ID: id, Name: id, Currency: "CNY", TimeZone: "UTC"}); err != nil {
					return err
				}
				return tx.Events().AppendAudit(t.Context(), berth.Audit{ID: id, Action: "account.create"})
			})
			if err != nil {
				t.Error(err)
				return
			}
			done.Add(1)
		}
	})
	for i := range 3 {
		more(t, &done, int64(20*(i+1)))
		to := filepath.Join(dir, fmt.Sprintf("copy-%d.db", i))
		before, pinned := done.Load(), int64(0)
		err := store.Snapshot(t.Context(), from, to, func() error {
			// More is written before the first page is copied.
			more(t, &done, done.Load()+5)
			pinned = done.Load()
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		c, err := store.Inspect(t.Context(), to)
		if err != nil {
			t.Fatal(err)
		}
		accounts, audits := rowsOf(t, c, "accounts"), rowsOf(t, c, "audits")
		if accounts != audits || accounts < before || accounts > pinned-4 || c.Schema != store.Schema() {
			t.Errorf("%d accounts and %d audits of schema %d; %d were there before, %d after it was pinned", accounts, audits, c.Schema, before, pinned)
		}
		if info, err := os.Stat(to); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the copy is %v, %v", info, err)
		}
		if left, _ := filepath.Glob(to + "-*"); len(left) > 0 {
			t.Errorf("left beside it: %v", left)
		}
	}
	close(stop)
	writer.Wait()
}

// The same rows have the same checksum in whichever order they came, other rows another.
func TestTheChecksumIsOfTheRows(t *testing.T) {
	t.Parallel()
	sums := map[string]string{}
	for name, ids := range map[string][]string{"ab": {"a", "b"}, "ba": {"b", "a"}, "a": {"a"}, "ac": {"a", "c"}} {
		path := sqlitetest.File(t)
		s := mustOpen(t, path)
		mustTx(t, s, func(tx berth.Tx) error {
			for _, id := range ids {
				if err := tx.Accounts().InsertAccount(t.Context(), berth.Account{ID: id, Currency: "CNY", TimeZone: "UTC"}); err != nil {
					return err
				}
			}
			return nil
		})
		mustClose(t, s)
		c, err := store.Inspect(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		at := slices.IndexFunc(c.Tables, func(is store.TableContents) bool { return is.Name == "accounts" })
		sums[name] = c.Tables[at].Checksum
	}
	if sums["ab"] != sums["ba"] || sums["ab"] == sums["a"] || sums["ab"] == sums["ac"] || sums["a"] == sums["ac"] {
		t.Errorf("%v", sums)
	}
}

func TestADamagedFileIsSeen(t *testing.T) {
	t.Parallel()
	path := sqlitetest.File(t)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 4096; i < len(content); i += 4096 { // the beginning of every page but the first
		copy(content[i:], make([]byte, 64))
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Inspect(t.Context(), path); err == nil {
		t.Error("it is taken for whole")
	}
}

func TestASnapshotOfANewerSchemaIsRefused(t *testing.T) {
	t.Parallel()
	path := sqlitetest.File(t)
	exec(t, path, "INSERT INTO schema_version (version_id, is_applied) VALUES (99999, TRUE)")
	err := store.Snapshot(t.Context(), store.Config{Path: path}, path+".copy", func() error { return nil })
	if berth.CodeOf(err) != berth.CodeUnsupported {
		t.Errorf("%v", err)
	}
}
