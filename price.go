package berth

import (
	"slices"
	"strings"
	"time"
)

// Dimension is what a price is for (design 9).
type Dimension string

// The dimensions. Those of ptu are sold in tens of thousands and thousands of tokens per
// minute, for each minute that they are reserved.
const (
	DimensionUnitMinute        Dimension = "unit_minute" // one unit of a spec for one minute (mu)
	DimensionInputTPMMinute    Dimension = "10k_input_tpm_minute"
	DimensionOutputTPMMinute   Dimension = "1k_output_tpm_minute"
	DimensionThinkingTPMMinute Dimension = "1k_thinking_tpm_minute"
	DimensionInput             Dimension = "input" // tokens, from here on
	DimensionCached            Dimension = "cached"
	DimensionOutput            Dimension = "output"
	DimensionThinking          Dimension = "thinking"
)

// Dimensions are all there are, in the order in which statements show them.
func Dimensions() []Dimension {
	return []Dimension{
		DimensionUnitMinute, DimensionInputTPMMinute, DimensionOutputTPMMinute, DimensionThinkingTPMMinute,
		DimensionInput, DimensionCached, DimensionOutput, DimensionThinking,
	}
}

// Unit returns what quantities of the dimension on a statement are counted in, and how many
// of these one of the dimension is.
func (d Dimension) Unit() (unit string, each int64) {
	switch d {
	case DimensionInputTPMMinute:
		return "input_tpm_minute", 10_000
	case DimensionOutputTPMMinute:
		return "output_tpm_minute", 1_000
	case DimensionThinkingTPMMinute:
		return "thinking_tpm_minute", 1_000
	case DimensionUnitMinute:
		return "unit_minute", 1
	}
	return "token", 1
}

// ByTime reports whether the dimension is charged by the minute, else by the token.
func (d Dimension) ByTime() bool { return strings.HasSuffix(string(d), "_minute") }

// AnyModel is the selector of prices that are for every model.
const AnyModel = "*"

// Price is one version of a price: so much for each Per of a dimension, from a moment on
// until another version of the same selector, dimension and tier begins. Prices are
// appended to the book and never changed.
type Price struct {
	ID    string // price_ + UUIDv7
	Plan  Plan   // "": all that sell the dimension
	Model string // a model, the base of one, or [AnyModel]
	Spec  string // of unit minutes; "": any
	Dimension
	// FromTokens is the shortest prompt, in tokens, that the price is for: the tier with
	// the largest one that a prompt reaches is its price. 0 for dimensions by time.
	FromTokens int64
	Nano       Nano  // for each Per
	Per        int64 // of the dimension, such as 60 unit minutes or 1,000,000 tokens
	Currency   string
	From       time.Time
	// Withdrawn ends the version before it: from then on there is no such price.
	Withdrawn bool
	CreatedAt time.Time
	Creator   string // key id; "" of the book that Berth comes with
}

// Asked says what a price is looked for. Model, Base and Spec are those of the deployment.
type Asked struct {
	Currency    string
	Plan        Plan
	Model, Base string
	Spec        string
	Dimension   Dimension
	Tokens      int64 // of the prompt
	At          time.Time
}

// Book is a set of prices, ready to be asked. It is not changed after [NewBook], so many
// may ask at a time.
type Book struct {
	versions map[selector][]Price // of each tier the latest From first
	instants []time.Time
}

type selector struct {
	currency, model, spec string
	plan                  Plan
	dimension             Dimension
}

// NewBook makes a book of prices in any order.
func NewBook(prices []Price) *Book {
	b := &Book{versions: map[selector][]Price{}}
	for _, p := range prices {
		s := selector{p.Currency, p.Model, p.Spec, p.Plan, p.Dimension}
		b.versions[s] = append(b.versions[s], p)
		if !p.From.IsZero() {
			b.instants = append(b.instants, p.From)
		}
	}
	for _, list := range b.versions {
		// The version of one moment that was set last holds.
		slices.SortFunc(list, func(p, q Price) int {
			if c := q.From.Compare(p.From); c != 0 {
				return c
			}
			return strings.Compare(q.ID, p.ID)
		})
	}
	slices.SortFunc(b.instants, time.Time.Compare)
	b.instants = slices.CompactFunc(b.instants, time.Time.Equal)
	return b
}

// Find returns the price that holds: of the narrowest selector that has one for the
// prompt's tier. From narrow to wide these are the model, its base and any; of each on the
// spec before on any, and of the plan before of any.
func (b *Book) Find(a Asked) (Price, bool) {
	for _, model := range []string{a.Model, a.Base, AnyModel} {
		for _, spec := range []string{a.Spec, ""} {
			for _, plan := range []Plan{a.Plan, ""} {
				if p, ok := tierOf(b.versions[selector{a.Currency, model, spec, plan, a.Dimension}], a); ok {
					return p, true
				}
			}
		}
	}
	return Price{}, false
}

// ByID returns a version of a price.
func (b *Book) ByID(id string) (Price, bool) {
	for _, list := range b.versions {
		for i := range list {
			if list[i].ID == id {
				return list[i], true
			}
		}
	}
	return Price{}, false
}

// tierOf picks the tier of a prompt among the versions that hold.
func tierOf(versions []Price, a Asked) (found Price, ok bool) {
	var seen []int64
	for _, p := range versions {
		if p.From.After(a.At) || slices.Contains(seen, p.FromTokens) {
			continue
		}
		seen = append(seen, p.FromTokens)
		if p.Withdrawn || p.FromTokens > a.Tokens || ok && p.FromTokens < found.FromTokens {
			continue
		}
		found, ok = p, true
	}
	return found, ok
}

// Instants returns the moments at which some price changes, in order.
func (b *Book) Instants() []time.Time { return b.instants }
