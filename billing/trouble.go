package billing

import (
	"context"
	"fmt"

	berth "github.com/berthhq/berth"
)

// troubleMost is how much of it one pass looks at: with more, it is nobody's in particular.
const troubleMost = 1000

// trouble is what a pass could not do while it did all else.
type trouble struct {
	n           int
	first       error
	deployments map[string]bool // whose usage could not be rated
	accounts    map[string]bool // of which something could not be charged
}

func newTrouble() *trouble {
	return &trouble{deployments: map[string]bool{}, accounts: map[string]bool{}}
}

// add notes an error of an account ("": that nobody knows); an error says that the pass is
// to be given up.
func (t *trouble) add(accountID string, err error) error {
	if t.first == nil {
		t.first = err
	}
	if accountID != "" {
		t.accounts[accountID] = true
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

// general reports whether an error is about more than what was asked: the database is away,
// or whoever asked.
func general(ctx context.Context, err error) bool {
	return ctx.Err() != nil || berth.CodeOf(err) == berth.CodeUnavailable
}
