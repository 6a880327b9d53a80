package store_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/store"
)

// mustFurnish opens a store with a workspace in it.
func mustFurnish(b *testing.B) *store.Store {
	b.Helper()
	s := mustOpen(b, filepath.Join(b.TempDir(), "berth.db"))
	b.Cleanup(func() { mustClose(b, s) })
	mustTx(b, s, func(tx berth.Tx) error {
		if err := tx.Accounts().InsertAccount(b.Context(), berth.Account{ID: "1"}); err != nil {
			return err
		}
		return tx.Accounts().InsertWorkspace(b.Context(), berth.Workspace{ID: "llm-1", AccountID: "1"})
	})
	return s
}

func numberedDeployment(n int) berth.Deployment {
	id := fmt.Sprintf("dep_%08d", n)
	return berth.Deployment{
		ID: id, DeployedModel: "model-" + id, WorkspaceID: "llm-1", Plan: berth.PlanMU,
		CreatedAt: time.Unix(int64(n), 0).UTC(),
	}
}

// One durable transaction each, as a purchase is.
func BenchmarkInsertDeployment(b *testing.B) {
	s := mustFurnish(b)
	for n := 0; b.Loop(); n++ {
		mustTx(b, s, func(tx berth.Tx) error { return tx.Deployments().Insert(b.Context(), numberedDeployment(n)) })
	}
}

func BenchmarkListPageOf50OutOf10000(b *testing.B) {
	const all, page = 10_000, 50
	s := mustFurnish(b)
	mustTx(b, s, func(tx berth.Tx) error {
		for n := range all {
			if err := tx.Deployments().Insert(b.Context(), numberedDeployment(n)); err != nil {
				return err
			}
		}
		return nil
	})
	for _, offset := range []int64{0, all / 2} {
		b.Run(fmt.Sprintf("offset=%d", offset), func(b *testing.B) {
			for b.Loop() {
				err := s.View(b.Context(), func(tx berth.Tx) error {
					list, total, err := tx.Deployments().List(b.Context(), berth.DeploymentFilter{WorkspaceID: "llm-1", Offset: offset, Limit: page})
					if len(list) != page || total != all {
						b.Fatalf("got %d of %d", len(list), total)
					}
					return err
				})
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkInsertUsageBatchOf256(b *testing.B) {
	const size = 256
	s := mustFurnish(b)
	batch := make([]berth.UsageRecord, size)
	for n := 0; b.Loop(); n++ {
		for i := range batch {
			at := time.Unix(int64(n), int64(i)).UTC()
			batch[i] = berth.UsageRecord{
				ID: fmt.Sprintf("use_%08d_%03d", n, i), WorkspaceID: "llm-1", KeyID: "key_1", DeployedModel: "model",
				StartedAt: at, EndedAt: at, InputTokens: 1000, OutputTokens: 100, Source: berth.SourceEngine,
			}
		}
		mustTx(b, s, func(tx berth.Tx) error { return tx.Usage().Insert(b.Context(), batch) })
	}
	b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "records/s")
}
