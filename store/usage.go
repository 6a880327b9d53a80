package store

import (
	"context"
	"database/sql"
	"slices"
	"time"

	berth "github.com/berthhq/berth"
)

// usage writes a record as numbers and its two labels: what many records say alike is in
// the tables of usage_names.go. The sums of usage_sums.go are written with it.
type usage struct{ tx *tx }

// The numbers under which ends and sources are kept: only ever appended to.
var (
	ends = []berth.End{
		"", berth.EndStop, berth.EndLength, berth.EndToolCalls, berth.EndClientGone,
		berth.EndEngineFailed, berth.EndTimeout, berth.EndRefused, berth.EndBerthCrashed,
		berth.EndStopped,
	}
	sources = []berth.Source{"", berth.SourceEngine, berth.SourceCounted, berth.SourceUnknown}
)

const usageInsert = `INSERT INTO usage (seq, space, started_at, id, origin, call_id, first_token_at, ended_at,
	input_tokens, cached_tokens, output_tokens, thinking_tokens, billable, ended_by, http_status, source) VALUES `

const usageColumns = 16

// usageRow is a record as it is written.
type usageRow struct {
	record         *berth.UsageRecord
	origin         usageRef
	started, ended int64
	firstToken     int64
	end, source    int64
}

func (s usage) Insert(ctx context.Context, records []berth.UsageRecord) error {
	if len(records) == 0 {
		return nil
	}
	last, err := s.begin(ctx, int64(len(records)))
	if err != nil {
		return err
	}
	rows := make([]usageRow, len(records))
	for i := range records {
		if rows[i], err = s.row(ctx, &records[i]); err != nil {
			return err
		}
	}
	first := last - int64(len(records)) + 1
	n, err := s.tx.insertMany(ctx, usageInsert, " ON CONFLICT DO NOTHING", usageColumns, len(rows), func(args []any, i int) []any {
		r := &rows[i]
		u := r.record
		return append(args, first+int64(i), r.origin.space, r.started, u.ID, r.origin.id, u.CallID, r.firstToken, r.ended,
			u.InputTokens, u.CachedTokens, u.OutputTokens, u.ThinkingTokens, u.Billable, r.end, int64(u.HTTPStatus), r.source)
	})
	if err != nil {
		return s.tx.dialect.wrote("usage record", err)
	}
	if n < int64(len(rows)) {
		if rows, err = s.inserted(ctx, rows, first, last); err != nil {
			return err
		}
	}
	return s.sum(ctx, rows)
}

// begin takes numbers for n records and returns the last of them.
func (s usage) begin(ctx context.Context, n int64) (last int64, err error) {
	if s.tx.dialect.line != "" {
		if _, err := s.tx.exec(ctx, s.tx.dialect.line); err != nil {
			return 0, s.tx.dialect.wrote("usage record", err)
		}
	}
	var generation int64
	err = s.tx.queryRow(ctx, "UPDATE usage_state SET seq = seq + ? WHERE id = 1 RETURNING seq, generation", n).Scan(&last, &generation)
	if err != nil {
		return 0, s.tx.dialect.wrote("usage record", err)
	}
	s.tx.usage.begin(generation)
	return last, nil
}

func (s usage) row(ctx context.Context, u *berth.UsageRecord) (usageRow, error) {
	r := usageRow{record: u, end: int64(slices.Index(ends, u.End)), source: int64(slices.Index(sources, u.Source))}
	if r.end < 0 || r.source < 0 {
		return r, berth.Errorf(berth.CodeInvalid, "A usage record cannot end by %q with figures of %q.", u.End, u.Source)
	}
	var err error
	for t, n := range map[*time.Time]*int64{&u.StartedAt: &r.started, &u.FirstTokenAt: &r.firstToken, &u.EndedAt: &r.ended} {
		if *n, err = nanos(*t); err != nil {
			return r, err
		}
	}
	r.origin, err = s.origin(ctx, u, r.started)
	return r, err
}

// inserted returns the rows that were not there before.
func (s usage) inserted(ctx context.Context, rows []usageRow, first, last int64) ([]usageRow, error) {
	var list []usageRow
	err := s.tx.each(ctx, func(r *sql.Rows) error {
		var seq int64
		err := r.Scan(&seq)
		if err == nil {
			list = append(list, rows[seq-first])
		}
		return err
	}, "SELECT seq FROM usage WHERE seq >= ? AND seq <= ?", first, last)
	return list, read("usage record", err)
}

var foldTable = newTable("usage_folds", "fold of a journal", func(f *berth.Fold) []column {
	return []column{
		{"instance", &f.Instance},
		{"position", &f.Position},
		{"life", &f.Life},
	}
})

var putFoldSQL = foldTable.insertSQL + " ON CONFLICT (instance) DO UPDATE SET position = excluded.position, life = excluded.life"

func (s usage) Fold(ctx context.Context, instance string) (berth.Fold, error) {
	f, err := foldTable.one(ctx, s.tx, "WHERE instance = ?", instance)
	if berth.CodeOf(err) == berth.CodeNotFound {
		return berth.Fold{Instance: instance}, nil
	}
	return f, err
}

func (s usage) PutFold(ctx context.Context, f berth.Fold) error {
	_, err := s.tx.exec(ctx, putFoldSQL, foldTable.fields(&f)...)
	return s.tx.dialect.wrote(foldTable.noun, err)
}
