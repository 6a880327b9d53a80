package storetest

import (
	"testing"

	berth "github.com/berthhq/berth"
)

// Furnish writes every noun that has a promise to keep every field into a new store: for
// tests of what is done with whole stores.
func Furnish(t *testing.T, store berth.Store) {
	t.Helper()
	s := suite{T: t, store: store}
	s.settle()
	s.settled = true
	for _, p := range roundTrips {
		p.check(s)
	}
}
