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
	EndStopped      End = "stopped"       // the deployment was stopped or deleted meanwhile, or Berth
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

// The groupings. Hours, days and months are those of the account that pays for the
// workspace.
const (
	GroupDeployedModel UsageGroup = "deployed_model"
	GroupModelName     UsageGroup = "model_name"
	GroupKey           UsageGroup = "key_id"
	GroupPlan          UsageGroup = "plan"
	GroupClass         UsageGroup = "class"
	GroupWorkspace     UsageGroup = "workspace_id"
	GroupHour          UsageGroup = "hour"  // its beginning, RFC 3339 with the zone's offset
	GroupDay           UsageGroup = "day"   // YYYY-MM-DD
	GroupMonth         UsageGroup = "month" // YYYY-MM
)

// UsageFilter selects calls. Zero fields select everything.
type UsageFilter struct {
	WorkspaceID   string // for an owner also [AllWorkspaces]
	DeployedModel string
	KeyID         string
	Class         Class
	From, To      time.Time // admission in [From, To)
	// FromDay and ToDay are From and To as the beginning of a day (YYYY-MM-DD) in the time
	// zone of each workspace's account.
	FromDay, ToDay string

	// Of records only; sums are not kept by them.
	End      End
	Source   Source
	Billable *bool
}

// UsageFigures are sums over calls.
type UsageFigures struct {
	Calls          int64
	InputTokens    int64 // cached ones included
	CachedTokens   int64
	OutputTokens   int64 // thinking ones included
	ThinkingTokens int64
}

// Add adds g to f.
func (f *UsageFigures) Add(g UsageFigures) {
	f.Calls += g.Calls
	f.InputTokens += g.InputTokens
	f.CachedTokens += g.CachedTokens
	f.OutputTokens += g.OutputTokens
	f.ThinkingTokens += g.ThinkingTokens
}

// UsageSum is what calls used, and how much of it is billable.
type UsageSum struct {
	UsageFigures
	Billable     UsageFigures // of those that are billable only
	UnknownCalls int64        // whose source is [SourceUnknown]
	CountedCalls int64        // whose source is [SourceCounted]
}

// Add adds t to s.
func (s *UsageSum) Add(t UsageSum) {
	s.UsageFigures.Add(t.UsageFigures)
	s.Billable.Add(t.Billable)
	s.UnknownCalls += t.UnknownCalls
	s.CountedCalls += t.CountedCalls
}

// Figures returns what one call adds to sums.
func (r *UsageRecord) Figures() UsageFigures {
	return UsageFigures{
		Calls: 1, InputTokens: r.InputTokens, CachedTokens: r.CachedTokens, OutputTokens: r.OutputTokens, ThinkingTokens: r.ThinkingTokens,
	}
}

// Sum returns what one call adds to sums.
func (r *UsageRecord) Sum() UsageSum {
	s := UsageSum{UsageFigures: r.Figures()}
	if r.Billable {
		s.Billable = s.UsageFigures
	}
	switch r.Source {
	case SourceUnknown:
		s.UnknownCalls = 1
	case SourceCounted:
		s.CountedCalls = 1
	}
	return s
}

// AllWorkspaces is what an owner asks for who means every workspace.
const AllWorkspaces = "*"

// In returns the filter for workspaces whose account has the given zone: with times instead
// of days.
func (f UsageFilter) In(zone *time.Location) (UsageFilter, error) {
	for day, at := range map[*string]*time.Time{&f.FromDay: &f.From, &f.ToDay: &f.To} {
		if *day == "" {
			continue
		}
		d, err := DayNamed(*day, zone)
		if err != nil {
			return f, err
		}
		*day, *at = "", d.Start
	}
	return f, nil
}

// UsageTotal is one row of grouped usage.
type UsageTotal struct {
	Group map[UsageGroup]string
	UsageSum
}

// UsageDayKey names the sums of one deployment and day.
type UsageDayKey struct {
	DeploymentID string
	Day          string // YYYY-MM-DD, in the time zone of the workspace's account
	// Version changes when records of the day come: rating a day again begins with the
	// version that was read.
	Version int64
}

// UsageDay is the sum of the calls of one day that are priced alike: of one deployment, key
// and class, with prompts between two neighbouring lengths at which prices change, admitted
// between two neighbouring instants at which they do.
type UsageDay struct {
	Day           string // YYYY-MM-DD, in the time zone of the workspace's account
	WorkspaceID   string
	KeyID         string
	DeploymentID  string
	DeployedModel string
	ModelName     string
	Plan          Plan
	Class         Class
	FromTokens    int64     // each prompt has at least so many tokens, and fewer than the next length
	Epoch         time.Time // the last change of prices before; zero: none
	UsageSum
}

// EngineHour is the sum of the calls of one run of a replica's engine that ended alike in
// one hour.
type EngineHour struct {
	ReplicaID string
	Nonce     string
	Hour      time.Time // its beginning; of UTC
	Class     Class
	End       End
	Source    Source
	Billable  bool
	UsageFigures
}

// Usage answers what was used. An inference key sees its own calls, an admin its
// workspace's. Days are those of the account that pays for the workspace.
type Usage struct {
	Store Store
}

// Records returns one page of records in order of admission, after the given cursor (""
// from the first), and the cursor of the next page, "" when there is none. A page may have
// fewer records than limit and be followed by another.
func (s *Usage) Records(ctx context.Context, f UsageFilter, after string, limit int64) (records []UsageRecord, next string, err error) {
	f, err = f.seenBy(CallerFrom(ctx))
	if err != nil {
		return nil, "", err
	}
	err = s.Store.View(ctx, func(tx Tx) (err error) {
		records, next, err = tx.Usage().Records(ctx, f, after, limit)
		return err
	})
	return records, next, err
}

// Totals returns sums by the given groups.
func (s *Usage) Totals(ctx context.Context, f UsageFilter, by []UsageGroup) ([]UsageTotal, error) {
	f, err := f.seenBy(CallerFrom(ctx))
	if err != nil {
		return nil, err
	}
	var totals []UsageTotal
	err = s.Store.View(ctx, func(tx Tx) (err error) {
		totals, err = tx.Usage().Totals(ctx, f, by)
		return err
	})
	return totals, err
}

// seenBy narrows a filter to what the caller may see.
func (f UsageFilter) seenBy(c Caller) (UsageFilter, error) {
	switch {
	case !c.May(RoleInference):
		return f, accessDenied()
	case c.May(RoleOwner) && f.WorkspaceID == AllWorkspaces:
		f.WorkspaceID = ""
		return f, nil
	case c.May(RoleOwner) && f.WorkspaceID != "":
		return f, nil
	case f.WorkspaceID != "" && f.WorkspaceID != c.WorkspaceID:
		return f, Errorf(CodeForbidden, "Only an owner sees the usage of other workspaces than that of the key.")
	case !c.May(RoleAdmin):
		f.KeyID = c.KeyID
	}
	f.WorkspaceID = c.WorkspaceID
	return f, nil
}
