package berth_test

import (
	"context"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
)

func (h *house) statements() *berth.Statements {
	return &berth.Statements{
		Store: h.store, Now: h.now, Settle: func(context.Context, string) error { return nil },
		Rerate: func(_ context.Context, account, workspace, month string, _ []berth.Price) ([]berth.Line, error) {
			return []berth.Line{{AccountID: account, WorkspaceID: workspace, Month: month, Currency: "CNY", Quantity: 1, Amount: 99}}, nil
		},
	}
}

func TestAStatementIsSeenByItsPayers(t *testing.T) {
	h := newHouse(t)
	h.tx(func(ctx context.Context, tx berth.Tx) error {
		for i, w := range []string{home, away} {
			must(t, tx.Lines().Put(ctx, berth.Line{
				AccountID: payer, Month: "2026-10", Day: "2026-10-01", WorkspaceID: w, DeploymentID: "dep_" + w,
				Dimension: berth.DimensionInput, Quantity: 5, Per: 1, Currency: "CNY", Amount: berth.Nano(7 + 3*i),
			}))
		}
		return nil
	})
	for name, c := range map[string]struct {
		caller berth.Caller
		of     berth.StatementOf
		total  berth.Nano
		code   berth.Code
	}{
		"an owner sees the whole":           {caller: berth.Caller{Role: berth.RoleOwner, AccountID: payer}, total: 17},
		"and any account":                   {caller: berth.Caller{Role: berth.RoleOwner, AccountID: payer}, of: berth.StatementOf{AccountID: spare}},
		"and one workspace":                 {caller: berth.Caller{Role: berth.RoleOwner, AccountID: payer}, of: berth.StatementOf{WorkspaceID: away}, total: 10},
		"an admin sees its workspace":       {caller: berth.Caller{Role: berth.RoleAdmin, AccountID: payer, WorkspaceID: home}, total: 7},
		"and no other":                      {caller: berth.Caller{Role: berth.RoleAdmin, AccountID: payer, WorkspaceID: home}, of: berth.StatementOf{WorkspaceID: away}, code: berth.CodeWorkspaceDenied},
		"nor an account that is not its":    {caller: berth.Caller{Role: berth.RoleAdmin, AccountID: payer, WorkspaceID: home}, of: berth.StatementOf{AccountID: spare}, code: berth.CodeWorkspaceDenied},
		"a caller of models sees none":      {caller: berth.Caller{Role: berth.RoleInference, AccountID: payer, WorkspaceID: home}, code: berth.CodeForbidden},
		"nobody sees none":                  {code: berth.CodeForbidden},
		"a month that has not begun":        {caller: berth.Caller{Role: berth.RoleOwner, AccountID: payer}, of: berth.StatementOf{Month: "2026-11"}, code: berth.CodeInvalid},
		"what is no month":                  {caller: berth.Caller{Role: berth.RoleOwner, AccountID: payer}, of: berth.StatementOf{Month: "2026-13"}, code: berth.CodeInvalid},
		"an account that there is not":      {caller: berth.Caller{Role: berth.RoleOwner}, of: berth.StatementOf{AccountID: "77"}, code: berth.CodeNotFound},
		"a month without anything comes to": {caller: berth.Caller{Role: berth.RoleOwner, AccountID: payer}, of: berth.StatementOf{Month: "2026-09"}},
	} {
		t.Run(name, func(t *testing.T) {
			st, err := h.statements().Get(berth.WithCaller(t.Context(), c.caller), c.of)
			if berth.CodeOf(err) != c.code {
				t.Fatalf("error = %v, want code %q", err, c.code)
			}
			if err == nil && (len(st.Totals) != 1 || st.Totals[0] != berth.Total{Currency: "CNY", Nano: c.total}) {
				t.Errorf("totals = %v, want %d CNY", st.Totals, c.total)
			}
		})
	}
}

func TestATrialIsForOwners(t *testing.T) {
	h := newHouse(t)
	admin := berth.Caller{Role: berth.RoleAdmin, AccountID: payer, WorkspaceID: home}
	if _, err := h.statements().Trial(berth.WithCaller(t.Context(), admin), berth.StatementOf{}, nil); berth.CodeOf(err) != berth.CodeForbidden {
		t.Errorf("error = %v, want %q", err, berth.CodeForbidden)
	}
	owner := berth.Caller{Role: berth.RoleOwner, AccountID: payer}
	st, err := h.statements().Trial(berth.WithCaller(t.Context(), owner), berth.StatementOf{}, nil)
	must(t, err)
	if len(st.Lines) != 1 || st.Lines[0].Month != "2026-10" || st.Totals[0].Nano != 99 {
		t.Errorf("trial = %+v", st)
	}
}

func TestMonthsAreOfTheAccountsZone(t *testing.T) {
	a := berth.Account{TimeZone: "Asia/Shanghai"}
	m := a.MonthOf(time.Date(2026, 1, 31, 16, 0, 0, 0, time.UTC))
	if m.Name != "2026-02" || !m.Start.Equal(time.Date(2026, 1, 31, 16, 0, 0, 0, time.UTC)) || a.Next(m).Name != "2026-03" {
		t.Errorf("month = %+v, next %+v", m, a.Next(m))
	}
}
