package cli

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/berthhq/berth/api"
)

// openLine shows what a line of a statement is made of, all pages together.
func (p *program) openLine(cmd *cobra.Command, client *api.Client, q api.StatementQuery, f *statementFlags) error {
	line := f.line
	if !strings.Contains(line, ".") { // a name, and no id
		st, err := client.Statement(cmd.Context(), q)
		if err != nil {
			return err
		}
		if line, err = lineNamed(&st, line); err != nil {
			return err
		}
		q.Month = st.Month
	}
	if f.csv || f.ndjson {
		format := map[bool]string{true: api.FormatCSV, false: api.FormatNDJSON}[f.csv]
		return p.toFile(f.file, func(to io.Writer) error {
			_, err := client.WriteLine(cmd.Context(), q, line, format, "", to)
			return err
		})
	}
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

// statementFolder writes a statement as pages that lead to each other: index.html, and what
// each line is made of in lines/.
func (p *program) statementFolder(cmd *cobra.Command, client *api.Client, q api.StatementQuery, folder string) error {
	st, err := client.Statement(cmd.Context(), q)
	if err != nil {
		return err
	}
	q.Month, q.Links = st.Month, api.LinksFiles // the present month may end meanwhile
	if err := os.MkdirAll(filepath.Join(folder, "lines"), 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(folder) // names of files are the server's
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }() // nothing is kept in it
	keep := func(name string, write func(io.Writer) error) error {
		file, err := root.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		return cmp.Or(write(file), file.Close())
	}
	if err := keep("index.html", func(to io.Writer) error { return client.WriteStatement(cmd.Context(), q, "html", to) }); err != nil {
		return err
	}
	if st, err = client.Statement(cmd.Context(), q); err != nil { // again: lines may have come before the index
		return err
	}
	pages := int64(0)
	for i := range st.Lines {
		id, cursor := st.Lines[i].ID, ""
		for page := 1; page == 1 || cursor != ""; page++ {
			name := "lines/" + id + ".html"
			if page > 1 {
				name = fmt.Sprintf("lines/%s.%d.html", id, page)
			}
			err := keep(name, func(to io.Writer) (err error) {
				cursor, err = client.WriteLine(cmd.Context(), q, id, "html", cursor, to)
				return err
			})
			if err != nil {
				return fmt.Errorf("line %s: %w", id, err)
			}
			pages++
		}
	}
	p.say("Wrote %s and %s of what its lines are made of.", filepath.Join(folder, "index.html"), amount(pages, "page"))
	return nil
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
