package store

import (
	"context"

	berth "github.com/berthhq/berth"
)

type accounts struct{ tx *tx }

var accountTable = newTable("accounts", "account", func(a *berth.Account) []column {
	return []column{
		{"id", &a.ID},
		{"name", &a.Name},
		{"currency", &a.Currency},
		{"time_zone", &a.TimeZone},
		{"later", document{&a.Later}},
		{"prepaid", &a.Prepaid},
		{"credit_limit", amount{&a.CreditLimit}},
		{"standing", document{&a.Arrears}},
	}
})

var workspaceTable = newTable("workspaces", "workspace", func(w *berth.Workspace) []column {
	return []column{
		{"id", &w.ID},
		{"account_id", &w.AccountID},
		{"name", &w.Name},
		{"created_at", instant{&w.CreatedAt}},
		{"models", document{&w.Models}},
		{"threads_max", &w.Quota.Threads},
		{"memory_bytes_max", &w.Quota.MemoryBytes},
		{"accelerators_max", &w.Quota.Accelerators},
		{"deployments_max", &w.Quota.Deployments},
		{"budget", document{&w.Budget}},
		{"deleted_at", instant{&w.DeletedAt}},
	}
})

func (s accounts) InsertAccount(ctx context.Context, a berth.Account) error {
	if err := accountTable.insert(ctx, s.tx, a); err != nil {
		return err
	}
	return s.split(ctx, a)
}

func (s accounts) UpdateAccount(ctx context.Context, a berth.Account) error {
	if err := accountTable.update(ctx, s.tx, a); err != nil {
		return err
	}
	return s.split(ctx, a)
}

// split keeps sums of usage apart where the account's currency changes.
func (s accounts) split(ctx context.Context, a berth.Account) error {
	for _, later := range a.Later {
		if err := s.tx.Usage().Split(ctx, later.From, 0); err != nil {
			return err
		}
	}
	return nil
}

func (s accounts) Accounts(ctx context.Context) ([]berth.Account, error) {
	return accountTable.all(ctx, s.tx, "ORDER BY id")
}

func (s accounts) Account(ctx context.Context, id string) (berth.Account, error) {
	return accountTable.one(ctx, s.tx, "WHERE id = ?", id)
}

func (s accounts) AccountPage(ctx context.Context, after string, limit int64) ([]berth.Account, error) {
	var f filter
	f.add("id > ?", after)
	return accountTable.all(ctx, s.tx, f.where()+" ORDER BY id"+f.page(0, limit), f.args...)
}

func (s accounts) InsertWorkspace(ctx context.Context, w berth.Workspace) error {
	s.tx.changed(berth.NounWorkspace, w.ID)
	return workspaceTable.insert(ctx, s.tx, w)
}

func (s accounts) Workspace(ctx context.Context, id string) (berth.Workspace, error) {
	return workspaceTable.one(ctx, s.tx, "WHERE id = ?", id)
}

func (s accounts) UpdateWorkspace(ctx context.Context, w berth.Workspace) error {
	s.tx.changed(berth.NounWorkspace, w.ID)
	return workspaceTable.update(ctx, s.tx, w)
}

func (s accounts) Workspaces(ctx context.Context) ([]berth.Workspace, error) {
	return workspaceTable.all(ctx, s.tx, "WHERE deleted_at = 0 ORDER BY created_at, id")
}

func (s accounts) WorkspacePage(ctx context.Context, after string, limit int64) ([]berth.Workspace, error) {
	f := filter{conditions: []string{"deleted_at = 0"}}
	f.add("id > ?", after)
	return workspaceTable.all(ctx, s.tx, f.where()+" ORDER BY id"+f.page(0, limit), f.args...)
}

var budgetTable = newTable("budget_news", "budget", func(b *berth.BudgetNews) []column {
	return []column{
		{"id", &b.ID},
		{"at", instant{&b.At}},
		{"account_id", &b.AccountID},
		{"workspace_id", &b.WorkspaceID},
		{"month", &b.Month},
		{"kind", &b.Kind},
		{"amount", &b.Amount},
		{"spent", &b.Spent},
		{"currency", &b.Currency},
	}
})

var putBudgetSQL = budgetTable.insertSQL + " ON CONFLICT (id) DO NOTHING"

func (s accounts) TellBudget(ctx context.Context, b berth.BudgetNews) (first bool, err error) {
	n, err := s.tx.exec(ctx, putBudgetSQL, budgetTable.fields(&b)...)
	if err != nil || n == 0 {
		return false, s.tx.dialect.wrote(budgetTable.noun, err)
	}
	return true, s.tx.notice(ctx, "", "", "", b.ID)
}
