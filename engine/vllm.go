package engine

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	berth "github.com/berthhq/berth"
)

// VLLMConfig says how vLLM is started.
type VLLMConfig struct {
	// Command comes before the flags, such as ["vllm", "serve"].
	Command []string
	// Args come after the flags, whose last word counts.
	Args []string
	// MaxRank is the largest rank of the adapters that may come while an engine runs;
	// below 1: 64, the largest that imports take by default.
	MaxRank int
}

// vllm runs vLLM's OpenAI server on a Hugging Face folder. What is said of it here was
// seen with version 0.32.0 on a CPU.
type vllm struct{ VLLMConfig }

var (
	_ Driver        = vllm{}
	_ AdapterLoader = vllm{}
	_ Counted       = vllm{}
)

// NewVLLM returns the driver "vllm".
func NewVLLM(c VLLMConfig) Driver { return vllm{c} }

const vllmMissing = "set engines.vllm.command in its configuration, for example to [vllm, serve]"

func (d vllm) Traits() berth.EngineTraits {
	traits := berth.EngineTraits{
		Name:          berth.EngineVLLM,
		MixedAdapters: true,
		// On a CPU a call without adapter is answered with the weights of whichever stands
		// last, when one with an adapter runs in the same step: -1 for none is taken as an
		// index from the end (vllm/lora/ops/torch_ops, and seen: the base said "122!!!").
		MixNeedsAccelerator: true,
		Adapters:            true,
		LoadsAdapters:       true,
		// Where it knows how the model writes its thinking (--reasoning-parser); else it
		// refuses the call and says so.
		ThinkingBudgets: true,
		// Its four processes on a CPU, without weights and context: 2,130 MiB of their own
		// after some calls to Abacus.
		OverheadBytes: vllmOverheadBytes,
	}
	if len(d.VLLMConfig.Command) == 0 {
		traits.Missing = vllmMissing
	}
	return traits
}

const vllmOverheadBytes = 2200 << 20

func (d vllm) Command(l Launch, at Listen) (Command, error) {
	if len(d.VLLMConfig.Command) == 0 {
		return Command{}, fmt.Errorf("%w: vLLM is not configured; %s", ErrPermanent, vllmMissing)
	}
	args := append(slices.Clone(d.VLLMConfig.Command), l.Model.File.Path,
		"--served-model-name", l.Model.Name,
		"--host", at.Host, "--port", strconv.Itoa(at.Port),
		"--max-num-seqs", strconv.FormatInt(max(l.Spec.Slots, 1), 10),
		"--scheduling-policy", "priority",
		"--enable-prompt-tokens-details")
	if tokens := contextLength(l); tokens > 0 {
		args = append(args, "--max-model-len", strconv.FormatInt(tokens, 10))
	}
	if n := len(l.GPUs); n > 1 { // it takes one unless it is told
		args = append(args, "--tensor-parallel-size", strconv.Itoa(n))
	}
	args = append(args, vllmParsers(l.Model)...)
	args = append(args, d.adapters(l)...)
	args = append(append(args, d.VLLMConfig.Args...), l.Model.Args...)
	return Command{Args: args, Env: environment(l, d.variables(l, at)...)}, nil
}

// variables are vLLM's own. It is told to ask nobody for models and to send nobody
// figures of its use, which it does by default.
func (vllm) variables(l Launch, at Listen) []string {
	own := []string{"VLLM_API_KEY=" + at.Key, "HF_HUB_OFFLINE=1", "VLLM_NO_USAGE_STATS=1", "DO_NOT_TRACK=1"}
	if l.Loads {
		own = append(own, "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True")
	}
	if len(l.GPUs) > 0 {
		return own
	}
	// Without a number it takes half of the machine's memory for the context. It counts in
	// whole GiB. Binding threads to cores is left to the operating system: several engines
	// would choose the same.
	left := l.Spec.Replica.MemoryBytes - vllmOverheadBytes - l.Model.File.Stat.SizeBytes
	return append(own,
		"VLLM_CPU_KVCACHE_SPACE="+strconv.FormatInt(max(left>>30, 1), 10),
		"VLLM_CPU_OMP_THREADS_BIND=nobind")
}

// vllmAdaptersAtOnce bounds the adapters that run side by side in one replica, whose
// place on the accelerator is reserved at the start.
const vllmAdaptersAtOnce = 8

// vllmRanks are those that --max-lora-rank may be; adapters of smaller ones fit as well.
var vllmRanks = []int{8, 16, 32, 64, 128, 256, 320, 512}

// vllmRank is what imports take by default.
const vllmRank = 64

// maxRank is what an engine is told.
func (c VLLMConfig) maxRank() string {
	rank := cmp.Or(max(c.MaxRank, 0), vllmRank)
	i := slices.IndexFunc(vllmRanks, func(r int) bool { return r >= rank })
	if i < 0 {
		i = len(vllmRanks) - 1
	}
	return strconv.Itoa(vllmRanks[i])
}

// adapters are the flags for LoRA. A replica to which adapters may come has room for as
// many as it has slots, so that none waits for another.
//
// Berth gives vLLM the name and folder of every adapter that is deployed, once, and that
// is all there is of one that is not called: vLLM keeps --max-cpu-loras of them in
// memory, the least recently called one goes first, and reads one that went from its
// folder again when it is called. Seen with three adapters, room for two of them and for
// one at a time: each call answered within its usual time. So the bound is the engine's,
// and no call waits for Berth to load anything.
func (d vllm) adapters(l Launch) []string {
	off := slices.Contains(d.Args, noLoRA) || slices.Contains(l.Model.Args, noLoRA)
	if off || len(l.Adapters) == 0 && !l.Loads {
		return nil
	}
	atOnce := int64(len(l.Adapters))
	if l.Loads {
		atOnce = max(atOnce, l.Spec.Slots)
	}
	atOnce = min(atOnce, vllmAdaptersAtOnce)
	args := []string{
		"--enable-lora",
		"--max-loras", strconv.FormatInt(atOnce, 10),
		"--max-cpu-loras", strconv.FormatInt(4*atOnce, 10),
		"--max-lora-rank", d.maxRank(),
	}
	if len(l.Adapters) > 0 {
		args = append(args, "--lora-modules")
	}
	for _, a := range l.Adapters {
		args = append(args, adapterName(a.Digest)+"="+a.Path)
	}
	return args
}

// noLoRA among the arguments of a model says that vLLM cannot apply adapters to it.
const noLoRA = "--no-enable-lora"

// LoadAdapter implements [AdapterLoader].
func (d vllm) LoadAdapter(ctx context.Context, client *http.Client, e Endpoint, a berth.AdapterRef) (Spent, error) {
	if err := loadByName(ctx, client, e, a); err != nil {
		return Spent{}, err
	}
	return d.askFor(ctx, client, e, "", a)
}

// UnloadAdapter implements [AdapterLoader].
func (vllm) UnloadAdapter(ctx context.Context, client *http.Client, e Endpoint, a berth.AdapterRef) error {
	return unloadByName(ctx, client, e, a)
}

// vllmParsers are the flags for models that reason and call tools, by the model_type of
// their config.json. What is not in the list is said by args of the model's entry, which
// also win over the list.
func vllmParsers(m berth.Model) []string {
	known, ok := vllmParsersOf[m.File.Architecture]
	if !ok {
		return nil
	}
	var args []string
	if known.reasoning != "" && m.Thinking != berth.ThinkingNone && m.Thinking != "" && !slices.Contains(m.Args, "--reasoning-parser") {
		args = append(args, "--reasoning-parser", known.reasoning)
	}
	if known.tools != "" && !slices.Contains(m.Args, "--tool-call-parser") {
		args = append(args, "--enable-auto-tool-choice", "--tool-call-parser", known.tools)
	}
	return args
}

// vllmParsersOf is what vLLM's documentation says of these families; qwen3 was tried.
var vllmParsersOf = map[string]struct{ reasoning, tools string }{
	"qwen2":     {"", "hermes"},
	"qwen2_moe": {"", "hermes"},
	"qwen3":     {"qwen3", "hermes"},
	"qwen3_moe": {"qwen3", "hermes"},
	"llama":     {"", "llama3_json"},
	"mistral":   {"", "mistral"},
	"granite":   {"granite", "granite"},
	"gpt_oss":   {"openai_gptoss", "openai"},
	"glm4_moe":  {"glm45", "glm45"},
	"seed_oss":  {"seed_oss", "seed_oss"},
}

func (d vllm) Ready(ctx context.Context, client *http.Client, e Endpoint, l Launch) (Spent, error) {
	spent, err := d.askFor(ctx, client, e, l.Model.Name, berth.AdapterRef{})
	if err != nil {
		return spent, err
	}
	for _, a := range l.Adapters {
		one, err := d.askFor(ctx, client, e, l.Model.Name, a)
		spent.Add(one)
		if err != nil {
			return spent, fmt.Errorf("adapter %s: %w", a.Path, err)
		}
	}
	return spent, nil
}

// askFor asks the model, or one of its adapters, for a token.
func (d vllm) askFor(ctx context.Context, client *http.Client, e Endpoint, model string, a berth.AdapterRef) (Spent, error) {
	call := berth.EngineCall{Model: model, Adapter: -1, MaxTokens: 1, Class: berth.ClassProbe}
	if a.Digest != "" {
		call.Adapter, call.AdapterDigest = 0, a.Digest
	}
	return askOneToken(ctx, client, e, d.Fields(call))
}

// Fields puts the adapter's name in the place of the model's.
func (vllm) Fields(c berth.EngineCall) []berth.Field {
	if c.Adapter >= 0 {
		c.Model = adapterName(c.AdapterDigest)
	}
	fields := openAIFields(c, usageAlong)
	if templated(c) {
		fields = withThinking(fields, c.Thinking)
	}
	fields = append(fields,
		berth.Field{Name: "priority", Value: strconv.AppendInt(nil, vllmPriority(c.Class), 10)})
	if c.Workspace != "" && c.Class != berth.ClassDedicated {
		// Where workspaces share an engine, what one of them asked is not found in the cache
		// by another, and the figures of a call do not tell of it. Ids of workspaces have no
		// character that needs an escape.
		fields = append(fields, berth.Field{Name: "cache_salt", Value: []byte(`"` + c.Workspace + `"`)})
	}
	if c.Greedy && c.Answers > 1 {
		// It refuses several answers at temperature 0, which are all alike. So they are
		// drawn from the first choice alone.
		fields = append(fields, berth.Field{Name: "temperature", Value: []byte("1")}, berth.Field{Name: "top_k", Value: []byte("1")})
	}
	fields = withBudget(fields, "thinking_token_budget", c.ThinkingBudget)
	return fields
}

// Count implements [Driver]. vLLM renders the messages with their tools and the
// template's arguments as for a call; members that it does not know there it passes over.
func (vllm) Count(c berth.EngineCall) (berth.EngineCount, bool) {
	if !templated(c) {
		return berth.EngineCount{}, false
	}
	if c.Adapter >= 0 {
		c.Model = adapterName(c.AdapterDigest)
	}
	fields := openAIFields(berth.EngineCall{Model: c.Model}, "")
	return berth.EngineCount{Path: "/tokenize", Fields: withThinking(fields, c.Thinking), Member: "count"}, true
}

// Counters implements [Counted]. Cached tokens are among those of prompts.
func (vllm) Counters() Counters {
	return Counters{
		Path: "/metrics", Input: "vllm:prompt_tokens_total", Cached: "vllm:prompt_tokens_cached_total", Output: "vllm:generation_tokens_total",
		Calls: []string{"vllm:num_requests_running", "vllm:num_requests_waiting"},
		Lag:   true, // its figures are put down after the answer has gone out
	}
}

// vllmPriority is the class in vLLM's words: lower is earlier.
func vllmPriority(class berth.Class) int64 {
	switch class {
	case berth.ClassOverflow, berth.ClassShared:
		return 1
	default:
		return 0
	}
}

// Refuses embeddings, which one vLLM does not make beside chat.
func (vllm) Refuses(c berth.EngineCall, _ []berth.Field) string {
	if c.Operation == berth.OperationEmbedding {
		return "This deployment's engine (vLLM) makes no embeddings of a model that chats; deploy the model on llama.cpp for them."
	}
	return ""
}

func (vllm) Blames(status int, said string) string { return blames(status, said) }
