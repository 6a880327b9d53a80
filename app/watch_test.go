package app

import (
	"testing"
	"time"

	berth "github.com/berthhq/berth"
)

func TestWatchersAreWokenByWhatTheyWatch(t *testing.T) {
	t.Parallel()
	var w watchers
	woken := func(c <-chan struct{}) bool {
		select {
		case <-c:
			return true
		default:
			return false
		}
	}
	one := berth.Deployment{ID: "dep_1", Status: berth.StatusPending, ModifiedAt: time.Unix(1, 0)}
	two := one
	two.ID = "dep_2"
	w.look([]berth.Deployment{one, two}, true) // nobody watches
	first, stopFirst := w.watch("dep_1")
	second, stopSecond := w.watch("dep_1")
	other, stopOther := w.watch("dep_2")
	w.look([]berth.Deployment{one, two}, true) // seen for the first time
	for _, c := range []<-chan struct{}{first, second, other} {
		if !woken(c) || woken(c) {
			t.Error("the first look wakes everybody once")
		}
	}
	for what, change := range map[string]func(){
		"status":                    func() { one.Status = berth.StatusRunning },
		"ready capacity":            func() { one.ReadyCapacity++ },
		"there and back in between": func() { one.ModifiedAt = one.ModifiedAt.Add(time.Second) },
	} {
		change()
		w.look([]berth.Deployment{one}, false)
		w.look([]berth.Deployment{one, two}, true)
		if !woken(first) || !woken(second) || woken(first) || woken(other) {
			t.Errorf("%s: who is woken", what)
		}
	}
	stopFirst()
	w.look([]berth.Deployment{two}, true) // deleted
	if woken(first) || !woken(second) || woken(other) {
		t.Error("a deleted one")
	}
	stopSecond()
	stopOther()
	if len(w.watched) != 0 {
		t.Errorf("%d are still watched", len(w.watched))
	}
	again, stop := w.watch("dep_2")
	stopOther() // of an earlier life
	w.look([]berth.Deployment{two}, true)
	if !woken(again) {
		t.Error("the new watcher was lost")
	}
	stop()
}
