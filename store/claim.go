package store

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	berth "github.com/berthhq/berth"
)

const (
	// postgresClaim is the advisory lock of the server that a database belongs to.
	postgresClaim = postgresMigrations + 1
	// claimPatience is how long a claim of another server may last, by default.
	claimPatience = 10 * time.Second
	// claimPause is the time between two looks whether a claim holds, claimRetry that between
	// two tries to get it.
	claimPause = time.Second
	claimRetry = 200 * time.Millisecond
	// claimAnswer bounds the wait for an answer of the database.
	claimAnswer = 5 * time.Second
)

// Claim keeps a Postgres database for one server: its journal and what it knows of its
// engines are in no other one's data directory. It is an advisory lock of a session of its
// own, so it ends with the server, however that ends.
type Claim struct {
	config   *pgx.ConnConfig
	log      *slog.Logger
	patience time.Duration // how long another one's claim may last
	conn     *pgx.Conn     // nil: lost
	session  session       // that has, or had, the lock
}

// session is one of a Postgres server, ever.
type session struct {
	pid   int32
	since time.Time
}

// ClaimOptions say what to claim; URL is required.
type ClaimOptions struct {
	URL    string
	Logger *slog.Logger
	// Patience is how long another server's claim may last before it counts; default 10 s. A
	// session that ended with its machine is seen by the database in that time at best.
	Patience time.Duration
}

// ClaimPostgres claims a database. [berth.CodeConflict] when another server has it and does
// not give it up in time.
func ClaimPostgres(ctx context.Context, opt ClaimOptions) (*Claim, error) {
	config, err := postgresConfig(opt.URL)
	if err != nil {
		return nil, err
	}
	patience := cmp.Or(opt.Patience, claimPatience)
	c := &Claim{config: config, log: cmp.Or(opt.Logger, slog.New(slog.DiscardHandler)), patience: patience}
	var other *berth.Error
	for began := time.Now(); ; {
		err := c.try(ctx)
		if err == nil {
			return c, nil
		}
		if !errors.As(err, &other) || time.Since(began) >= patience || !rest(ctx, claimRetry) {
			return nil, errors.Join(err, c.Close())
		}
	}
}

// Watch holds the claim until ctx ends, through losses of the connection and of the
// database. It returns [berth.CodeConflict] when another server has claimed the database
// meanwhile: then nothing may be written any more.
func (c *Claim) Watch(ctx context.Context) error {
	var taken time.Time // since when it is another's
	lost := false
	for ctx.Err() == nil {
		err := c.holds(ctx)
		if err == nil {
			if taken = (time.Time{}); lost {
				lost = false
				c.log.Info("the database is this server's again")
			}
			if !rest(ctx, claimPause) {
				return nil
			}
			continue
		}
		if !lost && ctx.Err() == nil {
			lost = true
			c.log.Warn("the connection that keeps the database for this server was lost; it is made again", "error", err)
		}
		var other *berth.Error
		switch {
		case !errors.As(err, &other):
			taken = time.Time{}
		case taken.IsZero():
			taken = time.Now()
		case time.Since(taken) >= c.patience:
			return err
		}
		rest(ctx, claimRetry)
	}
	return nil
}

// rest waits; it returns false when ctx has ended.
func rest(ctx context.Context, d time.Duration) bool {
	wait := time.NewTimer(d)
	defer wait.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-wait.C:
		return true
	}
}

// holds asks the session whether it is there, or tries to have another one.
func (c *Claim) holds(ctx context.Context) error {
	if c.conn == nil {
		return c.try(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, claimAnswer)
	defer cancel()
	if err := c.conn.Ping(ctx); err != nil {
		return errors.Join(err, c.leave())
	}
	return nil
}

// leave gives the connection up.
func (c *Claim) leave() error {
	conn := c.conn
	c.conn = nil
	ctx, cancel := context.WithTimeout(context.Background(), claimAnswer)
	defer cancel()
	return conn.Close(ctx)
}

// try takes the lock with a new session. [berth.CodeConflict]: another has it.
func (c *Claim) try(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, claimAnswer+c.config.ConnectTimeout)
	defer cancel()
	if c.conn, err = pgx.ConnectConfig(ctx, c.config); err != nil {
		c.conn = nil
		return err
	}
	got := false
	defer func() {
		if !got {
			err = errors.Join(err, c.leave())
		}
	}()
	if err := c.conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1)", postgresClaim).Scan(&got); err != nil {
		return err
	}
	if got {
		const self = "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
		err := c.conn.QueryRow(ctx, self).Scan(&c.session.pid, &c.session.since)
		got = err == nil
		return err
	}
	return c.refused(ctx)
}

// refused says who has the lock. A session of this very server that the database still
// believes in is ended.
func (c *Claim) refused(ctx context.Context) error {
	const holder = `SELECT a.pid, a.backend_start, coalesce(host(a.client_addr), 'this machine') FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
		WHERE l.locktype = 'advisory' AND l.granted AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
		AND l.classid::bigint = $1::bigint >> 32 AND l.objid::bigint = $1::bigint & 4294967295 AND l.objsubid = 1`
	var has session
	var from string
	err := c.conn.QueryRow(ctx, holder, postgresClaim).Scan(&has.pid, &has.since, &from)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		from = "elsewhere" // it has just ended
	case err != nil:
		return err
	case has.pid == c.session.pid && has.since.Equal(c.session.since):
		if _, err := c.conn.Exec(ctx, "SELECT pg_terminate_backend($1)", has.pid); err != nil {
			return err
		}
		return errStale
	}
	return berth.Errorf(berth.CodeConflict, "Another berth serve, at %s, uses this database; its journal belongs to it. Stop that one first, or give this one a database of its own.", from)
}

var errStale = errors.New("the database has not ended the connection that was lost")

// Close gives the claim up; c may be nil. Nobody may be in Watch.
func (c *Claim) Close() error {
	if c == nil || c.conn == nil {
		return nil
	}
	return c.leave()
}
