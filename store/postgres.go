package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	berth "github.com/berthhq/berth"
)

//go:embed migrations/postgres/*.sql
var postgresFiles embed.FS

const (
	// postgresOldest is the oldest server version that is supported.
	postgresOldest = 15
	// postgresWriters is one connection that writes, and one more to ask what became of a
	// commit.
	postgresWriters = 2
	// postgresReaders is how many views can be open at once; a further one waits.
	postgresReaders = 8
	// postgresIdle is how long an unused connection is kept.
	postgresIdle = 5 * time.Minute
	// postgresConnect bounds the making of a connection, unless the URL does.
	postgresConnect = 5 * time.Second
	// postgresSilence is how long a server may leave what was sent without a sign of life.
	postgresSilence = 20 * time.Second
	// postgresMigrations is the advisory lock under which schemas are changed.
	postgresMigrations = 0x6265727468 // "berth"
)

// postgresSettings are set on each connection, unless the URL does.
var postgresSettings = map[string]string{
	"application_name":                    "berth",
	"statement_timeout":                   "60s",
	"idle_in_transaction_session_timeout": "60s",
}

func openPostgres(ctx context.Context, url, copies string) (*Store, error) {
	migrations, err := fs.Sub(postgresFiles, "migrations/postgres")
	if err != nil {
		return nil, err
	}
	c, err := postgresConfig(url)
	if err != nil {
		return nil, err
	}
	s := &Store{
		writer: postgresPool(c, postgresWriters), readers: postgresPool(c, postgresReaders), turn: make(chan struct{}, 1),
		dialect: &dialect{
			goose: goose.DialectPostgres, migrations: migrations,
			tx:   &sql.TxOptions{Isolation: sql.LevelSerializable},
			view: &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true},
			// All of them change its row, and of those that have begun to look at the database all
			// but one would be run again. LOCK waits without having looked.
			line:  "LOCK TABLE usage_state IN SHARE ROW EXCLUSIVE MODE",
			query: new(numbered).query, args: postgresArgs,
			taken: postgresTaken, beaten: postgresBeaten, lost: postgresLost,
			name: postgresName, done: postgresDone,
			schema: postgresSchema(c), contended: func(error) bool { return false }, keep: postgresKeep(url, copies),
		},
	}
	if err := s.checkPostgres(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func postgresConfig(url string) (*pgx.ConnConfig, error) {
	c, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, err // without the password
	}
	for name, value := range postgresSettings {
		if _, ok := c.RuntimeParams[name]; !ok {
			c.RuntimeParams[name] = value
		}
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = postgresConnect
	}
	dialer := net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: postgresSilence / 2, Interval: postgresSilence / 4, Count: 2},
		Control:         boundSilence,
	}
	c.DialFunc = dialer.DialContext
	return c, nil
}

func postgresPool(c *pgx.ConnConfig, n int) *sql.DB {
	db := stdlib.OpenDB(*c)
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	db.SetConnMaxIdleTime(postgresIdle)
	return db
}

// checkPostgres refuses a server that could not keep what Berth writes.
func (s *Store) checkPostgres(ctx context.Context) error {
	var version int
	var encoding string
	err := s.View(ctx, func(t berth.Tx) error {
		return t.(*tx).queryRow(ctx, "SELECT current_setting('server_version_num')::int, current_setting('server_encoding')").
			Scan(&version, &encoding)
	})
	switch {
	case err != nil:
		return err
	case version < postgresOldest*10000:
		return berth.Errorf(berth.CodeUnsupported, "The database is Postgres %d; Berth needs %d or newer.", version/10000, postgresOldest)
	case encoding != "UTF8":
		return berth.Errorf(berth.CodeUnsupported, "The database has the encoding %s; create one with ENCODING 'UTF8'.", encoding)
	}
	return nil
}

// postgresArgs makes plain values of arguments. Postgres keeps no text with a NUL or with
// bytes that are no UTF-8: the replacement character stands for them.
func postgresArgs(args []any) error {
	for i, arg := range args {
		switch arg.(type) {
		case []string, []int64, []bool:
			continue // for unnest
		}
		v, err := driver.DefaultParameterConverter.ConvertValue(arg)
		if err != nil {
			return err
		}
		if s, ok := v.(string); ok {
			v = postgresText(s)
		}
		args[i] = v
	}
	return nil
}

func postgresText(s string) string {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, string(utf8.RuneError))
	}
	if strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(s, "\x00", string(utf8.RuneError))
	}
	return s
}

// The error codes of Postgres that are told apart (its manual's appendix A).
const (
	pgUniqueViolation      = "23505"
	pgSerializationFailure = "40001"
	pgDeadlock             = "40P01"
	pgTooManyConnections   = "53300"
	pgReadOnly             = "25006" // a standby, or one that has just become one
	pgIdleInTransaction    = "25P03"
	pgConnectionClass      = "08"
	pgShutdownClass        = "57P" // shut down, crashed, starting
)

func postgresCode(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	return ""
}

func postgresTaken(err error) bool { return postgresCode(err) == pgUniqueViolation }

func postgresBeaten(err error) bool {
	code := postgresCode(err)
	return code == pgSerializationFailure || code == pgDeadlock
}

func postgresLost(err error) bool {
	if code := postgresCode(err); code != "" {
		return code == pgTooManyConnections || code == pgReadOnly || code == pgIdleInTransaction ||
			strings.HasPrefix(code, pgConnectionClass) || strings.HasPrefix(code, pgShutdownClass)
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return true
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	return errors.Is(err, driver.ErrBadConn) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || pgconn.SafeToRetry(err) || err != nil && strings.Contains(err.Error(), "conn closed")
}

func postgresName(ctx context.Context, t *sql.Tx) (string, error) {
	var id sql.NullString
	err := t.QueryRowContext(ctx, "SELECT pg_current_xact_id_if_assigned()::text").Scan(&id)
	return id.String, err
}

func postgresDone(ctx context.Context, db *sql.DB, name string) (bool, error) {
	var status sql.NullString
	if err := db.QueryRowContext(ctx, "SELECT pg_xact_status($1::text::xid8)", name).Scan(&status); err != nil {
		return false, err
	}
	switch status.String {
	case "committed":
		return true, nil
	case "aborted":
		return false, nil
	}
	return false, fmt.Errorf("transaction %s is %q", name, status.String)
}

// postgresSchema holds the lock of all who migrate the database while fn runs. It does so
// on connections whose statements may take their time.
func postgresSchema(c *pgx.ConnConfig) func(ctx context.Context, fn func(*sql.DB) error) error {
	return func(ctx context.Context, fn func(*sql.DB) error) (err error) {
		db := postgresPool(patient(c), postgresWriters)
		defer func() { err = errors.Join(err, db.Close()) }() // which gives up the lock, too
		lock, err := db.Conn(ctx)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, lock.Close()) }()
		if _, err := lock.ExecContext(ctx, "SELECT pg_advisory_lock($1)", postgresMigrations); err != nil {
			return fmt.Errorf("wait for others who migrate: %w", err)
		}
		return fn(db)
	}
}

// patient returns settings for connections whose statements may take their time.
func patient(c *pgx.ConnConfig) *pgx.ConnConfig {
	c = c.Copy()
	c.RuntimeParams["statement_timeout"] = "0"
	c.RuntimeParams["idle_in_transaction_session_timeout"] = "0"
	return c
}
