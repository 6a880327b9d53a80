package store

import (
	"context"
	"strings"

	berth "github.com/berthhq/berth"
)

type events struct{ tx *tx }

var eventTable = newTable("events", "event", func(e *berth.Event) []column {
	return []column{
		{"id", &e.ID},
		{"deployment_id", &e.DeploymentID},
		{"at", instant{&e.At}},
		{"status", &e.Status},
		{"capacity", &e.Capacity},
		{"ready_capacity", &e.ReadyCapacity},
		{"reason", &e.Reason},
	}
})

var auditTable = newTable("audits", "audit entry", func(a *berth.Audit) []column {
	return []column{
		{"id", &a.ID},
		{"at", instant{&a.At}},
		{"key_id", &a.KeyID},
		{"workspace_id", &a.WorkspaceID},
		{"action", &a.Action},
		{"target", &a.Target},
	}
})

func (s events) Append(ctx context.Context, e berth.Event) error {
	if err := eventTable.insert(ctx, s.tx, e); err != nil {
		return err
	}
	return s.tx.notice(ctx, e.ID, "", "", "")
}

// List relies on ids being in order of time.
func (s events) List(ctx context.Context, deploymentID, after string, limit int64) ([]berth.Event, error) {
	var f filter
	f.add("deployment_id = ?", deploymentID)
	f.add("id > ?", after)
	return eventTable.all(ctx, s.tx, f.where()+" ORDER BY id"+f.page(0, limit), f.args...)
}

func (s events) Count(ctx context.Context, deploymentID string) (int64, error) {
	return s.tx.number(ctx, "count events", "SELECT count(*) FROM events WHERE deployment_id = ?", deploymentID)
}

// After relies on ids being in order of time, as List does.
func (s events) After(ctx context.Context, deploymentID string, number, limit int64) ([]berth.Event, error) {
	var f filter
	f.add("deployment_id = ?", deploymentID)
	return eventTable.all(ctx, s.tx, f.where()+" ORDER BY id"+f.page(number, limit), f.args...)
}

func (s events) AppendAudit(ctx context.Context, a berth.Audit) error {
	return auditTable.insert(ctx, s.tx, a)
}

// Audits has an index of (at, id) behind each column that entries are chosen by.
func (s events) Audits(ctx context.Context, f berth.AuditFilter, after *berth.AuditPlace, limit int64) ([]berth.Audit, error) {
	var w filter
	w.equals("workspace_id", f.WorkspaceID)
	w.equals("key_id", f.KeyID)
	w.equals("target", f.Target)
	if f.Action == "" || strings.Contains(f.Action, ".") {
		w.equals("action", f.Action)
	} else {
		w.add("action > ?", f.Action+".")
		w.add("action < ?", f.Action+"/") // the sign after the dot
	}
	if !f.From.IsZero() {
		w.add("at >= ?", instant{&f.From})
	}
	if !f.To.IsZero() {
		w.add("at < ?", instant{&f.To})
	}
	if after != nil {
		w.add("(at, id) < (?, ?)", instant{&after.At})
		w.args = append(w.args, after.ID)
	}
	return auditTable.all(ctx, s.tx, w.where()+" ORDER BY at DESC, id DESC"+w.page(0, limit), w.args...)
}
