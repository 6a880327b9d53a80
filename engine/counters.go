package engine

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// Counters says where an engine tells how many tokens it has read and made since it
// started, those of calls that broke off among them. The names are those of Prometheus's
// text format; of a name with several labels the values are added up.
type Counters struct {
	Path   string
	Input  string // prompt tokens
	Cached string // those of them that were in its cache
	Output string
	// InputIsRead: Input leaves the cached ones out.
	InputIsRead bool
	// Calls are gauges of the calls that the engine has, running or waiting.
	Calls []string
	// Lag: what a call used is counted up to a second after its answer has ended.
	Lag bool
}

// Tokens are an engine's counters at one moment. They begin again at 0 with each start.
type Tokens struct {
	Input  int64 // of prompts, the cached ones among them
	Cached int64
	Output int64
	Calls  int64 // that it has now
}

// Counted is the extra ability of drivers whose engines count.
type Counted interface {
	Counters() Counters
}

// ReadCounters asks an engine for its counters.
func ReadCounters(ctx context.Context, client *http.Client, e Endpoint, c Counters) (Tokens, error) {
	text, err := ask(ctx, client, e, http.MethodGet, c.Path, nil)
	if err != nil {
		return Tokens{}, err
	}
	return c.parse(text)
}

// parse refuses a text that lacks one of the counters: half the truth would look like
// tokens that nobody can explain.
func (c Counters) parse(text []byte) (Tokens, error) {
	var t Tokens
	var errs []error
	add := func(name string, to *int64) {
		n, ok := sumOf(text, name)
		if !ok {
			errs = append(errs, fmt.Errorf("the engine does not count %s", name))
		}
		*to += n
	}
	add(c.Input, &t.Input)
	add(c.Cached, &t.Cached)
	add(c.Output, &t.Output)
	for _, name := range c.Calls {
		add(name, &t.Calls)
	}
	if c.InputIsRead {
		t.Input += t.Cached
	}
	return t, errors.Join(errs...)
}

// sumOf adds up the samples of a counter; ok is false when there is none that is a number
// of tokens.
func sumOf(text []byte, name string) (sum int64, ok bool) {
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, probeBytesMax)
	for lines.Scan() {
		rest, found := strings.CutPrefix(lines.Text(), name)
		if !found || rest == "" || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		if i := strings.LastIndexByte(rest, '}'); i >= 0 { // a label may hold anything but that
			rest = rest[i+1:]
		}
		value, _, _ := strings.Cut(strings.TrimSpace(rest), " ") // a time may follow
		n, err := strconv.ParseFloat(value, 64)
		if err != nil || n < 0 || n > 1<<53 {
			return 0, false
		}
		sum, ok = sum+int64(n), true
	}
	return sum, ok
}
