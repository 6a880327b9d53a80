//go:build linux

package main

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestTable(t *testing.T) {
	t.Parallel()
	s := scenario{title: "calls", unit: "call", perCall: 1, peers: []peer{{name: "engine alone"}, {name: "nginx"}, {name: "berth"}}}
	table := newTable(s, 3)
	for round := range 3 {
		slower := time.Duration(round) * time.Millisecond
		table.add(alone, calls(0, time.Millisecond))
		table.add(nginx, calls(20*time.Microsecond, 2*time.Millisecond))
		table.add(table.berth(), calls(50*time.Microsecond, 3*time.Millisecond+slower))
	}
	var out strings.Builder
	table.print(&out)
	for _, want := range []string{
		"CPU of the proxy, µs/call|-|20.0 (20.0..20.0)|50.0 (50.0..50.0)|2.50 (2.50..2.50)",
		"calls/s|4 (4..4)|4 (4..4)|4 (4..4)|1.00 (1.00..1.00)",
		"p50, ms/call|1.00 (1.00..1.00)|2.00 (2.00..2.00)|4.00 (3.00..5.00)|2.00 (1.50..2.50)",
		"added to p50, ms|-|1.00 (1.00..1.00)|3.00 (2.00..4.00)|3.00 (2.00..4.00)",
	} {
		if !hasRow(out.String(), strings.Split(want, "|")) {
			t.Errorf("no row %s in\n%s", want, out.String())
		}
	}
}

// calls is a round of four calls that took a second, each with so much CPU.
func calls(cpu, latency time.Duration) result {
	return result{calls: 4, took: time.Second, cpu: 4 * cpu, latencies: []time.Duration{latency, latency, latency, latency}}
}

func hasRow(text string, cells []string) bool {
	for line := range strings.Lines(text) {
		if strings.Join(strings.Fields(line), " ") == strings.Join(cells, " ") {
			return true
		}
	}
	return false
}

func TestQuantile(t *testing.T) {
	t.Parallel()
	r := result{latencies: make([]time.Duration, 100)}
	for i := range r.latencies {
		r.latencies[i] = time.Duration(i+1) * time.Millisecond
	}
	for q, want := range map[float64]float64{0.5: 51, 0.99: 100} {
		if got := r.quantile(q); got != want {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
}

// What a child used must be seen, and only with withChildren.
func TestCPU(t *testing.T) {
	t.Parallel()
	runtime.LockOSThread() // the child dies with the thread that started it
	defer runtime.UnlockOSThread()
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("no shell")
	}
	p, err := start(t.TempDir(), "busy", sh, "-c", `echo up; (i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo counted >&2; sleep 60); :`)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.stop(); err != nil {
			t.Error(err)
		}
	}()
	<-p.said
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if text, _ := os.ReadFile(p.log); strings.Contains(string(text), "counted") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the child does not count")
		}
	}
	parent, err := p.cpu(false)()
	if err != nil {
		t.Fatal(err)
	}
	both, err := p.cpu(true)()
	if err != nil {
		t.Fatal(err)
	}
	if both-parent < 20*time.Millisecond || parent > both/2 {
		t.Errorf("the parent has %s, with its child %s", parent, both)
	}
}
