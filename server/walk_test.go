package server

import (
	"strconv"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
)

func TestWalksEndAndAreBounded(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 10, 2, 9, 0, 0, 0, time.UTC)
	w := walks{now: func() time.Time { return now }, all: map[walker]walk{}}
	began := now
	by := walker{"key_0", "llm-home", berth.PlanMU, 50}
	w.begin(by, began)
	now = now.Add(walkTime)
	if got := w.upTo(by); !got.Equal(began) {
		t.Errorf("after a minute: %s", got)
	}
	now = now.Add(walkTime)
	if got := w.upTo(by); !got.Equal(began) {
		t.Errorf("a walk ends a minute after its last page, not its first: %s", got)
	}
	other := by
	other.size = 10
	if got := w.upTo(other); !got.IsZero() {
		t.Errorf("another size of page: %s", got)
	}
	for i := range walkMost {
		now = now.Add(time.Millisecond)
		w.begin(walker{keyID: "key_" + strconv.Itoa(i+1)}, now)
	}
	if len(w.all) > walkMost {
		t.Errorf("%d walks", len(w.all))
	}
	if got := w.upTo(by); !got.IsZero() {
		t.Errorf("the oldest walk is still there: %s", got)
	}
	now = now.Add(walkTime + time.Second)
	if got := w.upTo(walker{keyID: "key_1000"}); !got.IsZero() {
		t.Errorf("long after: %s", got)
	}
}
