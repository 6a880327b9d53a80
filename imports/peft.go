package imports

import (
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
)

// The files of a PEFT adapter (api.md 8.2).
const (
	adapterWeightsFile = "adapter_model.safetensors"
	adapterConfigFile  = "adapter_config.json"
)

// configBytesMax bounds the small JSON files beside weights.
const configBytesMax = 16 << 20

// Ranks are the ranks of LoRA adapters that are taken unless the configuration says
// otherwise (api.md 8.2).
var Ranks = []int64{8, 16, 32, 64}

// adapterConfig is what of adapter_config.json decides how an adapter is applied.
type adapterConfig struct {
	PEFTType      string             `json:"peft_type"`
	Rank          int64              `json:"r"`
	Alpha         float64            `json:"lora_alpha"`
	TargetModules targets            `json:"target_modules"`
	ModulesToSave []string           `json:"modules_to_save"`
	Bias          string             `json:"bias"`
	FanInFanOut   bool               `json:"fan_in_fan_out"`
	LoRABias      bool               `json:"lora_bias"`
	UseDoRA       bool               `json:"use_dora"`
	UseRSLoRA     bool               `json:"use_rslora"`
	RankPattern   map[string]int64   `json:"rank_pattern"`
	AlphaPattern  map[string]float64 `json:"alpha_pattern"`
}

// targets are names of modules; nil when the file has a pattern, whose effect the
// tensors show.
type targets []string

func (t *targets) UnmarshalJSON(text []byte) error {
	if len(text) > 0 && text[0] == '"' {
		return nil
	}
	return json.Unmarshal(text, (*[]string)(t))
}

// parseAdapterConfig reads and checks an adapter_config.json on its own.
func parseAdapterConfig(text []byte, ranks []int64) (adapterConfig, error) {
	var c adapterConfig
	if err := json.Unmarshal(text, &c); err != nil {
		return c, errors.New("it is not the JSON that PEFT writes")
	}
	switch {
	case !strings.EqualFold(c.PEFTType, "LORA"):
		return c, fmt.Errorf("its peft_type is %.40q, but only LORA is taken", c.PEFTType)
	case !slices.Contains(ranks, c.Rank):
		return c, fmt.Errorf("its rank r is %d, but must be one of %s", c.Rank, listed(ranks))
	case c.Alpha <= 0 || c.Alpha > math.MaxFloat32:
		return c, fmt.Errorf("its lora_alpha is %g, but must be above 0", c.Alpha)
	case c.UseDoRA:
		return c, errors.New("it uses DoRA, which the engines do not apply; train with use_dora false")
	case len(c.ModulesToSave) > 0:
		return c, fmt.Errorf("it brings whole modules (modules_to_save %.60q); vocabulary and other weights of the base must stay as they are", c.ModulesToSave)
	case c.Bias != "" && c.Bias != "none" || c.LoRABias:
		return c, errors.New("it trains biases; train with bias none and lora_bias false")
	case c.FanInFanOut:
		return c, errors.New("it has fan_in_fan_out, which no base that can be imported to has")
	}
	for module, rank := range c.RankPattern {
		if rank != c.Rank {
			return c, fmt.Errorf("its rank_pattern gives %.60q the rank %d; the rank must be %d in all layers", module, rank, c.Rank)
		}
	}
	for module, alpha := range c.AlphaPattern {
		if alpha != c.Alpha {
			return c, fmt.Errorf("its alpha_pattern gives %.60q the alpha %g; it must be %g in all layers", module, alpha, c.Alpha)
		}
	}
	return c, nil
}

// scale is the alpha with which alpha / rank is what PEFT multiplies by.
func (c *adapterConfig) scale() float32 {
	if c.UseRSLoRA { // alpha / √rank
		return float32(c.Alpha * math.Sqrt(float64(c.Rank)))
	}
	return float32(c.Alpha)
}

func listed(ranks []int64) string {
	return strings.Trim(strings.Join(strings.Fields(fmt.Sprint(ranks)), ", "), "[]")
}

// loraPair is what an adapter adds to one module: B × A, with A rank × inputs and
// B outputs × rank.
type loraPair struct {
	module string // as in the base's own files, such as "model.layers.0.self_attn.q_proj"
	a, b   tensor
}

var (
	loraTensor = regexp.MustCompile(`^base_model\.model\.(.+)\.lora_([AB])\.weight$`)
	visual     = regexp.MustCompile(`^(?:base_model\.model\.)?(?:model\.)?visual`)
)

// pairUp joins the tensors of an adapter to pairs, ordered by module, and refuses what
// the configuration does not say.
func pairUp(c *adapterConfig, tensors []tensor) ([]loraPair, error) {
	pairs := map[string]*loraPair{}
	for _, t := range tensors {
		if visual.MatchString(t.name) {
			return nil, fmt.Errorf("its tensor %.80q changes the vision tower, which must stay frozen", t.name)
		}
		part := loraTensor.FindStringSubmatch(t.name)
		if part == nil {
			return nil, fmt.Errorf("its tensor %.80q is no LoRA weight of a layer", t.name)
		}
		if t.dtype != "F16" && t.dtype != "BF16" && t.dtype != "F32" {
			return nil, fmt.Errorf("its tensor %.80q is %s; only F16, BF16 and F32 are taken", t.name, t.dtype)
		}
		p := pairs[part[1]]
		if p == nil {
			p = &loraPair{module: part[1]}
			pairs[part[1]] = p
		}
		if part[2] == "A" {
			p.a = t
		} else {
			p.b = t
		}
	}
	if len(pairs) == 0 {
		return nil, errors.New("it has no LoRA weights")
	}
	out := make([]loraPair, 0, len(pairs))
	for _, p := range pairs {
		if err := c.check(p); err != nil {
			return nil, err
		}
		out = append(out, *p)
	}
	slices.SortFunc(out, func(x, y loraPair) int { return strings.Compare(x.module, y.module) })
	return out, c.allThere(out)
}

func (c *adapterConfig) check(p *loraPair) error {
	switch {
	case p.a.name == "" || p.b.name == "":
		return fmt.Errorf("the module %.80q has only one of lora_A and lora_B", p.module)
	case len(p.a.shape) != 2 || len(p.b.shape) != 2 || p.a.size == 0 || p.b.size == 0:
		return fmt.Errorf("the LoRA weights of %.80q are no matrices", p.module)
	case p.a.shape[0] != c.Rank || p.b.shape[1] != c.Rank:
		return fmt.Errorf("the module %.80q has rank %d and %d, adapter_config.json says %d; the rank must be equal in all layers", p.module, p.a.shape[0], p.b.shape[1], c.Rank)
	case c.TargetModules != nil && !slices.ContainsFunc(c.TargetModules, p.is):
		return fmt.Errorf("the module %.80q is not among the target_modules of adapter_config.json", p.module)
	}
	for _, word := range []string{"embed_tokens", "lm_head"} {
		if p.is(word) {
			return fmt.Errorf("it changes %s; the vocabulary of the base must stay as it is", word)
		}
	}
	return nil
}

func (p *loraPair) is(target string) bool {
	return p.module == target || strings.HasSuffix(p.module, "."+target)
}

// allThere refuses target modules without weights: half of the adapter is missing.
func (c *adapterConfig) allThere(pairs []loraPair) error {
	for _, target := range c.TargetModules {
		if !slices.ContainsFunc(pairs, func(p loraPair) bool { return p.is(target) }) {
			return fmt.Errorf("adapter_config.json names the target module %.60q, but the weights have none", target)
		}
	}
	return nil
}

// fitShapes refuses pairs for other modules or sizes than the base has. shapes are the
// base's tensors by name: outputs × inputs.
func fitShapes(pairs []loraPair, shapes map[string][]int64) error {
	for _, p := range pairs {
		shape, known := shapes[p.module+".weight"]
		switch {
		case !known:
			return fmt.Errorf("the base has no module %.80q", p.module)
		case len(shape) != 2 || p.b.shape[0] != shape[0] || p.a.shape[1] != shape[1]:
			return fmt.Errorf("its %.80q is %d × %d, the base's is %d", p.module, p.b.shape[0], p.a.shape[1], shape)
		}
	}
	return nil
}

// finite refuses values that are no numbers, which would make every answer nonsense.
func finite(block []byte, dtype string) bool {
	switch dtype {
	case "F16":
		for i := 1; i < len(block); i += 2 {
			if block[i]&0x7c == 0x7c {
				return false
			}
		}
	case "BF16", "F32":
		step := int(dtypeBytes[dtype])
		for i := step - 1; i < len(block); i += step {
			if block[i]&0x7f == 0x7f && block[i-1]&0x80 != 0 {
				return false
			}
		}
	}
	return true
}

// readSmall reads a small file whole.
func readSmall(r io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, configBytesMax+1))
	if err == nil && len(text) > configBytesMax {
		err = fmt.Errorf("it has more than %d bytes", configBytesMax)
	}
	return text, err
}
