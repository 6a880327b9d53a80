package app

import (
	"sync"
	"time"

	berth "github.com/berthhq/berth"
)

// watchers wakes those who follow a deployment when the gateway has taken a change of
// it. A wake may come for nothing; none is missed.
type watchers struct {
	mu      sync.Mutex
	watched map[string]*watched // by deployment
}

// watched is what was seen of a deployment last, and who waits for something else.
type watched struct {
	seen    glimpse
	waiting map[chan struct{}]struct{}
}

type glimpse struct {
	status   berth.Status
	ready    int64
	modified time.Time
}

// watch returns a channel that gets a value after each change, and a function that ends
// it. Values that nobody takes are merged into one.
func (w *watchers) watch(deploymentID string) (<-chan struct{}, func()) {
	changed := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.watched == nil {
		w.watched = map[string]*watched{}
	}
	d := w.watched[deploymentID]
	if d == nil {
		d = &watched{waiting: map[chan struct{}]struct{}{}}
		w.watched[deploymentID] = d
	}
	d.waiting[changed] = struct{}{}
	return changed, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(d.waiting, changed)
		if len(d.waiting) == 0 && w.watched[deploymentID] == d {
			delete(w.watched, deploymentID)
		}
	}
}

// look compares deployments with what was seen of them before. They are those that were
// written, or all that are live: then one that is not among them is a change.
func (w *watchers) look(list []berth.Deployment, all bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.watched) == 0 {
		return
	}
	there := make(map[string]bool, len(w.watched))
	for i := range list {
		d := w.watched[list[i].ID]
		if d == nil {
			continue
		}
		there[list[i].ID] = true
		if now := (glimpse{list[i].Status, list[i].ReadyCapacity, list[i].ModifiedAt}); now != d.seen {
			d.seen = now
			d.wake()
		}
	}
	for id, d := range w.watched {
		if all && !there[id] {
			d.wake()
		}
	}
}

func (d *watched) wake() {
	for changed := range d.waiting {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
}
