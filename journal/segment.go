package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"sync/atomic"
	"time"
	"unsafe"
)

// Position is a place in a journal. Later marks have larger positions; 0 is before all.
type Position int64

// What a position is made of: the number of a segment and, in units of 8 bytes, the
// offset in it.
const (
	offsetBits = 24
	wordBytes  = 8
	// maxSegmentBytes is what an offset can reach.
	maxSegmentBytes = wordBytes << offsetBits
)

func positionOf(number, offset int64) Position {
	return Position(number<<offsetBits | offset/wordBytes)
}

// At returns the first position of a segment.
func At(segment int64) Position { return positionOf(segment, 0) }

// Segment is the number of the segment that the position is in.
func (p Position) Segment() int64 { return int64(p) >> offsetBits }

func (p Position) offset() int64 { return int64(p) & (1<<offsetBits - 1) * wordBytes }

// MaxMark is the most bytes that a mark can have.
const MaxMark = 4 << 10

const (
	magic       = "BERTHJNL"
	version     = 1
	headerBytes = 64
	// endLength stands where a length would when no more marks follow in the segment.
	endLength = 1<<32 - 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// header is what a segment says of itself.
type header struct {
	number  int64
	life    int64 // number of the first segment of the life that wrote it
	salt    uint64
	created time.Time
	size    int64 // bytes of the file
}

func (h header) encode() []byte {
	b := make([]byte, headerBytes)
	copy(b, magic)
	binary.LittleEndian.PutUint32(b[8:], version)
	binary.LittleEndian.PutUint64(b[16:], uint64(h.number))
	binary.LittleEndian.PutUint64(b[24:], uint64(h.life))
	binary.LittleEndian.PutUint64(b[32:], h.salt)
	binary.LittleEndian.PutUint64(b[40:], uint64(h.created.UnixNano()))
	binary.LittleEndian.PutUint64(b[48:], uint64(h.size))
	binary.LittleEndian.PutUint32(b[12:], crc32.Checksum(b, castagnoli))
	return b
}

var (
	errDamaged = errors.New("the header is damaged")
	errNewer   = errors.New("written by a newer version")
)

func decodeHeader(b []byte) (header, error) {
	if len(b) < headerBytes || string(b[:len(magic)]) != magic {
		return header{}, errDamaged
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v > version {
		return header{}, fmt.Errorf("%w: %d, this one knows %d", errNewer, v, version)
	}
	plain := [headerBytes]byte(b[:headerBytes])
	clear(plain[12:16])
	if crc32.Checksum(plain[:], castagnoli) != binary.LittleEndian.Uint32(b[12:]) {
		return header{}, errDamaged
	}
	h := header{
		number:  int64(binary.LittleEndian.Uint64(b[16:])),
		life:    int64(binary.LittleEndian.Uint64(b[24:])),
		salt:    binary.LittleEndian.Uint64(b[32:]),
		created: time.Unix(0, int64(binary.LittleEndian.Uint64(b[40:]))),
		size:    int64(binary.LittleEndian.Uint64(b[48:])),
	}
	if h.number <= 0 || h.life <= 0 || h.life > h.number {
		return header{}, errDamaged
	}
	return h, nil
}

// beginning is what the checksums of a segment begin with.
func (h header) beginning() uint32 {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], h.salt)
	binary.LittleEndian.PutUint64(b[8:], uint64(h.number))
	return crc32.Checksum(b[:], castagnoli)
}

// space is what a mark of n bytes takes in a segment.
func space(n int) int64 { return wordBytes + (int64(n)+wordBytes-1)&^(wordBytes-1) }

// marks are the bytes of a segment, from its header on.
type marks struct {
	data []byte
	seed uint32
}

// word returns length and checksum at an offset, 0 where no mark is yet.
func (m marks) word(offset int64) uint64 {
	return atomic.LoadUint64((*uint64)(unsafe.Pointer(&m.data[offset])))
}

func lengthOf(word uint64) uint32 { return uint32(word) }

func sumOf(word uint64) uint32 { return uint32(word >> 32) }

func (m marks) checksum(offset int64, payload []byte) uint32 {
	return crc32.Update(m.seed^uint32(offset), castagnoli, payload)
}

// payload returns the bytes of the mark at an offset; ok is false when what stands there
// is none.
func (m marks) payload(offset int64, word uint64) (payload []byte, ok bool) {
	length := int64(lengthOf(word))
	from := offset + wordBytes
	if length == 0 || length > MaxMark || from+length > int64(len(m.data)) {
		return nil, false
	}
	payload = m.data[from : from+length : from+length]
	return payload, m.checksum(offset, payload) == sumOf(word)
}

// ends reports whether the segment says that it ends here.
func (m marks) ends(offset int64, word uint64) bool {
	return lengthOf(word) == endLength && sumOf(word) == m.checksum(offset, nil)
}

func (m marks) commit(offset int64, payload []byte) {
	word := uint64(m.checksum(offset, payload))<<32 | uint64(len(payload))
	atomic.StoreUint64((*uint64)(unsafe.Pointer(&m.data[offset])), word)
}

func (m marks) seal(offset int64) {
	word := uint64(m.checksum(offset, nil))<<32 | endLength
	atomic.StoreUint64((*uint64)(unsafe.Pointer(&m.data[offset])), word)
}

// frontier returns the first offset from the given one on at which nothing stands yet,
// and whether the segment ends there: then no writer is in it any more, or ever again.
func (m marks) frontier(offset int64) (_ int64, complete bool) {
	for offset < int64(len(m.data)) {
		word := m.word(offset)
		switch length := lengthOf(word); {
		case word == 0:
			return offset, false
		case length == endLength:
			return offset, true
		default:
			offset += space(int(length))
		}
	}
	return offset, true
}

// segment is one file. Those of earlier lives have no marks in memory.
type segment struct {
	header
	path string
	marks

	tail   atomic.Int64 // where the next mark goes; beyond the size when it is full
	_      [56]byte     // no neighbour on the same cache line
	synced int64        // offset up to which everything is on disk; only sync uses it
}

// Mark is a place in the journal that its taker fills in.
type Mark struct {
	// Bytes are the mark's; they are zero at first.
	Bytes   []byte
	segment *segment
	offset  int64
}

// Commit makes the mark valid. It is called once, after the bytes are there.
func (m Mark) Commit() { m.segment.commit(m.offset, m.Bytes) }

// Position is where the mark is.
func (m Mark) Position() Position { return positionOf(m.segment.number, m.offset) }

// take returns the place of the next n bytes; ok is false when the segment is full. To the
// first who is told so, spare is what was kept back for the end and not needed.
func (s *segment) take(n int) (_ Mark, spare int64, ok bool) {
	size, whole := space(n), s.size // not the length of data, which may be cut by now
	end := s.tail.Add(size)
	from := end - size
	switch {
	case end <= whole:
		first := from + wordBytes
		return Mark{Bytes: s.data[first : first+int64(n) : first+int64(n)], segment: s, offset: from}, 0, true
	case from > whole || whole == 0:
		return Mark{}, 0, false
	case from < whole:
		s.seal(from)
	}
	return Mark{}, endBytes - (whole - from), false
}

// endBytes are kept back of each segment: its end may be too short for the next mark.
var endBytes = space(MaxMark)
