package imports

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Bounds of what the header of a safetensors file may announce. The format itself
// allows 100 MB, which no real model comes near.
const (
	safetensorsHeaderMax     = 32 << 20 // bytes
	safetensorsDimensionsMax = 8
)

// tensor is one entry of the header of a safetensors file.
type tensor struct {
	name  string
	dtype string
	shape []int64
	begin int64 // where its values begin in the file
	size  int64 // bytes
}

// dtypeBytes is the size of one value of each type that the format names and that
// weights are kept in.
var dtypeBytes = map[string]int64{
	"BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1,
	"U16": 2, "I16": 2, "F16": 2, "BF16": 2,
	"U32": 4, "I32": 4, "F32": 4,
	"U64": 8, "I64": 8, "F64": 8,
}

// readSafetensors reads the header of a safetensors file of the given size and returns
// its tensors in the order of their values. As the format demands, these lie without
// gap or overlap from the header to the end of the file.
func readSafetensors(r io.ReaderAt, fileBytes int64) ([]tensor, error) {
	var length [8]byte
	if _, err := r.ReadAt(length[:], 0); err != nil {
		return nil, cutOff(err)
	}
	n := binary.LittleEndian.Uint64(length[:])
	if n > safetensorsHeaderMax {
		return nil, fmt.Errorf("it announces a header of %d bytes; at most %d are believed", n, safetensorsHeaderMax)
	}
	header := make([]byte, n)
	if _, err := r.ReadAt(header, int64(len(length))); err != nil {
		return nil, cutOff(err)
	}
	return parseSafetensors(header, int64(len(length))+int64(n), fileBytes)
}

func cutOff(err error) error {
	if errors.Is(err, io.EOF) {
		return errors.New("it is cut off in its header")
	}
	return err
}

// safetensorsEntry is a tensor as the header says it.
type safetensorsEntry struct {
	DType   string    `json:"dtype"`
	Shape   []int64   `json:"shape"`
	Offsets *[2]int64 `json:"data_offsets"`
}

// parseSafetensors reads a header whose values begin at the byte dataBegin of a file.
func parseSafetensors(header []byte, dataBegin, fileBytes int64) ([]tensor, error) {
	var members map[string]jsontext.Value
	if err := json.Unmarshal(header, &members); err != nil { // refuses names that stand twice
		return nil, fmt.Errorf("its header is no JSON object: %w", err)
	}
	if len(members) > tensorsMax {
		return nil, fmt.Errorf("it announces %d tensors; at most %d are believed", len(members), tensorsMax)
	}
	tensors := make([]tensor, 0, len(members))
	for name, value := range members {
		if name == "__metadata__" {
			continue
		}
		t, err := entryOf(name, value)
		if err != nil {
			return nil, err
		}
		t.begin += dataBegin
		tensors = append(tensors, t)
	}
	slices.SortFunc(tensors, func(a, b tensor) int {
		if a.begin != b.begin {
			return int(min(max(a.begin-b.begin, -1), 1))
		}
		if a.size != b.size { // those without values come before the one they share a place with
			return int(min(max(a.size-b.size, -1), 1))
		}
		return strings.Compare(a.name, b.name)
	})
	return tensors, gapless(tensors, dataBegin, fileBytes)
}

func entryOf(name string, value jsontext.Value) (tensor, error) {
	var e safetensorsEntry
	if err := json.Unmarshal(value, &e); err != nil || e.Offsets == nil {
		return tensor{}, fmt.Errorf("its tensor %.60q has no usable entry", name)
	}
	size, known := dtypeBytes[e.DType]
	if !known {
		return tensor{}, fmt.Errorf("its tensor %.60q has values of the unknown type %.20q", name, e.DType)
	}
	if len(e.Shape) > safetensorsDimensionsMax {
		return tensor{}, fmt.Errorf("its tensor %.60q has %d dimensions; at most %d are believed", name, len(e.Shape), safetensorsDimensionsMax)
	}
	for _, d := range e.Shape {
		if d < 0 || d > 0 && size > math.MaxInt64/d {
			return tensor{}, fmt.Errorf("its tensor %.60q has the impossible shape %d", name, e.Shape)
		}
		size *= d
	}
	begin, end := e.Offsets[0], e.Offsets[1]
	if begin < 0 || end < begin || end > math.MaxInt64/2 || end-begin != size {
		return tensor{}, fmt.Errorf("its tensor %.60q needs %d bytes but lies from %d to %d", name, size, begin, end)
	}
	return tensor{name: name, dtype: e.DType, shape: e.Shape, begin: begin, size: size}, nil
}

// gapless refuses values that overlap, leave a gap or end elsewhere than the file.
func gapless(tensors []tensor, at, fileBytes int64) error {
	for _, t := range tensors {
		if t.begin != at {
			return fmt.Errorf("its tensor %.60q does not begin where the one before it ends", t.name)
		}
		at += t.size
	}
	switch {
	case at > fileBytes:
		return fmt.Errorf("it is cut off: its header announces %d bytes, it has %d", at, fileBytes)
	case at < fileBytes:
		return fmt.Errorf("it has %d bytes that belong to no tensor", fileBytes-at)
	}
	return nil
}
