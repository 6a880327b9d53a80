package server

import (
	"context"
	"net/http"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/api"
)

// listPrices is GET /berth/v1/prices (design 10).
func (s *Server) listPrices(ctx context.Context, r *http.Request) (any, error) {
	query := r.URL.Query()
	f := berth.PriceFilter{
		Plan: berth.Plan(query.Get("plan")), Model: query.Get("model"), Spec: query.Get("spec"),
		Dimension: berth.Dimension(query.Get("dimension")), Currency: query.Get("currency"),
	}
	var err error
	if f.History, err = boolean(r, "history"); err != nil {
		return nil, err
	}
	if f.At, err = instant(r, "at"); err != nil {
		return nil, err
	}
	form, err := formOf(r)
	if err != nil {
		return nil, err
	}
	list, err := s.Prices.List(ctx, f)
	if err != nil || form == formJSON {
		return shown(priceList)(list, err)
	}
	return paged(form, "prices", priceColumns, priceList(list).Prices, nil, func(p *api.Price) (any, []any) {
		return p, []any{
			p.ID, p.Model, p.Plan, p.Spec, p.Dimension, p.FromTokens, exact(plainAmount(p.PriceNano, p.Currency)), p.Per, p.Currency, p.From, p.To,
			p.Withdrawn, p.CreatedAt, p.Creator,
		}
	}), nil
}

var priceColumns = []string{
	"id", "model", "plan", "spec", "dimension", "from_tokens", "price", "per", "currency", "from", "to", "withdrawn", "created_at", "creator",
}

// setPrices is POST /berth/v1/prices.
func (s *Server) setPrices(ctx context.Context, r *http.Request) (any, error) {
	list, err := newPrices(r)
	if err != nil {
		return nil, err
	}
	return shown(priceList)(s.Prices.Set(ctx, list))
}

func newPrices(r *http.Request) ([]berth.NewPrice, error) {
	body, err := decode[api.SetPrices](r)
	if err != nil {
		return nil, err
	}
	return pricesToBe(body.Prices)
}

// pricesToBe reads the prices of a request.
func pricesToBe(prices []api.SetPrice) ([]berth.NewPrice, error) {
	list := make([]berth.NewPrice, len(prices))
	for i, p := range prices {
		list[i] = berth.NewPrice{
			Plan: berth.Plan(p.Plan), Model: p.Model, Spec: p.Spec, Dimension: berth.Dimension(p.Dimension),
			FromTokens: p.FromTokens, Per: p.Per, Currency: p.Currency, Withdrawn: p.Withdrawn,
		}
		switch {
		case p.PriceNano != nil:
			list[i].Nano = berth.Nano(*p.PriceNano)
		case !p.Withdrawn:
			return nil, berth.Errorf(berth.CodeInvalid, "Field required: prices[%d].price_nano; 0 is a price, too, and withdrawn ends one.", i)
		}
		if p.From == "" || p.From == api.PriceNow {
			continue
		}
		at, err := time.Parse(time.RFC3339, p.From)
		if err != nil {
			return nil, berth.Errorf(berth.CodeInvalid, "The value of prices[%d].from must be now or an RFC 3339 time, such as 2026-10-02T00:00:00Z.", i)
		}
		list[i].From = at
	}
	return list, nil
}

func priceList(list []berth.PriceVersion) api.PriceList {
	out := api.PriceList{Prices: make([]api.Price, 0, len(list))}
	for _, v := range list {
		out.Prices = append(out.Prices, price(v))
	}
	return out
}

func price(v berth.PriceVersion) api.Price {
	return api.Price{
		ID: v.ID, Model: v.Model, Plan: string(v.Plan), Spec: v.Spec, Dimension: string(v.Dimension), FromTokens: v.FromTokens,
		PriceNano: int64(v.Nano), Per: v.Per, Currency: v.Currency, From: v.From, To: v.To, Withdrawn: v.Withdrawn,
		CreatedAt: v.CreatedAt, Creator: v.Creator,
	}
}

// period reads the query parameters from and to.
func period(r *http.Request) (from, to time.Time, err error) {
	if from, err = instant(r, "from"); err != nil {
		return from, to, err
	}
	if to, err = instant(r, "to"); err != nil {
		return from, to, err
	}
	return from, to, inOrder(!to.IsZero() && to.Before(from))
}

// inOrder refuses a period that ends before it begins.
func inOrder(wrong bool) error {
	if wrong {
		return berth.Errorf(berth.CodeInvalid, "The time of to is before that of from; give the earlier one as from.")
	}
	return nil
}

// instant reads a query parameter that is a time, the zero time when absent.
func instant(r *http.Request, name string) (time.Time, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, berth.Errorf(berth.CodeInvalid, "The value of %s must be an RFC 3339 time, such as 2026-10-02T00:00:00Z.", name)
	}
	return t, nil
}

// tryPrices is POST /berth/v1/prices/dry-run.
func (s *Server) tryPrices(ctx context.Context, r *http.Request) (any, error) {
	body, err := decode[api.TryPrices](r)
	if err != nil {
		return nil, err
	}
	if body.Month == "" {
		return nil, berth.Errorf(berth.CodeInvalid, "Field required: month, such as 2026-10, or current.")
	}
	of := berth.StatementOf{AccountID: body.AccountID, WorkspaceID: body.WorkspaceID, Month: body.Month}
	if of.Month == api.CurrentMonth {
		of.Month = ""
	}
	list, err := pricesToBe(body.Prices)
	if err != nil {
		return nil, err
	}
	return shown(priceTrial)(s.Statements.Compare(ctx, of, list, body.Only))
}

func priceTrial(c berth.Comparison) api.PriceTrial {
	out := api.PriceTrial{
		Month: c.Month, AccountID: c.AccountID, WorkspaceID: c.WorkspaceID, Provisional: c.ClosedAt.IsZero(), Currency: c.Currency,
		Totals: make([]api.TrialTotal, len(c.Totals)), Lines: make([]api.TrialLine, len(c.Compared)),
	}
	for i, t := range c.Totals {
		out.Totals[i] = api.TrialTotal{Currency: t.Currency, CostNano: int64(t.Cost), TrialNano: int64(t.Trial)}
		if t.Currency == c.Currency {
			out.CostNano, out.TrialNano = int64(t.Cost), int64(t.Trial)
		}
	}
	for i := range c.Compared {
		l := &c.Compared[i]
		shown := statementLine(&l.Line)
		out.Lines[i] = api.TrialLine{
			Day: shown.Day, WorkspaceID: shown.WorkspaceID, DeploymentID: shown.DeploymentID, DeployedModel: shown.DeployedModel, ModelName: shown.ModelName,
			Plan: shown.Plan, Class: shown.Class, Spec: shown.Spec, Dimension: shown.Dimension, Quantity: shown.Quantity, Unit: shown.Unit,
			CostNano: int64(l.Cost), TrialNano: int64(l.Trial), Currency: shown.Currency,
		}
	}
	return out
}
