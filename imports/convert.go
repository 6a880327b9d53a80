package imports

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
)

// The types of GGUF tensors that adapters are written in, and the alignment of their
// values.
const (
	ggmlF32       = 0
	ggmlF16       = 1
	ggufVersion   = 3
	ggufAlignment = 32
	typeFloat32   = 6
)

// ggufBase is what a conversion must know of the base, from the base's own GGUF.
type ggufBase struct {
	architecture string
	heads        int64 // attention heads of queries
	kvHeads      int64 // of keys and values
}

// ggufModules are the modules of the families below, as Hugging Face and llama.cpp call
// them, in the order of writing.
var ggufModules = []struct{ hf, gguf string }{
	{"self_attn.q_proj", "attn_q"},
	{"self_attn.k_proj", "attn_k"},
	{"self_attn.v_proj", "attn_v"},
	{"self_attn.o_proj", "attn_output"},
	{"mlp.gate_proj", "ffn_gate"},
	{"mlp.up_proj", "ffn_up"},
	{"mlp.down_proj", "ffn_down"},
}

// ggufFamilies are the architectures whose adapters can be converted, and whether
// llama.cpp keeps the rows of their queries and keys in another order than Hugging Face
// (convert_hf_to_gguf.py, LlamaModel.permute).
var ggufFamilies = map[string]bool{"llama": true, "qwen2": false, "qwen3": false}

// ggufTensor is a tensor on its way from a PEFT file to a GGUF.
type ggufTensor struct {
	name  string
	from  tensor
	heads int64 // > 0: the rows of each of so many heads change their order
	rank  int   // in the order of writing
}

// writeGGUF writes an adapter as the GGUF that llama.cpp applies to the base. values
// are the bytes of the safetensors file. Nothing is lost: F16 and F32 stay as they are,
// BF16 becomes F32.
func writeGGUF(w io.Writer, base ggufBase, name string, c *adapterConfig, pairs []loraPair, values io.ReaderAt) error {
	tensors, err := ggufTensors(base, pairs)
	if err != nil {
		return err
	}
	out := &ggufWriter{w: bufio.NewWriterSize(w, 1<<20)}
	out.header(base, name, c, tensors)
	for _, t := range tensors {
		if err := out.values(t, values); err != nil {
			return err
		}
	}
	if out.err != nil {
		return out.err
	}
	return out.w.Flush()
}

var layerModule = regexp.MustCompile(`^model\.layers\.([0-9]{1,5})\.(.+)$`)

// ggufTensors names and orders the tensors of a GGUF adapter.
func ggufTensors(base ggufBase, pairs []loraPair) ([]ggufTensor, error) {
	permuted, known := ggufFamilies[base.architecture]
	if !known {
		return nil, fmt.Errorf("adapters for the architecture %.40q cannot be converted for llama.cpp here; convert it with llama.cpp's convert_lora_to_gguf.py and import the GGUF", base.architecture)
	}
	var tensors []ggufTensor
	for _, p := range pairs {
		part := layerModule.FindStringSubmatch(p.module)
		module := -1
		if part != nil {
			module = slices.IndexFunc(ggufModules, func(m struct{ hf, gguf string }) bool { return m.hf == part[2] })
		}
		if module < 0 {
			return nil, fmt.Errorf("its module %.80q is none that an adapter for %s can have", p.module, base.architecture)
		}
		layer, _ := strconv.Atoi(part[1]) // the pattern lets digits through only
		prefix := "blk." + strconv.Itoa(layer) + "." + ggufModules[module].gguf + ".weight"
		b := ggufTensor{name: prefix + ".lora_b", from: p.b, rank: layer*2*len(ggufModules) + 2*module + 1}
		if permuted {
			b.heads = base.headsOf(ggufModules[module].gguf)
			if b.heads > 0 && p.b.shape[0]%(2*b.heads) != 0 {
				return nil, fmt.Errorf("its module %.80q has %d outputs, which %d heads do not share evenly", p.module, p.b.shape[0], b.heads)
			}
		}
		tensors = append(tensors, b, ggufTensor{name: prefix + ".lora_a", from: p.a, rank: b.rank - 1})
	}
	slices.SortFunc(tensors, func(x, y ggufTensor) int { return x.rank - y.rank })
	return tensors, nil
}

func (b ggufBase) headsOf(module string) int64 {
	switch module {
	case "attn_q":
		return b.heads
	case "attn_k":
		return b.kvHeads
	}
	return 0
}

// ggml is the type in which the tensor is written.
func (t *ggufTensor) ggml() uint32 {
	if t.from.dtype == "F16" {
		return ggmlF16
	}
	return ggmlF32
}

// bytes is the size of the tensor as it is written.
func (t *ggufTensor) bytes() int64 {
	if t.from.dtype == "BF16" {
		return 2 * t.from.size
	}
	return t.from.size
}

func padding(n int64) int64 { return (ggufAlignment - n%ggufAlignment) % ggufAlignment }

// ggufWriter writes on until the first error, which it keeps.
type ggufWriter struct {
	w       *bufio.Writer
	written int64
	err     error
}

func (o *ggufWriter) bytes(b []byte) {
	if o.err == nil {
		_, o.err = o.w.Write(b)
		o.written += int64(len(b))
	}
}

func (o *ggufWriter) uint32(n uint32) { o.bytes(binary.LittleEndian.AppendUint32(nil, n)) }
func (o *ggufWriter) uint64(n uint64) { o.bytes(binary.LittleEndian.AppendUint64(nil, n)) }

func (o *ggufWriter) text(s string) {
	o.uint64(uint64(len(s)))
	o.bytes([]byte(s))
}

func (o *ggufWriter) textEntry(key, value string) {
	o.text(key)
	o.uint32(typeString)
	o.text(value)
}

func (o *ggufWriter) pad() { o.bytes(make([]byte, padding(o.written))) }

// header writes all that stands before the values.
func (o *ggufWriter) header(base ggufBase, name string, c *adapterConfig, tensors []ggufTensor) {
	o.bytes([]byte(magic))
	o.uint32(ggufVersion)
	o.uint64(uint64(len(tensors)))
	const entries = 5
	o.uint64(entries)
	o.textEntry("general.architecture", base.architecture)
	o.textEntry("general.type", "adapter")
	o.textEntry("general.name", name)
	o.textEntry("adapter.type", "lora")
	o.text("adapter.lora.alpha")
	o.uint32(typeFloat32)
	o.uint32(math.Float32bits(c.scale()))
	offset := int64(0)
	for _, t := range tensors {
		o.text(t.name)
		o.uint32(uint32(len(t.from.shape)))
		for _, d := range slices.Backward(t.from.shape) { // llama.cpp counts from the innermost
			o.uint64(uint64(d))
		}
		o.uint32(t.ggml())
		o.uint64(uint64(offset))
		offset += t.bytes() + padding(t.bytes())
	}
	o.pad()
}

// copyBlock is how much of a tensor is in memory at a time; a multiple of every size of
// value.
const copyBlock = 1 << 20

var errNotFinite = errors.New("it has values that are not finite numbers; the training has failed")

// values writes the values of a tensor, in llama.cpp's order of rows.
func (o *ggufWriter) values(t ggufTensor, from io.ReaderAt) error {
	rowBytes := t.from.size
	rows := int64(1) // of what can be copied in one go
	if t.heads > 0 {
		rows = t.from.shape[0]
		rowBytes = t.from.size / rows
	}
	block := make([]byte, min(rowBytes, copyBlock))
	for row := range rows {
		begin := t.from.begin + permutedFrom(row, rows, t.heads)*rowBytes
		for done := int64(0); done < rowBytes; done += int64(len(block)) {
			part := block[:min(int64(len(block)), rowBytes-done)]
			if _, err := from.ReadAt(part, begin+done); err != nil {
				return fmt.Errorf("read the tensor %.80q: %w", t.name, err)
			}
			if !finite(part, t.from.dtype) {
				return errNotFinite
			}
			o.bytes(widened(part, t.from.dtype))
		}
	}
	o.pad()
	return o.err
}

// permutedFrom is the row of a Hugging Face matrix that is the given row of llama.cpp's:
// there the two halves of a head lie one behind the other, here their rows take turns.
func permutedFrom(row, rows, heads int64) int64 {
	if heads == 0 {
		return row
	}
	perHead := rows / heads
	head, within := row/perHead, row%perHead
	return head*perHead + within%2*(perHead/2) + within/2
}

// widened turns BF16 into F32, which holds the same values.
func widened(block []byte, dtype string) []byte {
	if dtype != "BF16" {
		return block
	}
	wide := make([]byte, 2*len(block))
	for i := 0; i+1 < len(block); i += 2 {
		wide[2*i+2], wide[2*i+3] = block[i], block[i+1]
	}
	return wide
}
