package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	berth "github.com/berthhq/berth"
)

const (
	// beatenMost is how often a transaction is run that others are always ahead of.
	beatenMost = 12
	// lostFor is how long a database that is gone is waited for, and how long one that came
	// back is asked what became of a commit.
	lostFor = 5 * time.Second
	// The pause before another run is random, from 0 to a bound that doubles.
	pauseFirst = 10 * time.Millisecond
	pauseMost  = 500 * time.Millisecond
)

// run runs fn in a transaction, again when the database gave it up in favour of another
// or went away before the commit.
func (s *Store) run(ctx context.Context, db *sql.DB, opts *sql.TxOptions, fn func(berth.Tx) error) error {
	var waited patience
	for {
		fault, err := s.once(ctx, db, opts, fn)
		if fault == nil || ctx.Err() != nil {
			return err
		}
		lost := s.dialect.lost(fault)
		if !waited.more(ctx, lost) {
			return gaveUp(ctx, lost, fault)
		}
	}
}

// patience is how much of it is left for one transaction.
type patience struct {
	runs int
	lost time.Time // when the database was first found gone
}

// more waits before another run, if there may be one.
func (p *patience) more(ctx context.Context, lost bool) bool {
	if lost && p.lost.IsZero() {
		p.lost = time.Now()
	}
	p.runs++
	if !lost && p.runs >= beatenMost || lost && time.Since(p.lost) > lostFor {
		return false
	}
	return pause(ctx, p.runs)
}

// pause waits a random while that tends to be longer each time; false when the context
// ended meanwhile.
func pause(ctx context.Context, n int) bool {
	most := min(pauseFirst<<min(n, 10), pauseMost)
	select {
	case <-ctx.Done():
		return false
	case <-time.After(rand.N(most)): //nolint:gosec // so that two do not meet again and again
		return true
	}
}

func gaveUp(ctx context.Context, lost bool, fault error) error {
	if ctx.Err() != nil {
		return errors.Join(context.Cause(ctx), fault)
	}
	e := berth.Errorf(berth.CodeUnavailable, "The database is busy with other changes; try again.")
	if lost {
		e = berth.Errorf(berth.CodeUnavailable, "The database cannot be reached; try again shortly.")
	}
	e.RetryAfter, e.Err = time.Second, fault
	return e
}

// once runs fn in one transaction. fault is what stopped it when nothing was done and
// running it again may help; otherwise err is the answer.
func (s *Store) once(ctx context.Context, db *sql.DB, opts *sql.TxOptions, fn func(berth.Tx) error) (fault, err error) {
	t, err := db.BeginTx(ctx, opts)
	if err != nil {
		if s.dialect.beaten(err) || s.dialect.lost(err) {
			fault = err
		}
		return fault, fmt.Errorf("begin: %w", err)
	}
	// Does nothing after the commit; also reached when fn panics.
	defer func() { _ = t.Rollback() }()
	ours := &tx{sql: t, dialect: s.dialect, usage: usageTx{names: &s.names}}
	if err := fn(ours); err != nil {
		return ours.fault, err
	}
	if ours.fault != nil {
		return ours.fault, ours.fault // fn has passed over it
	}
	if err := ours.tell(ctx); err != nil {
		return ours.fault, err
	}
	if fault, err = s.commit(ctx, ours); fault == nil && err == nil {
		ours.usage.committed()
	}
	return fault, err
}

// commit is like once for the end of a transaction.
func (s *Store) commit(ctx context.Context, t *tx) (fault, err error) {
	name := ""
	if s.dialect.name != nil {
		if name, err = s.dialect.name(ctx, t.sql); err != nil {
			err = t.note(err)
			return t.fault, err
		}
	}
	err = t.sql.Commit()
	switch {
	case err == nil:
		return nil, nil
	case errors.Is(err, sql.ErrTxDone) && ctx.Err() != nil:
		err = context.Cause(ctx) // database/sql was faster and rolled back for it
	case s.dialect.beaten(err):
		fault = err
	case s.dialect.lost(err) || s.dialect.name != nil && ctx.Err() != nil:
		return s.resolve(ctx, name, err)
	}
	return fault, fmt.Errorf("commit: %w", err)
}

// resolve finds out what became of a commit that got no answer.
func (s *Store) resolve(ctx context.Context, name string, cause error) (fault, err error) {
	if name == "" {
		return cause, cause
	}
	// Also for a caller that has gone: what it was told of is done or not.
	asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), lostFor)
	defer cancel()
	done, err := askAgain(asking, func() (bool, error) { return s.dialect.done(asking, s.writer, name) })
	switch {
	case err != nil:
		return nil, &berth.Error{
			Code: berth.CodeUnavailable, RetryAfter: time.Second, Err: errors.Join(cause, err),
			Message: "The database went away at the moment of a change, and it is not known whether the change was made; look before you repeat it.",
		}
	case done:
		return nil, nil
	}
	return cause, fmt.Errorf("commit: %w", cause)
}

// askAgain asks until there is an answer or the context ends.
func askAgain(ctx context.Context, ask func() (bool, error)) (bool, error) {
	for n := 1; ; n++ {
		answer, err := ask()
		if err == nil || !pause(ctx, n) {
			return answer, err
		}
	}
}
