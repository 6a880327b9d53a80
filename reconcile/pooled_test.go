package reconcile

import (
	"context"
	"fmt"
	"reflect"
	"testing"

	berth "github.com/berthhq/berth"
)

// What the loop remembers of a pool is what the store says, whoever joins, changes,
// leaves or goes.
func TestWhatIsKnownOfAPoolIsWhatIsStored(t *testing.T) {
	t.Parallel()
	y := newYard(t, nil)
	y.halt()
	loop := New(y.loop.Load().opt)
	y.loop.Store(loop)
	ctx := context.Background()
	buy := func(suffix string) berth.Deployment {
		return y.buy(berth.Purchase{ModelName: "base", Plan: "ptu", Suffix: suffix, PTU: &berth.PTUCapacity{InputTPM: 10_000, OutputTPM: 1_000}})
	}
	agrees := func(what, poolID string, want int) {
		t.Helper()
		_, err := loop.look(ctx)
		must(t, err)
		must(t, y.store.View(ctx, func(tx berth.Tx) error {
			deployments, members, err := loop.pooled.read(ctx, tx, poolID)
			must(t, err)
			stored, err := tx.Deployments().OfPool(ctx, poolID)
			must(t, err)
			places, err := tx.Pools().Members(ctx, poolID)
			if len(stored) != want || fmt.Sprint(deployments) != fmt.Sprint(stored) || len(places)+len(members) > 0 && !reflect.DeepEqual(members, places) {
				t.Errorf("%s: known %+v with %+v, stored %+v with %+v", what, deployments, members, stored, places)
			}
			return err
		}))
	}
	first, second := buy("a"), buy("b")
	agrees("two", first.PoolID, 2)
	third := buy("c")
	agrees("one joins", first.PoolID, 3)
	y.remove(second)
	agrees("one leaves", first.PoolID, 3)
	y.tx(func(ctx context.Context, tx berth.Tx) error {
		d, err := tx.Deployments().Get(ctx, second.ID)
		must(t, err)
		d.DeletedAt, d.Status = y.now(), berth.StatusDeleted
		must(t, tx.Deployments().Update(ctx, d))
		d, err = tx.Deployments().Get(ctx, third.ID)
		must(t, err)
		d.ReadyCapacity = 1
		return tx.Deployments().Update(ctx, d)
	})
	agrees("one goes, one changes", first.PoolID, 2)
}
