package server

import (
	"context"
	"net/http"
	"strings"

	berth "github.com/berthhq/berth"
)

// readPage reads the page of a list that a request asks for by limit and cursor. next is the
// cursor of the one behind it: the id of its last; "" when there is none.
func readPage[T any](ctx context.Context, r *http.Request, read func(ctx context.Context, cursor string, size int64) ([]T, error), id func(T) string) (page []T, next string, err error) {
	size, err := number(r, "limit", ownPage, 1, ownPage)
	if err != nil {
		return nil, "", err
	}
	page, err = read(ctx, r.URL.Query().Get("cursor"), size)
	if err == nil && int64(len(page)) == size {
		next = id(page[size-1])
	}
	return page, next, err
}

// each shows all of a list, which may be empty.
func each[D, W any](list []D, show func(D) W) []W {
	out := make([]W, len(list))
	for i, v := range list {
		out[i] = show(v)
	}
	return out
}

// listPage returns the page of a list in order of its keys that a request asks for by limit
// and cursor, and the cursor of the next one, which is the last key.
func listPage[T any](r *http.Request, all []T, key func(*T) string) (page []T, next string, err error) {
	size, err := number(r, "limit", ownPage, 1, ownPage)
	if err != nil {
		return nil, "", err
	}
	from, after := 0, r.URL.Query().Get("cursor")
	for from < len(all) && after != "" && key(&all[from]) <= after {
		from++
	}
	all = all[from:]
	if int64(len(all)) <= size {
		return all, "", nil
	}
	return all[:size], key(&all[size-1]), nil
}

// usageRowsPage is how many rows of sums are on a page.
const usageRowsPage = 5000

// rowsPage returns the page of rows behind the one with the values that the cursor has, and
// the next cursor.
func rowsPage(cursor string, by []berth.UsageGroup, rows []berth.UsageTotal) (page []berth.UsageTotal, next string, err error) {
	values := func(t *berth.UsageTotal) string {
		list := make([]string, len(by))
		for i, g := range by {
			list[i] = t.Group[g]
		}
		return strings.Join(list, "\n") // no label has one
	}
	if cursor != "" {
		for i := range rows {
			if values(&rows[i]) == cursor {
				rows, cursor = rows[i+1:], ""
				break
			}
		}
	}
	switch {
	case cursor != "":
		return nil, "", berth.Errorf(berth.CodeInvalid, "The cursor is not one of this list; use the next of its last page.")
	case len(rows) <= usageRowsPage:
		return rows, "", nil
	}
	return rows[:usageRowsPage], values(&rows[usageRowsPage-1]), nil
}
