package berth_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	berth "github.com/berthhq/berth"
)

// A gateway that reads what changed has what one has that reads everything, whatever
// was written in whatever transactions, and though it looks only now and then.
func TestFollowingIsReadingEverything(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 1000)
	ctx := h.Context()
	view := func(fn func(berth.Tx) error) { must(t, h.store.View(ctx, fn)) }
	address := func(p *berth.Replica) (string, string, bool) {
		return "http://" + p.ID, "key of " + p.Nonce, p.Nonce != ""
	}
	everything := func() *berth.Snapshot {
		var r berth.Routing
		view(func(tx berth.Tx) (err error) {
			r, err = berth.ReadRouting(ctx, tx)
			return err
		})
		r.Address = address
		return r.Snapshot(h.now())
	}
	following, n := everything(), 0
	var keys, names []string
	rapid.Check(t, func(t *rapid.T) {
		pick := func(what string, list []string) string {
			return list[rapid.IntRange(0, len(list)-1).Draw(t, what)]
		}
		for range rapid.IntRange(1, 6).Draw(t, "writes") {
			n++
			switch rapid.IntRange(0, 6).Draw(t, "write") {
			case 0, 1:
				ask := rapid.SampledFrom([]berth.Purchase{
					{ModelName: "abacus", Plan: "mu", Spec: "MU1", Capacity: num(2)}, {ModelName: "abacus", Plan: "ptu"},
					{ModelName: "words", Plan: "lora"}, {ModelName: "shout", Plan: "lora"}, {ModelName: "remote", Plan: "mu", Spec: "MU1", Capacity: num(1)},
				}).Draw(t, "purchase")
				ask.Suffix = fmt.Sprint("n", n%9) // names come again
				if d, err := h.deployments.Create(h.admin(), ask); err == nil {
					names = append(names, d.DeployedModel)
				}
			case 2:
				if len(names) > 0 {
					_, _ = h.deployments.Delete(h.admin(), pick("name", names)) // gone already is fine
				}
			case 3:
				h.tx(func(_ context.Context, tx berth.Tx) error {
					return settleOne(h, tx, rapid.IntRange(0, 9).Draw(t, "replica"))
				})
			case 4:
				k, _, err := h.keys.Create(h.admin(), berth.NewKey{Role: berth.RoleInference})
				must(h, err)
				keys = append(keys, k.ID)
				token := k
				token.ID, token.ParentID, token.Hash = fmt.Sprint("token", n), pick("parent", keys), hashOf(fmt.Sprint(n))
				token.ExpiresAt = h.now().Add(time.Duration(n%5+1) * time.Second)
				h.tx(func(ctx context.Context, tx berth.Tx) error { return tx.Keys().Insert(ctx, token) })
				h.pass(time.Second)
				if n%7 == 0 {
					must(h, h.keys.Sweep(ctx))
				}
			case 5:
				h.tx(func(ctx context.Context, tx berth.Tx) error {
					w, err := tx.Accounts().Workspace(ctx, away)
					w.DeletedAt = time.Time{}
					if n%2 == 0 {
						w.DeletedAt = h.now()
					}
					return errors.Join(err, tx.Accounts().UpdateWorkspace(ctx, w))
				})
				_, _, _ = h.keys.Create(h.as(away, berth.RoleAdmin), berth.NewKey{Role: berth.RoleInference}) // while it is there
			default:
				if len(keys) > 0 {
					_, err := h.keys.Revoke(h.admin(), pick("key", keys))
					must(h, err)
				}
				h.tx(func(_ context.Context, tx berth.Tx) error {
					m, err := tx.Models().Get(ctx, "abacus")
					m.ContextLength = int64(n)
					return errors.Join(err, tx.Models().Update(ctx, m))
				})
			}
		}
		view(func(tx berth.Tx) error {
			part, known, err := berth.ReadRoutingSince(ctx, tx, following.Version)
			if !known {
				t.Fatal("the store forgot")
			}
			part.Address = address
			following = part.Update(following, h.now())
			return err
		})
		want := everything()
		for hash, k := range following.Keys { // what has expired may stay a while
			if !k.ExpiresAt.IsZero() && !h.now().Before(k.ExpiresAt) {
				delete(following.Keys, hash)
			}
		}
		if !reflect.DeepEqual(following.Keys, want.Keys) || !reflect.DeepEqual(following.Workspaces, want.Workspaces) || following.Version != want.Version {
			t.Fatalf("keys: got %v, want %v", following.Keys, want.Keys)
		}
		for name, route := range want.Routes {
			if got := following.Routes[name]; !reflect.DeepEqual(got, route) {
				t.Fatalf("route %s:\n got %+v\nwant %+v", name, got, route)
			}
		}
		if len(following.Routes) != len(want.Routes) {
			t.Fatalf("%d routes, want %d", len(following.Routes), len(want.Routes))
		}
	})
}

// settleOne does to a replica what the reconciler might, and finishes deletions.
func settleOne(h *house, tx berth.Tx, i int) error {
	ctx := h.Context()
	replicas, err := tx.Replicas().List(ctx)
	must(h, err)
	if len(replicas) > 0 {
		r := replicas[i%len(replicas)]
		switch r.State {
		case berth.ReplicaPending:
			r.State, r.Nonce = berth.ReplicaReady, r.ID
			must(h, tx.Replicas().Update(ctx, r))
		default:
			must(h, tx.Nodes().Release(ctx, r.ID))
			must(h, tx.Replicas().Delete(ctx, r.ID))
		}
	}
	list, _, err := tx.Deployments().List(ctx, berth.DeploymentFilter{})
	must(h, err)
	for _, d := range list {
		if d.Status == berth.StatusDeleting {
			d.Status, d.DeletedAt = berth.StatusDeleted, h.now()
			must(h, tx.Deployments().Update(ctx, d))
		}
	}
	return nil
}
