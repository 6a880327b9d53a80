package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/berthhq/berth/api"
)

// openLine shows what a line of a statement is made of, all pages together.
func (p *program) openLine(cmd *cobra.Command, client *api.Client, q api.StatementQuery, line string) error {
	var all api.OpenedLine
	for cursor := ""; ; {
		page, err := client.StatementRecords(cmd.Context(), q, line, cursor)
		if err != nil {
			return err
		}
		cursor, page.Next = page.Next, ""
		page.Records, page.Spans = append(all.Records, page.Records...), append(all.Spans, page.Spans...)
		if all = page; cursor == "" {
			break
		}
	}
	if p.output == formatTable && !all.KeptFrom.IsZero() {
		p.say("Records of calls before %s are deleted.", all.KeptFrom.UTC().Format(time.RFC3339))
	}
	if p.output == formatTable && all.Elsewhere != 0 {
		p.say("%s of it are on the statements of other months.", count(all.Elsewhere))
	}
	return p.show(all, p.openedTable(all))
}

// openedTable ends with the sum.
func (p *program) openedTable(all api.OpenedLine) table {
	unit := all.Line.Unit
	if all.Records != nil {
		t := table{columns: columns("STARTED", "TOOK>", "KEY", "END", "QUANTITY>", "UNIT", "CALL"), empty: "No calls."}
		var sum int64
		for i := range all.Records {
			r := &all.Records[i]
			sum += r.Quantity
			t.add(p.moment(r.StartedAt), fmt.Sprintf("%.1fs", r.EndedAt.Sub(r.StartedAt).Seconds()), r.KeyID, r.End, count(r.Quantity), unit, r.CallID)
		}
		if len(all.Records) > 0 {
			t.add("total", "", "", "", count(sum), unit, "")
		}
		return t
	}
	t := table{columns: columns("FROM", "TO", "MINUTES>", "EACH>", "QUANTITY>", "UNIT", "OF"), empty: "No minutes."}
	var minutes, sum int64
	for _, s := range all.Spans {
		minutes, sum = minutes+s.Minutes, sum+s.Quantity
		to := ""
		if !s.To.IsZero() {
			to = p.moment(s.To)
		}
		t.add(p.moment(s.From), to, count(s.Minutes), count(s.QuantityPerMinute), count(s.Quantity), unit, s.Run+s.Order)
	}
	if len(all.Spans) > 0 {
		t.add("total", "", count(minutes), "", count(sum), unit, "")
	}
	return t
}
