package server

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/api"
)

// reconciliationPage is the number of rows of one page.
const reconciliationPage = 500

// reconciliation is GET /berth/v1/reconciliation (design 10).
func (s *Server) reconciliation(ctx context.Context, r *http.Request) (any, error) {
	query := r.URL.Query()
	f := berth.ReconciliationFilter{ReplicaID: query.Get("replica")}
	var err error
	if f.From, f.To, err = period(r); err != nil {
		return nil, err
	}
	if text := query.Get("unexplained"); text != "" {
		if f.Unexplained, err = strconv.ParseBool(text); err != nil {
			return nil, berth.Errorf(berth.CodeInvalid, "The value of unexplained must be true or false.")
		}
	}
	after, err := readPlace(query.Get("cursor"))
	if err != nil {
		return nil, err
	}
	rows, err := s.Reconciliations.Rows(ctx, f, after, reconciliationPage)
	if err != nil {
		return nil, err
	}
	out := api.ReconciliationRows{Rows: make([]api.ReconciliationRow, len(rows))}
	for i := range rows {
		out.Rows[i] = reconciliationRow(&rows[i])
	}
	if len(rows) == reconciliationPage {
		out.Next = writePlace(&rows[reconciliationPage-1])
	}
	return out, nil
}

func reconciliationRow(r *berth.Reconciliation) api.ReconciliationRow {
	way := r.UnderWay()
	return api.ReconciliationRow{
		Replica: r.ReplicaID, Run: r.Nonce, ModelName: r.ModelName, DeployedModels: append([]string{}, r.DeployedModels...), Hour: r.Hour,
		EngineInputTokens: r.Engine.Input, EngineOutputTokens: r.Engine.Output,
		RecordedInputTokens: r.Recorded.Input, RecordedOutputTokens: r.Recorded.Output,
		ProbeInputTokens: r.Probes.Input, ProbeOutputTokens: r.Probes.Output,
		UnbilledInputTokens: r.Unbilled.Input, UnbilledOutputTokens: r.Unbilled.Output,
		ExplainedInputTokens: r.Explained.Input, ExplainedOutputTokens: r.Explained.Output, InexactCalls: r.Inexact,
		UnderWayInputTokens: way.Input, UnderWayOutputTokens: way.Output,
		UnreadInputTokens: r.Unread.Input, UnreadOutputTokens: r.Unread.Output,
		UnexplainedInputTokens: r.Unexplained.Input, UnexplainedOutputTokens: r.Unexplained.Output, Unexplained: r.Differs(),
	}
}

// A cursor is the hour, replica and run of the row that came last.
func writePlace(r *berth.Reconciliation) string {
	return strings.Join([]string{r.Hour.UTC().Format(time.RFC3339), r.ReplicaID, r.Nonce}, " ")
}

func readPlace(cursor string) (*berth.ReconciliationPlace, error) {
	if cursor == "" {
		return nil, nil
	}
	parts := strings.Split(cursor, " ")
	if len(parts) == 3 {
		if hour, err := time.Parse(time.RFC3339, parts[0]); err == nil {
			return &berth.ReconciliationPlace{Hour: hour, ReplicaID: parts[1], Nonce: parts[2]}, nil
		}
	}
	return nil, berth.Errorf(berth.CodeInvalid, "The cursor is not one of this list; use the next of its last page.")
}
