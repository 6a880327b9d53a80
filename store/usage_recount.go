package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"

	berth "github.com/berthhq/berth"
)

// reached returns a CASE that names the last of the ascending values which a column has
// reached, 0 when it has reached none, and its arguments.
func reached(column string, values []int64) (text string, args []any) {
	if len(values) == 0 {
		return "0", nil
	}
	var b strings.Builder
	b.WriteString("CASE")
	for _, v := range slices.Backward(values) {
		fmt.Fprintf(&b, " WHEN %s >= CAST(? AS BIGINT) THEN CAST(? AS BIGINT)", column)
		args = append(args, v, v)
	}
	b.WriteString(" ELSE 0 END")
	return b.String(), args
}

func (s usage) Recount(ctx context.Context, workspaceID string, from, to time.Time, lengths []int64, instants []time.Time) ([]berth.UsageDay, error) {
	at := make([]int64, len(instants))
	for i := range instants {
		at[i] = instants[i].UnixNano()
	}
	slices.Sort(at)
	lengths = slices.Sorted(slices.Values(lengths))
	length, args := reached("u.input_tokens", lengths)
	epoch, more := reached("u.started_at", at)
	args = append(args, more...)
	args = append(args, int64(slices.Index(sources, berth.SourceUnknown)), int64(slices.Index(sources, berth.SourceCounted)), workspaceID, instant{&from}, instant{&to})
	var list []berth.UsageDay
	err := s.tx.each(ctx, func(rows *sql.Rows) error {
		d := berth.UsageDay{WorkspaceID: workspaceID}
		err := rows.Scan(append([]any{
			&d.KeyID, &d.DeploymentID, &d.DeployedModel, &d.ModelName, &d.Plan, &d.Class, &d.FromTokens, instant{&d.Epoch},
		}, sumFields(&d.UsageSum)...)...)
		list = append(list, d)
		return err
	}, "WITH x (origin, tier, mark, "+strings.Join(sumColumns, ", ")+") AS (SELECT u.origin, "+length+" AS tier, "+epoch+" AS mark, "+sumsOfRecords+`
		FROM usage_spaces w JOIN usage u ON u.space = w.id WHERE w.workspace_id = ? AND u.started_at >= ? AND u.started_at < ? GROUP BY u.origin, tier, mark)
		SELECT s.key_id, s.deployment_id, s.deployed_model, s.model_name, s.plan, s.class, x.tier, x.mark, x.`+strings.Join(sumColumns, ", x.")+`
		FROM x JOIN usage_origins o ON o.id = x.origin JOIN usage_subjects s ON s.id = o.subject`, args...)
	return list, read("usage record", err)
}
