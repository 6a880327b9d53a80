package berth

import (
	"context"
	"time"
)

// Class says on whose promise a call was served (design 8).
type Class string

// The classes of calls.
const (
	ClassReserved  Class = "reserved"  // ptu within its reservation
	ClassOverflow  Class = "overflow"  // ptu beyond it
	ClassShared    Class = "shared"    // lora
	ClassDedicated Class = "dedicated" // mu
	ClassProbe     Class = "probe"     // ours
)

// End says how a call ended.
type End string

// The ends of calls.
const (
	EndStop         End = "stop"
	EndLength       End = "length"
	EndToolCalls    End = "tool_calls"
	EndClientGone   End = "client_gone"
	EndEngineFailed End = "engine_failed"
	EndTimeout      End = "timeout"
	EndRefused      End = "refused"
	EndBerthCrashed End = "berth_crashed" // and with it the connection to the caller
)

// Source says where the figures of a record come from.
type Source string

// The sources of figures.
const (
	SourceEngine  Source = "engine"  // reported by the engine
	SourceCounted Source = "counted" // counted by us from the stream
	SourceUnknown Source = "unknown" // nobody was told; nothing is billed
)

// UsageRecord is what one call used. Its id is ours and the only key; CallID is a
// label that clients may choose and repeat.
type UsageRecord struct {
	ID             string // use_ + UUIDv7
	CallID         string
	WorkspaceID    string
	KeyID          string
	DeploymentID   string
	DeployedModel  string
	ModelName      string
	Plan           Plan
	Class          Class
	ReplicaID      string
	Nonce          string    // of the replica's engine
	StartedAt      time.Time // admission
	FirstTokenAt   time.Time // zero when none came
	EndedAt        time.Time
	InputTokens    int64 // cached ones included
	CachedTokens   int64
	OutputTokens   int64 // thinking ones included
	ThinkingTokens int64
	Billable       bool
	End            End
	HTTPStatus     int
	Source         Source
}

// UsageMark is what is written down of a call while it runs: its record as far as it is
// known, so that nothing is forgotten when the process ends with it.
type UsageMark struct {
	UsageRecord
	Booked Booked
	// Most is the most that the call can make its engine read and write: what counters may
	// show of a call whose figures nobody learns.
	Most Tokens
	// Ref and Room belong to whoever keeps the mark; both are 0 at first.
	Ref  int64
	Room int64
}

// Tokens are those of prompts, cached ones included, and of answers, thinking included.
type Tokens struct{ Input, Output int64 }

// Plus adds up.
func (t Tokens) Plus(o Tokens) Tokens { return Tokens{t.Input + o.Input, t.Output + o.Output} }

// Minus takes away.
func (t Tokens) Minus(o Tokens) Tokens { return Tokens{t.Input - o.Input, t.Output - o.Output} }

// Booked is what a call holds of the limits of its deployment or, once it has ended, what
// was left booked.
type Booked struct {
	Requests, Input, Output, Thinking int64
}

// Booking is what one call of the last minute booked, for the limits of a server that
// starts again.
type Booking struct {
	At time.Time // admission
	Booked
}

// Fold says how far the marks of one journal have become records.
type Fold struct {
	Instance string
	Position int64 // in the journal: everything before it is in the store
	// Life is the life of the journal before which no call is open: those that a crash
	// left open have become records.
	Life int64
}

// UsageGroup names a column that usage can be grouped by.
type UsageGroup string

// The groupings.
const (
	GroupDeployedModel UsageGroup = "deployed_model"
	GroupModelName     UsageGroup = "model_name"
	GroupKey           UsageGroup = "key_id"
	GroupPlan          UsageGroup = "plan"
	GroupDay           UsageGroup = "day"
)

// UsageFilter selects records. Zero fields select everything.
type UsageFilter struct {
	WorkspaceID   string
	DeployedModel string
	KeyID         string
	From, To      time.Time // admission in [From, To)
}

// UsageTotal is one row of grouped usage.
type UsageTotal struct {
	Group          map[UsageGroup]string
	Calls          int64
	InputTokens    int64
	CachedTokens   int64
	OutputTokens   int64
	ThinkingTokens int64
}

// Usage answers what was used. An inference key sees its own calls, an admin its
// workspace's.
type Usage struct {
	Store Store
	Zone  *time.Location // days of GroupDay
}

// Records returns one page of records, oldest first, after the given id.
func (s *Usage) Records(ctx context.Context, f UsageFilter, after string, limit int64) ([]UsageRecord, error) {
	f, err := f.seenBy(CallerFrom(ctx))
	if err != nil {
		return nil, err
	}
	var records []UsageRecord
	err = s.Store.View(ctx, func(tx Tx) (err error) {
		records, err = tx.Usage().Records(ctx, f, after, limit)
		return err
	})
	return records, err
}

// Totals returns sums by the given groups.
func (s *Usage) Totals(ctx context.Context, f UsageFilter, by []UsageGroup) ([]UsageTotal, error) {
	f, err := f.seenBy(CallerFrom(ctx))
	if err != nil {
		return nil, err
	}
	var totals []UsageTotal
	err = s.Store.View(ctx, func(tx Tx) (err error) {
		totals, err = tx.Usage().Totals(ctx, f, by, s.Zone)
		return err
	})
	return totals, err
}

// seenBy narrows a filter to what the caller may see.
func (f UsageFilter) seenBy(c Caller) (UsageFilter, error) {
	switch {
	case !c.May(RoleInference):
		return f, accessDenied()
	case !c.May(RoleAdmin):
		f.KeyID = c.KeyID
	}
	f.WorkspaceID = c.WorkspaceID
	return f, nil
}
