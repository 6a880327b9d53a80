package server

import (
	"sync"
	"time"

	berth "github.com/berthhq/berth"
)

// A walk is one client's way through the pages of a list. Documented lists have page
// numbers and no cursor, so what is created between two requests would push entries onto
// the next page, where they are seen twice. The first page therefore starts a walk, and
// the pages after it are those of the list as it was then.
const (
	walkTime = time.Minute // since its last page
	walkMost = 1000        // at a time; beyond them the oldest is forgotten, and its pages may shift
)

// walker is whose walk it is.
type walker struct {
	keyID, workspaceID string
	plan               berth.Plan
	size               int64
}

type walk struct{ upTo, last time.Time }

// walks remembers where the walks began.
type walks struct {
	now func() time.Time
	mu  sync.Mutex
	all map[walker]walk
}

// begin starts a walk at its first page, whose newest entry was created at upTo.
func (w *walks) begin(by walker, upTo time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, known := w.all[by]; !known && len(w.all) >= walkMost {
		w.forget()
	}
	w.all[by] = walk{upTo, w.now()}
}

// upTo returns what the pages after the first reach up to; zero when there was none
// lately.
func (w *walks) upTo(by walker) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	found, ok := w.all[by]
	if !ok || w.now().Sub(found.last) > walkTime {
		delete(w.all, by)
		return time.Time{}
	}
	found.last = w.now()
	w.all[by] = found
	return found.upTo
}

// forget makes room: it drops what is over, and the oldest.
func (w *walks) forget() {
	var oldest walker
	first := true
	for by, found := range w.all {
		switch {
		case w.now().Sub(found.last) > walkTime:
			delete(w.all, by)
		case first || found.last.Before(w.all[oldest].last):
			oldest, first = by, false
		}
	}
	if len(w.all) >= walkMost {
		delete(w.all, oldest)
	}
}
