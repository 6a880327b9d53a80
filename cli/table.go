package cli

import (
	"io"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// table is what people read: columns two spaces apart, numbers to the right.
type table struct {
	columns []column // without titles there is no header
	rows    [][]string
	empty   string // said instead of a table without rows
}

type column struct {
	title string
	right bool
}

// columns makes a table's columns; a title that ends in ">" is aligned to the right.
func columns(titles ...string) []column {
	made := make([]column, len(titles))
	for i, title := range titles {
		made[i].title, made[i].right = strings.CutSuffix(title, ">")
	}
	return made
}

// facts makes a table of what is known about one thing: names and values in turn.
// Empty values are left out.
func facts(pairs ...string) table {
	t := table{columns: columns("", "")}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			t.add(pairs[i]+":", pairs[i+1])
		}
	}
	return t
}

func (t *table) add(cells ...string) {
	for i, cell := range cells {
		cells[i] = strings.ReplaceAll(printable(cell), "\n", " ")
	}
	t.rows = append(t.rows, cells)
}

func (t *table) write(out, aside io.Writer) error {
	if len(t.rows) == 0 {
		_, err := io.WriteString(aside, t.empty+"\n")
		return err
	}
	titles, titled := make([]string, len(t.columns)), false
	for i, c := range t.columns {
		titles[i] = c.title
		titled = titled || c.title != ""
	}
	rows := t.rows
	if titled {
		rows = append([][]string{titles}, rows...)
	}
	wide := widths(rows)
	var text strings.Builder
	for _, row := range rows {
		text.WriteString(t.line(row, wide))
	}
	_, err := io.WriteString(out, text.String())
	return err
}

func widths(rows [][]string) []int {
	wide := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			wide[i] = max(wide[i], utf8.RuneCountInString(cell))
		}
	}
	return wide
}

func (t *table) line(row []string, wide []int) string {
	var line strings.Builder
	for i, cell := range row {
		if i > 0 {
			line.WriteString("  ")
		}
		pad := strings.Repeat(" ", wide[i]-utf8.RuneCountInString(cell))
		if t.columns[i].right {
			cell = pad + cell
		} else {
			cell += pad
		}
		line.WriteString(cell)
	}
	return strings.TrimRight(line.String(), " ") + "\n"
}

var escapes = regexp.MustCompile(`\x1b\[[0-9;:?]*[\x20-\x2f]*[\x40-\x7e]`)

// printable takes out what would steer a terminal: a model's answer, a name or a log
// line is somebody else's text.
func printable(s string) string {
	s = escapes.ReplaceAllString(s, "")
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, s)
}
