package imports

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Bounds of what the header of a GGUF may announce, far beyond real models. The parser
// believes counts that would have it allocate until the process dies, which no recover
// catches; so the header is walked once before.
const (
	entriesMax     = 1 << 16
	tensorsMax     = 1 << 18
	keyBytesMax    = 1 << 16
	stringBytesMax = 16 << 20 // chat templates
	textBytesMax   = 64 << 20 // all strings that the parser keeps
	arrayItemsMax  = 1 << 24  // vocabularies
	layersMax      = 1 << 14
	dimensionsMax  = 4
)

// The types of metadata values, and the bytes of those with a fixed size.
const (
	typeUint32 = 4
	typeString = 8
	typeArray  = 9
)

var fixedBytes = map[uint32]int64{0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}

var (
	errSplit     = errors.New("it is one part of a model that was split")
	errBigEndian = errors.New("it is big-endian")
	errOldFormat = errors.New("it is of version 1")
)

// checkBounds walks the header of a GGUF after its magic and returns what is wrong
// with it. Its memory is bounded, its time by the header's length.
func checkBounds(r io.Reader) error {
	h := &header{r: bufio.NewReaderSize(r, 1<<16)}
	switch version := h.uint32(); {
	case h.err != nil:
		return h.err
	case version&0xffff == 0:
		return errBigEndian
	case version == 1:
		return errOldFormat // other sizes; llama.cpp does not load it either
	case version > 3:
		return fmt.Errorf("its version %d is not known", version)
	}
	tensors := h.count("tensors", tensorsMax)
	entries := h.count("metadata entries", entriesMax)
	for n := uint64(0); n < entries && h.err == nil; n++ {
		h.entry()
	}
	for n := uint64(0); n < tensors && h.err == nil; n++ {
		h.tensor()
	}
	return h.err
}

// header reads on until the first error, which it keeps.
type header struct {
	r    *bufio.Reader
	text uint64 // bytes of strings that the parser will keep
	err  error
}

func (h *header) fail(format string, args ...any) {
	if h.err == nil {
		h.err = fmt.Errorf(format, args...)
	}
}

func (h *header) read(n int) []byte {
	b := make([]byte, n)
	if h.err == nil {
		_, h.err = io.ReadFull(h.r, b)
	}
	return b
}

func (h *header) uint32() uint32 { return binary.LittleEndian.Uint32(h.read(4)) }
func (h *header) uint64() uint64 { return binary.LittleEndian.Uint64(h.read(8)) }

func (h *header) skip(n int64) {
	if h.err == nil {
		_, h.err = io.CopyN(io.Discard, h.r, n)
	}
}

// count reads a number that must not be beyond most; it is 0 after an error.
func (h *header) count(of string, most uint64) uint64 {
	n := h.uint64()
	if h.err == nil && n > most {
		h.fail("it announces %d %s; at most %d are believed", n, of, most)
	}
	if h.err != nil {
		return 0
	}
	return n
}

func (h *header) entry() {
	key := string(h.read(int(h.count("bytes of a key", keyBytesMax))))
	if strings.HasPrefix(key, "split.") && key != "split.no" {
		h.split(key)
		return
	}
	kind := h.uint32()
	if strings.HasSuffix(key, ".block_count") && kind == typeUint32 {
		if layers := h.uint32(); layers > layersMax {
			h.fail("it announces %d layers; at most %d are believed", layers, layersMax)
		}
		return
	}
	h.value(key, kind)
}

// split refuses a model in several files: the hash would cover one of them only.
func (h *header) split(key string) {
	kind := h.uint32()
	if key != "split.count" {
		h.value(key, kind)
		return
	}
	size, fixed := fixedBytes[kind]
	if !fixed {
		h.fail("its %s is not a number", key)
		return
	}
	if parts := h.read(int(size)); h.err == nil && parts[0] != 1 {
		h.err = errSplit
	}
}

func (h *header) value(key string, kind uint32) {
	switch size, fixed := fixedBytes[kind]; {
	case fixed:
		h.skip(size)
	case kind == typeString:
		h.kept(stringBytesMax)
	case kind == typeArray:
		h.array(key)
	default:
		h.fail("its %s has the unknown type %d", key, kind)
	}
}

// kept skips a string that the parser will keep.
func (h *header) kept(most uint64) {
	n := h.count("bytes of text", most)
	if h.text += n; h.text > textBytesMax {
		h.fail("it has more than %d bytes of text", textBytesMax)
	}
	h.skip(int64(n))
}

func (h *header) array(key string) {
	kind := h.uint32()
	most := uint64(arrayItemsMax)
	if !strings.HasPrefix(key, "tokenizer.") {
		most = layersMax // the parser keeps some of these, one value per layer
	}
	items := h.count("items of "+key, most)
	switch size, fixed := fixedBytes[kind]; {
	case fixed:
		h.skip(size * int64(items))
	case kind == typeString:
		for n := uint64(0); n < items && h.err == nil; n++ {
			h.skip(int64(h.count("bytes of text", stringBytesMax)))
		}
	default: // also arrays of arrays, which the parser would follow down without end
		h.fail("its %s has items of the unknown type %d", key, kind)
	}
}

func (h *header) tensor() {
	h.kept(keyBytesMax)
	dimensions := h.uint32()
	if dimensions > dimensionsMax {
		h.fail("it has a tensor of %d dimensions; at most %d are believed", dimensions, dimensionsMax)
		return
	}
	h.skip(int64(dimensions)*8 + 4 + 8) // sizes, type, offset
}
