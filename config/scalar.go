package config

import (
	"fmt"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	units "github.com/docker/go-units"
)

var durationType = reflect.TypeFor[time.Duration]()

// scalar writes one plain value, or says what would have been allowed.
func (b *binder) scalar(v reflect.Value, f field, key, text string, from origin) {
	if !assign(v, f, text) {
		b.problem(from, "%s is %s, but must be %s", key, quote(f.shown(text)), allowed(v.Type(), f))
		return
	}
	if from.where != "" {
		b.origins[key] = from
	}
}

func assign(v reflect.Value, f field, text string) bool {
	switch {
	case v.Type() == prefixType:
		prefix, err := netip.ParsePrefix(text)
		v.Set(reflect.ValueOf(prefix.Masked()))
		return err == nil
	case v.Kind() == reflect.String:
		v.SetString(text)
		return utf8.ValidString(text) && (len(f.oneof) == 0 || slices.Contains(f.oneof, text))
	case v.Kind() == reflect.Bool:
		on, err := strconv.ParseBool(text)
		v.SetBool(on)
		return err == nil
	}
	n, ok := quantity(v.Type(), f, text)
	if !ok {
		return false
	}
	v.SetInt(n)
	return within(v.Type(), f, n)
}

// within reports whether n keeps to the field's range.
func within(t reflect.Type, f field, n int64) bool {
	if f.min == "" {
		return true
	}
	low, _ := quantity(t, f, f.min)
	high, _ := quantity(t, f, f.max)
	return low <= n && n <= high
}

// quantity reads an integer, a size in bytes, a duration in nanoseconds or a number in
// thousandths.
func quantity(t reflect.Type, f field, text string) (int64, bool) {
	switch {
	case t == durationType:
		if days, ok := strings.CutSuffix(text, "d"); ok {
			n, err := strconv.ParseUint(days, 10, 16)
			return int64(n) * int64(day), err == nil //nolint:gosec // of 16 bits
		}
		d, err := time.ParseDuration(text)
		return int64(d), err == nil
	case f.unit == "bytes":
		n, err := units.RAMInBytes(text)
		return n, err == nil
	case f.unit == "thousandths":
		return thousandths(text)
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil
}

// thousandths reads a number of at most three decimals.
func thousandths(text string) (int64, bool) {
	whole, decimals, _ := strings.Cut(text, ".")
	if len(decimals) > 3 {
		return 0, false
	}
	n, err := strconv.ParseUint(whole+decimals+"000"[len(decimals):], 10, 32)
	return int64(n), err == nil //nolint:gosec // of 32 bits
}

// allowed finishes the sentence "… must be".
func allowed(t reflect.Type, f field) string {
	span := ""
	if f.min != "" {
		span = fmt.Sprintf(" from %s to %s", f.min, f.max)
	}
	switch {
	case len(f.oneof) > 0:
		return "one of " + strings.Join(f.oneof, ", ")
	case t == prefixType:
		return "a range of addresses such as 10.0.0.0/8"
	case t == durationType:
		if strings.HasSuffix(f.max, "d") {
			return "a duration such as 12h or 400d" + span
		}
		return "a duration such as 90s or 2m" + span
	case f.unit == "bytes":
		return "a size such as 256MiB" + span
	case f.unit == "thousandths":
		return "a number of at most three decimals such as 0.125" + span
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.Int, t.Kind() == reflect.Int64:
		return "a whole number" + span
	}
	return "text"
}

// format is the inverse of assign.
func format(v reflect.Value, f field) string {
	switch {
	case v.Type() == prefixType:
		return v.Interface().(netip.Prefix).String()
	case v.Type() == durationType:
		return formatDuration(time.Duration(v.Int()))
	case v.Kind() == reflect.String:
		return f.shown(v.String())
	case f.unit == "bytes":
		return formatSize(v.Int())
	case f.unit == "thousandths":
		return strconv.FormatFloat(float64(v.Int())/1000, 'f', -1, 64)
	}
	return fmt.Sprint(v.Interface())
}

// formatSize writes bytes in the largest binary unit that divides them.
func formatSize(n int64) string {
	names := []string{"", "KiB", "MiB", "GiB", "TiB", "PiB"}
	i := 0
	for i < len(names)-1 && n != 0 && n%1024 == 0 {
		n /= 1024
		i++
	}
	return strconv.FormatInt(n, 10) + names[i]
}

const day = 24 * time.Hour

// formatDuration drops the zeros that time.Duration prints: 2m, not 2m0s. More than a day
// is days.
func formatDuration(d time.Duration) string {
	if d > day && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// shown is a text as it may be read by anybody.
func (f field) shown(text string) string {
	switch f.secret {
	case "":
		return text
	case "password":
		return mask(text)
	}
	return "xxxxx"
}

// mask hides the password of a database address, wherever it stands.
func mask(text string) string {
	scheme, _, ok := strings.Cut(text, "://")
	if !ok {
		return text
	}
	u, err := url.Parse(text)
	if err != nil {
		return scheme + "://xxxxx"
	}
	query := u.Query()
	for name := range query {
		if strings.Contains(strings.ToLower(name), "password") {
			query.Set(name, "xxxxx")
			u.RawQuery = query.Encode()
		}
	}
	return u.Redacted()
}
