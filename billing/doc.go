// Package billing is the ledger desk. rate.go makes the lines of a day out of runs, usage
// and prices, purely; post.go makes balanced postings out of the growth of lines; desk.go
// does both for whatever is not up to date, closes months, and tries other prices.
package billing
