package cli

import (
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berthhq/berth/api"
)

// chatFlags are the flags that become fields only when they are given.
type chatFlags struct {
	thinking    bool
	maxTokens   int64
	temperature float64
	system      string
}

func (p *program) chat() *cobra.Command {
	var f chatFlags
	cmd := &cobra.Command{
		Use:   "chat DEPLOYED_MODEL [TEXT]",
		Short: "Talk to a deployed model",
		Long: `Talk to a deployed model. With TEXT one answer is given; without it each line of input
is a turn of one conversation. Ctrl-C ends an answer, Ctrl-D the conversation.

On a terminal a model's reasoning is shown dimmed before its answer; elsewhere only the
answer is written.`,
		Example: lines(
			`berth chat abacus-1f0c77aa "What is 6 x 7?"`,
			"berth chat abacus-1f0c77aa --thinking --system 'Answer in one word.'",
			`berth chat abacus-1f0c77aa "Hello" -o json`),
		Args:              arguments(cobra.MinimumNArgs(1)),
		ValidArgsFunction: p.completeDeployments,
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, args []string) error {
			request := f.request(cmd, args[0])
			if len(args) == 1 {
				return p.converse(cmd.Context(), client, request)
			}
			request.Messages = append(request.Messages, api.Message{Role: "user", Content: strings.Join(args[1:], " ")})
			return p.answerOnce(cmd, client, request)
		}),
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.thinking, "thinking", false, "reason before answering; --thinking=false: do not")
	flags.Int64Var(&f.maxTokens, "max-tokens", 0, "longest answer, in `tokens`")
	flags.Float64Var(&f.temperature, "temperature", 0, "`randomness`, from 0 on")
	flags.StringVar(&f.system, "system", "", "`instruction` before the conversation")
	return cmd
}

func (f *chatFlags) request(cmd *cobra.Command, deployedModel string) api.ChatRequest {
	r := api.ChatRequest{
		Model:          deployedModel,
		MaxTokens:      given(cmd, "max-tokens", f.maxTokens),
		Temperature:    given(cmd, "temperature", f.temperature),
		EnableThinking: given(cmd, "thinking", f.thinking),
	}
	if f.system != "" {
		r.Messages = append(r.Messages, api.Message{Role: "system", Content: f.system})
	}
	return r
}

func (p *program) answerOnce(cmd *cobra.Command, client *api.Client, r api.ChatRequest) error {
	if p.output != formatTable {
		answer, err := client.Chat(cmd.Context(), r, nil)
		if err != nil {
			return err
		}
		return p.show(answer, table{})
	}
	s := p.speaker()
	answer, err := client.Chat(cmd.Context(), r, s.say)
	s.end()
	p.noteFinish(answer)
	return err
}

// noteFinish says why an answer is shorter than the model would have it.
func (p *program) noteFinish(a api.Answer) {
	if a.FinishReason == "length" {
		p.say("(cut at the largest length of an answer)")
	}
}

// speaker writes an answer as it comes.
type speaker struct {
	out      io.Writer
	terminal bool // reasoning is shown, and nothing may steer the terminal
	styled   bool // reasoning is dimmed
	thinking bool // the last piece was reasoning
	midLine  bool
}

func (p *program) speaker() *speaker {
	onTerminal := terminal(p.Out) != nil
	return &speaker{out: p.Out, terminal: onTerminal, styled: onTerminal && p.Env("NO_COLOR") == ""}
}

const (
	dim   = "\x1b[2m"
	plain = "\x1b[0m"
)

// say writes one piece; its form is that of [api.Client.Chat]'s onDelta.
func (s *speaker) say(reasoning, content string) error {
	var text strings.Builder
	if s.terminal {
		reasoning, content = printable(reasoning), printable(content)
		if reasoning != "" {
			text.WriteString(s.turn(true) + reasoning)
		}
	}
	if content != "" {
		text.WriteString(s.turn(false) + content)
	}
	if text.Len() > 0 {
		s.midLine = !strings.HasSuffix(text.String(), "\n")
	}
	_, err := io.WriteString(s.out, text.String())
	return err
}

// turn returns what stands between reasoning and answer.
func (s *speaker) turn(thinking bool) string {
	if s.thinking == thinking {
		return ""
	}
	s.thinking = thinking
	mark := ""
	if s.styled {
		mark = plain
		if thinking {
			mark = dim
		}
	}
	if thinking {
		return mark
	}
	return mark + "\n\n"
}

// end leaves the terminal as it was before the answer, on a line of its own.
func (s *speaker) end() {
	text := ""
	if s.thinking && s.styled {
		text = plain
	}
	if s.midLine {
		text += "\n"
	}
	_, _ = io.WriteString(s.out, text)
	s.thinking, s.midLine = false, false
}
