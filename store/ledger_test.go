package store_test

import (
	"database/sql"
	"strings"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/store"
	"github.com/berthhq/berth/store/pgtest"
	"github.com/berthhq/berth/store/sqlitetest"
)

// The database itself refuses to change or delete a posting, whoever asks.
func TestNoPostingChanges(t *testing.T) {
	t.Parallel()
	path, url := sqlitetest.File(t), pgtest.Database(t)
	for name, c := range map[string]struct {
		open           func() *store.Store
		driver, source string
	}{
		"SQLite":   {func() *store.Store { return mustOpen(t, path) }, "sqlite", path},
		"Postgres": {func() *store.Store { return mustConnect(t, url) }, "pgx", url},
	} {
		s := c.open()
		mustTx(t, s, func(tx berth.Tx) error {
			_, err := tx.Ledger().Post(t.Context(), berth.Posting{
				ID: "post_1", At: time.Unix(1, 0), AccountID: "1", Cause: berth.CausePayment, Reference: "a", Currency: "CNY",
				Entries: []berth.Entry{{Side: "a", Nano: -1}, {Side: "b", Nano: 1}},
			})
			return err
		})
		mustClose(t, s)
		db, err := sql.Open(c.driver, c.source)
		if err != nil {
			t.Fatal(err)
		}
		for _, statement := range []string{
			"UPDATE postings SET at = 2", "UPDATE entries SET nano = 5 WHERE side = 'b'", "DELETE FROM entries", "DELETE FROM postings",
		} {
			if _, err := db.ExecContext(t.Context(), statement); err == nil || !strings.Contains(err.Error(), "never") {
				t.Errorf("%s: %s: got %v, want a refusal", name, statement, err)
			}
		}
		var sum int
		if err := db.QueryRowContext(t.Context(), "SELECT SUM(nano * nano) FROM entries").Scan(&sum); err != nil || sum != 2 {
			t.Errorf("%s: the entries are now %d, %v", name, sum, err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
}
