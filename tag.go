package berth

import "context"

// Tag is what a model costs under one plan: the price of one dimension and tier, on one
// spec where that matters.
type Tag struct {
	Plan       Plan
	Spec       string // of unit minutes
	Dimension  Dimension
	FromTokens int64 // of the prompt
	Unpriced   bool  // it has no price, and is free or not sold
	Nano       Nano  // for each Per of the dimension
	Per        int64
}

// Tags returns what a model costs that is sold on the given specs, in the order of its
// plans. a says the currency and the time. What has no price of its own and costs what
// something else does (cached input, thinking) is left out.
func (b *Book) Tags(m *Model, specs []string, a Asked) (tags []Tag) {
	a.Model, a.Base = m.Name, m.Base
	if len(specs) == 0 {
		specs = []string{""} // an endpoint
	}
	byTime := func(d Dimension, must bool) {
		a.Dimension = d
		if p, ok := b.Find(a); ok || must {
			tags = append(tags, Tag{a.Plan, a.Spec, d, 0, !ok, p.Nano, max(p.Per, 1)})
		}
	}
	for _, a.Plan = range m.Plans {
		switch a.Plan {
		case PlanMU:
			for _, a.Spec = range specs {
				byTime(DimensionUnitMinute, true)
			}
			a.Spec = ""
			continue
		case PlanPTU:
			byTime(DimensionInputTPMMinute, true)
			byTime(DimensionOutputTPMMinute, true)
			byTime(DimensionThinkingTPMMinute, false)
		}
		for _, t := range b.TokenCost(a) {
			tags = append(tags, Tag{a.Plan, "", t.Dimension, t.FromTokens, t.Unpriced, t.Price, t.Per})
		}
	}
	return tags
}

// PriceTags are what models cost for the account that pays for a workspace, at one instant.
type PriceTags struct {
	Currency string
	book     *Book
	asked    Asked
}

// Of returns what a model costs that is sold on the given specs.
func (t *PriceTags) Of(m *Model, specs []string) []Tag { return t.book.Tags(m, specs, t.asked) }

// Tags returns what models cost for the caller's workspace now. Needs [RoleAdmin].
func (s *Deployments) Tags(ctx context.Context) (*PriceTags, error) {
	caller := CallerFrom(ctx)
	if !caller.May(RoleAdmin) {
		return nil, accessDenied()
	}
	var t PriceTags
	err := s.Store.View(ctx, func(tx Tx) error {
		w, err := tx.Accounts().Workspace(ctx, caller.WorkspaceID)
		if err != nil {
			return err
		}
		account, err := tx.Accounts().Account(ctx, w.AccountID)
		if err != nil {
			return err
		}
		now := s.Now()
		t.Currency = account.CurrencyAt(now)
		t.asked = Asked{Currency: t.Currency, At: now}
		t.book, err = s.bookOf(ctx, tx)
		return err
	})
	return &t, err
}
