package store

import (
	"context"
	"database/sql"
	"time"

	berth "github.com/berthhq/berth"
)

// texts runs a query of one text per row.
func (t *tx) texts(ctx context.Context, query string, args ...any) ([]string, error) {
	var list []string
	err := t.each(ctx, func(rows *sql.Rows) error {
		var text string
		err := rows.Scan(&text)
		list = append(list, text)
		return err
	}, query, args...)
	return list, err
}

func (s usage) Expired(ctx context.Context, before time.Time) ([]string, error) {
	spaces, err := s.spaces(ctx, berth.UsageFilter{}, 0)
	if err != nil {
		return nil, err
	}
	var list []string
	for _, p := range spaces {
		cut, err := s.cut(ctx, p, before)
		if err != nil {
			return nil, read("usage record", err)
		}
		n, err := s.tx.number(ctx, "look for old usage records", "SELECT COUNT(*) FROM (SELECT 1 FROM usage WHERE space = ? AND started_at < ? LIMIT 1) u", p.id, cut)
		if err != nil {
			return nil, err
		}
		if n > 0 || cut > p.keptFrom {
			list = append(list, p.workspaceID)
		}
	}
	return list, nil
}

// cut is before which records of a workspace may go: the beginning of the day of an
// instant, or of the first day that is not rated.
func (s usage) cut(ctx context.Context, p usageSpace, before time.Time) (int64, error) {
	day := berth.DayOf(before, p.zone)
	var first sql.NullString
	err := s.tx.queryRow(ctx, `SELECT MIN(c.day) FROM usage_changes c JOIN usage_subjects s ON s.deployment_id = c.deployment_id
		WHERE c.version <> c.rated AND s.space = ?`, p.id).Scan(&first)
	if err != nil {
		return 0, err
	}
	if first.Valid && first.String < day.Name {
		if day, err = berth.DayNamed(first.String, p.zone); err != nil {
			return 0, err
		}
	}
	return nanos(day.Start)
}

func (s usage) Expire(ctx context.Context, workspaceID string, before time.Time, limit int64) (int64, error) {
	spaces, err := s.spaces(ctx, berth.UsageFilter{WorkspaceID: workspaceID}, 0)
	if err != nil || len(spaces) == 0 {
		return 0, err
	}
	p := spaces[0]
	cut, err := s.cut(ctx, p, before)
	if err != nil {
		return 0, read("usage record", err)
	}
	if cut > p.keptFrom {
		if _, err := s.tx.exec(ctx, "UPDATE usage_spaces SET kept_from = ? WHERE id = ?", cut, p.id); err != nil {
			return 0, s.tx.dialect.wrote("workspace with usage", err)
		}
	}
	const oldest = "SELECT seq FROM usage WHERE space = ? AND started_at < ? ORDER BY started_at, id LIMIT ?"
	lost, err := s.tx.number(ctx, "count what was not pushed", `SELECT COUNT(*) FROM pushes p JOIN (`+oldest+`) u ON u.seq > p.delivered
		WHERE p.id = 1 AND p.active AND p.records AND p.delivered >= 0`, p.id, cut, limit)
	if err != nil {
		return 0, err
	}
	if err := pushes(s).lose(ctx, lost); err != nil {
		return 0, err
	}
	for _, statement := range []string{
		"DELETE FROM usage WHERE seq IN (" + oldest + ")",
		`DELETE FROM usage_hours WHERE (subject, hour) IN (
			SELECT h.subject, h.hour FROM usage_subjects s JOIN usage_hours h ON h.subject = s.id WHERE s.space = ? AND h.hour < ? LIMIT ?)`,
	} {
		n, err := s.tx.exec(ctx, statement, p.id, cut, limit)
		if err != nil || n > 0 {
			return n, s.tx.dialect.wrote("usage record", err)
		}
	}
	// Nothing before the cut is left, so origins without later calls have no records.
	n, err := s.tx.exec(ctx, `DELETE FROM usage_origins WHERE seen < ? AND subject IN (SELECT id FROM usage_subjects WHERE space = ?)`, cut/nanosPerDay, p.id)
	if err == nil && n > 0 {
		err = s.newGeneration(ctx)
	}
	return 0, s.tx.dialect.wrote("origin of usage", err)
}

func (s events) ExpireAudits(ctx context.Context, before time.Time, limit int64) (int64, error) {
	n, err := s.tx.exec(ctx, "DELETE FROM audits WHERE at < ? AND id IN (SELECT id FROM audits ORDER BY id LIMIT ?)", instant{&before}, limit)
	return n, s.tx.dialect.wrote(auditTable.noun, err)
}

// Expired passes over those of which something is left to be done or charged.
func (s deployments) Expired(ctx context.Context, before time.Time, after string, limit int64) ([]string, error) {
	list, err := s.tx.texts(ctx, `SELECT id FROM deployments d WHERE deleted_at <> 0 AND deleted_at < ? AND id > ?
		AND NOT EXISTS (SELECT 1 FROM replicas r WHERE r.deployment_id = d.id)
		AND NOT EXISTS (SELECT 1 FROM holds h WHERE h.deployment_id = d.id)
		AND NOT EXISTS (SELECT 1 FROM members m WHERE m.deployment_id = d.id)
		AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.deployment_id = d.id AND NOT r.rated)
		AND NOT EXISTS (SELECT 1 FROM usage_changes c WHERE c.deployment_id = d.id AND c.version <> c.rated)
		ORDER BY id LIMIT ?`, instant{&before}, after, limit)
	return list, read("deployment", err)
}

// ofDeployments are the tables whose rows go with a deployment, those first that refer to
// others.
var ofDeployments = []string{"events", "capacity_operations", "capacity_instances"}

func (s deployments) Forget(ctx context.Context, id string, limit int64) (int64, error) {
	dead, err := s.tx.number(ctx, "look for a deleted deployment", "SELECT COUNT(*) FROM deployments WHERE id = ? AND deleted_at <> 0", id)
	if err != nil || dead == 0 {
		return 0, err
	}
	lost, err := s.tx.exec(ctx, "DELETE FROM notices WHERE event_id IN (SELECT id FROM events WHERE deployment_id = ?)", id)
	if err != nil {
		return 0, s.tx.dialect.wrote("notice", err)
	}
	if err := pushes(s).lose(ctx, lost); err != nil {
		return 0, err
	}
	for _, table := range ofDeployments {
		n, err := s.tx.exec(ctx, "DELETE FROM "+table+" WHERE id IN (SELECT id FROM "+table+" WHERE deployment_id = ? LIMIT ?)", id, limit)
		if err != nil || n > 0 {
			return n, s.tx.dialect.wrote("deployment", err)
		}
	}
	if _, err := s.tx.exec(ctx, "DELETE FROM receipts WHERE deployment_id = ?", id); err != nil {
		return 0, s.tx.dialect.wrote("receipt", err)
	}
	n, err := s.tx.exec(ctx, "DELETE FROM deployments WHERE id = ?", id)
	return n, s.tx.dialect.wrote("deployment", err)
}
