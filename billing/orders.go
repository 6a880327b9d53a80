package billing

import (
	"context"
	"fmt"

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
func (d *Desk) rateOrders(ctx context.Context, t *trouble) error {
	for after, more := "", true; more; {
		var list []berth.Order
		err := d.opt.Store.View(ctx, func(tx berth.Tx) (err error) {
			list, err = tx.Orders().Unrated(ctx, after, daysAtOnce)
			return err
		})
		if err != nil {
			return err
		}
		if more = len(list) == daysAtOnce; more {
			after = list[len(list)-1].ID
		}
		for i := range list {
			o := &list[i]
			err := d.opt.Store.Tx(ctx, func(tx berth.Tx) error { return d.rateOrder(ctx, tx, o) })
			if err != nil && !general(ctx, err) {
				err = t.add(o.AccountID, fmt.Errorf("the order %s: %w", o.ID, err))
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *Desk) rateOrder(ctx context.Context, tx berth.Tx, o *berth.Order) error {
	s, err := d.shelf(ctx, tx)
	if err != nil {
		return err
	}
	p, err := s.payer(ctx, o.AccountID)
	if err != nil {
		return err
	}
	day := berth.DayOf(o.At, p.zone)
	if err := d.chargeDays(ctx, s, []charged{{dayOf{o.DeploymentID, day.Name}, p, day}}); err != nil {
		return err
	}
	return tx.Orders().Rated(ctx, o.ID)
}
