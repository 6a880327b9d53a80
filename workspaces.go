package berth

import (
	"cmp"
	"context"
	"strings"
	"unicode"
)

// Workspaces makes and changes workspaces and the accounts that pay for them. All of it
// needs [RoleOwner].
type Workspaces struct {
	Writer
	// NewWorkspaceID and NewAccountID make ids in the contract's own forms (api.md 2.1,
	// 2.2).
	NewWorkspaceID func() string
	NewAccountID   func() string
	// Recheck does, before a change of an account's terms is answered, what it asks for, as
	// [Books.Recheck] does; nil: that is done later.
	Recheck func(ctx context.Context, accountID string)
}

// NewAccount is what somebody asks of an account. Empty fields are the first account's.
type NewAccount struct {
	Name     string
	Currency string
	TimeZone string
}

// CreateAccount opens an account. [CodeConflict] when the name is taken.
func (s *Workspaces) CreateAccount(ctx context.Context, n NewAccount) (Account, error) {
	if err := ownerOnly(ctx); err != nil {
		return Account{}, err
	}
	if err := checkName("account", n.Name); err != nil {
		return Account{}, err
	}
	a := Account{ID: s.NewAccountID(), Name: n.Name, Currency: n.Currency, TimeZone: n.TimeZone}
	err := s.write(ctx, "account.create", func(tx Tx) (string, error) {
		all, err := tx.Accounts().Accounts(ctx)
		if err != nil {
			return "", err
		}
		for _, other := range all {
			if other.Name == n.Name {
				return "", Errorf(CodeConflict, "The account name %s is taken; choose another.", n.Name)
			}
			a.Currency, a.TimeZone = cmp.Or(a.Currency, other.Currency), cmp.Or(a.TimeZone, other.TimeZone)
		}
		return a.ID, tx.Accounts().InsertAccount(ctx, a)
	})
	return a, err
}

// Accounts returns one page of accounts by id, after the given one.
func (s *Workspaces) Accounts(ctx context.Context, after string, limit int64) ([]Account, error) {
	return owned(ctx, s.Store, func(tx Tx) ([]Account, error) { return tx.Accounts().AccountPage(ctx, after, limit) })
}

// Account returns an account.
func (s *Workspaces) Account(ctx context.Context, id string) (Account, error) {
	return owned(ctx, s.Store, func(tx Tx) (Account, error) { return findAccount(ctx, tx, id) })
}

// NewWorkspace is what somebody asks of a workspace.
type NewWorkspace struct {
	Name      string
	AccountID string   // "": the caller's
	Models    []string // nil: any
	Quota     Quota
}

// Create makes a workspace. [CodeConflict] when the name is taken, [CodeNotFound] for an
// account or a model that is not there.
func (s *Workspaces) Create(ctx context.Context, n NewWorkspace) (Workspace, error) {
	if err := ownerOnly(ctx); err != nil {
		return Workspace{}, err
	}
	w := Workspace{
		ID: s.NewWorkspaceID(), Name: n.Name, AccountID: cmp.Or(n.AccountID, CallerFrom(ctx).AccountID),
		Models: n.Models, Quota: n.Quota, CreatedAt: s.Now(),
	}
	err := s.write(ctx, "workspace.create", func(tx Tx) (string, error) {
		if _, err := findAccount(ctx, tx, w.AccountID); err != nil {
			return "", err
		}
		if err := checkWorkspace(ctx, tx, w); err != nil {
			return "", err
		}
		return w.ID, tx.Accounts().InsertWorkspace(ctx, w)
	})
	return w, err
}

// List returns one page of workspaces by id, after the given one.
func (s *Workspaces) List(ctx context.Context, after string, limit int64) ([]Workspace, error) {
	return owned(ctx, s.Store, func(tx Tx) ([]Workspace, error) {
		list, err := tx.Accounts().WorkspacePage(ctx, after, limit)
		for i := range list {
			if err == nil {
				err = s.budget(ctx, tx, &list[i], s.Now())
			}
		}
		return list, err
	})
}

// Get returns a workspace.
func (s *Workspaces) Get(ctx context.Context, id string) (Workspace, error) {
	return owned(ctx, s.Store, func(tx Tx) (Workspace, error) {
		w, err := findWorkspace(ctx, tx, id)
		if err == nil {
			err = s.budget(ctx, tx, &w, s.Now())
		}
		return w, err
	})
}

// WorkspaceChange says what to change of a workspace; nil leaves a field as it is.
type WorkspaceChange struct {
	Name   *string
	Models *[]string // pointing to nil: any
	Quota  *Quota
	Budget *Budget // its amount and whether it only warns; one without an amount: none
}

// Update changes a workspace, for purchases from the next one on: what is deployed stays. A
// budget holds from the next call on.
func (s *Workspaces) Update(ctx context.Context, id string, change WorkspaceChange) (Workspace, error) {
	if err := ownerOnly(ctx); err != nil {
		return Workspace{}, err
	}
	var w Workspace
	err := s.write(ctx, "workspace.update", func(tx Tx) (_ string, err error) {
		if w, err = findWorkspace(ctx, tx, id); err != nil {
			return "", err
		}
		w.Name, w.Models, w.Quota = valueOr(change.Name, w.Name), valueOr(change.Models, w.Models), valueOr(change.Quota, w.Quota)
		if change.Budget != nil {
			w.Budget = Budget{Amount: change.Budget.Amount, WarnOnly: change.Budget.WarnOnly}
		}
		if err := checkWorkspace(ctx, tx, w); err != nil {
			return "", err
		}
		if change.Budget != nil {
			_, _, err := s.keepBudget(ctx, tx, &w, s.Now())
			return id, err
		}
		return id, tx.Accounts().UpdateWorkspace(ctx, w)
	})
	return w, err
}

// Delete takes an empty workspace away; [CodeConflict] while it has deployments, models
// or keys that live. Its records stay.
func (s *Workspaces) Delete(ctx context.Context, id string) (Workspace, error) {
	if err := ownerOnly(ctx); err != nil {
		return Workspace{}, err
	}
	var w Workspace
	err := s.write(ctx, "workspace.delete", func(tx Tx) (_ string, err error) {
		if w, err = findWorkspace(ctx, tx, id); err != nil {
			return "", err
		}
		if err := s.empty(ctx, tx, w); err != nil {
			return "", err
		}
		w.DeletedAt = s.Now()
		return id, tx.Accounts().UpdateWorkspace(ctx, w)
	})
	return w, err
}

// empty refuses for a workspace in which something lives.
func (s *Workspaces) empty(ctx context.Context, tx Tx, w Workspace) error {
	_, deployments, err := tx.Deployments().List(ctx, DeploymentFilter{WorkspaceID: w.ID, Limit: 1})
	if err != nil {
		return err
	}
	catalogue, err := tx.Models().List(ctx)
	if err != nil {
		return err
	}
	keys, err := tx.Keys().List(ctx, w.ID)
	if err != nil {
		return err
	}
	models, live := 0, 0
	for _, m := range catalogue {
		if m.WorkspaceID == w.ID {
			models++
		}
	}
	for _, k := range keys {
		if k.ParentID == "" && k.Live(s.Now()) { // tokens die with their workspace
			live++
		}
	}
	if deployments == 0 && models == 0 && live == 0 {
		return nil
	}
	return Errorf(CodeConflict, "The workspace %s is not empty: it has %d deployments, %d models and %d valid keys. Delete and revoke them first.",
		w.ID, deployments, models, live)
}

// checkWorkspace refuses what a workspace cannot be.
func checkWorkspace(ctx context.Context, tx Tx, w Workspace) error {
	if err := checkName("workspace", w.Name); err != nil {
		return err
	}
	for field, v := range map[string]int64{
		"threads": w.Quota.Threads, "memory_bytes": w.Quota.MemoryBytes,
		"accelerators": w.Quota.Accelerators, "deployments": w.Quota.Deployments,
	} {
		if err := checkRange("quota."+field, &v, 0, 1<<50); err != nil {
			return err
		}
	}
	if n := w.Budget.Amount; n != nil && (*n < 0 || *n > MaxPayment) {
		return Errorf(CodeInvalid, "Range of budget.amount_nano should be [0, %d]", int64(MaxPayment))
	}
	if len(w.Models) > MaxModelsOfWorkspace {
		return Errorf(CodeInvalid, "A workspace's list of models may name at most %d.", MaxModelsOfWorkspace)
	}
	for _, name := range w.Models {
		if _, err := visibleModel(ctx, tx, w.ID, name); err != nil {
			return err
		}
	}
	all, err := tx.Accounts().Workspaces(ctx)
	if err != nil {
		return err
	}
	for _, other := range all {
		if other.ID != w.ID && other.Name == w.Name {
			return Errorf(CodeConflict, "The workspace name %s is taken; choose another.", w.Name)
		}
	}
	return nil
}

// MaxModelsOfWorkspace bounds the list of models that a workspace may deploy.
const MaxModelsOfWorkspace = 1000

// checkName refuses names for people that people could not read.
func checkName(noun, name string) error {
	switch {
	case strings.TrimSpace(name) == "":
		return Errorf(CodeInvalid, "Field required: name; the %s needs one.", noun)
	case len([]rune(name)) > MaxDisplayNameLength:
		return Errorf(CodeInvalid, "The %s's name is too long; use at most %d characters.", noun, MaxDisplayNameLength)
	case strings.ContainsFunc(name, unicode.IsControl):
		return Errorf(CodeInvalid, "The %s's name has a control character, such as a line break; leave it out.", noun)
	}
	return nil
}

func findAccount(ctx context.Context, tx Tx, id string) (Account, error) {
	a, err := tx.Accounts().Account(ctx, id)
	if CodeOf(err) == CodeNotFound {
		return a, Errorf(CodeNotFound, "The account %s is not there.", id)
	}
	return a, err
}

// findWorkspace returns one that is not deleted.
func findWorkspace(ctx context.Context, tx Tx, id string) (Workspace, error) {
	w, err := tx.Accounts().Workspace(ctx, id)
	if CodeOf(err) == CodeNotFound || err == nil && !w.DeletedAt.IsZero() {
		return Workspace{}, Errorf(CodeNotFound, "WorkSpace can not be found.")
	}
	return w, err
}

// ownerOnly refuses everybody but owners.
func ownerOnly(ctx context.Context) error {
	if !CallerFrom(ctx).May(RoleOwner) {
		return accessDenied()
	}
	return nil
}

// owned reads something for owners.
func owned[T any](ctx context.Context, store Store, read func(Tx) (T, error)) (v T, err error) {
	if err := ownerOnly(ctx); err != nil {
		return v, err
	}
	err = store.View(ctx, func(tx Tx) (err error) {
		v, err = read(tx)
		return err
	})
	return v, err
}

func valueOr[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}
