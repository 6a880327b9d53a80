package reconcile

import (
	"cmp"
	"context"
	"maps"
	"slices"

	berth "github.com/berthhq/berth"
)

// pooled remembers the deployments of pools and their places, as the feed of changes
// tells them: a pool may have thousands, of which few change at a time.
type pooled struct {
	pools map[string]map[string]place // by pool and deployment; only those that were read whole
	of    map[string]string           // pool of each deployment
}

type place struct {
	deployment berth.Deployment
	members    []berth.Member // one, or none when it has left
}

func newPooled() *pooled {
	return &pooled{pools: map[string]map[string]place{}, of: map[string]string{}}
}

// look reads what a deployment is now, if its pool is known.
func (k *pooled) look(ctx context.Context, tx berth.Tx, d berth.Deployment) error {
	if old := k.of[d.ID]; old != "" && (old != d.PoolID || !d.DeletedAt.IsZero()) {
		delete(k.pools[old], d.ID)
		delete(k.of, d.ID)
	}
	if k.pools[d.PoolID] == nil || !d.DeletedAt.IsZero() {
		return nil
	}
	at := place{deployment: d}
	m, err := tx.Pools().Member(ctx, d.ID)
	if err == nil {
		at.members = []berth.Member{m}
	} else if berth.CodeOf(err) != berth.CodeNotFound {
		return err
	}
	k.put(d.PoolID, at)
	return nil
}

func (k *pooled) put(poolID string, at place) {
	k.pools[poolID][at.deployment.ID] = at
	k.of[at.deployment.ID] = poolID
}

// read returns the deployments and members of a pool, in the order of their ids.
func (k *pooled) read(ctx context.Context, tx berth.Tx, poolID string) ([]berth.Deployment, []berth.Member, error) {
	if k.pools[poolID] == nil {
		if err := k.fill(ctx, tx, poolID); err != nil {
			return nil, nil, err
		}
	}
	places := k.pools[poolID]
	deployments, members := make([]berth.Deployment, 0, len(places)), make([]berth.Member, 0, len(places))
	for _, id := range slices.SortedFunc(maps.Keys(places), cmp.Compare[string]) {
		deployments = append(deployments, places[id].deployment)
		members = append(members, places[id].members...)
	}
	if len(places) == 0 {
		delete(k.pools, poolID) // it is about to go, or gone
	}
	return deployments, members, nil
}

func (k *pooled) fill(ctx context.Context, tx berth.Tx, poolID string) error {
	deployments, err := tx.Deployments().OfPool(ctx, poolID)
	if err != nil {
		return err
	}
	members, err := tx.Pools().Members(ctx, poolID)
	if err != nil {
		return err
	}
	places := make(map[string][]berth.Member, len(members))
	for _, m := range members {
		places[m.DeploymentID] = append(places[m.DeploymentID], m)
	}
	k.pools[poolID] = make(map[string]place, len(deployments))
	for _, d := range deployments {
		k.put(poolID, place{d, places[d.ID]})
	}
	return nil
}
