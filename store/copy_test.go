package store_test

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/store"
	"github.com/berthhq/berth/store/pgtest"
	"github.com/berthhq/berth/store/sqlitetest"
	"github.com/berthhq/berth/store/storetest"
)

// furnished returns the file of a store with something in every table.
func furnished(t *testing.T) string {
	t.Helper()
	path := sqlitetest.File(t)
	s := mustOpen(t, path)
	storetest.Furnish(t, s)
	mustTx(t, s, func(tx berth.Tx) error {
		return tx.Usage().PutFold(t.Context(), berth.Fold{Instance: "local", Position: 1 << 60, Life: 3})
	})
	mustTx(t, s, func(tx berth.Tx) error {
		return tx.Models().Insert(t.Context(), berth.Model{Name: "a NUL \x00 and half a letter \xc3"})
	})
	mustClose(t, s)
	fillTheRest(t, path)
	return path
}

// old has records that an earlier Berth wrote, until the store has been opened.
const old = "usage_before"

// fillTheRest writes a row into each table that storetest leaves empty.
func fillTheRest(t *testing.T, path string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	names, values := map[string][]string{}, map[string][]string{}
	for c := range columns(t, "sqlite", path, `SELECT m.name, c.name, c.type, COALESCE((SELECT 'SELECT MAX("' || f."to" || '") FROM "' || f."table" || '"'
		FROM pragma_foreign_key_list(m.name) f WHERE f."from" = c.name), '')
		FROM sqlite_master m JOIN pragma_table_info(m.name) c WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%' AND m.name <> 'schema_version' AND m.name <> '`+old+`'`) {
		value := map[string]string{"INTEGER": "1", "TEXT": "'text'", "BLOB": "x'0001'"}[c.kind]
		if c.null != "" {
			value = "(" + c.null + ")" // what it refers to
		}
		names[c.table], values[c.table] = append(names[c.table], `"`+c.name+`"`), append(values[c.table], value)
	}
	for _, again := range []bool{false, true} { // what others refer to is there the second time
		for table := range names {
			statement := fmt.Sprintf("INSERT INTO %q (%s) SELECT %s WHERE NOT EXISTS (SELECT 1 FROM %q)",
				table, strings.Join(names[table], ", "), strings.Join(values[table], ", "), table)
			if _, err := db.ExecContext(t.Context(), statement); err != nil && again {
				t.Errorf("%s: %v", statement, err)
			}
		}
	}
}

func TestACopyHasEverything(t *testing.T) {
	t.Parallel()
	path, url := furnished(t), pgtest.Empty(t)
	var tables []store.CopiedTable
	err := store.Copy(t.Context(), store.Config{Path: path}, store.Config{URL: url}, func(c store.CopiedTable) { tables = append(tables, c) }, nil)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range tables {
		names = append(names, c.Name)
		if c.Name == old {
			continue
		}
		if c.Rows == 0 {
			t.Errorf("the table %s was empty", c.Name)
		}
		if len(c.Checksum) != 64 || strings.Trim(c.Checksum, "0") == "" {
			t.Errorf("%+v", c)
		}
	}
	for c := range columns(t, "sqlite", path, "SELECT name, '', '', '' FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' AND name <> 'schema_version'") {
		if !slices.Contains(names, c.table) {
			t.Errorf("the table %s was not copied", c.table)
		}
	}

	// What the store reads is the same; and the next transaction goes on where it was.
	a, b := mustOpen(t, path), mustConnect(t, url)
	defer mustClose(t, a)
	defer mustClose(t, b)
	if x, y := routingVersion(t, a), routingVersion(t, b); x != y || x == 0 {
		t.Errorf("routing versions %d and %d", x, y)
	}
	for _, s := range []*store.Store{a, b} {
		mustTx(t, s, func(tx berth.Tx) error {
			return tx.Usage().Insert(t.Context(), []berth.UsageRecord{{ID: "use_next"}})
		})
		err := s.View(t.Context(), func(tx berth.Tx) error {
			f, err := tx.Usage().Fold(t.Context(), "local")
			if f.Position != 1<<60 || f.Life != 3 {
				t.Errorf("the fold is %+v", f)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestACopyIsOfAFileToAnEmptyDatabase(t *testing.T) {
	t.Parallel()
	path, url := furnished(t), pgtest.Database(t)
	s := mustConnect(t, url)
	defer mustClose(t, s)
	mustTx(t, s, func(tx berth.Tx) error {
		return tx.Accounts().InsertAccount(t.Context(), berth.Account{ID: "other"})
	})
	none := func(store.CopiedTable) { t.Error("a table was copied") }
	err := store.Copy(t.Context(), store.Config{Path: path}, store.Config{URL: url}, none, nil)
	if berth.CodeOf(err) != berth.CodeConflict || !strings.Contains(err.Error(), "not empty: its table accounts has 1 rows") {
		t.Errorf("got %v", err)
	}
	if list := accounts(t, s); len(list) != 1 {
		t.Errorf("accounts are %v", list)
	}
	missing := filepath.Join(t.TempDir(), "berth.db")
	if err := store.Copy(t.Context(), store.Config{Path: path}, store.Config{Path: missing}, none, nil); err == nil {
		t.Error("a file was copied to a file")
	}
	if err := store.Copy(t.Context(), store.Config{Path: missing}, store.Config{URL: url}, none, nil); err == nil {
		t.Error("a file that is not there was copied")
	}
	if _, err := os.Stat(missing); err == nil {
		t.Error("it was made")
	}
}

// Nothing is there when what is read back differs, here by a trigger.
func TestACopyThatDiffersIsNotDone(t *testing.T) {
	t.Parallel()
	path, url := furnished(t), pgtest.Database(t)
	query(t, url, `CREATE FUNCTION forget() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.name = upper(NEW.name); RETURN NEW; END $$`)
	query(t, url, `CREATE TRIGGER forget BEFORE INSERT ON keys FOR EACH ROW EXECUTE FUNCTION forget()`)
	err := store.Copy(t.Context(), store.Config{Path: path}, store.Config{URL: url}, func(store.CopiedTable) {}, nil)
	if err == nil || !strings.Contains(err.Error(), "copy the table keys: the copy has ") {
		t.Errorf("got %v", err)
	}
	s := mustConnect(t, url)
	defer mustClose(t, s)
	if list := accounts(t, s); len(list) != 0 {
		t.Errorf("accounts are %v", list)
	}
}

// sums are what a file or a database holds, by table.
func sums(t testing.TB, path string) map[string]store.TableContents {
	t.Helper()
	c, err := store.Inspect(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	tables := map[string]store.TableContents{}
	for _, table := range c.Tables {
		if table.Name != "schema_version" { // has the times of the migrations
			tables[table.Name] = table
		}
	}
	return tables
}

// From a file to Postgres and back: the two files have the same rows.
func TestACopyComesBackAsItWas(t *testing.T) {
	t.Parallel()
	path, url := furnished(t), pgtest.Empty(t)
	mustClose(t, mustOpen(t, path)) // moves what an earlier Berth wrote
	to := filepath.Join(t.TempDir(), "back.db")
	none := func(store.CopiedTable) {}
	if err := store.Copy(t.Context(), store.Config{Path: path}, store.Config{URL: url}, none, nil); err != nil {
		t.Fatal(err)
	}
	// What is not Berth's stays where it is.
	query(t, url, "CREATE TABLE neighbours (name text)")
	copied := 0
	if err := store.Copy(t.Context(), store.Config{URL: url}, store.Config{Path: to}, func(store.CopiedTable) { copied++ }, nil); err != nil {
		t.Fatal(err)
	}
	was, is := sums(t, path), sums(t, to)
	for name, table := range was {
		if (name == "models" || name == "changes") && is[name].Rows == table.Rows {
			continue // they have a name with a NUL, which Postgres does not keep
		}
		if is[name] != table {
			t.Errorf("the file has %+v, was %+v", is[name], table)
		}
	}
	if len(is) != len(was) || copied != len(was) {
		t.Errorf("%d tables of %d, told of %d", len(is), len(was), copied)
	}
	if left := names(t, filepath.Dir(to)); !slices.Equal(left, []string{"back.db"}) {
		t.Errorf("there are %v", left)
	}
	err := store.Copy(t.Context(), store.Config{URL: url}, store.Config{Path: to}, none, nil)
	if berth.CodeOf(err) != berth.CodeConflict {
		t.Errorf("a file was replaced: %v", err)
	}
	s := mustOpen(t, to)
	defer mustClose(t, s)
	mustTx(t, s, func(tx berth.Tx) error { return tx.Usage().Insert(t.Context(), []berth.UsageRecord{{ID: "use_next"}}) })
}

// A database that had nothing in it has nothing in it after a copy that failed.
func TestACopyThatFailsLeavesNoTables(t *testing.T) {
	t.Parallel()
	path, url := furnished(t), pgtest.Empty(t)
	query(t, url, "CREATE TABLE neighbours (name text)")
	no := errors.New("no")
	err := store.Copy(t.Context(), store.Config{Path: path}, store.Config{URL: url}, func(store.CopiedTable) {}, func() error { return no })
	if !errors.Is(err, no) {
		t.Errorf("got %v", err)
	}
	left := query(t, url, `SELECT string_agg(name, ' ') FROM (
		SELECT tablename::text AS name FROM pg_tables WHERE schemaname = 'public'
		UNION ALL SELECT proname::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace) x`)
	if left != "neighbours" {
		t.Errorf("there are %s", left)
	}
	if err := store.Copy(t.Context(), store.Config{Path: path}, store.Config{URL: url}, func(store.CopiedTable) {}, nil); err != nil {
		t.Error(err)
	}
}

// A snapshot of Postgres has whole transactions only: all that were done before it began,
// and none that began after it was pinned; and it is a file as of SQLite.
func TestASnapshotOfPostgresIsOfOneMoment(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	s := mustConnect(t, url)
	defer mustClose(t, s)
	atOneMoment(t, s, store.Config{URL: url})
}

func TestASnapshotIsOfPostgresWithData(t *testing.T) {
	t.Parallel()
	to := filepath.Join(t.TempDir(), "copy.db")
	pinned := func() error { t.Error("it was pinned"); return nil }
	err := store.Snapshot(t.Context(), store.Config{URL: pgtest.Empty(t)}, to, pinned)
	if berth.CodeOf(err) != berth.CodeNotFound {
		t.Errorf("of nothing: %v", err)
	}
	url := pgtest.Database(t)
	query(t, url, "INSERT INTO schema_version (version_id, is_applied) VALUES (9999, true) RETURNING id")
	err = store.Snapshot(t.Context(), store.Config{URL: url}, to, pinned)
	if berth.CodeOf(err) != berth.CodeUnsupported {
		t.Errorf("of a newer schema: %v", err)
	}
	url = pgtest.Database(t)
	no := errors.New("no")
	if err := store.Snapshot(t.Context(), store.Config{URL: url}, to, func() error { return no }); !errors.Is(err, no) {
		t.Errorf("got %v", err)
	}
}
