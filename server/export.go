package server

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	berth "github.com/berthhq/berth"
)

// The forms of an answer that is a list.
const (
	formJSON   = "json"
	formCSV    = "csv"
	formNDJSON = "ndjson"
)

var formTypes = map[string]string{"text/csv": formCSV, "application/x-ndjson": formNDJSON, "application/ndjson": formNDJSON}

// formOf returns the form that a request asks for: by the parameter format, else by the
// first of our types in Accept.
func formOf(r *http.Request) (string, error) {
	switch form := r.URL.Query().Get("format"); form {
	case formJSON, formCSV, formNDJSON:
		return form, nil
	case "":
	default:
		return "", berth.Errorf(berth.CodeInvalid, "The format %q is not known; use json, csv or ndjson.", form)
	}
	for accepted := range strings.SplitSeq(r.Header.Get("Accept"), ",") {
		kind, _, err := mime.ParseMediaType(accepted)
		if err != nil {
			continue
		}
		if kind == "application/json" || kind == "*/*" {
			break
		}
		if form, ok := formTypes[kind]; ok {
			return form, nil
		}
	}
	return formJSON, nil
}

// export is the value of an operation that is answered as a file, row by row, so that it
// takes no memory however long it is.
type export struct {
	form, name string // of the file, without what comes after the dot
	columns    []string
	// rows writes every row: as a value, or as its cells in the order of the columns.
	rows func(write func(value any, cells []any) error) error
}

// exact is a text of a cell that is Berth's own, such as an amount, which may begin with a
// minus.
type exact string

// paged is an export of a list that is read in pages: it begins with the one that was read,
// and more reads each further one, nil behind the last, when the one before has been sent.
// Without more there is one page.
func paged[T any](form, name string, columns []string, page []T, more func() ([]T, error), row func(*T) (value any, cells []any)) export {
	return export{form: form, name: name, columns: columns, rows: func(write func(any, []any) error) error {
		for {
			for i := range page {
				if err := write(row(&page[i])); err != nil {
					return err
				}
			}
			if more == nil {
				return nil
			}
			var err error
			if page, err = more(); err != nil || page == nil {
				return err
			}
		}
	}}
}

// exportBuffer is what is collected before it is sent.
const exportBuffer = 64 << 10

// write answers with the rows. An error after the first byte ends the connection: a client
// must not take the half for the whole.
func (e export) write(w http.ResponseWriter) error {
	kind := "application/x-ndjson"
	if e.form == formCSV {
		kind = "text/csv; charset=utf-8"
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": e.name + "." + e.form}))
	out := bufio.NewWriterSize(w, exportBuffer)
	rows := e.lines
	if e.form == formCSV {
		rows = e.cells
	}
	if err := rows(out); err != nil {
		return err
	}
	return out.Flush()
}

func (e export) lines(out io.Writer) error {
	encode := json.NewEncoder(out) // ends each value with a line break
	encode.SetEscapeHTML(false)
	return e.rows(func(value any, _ []any) error { return encode.Encode(value) })
}

func (e export) cells(out io.Writer) error {
	table := csv.NewWriter(out)
	table.UseCRLF = true // RFC 4180
	if err := table.Write(e.columns); err != nil {
		return err
	}
	texts := make([]string, len(e.columns))
	err := e.rows(func(_ any, cells []any) error {
		for i, c := range cells {
			texts[i] = cellText(c)
		}
		return table.Write(texts)
	})
	if err != nil {
		return err
	}
	table.Flush()
	return table.Error()
}

// cellText is a value as CSV has it; labels are chosen by callers.
func cellText(value any) string {
	switch v := value.(type) {
	case int64:
		return strconv.FormatInt(v, 10)
	case bool:
		return strconv.FormatBool(v)
	case time.Time:
		if v.IsZero() {
			return ""
		}
		return v.UTC().Format(time.RFC3339Nano)
	case exact:
		return string(v)
	case string:
		return cell(v)
	}
	return ""
}
