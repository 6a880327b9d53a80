package storetest

import (
	"context"
	"errors"
	"sync"

	berth "github.com/berthhq/berth"
)

var transactions = []promise{
	{"a Tx that returns an error changes nothing", func(s suite) {
		boom := errors.New("boom")
		err := s.store.Tx(s.Context(), func(tx berth.Tx) error {
			return first(addAccount(s, tx), boom)
		})
		if !errors.Is(err, boom) {
			s.Errorf("got %v, want the error of the function", err)
		}
		s.accounts(0)
	}},
	{"a Tx that panics changes nothing and the panic goes on", func(s suite) {
		func() {
			defer func() { s.same("panic", recover(), "boom") }()
			_ = s.store.Tx(s.Context(), func(tx berth.Tx) error {
				if err := addAccount(s, tx); err != nil {
					return err
				}
				panic("boom")
			})
		}()
		s.accounts(0)
		s.write(func(tx berth.Tx) error { return addAccount(s, tx) }) // the store still works
	}},
	{"a Tx whose context ends before it does changes nothing", func(s suite) {
		ctx, cancel := context.WithCancel(s.Context())
		err := s.store.Tx(ctx, func(tx berth.Tx) error {
			defer cancel()
			return addAccount(s, tx)
		})
		if !errors.Is(err, context.Canceled) {
			s.Errorf("got %v, want the context's error", err)
		}
		s.accounts(0)
	}},
	{"a reference to nothing makes the whole Tx fail", func(s suite) {
		err := s.store.Tx(s.Context(), func(tx berth.Tx) error {
			return first(addAccount(s, tx),
				tx.Accounts().InsertWorkspace(s.Context(), berth.Workspace{ID: workspaceID, AccountID: "nobody"}))
		})
		if err == nil {
			s.Error("a workspace of no account was kept")
		}
		s.accounts(0)
	}},
	{"a Tx reads what it wrote and others do not until it is done", func(s suite) {
		s.write(func(tx berth.Tx) error {
			if err := addAccount(s, tx); err != nil {
				return err
			}
			inside, err := tx.Accounts().Accounts(s.Context())
			s.same("accounts inside", len(inside), 1)
			s.accounts(0)
			return err
		})
		s.accounts(1)
	}},
	{"a View stays on one state while others write", func(s suite) {
		view(s, func(tx berth.Tx) (struct{}, error) {
			before, err := tx.RoutingVersion(s.Context())
			if err != nil {
				return struct{}{}, err
			}
			s.write(func(tx berth.Tx) error { return first(raise(s, tx), addAccount(s, tx)) })
			after, err := tx.RoutingVersion(s.Context())
			s.same("routing version", after, before)
			list, lerr := tx.Accounts().Accounts(s.Context())
			s.same("accounts", len(list), 0)
			return struct{}{}, first(err, lerr)
		})
		s.accounts(1)
	}},
	{"a View cannot write", func(s suite) {
		err := s.store.View(s.Context(), func(tx berth.Tx) error { return addAccount(s, tx) })
		if err == nil {
			s.Error("a write in a View succeeded")
		}
		s.accounts(0)
	}},
	{"a Tx cannot be used after its function returned", func(s suite) {
		var kept berth.Tx
		s.write(func(tx berth.Tx) error { kept = tx; return nil })
		if err := addAccount(s, kept); err == nil {
			s.Error("a write after the end succeeded")
		}
		s.accounts(0)
	}},
	{"the routing version rises by every Route and only by a Tx that is done", func(s suite) {
		start := s.routingVersion()
		s.write(func(tx berth.Tx) error {
			v, err := tx.Route(s.Context())
			s.same("answer of Route", v, start+1)
			return err
		})
		s.same("version after", s.routingVersion(), start+1)
		s.refuse(berth.CodeInternal, func(tx berth.Tx) error { return first(raise(s, tx), errors.New("boom")) })
		s.same("version after a rollback", s.routingVersion(), start+1)
	}},
	{"transactions of many goroutines are done one after the other", func(s suite) {
		const goroutines, rounds = 8, 10
		start := s.routingVersion()
		seen := make([]map[int64]bool, goroutines)
		var wg sync.WaitGroup
		for g := range goroutines {
			seen[g] = map[int64]bool{}
			wg.Go(func() {
				for range rounds {
					var version int64
					err := s.store.Tx(s.Context(), func(tx berth.Tx) (err error) {
						version, err = tx.Route(s.Context())
						return err
					})
					if err != nil {
						s.Errorf("Tx: %v", err)
					}
					seen[g][version] = true
				}
			})
		}
		wg.Wait()
		s.same("version", s.routingVersion(), start+goroutines*rounds)
		for g := range seen {
			s.same("different versions of one goroutine", len(seen[g]), rounds)
		}
	}},
}

func addAccount(s suite, tx berth.Tx) error {
	return tx.Accounts().InsertAccount(s.Context(), berth.Account{ID: accountID})
}

func raise(s suite, tx berth.Tx) error {
	_, err := tx.Route(s.Context())
	return err
}

// accounts checks how many accounts a View sees.
func (s suite) accounts(want int) {
	s.Helper()
	list := view(s, func(tx berth.Tx) ([]berth.Account, error) { return tx.Accounts().Accounts(s.Context()) })
	s.same("accounts", len(list), want)
}

func (s suite) routingVersion() int64 {
	s.Helper()
	return view(s, func(tx berth.Tx) (int64, error) { return tx.RoutingVersion(s.Context()) })
}
