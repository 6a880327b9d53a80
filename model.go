package berth

import (
	"regexp"
	"slices"
	"strings"
	"time"
)

// ModelKind says what a model is made of.
type ModelKind string

// The kinds of models.
const (
	ModelKindBase     ModelKind = "base"     // weights in a file
	ModelKindAdapter  ModelKind = "adapter"  // LoRA weights on a base
	ModelKindEndpoint ModelKind = "endpoint" // somebody else's OpenAI-compatible URL
)

// Thinking says whether a model can write its reasoning before its answer.
type Thinking string

// The inference types of models (api.md 5.2: Instruct, Instruct/Thinking, Thinking).
const (
	ThinkingNone     Thinking = "none"
	ThinkingOptional Thinking = "optional"
	ThinkingAlways   Thinking = "always"
)

// Valid reports whether t is one of the three.
func (t Thinking) Valid() bool {
	return t == ThinkingNone || t == ThinkingOptional || t == ThinkingAlways
}

// Model is what can be deployed. Names live in one server-wide namespace.
type Model struct {
	Name        string
	Kind        ModelKind
	WorkspaceID string // "": the catalogue, visible to everybody
	Base        string // adapters: the name of the base model
	Engine      string // name of the engine driver that runs it
	// Args come after the arguments that Berth gives the engine, whose last word counts.
	// Only the configuration sets them: an argument can make an engine run programs.
	Args       []string
	File       ModelFile
	URL        string // endpoints: base URL, ending before /chat/completions
	RemoteName string // endpoints: the model's name there; "" means Name
	SealedKey  []byte // endpoints: the key, encrypted at rest; nil for none
	Plans      []Plan
	// PlansByKind marks plans that nobody chose: ptu comes to them with a calibration.
	PlansByKind bool
	// Specs are the specs the model may be deployed on; a zero field of an override
	// means units × spec. Ordered, because the first is the default.
	Specs       []SpecOverride
	Pool        PoolPolicy
	Calibration Calibration // declared; what was measured is a [Measurement]
	PTU         PTUTerms    // how tokens count against reservations
	Thinking    Thinking
	// ContextLength is the largest number of tokens, prompt and answer together, that
	// a sequence may have: the entry's value or the file's.
	ContextLength int64
	// StandIn marks a model that carries another vendor's name but runs on these
	// files, so that a team's CI can use the names of production.
	StandIn     bool
	Description string
	// Configured models come from the configuration file and follow it at each start.
	Configured bool
	CreatedAt  time.Time
}

// ModelFile is a file of weights as it was when it was added.
type ModelFile struct {
	Path   string
	Digest string // "sha256:" + hex
	Stat   FileStat
	// Architecture is the GGUF's general.architecture, such as "qwen3"; "" when the
	// engine has no notion of it.
	Architecture string
	// ContextLength is the file's own ceiling in tokens; 0 when it says none.
	ContextLength int64
	// KVBytesPerToken is the memory of one token of context, all layers, 16-bit.
	KVBytesPerToken int64
	Parameters      int64
	// Thinking is whether the chat template in the file knows a thinking switch.
	Thinking bool
	// NoTools: the chat template in the file has no place for tools, so an engine would
	// drop them in silence. False also when that is not known.
	NoTools bool
	// Embeds: the file says how the vectors of a text's tokens become one; the model was
	// made for embeddings.
	Embeds bool
}

// FileStat is what a start compares instead of reading the whole file again
// (design 5): a difference means that the file must be hashed again.
type FileStat struct {
	Device, Inode uint64
	SizeBytes     int64
	ModifiedNS    int64
	ChangedNS     int64
}

// PoolPolicy is how the pool of a model's ptu and lora deployments is made.
type PoolPolicy struct {
	Spec string // "": the model's first spec
	Min  int    // replicas of the lane that serves the base; 0 counts as 1
	Max  int    // replicas of the whole pool; 0: whatever fits
}

// Offers reports whether the model may be deployed under plan.
func (m *Model) Offers(plan Plan) bool { return slices.Contains(m.Plans, plan) }

// LacksTools reports whether tools would not reach the model. A template among the
// arguments of its engine is believed to know them.
func (m *Model) LacksTools() bool {
	const template = "--chat-template" // or --chat-template-file, of llama.cpp and of vLLM
	return m.File.NoTools && !slices.ContainsFunc(m.Args, func(arg string) bool { return strings.HasPrefix(arg, template) })
}

// Custom reports whether deployments of m are named after it alone: fine-tuned and
// imported models, in contrast to catalogue bases (api.md 4.5).
func (m *Model) Custom() bool { return m.Kind == ModelKindAdapter || m.WorkspaceID != "" }

// VisibleTo reports whether the workspace may see and deploy the model.
func (m *Model) VisibleTo(workspaceID string) bool {
	return m.WorkspaceID == "" || m.WorkspaceID == workspaceID
}

var modelName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,119}$`)

// ValidateModelName refuses names that could not be part of a URL path or would be
// taken for a part of the API (api.md 4.1, statements 64 and 136).
func ValidateModelName(name string) error {
	switch {
	case name == "":
		return Errorf(CodeInvalid, "A model needs a name.")
	case !modelName.MatchString(name):
		return Errorf(CodeInvalid, "The model name %q is not usable; use 1 to 120 letters, digits, '.', '_' and '-', starting with a letter or digit.", name)
	case name == "models":
		return Errorf(CodeInvalid, "The model name %q is taken by the API; choose another.", name)
	}
	return nil
}

var hexTail = regexp.MustCompile(`^(.+)-[0-9a-f]{8}(-.*)?$`)

// MimickedBase returns the name before a tail of '-' and 8 hex digits, which is how
// deployments of a base are named, or "". A model must not look like a deployment of
// an existing base (design 1).
func MimickedBase(name string) string {
	if m := hexTail.FindStringSubmatch(name); m != nil {
		return m[1]
	}
	return ""
}
