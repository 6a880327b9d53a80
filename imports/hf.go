package imports

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	berth "github.com/berthhq/berth"
)

// The files of a model in the form of Hugging Face that are looked into.
const (
	modelConfigFile = "config.json"
	indexFile       = "model.safetensors.index.json"
	safetensorsEnd  = ".safetensors"
	ggufEnd         = ".gguf"
)

// modelConfig is what of a config.json a sale must know. Models that see keep the part
// for text in a member of its own.
type modelConfig struct {
	ModelType     string       `json:"model_type"`
	ContextLength int64        `json:"max_position_embeddings"`
	Layers        int64        `json:"num_hidden_layers"`
	Heads         int64        `json:"num_attention_heads"`
	KVHeads       int64        `json:"num_key_value_heads"`
	HeadLength    int64        `json:"head_dim"`
	Width         int64        `json:"hidden_size"`
	Text          *modelConfig `json:"text_config"`
}

func parseModelConfig(text []byte) (modelConfig, error) {
	var c modelConfig
	if err := json.Unmarshal(text, &c); err != nil {
		return c, errors.New("it is not the JSON of a model's configuration")
	}
	if c.ModelType == "" {
		return c, errors.New("it names no model_type")
	}
	if c.Text != nil {
		c.Text.ModelType = c.ModelType
		c = *c.Text
	}
	return c, nil
}

// kvBytesPerToken is as for a GGUF: two bytes for each value.
func (c *modelConfig) kvBytesPerToken() int64 {
	believed := func(n, most int64) int64 {
		if n < 0 || n > most {
			return 0
		}
		return n
	}
	heads := believed(c.Heads, headsMax)
	if heads == 0 {
		return 0
	}
	length := cmp.Or(believed(c.HeadLength, lengthMax), min(believed(c.Width, widthMax)/heads, lengthMax))
	return believed(c.Layers, layersMax) * cmp.Or(believed(c.KVHeads, headsMax), heads) * 2 * length * 2
}

// hfModel is a folder of whole weights that was read as far as its headers.
type hfModel struct {
	folder
	config modelConfig
	shapes map[string][]int64
}

// openModel reads a folder of whole weights.
func openModel(path string) (hfModel, error) {
	d, err := openFolder(path)
	if err != nil {
		return hfModel{}, err
	}
	if !d.has(modelConfigFile) || len(d.ending(safetensorsEnd)) == 0 || d.has(adapterConfigFile) {
		return hfModel{}, berth.Errorf(berth.CodeInvalid, "%s has no weights in the form of Hugging Face; such a folder has a config.json, a tokenizer and *.safetensors.", d.path)
	}
	text, err := d.small(modelConfigFile)
	if err != nil {
		return hfModel{}, err
	}
	m := hfModel{folder: d, shapes: map[string][]int64{}}
	if m.config, err = parseModelConfig(text); err != nil {
		return hfModel{}, damaged(modelConfigFile, err)
	}
	if err := m.readShapes(); err != nil {
		return hfModel{}, err
	}
	if err := m.complete(); err != nil {
		return hfModel{}, err
	}
	return m, nil
}

func (m *hfModel) readShapes() error {
	for _, name := range m.ending(safetensorsEnd) {
		tensors, err := m.tensors(name)
		if err != nil {
			return err
		}
		for _, t := range tensors {
			if _, twice := m.shapes[t.name]; twice {
				return berth.Errorf(berth.CodeInvalid, "The tensor %.80q is in two files of %s; keep those of one export.", t.name, filepath.Base(m.path))
			}
			m.shapes[t.name] = t.shape
		}
		if len(m.shapes) > tensorsMax {
			return berth.Errorf(berth.CodeInvalid, "The weights of %s have more than %d tensors, which no engine loads.", filepath.Base(m.path), tensorsMax)
		}
	}
	return nil
}

// complete refuses a folder that lacks one of the files its index names.
func (m *hfModel) complete() error {
	if !m.has(indexFile) {
		return nil
	}
	text, err := m.small(indexFile)
	if err != nil {
		return err
	}
	var index struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(text, &index); err != nil {
		return damaged(indexFile, errors.New("it is not the JSON of an index"))
	}
	for tensor, name := range index.WeightMap {
		if _, there := m.shapes[tensor]; !there {
			return berth.Errorf(berth.CodeInvalid, "The weights are not complete: %s says that %.80q is in %.80q, and it is not; copy all files.", indexFile, tensor, name)
		}
	}
	return nil
}

// modelFile says what the headers tell, without digest and state.
func (m *hfModel) modelFile() berth.ModelFile {
	f := berth.ModelFile{
		Path: m.path, Architecture: m.config.ModelType, KVBytesPerToken: m.config.kvBytesPerToken(), Thinking: m.thinks(), NoTools: m.lacksTools(),
	}
	if c := m.config.ContextLength; c > 0 && c <= contextMax {
		f.ContextLength = c
	}
	for _, shape := range m.shapes {
		values := int64(1)
		for _, d := range shape {
			values *= d // each file is larger, so none can overflow
		}
		f.Parameters += min(values, math.MaxInt64-f.Parameters)
	}
	return f
}

// thinks reports whether the chat template knows a thinking switch.
func (m *hfModel) thinks() bool {
	for _, name := range []string{"chat_template.jinja", "tokenizer_config.json"} {
		if text, err := m.small(name); err == nil && strings.Contains(string(text), "enable_thinking") {
			return true
		}
	}
	return false
}

// lacksTools reports whether there are chat templates, and none has a place for tools.
func (m *hfModel) lacksTools() bool {
	templates := m.templates()
	return len(templates) > 0 && !slices.ContainsFunc(templates, placesTools)
}

// templates returns the chat templates: a file of its own, and the one of the tokenizer's
// configuration, which may be a list with names.
func (m *hfModel) templates() (all []string) {
	if text, err := m.small("chat_template.jinja"); err == nil {
		all = append(all, string(text))
	}
	var config struct {
		ChatTemplate jsontext.Value `json:"chat_template"`
	}
	text, err := m.small("tokenizer_config.json")
	if err != nil || json.Unmarshal(text, &config) != nil {
		return all
	}
	var one string
	var several []struct {
		Template string `json:"template"`
	}
	switch {
	case json.Unmarshal(config.ChatTemplate, &one) == nil:
		return append(all, one)
	case json.Unmarshal(config.ChatTemplate, &several) == nil:
		for _, t := range several {
			all = append(all, t.Template)
		}
	}
	return all
}

// matches refuses weights that are not those of the base with other values: another
// architecture, vocabulary or shape.
func (m *hfModel) matches(base *hfModel) error {
	if m.config.ModelType != base.config.ModelType {
		return berth.Errorf(berth.CodeInvalid, "The weights are of type %s, the base is %s; name the base that they were trained from.", m.config.ModelType, base.config.ModelType)
	}
	return sameShapes(m.shapes, base.shapes)
}

// sameShapes compares the tensors of whole weights with those of their base.
func sameShapes[N int64 | uint64](own, base map[string][]N) error {
	misfit := func(format string, args ...any) error {
		return berth.Errorf(berth.CodeInvalid, "The weights do not fit the base: %s; name the base that they were trained from.", fmt.Sprintf(format, args...))
	}
	for name, shape := range base {
		got, there := own[name]
		switch {
		case !there:
			return misfit("they have no tensor %.80q", name)
		case !slices.Equal(got, shape):
			return misfit("their %.80q is %d, the base's is %d", name, got, shape)
		}
	}
	for name := range own {
		if _, there := base[name]; !there {
			return misfit("the base has no tensor %.80q", name)
		}
	}
	return nil
}

// inspectWeightsFolder hashes a folder of whole weights and reads its headers.
func (f Files) inspectWeightsFolder(ctx context.Context, path string) (berth.ModelFile, error) {
	m, err := openModel(path)
	if err != nil {
		return berth.ModelFile{}, err
	}
	return f.hashFolder(ctx, m.folder, m.modelFile())
}

// peft is a PEFT folder that was read as far as the header of its weights.
type peft struct {
	folder
	config adapterConfig
	pairs  []loraPair
}

func (f Files) openPEFT(path string) (peft, error) {
	d, err := openFolder(path)
	if err != nil {
		return peft{}, err
	}
	if !d.has(adapterConfigFile) || !d.has(adapterWeightsFile) {
		return peft{}, berth.Errorf(berth.CodeInvalid, "%s has no adapter; a PEFT folder has %s and %s.", d.path, adapterConfigFile, adapterWeightsFile)
	}
	p := peft{folder: d}
	text, err := d.small(adapterConfigFile)
	if err != nil {
		return peft{}, err
	}
	if p.config, err = parseAdapterConfig(text, f.ranks()); err != nil {
		return peft{}, damaged(adapterConfigFile, err)
	}
	tensors, err := d.tensors(adapterWeightsFile)
	if err != nil {
		return peft{}, err
	}
	if p.pairs, err = pairUp(&p.config, tensors); err != nil {
		return peft{}, damaged(adapterWeightsFile, err)
	}
	return p, nil
}

func (f Files) ranks() []int64 {
	if f.Ranks == nil {
		return Ranks
	}
	return f.Ranks
}

// inspectAdapterFolder hashes a PEFT folder and checks it against its base, for an
// engine that loads it as it is. The base's files are what says which engine that is.
func (f Files) inspectAdapterFolder(ctx context.Context, path string, base berth.ModelFile) (berth.ModelFile, error) {
	p, err := f.openPEFT(path)
	if err != nil {
		return berth.ModelFile{}, err
	}
	m := berth.ModelFile{Architecture: base.Architecture}
	switch {
	case isFolder(base.Path):
		b, err := openModel(base.Path)
		if err != nil {
			return berth.ModelFile{}, err
		}
		if err := fitShapes(p.pairs, b.shapes); err != nil {
			return berth.ModelFile{}, berth.Errorf(berth.CodeInvalid, "The adapter %s does not fit the base %s: %v; name the base it was trained on.", filepath.Base(p.path), filepath.Base(base.Path), err)
		}
	case base.Architecture != "": // a GGUF
		return berth.ModelFile{}, berth.Errorf(berth.CodeInvalid, "The adapter %s is a PEFT folder, but llama.cpp takes GGUF files; import it with `berth import create`, which converts it.", p.path)
	}
	return f.hashFolder(ctx, p.folder, m)
}
