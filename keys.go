package berth

import (
	"context"
	"errors"
	"time"
)

// Keys makes and revokes keys, and the first account, workspace and key.
type Keys struct {
	Writer
	// NewKey returns the text of a new key; Hash and Hint are what is kept of it.
	NewKey func() (string, error)
	Hash   func(text string) KeyHash
	Hint   func(text string) string
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
}

// Create makes a key and returns it with its text, which is shown this once. Needs
// [RoleAdmin]; only an owner may name another workspace or make an owner's key.
func (s *Keys) Create(ctx context.Context, n NewKey) (Key, string, error) {
	caller := CallerFrom(ctx)
	if n.WorkspaceID == "" {
		n.WorkspaceID = caller.WorkspaceID
	}
	switch {
	case !caller.May(RoleAdmin):
		return Key{}, "", accessDenied()
	case !n.Role.Valid():
		return Key{}, "", Errorf(CodeInvalid, "The role %q is not known; use owner, admin or inference.", n.Role)
	case !caller.May(n.Role):
		return Key{}, "", Errorf(CodeForbidden, "Access denied. A key of role %s may not make one of role %s.", caller.Role, n.Role)
	case n.WorkspaceID != caller.WorkspaceID && !caller.May(RoleOwner):
		return Key{}, "", workspaceDenied()
	case len([]rune(n.Name)) > MaxDisplayNameLength:
		return Key{}, "", Errorf(CodeInvalid, "The key's name is too long; use at most %d characters.", MaxDisplayNameLength)
	case !n.ExpiresAt.IsZero() && !n.ExpiresAt.After(s.Now()):
		return Key{}, "", Errorf(CodeInvalid, "The key would have expired already; expires_at must be in the future.")
	}
	var k Key
	var text string
	err := s.write(ctx, "key.create", func(tx Tx) (string, error) {
		_, err := tx.Accounts().Workspace(ctx, n.WorkspaceID)
		if CodeOf(err) == CodeNotFound {
			return "", Errorf(CodeNotFound, "WorkSpace can not be found.")
		}
		if err != nil {
			return "", err
		}
		if k, text, err = s.make(n); err != nil {
			return "", err
		}
		return k.ID, tx.Keys().Insert(ctx, k)
	})
	return k, text, err
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

// List returns the keys of the caller's workspace, of all of them for an owner. Needs
// [RoleAdmin].
func (s *Keys) List(ctx context.Context) ([]Key, error) {
	caller := CallerFrom(ctx)
	if !caller.May(RoleAdmin) {
		return nil, accessDenied()
	}
	workspace := caller.WorkspaceID
	if caller.May(RoleOwner) {
		workspace = ""
	}
	var keys []Key
	err := s.Store.View(ctx, func(tx Tx) (err error) {
		keys, err = tx.Keys().List(ctx, workspace)
		return err
	})
	return keys, err
}

// Revoke ends a key; it is refused from the moment Revoke returns. Needs [RoleAdmin]
// and a role that includes the key's. The last owner's key cannot be revoked
// ([CodeUnsupported]): nobody could make another.
func (s *Keys) Revoke(ctx context.Context, id string) (Key, error) {
	caller := CallerFrom(ctx)
	if !caller.May(RoleAdmin) {
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

// Bootstrap makes the account, the workspace "default" and an owner's key on an empty
// store; on any other it does nothing. keep is given the key's text before its hash is
// committed, so that no crash leaves a server whose key nobody has.
func (s *Keys) Bootstrap(ctx context.Context, currency, timeZone string, keep func(text string) error) error {
	return s.Store.Tx(ctx, func(tx Tx) error {
		accounts, err := tx.Accounts().Accounts(ctx)
		if err != nil || len(accounts) > 0 {
			return err
		}
		account := Account{ID: s.NewAccountID(), Name: "default", Currency: currency, TimeZone: timeZone}
		workspace := Workspace{ID: s.NewWorkspaceID(), AccountID: account.ID, Name: "default", CreatedAt: s.Now()}
		k, text, err := s.make(NewKey{WorkspaceID: workspace.ID, Role: RoleOwner, Name: "owner"})
		if err != nil {
			return err
		}
		if err := keep(text); err != nil {
			return err
		}
		_, err = tx.Route(ctx)
		return errors.Join(
			tx.Accounts().InsertAccount(ctx, account), tx.Accounts().InsertWorkspace(ctx, workspace), tx.Keys().Insert(ctx, k), err)
	})
}

func workspaceDenied() error { return Errorf(CodeWorkspaceDenied, "Workspace access denied.") }
