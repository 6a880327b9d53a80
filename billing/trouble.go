package billing

import (
	"cmp"
	"context"
	"fmt"

	berth "github.com/berthhq/berth"
)

// troubleMost is how much of it one pass looks at: with more, it is nobody's in particular.
const troubleMost = 1000

// nobody stands for the account of what is no account's.
const nobody = "nobody"

// trouble is what a pass could not do while it did all else.
type trouble struct {
	n           int
	first       error
	deployments map[string]bool  // whose usage could not be rated
	accounts    map[string]error // the first error of each of which something could not be charged; "": of nobody known
}

func newTrouble() *trouble {
	return &trouble{deployments: map[string]bool{}, accounts: map[string]error{}}
}

// add notes an error of an account ("": that nobody knows); an error says that the pass is
// to be given up.
func (t *trouble) add(accountID string, err error) error {
	if t.first == nil {
		t.first = err
	}
	if t.accounts[accountID] == nil {
		t.accounts[accountID] = err
	}
	if t.n++; t.n >= troubleMost {
		return t.err()
	}
	return nil
}

func (t *trouble) err() error {
	if t.n > 1 {
		return fmt.Errorf("%d errors, the first: %w", t.n, t.first)
	}
	return t.first
}

// of returns an error that may be an account's.
func (t *trouble) of(accountID string) error { return cmp.Or(t.accounts[accountID], t.accounts[""]) }

// general reports whether an error is about more than what was asked: the database is away,
// or whoever asked.
func general(ctx context.Context, err error) bool {
	return ctx.Err() != nil || berth.CodeOf(err) == berth.CodeUnavailable
}
