//go:build linux

package main

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// pass is one round of the reconciler, as it logs it.
type pass struct {
	owners int // looked at
	took   time.Duration
}

// passes is a log handler that keeps the rounds of the reconciler and counts engines.
type passes struct {
	ready atomic.Int64

	mu   sync.Mutex
	list []pass
}

func (p *passes) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.list = nil
	p.ready.Store(0)
}

// took returns the rounds that are wanted.
func (p *passes) took(wanted func(pass) bool) []time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []time.Duration
	for _, one := range p.list {
		if wanted(one) {
			out = append(out, one.took)
		}
	}
	return out
}

func (p *passes) Enabled(context.Context, slog.Level) bool { return true }
func (p *passes) WithAttrs([]slog.Attr) slog.Handler       { return p }
func (p *passes) WithGroup(string) slog.Handler            { return p }

func (p *passes) Handle(_ context.Context, r slog.Record) error {
	switch r.Message {
	case "engine ready":
		p.ready.Add(1)
	case "reconciled":
		var one pass
		r.Attrs(func(a slog.Attr) bool {
			switch a.Key {
			case "owners":
				one.owners = int(a.Value.Int64())
			case "took":
				one.took = a.Value.Duration()
			}
			return true
		})
		p.mu.Lock()
		defer p.mu.Unlock()
		p.list = append(p.list, one)
	}
	return nil
}
