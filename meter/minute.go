package meter

import (
	"errors"
	"io"
	"slices"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/journal"
)

// minute is what limits speak of.
const minute = time.Minute

// LastMinute returns what the calls of the last minute before now booked in earlier lives,
// by deployment, oldest first: what was left booked of those that ended, what was reserved
// for those that did not. A clock that was set back since is no reason to forget: calls of
// the future count as of now. It is called before the first Open.
func (m *Meter) LastMinute(now time.Time) (map[string][]berth.Booking, error) {
	type call struct {
		deployment string
		berth.Booking
	}
	open := map[journal.Position]call{}
	all := map[string][]berth.Booking{}
	r := m.journal.Read(0)
	var d decoder
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		kind, ref, err := check(e.Payload, e.At)
		if err != nil || kind == kindProgress || kind >= kindVoid {
			continue
		}
		at := startedAt(e.Payload)
		if now.Sub(at) >= minute {
			continue
		}
		if at.After(now) {
			at = now
		}
		deployment, err := d.deployment(e.Payload)
		if err != nil {
			continue // the fold says so
		}
		c := call{deployment, berth.Booking{At: at, Booked: booked(e.Payload)}}
		if kind != kindClosed {
			open[ref] = c
			continue
		}
		delete(open, ref)
		if c.Booked != (berth.Booked{}) {
			all[deployment] = append(all[deployment], c.Booking)
		}
	}
	for _, c := range open {
		if c.Booked != (berth.Booked{}) {
			all[c.deployment] = append(all[c.deployment], c.Booking)
		}
	}
	for _, list := range all {
		slices.SortFunc(list, func(a, b berth.Booking) int { return a.At.Compare(b.At) })
	}
	return all, nil
}
