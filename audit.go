package berth

import (
	"context"
	"time"
)

// Audit is one thing that somebody did. It says who, when and to what, never with what: no
// text of a request is in it, and so no secret.
type Audit struct {
	ID          string // aud_ + UUIDv7
	At          time.Time
	KeyID       string // or that of [System]: Berth itself
	WorkspaceID string // in which it was done
	Action      string // noun.verb, such as deployment.create
	Target      string // the name or id that the action was about
}

// AuditFilter selects entries of the audit log. Zero fields select everything.
type AuditFilter struct {
	WorkspaceID string
	KeyID       string
	// Action is one action, or a noun such as deployment, which stands for all of its actions.
	Action   string
	Target   string
	From, To time.Time // done in [From, To)
}

// AuditPlace is a place in the audit log: behind the entry that it names.
type AuditPlace struct {
	At time.Time
	ID string
}

// Audits is where an owner reads what was done.
type Audits struct {
	Store Store
}

// Page returns entries, the newest first, behind a place (nil: from the newest). Needs
// [RoleOwner].
func (s *Audits) Page(ctx context.Context, f AuditFilter, after *AuditPlace, limit int64) ([]Audit, error) {
	if err := ownerOnly(ctx); err != nil {
		return nil, err
	}
	var list []Audit
	err := s.Store.View(ctx, func(tx Tx) (err error) {
		list, err = tx.Events().Audits(ctx, f, after, limit)
		return err
	})
	return list, err
}
