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
	"os"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
)

// idleStreams are the numbers of streams at which memory is looked at.
var idleStreams = []int{0, 1_000, 10_000}

// openAtOnce bounds the streams that are being opened.
const openAtOnce = 64

// memory prints the resident memory of the proxies while streams are open over which
// nothing comes any more.
func (h *house) memory(ctx context.Context, out io.Writer) error {
	counts := idleStreams
	if files := raiseFiles(); files < 2*idleStreams[2]+1_000 {
		counts = []int{0, 1_000, (files - 1_000) / 2}
		fmt.Fprintf(out, "a process may have %d files here, so there are %d streams instead of %d\n", files, counts[2], idleStreams[2])
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "resident memory, MiB\t%d\t%d\t%d streams\tKiB per stream\n", counts[0], counts[1], counts[2])
	for _, p := range h.proxies {
		sizes, err := h.idle(ctx, p, counts)
		if err != nil {
			fmt.Fprintf(w, "  %s\t%v\n", p.name, err)
			continue
		}
		fmt.Fprintf(w, "  %s", p.name)
		for _, size := range sizes {
			fmt.Fprintf(w, "\t%.1f", float64(size)/(1<<20))
		}
		fmt.Fprintf(w, "\t%.1f\n", float64(sizes[2]-sizes[0])/float64(counts[2])/1024)
	}
	_ = w.Flush() // to a terminal
	fmt.Fprintln(out)
	return ctx.Err()
}

// raiseFiles lets this process, and its children, open as many files as the system
// allows, and returns how many.
func raiseFiles() int {
	for _, wanted := range []uint64{65_536, 0} {
		var limit unix.Rlimit
		if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
			break
		}
		limit.Cur, limit.Max = max(limit.Max, wanted), max(limit.Max, wanted)
		if unix.Setrlimit(unix.RLIMIT_NOFILE, &limit) == nil {
			return int(limit.Cur)
		}
	}
	return 1024
}

// idle opens streams through a proxy and returns its memory at each count.
func (h *house) idle(ctx context.Context, p *proxy, counts []int) (sizes []int64, err error) {
	request := h.streamCall("still", 1_000)(peer{address: p.through["still"], path: p.path})
	var mu sync.Mutex
	var streams []net.Conn
	defer func() {
		for _, stream := range streams {
			_ = stream.Close()
		}
		time.Sleep(2 * time.Second) // until the engine has noticed
	}()
	for _, count := range counts {
		var failed error
		var opening sync.WaitGroup
		places := make(chan struct{}, openAtOnce)
		for range count - len(streams) {
			places <- struct{}{}
			opening.Go(func() {
				defer func() { <-places }()
				stream, err := openStream(ctx, p.through["still"], request)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					failed = errors.Join(failed, err)
				} else {
					*p.made++
					streams = append(streams, stream)
				}
			})
		}
		opening.Wait()
		if failed != nil {
			text, _, _ := strings.Cut(failed.Error(), "\n")
			return nil, fmt.Errorf("%d of %d streams: %s", len(streams), count, text)
		}
		time.Sleep(time.Second)
		size, err := p.process.resident(p.children)
		if err != nil {
			return nil, err
		}
		sizes = append(sizes, size)
	}
	return sizes, nil
}

// openStream makes a call and reads up to its first event.
func openStream(ctx context.Context, address string, request []byte) (net.Conn, error) {
	stream, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	if err = stream.SetDeadline(time.Now().Add(patience)); err == nil {
		_, err = stream.Write(request)
	}
	for reader := bufio.NewReaderSize(stream, 1024); err == nil; {
		var line []byte
		if line, err = reader.ReadSlice('\n'); bytes.HasPrefix(line, dataLine) {
			return stream, nil
		}
	}
	return nil, errors.Join(err, stream.Close())
}

// resident is the memory of a process and, if it has any to count, of its children.
func (p *process) resident(withChildren bool) (sum int64, err error) {
	pids := []int{p.cmd.Process.Pid}
	if withChildren {
		children, err := childrenOf(pids[0])
		if err != nil {
			return 0, err
		}
		pids = append(pids, children...)
	}
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
		if err != nil {
			return 0, err
		}
		fields := strings.Fields(string(text))
		if len(fields) < 2 {
			return 0, fmt.Errorf("statm of %s: %q", p.name, text)
		}
		pages, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			return 0, err
		}
		sum += pages * int64(os.Getpagesize())
	}
	return sum, nil
}
