package config

import (
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Print writes the effective configuration as YAML, the source of each value behind
// it; the wiring calls it for --print-config. Values that are neither given nor
// defaulted are left out, passwords are masked. It fails only when w does.
func (c *Config) Print(w io.Writer) error {
	p := printer{origins: c.origins}
	p.fields(reflect.ValueOf(c).Elem(), "", "")
	width := 0
	for _, l := range p.lines {
		width = max(width, min(utf8.RuneCountInString(l.text), widest))
	}
	for _, l := range p.lines {
		text := l.text
		if l.from != "" {
			text += strings.Repeat(" ", max(0, width-utf8.RuneCountInString(text))) + "  # " + l.from
		}
		if _, err := fmt.Fprintln(w, text); err != nil {
			return err
		}
	}
	return nil
}

// widest is the column up to which remarks are aligned.
const widest = 56

type line struct{ text, from string }

type printer struct {
	origins map[string]origin
	lines   []line
}

func (p *printer) fields(v reflect.Value, key, indent string) {
	for _, f := range fieldsOf(v.Type()) {
		p.value(v.Field(f.index), f, join(key, f.name), indent)
	}
}

func (p *printer) value(v reflect.Value, f field, key, indent string) {
	from := p.origins[key].where
	switch shape := shapeOf(v.Type()); {
	case shape == shapeStruct:
		p.section(f.name, indent, "", func() { p.fields(v, key, indent+"  ") })
	case shape == shapeEntries:
		p.section(f.name, indent, "", func() { p.entries(v, key, indent+"  ") })
	case from == "" && !f.hasDefault && v.IsZero(): // neither given nor defaulted
	case shape == shapeList:
		p.add(indent+f.name+": "+flow(v, f), from)
	default:
		p.add(indent+f.name+": "+quote(format(v, f)), from)
	}
}

func (p *printer) entries(v reflect.Value, key, indent string) {
	for i := range v.Len() {
		entry := v.Index(i)
		name := entryName(entry)
		from := p.origins[join(key, name)].where
		if from == "" {
			from = "default"
		}
		p.section(name, indent, from, func() { p.fields(entry, join(key, name), indent+"  ") })
	}
}

// section writes a heading and what body adds; without any, an entry is an empty
// mapping and a part of the schema nothing at all.
func (p *printer) section(name, indent, from string, body func()) {
	at := len(p.lines)
	p.lines = append(p.lines, line{indent + quote(name) + ":", from})
	body()
	switch {
	case len(p.lines) > at+1:
	case from != "":
		p.lines[at].text += " {}"
	default:
		p.lines = p.lines[:at]
	}
}

func (p *printer) add(text, from string) {
	if from == "" {
		from = "default"
	}
	p.lines = append(p.lines, line{text, from})
}

func flow(v reflect.Value, f field) string {
	items := make([]string, v.Len())
	for i := range items {
		items[i] = quote(format(v.Index(i), f))
	}
	return "[" + strings.Join(items, ", ") + "]"
}

// plain is text that YAML reads back as it stands, in flow style too.
var plain = regexp.MustCompile(`^[A-Za-z0-9./][A-Za-z0-9./_@:+-]*$`)

func quote(text string) string {
	if plain.MatchString(text) && !strings.HasSuffix(text, ":") && !strings.EqualFold(text, "null") && text != "..." {
		return text
	}
	return strconv.Quote(text)
}
