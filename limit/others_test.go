package limit

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// What limiters do that learn of a call's tokens when it has ended, beside ours, in the same
// runs. A limit is 1,000 tokens in any 60 s throughout.
const tokensPerMinute = 1000

// arrival is a call that comes at a moment, declares declared tokens and uses used ones,
// evenly until it ends.
type arrival struct{ atMS, lastsMS, declared, used int64 }

// other is a limiter that admits at arrival and counts at the end.
type other interface {
	admit(nowMS int64) bool
	count(nowMS, tokens int64)
}

// fixedWindow counts per minute of the clock: it forgets at once when that is over.
type fixedWindow struct{ minute, used int64 }

func (w *fixedWindow) turn(nowMS int64) {
	if minute := nowMS / minuteMS; minute != w.minute {
		w.minute, w.used = minute, 0
	}
}

func (w *fixedWindow) admit(nowMS int64) bool {
	w.turn(nowMS)
	return w.used < tokensPerMinute
}

func (w *fixedWindow) count(nowMS, tokens int64) {
	w.turn(nowMS)
	w.used += tokens
}

// slidingLog remembers what ended in the last 60 s.
type slidingLog struct{ ended []booking }

func (l *slidingLog) admit(nowMS int64) bool {
	var used int64
	for _, b := range l.ended {
		if nowMS-b.atMS < minuteMS {
			used += b.amount
		}
	}
	return used < tokensPerMinute
}

func (l *slidingLog) count(nowMS, tokens int64) { l.ended = append(l.ended, booking{nowMS, tokens}) }

// bucket fills steadily, is emptied by what was used, also below zero, and admits while
// anything is in it.
type bucket struct{ level, atMS int64 } // in thousandths of a token

func (b *bucket) fill(nowMS int64) {
	b.level = min(tokensPerMinute*1000, b.level+(nowMS-b.atMS)*tokensPerMinute*1000/minuteMS)
	b.atMS = nowMS
}

func (b *bucket) admit(nowMS int64) bool {
	b.fill(nowMS)
	return b.level > 0
}

func (b *bucket) count(nowMS, tokens int64) {
	b.fill(nowMS)
	b.level -= tokens * 1000
}

// ours is a Limiter, told at admission what a call declares.
type ours struct {
	l    *Limiter
	held map[int]Reservation
}

// run plays arrivals, in the order of time, against admit and ended, and returns the most
// tokens that calls admitted within any 60 s used.
func run(arrivals []arrival, admit func(i int) bool, ended func(i int, nowMS int64)) int64 {
	var admitted []booking
	open := map[int]bool{}
	settle := func(nowMS int64) {
		for i := range arrivals {
			if a := arrivals[i]; open[i] && a.atMS+a.lastsMS <= nowMS {
				delete(open, i)
				ended(i, a.atMS+a.lastsMS)
			}
		}
	}
	for i, a := range arrivals {
		settle(a.atMS)
		if admit(i) {
			open[i] = true
			admitted = append(admitted, booking{a.atMS, a.used})
		}
	}
	return fullestMinute(admitted)
}

func runOther(arrivals []arrival, o other) int64 {
	return run(arrivals, func(i int) bool { return o.admit(arrivals[i].atMS) },
		func(i int, nowMS int64) { o.count(nowMS, arrivals[i].used) })
}

func runOurs(arrivals []arrival) int64 {
	o := ours{New(Amounts{Tokens: tokensPerMinute}), map[int]Reservation{}}
	return run(arrivals, func(i int) bool {
		r, _, ok := o.l.Reserve(arrivals[i].atMS, nil, Amounts{Tokens: arrivals[i].declared}, nil)
		o.held[i] = r
		return ok
	}, func(i int, nowMS int64) { o.l.Settle(o.held[i], nowMS, Amounts{Tokens: arrivals[i].used}) })
}

// The cases of docs/limits.md.
func cases() (names []string, arrivals [][]arrival) {
	add := func(name string, list []arrival) { names, arrivals = append(names, name), append(arrivals, list) }
	var burst, edge, slow, trickle, early []arrival
	for range 200 {
		burst = append(burst, arrival{0, 10_000, 100, 100})
	}
	add("200 calls of 100 tokens at once", burst)
	for i := range int64(10) { // 10 calls just before a minute of the clock ends and 10 after
		edge = append(edge, arrival{59_000 + i*10, 5, 100, 100})
	}
	for i := range int64(10) {
		edge = append(edge, arrival{60_000 + i*10, 5, 100, 100})
	}
	add("10 calls of 100 tokens before a minute of the clock ends, 10 after", edge)
	for i := range int64(120) { // one per second, each writes for half a minute
		slow = append(slow, arrival{i * 1000, 30_000, 100, 100})
	}
	add("a call of 100 tokens each second that takes 30 s", slow)
	trickle = append(trickle, arrival{0, 1, 999, 999})
	for i := range int64(50) {
		trickle = append(trickle, arrival{1000 + i, 1000, 900, 900})
	}
	add("one call of 999 tokens, then 50 of 900 at once", trickle)
	for i := range int64(300) { // most is given back at the end, quickly
		early = append(early, arrival{i * 100, 50, 1000, 10})
	}
	add("10 calls a second that declare 1,000 tokens and use 10", early)
	return names, arrivals
}

// The table of docs/limits.md, line by line: with declared maxima ours never exceeds the
// limit, and the others do.
func TestAfterTheFactLimitersOvershoot(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/limits.md")
	if err != nil {
		t.Fatal(err)
	}
	names, all := cases()
	for i, arrivals := range all {
		window := runOther(arrivals, &fixedWindow{})
		log := runOther(arrivals, &slidingLog{})
		negative := runOther(arrivals, &bucket{level: tokensPerMinute * 1000})
		own := runOurs(arrivals)
		over := func(tokens int64) int64 { return max(0, tokens-tokensPerMinute) }
		if over(own) != 0 || own == 0 {
			t.Errorf("%s: ours admits %d", names[i], own)
		}
		line := fmt.Sprintf("| %s | %d | %d | %d | %d |", names[i], over(window), over(log), over(negative), over(own))
		if !strings.Contains(string(text), line) {
			t.Errorf("docs/limits.md lacks\n%s", line)
		}
	}
}
