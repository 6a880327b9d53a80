package imports

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	berth "github.com/berthhq/berth"
)

const tinyConfig = `{"model_type":"qwen3","num_hidden_layers":4,"num_attention_heads":4,"num_key_value_heads":2,"head_dim":32,"hidden_size":128,"max_position_embeddings":32768}`

// folderOf writes files into a fresh folder.
func folderOf(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func tinyModel(t testing.TB) map[string]string {
	return map[string]string{
		"config.json":           tinyConfig,
		"tokenizer_config.json": `{"chat_template":"{{ enable_thinking }}"}`,
		"model.safetensors": string(safetensorsOf(t,
			tensor{name: "model.embed_tokens.weight", dtype: "F16", shape: []int64{10, 4}, size: 80},
			tensor{name: "model.layers.0.self_attn.q_proj.weight", dtype: "F16", shape: []int64{8, 4}, size: 64},
		)),
	}
}

func with(files map[string]string, name, content string) map[string]string {
	files[name] = content
	return files
}

// A folder whose template is not known is believed to know tools: vLLM has some of its own.
func TestToolsAreInTheTemplate(t *testing.T) {
	t.Parallel()
	const config = "tokenizer_config.json"
	for name, c := range map[string]struct {
		files map[string]string
		none  bool
	}{
		"a template without":        {tinyModel(t), true},
		"a template with":           {with(tinyModel(t), config, `{"chat_template":"{%- if\ntools %}"}`), false},
		"only a token of that name": {with(tinyModel(t), config, `{"chat_template":"{{ messages }}","added_tokens_decoder":{"1":{"content":"<tools>"}}}`), true},
		"one of several templates":  {with(tinyModel(t), config, `{"chat_template":[{"name":"default","template":"{{ messages }}"},{"name":"tool_use","template":"{{ tools }}"}]}`), false},
		"none of several templates": {with(tinyModel(t), config, `{"chat_template":[{"name":"default","template":"{{ messages }}"}]}`), true},
		"a template of its own":     {with(tinyModel(t), "chat_template.jinja", "{{ tools }}"), false},
		"no template":               {with(tinyModel(t), config, "{}"), false},
		"no JSON":                   {with(tinyModel(t), config, "{"), false},
	} {
		m, err := Files{}.InspectPlain(t.Context(), folderOf(t, c.files))
		if err != nil || m.NoTools != c.none {
			t.Errorf("%s: no tools %t, %v", name, m.NoTools, err)
		}
	}
}

func TestAFolderIsHashedAsAWhole(t *testing.T) {
	t.Parallel()
	dir := folderOf(t, tinyModel(t))
	read := 0
	f := Files{Progress: func(string, int64, int64) { read++ }}
	was, err := f.InspectPlain(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if was.Architecture != "qwen3" || was.Parameters != 72 || !was.Thinking || was.ContextLength != 32768 || was.KVBytesPerToken != 4*2*(32+32)*2 {
		t.Errorf("it is %+v", was)
	}
	if again, err := f.InspectPlain(t.Context(), folderOf(t, tinyModel(t))); err != nil || again.Digest != was.Digest {
		t.Errorf("a copy has the digest %s, %v; want %s", again.Digest, err, was.Digest)
	}

	read = 0
	if now, err := f.Verify(t.Context(), was); err != nil || now != was || read != 0 {
		t.Errorf("untouched: %+v, %v, read %d times", now, err, read)
	}
	for name, change := range map[string]func(dir string) error{
		"another byte": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "tokenizer_config.json"), []byte("{}"), 0o600)
		},
		"one file more": func(dir string) error { return os.WriteFile(filepath.Join(dir, "vocab.json"), nil, 0o600) },
		"one file less": func(dir string) error { return os.Remove(filepath.Join(dir, "tokenizer_config.json")) },
		"another name": func(dir string) error {
			return os.Rename(filepath.Join(dir, "tokenizer_config.json"), filepath.Join(dir, "t.json"))
		},
	} {
		dir := folderOf(t, tinyModel(t))
		was, err := f.InspectPlain(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := change(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Verify(t.Context(), was); berth.CodeOf(err) != berth.CodeInvalid || !strings.Contains(err.Error(), "has changed since it was added") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWholeWeightsAreComparedWithTheirBase(t *testing.T) {
	t.Parallel()
	base, err := Files{}.InspectPlain(t.Context(), folderOf(t, tinyModel(t)))
	if err != nil {
		t.Fatal(err)
	}
	put := func(files map[string]string) (berth.ModelFile, error) {
		return Shelf{Dir: t.TempDir()}.Put(t.Context(), Arrival{
			Dir: folderOf(t, files), Model: "mine", Weights: berth.WeightsFull, Base: berth.Model{Name: "tiny", Engine: "vllm", File: base},
		})
	}
	got, err := put(tinyModel(t))
	if err != nil || got.Digest != base.Digest {
		t.Fatalf("the same weights: %+v, %v", got, err)
	}
	if now, err := (Files{}).Verify(t.Context(), got); err != nil || now != got {
		t.Errorf("on the shelf it is %+v, %v; want %+v", now, err, got)
	}
	weights := func(tensors ...tensor) map[string]string {
		return with(tinyModel(t), "model.safetensors", string(safetensorsOf(t, tensors...)))
	}
	embed := tensor{name: "model.embed_tokens.weight", dtype: "F16", shape: []int64{10, 4}, size: 80}
	query := tensor{name: "model.layers.0.self_attn.q_proj.weight", dtype: "F32", shape: []int64{8, 4}, size: 128}
	if _, err := put(weights(embed, query)); err != nil {
		t.Errorf("another type of values: %v", err)
	}
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"another architecture": {with(tinyModel(t), "config.json", `{"model_type":"llama"}`), "The weights are of type llama, the base is qwen3"},
		"another vocabulary":   {weights(tensor{name: embed.name, dtype: "F16", shape: []int64{11, 4}, size: 88}, query), `their "model.embed_tokens.weight" is [11 4], the base's is [10 4]`},
		"a tensor less":        {weights(embed), `they have no tensor "model.layers.0.self_attn.q_proj.weight"`},
		"a tensor more":        {weights(embed, query, tensor{name: "x", dtype: "U8", shape: []int64{1}, size: 1}), `the base has no tensor "x"`},
		"an incomplete copy":   {with(tinyModel(t), indexFile, `{"weight_map":{"lost":"model-2.safetensors"}}`), `model.safetensors.index.json says that "lost" is in "model-2.safetensors", and it is not`},
		"a broken config":      {with(tinyModel(t), "config.json", `{}`), "config.json cannot be used: it names no model_type"},
		"a broken file":        {with(tinyModel(t), "model.safetensors", "x"), "model.safetensors cannot be used: it is cut off in its header"},
		"no weights":           {map[string]string{"config.json": tinyConfig}, "AvailableModelFileNotFound: The folder has no weights for the base's engine"},
	} {
		if _, err := put(c.files); berth.CodeOf(err) != berth.CodeInvalid || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

// An engine that loads PEFT folders gets the folder as it came.
func TestAnAdapterStaysAFolderForVLLM(t *testing.T) {
	t.Parallel()
	base, err := Files{}.InspectPlain(t.Context(), folderOf(t, tinyModel(t)))
	if err != nil {
		t.Fatal(err)
	}
	put := func(module string) (berth.ModelFile, error) {
		return Shelf{Dir: t.TempDir()}.Put(t.Context(), Arrival{
			Dir: folderOf(t, map[string]string{
				adapterConfigFile:  `{"peft_type":"LORA","r":8,"lora_alpha":16,"target_modules":["q_proj"]}`,
				adapterWeightsFile: string(safetensorsOf(t, loraOf(module, "F32", 8, 4, 8)...)),
			}),
			Model: "mine", Weights: berth.WeightsLoRA, Base: berth.Model{Name: "tiny", Engine: "vllm", File: base},
		})
	}
	got, err := put("model.layers.0.self_attn.q_proj")
	if err != nil {
		t.Fatal(err)
	}
	if entries, _ := os.ReadDir(got.Path); len(entries) != 2 || got.Architecture != "qwen3" {
		t.Errorf("it is %+v with %v", got, entries)
	}
	if _, err := put("model.layers.1.self_attn.q_proj"); err == nil || !strings.Contains(err.Error(), `the base has no module "model.layers.1.self_attn.q_proj"`) {
		t.Errorf("another layer: %v", err)
	}
}

func TestChoose(t *testing.T) {
	t.Parallel()
	llama, other := berth.EngineLlamaCpp, "vllm"
	for name, c := range map[string]struct {
		names  string
		weight berth.WeightType
		engine string
		want   string
	}{
		"PEFT":                  {"adapter_config.json adapter_model.safetensors config.json README.md x.py", berth.WeightsLoRA, other, "adapter_config.json config.json adapter_model.safetensors"},
		"PEFT to be converted":  {"adapter_config.json adapter_model.safetensors config.json", berth.WeightsLoRA, llama, "adapter_config.json adapter_model.safetensors"},
		"a GGUF":                {"a.gguf README.md", berth.WeightsFull, llama, "a.gguf"},
		"a GGUF adapter":        {"a.gguf", berth.WeightsLoRA, llama, "a.gguf"},
		"Hugging Face":          {"config.json tokenizer.json model-2.safetensors model-1.safetensors modeling.py pytorch_model.bin", berth.WeightsFull, other, "config.json tokenizer.json model-1.safetensors model-2.safetensors"},
		"for llama.cpp":         {"config.json model.safetensors", berth.WeightsFull, llama, "AvailableModelFileNotFound: The folder has safetensors, but the base runs on llama.cpp, which needs whole weights as GGUF"},
		"two GGUF":              {"a.gguf b.gguf", berth.WeightsFull, llama, "AvailableModelFileNotFound: The folder has 2 GGUF files"},
		"nothing":               {"", berth.WeightsFull, llama, "AvailableModelFileNotFound: The folder has no GGUF file"},
		"a pickle":              {"adapter_config.json adapter_model.bin", berth.WeightsLoRA, llama, "AvailableModelFileNotFound: The folder has no adapter"},
		"an adapter as weights": {"config.json adapter_config.json adapter_model.safetensors", berth.WeightsFull, other, "AvailableModelFileNotFound: The folder has no weights"},
		"a GGUF for vLLM":       {"a.gguf", berth.WeightsFull, other, "AvailableModelFileNotFound: The folder has no weights"},
	} {
		choice, err := Choose(strings.Fields(c.names), c.weight, c.engine)
		got := strings.Join(choice.Names, " ")
		if err != nil {
			got = err.Error()
		}
		if !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestSweepKeepsWhatTheCatalogueHas(t *testing.T) {
	t.Parallel()
	shelf := Shelf{Dir: t.TempDir()}
	for _, name := range []string{"kept", "lost"} {
		if err := os.Mkdir(filepath.Join(shelf.Dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	outside := berth.ModelFile{Path: filepath.Join(t.TempDir(), "lost", "x.gguf")}
	if err := shelf.Sweep([]berth.Model{{File: berth.ModelFile{Path: filepath.Join(shelf.Dir, "kept", "x.gguf")}}, {File: outside}, {}}); err != nil {
		t.Fatal(err)
	}
	if entries, _ := os.ReadDir(shelf.Dir); len(entries) != 1 || entries[0].Name() != "kept" {
		t.Errorf("left are %v", entries)
	}
	for _, f := range []berth.ModelFile{outside, {}, {Path: shelf.Dir}, {Path: filepath.Join(shelf.Dir, "..", "x")}} {
		if err := shelf.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(filepath.Join(shelf.Dir, "kept")); err != nil {
		t.Error(err)
	}
	if err := shelf.Remove(berth.ModelFile{Path: filepath.Join(shelf.Dir, "kept", "x.gguf")}); err != nil {
		t.Fatal(err)
	}
	if entries, _ := os.ReadDir(shelf.Dir); len(entries) != 0 {
		t.Errorf("left are %v", entries)
	}
}
