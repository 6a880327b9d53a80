// Package storetest is the contract of [berth.Store] as a test: every promise that the
// interface makes, one subtest each. A new database is done when Run passes.
package storetest

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	berth "github.com/berthhq/berth"
)

// Run proves the contract. open returns a new, empty store each time; Run closes it.
func Run(t *testing.T, open func(t testing.TB) berth.Store) {
	all := slices.Concat(transactions, roundTrips, uniqueness, absences, lists, capacity, reservations, usage, reconciliation, usageSums, retention, tenants, money, pushes, feed)
	for _, p := range all {
		t.Run(p.sentence, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			})
			p.check(suite{T: t, store: s})
		})
	}
}

// promise is a sentence about every store, and what proves it.
type promise struct {
	sentence string
	check    func(suite)
}

// suite is one subtest with its store.
type suite struct {
	*testing.T
	store   berth.Store
	settled bool // settle has been called
}

// write runs fn in a Tx that must succeed.
func (s suite) write(fn func(berth.Tx) error) {
	s.Helper()
	if err := s.store.Tx(s.Context(), fn); err != nil {
		s.Fatalf("Tx: %v", err)
	}
}

// refuse runs fn in a Tx that must fail with code, in words fit for a caller.
func (s suite) refuse(code berth.Code, fn func(berth.Tx) error) {
	s.Helper()
	err := s.store.Tx(s.Context(), fn)
	if got := berth.CodeOf(err); got != code {
		s.Fatalf("Tx: got code %q (%v), want %q", got, err, code)
	}
	if e, ok := err.(*berth.Error); ok { //nolint:errorlint // the message of this very error is shown
		for _, word := range []string{"SQL", "sql", "constraint", "UNIQUE", "rows"} {
			if strings.Contains(e.Message, word) {
				s.Errorf("the message %q speaks of %q", e.Message, word)
			}
		}
	}
}

// same compares two values field by field.
func (s suite) same(what string, got, want any) {
	s.Helper()
	if !reflect.DeepEqual(got, want) {
		s.Fatalf("%s:\n got %+v\nwant %+v", what, got, want)
	}
}

// view returns what fn reads in a View that must succeed.
func view[T any](s suite, fn func(berth.Tx) (T, error)) T {
	s.Helper()
	var v T
	err := s.store.View(s.Context(), func(tx berth.Tx) (err error) {
		v, err = fn(tx)
		return err
	})
	if err != nil {
		s.Fatalf("View: %v", err)
	}
	return v
}
