package server

import (
	"context"
	"net/http"
	"slices"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/api"
)

// ownPage is the size of a page of our own lists.
const ownPage = 200

func (s *Server) createAccount(ctx context.Context, r *http.Request) (any, error) {
	c, err := decode[api.CreateAccount](r)
	if err != nil {
		return nil, err
	}
	return shown(account)(s.Workspaces.CreateAccount(ctx, berth.NewAccount{Name: c.Name}))
}

func (s *Server) getAccount(ctx context.Context, r *http.Request) (any, error) {
	return shown(account)(s.Workspaces.Account(ctx, r.PathValue("id")))
}

func (s *Server) updateAccount(ctx context.Context, r *http.Request) (any, error) {
	c, err := decode[api.UpdateAccount](r)
	if err != nil {
		return nil, err
	}
	change := berth.AccountChange{Prepaid: c.Prepaid, CreditLimit: (*berth.Nano)(c.CreditLimitNano), Unlimited: c.Unlimited, Currency: c.Currency}
	if c.CurrencyFrom != nil {
		change.CurrencyFrom = *c.CurrencyFrom
	}
	return shown(account)(s.Workspaces.UpdateAccount(ctx, r.PathValue("id"), change))
}

func (s *Server) listAccounts(ctx context.Context, r *http.Request) (any, error) {
	list, next, err := readPage(ctx, r, s.Workspaces.Accounts, func(a berth.Account) string { return a.ID })
	if err != nil {
		return nil, err
	}
	return api.AccountList{Accounts: each(list, account), Next: next}, nil
}

func (s *Server) createWorkspace(ctx context.Context, r *http.Request) (any, error) {
	c, err := decode[api.CreateWorkspace](r)
	if err != nil {
		return nil, err
	}
	n := berth.NewWorkspace{Name: c.Name, AccountID: c.AccountID, Quota: quota(c.Quota)}
	if c.Models != nil {
		n.Models = models(c.Models)
	}
	return shown(workspace)(s.Workspaces.Create(ctx, n))
}

func (s *Server) listWorkspaces(ctx context.Context, r *http.Request) (any, error) {
	list, next, err := readPage(ctx, r, s.Workspaces.List, func(w berth.Workspace) string { return w.ID })
	if err != nil {
		return nil, err
	}
	return api.WorkspaceList{Workspaces: each(list, workspace), Next: next}, nil
}

func (s *Server) getWorkspace(ctx context.Context, r *http.Request) (any, error) {
	return shown(workspace)(s.Workspaces.Get(ctx, r.PathValue("id")))
}

func (s *Server) updateWorkspace(ctx context.Context, r *http.Request) (any, error) {
	c, err := decode[api.UpdateWorkspace](r)
	if err != nil {
		return nil, err
	}
	change := berth.WorkspaceChange{Name: c.Name}
	if c.Models != nil {
		list := models(*c.Models)
		change.Models = &list
	}
	if c.Quota != nil {
		q := quota(*c.Quota)
		change.Quota = &q
	}
	if c.Budget != nil {
		change.Budget = &berth.Budget{Amount: (*berth.Nano)(c.Budget.AmountNano), WarnOnly: c.Budget.WarnOnly}
	}
	return shown(workspace)(s.Workspaces.Update(ctx, r.PathValue("id"), change))
}

func (s *Server) deleteWorkspace(ctx context.Context, r *http.Request) (any, error) {
	return shown(workspace)(s.Workspaces.Delete(ctx, r.PathValue("id")))
}

// shown shows what a service returned, unless it refused.
func shown[D, W any](show func(D) W) func(D, error) (any, error) {
	return func(v D, err error) (any, error) {
		if err != nil {
			return nil, err
		}
		return show(v), nil
	}
}

func account(a berth.Account) api.Account {
	out := api.Account{
		ID: a.ID, Name: a.Name, Currency: a.Currency, TimeZone: a.TimeZone, Prepaid: a.Prepaid, CreditLimitNano: (*int64)(a.CreditLimit),
	}
	for _, l := range a.Later {
		out.Later = append(out.Later, api.CurrencyFrom{Currency: l.Currency, From: l.From})
	}
	if !a.Arrears.Since.IsZero() {
		out.OverdueSince = &a.Arrears.Since
	}
	return out
}

func workspace(w berth.Workspace) api.Workspace {
	out := api.Workspace{
		ID: w.ID, AccountID: w.AccountID, Name: w.Name, CreatedAt: w.CreatedAt, Models: []string{api.AnyModel},
		Quota: api.Quota{
			Threads: w.Quota.Threads, MemoryBytes: w.Quota.MemoryBytes, Accelerators: w.Quota.Accelerators, Deployments: w.Quota.Deployments,
		},
	}
	if w.Models != nil {
		out.Models = w.Models
	}
	if b := w.Budget; b.Amount != nil {
		out.Budget = &api.Budget{
			AmountNano: int64(*b.Amount), WarnOnly: b.WarnOnly, SpentNano: int64(b.Spent), Month: b.Month, Currency: b.Currency, Warned: b.Warned,
		}
		if !b.StoppedUntil.IsZero() {
			out.Budget.StoppedUntil = &b.StoppedUntil
		}
	}
	return out
}

// models is a list as the domain has it, where nil is any.
func models(list []string) []string {
	if slices.Contains(list, api.AnyModel) {
		return nil
	}
	return append([]string{}, list...)
}

func quota(q api.Quota) berth.Quota {
	return berth.Quota{
		Resources:   berth.Resources{Threads: q.Threads, MemoryBytes: q.MemoryBytes, Accelerators: q.Accelerators},
		Deployments: q.Deployments,
	}
}
