//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// load is calls over kept connections, each next one as soon as the last is answered.
type load struct {
	connections int
	request     func(peer) []byte // as it goes over the wire
	// wanted must be in every answer, and events data lines.
	wanted []byte
	events int
	// anyEvents: the peer makes as many events as it likes of the same tokens.
	anyEvents bool
	// stagger spreads the first calls, so that answers do not come in bursts.
	stagger time.Duration
}

// result is what a turn gave.
type result struct {
	calls     int
	took      time.Duration
	latencies []time.Duration // sorted
	cpu       time.Duration
}

// patience is how long a call may take.
const patience = 10 * time.Second

func (l load) run(ctx context.Context, to peer, length time.Duration) (result, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all result
	var mu sync.Mutex
	var workers sync.WaitGroup
	began := time.Now()
	for i := range l.connections {
		workers.Go(func() {
			time.Sleep(l.stagger * time.Duration(i) / time.Duration(l.connections))
			latencies, err := l.work(ctx, to, began.Add(length))
			if err != nil {
				cancel(err)
			}
			mu.Lock()
			defer mu.Unlock()
			all.latencies = append(all.latencies, latencies...)
		})
	}
	workers.Wait()
	all.took = time.Since(began)
	all.calls = len(all.latencies)
	*to.made += all.calls
	slices.Sort(all.latencies)
	if all.calls == 0 && ctx.Err() == nil {
		return all, errors.New("no call came to its end")
	}
	return all, context.Cause(ctx)
}

// work is one connection. The last call begins before until.
func (l load) work(ctx context.Context, to peer, until time.Time) (latencies []time.Duration, err error) {
	connection, err := new(net.Dialer).DialContext(ctx, "tcp", to.address)
	if err != nil {
		return nil, err
	}
	defer func() { _ = connection.Close() }() // everything was read
	if err := connection.SetDeadline(until.Add(patience)); err != nil {
		return nil, err
	}
	request := l.request(to)
	reader := bufio.NewReader(connection)
	for start := time.Now(); start.Before(until) && ctx.Err() == nil; {
		if _, err := connection.Write(request); err != nil {
			return latencies, err
		}
		if err := l.read(reader); err != nil {
			return latencies, err
		}
		end := time.Now()
		latencies = append(latencies, end.Sub(start))
		start = end
	}
	return latencies, nil
}

var dataLine = []byte("data: ")

// read takes one answer and sees that it is the right one.
func (l load) read(from *bufio.Reader) error {
	response, err := http.ReadResponse(from, nil)
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	body, err := io.ReadAll(response.Body)
	response.Body.Close()
	events := bytes.Count(body, dataLine)
	if l.anyEvents && events > 1 {
		events = l.events
	}
	switch {
	case err != nil:
		return fmt.Errorf("read the answer: %w", err)
	case response.StatusCode != http.StatusOK || response.Close || !bytes.Contains(body, l.wanted) || events != l.events:
		return fmt.Errorf("not the answer that the figures are for: %s, closing %t, %d events\n%.2000s",
			response.Status, response.Close, events, body)
	}
	return nil
}
