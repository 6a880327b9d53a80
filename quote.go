package berth

import (
	"context"
	"errors"
	"slices"
	"time"
)

// Quote is what a purchase would come to.
type Quote struct {
	// Refusal, when set, is the sentence that says which hardware is not free, or what the
	// account lacks; the other fields but Cost are then empty.
	Refusal string
	// Cost is never nil in an answer.
	Cost       *Cost
	Deployment Deployment
	// Replicas are those that would be started, beside the ones that serve already.
	Replicas []Replica
	// ReadyIn is how long an engine of the model took to come up the last time; 0 when
	// nothing has to start, false in Known when none has come up yet.
	ReadyIn time.Duration
	Known   bool
}

// errQuoted undoes the purchase that a quote is made of.
var errQuoted = errors.New("only a quote")

// Quote answers what [Deployments.Create] would do now, by buying and undoing it in one
// transaction. Needs [RoleAdmin]. What cannot be placed or paid is an answer, not an
// error; every other refusal is that of a purchase.
func (s *Deployments) Quote(ctx context.Context, p Purchase) (Quote, error) {
	caller := CallerFrom(ctx)
	if !caller.May(RoleAdmin) {
		return Quote{}, accessDenied()
	}
	var q Quote
	err := s.Store.Tx(ctx, func(tx Tx) (err error) {
		if q, err = s.quote(ctx, tx, caller, p); err != nil {
			return err
		}
		return errQuoted
	})
	switch {
	case errors.Is(err, errQuoted):
		return q, nil
	case CodeOf(err) == CodeNoCapacity, CodeOf(err) == CodeArrearage:
		return Quote{Refusal: err.Error(), Cost: q.Cost}, nil
	}
	return Quote{}, err
}

func (s *Deployments) quote(ctx context.Context, tx Tx, caller Caller, p Purchase) (Quote, error) {
	b, err := s.sell(ctx, tx, caller, p)
	if err != nil {
		return Quote{Cost: b.cost}, err
	}
	q := Quote{Deployment: b.d, Cost: b.cost}
	now, err := b.replicas()
	if err != nil {
		return q, err
	}
	for _, r := range now {
		if !slices.ContainsFunc(b.had, func(h Replica) bool { return h.ID == r.ID }) {
			q.Replicas = append(q.Replicas, r)
		}
	}
	if len(q.Replicas) == 0 {
		q.Known = true
		return q, nil
	}
	q.ReadyIn, err = tx.Replicas().LastStart(ctx, q.Replicas[0].ModelName)
	q.Known = err == nil
	if CodeOf(err) == CodeNotFound {
		err = nil
	}
	return q, err
}
