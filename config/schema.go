package config

import (
	"net/netip"
	"reflect"
	"strings"
)

// field is what the tags of a struct field say.
type field struct {
	index          int
	name           string // the key's last part
	short          bool
	hasDefault     bool
	fallback, unit string
	min, max       string
	oneof          []string
	secret         string // "", "password" or "all"
}

// fieldsOf returns the keys of a struct type in the order of its fields.
func fieldsOf(t reflect.Type) []field {
	var all []field
	for i := range t.NumField() {
		tag := t.Field(i).Tag
		name, option, _ := strings.Cut(tag.Get("config"), ",")
		if name == "" {
			continue
		}
		fallback, ok := tag.Lookup("default")
		all = append(all, field{
			index: i, name: name, short: option == "short",
			hasDefault: ok, fallback: fallback, unit: tag.Get("unit"),
			min: tag.Get("min"), max: tag.Get("max"),
			oneof: strings.Fields(tag.Get("oneof")), secret: tag.Get("secret"),
		})
	}
	return all
}

// shape is how a Go type is written in YAML.
type shape int

const (
	shapeScalar  shape = iota
	shapeList          // of scalars
	shapeStruct        // a mapping with known keys
	shapeEntries       // a mapping from names of the operator's choice to structs
)

var prefixType = reflect.TypeFor[netip.Prefix]()

func shapeOf(t reflect.Type) shape {
	switch {
	case t == prefixType:
		return shapeScalar
	case t.Kind() == reflect.Struct:
		return shapeStruct
	case t.Kind() == reflect.Slice && shapeOf(t.Elem()) == shapeStruct:
		return shapeEntries
	case t.Kind() == reflect.Slice:
		return shapeList
	}
	return shapeScalar
}

// each visits every value below v but v itself, parents before their children, with
// its dotted key.
func each(v reflect.Value, f field, key string, visit func(reflect.Value, field, string)) {
	if key != "" {
		visit(v, f, key)
	}
	switch shapeOf(v.Type()) {
	case shapeStruct:
		for _, child := range fieldsOf(v.Type()) {
			each(v.Field(child.index), child, join(key, child.name), visit)
		}
	case shapeEntries:
		for i := range v.Len() {
			entry := v.Index(i)
			each(entry, field{}, join(key, entryName(entry)), visit)
		}
	}
}

// entryName returns the name of an element of a shapeEntries.
func entryName(v reflect.Value) string { return v.FieldByName("Name").String() }

func join(key, name string) string {
	if key == "" {
		return name
	}
	return key + "." + name
}
