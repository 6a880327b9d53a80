package server

import (
	"bytes"
	_ "embed"
	"encoding/csv"
	html "html/template"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/berthhq/berth/api"
)

// document is the value of an operation whose answer is no JSON.
type document struct {
	kind string // content type
	name string // of the file that it is kept in; "": it is shown
	next string // where its next page is, relative to it; "": on the last
	text []byte
}

func (d document) write(w http.ResponseWriter) error {
	h := w.Header()
	h.Set("Content-Type", d.kind)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	if d.name != "" {
		h.Set("Content-Disposition", `attachment; filename="`+d.name+`"`)
	}
	if d.next != "" {
		h.Set("Link", "<"+d.next+`>; rel="next"`)
	}
	w.WriteHeader(http.StatusOK)
	_, err := w.Write(d.text)
	return err
}

// plainAmount is an amount for spreadsheets and programs: exact, without grouping.
func plainAmount(nano int64, currency string) string {
	return strings.ReplaceAll(api.FormatAmount(nano, currency), ",", "")
}

// cell keeps a text from being taken for a formula by whatever opens the file.
func cell(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r", rune(text[0])) {
		return "'" + text
	}
	return text
}

// statementColumns are the head of a statement as CSV.
var statementColumns = []string{
	"month", "account_id", "day", "workspace_id", "deployed_model", "deployment_id", "model_name", "plan", "class", "spec", "dimension",
	"from_tokens", "quantity", "unit", "price", "per", "amount", "currency", "price_id", "late", "provisional", "line",
}

// statementCSV writes a statement as RFC 4180 has it, a line each, without sums.
func statementCSV(st api.Statement) (any, error) {
	var text bytes.Buffer
	w := csv.NewWriter(&text)
	w.UseCRLF = true
	rows := [][]string{statementColumns}
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	for i := range st.Lines {
		l := &st.Lines[i]
		rows = append(rows, []string{
			st.Month, st.AccountID, l.Day, cell(l.WorkspaceID), cell(l.DeployedModel), l.DeploymentID, cell(l.ModelName), l.Plan, l.Class, cell(l.Spec), l.Dimension,
			number(l.FromTokens), number(l.Quantity), l.Unit, plainAmount(l.PriceNano, l.Currency), number(l.Per), plainAmount(l.AmountNano, l.Currency), l.Currency, l.PriceID,
			strconv.FormatBool(l.Late), strconv.FormatBool(st.Provisional), l.ID,
		})
	}
	err := w.WriteAll(rows)
	return document{kind: "text/csv; charset=utf-8", name: "statement-" + st.Month + ".csv", text: text.Bytes()}, err
}

//go:embed statement.html
var statementHTML string

var statementTemplate = html.Must(html.New("statement").Parse(statementHTML))

// sheetPage is a statement as its HTML shows it: everything is a text.
type sheetPage struct {
	Month, AccountName, AccountID, WorkspaceID, From, To, TimeZone, ClosedAt, AsOf string

	Provisional bool
	Totals      []string
	Workspaces  []pageSum // when there are several
	Groups      []*pageGroup
}

// pageSum is what one workspace used.
type pageSum struct {
	ID     string
	Totals []string
}

// pageGroup is what one deployment used.
type pageGroup struct {
	WorkspaceID, DeployedModel, DeploymentID, ModelName, Plan string

	Totals []string
	Lines  []pageLine
	sums   []api.Total
}

type pageLine struct {
	Day, For, Quantity, Price, Amount string

	Opens string // where the line opens to, relative to the page; "": nowhere
	Late  bool
}

// zoneOf is the time zone of a statement.
func zoneOf(st *api.Statement) *time.Location {
	zone, err := time.LoadLocation(st.TimeZone)
	if err != nil {
		zone = time.UTC
	}
	return zone
}

// statementPage writes a statement as a page that needs nothing else, to look at and print.
// Its lines lead to where links says that they open.
func statementPage(st api.Statement, links pageLinks, asOf time.Time) (any, error) {
	zone := zoneOf(&st)
	moment := func(t time.Time) string { return t.In(zone).Format(time.DateTime) }
	p := sheetPage{
		Month: st.Month, AccountName: st.AccountName, AccountID: st.AccountID, WorkspaceID: st.WorkspaceID, TimeZone: st.TimeZone,
		From: moment(st.From), To: moment(st.To), AsOf: moment(asOf), ClosedAt: moment(st.ClosedAt),
		Provisional: st.Provisional, Totals: pageTotals(st.Totals),
	}
	groups, spaces := map[string]*pageGroup{}, map[string][]api.Total{}
	for i := range st.Lines {
		l := &st.Lines[i]
		g := groups[l.DeploymentID]
		if g == nil {
			g = &pageGroup{WorkspaceID: l.WorkspaceID, DeployedModel: l.DeployedModel, DeploymentID: l.DeploymentID, ModelName: l.ModelName, Plan: l.Plan}
			groups[l.DeploymentID] = g
			p.Groups = append(p.Groups, g)
		}
		g.add(l, links.line(l.ID))
		spaces[l.WorkspaceID] = plusLine(spaces[l.WorkspaceID], l)
	}
	for _, g := range p.Groups {
		g.Totals = pageTotals(g.sums)
	}
	for _, id := range slices.Sorted(maps.Keys(spaces)) {
		if len(spaces) > 1 {
			p.Workspaces = append(p.Workspaces, pageSum{ID: id, Totals: pageTotals(spaces[id])})
		}
	}
	var text bytes.Buffer
	err := statementTemplate.Execute(&text, p)
	return document{kind: "text/html; charset=utf-8", text: text.Bytes()}, err
}

// dimensionWords and unitWords are what people are told.
var (
	dimensionWords = map[string]string{
		api.DimensionUnitMinute: "units", api.DimensionInputTPMMinute: "reserved input", api.DimensionOutputTPMMinute: "reserved output",
		api.DimensionThinkingTPMMinute: "reserved thinking", api.DimensionInput: "input", api.DimensionCached: "cached input",
		api.DimensionOutput: "output", api.DimensionThinking: "thinking",
	}
	unitWords = map[string]string{
		"unit_minute": "unit minutes", "input_tpm_minute": "TPM minutes", "output_tpm_minute": "TPM minutes", "thinking_tpm_minute": "TPM minutes",
		"token": "tokens",
	}
)

func pageTotals(totals []api.Total) (texts []string) {
	for _, t := range totals {
		texts = append(texts, api.FormatAmount(t.TotalNano, t.Currency)+" "+t.Currency)
	}
	return texts
}

func (g *pageGroup) add(l *api.StatementLine, opens string) {
	g.Lines = append(g.Lines, shownLine(l, opens))
	g.sums = plusLine(g.sums, l)
}

func shownLine(l *api.StatementLine, opens string) pageLine {
	line := pageLine{
		Day: l.Day, For: dimensionWords[l.Dimension], Quantity: api.FormatCount(l.Quantity) + " " + unitWords[l.Unit],
		Price: "no price", Amount: api.FormatAmount(l.AmountNano, l.Currency) + " " + l.Currency, Opens: opens, Late: l.Late,
	}
	if l.PriceID != "" {
		line.Price = api.FormatAmount(l.PriceNano, l.Currency) + " " + l.Currency + " for " + api.FormatCount(l.Per) + " " + unitWords[l.Unit]
	}
	for _, more := range []string{l.Spec, l.Class} {
		if more != "" {
			line.For += ", " + more
		}
	}
	if l.FromTokens > 0 {
		line.For += ", prompts from " + api.FormatCount(l.FromTokens) + " tokens"
	}
	return line
}

// plusLine adds a line to sums by currency.
func plusLine(sums []api.Total, l *api.StatementLine) []api.Total {
	for i := range sums {
		if sums[i].Currency == l.Currency {
			sums[i].TotalNano += l.AmountNano
			return sums
		}
	}
	return append(sums, api.Total{Currency: l.Currency, TotalNano: l.AmountNano})
}
