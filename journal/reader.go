package journal

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
)

// Entry is a mark that was read.
type Entry struct {
	At   Position
	Life int64 // that it was written in
	// Payload is valid until the next call of Next or Cut.
	Payload []byte
}

// Reader gives the marks of a journal in order. It belongs to one goroutine, which is the
// one that cuts.
type Reader struct {
	journal *Journal
	number  int64 // of the segment that is read; 0: none yet
	from    int64 // offset to begin at in that segment
	life    int64
	path    string // of the segment, and what was lost before it; of earlier lives
	before  int64
	cursor
}

// Read returns a Reader of the marks from a position on.
func (j *Journal) Read(from Position) *Reader {
	return &Reader{journal: j, number: from.Segment(), from: max(from.offset(), headerBytes)}
}

// Position is where the next mark is expected. Once it is in this life, everything of
// earlier ones has been read.
func (r *Reader) Position() Position {
	if r.data == nil {
		return positionOf(r.number, r.from)
	}
	return positionOf(r.number, r.offset)
}

// Lost counts the bytes of earlier lives that stood where marks may have been and could
// not be read as such.
func (r *Reader) Lost() int64 { return r.lost }

// Next returns the next mark; [io.EOF] when there is none yet.
func (r *Reader) Next() (Entry, error) {
	for {
		if r.data == nil {
			if err := r.load(); err != nil {
				return Entry{}, err
			}
		}
		at, payload, err := r.cursor.next()
		switch {
		case err == nil:
			return Entry{At: positionOf(r.number, at), Life: r.life, Payload: payload}, nil
		case errors.Is(err, errWait):
			return Entry{}, io.EOF
		}
		if r.lost > r.before {
			r.journal.keep(r.path)
		}
		r.number, r.from, r.data = r.number+1, headerBytes, nil
	}
}

// keep keeps a segment for people in which something cannot be read, when it is cut.
func (j *Journal) keep(path string) {
	err := os.Link(path, path+damagedSuffix)
	if err == nil || errors.Is(err, os.ErrExist) {
		j.opt.Logger.Error("a segment of the journal is damaged; what can be read of it is, and it is kept", "file", path+damagedSuffix)
		return
	}
	j.opt.Logger.Error("a segment of the journal is damaged; what can be read of it is, and it could not be kept", "file", path, "error", err)
}

// load turns to the segment with the reader's number or, if that is gone, the next one.
func (r *Reader) load() error {
	s := r.journal.following(r.number)
	switch {
	case s == nil && r.number < r.journal.life: // all of earlier lives has been read
		r.number, r.from = r.journal.life, headerBytes
		return io.EOF
	case s == nil:
		return io.EOF
	case s.number != r.number:
		r.number, r.from = s.number, headerBytes
	}
	r.life = s.life
	live := s.life == r.journal.life
	m, lost := s.marks, r.lost
	r.path, r.before = s.path, lost
	if !live {
		data, err := os.ReadFile(s.path)
		if err != nil {
			return err
		}
		m = marks{data: data[:len(data)&^(wordBytes-1)], seed: s.beginning()}
		lost += max(0, s.size-int64(len(data))) // files have their whole size from the beginning
	}
	r.cursor = cursor{marks: m, offset: r.from, live: live, lost: lost}
	return nil
}

// following returns the first segment with that number or a larger one, nil if it is not
// written to yet.
func (j *Journal) following(number int64) *segment {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, s := range j.all {
		if s.number >= number {
			return s
		}
	}
	return nil
}

var (
	errWait = errors.New("no mark yet")
	errEnd  = errors.New("the segment ends")
)

// cursor walks through the marks of one segment.
type cursor struct {
	marks
	offset int64
	live   bool // it is being written
	lost   int64
}

// next returns the next mark and its offset. In a segment that is being written it waits
// for what is not filled in; otherwise it looks for the next valid mark.
func (c *cursor) next() (int64, []byte, error) {
	gap := c.offset
	for c.offset+wordBytes <= int64(len(c.data)) {
		at := c.offset
		word := c.word(at)
		if word == 0 && c.live {
			return 0, nil, errWait
		}
		if c.ends(at, word) {
			c.offset = int64(len(c.data))
			break
		}
		if payload, ok := c.payload(at, word); ok {
			c.offset = min(at+space(len(payload)), int64(len(c.data)))
			c.lost += at - gap
			return at, payload, nil
		}
		c.offset += wordBytes
	}
	c.lost += c.spoiled(gap)
	return 0, nil, errEnd
}

// spoiled counts what is not zero at the end of a segment.
func (c *cursor) spoiled(from int64) int64 {
	last := from
	for at := from; at+wordBytes <= int64(len(c.data)); at += wordBytes {
		if word := binary.LittleEndian.Uint64(c.data[at:]); word != 0 && lengthOf(word) != endLength {
			last = at + wordBytes
		}
	}
	return last - from
}
