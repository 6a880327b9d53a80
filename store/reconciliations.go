package store

import (
	"context"
	"time"

	berth "github.com/berthhq/berth"
)

type reconciliations struct{ tx *tx }

var engineAccountTable = newTable("engine_accounts", "account of an engine", func(a *berth.EngineAccount) []column {
	return []column{
		{"nonce", &a.Nonce},
		{"replica_id", &a.ReplicaID},
		{"model_name", &a.ModelName},
		{"lags", &a.Lags},
		{"began_at", instant{&a.BeganAt}},
		{"read_at", instant{&a.ReadAt}},
		{"read_input", &a.Read.Input},
		{"read_output", &a.Read.Output},
		{"balance_input", &a.Balance.Input},
		{"balance_output", &a.Balance.Output},
		{"since_input", &a.Since.Input},
		{"since_output", &a.Since.Output},
		{"slack", document{&a.Slack}},
		{"old_slack", document{&a.OldSlack}},
		{"turned_at", instant{&a.TurnedAt}},
	}
})

var putEngineAccountSQL = engineAccountTable.insertSQL + ` ON CONFLICT (replica_id, nonce) DO UPDATE SET
	model_name = excluded.model_name, lags = excluded.lags, began_at = excluded.began_at, read_at = excluded.read_at,
	read_input = excluded.read_input, read_output = excluded.read_output,
	balance_input = excluded.balance_input, balance_output = excluded.balance_output,
	since_input = excluded.since_input, since_output = excluded.since_output,
	slack = excluded.slack, old_slack = excluded.old_slack, turned_at = excluded.turned_at`

func (s reconciliations) Accounts(ctx context.Context) ([]berth.EngineAccount, error) {
	return engineAccountTable.all(ctx, s.tx, "ORDER BY began_at, replica_id, nonce")
}

func (s reconciliations) PutAccount(ctx context.Context, a berth.EngineAccount) error {
	_, err := s.tx.exec(ctx, putEngineAccountSQL, engineAccountTable.fields(&a)...)
	return s.tx.dialect.wrote(engineAccountTable.noun, err)
}

func (s reconciliations) CloseAccount(ctx context.Context, replicaID, nonce string) error {
	_, err := s.tx.exec(ctx, "DELETE FROM engine_accounts WHERE replica_id = ? AND nonce = ?", replicaID, nonce)
	return s.tx.dialect.wrote(engineAccountTable.noun, err)
}

var reconciliationTable = newTable("reconciliations", "reconciliation", func(r *berth.Reconciliation) []column {
	return []column{
		{"hour", instant{&r.Hour}},
		{"replica_id", &r.ReplicaID},
		{"nonce", &r.Nonce},
		{"model_name", &r.ModelName},
		{"deployed_models", document{&r.DeployedModels}},
		{"engine_input", &r.Engine.Input},
		{"engine_output", &r.Engine.Output},
		{"recorded_input", &r.Recorded.Input},
		{"recorded_output", &r.Recorded.Output},
		{"probe_input", &r.Probes.Input},
		{"probe_output", &r.Probes.Output},
		{"unbilled_input", &r.Unbilled.Input},
		{"unbilled_output", &r.Unbilled.Output},
		{"explained_input", &r.Explained.Input},
		{"explained_output", &r.Explained.Output},
		{"inexact", &r.Inexact},
		{"unread_input", &r.Unread.Input},
		{"unread_output", &r.Unread.Output},
		{"unexplained_input", &r.Unexplained.Input},
		{"unexplained_output", &r.Unexplained.Output},
	}
})

var putReconciliationSQL = reconciliationTable.insertSQL + ` ON CONFLICT (hour, replica_id, nonce) DO UPDATE SET
	model_name = excluded.model_name, deployed_models = excluded.deployed_models,
	engine_input = excluded.engine_input, engine_output = excluded.engine_output,
	recorded_input = excluded.recorded_input, recorded_output = excluded.recorded_output,
	probe_input = excluded.probe_input, probe_output = excluded.probe_output,
	unbilled_input = excluded.unbilled_input, unbilled_output = excluded.unbilled_output,
	explained_input = excluded.explained_input, explained_output = excluded.explained_output, inexact = excluded.inexact,
	unread_input = excluded.unread_input, unread_output = excluded.unread_output,
	unexplained_input = excluded.unexplained_input, unexplained_output = excluded.unexplained_output`

func (s reconciliations) Row(ctx context.Context, replicaID, nonce string, hour time.Time) (berth.Reconciliation, error) {
	r, err := reconciliationTable.one(ctx, s.tx, "WHERE hour = ? AND replica_id = ? AND nonce = ?", instant{&hour}, replicaID, nonce)
	if berth.CodeOf(err) == berth.CodeNotFound {
		return berth.Reconciliation{ReplicaID: replicaID, Nonce: nonce, Hour: hour}, nil
	}
	return r, err
}

func (s reconciliations) PutRow(ctx context.Context, r berth.Reconciliation) error {
	_, err := s.tx.exec(ctx, putReconciliationSQL, reconciliationTable.fields(&r)...)
	return s.tx.dialect.wrote(reconciliationTable.noun, err)
}

func (s reconciliations) Rows(ctx context.Context, f berth.ReconciliationFilter, after *berth.ReconciliationPlace, limit int64) ([]berth.Reconciliation, error) {
	var w filter
	w.equals("replica_id", f.ReplicaID)
	if !f.From.IsZero() {
		w.add("hour >= ?", instant{&f.From})
	}
	if !f.To.IsZero() {
		w.add("hour < ?", instant{&f.To})
	}
	if f.Unexplained {
		w.conditions = append(w.conditions, "(unexplained_input <> 0 OR unexplained_output <> 0)")
	}
	if after != nil {
		w.add("(hour < ? OR hour = ? AND (replica_id, nonce) > (?, ?))", instant{&after.Hour})
		w.args = append(w.args, instant{&after.Hour}, after.ReplicaID, after.Nonce)
	}
	return reconciliationTable.all(ctx, s.tx, w.where()+" ORDER BY hour DESC, replica_id, nonce"+w.page(0, limit), w.args...)
}
