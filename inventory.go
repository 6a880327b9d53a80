package berth

import "context"

// Inventory answers what hardware there is and who holds it.
type Inventory struct{ Store Store }

// NodeUse is a node with what is held of it.
type NodeUse struct {
	Node Node
	Held []NamedHold
}

// NamedHold is a hold with the name of its holder: a deployment, or the model of a pool or
// of a calibration.
type NamedHold struct {
	Hold            Hold
	DeployedModel   string
	PoolModel       string
	CalibratedModel string
}

// Nodes returns every node and its holds. Needs [RoleOwner].
func (s *Inventory) Nodes(ctx context.Context) ([]NodeUse, error) {
	if !CallerFrom(ctx).May(RoleOwner) {
		return nil, accessDenied()
	}
	var uses []NodeUse
	err := s.Store.View(ctx, func(tx Tx) error {
		nodes, err := tx.Nodes().List(ctx)
		if err != nil {
			return err
		}
		held, err := namedHolds(ctx, tx)
		if err != nil {
			return err
		}
		uses = make([]NodeUse, 0, len(nodes))
		for _, n := range nodes {
			uses = append(uses, NodeUse{Node: n, Held: held[n.ID]})
		}
		return nil
	})
	return uses, err
}

// namedHolds returns the holds of each node.
func namedHolds(ctx context.Context, tx Tx) (map[string][]NamedHold, error) {
	holds, err := tx.Nodes().Holds(ctx)
	if err != nil {
		return nil, err
	}
	held := map[string][]NamedHold{}
	for _, h := range holds {
		named := NamedHold{Hold: h}
		switch {
		case h.PoolID != "":
			pool, err := tx.Pools().Get(ctx, h.PoolID)
			if err != nil {
				return nil, err
			}
			named.PoolModel = pool.ModelName
		case h.CalibrationID != "":
			m, err := tx.Calibrations().Get(ctx, h.CalibrationID)
			if err != nil {
				return nil, err
			}
			named.CalibratedModel = m.ModelName
		default:
			d, err := tx.Deployments().Get(ctx, h.DeploymentID)
			if err != nil {
				return nil, err
			}
			named.DeployedModel = d.DeployedModel
		}
		held[h.NodeID] = append(held[h.NodeID], named)
	}
	return held, nil
}
