package store_test

import (
	"context"
	"io"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/store"
	"github.com/berthhq/berth/store/pgtest"
)

const shortPatience = 300 * time.Millisecond

func mustClaim(t testing.TB, url string) *store.Claim {
	t.Helper()
	c, err := store.ClaimPostgres(t.Context(), store.ClaimOptions{URL: url, Patience: shortPatience})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // an error: the test has ended its session
	return c
}

func wantTaken(t testing.TB, err error) {
	t.Helper()
	if berth.CodeOf(err) != berth.CodeConflict || !strings.Contains(err.Error(), "Another berth serve") {
		t.Errorf("got %v", err)
	}
}

func wantClaimed(t testing.TB, url string) {
	t.Helper()
	_, err := store.ClaimPostgres(t.Context(), store.ClaimOptions{URL: url, Patience: shortPatience})
	wantTaken(t, err)
}

// watched watches a claim; the function that it returns ends the watch and says what came of it.
func watched(t testing.TB, c *store.Claim) (end func() error) {
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan error, 1)
	go func() { over <- c.Watch(ctx) }()
	return func() error { cancel(); return <-over }
}

// claimAdmin looks at a database and ends sessions that claim it.
type claimAdmin struct {
	testing.TB
	*pgx.Conn
}

func newClaimAdmin(t testing.TB, url string) claimAdmin {
	t.Helper()
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.WithoutCancel(t.Context())) })
	return claimAdmin{t, c}
}

// holder is the session that has the claim, 0: none.
func (a claimAdmin) holder() (pid int32) {
	a.Helper()
	err := a.QueryRow(a.Context(), "SELECT coalesce(max(pid), 0) FROM pg_locks WHERE locktype = 'advisory' AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())").Scan(&pid)
	if err != nil {
		a.Fatal(err)
	}
	return pid
}

func (a claimAdmin) end(pid int32) {
	a.Helper()
	if _, err := a.Exec(a.Context(), "SELECT pg_terminate_backend($1, 5000)", pid); err != nil {
		a.Fatal(err)
	}
}

// another waits until another session than one has the claim.
func (a claimAdmin) another(than int32) {
	a.Helper()
	for began := time.Now(); ; {
		if pid := a.holder(); pid != 0 && pid != than {
			return
		}
		if time.Since(began) > 30*time.Second {
			a.Fatal("the claim was not taken again")
		}
	}
}

// A database belongs to one server, until that ends.
func TestADatabaseBelongsToOneServer(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	one := mustClaim(t, url)
	wantClaimed(t, url)
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	mustClaim(t, url)
	mustClaim(t, pgtest.Database(t)) // another one is nobody's
	var none *store.Claim
	if err := none.Close(); err != nil {
		t.Error(err)
	}
}

// A claim whose session ends is taken again.
func TestAClaimThatLosesItsSession(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	admin, one := newClaimAdmin(t, url), mustClaim(t, url)
	end := watched(t, one)
	before := admin.holder()
	admin.end(before)
	admin.another(before)
	wantClaimed(t, url)
	if err := end(); err != nil {
		t.Error(err)
	}
}

// Who finds the database in another server's hands has to stop.
func TestAClaimThatAnotherHasTaken(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	admin, one := newClaimAdmin(t, url), mustClaim(t, url)
	admin.end(admin.holder())
	mustClaim(t, url)
	wantTaken(t, one.Watch(t.Context()))
}

// A connection that broke on its way leaves a session that the database still believes in; it
// keeps nobody from the claim that was its own.
func TestAClaimWhoseConnectionBreaks(t *testing.T) {
	t.Parallel()
	direct := pgtest.Database(t)
	way, broken := newWay(t, direct)
	admin, one := newClaimAdmin(t, direct), mustClaim(t, broken)
	before := admin.holder()
	way.breaks()
	if admin.holder() != before {
		t.Fatal("the session has ended with its connection")
	}
	end := watched(t, one)
	admin.another(before)
	if err := end(); err != nil {
		t.Error(err)
	}
}

// way is one to a Postgres server that breaks without its end being told.
type way struct {
	mu      sync.Mutex
	callers []net.Conn
}

// newWay returns the URL of a database at the other end.
func newWay(t *testing.T, database string) (*way, string) {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := new(way)
	var servers []net.Conn
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s, err := new(net.Dialer).Dial("unix", filepath.Join(u.Query().Get("host"), ".s.PGSQL.5432"))
			if err != nil {
				t.Error(err)
				return
			}
			w.mu.Lock()
			w.callers, servers = append(w.callers, c), append(servers, s)
			w.mu.Unlock()
			all.Go(func() { _, _ = io.Copy(s, c) }) // its end is not passed on
			all.Go(func() { _, _ = io.Copy(c, s); _ = c.Close() })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		w.breaks()
		w.mu.Lock()
		for _, s := range servers {
			_ = s.Close()
		}
		w.mu.Unlock()
		all.Wait()
	})
	return w, "postgres://" + u.User.String() + "@" + l.Addr().String() + u.Path + "?sslmode=disable"
}

func (w *way) breaks() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.callers {
		_ = c.Close()
	}
	w.callers = nil
}
