package berth

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"regexp"
	"time"
)

// Receipt remembers what a create made, so that a repeat of it makes nothing. It is for
// the whole workspace. Of the body only a hash is kept.
type Receipt struct {
	WorkspaceID  string
	Name         string // unique in the workspace
	Body         [sha256.Size]byte
	DeploymentID string
	ExpiresAt    time.Time
}

// How long creates are remembered, and how many of a workspace.
const (
	keyedFor       = 24 * time.Hour   // by Idempotency-Key
	unheardFor     = 10 * time.Minute // whose answer did not arrive (api.md 10.8)
	receiptsMost   = 10_000
	maxOnceKeySize = 255
)

// Once is what tells a repeated create from a new one.
type Once struct {
	// Key is the client's Idempotency-Key, nil without one: creates with the same key
	// and body within 24 h are one.
	Key *string
	// Body is what the client sent. Without a key it identifies a create whose answer did
	// not arrive.
	Body []byte
}

var onceKeyAlphabet = regexp.MustCompile(`^[A-Za-z0-9._:-]+$`)

func (o Once) check() error {
	if o.Key != nil && (len(*o.Key) > maxOnceKeySize || !onceKeyAlphabet.MatchString(*o.Key)) {
		return Errorf(CodeInvalid, "The Idempotency-Key must be 1 to %d characters of A-Z, a-z, 0-9 and '-', '_', '.', ':'; a UUID will do.", maxOnceKeySize)
	}
	return nil
}

// keyed is the receipt of a create with a key.
func (o Once) keyed(c Caller) Receipt {
	return Receipt{WorkspaceID: c.WorkspaceID, Name: "key:" + *o.Key, Body: sha256.Sum256(o.Body)}
}

// unheard is the receipt of a create by caller whose answer did not arrive.
func (o Once) unheard(c Caller) Receipt {
	body := sha256.Sum256(o.Body)
	return Receipt{WorkspaceID: c.WorkspaceID, Name: "unheard:" + c.KeyID + ":" + hex.EncodeToString(body[:]), Body: body}
}

// repeatError ends a transaction in which it turns out that there is nothing to make.
type repeatError struct{ deploymentID string }

func (repeatError) Error() string { return "made before" }

// CreateOnce is [Deployments.Create] for clients that may repeat it. A repeat returns the
// deployment of the first, as it is now, and makes nothing:
//
//   - with an Idempotency-Key for 24 h, whatever has become of the deployment; the same
//     key with another body is [CodeConflict]. A create that was refused is not
//     remembered.
//   - without one, once within ten minutes after [Deployments.Unheard] was told of the
//     first, unless its deployment is being deleted.
func (s *Deployments) CreateOnce(ctx context.Context, p Purchase, o Once) (Deployment, error) {
	caller := CallerFrom(ctx)
	if !caller.May(RoleAdmin) {
		return Deployment{}, accessDenied()
	}
	if err := o.check(); err != nil {
		return Deployment{}, err
	}
	if o.Key == nil {
		d, err := s.heardOnce(ctx, o.unheard(caller))
		if err != nil || d.ID != "" {
			return d, err
		}
		return s.buy(ctx, caller, p, nil)
	}
	r := o.keyed(caller)
	d, err := s.buy(ctx, caller, p, &r)
	var repeat repeatError
	if errors.As(err, &repeat) {
		return s.byID(ctx, repeat.deploymentID)
	}
	return d, err
}

// made refuses a create with [repeatError] that r remembers, or with a conflict.
func (s *Deployments) made(ctx context.Context, tx Tx, r Receipt) error {
	before, err := tx.Receipts().Get(ctx, r.WorkspaceID, r.Name)
	switch {
	case CodeOf(err) == CodeNotFound, err == nil && !s.Now().Before(before.ExpiresAt):
		return nil
	case err != nil:
		return err
	case before.Body != r.Body:
		return Errorf(CodeConflict, "This Idempotency-Key was used in the last 24 h with another body; use a new key for another deployment.")
	}
	return repeatError{before.DeploymentID}
}

// remember writes r in the transaction of what it remembers, and forgets what has ended.
func (s *Deployments) remember(ctx context.Context, tx Tx, r Receipt, d Deployment, span time.Duration) error {
	if err := tx.Receipts().Expire(ctx, s.Now()); err != nil {
		return err
	}
	n, err := tx.Receipts().Count(ctx, r.WorkspaceID)
	if err != nil {
		return err
	}
	if n >= receiptsMost {
		return Errorf(CodeThrottled, "The workspace used %d Idempotency-Keys in the last 24 h, as many as it may; create without one, or wait.", n)
	}
	r.DeploymentID, r.ExpiresAt = d.ID, s.Now().Add(span)
	return tx.Receipts().Put(ctx, r)
}

// Unheard remembers that the answer to a create without a key, which made d, did not
// arrive. It ends by itself, as the client's context has ended.
func (s *Deployments) Unheard(ctx context.Context, d Deployment, o Once) error {
	if o.Key != nil {
		return nil // its receipt is there
	}
	r := o.unheard(CallerFrom(ctx))
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unheardTimeout)
	defer cancel()
	return s.Store.Tx(ctx, func(tx Tx) error { return s.remember(ctx, tx, r, d, unheardFor) })
}

// unheardTimeout bounds a write that nobody waits for.
const unheardTimeout = 10 * time.Second

// heardOnce takes the receipt, if there is one, and returns its deployment; a zero one
// without.
func (s *Deployments) heardOnce(ctx context.Context, r Receipt) (Deployment, error) {
	err := s.Store.View(ctx, func(tx Tx) error { return s.made(ctx, tx, r) })
	var repeat repeatError
	if !errors.As(err, &repeat) {
		return Deployment{}, err
	}
	err = s.Store.Tx(ctx, func(tx Tx) error { return tx.Receipts().Delete(ctx, r.WorkspaceID, r.Name) })
	if CodeOf(err) == CodeNotFound {
		return Deployment{}, nil // another repeat was faster, and this one is a new create
	}
	if err != nil {
		return Deployment{}, err
	}
	d, err := s.byID(ctx, repeat.deploymentID)
	if d.Status == StatusDeleting || d.Status == StatusDeleted {
		return Deployment{}, err
	}
	return d, err
}

func (s *Deployments) byID(ctx context.Context, id string) (Deployment, error) {
	var d Deployment
	err := s.read(ctx, func(tx Tx) (err error) {
		d, err = tx.Deployments().Get(ctx, id)
		return err
	})
	return d, err
}
