package imports

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	gguf "github.com/gpustack/gguf-parser-go"

	berth "github.com/berthhq/berth"
)

// matches compares the shapes of an adapter with those of its base. For a base tensor
// of n inputs and m outputs, lora_a is n × rank and lora_b is rank × m.
func (w *weights) matches(base *weights) error {
	shapes := make(map[string][]uint64, len(base.file.TensorInfos))
	for _, t := range base.file.TensorInfos {
		shapes[t.Name] = t.Dimensions
	}
	found := false
	for _, t := range w.file.TensorInfos {
		name, isA := strings.CutSuffix(t.Name, ".lora_a")
		name, isB := strings.CutSuffix(name, ".lora_b")
		if !isA && !isB {
			continue
		}
		found = true
		shape, known := shapes[name]
		if !known {
			return w.misfit(base, "the base has no tensor %.60q", name)
		}
		// Embeddings are stored the other way round; the engine checks them.
		if name == "token_embd.weight" || len(shape) < 2 || len(t.Dimensions) < 2 {
			continue
		}
		if isA && t.Dimensions[0] != shape[0] || isB && t.Dimensions[1] != shape[1] {
			return w.misfit(base, "its %.60q is %d, the base's tensor is %d", t.Name, t.Dimensions, shape)
		}
	}
	if !found {
		return berth.Errorf(berth.CodeInvalid, "The adapter %s has no LoRA weights; only LoRA adapters can be added.", w.path)
	}
	return nil
}

func (w *weights) misfit(base *weights, format string, args ...any) error {
	why := fmt.Sprintf(format, args...)
	return berth.Errorf(berth.CodeInvalid, "The adapter %s does not fit the base %s: %s; name the base it was trained on.", filepath.Base(w.path), filepath.Base(base.path), why)
}

// Bounds of numbers that are believed, so that their products stay numbers.
const (
	contextMax = 1 << 30 // tokens
	poolingMax = 16      // kinds of pooling; 5 are known
	widthMax   = 1 << 20 // values of an embedding
	headsMax   = 1 << 14
	lengthMax  = 1 << 16 // values of a head
)

// kvBytesPerToken is what one token of context takes with 16-bit keys and values in
// every layer, an upper bound where some layers keep less (sliding windows, recurrent
// ones); 0 for adapters and for models that say nothing of attention.
func kvBytesPerToken(file *gguf.GGUFFile, architecture string) int64 {
	const bytesPerValue = 2
	key := func(name string) string { return architecture + "." + name }
	layers := number(file, key("block_count"), layersMax)
	heads := number(file, key("attention.head_count"), headsMax)
	if heads == 0 {
		return 0
	}
	width := min(number(file, key("embedding_length"), widthMax)/heads, lengthMax)
	keyLength := cmp.Or(number(file, key("attention.key_length"), lengthMax), width)
	valueLength := cmp.Or(number(file, key("attention.value_length"), lengthMax), width)
	kvHeads := numbers(file, key("attention.head_count_kv"), headsMax)
	total := int64(0)
	for layer := range layers {
		h := heads // without grouped-query attention
		switch {
		case len(kvHeads) == 1:
			h = kvHeads[0]
		case layer < int64(len(kvHeads)):
			h = kvHeads[layer]
		}
		total += h * (keyLength + valueLength) * bytesPerValue
	}
	return total
}

// text is a text of the metadata, "" when there is none.
func text(file *gguf.GGUFFile, key string) string {
	kv, ok := file.Header.MetadataKV.Get(key)
	if !ok || kv.ValueType != gguf.GGUFMetadataValueTypeString {
		return ""
	}
	return kv.ValueString()
}

// number is a number of the metadata, 0 when there is none or it is beyond most. Of a
// list it is the largest.
func number(file *gguf.GGUFFile, key string, most int64) int64 {
	if all := numbers(file, key, most); len(all) > 0 {
		return slices.Max(all)
	}
	return 0
}

// numbers is a number or a list of them, one per layer; those beyond most are 0.
func numbers(file *gguf.GGUFFile, key string, most int64) []int64 {
	kv, ok := file.Header.MetadataKV.Get(key)
	var all []int64
	switch {
	case !ok:
	case kv.ValueType.IsNumeric():
		all = []int64{gguf.ValueNumeric[int64](kv)}
	case kv.ValueType == gguf.GGUFMetadataValueTypeArray:
		// The parser reads lists of some names only.
		if list := kv.ValueArray(); list.Type.IsNumeric() && uint64(len(list.Array)) == list.Len {
			all = gguf.ValuesNumeric[int64](list)
		}
	}
	for i, n := range all {
		if n < 0 || n > most {
			all[i] = 0
		}
	}
	return all
}
