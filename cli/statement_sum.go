package cli

import (
	"cmp"
	"slices"
	"strings"

	"github.com/berthhq/berth/api"
)

// sumColumns are the values of --by.
var sumColumns = []string{"workspace", "deployment", "model", "plan", "dimension", "day"}

// lineSum is what lines that are alike come to in one currency.
type lineSum struct {
	Group      string `json:"group"`
	Lines      int64  `json:"lines"`
	AmountNano int64  `json:"amount_nano"`
	Currency   string `json:"currency"`
}

// sumLines adds the lines of a statement up by a column and currency, in order of both.
func sumLines(st *api.Statement, by string) []lineSum {
	sums := []lineSum{}
	for i := range st.Lines {
		l := &st.Lines[i]
		group := map[string]string{
			"workspace": l.WorkspaceID, "deployment": l.DeployedModel, "model": l.ModelName, "plan": l.Plan, "dimension": l.Dimension, "day": l.Day,
		}[by]
		at := slices.IndexFunc(sums, func(s lineSum) bool { return s.Group == group && s.Currency == l.Currency })
		if at < 0 {
			at = len(sums)
			sums = append(sums, lineSum{Group: group, Currency: l.Currency})
		}
		sums[at].Lines++
		sums[at].AmountNano += l.AmountNano
	}
	slices.SortFunc(sums, func(a, b lineSum) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Currency, b.Currency))
	})
	return sums
}

func sumTable(st *api.Statement, by string, sums []lineSum) table {
	t := table{columns: columns(strings.ToUpper(by), "LINES>", "AMOUNT>", "CURRENCY"), empty: "Nothing was used in " + st.Month + "."}
	for _, s := range sums {
		t.add(s.Group, count(s.Lines), api.FormatAmount(s.AmountNano, s.Currency), s.Currency)
	}
	for _, total := range st.Totals {
		if len(sums) > 0 {
			t.add("total", "", api.FormatAmount(total.TotalNano, total.Currency), total.Currency)
		}
	}
	return t
}
