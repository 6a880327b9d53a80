package store

import (
	"context"
	"database/sql"
	"errors"

	berth "github.com/berthhq/berth"
)

type pushes struct{ tx *tx }

// notice writes down what the push URL is to be told, if there is one. The row of pushes
// stays locked until the commit, so numbers are in order of commits.
func (t *tx) notice(ctx context.Context, eventID, accountID, month, budgetID string) error {
	var number int64
	err := t.queryRow(ctx, "UPDATE pushes SET noticed = noticed + 1 WHERE id = 1 AND active RETURNING noticed").Scan(&number)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err == nil {
		_, err = t.exec(ctx, "INSERT INTO notices (number, event_id, account_id, month, budget_id) VALUES (?, ?, ?, ?, ?)", number, eventID, accountID, month, budgetID)
	}
	return t.dialect.wrote("notice", err)
}

func (s pushes) Begin(ctx context.Context, records bool) error {
	_, err := s.tx.exec(ctx, `UPDATE pushes SET active = TRUE, records = ?,
		delivered = CASE WHEN delivered < 0 THEN (SELECT seq FROM usage_state WHERE id = 1) ELSE delivered END WHERE id = 1`, records)
	return s.tx.dialect.wrote("push", err)
}

func (s pushes) End(ctx context.Context) error {
	_, err := s.tx.exec(ctx, "UPDATE pushes SET active = FALSE WHERE id = 1 AND active")
	return s.tx.dialect.wrote("push", err)
}

func (s pushes) Records(ctx context.Context, limit int64) (list []berth.UsageRecord, last int64, err error) {
	err = s.tx.each(ctx, func(rows *sql.Rows) error {
		var r berth.UsageRecord
		var end, source int64
		err := rows.Scan(&last, &r.WorkspaceID, &r.ID, &r.CallID, &r.KeyID, &r.DeploymentID, &r.DeployedModel, &r.ModelName, &r.Plan, &r.Class, &r.ReplicaID, &r.Nonce,
			instant{&r.StartedAt}, instant{&r.FirstTokenAt}, instant{&r.EndedAt},
			&r.InputTokens, &r.CachedTokens, &r.OutputTokens, &r.ThinkingTokens, &r.Billable, &end, &r.HTTPStatus, &source)
		if err == nil {
			r.End, r.Source, err = ending(end, source)
		}
		list = append(list, r)
		return err
	}, "SELECT u.seq, p.workspace_id, "+recordColumns+` FROM usage u JOIN usage_spaces p ON p.id = u.space
		JOIN usage_origins o ON o.id = u.origin JOIN usage_subjects s ON s.id = o.subject
		WHERE u.seq > (SELECT delivered FROM pushes WHERE id = 1) AND (SELECT delivered FROM pushes WHERE id = 1) >= 0
		ORDER BY u.seq LIMIT ?`, limit)
	return list, last, read("usage record", err)
}

func (s pushes) Delivered(ctx context.Context, last int64) error {
	_, err := s.tx.exec(ctx, "UPDATE pushes SET delivered = ? WHERE id = 1 AND delivered < ?", last, last)
	return s.tx.dialect.wrote("push", err)
}

func (s pushes) Notices(ctx context.Context, limit int64) ([]berth.Notice, error) {
	var list []berth.Notice
	var events, budgets []string
	err := s.tx.each(ctx, func(rows *sql.Rows) error {
		var n berth.Notice
		var event, budget string
		err := rows.Scan(&n.Number, &event, &n.Month.AccountID, &n.Month.Month, &budget)
		list, events, budgets = append(list, n), append(events, event), append(budgets, budget)
		return err
	}, "SELECT number, event_id, account_id, month, budget_id FROM notices ORDER BY number LIMIT ?", limit)
	if err != nil {
		return nil, read("notice", err)
	}
	for i := range list {
		if err := s.complete(ctx, &list[i], events[i], budgets[i]); err != nil && berth.CodeOf(err) != berth.CodeNotFound {
			return nil, err
		}
	}
	return list, nil
}

// complete reads what a notice is about.
func (s pushes) complete(ctx context.Context, n *berth.Notice, eventID, budgetID string) (err error) {
	switch {
	case budgetID != "":
		n.Budget, err = budgetTable.one(ctx, s.tx, "WHERE id = ?", budgetID)
		return err
	case eventID == "":
		err := s.tx.queryRow(ctx, "SELECT closed_at FROM months WHERE account_id = ? AND month = ?", n.Month.AccountID, n.Month.Month).Scan(instant{&n.Month.ClosedAt})
		return read("closed month", err)
	}
	if n.Event, err = eventTable.one(ctx, s.tx, "WHERE id = ?", eventID); err != nil {
		n.Event = berth.Event{}
		return err
	}
	n.Deployment, err = deployments(s).Get(ctx, n.Event.DeploymentID)
	return err
}

func (s pushes) Forget(ctx context.Context, numbers []int64) error {
	if len(numbers) == 0 {
		return nil
	}
	err := s.tx.execEach(ctx, "DELETE FROM notices WHERE number = ?", len(numbers), func(i int) []any { return []any{numbers[i]} })
	return s.tx.dialect.wrote("notice", err)
}

func (s pushes) Waiting(ctx context.Context) (w berth.PushWaiting, err error) {
	var delivered int64
	err = s.tx.queryRow(ctx, `SELECT p.delivered, p.lost, CASE WHEN p.delivered < 0 OR p.active AND NOT p.records THEN 0 ELSE u.seq - p.delivered END
		FROM pushes p, usage_state u WHERE p.id = 1 AND u.id = 1`).Scan(&delivered, &w.Lost, &w.Records)
	if err != nil {
		return w, read("push", err)
	}
	if w.Notices, err = s.tx.number(ctx, "count notices", "SELECT COUNT(*) FROM notices"); err != nil {
		return w, err
	}
	if w.Records > 0 {
		err := s.tx.queryRow(ctx, "SELECT ended_at FROM usage WHERE seq > ? ORDER BY seq LIMIT 1", delivered).Scan(instant{&w.Oldest})
		if errors.Is(err, sql.ErrNoRows) { // those are gone
			w.Records = 0
		} else if err != nil {
			return w, read("usage record", err)
		}
	}
	if w.Notices == 0 {
		return w, nil
	}
	first, err := s.Notices(ctx, 1)
	if err != nil {
		return w, err
	}
	for _, n := range first {
		at := n.Event.At
		if at.IsZero() {
			at = n.Month.ClosedAt
		}
		if at.IsZero() {
			at = n.Budget.At
		}
		if !at.IsZero() && (w.Oldest.IsZero() || at.Before(w.Oldest)) {
			w.Oldest = at
		}
	}
	return w, nil
}

// lose notes that so much that an active push was not told of is deleted.
func (s pushes) lose(ctx context.Context, n int64) error {
	if n == 0 {
		return nil
	}
	_, err := s.tx.exec(ctx, "UPDATE pushes SET lost = lost + ? WHERE id = 1 AND active", n)
	return s.tx.dialect.wrote("push", err)
}
