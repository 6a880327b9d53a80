package store

import "strings"

// filter collects the conditions of a query.
type filter struct {
	conditions []string
	args       []any
}

// add takes a condition with one mark for arg.
func (f *filter) add(condition string, arg any) {
	f.conditions = append(f.conditions, condition)
	f.args = append(f.args, arg)
}

// equals adds column = value unless value is "", which means: every one.
func (f *filter) equals(column, value string) {
	if value != "" {
		f.add(column+" = ?", value)
	}
}

// in adds column IN (values), of which there must be one. The number of marks is a power of
// 2, so that few statements are made of it.
func (f *filter) in(column string, values []string) {
	n := 1
	for ; n < len(values); n *= 2 {
	}
	f.conditions = append(f.conditions, column+" IN ("+strings.Repeat("?, ", n-1)+"?)")
	for i := range n {
		f.args = append(f.args, values[min(i, len(values)-1)])
	}
}

// where returns the conditions as the SQL that follows a table's name.
func (f *filter) where() string {
	if len(f.conditions) == 0 {
		return ""
	}
	return "WHERE " + strings.Join(f.conditions, " AND ")
}

// page returns the rows to skip and to take as the SQL that ends a query; a limit of 0
// takes all.
func (f *filter) page(offset, limit int64) string {
	if limit == 0 {
		return ""
	}
	f.args = append(f.args, limit, offset)
	return " LIMIT ? OFFSET ?"
}
