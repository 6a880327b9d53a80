package app

import (
	"path/filepath"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/store"
)

// What was used up to a clean stop is charged when Berth has stopped.
func TestAStopChargesToTheLastMinute(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var account berth.Account
	serveOnce(t, options(t, dir, "", nil), func(a *App) {
		ctx := t.Context()
		must(t, a.store.Tx(ctx, func(tx berth.Tx) error {
			accounts, err := tx.Accounts().Accounts(ctx)
			must(t, err)
			account = accounts[0]
			must(t, tx.Prices().Insert(ctx, berth.Price{
				ID: "price_1", Model: "charged", Dimension: berth.DimensionUnitMinute, Nano: 60_000, Per: 60, Currency: account.Currency,
			}))
			began := time.Now().Add(-90 * time.Second)
			return tx.Runs().Insert(ctx, berth.Run{
				ID: "svc_1", AccountID: account.ID, WorkspaceID: "llm-1", DeploymentID: "dep_1", DeployedModel: "a", ModelName: "charged", Plan: berth.PlanMU,
				StartedAt: began, EndedAt: began.Add(90 * time.Second), Steps: []berth.RunStep{{At: began, Units: 4}},
			})
		}))
	})
	s, err := store.Open(t.Context(), store.Config{Path: filepath.Join(dir, "berth.db")})
	must(t, err)
	defer func() { must(t, s.Close()) }()
	must(t, s.View(t.Context(), func(tx berth.Tx) error {
		n, err := tx.Ledger().Balance(t.Context(), berth.RevenueSide("llm-1"), account.Currency)
		if n != 2*4*1000 {
			t.Errorf("%d were earned, want two minutes of 4 units", n)
		}
		return err
	}))
}
