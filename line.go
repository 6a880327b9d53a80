package berth

import "time"

// Line is one line of a statement: what one deployment used of one dimension on one day at
// one price, and what that comes to. Its amount is that of its whole quantity, rounded
// once.
type Line struct {
	AccountID     string
	Month         string // YYYY-MM in the account's time zone: of whose statement it is
	Day           string // YYYY-MM-DD: when it was used
	WorkspaceID   string
	DeploymentID  string
	DeployedModel string
	ModelName     string
	Plan          Plan
	Class         Class // of calls; "" of time
	Dimension     Dimension
	FromTokens    int64  // of the price: its tier
	PriceID       string // "": unpriced, and free
	Spec          string // mu
	Quantity      int64  // in the dimension's [Dimension.Unit]
	Price         Nano   // for each Per
	Per           int64  // in the same unit as Quantity
	Currency      string
	Amount        Nano
	// Posted is how much of the amount the ledger has: by so many Postings, the last at
	// PostedAt. Before the first that is when the line was first made.
	Posted   Nano
	Postings int64
	PostedAt time.Time
}

// Late reports whether the line is of a month before that of its statement, which was
// closed when it came: a correction.
func (l *Line) Late() bool { return len(l.Day) >= len(l.Month) && l.Day[:len(l.Month)] != l.Month }

// Month is the statement of an account for a month, once it is closed.
type Month struct {
	AccountID string
	Month     string // YYYY-MM
	ClosedAt  time.Time
}
