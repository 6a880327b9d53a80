package keeper

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

const (
	lineBytesMax  = 8 << 10                // a longer line is cut
	queueLinesMax = 1024                   // lines between engine and disk, so at most 8 MiB
	queuePatience = 100 * time.Millisecond // how long a full queue may hold the engine up
	finishMax     = 2 * time.Second        // for the rest of the output, and again for the disk
	tailBytesMax  = 2 << 10

	cutMark = " …[cut]\n"
)

// recorder copies an engine's output, line by line, to a log that may be slow
// or broken. Neither ever stops the engine: a full queue holds it up once for
// queuePatience, then lines are dropped and counted until there is room; lines
// that the log refuses are lost. The tail is complete in any case.
type recorder struct {
	output  *os.File
	queue   chan []byte
	dropped int // lines since the queue was last written to
	tail    tail

	read    chan struct{} // closed when the output has ended
	written chan struct{} // closed when the queue has been written
}

// record starts copying output to log, and owns both. End with finish.
func record(output *os.File, log io.WriteCloser) *recorder {
	r := &recorder{
		output:  output,
		queue:   make(chan []byte, queueLinesMax),
		read:    make(chan struct{}),
		written: make(chan struct{}),
	}
	go r.readLines()
	go r.writeLines(log)
	return r
}

// finish waits for the end of the output and of the log, each for at most
// finishMax, and returns the tail. The bounds are for a process that holds the
// pipe without being our descendant, and for a disk that hangs.
func (r *recorder) finish() string {
	_ = r.output.SetReadDeadline(time.Now().Add(finishMax))
	<-r.read
	select {
	case <-r.written:
	case <-time.After(finishMax):
	}
	return r.tail.String()
}

func (r *recorder) readLines() {
	defer close(r.read)
	defer close(r.queue)
	defer func() { _ = r.output.Close() }()
	lines := bufio.NewReaderSize(r.output, lineBytesMax)
	for {
		line, err := nextLine(lines)
		if len(line) > 0 {
			_, _ = r.tail.Write(line)
			r.enqueue(line)
		}
		if err != nil {
			return
		}
	}
}

// nextLine returns a copy of the next line with its line break, cut where the
// reader's buffer ends. The last line may come with an error beside it.
func nextLine(lines *bufio.Reader) ([]byte, error) {
	slice, err := lines.ReadSlice('\n')
	line := bytes.Clone(slice)
	if !errors.Is(err, bufio.ErrBufferFull) {
		if err != nil && len(line) > 0 {
			line = append(line, '\n') // so that the next run begins a new line
		}
		return line, err
	}
	for errors.Is(err, bufio.ErrBufferFull) {
		_, err = lines.ReadSlice('\n')
	}
	return append(line, cutMark...), err
}

func (r *recorder) enqueue(line []byte) {
	if r.dropped > 0 {
		line = append(fmt.Appendf(nil, "…[%d lines dropped: the log was too slow]\n", r.dropped), line...)
	}
	select {
	case r.queue <- line:
		r.dropped = 0
		return
	default:
	}
	if r.dropped == 0 {
		select {
		case r.queue <- line:
			return
		case <-time.After(queuePatience):
		}
	}
	r.dropped++
}

func (r *recorder) writeLines(log io.WriteCloser) {
	defer close(r.written)
	for line := range r.queue {
		_, _ = log.Write(line)
	}
	_ = log.Close()
}

// tail is an io.Writer that remembers the last tailBytesMax bytes.
type tail struct{ last []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.last = append(t.last, p...)
	if over := len(t.last) - tailBytesMax; over > 0 {
		t.last = append(t.last[:0], t.last[over:]...)
	}
	return len(p), nil
}

// String leaves out what is not valid UTF-8, such as half a character at the cut.
func (t *tail) String() string { return strings.ToValidUTF8(string(t.last), "") }
