package gateway

import (
	"encoding/base64"
	"encoding/binary"
	"math"
	"strconv"

	berth "github.com/berthhq/berth"
)

// What the embedding services take (api.md 9.6).
const (
	maxTexts      = 10
	maxTextTokens = 8192 // of one text
)

const notTexts = "Value error, contents is neither str nor list of str.: input.contents"

// readTexts takes a text, or a list of them, that embeddings are wanted of.
func (r *request) readTexts(input value) error {
	p := prompt{content: input}
	add := func(text value) error {
		switch {
		case !text.isString():
			return invalid(notTexts)
		case len(text.inner()) == 0:
			return invalid("Range of input length should be [1, %d]", maxTextTokens)
		}
		p.count++
		p.bytes += int64(len(text.inner()))
		return nil
	}
	if input.isArray() {
		for text := range elements(input) {
			if err := add(text); err != nil {
				return err
			}
		}
	} else if err := add(input); err != nil {
		return err
	}
	switch {
	case p.count == 0:
		return invalid("[] is too short")
	case p.count > maxTexts:
		return invalid("Value error, batch size is invalid, it should not be larger than %d.", maxTexts)
	}
	r.prompt = p
	return nil
}

// embeds asks for the vectors of what was read. No engine is told a size: one that
// cannot make it would answer with another one.
func (r *request) embeds() {
	format := value(`"float"`)
	if r.packed {
		format = value(`"base64"`)
	}
	r.pass("encoding_format", format)
}

// suits returns nil for a whole reply that answers the request. Embeddings are answered
// by one vector for each text, in their order, all of the size that was asked for.
func (r *request) suits(reply *reply) error {
	if r.operation != embedding {
		return nil
	}
	reply.sort()
	if int64(len(reply.parts)) != r.prompt.count {
		return fail(problemEngine).because(errGarbage).ending(berth.EndEngineFailed)
	}
	for i := range reply.parts {
		p := &reply.parts[i]
		size, ok := vectorSize(p.vector)
		switch {
		case !ok || p.index != int64(i):
			return fail(problemEngine).because(errGarbage).ending(berth.EndEngineFailed)
		case r.dimensions > 0 && r.dimensions != size:
			return invalid("The dimensions of this model's embeddings are %d, not %d, and it cannot shorten them; leave the parameter out.", size, r.dimensions)
		}
	}
	return nil
}

// vectorSize returns how many numbers an engine's vector has, in either spelling; false
// if it is none.
func vectorSize(v value) (size int64, ok bool) {
	if v.isString() {
		raw, err := base64.StdEncoding.DecodeString(v.text())
		return int64(len(raw) / 4), err == nil && len(raw) > 0 && len(raw)%4 == 0
	}
	for number := range elements(v) {
		if _, ok := number.number(); !ok {
			return 0, false
		}
		size++
	}
	return size, size > 0
}

// appendVector appends a vector that vectorSize has accepted: as numbers or packed, which
// is base64 of little-endian 32-bit numbers. An engine may have either spelling.
func appendVector(dst []byte, v value, packed bool) []byte {
	switch {
	case packed == v.isString():
		return append(dst, v...)
	case packed:
		var raw []byte
		for number := range elements(v) {
			f, _ := number.number()
			raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(float32(f)))
		}
		return append(base64.StdEncoding.AppendEncode(append(dst, '"'), raw), '"')
	}
	raw, _ := base64.StdEncoding.DecodeString(v.text()) // it was decoded before
	dst = append(dst, '[')
	for i := 0; i < len(raw); i += 4 {
		if i > 0 {
			dst = append(dst, ',')
		}
		f := float64(math.Float32frombits(binary.LittleEndian.Uint32(raw[i:])))
		dst = strconv.AppendFloat(dst, f, 'g', -1, 32)
	}
	return append(dst, ']')
}

// embeddingWriter writes one body from one whole reply. The two dialects differ in what
// stands around the vectors.
type embeddingWriter struct {
	call *call
	body func(dst []byte, c *call, vectors []part, u *usage) []byte
}

func (w *embeddingWriter) event(dst []byte, r *reply, u *usage) []byte {
	return w.body(dst, w.call, r.parts, u)
}

func (*embeddingWriter) full() bool                         { return false }
func (*embeddingWriter) canEnd(*failure) bool               { return false }
func (*embeddingWriter) end(dst []byte, _ *usage) []byte    { return dst }
func (*embeddingWriter) fail(dst []byte, _ *failure) []byte { return dst } // nothing was sent

// appendVectors appends a list of objects, each with the number of its text.
func appendVectors(dst []byte, vectors []part, head, index string, packed bool) []byte {
	dst = append(dst, '[')
	for i := range vectors {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(append(dst, '{'), head...)
		dst = append(append(append(dst, '"'), index...), `":`...)
		dst = strconv.AppendInt(dst, vectors[i].index, 10)
		dst = appendVector(append(dst, `,"embedding":`...), vectors[i].vector, packed)
		dst = append(dst, '}')
	}
	return append(dst, ']')
}
