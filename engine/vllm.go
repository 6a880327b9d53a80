package engine

import (
	"context"
	"fmt"
	"net/http"
	"strconv"

	berth "github.com/berthhq/berth"
)

// VLLMConfig says how vLLM is started.
type VLLMConfig struct {
	// Command comes before the flags, such as ["vllm", "serve"].
	Command []string
}

// vllm runs vLLM's OpenAI server on a Hugging Face folder.
type vllm struct{ VLLMConfig }

var _ Driver = vllm{}

// NewVLLM returns the driver "vllm".
func NewVLLM(c VLLMConfig) Driver { return vllm{c} }

func (vllm) Traits() berth.EngineTraits {
	return berth.EngineTraits{
		Name:          "vllm",
		MixedAdapters: true,
		Adapters:      true,
		OverheadBytes: 1900 << 20, // its three processes on a CPU
	}
}

func (d vllm) Command(l Launch, at Listen) (Command, error) {
	if len(d.VLLMConfig.Command) == 0 {
		return Command{}, fmt.Errorf(`%w: vLLM is not configured; set engines.vllm.command, for example to ["vllm", "serve"]`, ErrPermanent)
	}
	args := append([]string{}, d.VLLMConfig.Command...)
	args = append(args, l.Model.File.Path,
		"--served-model-name", l.Model.Name,
		"--host", at.Host, "--port", strconv.Itoa(at.Port),
		"--max-num-seqs", strconv.FormatInt(l.Spec.Slots, 10),
		"--scheduling-policy", "priority",
		"--enable-prompt-tokens-details")
	if tokens := contextLength(l); tokens > 0 {
		args = append(args, "--max-model-len", strconv.FormatInt(tokens, 10))
	}
	if n := len(l.GPUs); n > 1 { // it takes one unless it is told
		args = append(args, "--tensor-parallel-size", strconv.Itoa(n))
	}
	if n := len(l.Adapters); n > 0 {
		args = append(args, "--enable-lora", "--max-loras", strconv.Itoa(n), "--lora-modules")
		for i, a := range l.Adapters {
			args = append(args, vllmAdapter(i)+"="+a.Path)
		}
	}
	return Command{Args: args, Env: environment(l, "VLLM_API_KEY="+at.Key)}, nil
}

// vllmAdapter is the name under which an adapter is called.
func vllmAdapter(number int) string { return "berth-adapter-" + strconv.Itoa(number) }

func (d vllm) Ready(ctx context.Context, client *http.Client, e Endpoint, l Launch) error {
	for adapter := -1; adapter < len(l.Adapters); adapter++ {
		call := berth.EngineCall{Model: l.Model.Name, Adapter: adapter, MaxTokens: 1, Class: berth.ClassProbe}
		if err := askOneToken(ctx, client, e, d.Fields(call)); err != nil {
			return err
		}
	}
	return nil
}

// Fields puts the adapter's name in the place of the model's.
func (vllm) Fields(c berth.EngineCall) []berth.Field {
	if c.Adapter >= 0 {
		c.Model = vllmAdapter(c.Adapter)
	}
	return append(withThinking(openAIFields(c, usageAlong), c.Thinking),
		berth.Field{Name: "priority", Value: strconv.AppendInt(nil, vllmPriority(c.Class), 10)})
}

// Count implements [Driver]. vLLM renders the messages with their tools and the
// template's arguments as for a call; members that it does not know there it passes over.
func (vllm) Count(c berth.EngineCall) (berth.EngineCount, bool) {
	if c.Adapter >= 0 {
		c.Model = vllmAdapter(c.Adapter)
	}
	fields := openAIFields(berth.EngineCall{Model: c.Model}, "")
	return berth.EngineCount{Path: "/tokenize", Fields: withThinking(fields, c.Thinking), Member: "count"}, true
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
