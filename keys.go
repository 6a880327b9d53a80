package berth

import (
	"context"
	"errors"
	"strings"
	"time"
	"unicode"
)

// Keys makes and revokes keys, and the first account, workspace and key.
type Keys struct {
	Writer
	// NewKey and NewToken return the text of a new key and of a new temporary token; Hash
	// and Hint are what is kept of it.
	NewKey   func() (string, error)
	NewToken func() (string, error)
	Hash     func(text string) KeyHash
	Hint     func(text string) string
	// NewWorkspaceID and NewAccountID make ids in the contract's own forms (api.md 2.1,
	// 2.2).
	NewWorkspaceID func() string
	NewAccountID   func() string
}

// NewKey is what somebody asks of a key.
type NewKey struct {
	WorkspaceID string // "": the caller's
	Role        Role
	Name        string
	ExpiresAt   time.Time // zero: never
	// Deployments are the names of the only deployments that the key may call; none:
	// every one of its workspace. For [RoleInference] only.
	Deployments []string
}

// MaxDeploymentsOfKey bounds the list of deployments that a key may call.
const MaxDeploymentsOfKey = 100

// Create makes a key and returns it with its text, which is shown this once. Needs
// [RoleAdmin]; only an owner may name another workspace or make an owner's key, and a
// temporary token makes none.
func (s *Keys) Create(ctx context.Context, n NewKey) (Key, string, error) {
	caller := CallerFrom(ctx)
	if n.WorkspaceID == "" {
		n.WorkspaceID = caller.WorkspaceID
	}
	if err := n.check(caller, s.Now()); err != nil {
		return Key{}, "", err
	}
	var k Key
	var text string
	err := s.write(ctx, "key.create", func(tx Tx) (string, error) {
		if _, err := findWorkspace(ctx, tx, n.WorkspaceID); err != nil {
			return "", err
		}
		callable, err := deploymentIDs(ctx, tx, n)
		if err != nil {
			return "", err
		}
		if k, text, err = s.make(n); err != nil {
			return "", err
		}
		k.Deployments = callable
		return k.ID, tx.Keys().Insert(ctx, k)
	})
	return k, text, err
}

// check refuses a key that the caller may not make, or that cannot be.
func (n *NewKey) check(caller Caller, now time.Time) error {
	switch {
	case !caller.May(RoleAdmin) || caller.Temporary:
		return accessDenied()
	case !n.Role.Valid():
		return Errorf(CodeInvalid, "The role %q is not known; use owner, admin or inference.", n.Role)
	case !caller.May(n.Role):
		return Errorf(CodeForbidden, "Access denied. A key of role %s may not make one of role %s.", caller.Role, n.Role)
	case n.WorkspaceID != caller.WorkspaceID && !caller.May(RoleOwner):
		return workspaceDenied()
	case len([]rune(n.Name)) > MaxDisplayNameLength:
		return Errorf(CodeInvalid, "The key's name is too long; use at most %d characters.", MaxDisplayNameLength)
	case strings.ContainsFunc(n.Name, unicode.IsControl):
		return Errorf(CodeInvalid, "The key's name has a control character, such as a line break; leave it out.")
	case !n.ExpiresAt.IsZero() && !n.ExpiresAt.After(now):
		return Errorf(CodeInvalid, "The key would have expired already; expires_at must be in the future.")
	case len(n.Deployments) > 0 && n.Role != RoleInference:
		return Errorf(CodeInvalid, "Only a key of role inference can be bound to deployments; a key of role %s manages all of its workspace.", n.Role)
	case len(n.Deployments) > MaxDeploymentsOfKey:
		return Errorf(CodeInvalid, "A key can be bound to at most %d deployments.", MaxDeploymentsOfKey)
	}
	return nil
}

// deploymentIDs finds the deployments that a key is bound to: by id, so that a later
// deployment of the same name is not the key's.
func deploymentIDs(ctx context.Context, tx Tx, n NewKey) ([]string, error) {
	var ids []string
	for _, name := range n.Deployments {
		d, err := tx.Deployments().ByName(ctx, name)
		if CodeOf(err) == CodeNotFound || err == nil && d.WorkspaceID != n.WorkspaceID {
			return nil, modelNotFound(name)
		}
		if err != nil {
			return nil, err
		}
		ids = append(ids, d.ID)
	}
	return ids, nil
}

func (s *Keys) make(n NewKey) (Key, string, error) {
	text, err := s.NewKey()
	if err != nil {
		return Key{}, "", err
	}
	return Key{
		ID: s.NewID("key_"), WorkspaceID: n.WorkspaceID, Role: n.Role, Name: n.Name,
		Hash: s.Hash(text), Hint: s.Hint(text), CreatedAt: s.Now(), ExpiresAt: n.ExpiresAt,
	}, text, nil
}

// KnownKey is a key with the names of the deployments that it is bound to, in the order
// of their ids; those that were deleted keep their names.
type KnownKey struct {
	Key
	DeployedModels []string
}

// List returns one page of the keys of the caller's workspace, of all of them for an
// owner, in the order in which they were made, after the given id. Temporary tokens are
// not listed. Needs [RoleAdmin].
func (s *Keys) List(ctx context.Context, after string, limit int64) ([]KnownKey, error) {
	caller := CallerFrom(ctx)
	if !caller.May(RoleAdmin) {
		return nil, accessDenied()
	}
	workspace := caller.WorkspaceID
	if caller.May(RoleOwner) {
		workspace = ""
	}
	var known []KnownKey
	err := s.Store.View(ctx, func(tx Tx) error {
		keys, err := tx.Keys().Page(ctx, workspace, after, limit)
		if err != nil {
			return err
		}
		known = make([]KnownKey, len(keys))
		for i, k := range keys {
			if known[i], err = s.known(ctx, tx, k); err != nil {
				return err
			}
		}
		return nil
	})
	return known, err
}

func (s *Keys) known(ctx context.Context, tx Tx, k Key) (KnownKey, error) {
	known := KnownKey{Key: k}
	for _, id := range k.Deployments {
		d, err := tx.Deployments().Get(ctx, id)
		if err != nil {
			return known, err
		}
		known.DeployedModels = append(known.DeployedModels, d.DeployedModel)
	}
	return known, nil
}

// Revoke ends a key and its temporary tokens; they are refused from the moment Revoke
// returns. Needs [RoleAdmin], no temporary token, and a role that includes the key's. The last owner's key cannot be revoked
// ([CodeUnsupported]): nobody could make another.
func (s *Keys) Revoke(ctx context.Context, id string) (Key, error) {
	caller := CallerFrom(ctx)
	if !caller.May(RoleAdmin) || caller.Temporary {
		return Key{}, accessDenied()
	}
	var k Key
	err := s.write(ctx, "key.revoke", func(tx Tx) (_ string, err error) {
		k, err = tx.Keys().Get(ctx, id)
		if CodeOf(err) == CodeNotFound || err == nil && k.WorkspaceID != caller.WorkspaceID && !caller.May(RoleOwner) {
			return "", Errorf(CodeNotFound, "Not found!")
		}
		if err != nil || !k.RevokedAt.IsZero() {
			return id, err
		}
		if !caller.May(k.Role) {
			return "", accessDenied()
		}
		if err := s.keepsAnOwner(ctx, tx, k); err != nil {
			return "", err
		}
		k.RevokedAt = s.Now()
		return id, tx.Keys().Update(ctx, k)
	})
	return k, err
}

func (s *Keys) keepsAnOwner(ctx context.Context, tx Tx, revoked Key) error {
	if revoked.Role != RoleOwner {
		return nil
	}
	keys, err := tx.Keys().List(ctx, "")
	if err != nil {
		return err
	}
	for _, k := range keys {
		if k.ID != revoked.ID && k.Role == RoleOwner && k.Live(s.Now()) && k.ExpiresAt.IsZero() {
			return nil
		}
	}
	return Errorf(CodeUnsupported, "This is the last owner's key; make another one first.")
}

// First is what an empty store begins with.
type First struct {
	Currency, TimeZone string
	// Prices hold from then on; they need neither id nor times.
	Prices []Price
}

// Bootstrap makes the account, the workspace "default" and an owner's key on an empty
// store; on any other it does nothing. keep is given the key's text before its hash is
// committed, so that no crash leaves a server whose key nobody has.
func (s *Keys) Bootstrap(ctx context.Context, first First, keep func(text string) error) error {
	return s.Store.Tx(ctx, func(tx Tx) error {
		accounts, err := tx.Accounts().Accounts(ctx)
		if err != nil || len(accounts) > 0 {
			return err
		}
		if !KnownCurrency(first.Currency) {
			return errCurrency(first.Currency)
		}
		account := Account{ID: s.NewAccountID(), Name: "default", Currency: first.Currency, TimeZone: first.TimeZone}
		workspace := Workspace{ID: s.NewWorkspaceID(), AccountID: account.ID, Name: "default", CreatedAt: s.Now()}
		k, text, err := s.make(NewKey{WorkspaceID: workspace.ID, Role: RoleOwner, Name: "owner"})
		if err != nil {
			return err
		}
		if err := keep(text); err != nil {
			return err
		}
		if err := s.seed(ctx, tx, first.Prices); err != nil {
			return err
		}
		_, err = tx.Route(ctx)
		return errors.Join(
			tx.Accounts().InsertAccount(ctx, account), tx.Accounts().InsertWorkspace(ctx, workspace), tx.Keys().Insert(ctx, k), err)
	})
}

// seed puts the first prices into an empty book.
func (s *Keys) seed(ctx context.Context, tx Tx, prices []Price) error {
	known, err := tx.Prices().Count(ctx)
	if err != nil || known > 0 {
		return err
	}
	now := s.Now()
	for _, p := range prices {
		p.ID, p.From, p.CreatedAt = s.NewID("price_"), now.Truncate(time.Second), now
		if err := putPrice(ctx, tx, p); err != nil {
			return err
		}
	}
	return nil
}

func workspaceDenied() error { return Errorf(CodeWorkspaceDenied, "Workspace access denied.") }
