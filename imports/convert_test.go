package imports

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	gguf "github.com/gpustack/gguf-parser-go"
)

// safetensorsOf makes a file of tensors in the given order.
func safetensorsOf(t testing.TB, tensors ...tensor) []byte {
	t.Helper()
	var header strings.Builder
	at := int64(0)
	for i, s := range tensors {
		if i > 0 {
			header.WriteByte(',')
		}
		shape := strings.ReplaceAll(fmt.Sprint(s.shape), " ", ",")
		fmt.Fprintf(&header, `%q:{"dtype":%q,"shape":%s,"data_offsets":[%d,%d]}`, s.name, s.dtype, shape, at, at+s.size)
		at += s.size
	}
	text := "{" + header.String() + "}"
	file := binary.LittleEndian.AppendUint64(nil, uint64(len(text)))
	return append(append(file, text...), make([]byte, at)...)
}

func loraOf(module, dtype string, rank, in, out int64) []tensor {
	size := dtypeBytes[dtype]
	return []tensor{
		{name: "base_model.model." + module + ".lora_A.weight", dtype: dtype, shape: []int64{rank, in}, size: rank * in * size},
		{name: "base_model.model." + module + ".lora_B.weight", dtype: dtype, shape: []int64{out, rank}, size: rank * out * size},
	}
}

// Only llama.cpp's "llama" keeps queries and keys in another order of rows, and of an
// adapter only lora_b has such rows. The order expected here is that of numpy for
// LlamaModel.permute: arange(8).reshape(2, 2, 2).swapaxes(1, 2).
func TestRowsOfLlamaChangeTheirOrder(t *testing.T) {
	t.Parallel()
	c := adapterConfig{Rank: 1, Alpha: 4}
	var tensors []tensor
	for _, module := range []string{"q_proj", "k_proj", "v_proj"} {
		tensors = append(tensors, loraOf("model.layers.0.self_attn."+module, "F32", 1, 3, 8)...)
	}
	file := safetensorsOf(t, tensors...)
	read, err := readSafetensors(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range read { // each value is its own number in its tensor
		for i := range s.size / 4 {
			binary.LittleEndian.PutUint32(file[s.begin+4*i:], math.Float32bits(float32(i)))
		}
	}
	pairs, err := pairUp(&c, read)
	if err != nil {
		t.Fatal(err)
	}
	for architecture, want := range map[string]map[string][]float32{
		"llama": {
			"q.weight.lora_b": {0, 2, 1, 3, 4, 6, 5, 7}, // two heads
			"k.weight.lora_b": {0, 4, 1, 5, 2, 6, 3, 7}, // one
			"v.weight.lora_b": {0, 1, 2, 3, 4, 5, 6, 7},
			"q.weight.lora_a": {0, 1, 2},
		},
		"qwen3": {
			"q.weight.lora_b": {0, 1, 2, 3, 4, 5, 6, 7},
			"k.weight.lora_b": {0, 1, 2, 3, 4, 5, 6, 7},
		},
	} {
		got := written(t, ggufBase{architecture, 2, 1}, &c, pairs, file)
		for name, values := range want {
			if !bytes.Equal(got["blk.0.attn_"+name], floats(values...)) {
				t.Errorf("%s: %s is %v, want %v", architecture, name, got["blk.0.attn_"+name], values)
			}
		}
	}
}

func TestBF16BecomesF32WithTheSameValues(t *testing.T) {
	t.Parallel()
	c := adapterConfig{Rank: 1, Alpha: 4}
	file := safetensorsOf(t, loraOf("model.layers.0.mlp.up_proj", "BF16", 1, 2, 1)...)
	read, err := readSafetensors(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	copy(file[read[0].begin:], []byte{0xc0, 0x3f, 0x00, 0xc1}) // 1.5, -8
	pairs, err := pairUp(&c, read)
	if err != nil {
		t.Fatal(err)
	}
	got := written(t, ggufBase{"qwen2", 2, 1}, &c, pairs, file)
	if !bytes.Equal(got["blk.0.ffn_up.weight.lora_a"], floats(1.5, -8)) {
		t.Errorf("got %v", got)
	}
	copy(file[read[0].begin:], []byte{0x80, 0x7f}) // infinity
	if err := writeGGUF(&bytes.Buffer{}, ggufBase{"qwen2", 2, 1}, "x", &c, pairs, bytes.NewReader(file)); err == nil {
		t.Error("infinity is taken")
	}
}

func TestScale(t *testing.T) {
	t.Parallel()
	plain, rank := adapterConfig{Rank: 16, Alpha: 8}, adapterConfig{Rank: 16, Alpha: 8, UseRSLoRA: true}
	if plain.scale() != 8 || rank.scale()/16 != 8.0/4 { // alpha / rank, alpha / √rank
		t.Errorf("got %g and %g", plain.scale(), rank.scale())
	}
}

func floats(values ...float32) []byte {
	var b []byte
	for _, v := range values {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return b
}

// written returns the values of each tensor of the converted adapter, as another
// program's parser finds them.
func written(t *testing.T, base ggufBase, c *adapterConfig, pairs []loraPair, file []byte) map[string][]byte {
	t.Helper()
	var out bytes.Buffer
	if err := writeGGUF(&out, base, "mine", c, pairs, bytes.NewReader(file)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "x.gguf")
	if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	parsed, err := gguf.ParseGGUFFile(path)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string][]byte{}
	for _, info := range parsed.TensorInfos {
		begin := parsed.TensorDataStartOffset + int64(info.Offset)
		values[info.Name] = out.Bytes()[begin : begin+int64(info.Bytes())]
	}
	return values
}

func TestReadSafetensorsRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ header, want string }{
		"no object":       {`[]`, "its header is no JSON object"},
		"a name twice":    {`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, "its header is no JSON object"},
		"no offsets":      {`{"a":{"dtype":"U8","shape":[1]}}`, "has no usable entry"},
		"an unknown type": {`{"a":{"dtype":"Q4","shape":[1],"data_offsets":[0,1]}}`, `unknown type "Q4"`},
		"a wrong size":    {`{"a":{"dtype":"F16","shape":[3],"data_offsets":[0,4]}}`, "needs 6 bytes but lies from 0 to 4"},
		"a huge shape":    {`{"a":{"dtype":"F16","shape":[4611686018427387904,4],"data_offsets":[0,4]}}`, "impossible shape"},
		"a negative one":  {`{"a":{"dtype":"F16","shape":[-1],"data_offsets":[0,4]}}`, "impossible shape"},
		"an overlap":      {`{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}}`, "does not begin where the one before it ends"},
		"a gap":           {`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}}`, "does not begin where"},
		"backwards":       {`{"a":{"dtype":"U8","shape":[1],"data_offsets":[4,3]}}`, "lies from 4 to 3"},
		"dimensions":      {`{"a":{"dtype":"U8","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,1]}}`, "9 dimensions"},
		"a tail":          {`{"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}}`, "1 bytes that belong to no tensor"},
		"too little":      {`{"a":{"dtype":"U8","shape":[9],"data_offsets":[0,9]}}`, "it is cut off"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := append(binary.LittleEndian.AppendUint64(nil, uint64(len(c.header))), c.header+"1234"...)
			if _, err := readSafetensors(bytes.NewReader(file), int64(len(file))); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	huge := binary.LittleEndian.AppendUint64(nil, 1<<62)
	if _, err := readSafetensors(bytes.NewReader(huge), int64(len(huge))); err == nil || !strings.Contains(err.Error(), "at most 33554432 are believed") {
		t.Errorf("a huge header: %v", err)
	}
}

// FuzzAdapter reads a file and a configuration that strangers wrote. Whatever comes of
// it, tensors lie inside the file, and what is accepted can be converted or is refused.
func FuzzAdapter(f *testing.F) {
	config, err := os.ReadFile("../abacus/abacus-words-lora-peft/" + adapterConfigFile)
	if err != nil {
		f.Fatal(err)
	}
	weights, err := os.ReadFile("../abacus/abacus-words-lora-peft/" + adapterWeightsFile)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(config, weights[:8192])
	f.Add(config, safetensorsOf(f, loraOf("model.layers.0.self_attn.q_proj", "BF16", 8, 4, 8)...))
	f.Add([]byte(`{"peft_type":"LORA","r":8,"lora_alpha":1,"target_modules":"all-linear"}`), safetensorsOf(f, loraOf("model.layers.0.self_attn.k_proj", "F16", 8, 4, 8)...))
	f.Fuzz(func(t *testing.T, config, file []byte) {
		tensors, err := readSafetensors(bytes.NewReader(file), int64(len(file)))
		if err != nil {
			return
		}
		for _, s := range tensors {
			if s.begin < 8 || s.size < 0 || s.begin+s.size > int64(len(file)) {
				t.Fatalf("%+v lies outside of %d bytes", s, len(file))
			}
		}
		c, err := parseAdapterConfig(config, Ranks)
		if err != nil {
			return
		}
		pairs, err := pairUp(&c, tensors)
		if err != nil {
			return
		}
		for architecture := range ggufFamilies {
			var out bytes.Buffer
			if writeGGUF(&out, ggufBase{architecture, 2, 2}, "x", &c, pairs, bytes.NewReader(file)) == nil {
				if err := checkBounds(bytes.NewReader(out.Bytes()[len(magic):])); err != nil {
					t.Fatalf("the converted adapter is refused: %v", err)
				}
			}
		}
	})
}

// FuzzModelConfig reads the configuration of a model: numbers stay in their bounds.
func FuzzModelConfig(f *testing.F) {
	f.Add([]byte(`{"model_type":"qwen3","num_hidden_layers":4,"num_attention_heads":4,"num_key_value_heads":2,"head_dim":32,"hidden_size":128}`))
	f.Add([]byte(`{"model_type":"x","text_config":{"num_hidden_layers":9223372036854775807,"num_attention_heads":1,"head_dim":-1}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if c, err := parseModelConfig(text); err == nil && c.kvBytesPerToken() < 0 {
			t.Errorf("%s takes %d bytes", text, c.kvBytesPerToken())
		}
	})
}
