package billing

import (
	"context"

	berth "github.com/berthhq/berth"
)

// order charges throughput that was paid in advance, or takes back what was given back of
// it: lines of the same dimensions and prices as by the minute, on the day of the order.
func (s *sheet) order(o *berth.Order) {
	l := berth.Line{
		AccountID: o.AccountID, WorkspaceID: o.WorkspaceID, DeploymentID: o.DeploymentID, DeployedModel: o.DeployedModel,
		ModelName: o.ModelName, Plan: berth.PlanPTU, Class: berth.ClassPrepaid,
	}
	minutes := o.Minutes
	if minutes < 0 {
		l.Class, minutes = berth.ClassRefund, -minutes
	}
	s.span = berth.Span{OrderID: o.ID, From: o.At}
	asked := berth.Asked{Plan: berth.PlanPTU, Model: o.ModelName, Base: o.BaseModel, At: o.PriceAt}
	for _, of := range []struct {
		berth.Dimension
		tpm int64
	}{
		{berth.DimensionInputTPMMinute, o.PTU.InputTPM},
		{berth.DimensionOutputTPMMinute, o.PTU.OutputTPM},
		{berth.DimensionThinkingTPMMinute, o.PTU.ThinkingTPM},
	} {
		l.Dimension, asked.Dimension = of.Dimension, of.Dimension
		s.add(l, asked, of.tpm, minutes)
	}
}

// rateOrders makes lines of the orders of which there are none yet.
func (d *Desk) rateOrders(ctx context.Context) error {
	for more := true; more; {
		err := d.opt.Store.Tx(ctx, func(tx berth.Tx) error {
			list, err := tx.Orders().Unrated(ctx, daysAtOnce)
			if err != nil {
				return err
			}
			more = len(list) == daysAtOnce
			for i := range list {
				o := &list[i]
				a, err := tx.Accounts().Account(ctx, o.AccountID)
				if err != nil {
					return err
				}
				day := berth.DayOf(o.At, a.Zone()).Name
				if err := d.rateDays(ctx, tx, o.AccountID, o.DeploymentID, []string{day}); err != nil {
					return err
				}
				if err := tx.Orders().Rated(ctx, o.ID); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
