package store_test

import (
	"fmt"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/store"
	"github.com/berthhq/berth/store/pgtest"
	"github.com/berthhq/berth/store/sqlitetest"
)

// mustFurnish opens a store with a workspace in it.
func mustFurnish(b *testing.B) *store.Store {
	b.Helper()
	s := mustOpen(b, sqlitetest.File(b))
	furnish(b, s)
	return s
}

func furnish(b *testing.B, s *store.Store) {
	b.Helper()
	b.Cleanup(func() { mustClose(b, s) })
	mustTx(b, s, func(tx berth.Tx) error {
		if err := tx.Accounts().InsertAccount(b.Context(), berth.Account{ID: "1"}); err != nil {
			return err
		}
		return tx.Accounts().InsertWorkspace(b.Context(), berth.Workspace{ID: "llm-1", AccountID: "1"})
	})
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

// Records as a busy server's: of 200 keys and 50 replicas, with ids as the server makes
// them, in the fold's batches, sums included.
func BenchmarkInsertUsage(b *testing.B) {
	b.Run("sqlite", func(b *testing.B) { insertUsage(b, mustOpen(b, sqlitetest.File(b))) })
	b.Run("postgres", func(b *testing.B) { insertUsage(b, mustConnect(b, pgtest.Database(b))) })
}

func insertUsage(b *testing.B, s *store.Store) {
	const size, keys, replicas = 1024, 200, 50
	furnish(b, s)
	batch := make([]berth.UsageRecord, size)
	start := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	n := 0
	for b.Loop() {
		for i := range batch {
			at := start.Add(time.Duration(n) * 250 * time.Microsecond)
			key, replica := n*7919%keys, n*104729%replicas
			batch[i] = berth.UsageRecord{
				ID: fmt.Sprintf("use_%08x-%04x-7abc-8def-%012x", at.UnixMilli()>>16, at.UnixMilli()&0xffff, n), CallID: fmt.Sprintf("6a1f9f1e-0c3d-4d4e-9f3b-%012x", n),
				WorkspaceID: "llm-1", KeyID: fmt.Sprintf("key_019aa3f0-1111-7abc-8def-%012x", key),
				DeploymentID: fmt.Sprintf("dep_019aa3f0-2222-7abc-8def-%012x", key%20), DeployedModel: fmt.Sprintf("qwen3-8b-%08x", key%20),
				ModelName: "qwen3-8b", Plan: berth.PlanLoRA, Class: berth.ClassShared,
				ReplicaID: fmt.Sprintf("rep_019aa3f0-3333-7abc-8def-%012x", replica), Nonce: fmt.Sprintf("run_019aa3f0-4444-7abc-8def-%012x", replica),
				StartedAt: at, FirstTokenAt: at.Add(20 * time.Millisecond), EndedAt: at.Add(time.Second),
				InputTokens: int64(n % 40_000), CachedTokens: int64(n % 100), OutputTokens: int64(n % 1000), Billable: true,
				End: berth.EndStop, HTTPStatus: 200, Source: berth.SourceEngine,
			}
			n++
		}
		mustTx(b, s, func(tx berth.Tx) error { return tx.Usage().Insert(b.Context(), batch) })
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
}
