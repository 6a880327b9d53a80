package config

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// origin is where a value came from; the zero origin means: from its default.
type origin struct {
	where string // "berth.yaml:3", "env BERTH_LISTEN", "flag --listen"
	dir   string // folder that names of files are relative to; "" for the working directory
}

// source makes origins: a file has lines, a variable or flag is one place.
type source struct {
	fixed     string
	file, dir string
}

func (s source) at(n ast.Node) origin {
	if s.fixed != "" {
		return origin{where: s.fixed}
	}
	return s.line(n.GetToken().Position.Line)
}

func (s source) line(line int) origin {
	return origin{where: fmt.Sprintf("%s:%d", s.file, line), dir: s.dir}
}

// binder writes values into a Config and collects what is wrong with them.
type binder struct {
	origins  map[string]origin
	problems []error
}

func (b *binder) problem(from origin, format string, args ...any) {
	sentence := fmt.Sprintf(format, args...)
	if from.where != "" {
		sentence = from.where + ": " + sentence
	}
	b.problems = append(b.problems, errors.New(sentence))
}

// defaults writes the defaults of every key below v.
func (b *binder) defaults(v reflect.Value) {
	for _, f := range fieldsOf(v.Type()) {
		switch child := v.Field(f.index); {
		case f.hasDefault:
			b.scalar(child, f, f.name, f.fallback, origin{})
		case shapeOf(child.Type()) == shapeStruct:
			b.defaults(child)
		}
	}
}

// parse returns the only document's tree, or nil when there is none or it is broken.
func (b *binder) parse(text []byte, from source) ast.Node {
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		where := origin{where: from.fixed}
		var at yaml.Error
		if !errors.As(err, &at) {
			b.problem(where, "%v", err)
			return nil
		}
		if token := at.GetToken(); from.fixed == "" && token != nil {
			where = from.line(token.Position.Line)
		}
		b.problem(where, "this is not YAML: %s", at.GetMessage())
		return nil
	}
	var tree ast.Node
	for _, doc := range file.Docs {
		switch {
		case doc.Body == nil:
		case tree != nil:
			b.problem(from.at(doc.Body), "a second document begins here; there may be only one")
			return nil
		default:
			tree = doc.Body
		}
	}
	return tree
}

// text writes a value given outside the file: lists may be written with commas, and
// mappings as in YAML's flow style.
func (b *binder) text(v reflect.Value, f field, key, text string, from source) {
	shape := shapeOf(v.Type())
	switch {
	case shape == shapeScalar:
		b.scalar(v, f, key, text, from.at(nil))
	case shape == shapeList && !strings.HasPrefix(strings.TrimSpace(text), "["):
		parts := strings.Split(text, ",")
		for i := range parts {
			parts[i] = strings.TrimSpace(parts[i])
		}
		b.list(v, f, key, parts, from.at(nil))
	default:
		if tree := b.parse([]byte(text), from); tree != nil {
			b.node(v, f, key, tree, from)
		}
	}
}

// node writes a YAML value; null counts as absent.
func (b *binder) node(v reflect.Value, f field, key string, n ast.Node, from source) {
	if n.Type() == ast.NullType {
		return
	}
	switch shapeOf(v.Type()) {
	case shapeStruct:
		b.mapping(v, key, n, from)
	case shapeEntries:
		b.entries(v, key, n, from)
	case shapeList:
		b.sequence(v, f, key, n, from)
	default:
		text, ok := scalarText(n)
		if !ok {
			b.problem(from.at(n), "%s must be %s, not a %s", key, allowed(v.Type(), f), kindOf(n))
			return
		}
		b.scalar(v, f, key, text, from.at(n))
	}
}

func (b *binder) mapping(v reflect.Value, key string, n ast.Node, from source) {
	known := fieldsOf(v.Type())
	if text, ok := scalarText(n); ok {
		if i := slices.IndexFunc(known, func(f field) bool { return f.short }); i >= 0 {
			f := known[i]
			b.scalar(v.Field(f.index), f, join(key, f.name), text, from.at(n))
			return
		}
	}
	b.pairs(key, n, from, func(name string, at ast.Node, value ast.Node) {
		i := slices.IndexFunc(known, func(f field) bool { return f.name == name })
		if i < 0 {
			names := make([]string, len(known))
			for j, f := range known {
				names[j] = join(key, f.name)
			}
			b.unknown(from.at(at), join(key, name), names)
			return
		}
		b.node(v.Field(known[i].index), known[i], join(key, name), value, from)
	})
}

var namePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,119}$`)

func (b *binder) entries(v reflect.Value, key string, n ast.Node, from source) {
	b.pairs(key, n, from, func(name string, at ast.Node, value ast.Node) {
		if !namePattern.MatchString(name) {
			b.problem(from.at(at), "%s has an entry named %q; a name is 1 to 120 letters, digits, '.', '_' and '-', and starts with a letter or digit", key, name)
			return
		}
		i := 0
		for i < v.Len() && entryName(v.Index(i)) != name {
			i++
		}
		if i == v.Len() {
			entry := reflect.New(v.Type().Elem()).Elem()
			entry.FieldByName("Name").SetString(name)
			b.defaults(entry)
			v.Set(reflect.Append(v, entry))
		}
		b.origins[join(key, name)] = from.at(at)
		b.node(v.Index(i), field{}, join(key, name), value, from)
	})
}

// pairs calls visit for each key of a mapping with the key's text, node and value.
func (b *binder) pairs(key string, n ast.Node, from source, visit func(string, ast.Node, ast.Node)) {
	m, ok := n.(ast.MapNode)
	if !ok {
		if key == "" {
			key = "the configuration"
		}
		b.problem(from.at(n), "%s must be a mapping of keys to values, not a %s", key, kindOf(n))
		return
	}
	for it := m.MapRange(); it.Next(); {
		name, ok := scalarText(it.Key())
		if !ok {
			b.problem(from.at(it.Key()), "a key must be plain text, not a %s", kindOf(it.Key()))
			continue
		}
		visit(name, it.Key(), it.Value())
	}
}

func (b *binder) sequence(v reflect.Value, f field, key string, n ast.Node, from source) {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		b.problem(from.at(n), "%s must be a list such as [a, b], not a %s", key, kindOf(n))
		return
	}
	texts := make([]string, 0, len(seq.Values))
	for _, item := range seq.Values {
		text, ok := scalarText(item)
		if !ok {
			b.problem(from.at(item), "%s must hold plain values, not a %s", key, kindOf(item))
			return
		}
		texts = append(texts, text)
	}
	b.list(v, f, key, texts, from.at(n))
}

func (b *binder) list(v reflect.Value, f field, key string, texts []string, from origin) {
	list := reflect.MakeSlice(v.Type(), len(texts), len(texts))
	for i, text := range texts {
		b.scalar(list.Index(i), f, key, text, from)
	}
	v.Set(list)
	b.origins[key] = from
}

// scalarText returns what stands in the file for a plain value.
func scalarText(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	}
	return "", false
}

// kindOf names a node's kind for a sentence.
func kindOf(n ast.Node) string {
	switch n.(type) {
	case ast.MapNode:
		return "mapping"
	case *ast.SequenceNode:
		return "list"
	case *ast.NullNode:
		return "null"
	case *ast.AnchorNode, *ast.AliasNode, *ast.MergeKeyNode:
		return "YAML anchor (write the value out)"
	case *ast.TagNode:
		return "YAML tag"
	}
	return "plain value"
}
