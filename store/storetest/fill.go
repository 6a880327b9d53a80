package storetest

import (
	"fmt"
	"reflect"
	"time"
)

// epoch is the time from which the suite counts; with nanoseconds, to see them kept.
var epoch = time.Date(2026, 3, 1, 12, 0, 0, 123_456_789, time.UTC)

// filled returns a T in which no field at any depth is zero and no two are alike, so
// that a field which a store forgets or mixes up shows.
func filled[T any]() T {
	var v T
	var n int64
	fill(reflect.ValueOf(&v).Elem(), &n)
	return v
}

func fill(v reflect.Value, n *int64) {
	*n++
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(epoch.Add(time.Duration(*n) * (time.Hour + time.Nanosecond))))
		return
	case []byte:
		v.SetBytes(fmt.Appendf(nil, "bytes\x00%d", *n))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fillElements(v, n)
	case reflect.Array:
		fillElements(v, n)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.String:
		v.SetString(fmt.Sprintf("%s \"'%d", v.Type().Name(), *n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(1<<30 + *n)
	case reflect.Uint8, reflect.Uint64:
		v.SetUint(uint64(*n))
	default:
		panic(fmt.Sprintf("storetest: teach fill to make a %s", v.Type()))
	}
}

func fillElements(v reflect.Value, n *int64) {
	for i := range v.Len() {
		fill(v.Index(i), n)
	}
}
