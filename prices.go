package berth

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Prices keeps the book: what everything costs, and from when on. Nothing in it is ever
// changed; a new version ends the one before.
type Prices struct {
	Writer
}

// NewPrice is one version of a price to be.
type NewPrice struct {
	Plan       Plan   // "": all that sell the dimension, which is one for what is sold by time
	Model      string // "": [AnyModel]
	Spec       string // of unit minutes; "": any
	Dimension  Dimension
	FromTokens int64
	Nano       Nano
	Per        int64
	Currency   string // "": that of the caller's account
	// From is when it begins; zero: with the next full minute.
	From time.Time
	// Withdrawn ends the version before instead; Nano and Per are 0.
	Withdrawn bool
}

// PriceVersion is a price of the book with its end.
type PriceVersion struct {
	Price
	To time.Time // when the next version begins; zero: there is none
}

// PriceFilter selects prices. Empty fields select everything.
type PriceFilter struct {
	Plan        Plan
	Model, Spec string
	Dimension   Dimension
	Currency    string
	At          time.Time // those that hold then; zero: now
	History     bool      // every version, past and to come, withdrawals too
}

// Bounds of the book.
const (
	MaxPricesAtOnce = 1000
	MaxPrices       = 50_000 // versions, ever
	// maxPricedName bounds the names of models and specs in it, in bytes.
	maxPricedName = 128
	// maxPer bounds what a price is for.
	maxPer = 1_000_000_000_000
	// The most that one of a dimension may cost: 5,000 of the currency for a minute of one
	// unit, 1 for a token. A day of the largest deployment is then still an amount.
	maxPerMinute = 5_000_000_000_000
	maxPerToken  = 1_000_000_000
	// noticeOfPrices is how long before its beginning a price must be in the book, so that
	// no call after it is counted before it is.
	noticeOfPrices = 10 * time.Second
)

// List returns prices by model, plan, spec, dimension, tier and time. Needs [RoleAdmin].
func (s *Prices) List(ctx context.Context, f PriceFilter) ([]PriceVersion, error) {
	if !CallerFrom(ctx).May(RoleAdmin) {
		return nil, accessDenied()
	}
	if f.Dimension != "" && !slices.Contains(Dimensions(), f.Dimension) {
		return nil, errDimension(f.Dimension)
	}
	var all []Price
	err := s.Store.View(ctx, func(tx Tx) (err error) {
		all, err = tx.Prices().List(ctx)
		return err
	})
	if f.At.IsZero() {
		f.At = s.Now()
	}
	return slices.DeleteFunc(versions(all), func(v PriceVersion) bool { return !f.selects(&v) }), err
}

func (f *PriceFilter) selects(v *PriceVersion) bool {
	same := func(want, have string) bool { return want == "" || want == have }
	if !same(f.Model, v.Model) || !same(string(f.Plan), string(v.Plan)) || !same(f.Spec, v.Spec) ||
		!same(string(f.Dimension), string(v.Dimension)) || !same(f.Currency, v.Currency) {
		return false
	}
	return f.History || !v.Withdrawn && !v.From.After(f.At) && (v.To.IsZero() || v.To.After(f.At))
}

// versions puts the prices in the order of lists and says when each ends. One that was
// replaced before it began ends when it would have begun.
func versions(all []Price) []PriceVersion {
	slices.SortFunc(all, func(p, q Price) int {
		return cmp.Or(compareKeys(&p, &q), p.From.Compare(q.From), strings.Compare(p.ID, q.ID))
	})
	out := make([]PriceVersion, len(all))
	for i, p := range all {
		out[i].Price = p
		if i+1 < len(all) && compareKeys(&p, &all[i+1]) == 0 {
			out[i].To = all[i+1].From
		}
	}
	return out
}

// compareKeys is 0 for versions of the same price.
func compareKeys(p, q *Price) int {
	order := Dimensions()
	return cmp.Or(
		strings.Compare(p.Model, q.Model), strings.Compare(string(p.Plan), string(q.Plan)), strings.Compare(p.Spec, q.Spec),
		cmp.Compare(slices.Index(order, p.Dimension), slices.Index(order, q.Dimension)),
		strings.Compare(p.Currency, q.Currency), cmp.Compare(p.FromTokens, q.FromTokens),
	)
}

// Set adds versions to the book, all of them or none, and returns them in their order. Needs [RoleOwner]. A version
// begins in the future, 10 seconds from now at the earliest: what is used already is never
// charged at another price than was in the book. [CodeInvalid] says which price is wrong,
// and how.
func (s *Prices) Set(ctx context.Context, list []NewPrice) ([]PriceVersion, error) {
	if err := ownerOnly(ctx); err != nil {
		return nil, err
	}
	var set []Price
	var all []Price
	err := s.write(ctx, "price.set", func(tx Tx) (_ string, err error) {
		if all, err = tx.Prices().List(ctx); err != nil {
			return "", err
		}
		if set, err = s.made(ctx, tx, list); err != nil {
			return "", err
		}
		if len(all)+len(set) > MaxPrices {
			return "", Errorf(CodeInvalid, "The book would have %d versions of prices; %d is the most, ever.", len(all)+len(set), MaxPrices)
		}
		for _, p := range set {
			if err := putPrice(ctx, tx, p); err != nil {
				return "", err
			}
			all = append(all, p)
		}
		return set[0].ID, nil
	})
	if err != nil {
		return nil, err
	}
	known := map[string]PriceVersion{}
	for _, v := range versions(all) {
		known[v.ID] = v
	}
	added := make([]PriceVersion, len(set))
	for i, p := range set {
		added[i] = known[p.ID]
	}
	return added, nil
}

// made makes the prices of a request, or says which of them cannot be.
func (s *Prices) made(ctx context.Context, tx Tx, list []NewPrice) ([]Price, error) {
	account, err := tx.Accounts().Account(ctx, CallerFrom(ctx).AccountID)
	if err != nil && CodeOf(err) != CodeNotFound {
		return nil, err
	}
	now := s.Now()
	made, err := NewPrices(list, account.CurrencyAt(now), now)
	for i := range made {
		made[i].ID, made[i].CreatedAt, made[i].Creator = s.NewID("price_"), now, CallerFrom(ctx).KeyID
	}
	return made, err
}

// NewPrices checks prices that somebody would put into the book at now, and completes
// them but for id, time and creator.
func NewPrices(list []NewPrice, currency string, now time.Time) ([]Price, error) {
	if len(list) == 0 || len(list) > MaxPricesAtOnce {
		return nil, Errorf(CodeInvalid, "Field required: prices; from 1 to %d at once, and there are %d.", MaxPricesAtOnce, len(list))
	}
	made := make([]Price, len(list))
	for i, n := range list {
		p, err := n.price(currency, now)
		if err == nil && slices.ContainsFunc(made[:i], func(q Price) bool { return compareKeys(&p, &q) == 0 && p.From.Equal(q.From) }) {
			err = Errorf(CodeInvalid, "it stands there twice")
		}
		if err != nil {
			return nil, Errorf(CodeInvalid, "prices[%d] of %s for %s: %s.", i, cmp.Or(n.Dimension, "nothing"), cmp.Or(n.Model, AnyModel), strings.TrimSuffix(err.Error(), "."))
		}
		made[i] = p
	}
	return made, nil
}

func (n *NewPrice) price(currency string, now time.Time) (Price, error) {
	p := Price{
		Plan: n.Plan, Model: cmp.Or(n.Model, AnyModel), Spec: n.Spec, Dimension: n.Dimension, FromTokens: n.FromTokens,
		Nano: n.Nano, Per: n.Per, Currency: cmp.Or(n.Currency, currency), From: n.From, Withdrawn: n.Withdrawn,
	}
	if p.Plan == "" && p.Dimension.ByTime() { // only one sells it
		p.Plan = PlanPTU
		if p.Dimension == DimensionUnitMinute {
			p.Plan = PlanMU
		}
	}
	soonest := now.Add(noticeOfPrices)
	if p.From.IsZero() {
		p.From = soonest.Truncate(time.Minute).Add(time.Minute)
	}
	p.From = p.From.UTC()
	switch {
	case !slices.Contains(Dimensions(), p.Dimension):
		return p, errDimension(p.Dimension)
	case !KnownCurrency(p.Currency):
		return p, errCurrency(p.Currency)
	case p.From.Before(soonest):
		return p, Errorf(CodeInvalid, "from is %s, but prices hold from the future on; use %s or later, or now for the next full minute", p.From.Format(time.RFC3339), soonest.UTC().Format(time.RFC3339))
	case !p.From.Equal(p.From.Truncate(time.Second)):
		return p, Errorf(CodeInvalid, "from must be a whole second")
	}
	if err := checkPriced("model", p.Model); err != nil {
		return p, err
	}
	if err := checkPriced("spec", p.Spec); err != nil {
		return p, err
	}
	if err := p.checkSold(); err != nil {
		return p, err
	}
	if p.Withdrawn {
		p.Per = 1
	}
	err := p.checkNano(n)
	return p, err
}

func errDimension(d Dimension) error {
	var names []string
	for _, known := range Dimensions() {
		names = append(names, string(known))
	}
	return Errorf(CodeInvalid, "The dimension %q is not known; use one of %s.", d, strings.Join(names, ", "))
}

func checkPriced(field, name string) error {
	if len(name) > maxPricedName || strings.ContainsFunc(name, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }) {
		return Errorf(CodeInvalid, "%s has spaces or is longer than %d bytes", field, maxPricedName)
	}
	return nil
}

// checkSold refuses what nobody could buy at the price.
func (p *Price) checkSold() error {
	var sold []Plan
	switch p.Dimension {
	case DimensionUnitMinute:
		sold = []Plan{"", PlanMU}
	case DimensionInputTPMMinute, DimensionOutputTPMMinute, DimensionThinkingTPMMinute:
		sold = []Plan{"", PlanPTU}
	default:
		sold = []Plan{"", PlanPTU, PlanLoRA}
	}
	switch {
	case !slices.Contains(sold, p.Plan):
		return Errorf(CodeInvalid, "the plan %q does not sell it; use %s, or leave the plan out", p.Plan, sold[len(sold)-1])
	case p.Spec != "" && p.Dimension != DimensionUnitMinute:
		return Errorf(CodeInvalid, "spec is for %s only; leave it out", DimensionUnitMinute)
	case p.FromTokens != 0 && p.Dimension.ByTime():
		return Errorf(CodeInvalid, "from_tokens is for tokens only; leave it out")
	case p.FromTokens < 0 || p.FromTokens > maxPer:
		return Errorf(CodeInvalid, "Range of from_tokens should be [0, %d]", int64(maxPer))
	}
	return nil
}

func (p *Price) checkNano(asked *NewPrice) error {
	most := Nano(maxPerToken)
	if p.Dimension.ByTime() {
		most = maxPerMinute
	}
	switch {
	case p.Withdrawn && (asked.Nano != 0 || asked.Per != 0):
		return Errorf(CodeInvalid, "a withdrawal has no price; leave price_nano and per out")
	case p.Per < 1 || p.Per > maxPer:
		return Errorf(CodeInvalid, "Range of per should be [1, %d]: for how many of the dimension the price is, such as 60 or 1000000", int64(maxPer))
	case p.Nano < 0:
		return Errorf(CodeInvalid, "price_nano is below 0")
	case p.Nano/Nano(p.Per) >= most && p.Nano != most*Nano(p.Per):
		return Errorf(CodeInvalid, "price_nano is too large: %d billionths of the currency for one of the dimension is the most", most)
	}
	return nil
}

// putPrice puts a price into the book. Sums of usage are kept apart from then on where it
// needs that.
func putPrice(ctx context.Context, tx Tx, p Price) error {
	if err := tx.Prices().Insert(ctx, p); err != nil || p.ByTime() {
		return err
	}
	return tx.Usage().Split(ctx, p.From, p.FromTokens)
}
