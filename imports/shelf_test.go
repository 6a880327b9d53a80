package imports_test

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gguf "github.com/gpustack/gguf-parser-go"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/imports"
)

// mustCopy returns a copy of a folder's files in a fresh folder, all but those left out.
func mustCopy(t testing.TB, folder string, without ...string) string {
	t.Helper()
	to := t.TempDir()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if slices.Contains(without, e.Name()) {
			continue
		}
		if err := os.WriteFile(filepath.Join(to, e.Name()), mustRead(t, filepath.Join(folder, e.Name())), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

const wordsPEFT = "../abacus/abacus-words-lora-peft"

// abacusBase is the real little model as it stands in a catalogue.
func abacusBase(t testing.TB) berth.Model {
	t.Helper()
	f, err := imports.Files{}.InspectBase(t.Context(), mustExtract(t).Base)
	if err != nil {
		t.Fatal(err)
	}
	return berth.Model{Name: "abacus", Kind: berth.ModelKindBase, Engine: berth.EngineLlamaCpp, File: f}
}

// The converted adapters must be the ones that were made with llama.cpp's own script:
// the same tensors with the same bytes, and the same alpha.
func TestPutConvertsAnAdapterForLlamaCpp(t *testing.T) {
	t.Parallel()
	files := mustExtract(t)
	for folder, shipped := range map[string]string{wordsPEFT: files.Words, "../abacus/abacus-shout-lora-peft": files.Shout} {
		shelf := imports.Shelf{Dir: filepath.Join(t.TempDir(), "shelf")}
		arrived := mustCopy(t, folder)
		got, err := shelf.Put(t.Context(), imports.Arrival{Dir: arrived, Model: "mine", Weights: berth.WeightsLoRA, Base: abacusBase(t)})
		if err != nil {
			t.Fatal(err)
		}
		if want := filepath.Join(shelf.Dir, filepath.Base(arrived), "adapter.gguf"); got.Path != want || got.Architecture != "qwen3" {
			t.Errorf("it became %+v, want %s", got, want)
		}
		again, err := imports.Files{}.InspectAdapter(t.Context(), got.Path, abacusBase(t).File)
		if err != nil || again != got {
			t.Errorf("read again it is %+v, %v; want %+v", again, err, got)
		}
		if entries, _ := os.ReadDir(filepath.Dir(got.Path)); len(entries) != 1 {
			t.Errorf("beside the adapter lie %v", entries)
		}
		if _, err := os.Stat(arrived); !os.IsNotExist(err) {
			t.Errorf("the arrival is still there: %v", err)
		}
		sameTensors(t, got.Path, shipped)
	}
}

// sameTensors compares two GGUF files tensor by tensor.
func sameTensors(t *testing.T, path, other string) {
	t.Helper()
	is, want := valuesOf(t, path), valuesOf(t, other)
	if len(is) != len(want) || len(is) == 0 {
		t.Errorf("%d tensors, want %d", len(is), len(want))
	}
	for name, bytes := range want {
		if is[name] != bytes {
			t.Errorf("the tensor %s differs", name)
		}
	}
}

// valuesOf returns type, shape and bytes of each tensor, and the adapter's alpha.
func valuesOf(t *testing.T, path string) map[string]string {
	t.Helper()
	parsed, err := gguf.ParseGGUFFile(path)
	if err != nil {
		t.Fatal(err)
	}
	content, values := mustRead(t, path), map[string]string{}
	for _, info := range parsed.TensorInfos {
		begin := parsed.TensorDataStartOffset + int64(info.Offset)
		shape, _ := json.Marshal(info.Dimensions)
		values[info.Name] = info.Type.String() + string(shape) + string(content[begin:begin+int64(info.Bytes())])
	}
	alpha, _ := parsed.Header.MetadataKV.Get("adapter.lora.alpha")
	values["alpha"] = string(binary.LittleEndian.AppendUint32(nil, math.Float32bits(alpha.ValueFloat32())))
	return values
}

func TestPutRefuses(t *testing.T) {
	t.Parallel()
	config := string(mustRead(t, filepath.Join(wordsPEFT, "adapter_config.json")))
	weights := string(mustRead(t, filepath.Join(wordsPEFT, "adapter_model.safetensors")))
	for name, c := range map[string]struct{ config, weights, want string }{
		"a rank that is not taken": {strings.Replace(config, `"r": 8`, `"r": 7`, 1), weights,
			"adapter_config.json cannot be used: its rank r is 7, but must be one of 8, 16, 32, 64"},
		"a rank that is another": {strings.Replace(config, `"r": 8`, `"r": 16`, 1), weights,
			"has rank 8 and 8, adapter_config.json says 16; the rank must be equal in all layers"},
		"ranks of its own":       {strings.Replace(config, `"r": 8`, `"r": 8, "rank_pattern": {"q_proj": 4}`, 1), weights, `its rank_pattern gives "q_proj" the rank 4`},
		"no alpha":               {strings.Replace(config, `"lora_alpha": 8`, `"lora_alpha": 0`, 1), weights, "its lora_alpha is 0, but must be above 0"},
		"another method":         {strings.Replace(config, `LORA`, `IA3`, 1), weights, `its peft_type is "IA3", but only LORA is taken`},
		"DoRA":                   {strings.Replace(config, `"r": 8`, `"r": 8, "use_dora": true`, 1), weights, "it uses DoRA"},
		"whole modules":          {strings.Replace(config, `"r": 8`, `"r": 8, "modules_to_save": ["lm_head"]`, 1), weights, "it brings whole modules"},
		"biases":                 {strings.Replace(config, `"bias": "none"`, `"bias": "all"`, 1), weights, "it trains biases"},
		"a module not announced": {strings.Replace(config, `"q_proj",`, "", 1), weights, `q_proj" is not among the target_modules`},
		"a module not there":     {strings.Replace(config, `"q_proj"`, `"q_proj", "c_proj"`, 1), weights, `names the target module "c_proj", but the weights have none`},
		"no JSON":                {"{", weights, "adapter_config.json cannot be used: it is not the JSON that PEFT writes"},
		"half a pair":            {config, strings.Replace(weights, "layers.0.self_attn.q_proj.lora_B", "layers.9.self_attn.q_proj.lora_B", 1), `has only one of lora_A and lora_B`},
		"the vision tower":       {config, strings.Replace(weights, "base_model.model.model.layers.0.self_attn.q_proj.lora_A", "base_model.model.visual.ayers.0.self_attn.q_proj.lora_A", 1), "changes the vision tower"},
		"other tensors":          {config, strings.Replace(weights, "lora_B.weight", "lora_C.weight", 1), "is no LoRA weight of a layer"},
		"other modules":          {config, strings.ReplaceAll(weights, "layers.0.self_attn.q_proj", "layers.0.self_mind.q_proj"), `its module "model.layers.0.self_mind.q_proj" is none that an adapter for qwen3 can have`},
		"more layers":            {config, strings.ReplaceAll(weights, "layers.3.self_attn.q_proj", "layers.7.self_attn.q_proj"), `does not fit the base abacus-0.8m-f16.gguf: the base has no tensor "blk.7.attn_q.weight"`},
		"cut off":                {config, weights[:len(weights)-1], "adapter_model.safetensors cannot be used: it is cut off: its header announces 163184 bytes, it has 163183"},
		"cut in its header":      {config, weights[:100], "it is cut off in its header"},
		"more than it says":      {config, weights + "x", "it has 1 bytes that belong to no tensor"},
		"no numbers":             {config, weights[:len(weights)-2] + "\x00\x7c", "it has values that are not finite numbers"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for file, content := range map[string]string{"adapter_config.json": c.config, "adapter_model.safetensors": c.weights} {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			base := abacusBase(t)
			shelf := imports.Shelf{Dir: t.TempDir()}
			_, err := shelf.Put(t.Context(), imports.Arrival{Dir: dir, Model: "mine", Weights: berth.WeightsLoRA, Base: base})
			if berth.CodeOf(err) != berth.CodeInvalid || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if err != nil && (strings.Contains(err.Error(), dir) || strings.Contains(err.Error(), filepath.Dir(base.File.Path))) {
				t.Errorf("the sentence shows the server's paths: %v", err)
			}
			if entries, _ := os.ReadDir(shelf.Dir); len(entries) > 0 {
				t.Errorf("on the shelf lies %v", entries)
			}
		})
	}
}
