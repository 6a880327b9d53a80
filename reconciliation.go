package berth

import (
	"context"
	"slices"
	"time"
)

// EngineReading is what the counters of one start of an engine showed at one moment: the
// tokens that it has read and made since it started, those of calls that broke off among
// them.
type EngineReading struct {
	ReplicaID string
	Nonce     string
	At        time.Time
	Tokens    Tokens
	Calls     int64 // that the engine had at this moment
	// From is where the journal ended when the engine was asked: the calls that were closed
	// before are in its counters.
	From int64
}

// Tolerance is by how much less or more than their records the counters of an engine may
// show of calls whose figures nobody was told.
type Tolerance struct{ Less, More Tokens }

// Plus adds up.
func (t Tolerance) Plus(o Tolerance) Tolerance {
	return Tolerance{Less: t.Less.Plus(o.Less), More: t.More.Plus(o.More)}
}

// EngineAccount is the open account of one start of an engine: what its counters have shown
// and what of that records explain so far. It is kept until the engine has ended and its
// last call is recorded.
type EngineAccount struct {
	ReplicaID string
	Nonce     string
	ModelName string
	// Lags: the counters follow the engine's work by up to a second.
	Lags    bool
	BeganAt time.Time
	ReadAt  time.Time // of the last reading; zero: none yet
	Read    Tokens    // as it showed
	// Balance is what was read and is neither recorded nor explained yet: of calls that are
	// under way; below 0 what is recorded and was not read yet.
	Balance Tokens
	// Since is what was recorded since the last reading began.
	Since Tokens
	// Slack is the tolerance for calls that ended lately, OldSlack for those before that;
	// TurnedAt says since when they are apart.
	Slack, OldSlack Tolerance
	TurnedAt        time.Time
}

// Reconciliation compares, for one start of an engine and one hour, what its counters showed
// with what was recorded (design 8). Engine + Unread = Recorded + Explained + Unexplained +
// [Reconciliation.UnderWay].
type Reconciliation struct {
	ReplicaID string
	Nonce     string
	Hour      time.Time // UTC; a record counts in the hour in which its call ended
	ModelName string
	// DeployedModels are those whose calls ended in this hour, sorted, the first
	// [MaxReconciledModels] that were seen.
	DeployedModels []string

	Engine   Tokens // by its counters
	Recorded Tokens // by records
	Probes   Tokens // of Recorded: what we made the engine do ourselves
	Unbilled Tokens // of Recorded: calls that nobody pays
	// Explained is what the engine made beyond records (below 0: less than them) for calls
	// whose figures nobody was told, no more than these can have used. Inexact counts them.
	Explained Tokens
	Inexact   int64
	// Unread is what was recorded and no counter confirms: the engine died before it was
	// read again.
	Unread Tokens
	// Unexplained is what is left: above 0 the engine made more than is recorded, below 0
	// more is recorded than it made.
	Unexplained Tokens
}

// MaxReconciledModels bounds the names in one row.
const MaxReconciledModels = 64

// UnderWay is what calls had used that were under way when the hour ended, less what those
// had that were when it began.
func (r *Reconciliation) UnderWay() Tokens {
	return r.Engine.Plus(r.Unread).Minus(r.Recorded).Minus(r.Explained).Minus(r.Unexplained)
}

// Differs returns the tokens that nothing explains, whichever way they differ.
func (r *Reconciliation) Differs() int64 {
	return max(r.Unexplained.Input, -r.Unexplained.Input) + max(r.Unexplained.Output, -r.Unexplained.Output)
}

// Add adds what another row of the same engine and hour has.
func (r *Reconciliation) Add(o *Reconciliation) {
	r.Engine, r.Recorded, r.Probes, r.Unbilled = r.Engine.Plus(o.Engine), r.Recorded.Plus(o.Recorded), r.Probes.Plus(o.Probes), r.Unbilled.Plus(o.Unbilled)
	r.Explained, r.Unread, r.Unexplained = r.Explained.Plus(o.Explained), r.Unread.Plus(o.Unread), r.Unexplained.Plus(o.Unexplained)
	r.Inexact += o.Inexact
	for _, name := range o.DeployedModels {
		r.name(name)
	}
}

// ReconciliationFilter selects rows. Zero fields select everything.
type ReconciliationFilter struct {
	From, To  time.Time // hours that begin in [From, To)
	ReplicaID string
	// Unexplained selects the rows in which something is.
	Unexplained bool
}

// ReconciliationPlace is a place in a list of rows: behind the row that it names.
type ReconciliationPlace struct {
	Hour             time.Time
	ReplicaID, Nonce string
}

// Reconciliations shows what became of comparing engines with records.
type Reconciliations struct {
	Store Store
}

// Rows returns one page, the latest hour first, behind a place (nil: from the first). Needs
// [RoleOwner].
func (s *Reconciliations) Rows(ctx context.Context, f ReconciliationFilter, after *ReconciliationPlace, limit int64) ([]Reconciliation, error) {
	if !CallerFrom(ctx).May(RoleOwner) {
		return nil, accessDenied()
	}
	var rows []Reconciliation
	err := s.Store.View(ctx, func(tx Tx) (err error) {
		rows, err = tx.Reconciliations().Rows(ctx, f, after, limit)
		return err
	})
	return rows, err
}

// Unexplained returns how many tokens nothing explains in the hours since from, and in how
// many rows.
func (s *Reconciliations) Unexplained(ctx context.Context, from time.Time) (tokens, rows int64, err error) {
	err = s.Store.View(ctx, func(tx Tx) error {
		list, err := tx.Reconciliations().Rows(ctx, ReconciliationFilter{From: from, Unexplained: true}, nil, 0)
		tokens, rows = 0, int64(len(list))
		for i := range list {
			tokens += list[i].Differs()
		}
		return err
	})
	return tokens, rows, err
}

// Audit holds the rows of hours that begin in [from, to) against the stored records, whose
// sums are kept with them. A row in which they differ is corrected to what is stored, the
// difference is unexplained, and the row is returned.
func (s *Reconciliations) Audit(ctx context.Context, from, to time.Time) (wrong []Reconciliation, err error) {
	err = s.Store.View(ctx, func(tx Tx) (err error) {
		wrong, err = audited(ctx, tx, from, to)
		return err
	})
	if err != nil || len(wrong) == 0 {
		return nil, err
	}
	err = s.Store.Tx(ctx, func(tx Tx) (err error) { // looked at once more, where nobody else writes
		if wrong, err = audited(ctx, tx, from, to); err != nil {
			return err
		}
		for _, r := range wrong {
			if err := tx.Reconciliations().PutRow(ctx, r); err != nil {
				return err
			}
		}
		return nil
	})
	return wrong, err
}

// audited returns the rows that are not what is stored, corrected.
func audited(ctx context.Context, tx Tx, from, to time.Time) (wrong []Reconciliation, err error) {
	rows, err := tx.Reconciliations().Rows(ctx, ReconciliationFilter{From: from, To: to}, nil, 0)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	hours, err := tx.Usage().EngineHours(ctx, from, to)
	if err != nil {
		return nil, err
	}
	stored := map[ReconciliationPlace]Tokens{}
	for _, h := range hours {
		place := ReconciliationPlace{Hour: h.Hour.UTC(), ReplicaID: h.ReplicaID, Nonce: h.Nonce}
		stored[place] = stored[place].Plus(Tokens{h.InputTokens, h.OutputTokens})
	}
	for _, r := range rows {
		kept := stored[ReconciliationPlace{Hour: r.Hour.UTC(), ReplicaID: r.ReplicaID, Nonce: r.Nonce}]
		if lost := r.Recorded.Minus(kept); lost != (Tokens{}) {
			r.Recorded, r.Unexplained = kept, r.Unexplained.Plus(lost)
			wrong = append(wrong, r)
		}
	}
	return wrong, nil
}

// name adds a deployed model.
func (r *Reconciliation) name(deployedModel string) {
	i, found := slices.BinarySearch(r.DeployedModels, deployedModel)
	if deployedModel == "" || found || len(r.DeployedModels) >= MaxReconciledModels {
		return
	}
	r.DeployedModels = slices.Insert(r.DeployedModels, i, deployedModel)
}

// Record adds what a call used.
func (r *Reconciliation) Record(u *UsageRecord) {
	used := Tokens{u.InputTokens, u.OutputTokens}
	r.Recorded = r.Recorded.Plus(used)
	switch {
	case u.Class == ClassProbe:
		r.Probes = r.Probes.Plus(used)
	case !u.Billable:
		r.Unbilled = r.Unbilled.Plus(used)
	}
	if u.Source != SourceEngine {
		r.Inexact++
	}
	r.name(u.DeployedModel)
}
