package engine

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	berth "github.com/berthhq/berth"
)

// llamaCpp runs llama.cpp's server.
type llamaCpp struct {
	LlamaCppConfig
}

var (
	_ Driver  = llamaCpp{}
	_ Counted = llamaCpp{}
)

// NewLlamaCpp returns the driver "llamacpp".
func NewLlamaCpp(c LlamaCppConfig) Driver { return llamaCpp{c} }

func (llamaCpp) Traits() berth.EngineTraits {
	return berth.EngineTraits{
		Name:          berth.EngineLlamaCpp,
		MixedAdapters: false, // it finishes one set of adapters before it starts another
		Adapters:      true,
		// Seen: the end of thinking is forced after the budget, in the same answer.
		ThinkingBudgets: true,
		// Measured with the installed engine and Abacus, after 30 calls on 4 slots of
		// 32,768 tokens: 174 MiB resident, of which 128 MiB are context and 2 MiB weights;
		// two adapters of rank 8 add 3 MiB. Models with large vocabularies need more: a
		// batch has 512 rows of 4 bytes per token of the vocabulary.
		OverheadBytes: 64 << 20,
	}
}

// httpThreads of an engine sleep unless a connection is open: about as many as calls can
// usefully wait in it.
const httpThreads = 256

// allLayers of a model go to the accelerators: more than any model has, since not every
// version takes a word for it.
const allLayers = "9999"

func (d llamaCpp) Command(l Launch, at Listen) (Command, error) {
	found, err := d.locate()
	if err != nil {
		return Command{}, fmt.Errorf("%w: %w", ErrPermanent, err)
	}
	slots := max(l.Spec.Slots, 1)
	args := append(slices.Clone(found.Command),
		"--model", l.Model.File.Path,
		"--alias", l.Model.Name,
		"--host", at.Host, "--port", strconv.Itoa(at.Port),
		// llama.cpp divides the context among the slots.
		"--ctx-size", strconv.FormatInt(slots*contextLength(l), 10),
		"--parallel", strconv.FormatInt(slots, 10),
		// The cache of prompts outside the slots may grow to 8 GiB by default, which
		// nobody sold. The slots still keep what they last had.
		"--cache-ram", "0",
		// A kept connection holds one of its HTTP threads even while it is idle, and the
		// default is about the number of cores: a burst then leaves new calls waiting until
		// an idle connection times out (seen: 4 to 8 s).
		"--threads-http", strconv.Itoa(httpThreads),
		"--metrics", "--slots", "--jinja", "--no-webui",
		// One engine answers chats and embeddings; chats are not slower for it.
		"--embeddings")
	args = append(args, pooling(l)...)
	if threads := l.Spec.Replica.Threads; threads > 0 {
		args = append(args, "--threads", strconv.FormatInt(threads, 10))
	}
	if len(l.GPUs) > 0 {
		args = append(args, "--n-gpu-layers", allLayers)
	}
	for _, a := range l.Adapters {
		if strings.Contains(a.Path, ",") {
			return Command{}, fmt.Errorf("%w: llama.cpp takes the comma in %s for the end of the file's name; rename the file and add the adapter again", ErrPermanent, a.Path)
		}
		args = append(args, "--lora", a.Path)
	}
	if len(l.Adapters) > 0 {
		args = append(args, "--lora-init-without-apply")
	}
	args = append(append(args, d.Args...), l.Model.Args...)
	return Command{Args: args, Env: environment(l, "LLAMA_API_KEY="+at.Key)}, nil
}

// pooling says how the vectors of a text's tokens become one. A model that was made for
// embeddings says so in its file, and reads a text at once, as long as it may be; of any
// other the mean is taken, of texts up to the 512 tokens that it reads at once. More would
// take memory for a batch of the vocabulary's size in every replica.
func pooling(l Launch) []string {
	if !l.Model.File.Embeds {
		return []string{"--pooling", "mean"}
	}
	tokens := cmp.Or(min(contextLength(l), embeddingTokens), embeddingTokens)
	return []string{"--batch-size", strconv.FormatInt(tokens, 10), "--ubatch-size", strconv.FormatInt(tokens, 10)}
}

// embeddingTokens is the longest text to embed (api.md 9.6).
const embeddingTokens = 8192

// Ready asks every adapter as well, so that one which loads and cannot be applied shows
// before a customer meets it.
func (d llamaCpp) Ready(ctx context.Context, client *http.Client, e Endpoint, l Launch) (spent Spent, err error) {
	if l.Model.File.Embeds {
		return askOneVector(ctx, client, e, d.Fields(berth.EngineCall{Operation: berth.OperationEmbedding, Model: l.Model.Name, Adapter: -1}))
	}
	for adapter := -1; adapter < len(l.Adapters); adapter++ {
		call := berth.EngineCall{Model: l.Model.Name, Adapter: adapter, MaxTokens: 1, Class: berth.ClassProbe}
		one, err := askOneToken(ctx, client, e, d.Fields(call))
		spent.Add(one)
		if err != nil {
			if adapter >= 0 {
				err = fmt.Errorf("adapter %s: %w", l.Adapters[adapter].Path, err)
			}
			return spent, err
		}
	}
	return spent, nil
}

func (llamaCpp) Fields(c berth.EngineCall) []berth.Field {
	fields := openAIFields(c, usageAtEnd)
	switch {
	case c.Operation == berth.OperationEmbedding:
		return fields
	case templated(c):
		fields = withBudget(withThinking(fields, c.Thinking), "thinking_budget_tokens", c.ThinkingBudget)
	}
	// A slot that still has a prompt's beginning skips it and says so. Where workspaces
	// share an engine, that would tell one what another asked.
	alone := c.Class == berth.ClassDedicated
	fields = append(fields, loraField(c.Adapter), berth.Field{Name: "cache_prompt", Value: strconv.AppendBool(nil, alone)})
	if c.Stream {
		fields = append(fields, berth.Field{Name: "timings_per_token", Value: []byte("true")}) // usage all along
	}
	return fields
}

// Count implements [Driver]. Seen: the whole body of a call is taken, nothing is
// generated, no slot is needed, and the number is that of the usage for plain, thinking
// and tool calls alike.
func (d llamaCpp) Count(c berth.EngineCall) (berth.EngineCount, bool) {
	if !templated(c) {
		return berth.EngineCount{}, false
	}
	return berth.EngineCount{Path: "/v1/chat/completions/input_tokens", Fields: d.Fields(c), Member: "input_tokens"}, true
}

// loraField names the adapter of a call. The list says what is on; the rest is off, and
// a number that the engine does not have is no error. But without a list, or with an
// empty one, a call gets every adapter at the scale it was loaded with, and who asked
// the base is answered in all voices at once (seen with scale 1, llama-server's
// default). So a call to the base says that the first adapter is off.
func loraField(adapter int) berth.Field {
	value := `[{"id":0,"scale":0}]`
	if adapter >= 0 {
		value = `[{"id":` + strconv.Itoa(adapter) + `,"scale":1}]`
	}
	return berth.Field{Name: "lora", Value: []byte(value)}
}

// Refuses embeddings with an adapter: llama.cpp takes no adapter per call there (tried:
// the list of adapters changes nothing).
func (llamaCpp) Refuses(c berth.EngineCall, _ []berth.Field) string {
	if c.Operation == berth.OperationEmbedding && c.Adapter >= 0 {
		return "This deployment's engine (llama.cpp) makes no embeddings with an adapter; call a deployment of the base model for them."
	}
	return ""
}

// Blames: a text that does not fit into one batch is answered 500 with "input (1202 tokens) is
// too large to process. increase the physical batch size (current batch size: 512)".
func (llamaCpp) Blames(status int, said string) string {
	// A prompt longer than the context: "request (2415 tokens) exceeds the available context
	// size (2048 tokens), try increasing it". It leaves room for one token of the answer.
	if _, size, ok := strings.Cut(said, "exceeds the available context size ("); ok {
		if n, err := strconv.ParseInt(size[:max(strings.IndexByte(size, ' '), 0)], 10, 64); err == nil {
			return inputRange(n - 1)
		}
	}
	const tooLarge, most = "is too large to process", "(current batch size: "
	_, size, _ := strings.Cut(said, most)
	if size, _, ok := strings.Cut(size, ")"); ok && strings.Contains(said, tooLarge) {
		return "Range of input length should be [1, " + size + "]"
	}
	return blames(status, said)
}

// Counters implements [Counted]. Seen: prompts count when they have been read, answers when
// they have ended, also those of callers that have left; embeddings count as prompts, each
// of several answers for itself, and warming up and counting prompts not at all.
func (llamaCpp) Counters() Counters {
	return Counters{
		Path: "/metrics", Input: "llamacpp:prompt_tokens_total", Cached: "llamacpp:prompt_tokens_cached_total", Output: "llamacpp:tokens_predicted_total",
		InputIsRead: true,
		Calls:       []string{"llamacpp:requests_processing", "llamacpp:requests_deferred"},
	}
}
