package store

import (
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"time"

	berth "github.com/berthhq/berth"
)

// The wrappers around fields that a database does not keep as they are. Each is both
// the argument of a write and the destination of a read.
var (
	_ wrapper = instant{}
	_ wrapper = instants{}
	_ wrapper = document{}
	_ wrapper = reference{}
	_ wrapper = digest{}
	_ wrapper = amount{}
)

type wrapper interface {
	driver.Valuer
	sql.Scanner
}

// instant keeps a time as nanoseconds since 1970 in UTC, 0 being the zero time.
type instant struct{ *time.Time }

func (c instant) Value() (driver.Value, error) { return nanos(*c.Time) }

func (c instant) Scan(src any) error {
	n, ok := src.(int64)
	if !ok {
		return fmt.Errorf("a time is kept as %T", src)
	}
	*c.Time = fromNanos(n)
	return nil
}

func nanos(t time.Time) (int64, error) {
	if t.IsZero() {
		return 0, nil
	}
	if year := t.UTC().Year(); year < 1678 || year > 2261 {
		return 0, berth.Errorf(berth.CodeInvalid, "The time %s cannot be kept; use one between the years 1678 and 2261.", t.Format(time.RFC3339))
	}
	return t.UnixNano(), nil
}

func fromNanos(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

// instants keeps a list of times as JSON numbers, each like [instant].
type instants struct{ times *[]time.Time }

func (c instants) Value() (driver.Value, error) {
	list := make([]int64, len(*c.times))
	for i, t := range *c.times {
		n, err := nanos(t)
		if err != nil {
			return nil, err
		}
		list[i] = n
	}
	return document{list}.Value()
}

func (c instants) Scan(src any) error {
	var list []int64
	if err := (document{&list}).Scan(src); err != nil {
		return err
	}
	*c.times = nil
	for _, n := range list {
		*c.times = append(*c.times, fromNanos(n))
	}
	return nil
}

// document keeps a value that is never queried as JSON. The field is a pointer.
type document struct{ field any }

func (c document) Value() (driver.Value, error) {
	text, err := json.Marshal(c.field)
	return string(text), err
}

func (c document) Scan(src any) error {
	text, ok := src.(string)
	if !ok {
		return fmt.Errorf("a document is kept as %T", src)
	}
	return json.Unmarshal([]byte(text), c.field)
}

// reference keeps an id that may be absent: "" is NULL.
type reference struct{ id *string }

func (c reference) Value() (driver.Value, error) {
	if *c.id == "" {
		return nil, nil
	}
	return *c.id, nil
}

func (c reference) Scan(src any) error {
	var id sql.NullString
	err := id.Scan(src)
	*c.id = id.String
	return err
}

// digest keeps the hash of a key as its bytes.
type digest struct{ hash *berth.KeyHash }

func (c digest) Value() (driver.Value, error) { return c.hash[:], nil }

func (c digest) Scan(src any) error {
	b, ok := src.([]byte)
	if !ok || len(b) != len(c.hash) {
		return fmt.Errorf("a hash is kept as %d bytes of %T", len(b), src)
	}
	copy(c.hash[:], b)
	return nil
}

// amount keeps an amount of money that may be absent: nil is NULL.
type amount struct{ nano **berth.Nano }

func (c amount) Value() (driver.Value, error) {
	if *c.nano == nil {
		return nil, nil
	}
	return int64(**c.nano), nil
}

func (c amount) Scan(src any) error {
	var n sql.NullInt64
	err := n.Scan(src)
	*c.nano = nil
	if n.Valid {
		nano := berth.Nano(n.Int64)
		*c.nano = &nano
	}
	return err
}
