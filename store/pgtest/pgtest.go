// Package pgtest runs a real Postgres for tests: one for each test binary, with a database
// of its own for each test, and servers of their own for tests that stop them. The programs
// are Debian's (.ci/tools installs them) or whatever is in the PATH. A server ends with the
// process that started it, whichever way that ends.
package pgtest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver

	"github.com/berthhq/berth/store"
)

// shared is the server of this test binary.
var shared struct {
	start     sync.Once
	server    *Server
	admin     *sql.DB
	err       error
	databases atomic.Int64
}

// template is the database that has the newest schema and nothing in it.
const template = "berth_template"

// M is a [testing.M] that stops the server after the tests; without it the end of the
// process does.
type M struct{ *testing.M }

// Run runs the tests.
func (m M) Run() int {
	code := m.M.Run()
	if err := closeShared(); err != nil {
		fmt.Println(err)
		code = max(code, 1)
	}
	return code
}

// Empty returns the URL of a new database without a schema.
func Empty(t testing.TB) string {
	t.Helper()
	return newDatabase(t, "template0")
}

// Database returns the URL of a new database with the newest schema.
func Database(t testing.TB) string {
	t.Helper()
	return newDatabase(t, template)
}

func newDatabase(t testing.TB, from string) string {
	t.Helper()
	shared.start.Do(openShared)
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	name := "test_" + strconv.FormatInt(shared.databases.Add(1), 10)
	if _, err := shared.admin.ExecContext(t.Context(), "CREATE DATABASE "+name+" TEMPLATE "+from); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if _, err := shared.admin.ExecContext(ctx, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Error(err)
		}
	})
	return shared.server.URL(name)
}

func openShared() {
	if shared.server, shared.err = newServer(); shared.err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if shared.err = shared.server.start(ctx); shared.err != nil {
		return
	}
	if shared.admin, shared.err = sql.Open("pgx", shared.server.URL("postgres")); shared.err != nil {
		return
	}
	shared.admin.SetMaxOpenConns(4)
	if _, shared.err = shared.admin.ExecContext(ctx, "CREATE DATABASE "+template); shared.err != nil {
		return
	}
	made, err := store.Open(ctx, store.Config{URL: shared.server.URL(template)})
	if err != nil {
		shared.err = err
		return
	}
	shared.err = made.Close()
}

func closeShared() error {
	if shared.server == nil {
		return nil
	}
	if shared.admin != nil {
		shared.err = errors.Join(shared.err, shared.admin.Close())
	}
	return errors.Join(shared.err, shared.server.remove())
}
