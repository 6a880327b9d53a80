package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"testing"
	"time"
)

// Whatever the bytes are: no panic, an end, and no mark but with its checksum.
func FuzzReader(f *testing.F) {
	h := header{number: 3, life: 2, salt: 77, created: time.Unix(1, 0), size: 4096}
	whole := marks{data: append(h.encode(), make([]byte, 1024)...), seed: h.beginning()}
	s := &segment{header: h, marks: whole}
	s.tail.Store(headerBytes)
	for _, payload := range [][]byte{[]byte("one"), bytes.Repeat([]byte("two"), 50), {3}} {
		m, _, _ := s.take(len(payload))
		copy(m.Bytes, payload)
		m.Commit()
	}
	f.Add(whole.data, int64(headerBytes), false)
	f.Add(whole.data[:300], int64(0), true)
	f.Add([]byte{}, int64(8), false)
	f.Fuzz(func(t *testing.T, data []byte, from int64, live bool) {
		_, _ = decodeHeader(data)
		padded := append(bytes.Clone(data), make([]byte, -len(data)&7)...)
		if from < 0 || from%wordBytes != 0 {
			from = headerBytes
		}
		m := marks{data: padded, seed: h.beginning()}
		c := cursor{marks: m, offset: from, live: live}
		last := from - 1
		for {
			at, payload, err := c.next()
			if err != nil {
				if !errors.Is(err, errEnd) && !errors.Is(err, errWait) {
					t.Fatal(err)
				}
				break
			}
			word := binary.LittleEndian.Uint64(padded[at:])
			sum := crc32.Update(m.seed^uint32(at), castagnoli, payload)
			if at <= last || len(payload) == 0 || int(lengthOf(word)) != len(payload) || sumOf(word) != sum {
				t.Fatalf("a mark at %d that is none", at)
			}
			last = at
		}
		if c.lost < 0 {
			t.Errorf("%d bytes lost", c.lost)
		}
		_, _ = m.frontier(min(from, int64(len(padded))))
	})
}
