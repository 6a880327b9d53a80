package server_test

import (
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
)

// manyRecords is a page of n records; a cursor is how many came before.
func manyRecords(cursor string, n int) (o berth.Opened, err error) {
	from := 0
	if cursor != "" {
		if from, err = strconv.Atoi(cursor); err != nil {
			return o, err
		}
	}
	to := min(from+berth.OpenLimit, n)
	for i := from; i < to; i++ {
		at := time.Date(2026, 9, 2, 8, 0, 0, i, time.UTC)
		o.Records = append(o.Records, berth.OpenedRecord{Quantity: 1, UsageRecord: berth.UsageRecord{
			ID: fmt.Sprintf("use_%05d", i), CallID: "<b>", KeyID: "key_1", StartedAt: at, EndedAt: at.Add(1500 * time.Millisecond), End: berth.EndStop,
		}})
	}
	if to < n {
		o.Next = strconv.Itoa(to)
	}
	return o, nil
}

const (
	minutesLine = "2026-09-02.dep_1.unit_minute..0.price_1.CNY"
	outputLine  = "2026-09-02.dep_2.output.shared.0.price_2.CNY"
	openedPath  = "/berth/v1/statements/2026-09/records?line="
)

var hrefs = regexp.MustCompile(`href="([^"]+)"`)

func TestALineOpensAsAPageToPrint(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.lines()
	at := time.Date(2026, 9, 2, 8, 0, 0, 0, time.UTC)
	d.parts = map[berth.Dimension]berth.Opened{berth.DimensionUnitMinute: {Elsewhere: 10, KeptFrom: at, Spans: []berth.Span{
		{RunID: "svc_1", From: at, To: at.Add(90 * time.Minute), Minutes: 90, QuantityPerMinute: 8, Quantity: 720},
		{OrderID: "ord_1", From: at, Minutes: -5, QuantityPerMinute: 2, Quantity: -10},
	}}}
	header, text := d.fetch("admin", openedPath+minutesLine+"&format=html&links=files")
	if header.Get("Link") != "" || header.Get("Content-Type") != "text/html; charset=utf-8" || !strings.Contains(header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("header %v", header)
	}
	file := filepath.Join("testdata", "opened.html")
	if *update {
		must(t, os.WriteFile(file, []byte(text), 0o600))
	}
	if want, err := os.ReadFile(file); err != nil || text != string(want) {
		t.Errorf("%s (%v):\n%s", file, err, text)
	}
	d.mustRefuse("unknown links", request{key: "owner", call: "GET " + openedPath + minutesLine + "&format=html&links=x"}, 400, "InvalidParameter", "api, files or none")
	d.mustRefuse("an unknown form", request{key: "owner", call: "GET " + openedPath + minutesLine + "&format=pdf"}, 400, "InvalidParameter", "json, csv, ndjson or html")
	d.mustRefuse("a cursor of JSON", request{key: "owner", call: "GET " + openedPath + minutesLine + "&format=html&cursor=500"}, 400, "InvalidParameter", "link to the next")
	d.mustRefuse("another's line", request{key: "stranger", call: "GET " + openedPath + minutesLine + "&format=html"}, 404, "NotFound", "has no line")

	_, table := d.fetch("admin", openedPath+minutesLine+"&format=csv")
	if want := "line,run,order,from,to,minutes,quantity_per_minute,quantity,unit\r\n" + minutesLine + ",svc_1,,2026-09-02T08:00:00Z,2026-09-02T09:30:00Z,90,8,720,unit_minute\r\n" +
		minutesLine + ",,ord_1,2026-09-02T08:00:00Z,,-5,2,-10,unit_minute\r\n"; table != want {
		t.Errorf("CSV %q, want %q", table, want)
	}
}

// A line of many calls is pages, each of which says what is carried over, and a file of all.
func TestALineOfManyCallsIsPages(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.lines()
	d.many = 12_345
	query := openedPath + outputLine + "&format=html&account_id=" + payer
	for page, want := range []struct {
		rows int
		says []string
	}{
		{5000, []string{"Sum so far", "5,000 tokens"}},
		{5000, []string{"Sum so far", "10,000 tokens", "Page 2.", "Pages before", ">5,000<"}},
		{2345, []string{"Sum</td>", "12,345 tokens", "Page 3.", ">10,000<", "5.9259216 CNY"}},
	} {
		header, text := d.fetch("owner", query)
		if rows := strings.Count(text, "1.5 s"); rows != want.rows || strings.Contains(text, "<b>") {
			t.Errorf("page %d has %d rows", page+1, rows)
		}
		for _, s := range want.says {
			if !strings.Contains(text, s) {
				t.Errorf("page %d does not say %q", page+1, s)
			}
		}
		found := hrefs.FindAllStringSubmatch(text, -1)
		if len(found) == 0 || found[0][1] != "../2026-09?account_id="+payer+"&amp;format=html" {
			t.Fatalf("page %d leads to %v", page+1, found)
		}
		if page == 2 {
			if len(found) != 1 || header.Get("Link") != "" {
				t.Errorf("the last page leads to %v, %q", found, header.Get("Link"))
			}
			break
		}
		next := strings.ReplaceAll(found[1][1], "&amp;", "&")
		if header.Get("Link") != "<"+next+`>; rel="next"` {
			t.Errorf("page %d: Link %q, not %q", page+1, header.Get("Link"), next)
		}
		_, text = d.fetch("owner", query+"&links=files")
		if found := hrefs.FindAllStringSubmatch(text, -1); len(found) != 2 || found[0][1] != "../index.html" || found[1][1] != fmt.Sprintf("%s.%d.html", outputLine, page+2) {
			t.Errorf("page %d as a file leads to %v", page+1, found)
		}
		query = "/berth/v1/statements/2026-09/records" + next
	}
	_, table := d.fetch("owner", openedPath+outputLine+"&format=csv")
	rows, err := csv.NewReader(strings.NewReader(table)).ReadAll()
	if err != nil || len(rows) != 12_346 || strings.Join(rows[0][:4], " ") != "line quantity unit id" || rows[12_345][3] != "use_12344" || rows[1][1] != "1" {
		t.Errorf("%d rows of CSV, %v", len(rows), err)
	}
	_, each := d.fetch("owner", openedPath+outputLine+"&format=ndjson")
	if strings.Count(each, "\n") != 12_345 || !strings.Contains(each, `"quantity":1}`) {
		t.Errorf("%d lines of NDJSON", strings.Count(each, "\n"))
	}
}
