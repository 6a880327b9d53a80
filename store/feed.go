package store

import (
	"context"
	"database/sql"
	"fmt"

	berth "github.com/berthhq/berth"
)

const (
	// kept is how many routing versions the changes reach back; who is further behind
	// reads everything.
	kept = 1024
	// forgetEvery is how many versions are forgotten at once.
	forgetEvery = 64
)

// changed notes what the transaction wrote; a replica is its owner's.
func (t *tx) changed(noun berth.Noun, id string) {
	if id == "" {
		return
	}
	if t.changes == nil {
		t.changes = map[berth.Ref]bool{}
	}
	t.changes[berth.Ref{Noun: noun, ID: id}] = true
}

// tell writes the changes of the transaction under its routing version, right before the
// commit: the routing row is locked for as short as can be.
func (t *tx) tell(ctx context.Context) error {
	if len(t.changes) == 0 {
		return nil
	}
	version, err := t.Route(ctx)
	if err != nil {
		return err
	}
	list := make([]berth.Ref, 0, len(t.changes))
	for c := range t.changes {
		list = append(list, c)
	}
	err = t.execEach(ctx, "INSERT INTO changes (version, noun, id) VALUES (?, ?, ?)", len(list), func(i int) []any {
		return []any{version, list[i].Noun, list[i].ID}
	})
	if err != nil {
		return fmt.Errorf("tell changes: %w", err)
	}
	if version%forgetEvery == 0 {
		return t.forget(ctx, version-kept)
	}
	return nil
}

// forget removes the changes up to a version.
func (t *tx) forget(ctx context.Context, version int64) error {
	if _, err := t.exec(ctx, "DELETE FROM changes WHERE version <= ?", version); err != nil {
		return fmt.Errorf("forget changes: %w", err)
	}
	if _, err := t.exec(ctx, "UPDATE routing SET forgotten = ? WHERE forgotten < ?", version, version); err != nil {
		return fmt.Errorf("forget changes: %w", err)
	}
	return nil
}

func (t *tx) Changes(ctx context.Context, after int64) (list []berth.Ref, known bool, err error) {
	forgotten, err := t.number(ctx, "read what is forgotten", "SELECT forgotten FROM routing")
	if err != nil || after < forgotten {
		return nil, false, err
	}
	err = t.each(ctx, func(rows *sql.Rows) error {
		var c berth.Ref
		err := rows.Scan(&c.Noun, &c.ID)
		list = append(list, c)
		return err
	}, "SELECT DISTINCT noun, id FROM changes WHERE version > ? ORDER BY noun, id", after)
	return list, err == nil, read("change", err)
}
