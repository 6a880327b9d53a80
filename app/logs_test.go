package app

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berthhq/berth/config"
)

// page is something to write on while another looks.
type page struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (p *page) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.Write(b)
}

func (p *page) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

// Lines are written together, soon, in order; what is serious is written at once with
// all before it, and nothing is left at the end.
func TestLogWriter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out page
		logger, flush := newLogger(config.Log{Level: "info", Format: "json"}, &out)
		lines := func() int { return strings.Count(out.String(), "\n") }
		for range 3 {
			logger.With("a", 1).WithGroup("g").Info("call")
		}
		if lines() != 0 {
			t.Error("written one by one")
		}
		time.Sleep(logPause)
		synctest.Wait()
		if lines() != 3 {
			t.Errorf("%d lines of 3", lines())
		}
		logger.Info("before")
		logger.With("a", 1).WithGroup("g").Warn("serious", "error", errors.New("x"))
		if lines() != 5 || strings.Index(out.String(), "before") > strings.Index(out.String(), "serious") {
			t.Errorf("got %s", out.String())
		}
		logger.Info("long", "text", strings.Repeat("x", logBytes))
		if lines() != 6 {
			t.Error("too much waits")
		}
		logger.Info("last")
		flush()
		if lines() != 7 {
			t.Error("the last line is lost")
		}
		time.Sleep(time.Second)
	})
}

// A person at a terminal sees each line at once; so does who asks for text.
func TestTextIsWrittenAtOnce(t *testing.T) {
	t.Parallel()
	var out page
	logger, flush := newLogger(config.Log{Level: "info", Format: "text"}, &out)
	defer flush()
	if logger.Info("hello"); !strings.Contains(out.String(), "hello") {
		t.Error("it waits")
	}
}
