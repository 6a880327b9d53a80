package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berthhq/berth/api"
)

func (p *program) model() *cobra.Command {
	return parent("model", "Add, list and delete models", p.addModel(), p.listModels(), p.showModel(), p.deleteModel())
}

func (p *program) addModel() *cobra.Command {
	var m api.AddModel
	var keyFile string
	var onServer bool
	var terms api.PTUTerms
	var long []string
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Add a model: weights, an adapter or somebody's endpoint",
		Long: `Add a model: weights, an adapter or somebody's endpoint.

A file or folder that is here is uploaded, unless the server runs on the data directory
here and reads it itself. An upload that was interrupted goes on when the same command is
given again. A name that is not here, or any with --on-server, is one of the server's.`,
		Example: lines(
			"berth model add abacus --path ./abacus-0.8m-f16.gguf",
			"berth model add abacus-poet --base abacus --adapter ./poet-lora",
			"berth model add abacus --path /srv/models/abacus.gguf --on-server",
			"berth model add big --endpoint https://models.example.com/v1 --key-file ./key --remote-name big-70b"),
		Args: arguments(cobra.ExactArgs(1)),
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, args []string) error {
			m.Name = args[0]
			if err := checkSource(cmd, m); err != nil {
				return err
			}
			var err error
			if terms.LongInput, err = longInputs(long); err != nil {
				return usageError{cmd, err.Error()}
			}
			if terms.CacheFactor != 0 || terms.MaxInput != 0 || terms.LongInput != nil {
				m.PTU = &terms
			}
			if !onServer {
				if err := p.send(cmd.Context(), client, &m); err != nil {
					return err
				}
			}
			m.Path, m.Adapter = absolute(m.Path), absolute(m.Adapter)
			if keyFile != "" {
				text, err := os.ReadFile(keyFile)
				if err != nil {
					return err
				}
				m.Key = strings.TrimSpace(string(text))
			}
			added, err := client.AddModel(cmd.Context(), m)
			if err != nil {
				return err
			}
			return p.show(added, p.modelFacts(added))
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&m.Path, "path", "", "`file` or folder of weights")
	flags.StringVar(&m.Base, "base", "", "`model` that the adapter belongs to")
	flags.StringVar(&m.Adapter, "adapter", "", "`file` or folder of LoRA weights (GGUF, or PEFT)")
	flags.BoolVar(&onServer, "on-server", false, "the file is on the server's machine; send nothing")
	flags.StringVar(&m.URL, "endpoint", "", "`URL` of an OpenAI-compatible server, ending before /chat/completions")
	flags.StringVar(&keyFile, "key-file", "", "`file` with the endpoint's key")
	flags.StringVar(&m.RemoteName, "remote-name", "", "the model's `name` at the endpoint, if it is another")
	flags.StringVar(&m.Engine, "engine", "", "`engine` that runs it; without it the one that can")
	flags.StringSliceVar(&m.Plans, "plans", nil, "`plans` it is sold under: mu, ptu, lora")
	flags.StringSliceVar(&m.Specs, "specs", nil, "`specs` it is sold on, the default one first")
	flags.Int64Var(&m.ContextLength, "context", 0, "largest prompt and answer together, in `tokens`; without it the file's")
	flags.StringVar(&m.Thinking, "thinking", "", "`whether` it reasons before it answers: none, optional or always")
	flags.Float64Var(&terms.CacheFactor, "cache-factor", 0, "`factor` by which cached input counts against a ptu reservation, such as 0.2")
	flags.Int64Var(&terms.MaxInput, "max-input", 0, "longest input of a ptu call in `tokens`; a longer one is overflow")
	flags.StringSliceVar(&long, "long-input", nil, "`lengths` of input from which ptu counts more, as TOKENS:INPUT-FACTOR:OUTPUT-FACTOR")
	flags.BoolVar(&m.StandIn, "stand-in", false, "it runs other weights than its name says, and is shown so")
	flags.StringVar(&m.Description, "description", "", "`sentence` for people")
	return cmd
}

// longInputs reads lengths such as 32768:1.33:1.17.
func longInputs(texts []string) (list []api.LongInput, err error) {
	for _, text := range texts {
		var l api.LongInput
		parts := strings.Split(text, ":")
		if len(parts) == 3 {
			l.Above, err = strconv.ParseInt(parts[0], 10, 64)
			for i, factor := range []*float64{&l.Input, &l.Output} {
				if err == nil {
					*factor, err = strconv.ParseFloat(parts[i+1], 64)
				}
			}
		}
		if len(parts) != 3 || err != nil {
			return nil, fmt.Errorf("--long-input %s is not like 32768:1.33:1.17, which is a length in tokens, what tokens of the input beyond it count, and tokens of the answer", text)
		}
		list = append(list, l)
	}
	return list, nil
}

// checkSource wants exactly one of the three kinds.
func checkSource(cmd *cobra.Command, m api.AddModel) error {
	kinds := 0
	for _, source := range []string{m.Path, m.Adapter, m.URL} {
		if source != "" {
			kinds++
		}
	}
	switch {
	case kinds != 1:
		return usageError{cmd, "name exactly one of --path, --adapter and --endpoint"}
	case (m.Adapter != "") != (m.Base != ""):
		return usageError{cmd, "--base and --adapter belong together"}
	}
	return nil
}

// absolute makes a path mean the same file to the server; one that is not here is
// left as it is, since the server may run elsewhere.
func absolute(path string) string {
	if _, err := os.Stat(path); err != nil {
		return path
	}
	if full, err := filepath.Abs(path); err == nil {
		return full
	}
	return path
}

func (p *program) listModels() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List models that can be deployed, and what they cost",
		Long: `List models that can be deployed. PRICES has what each plan costs now, for admins: mu an
hour of one unit on the first spec, ptu an hour of 10,000 input and of 1,000 output tokens
per minute, lora a million tokens of input and of output with short prompts. All of it has
berth model show; what a purchase comes to, berth deploy --dry-run.`,
		Example: lines("berth model list"),
		Args:    arguments(cobra.NoArgs),
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, _ []string) error {
			all, err := client.ListModels(cmd.Context())
			if err != nil {
				return err
			}
			return p.show(all, p.modelTable(all))
		}),
	}
}

func (p *program) modelTable(all []api.Model) table {
	t := table{
		columns: columns("NAME", "KIND", "ENGINE", "PLANS", "SPECS", "SIZE>", "CONTEXT>", "PRICES", "ADDED", "NOTE"),
		empty:   "No models. Add one: berth model add NAME --path FILE",
	}
	for _, m := range all {
		note := ""
		if m.StandIn {
			note = "STAND-IN"
		}
		t.add(m.Name, m.Kind, m.Engine, strings.Join(m.Plans, ","), specNames(m), size(m.SizeBytes),
			known(m.ContextLength), priceNote(m), p.age(m.CreatedAt), note)
	}
	return t
}

func specNames(m api.Model) string {
	names := make([]string, len(m.Specs))
	for i, s := range m.Specs {
		names[i] = s.Name
	}
	return strings.Join(names, ",")
}

func (p *program) showModel() *cobra.Command {
	return &cobra.Command{
		Use:     "show NAME",
		Short:   "Show a model",
		Example: lines("berth model show abacus"),
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, args []string) error {
			m, err := client.GetModel(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return p.show(m, p.modelFacts(m))
		}),
	}
}

func (p *program) modelFacts(m api.Model) table {
	note := ""
	if m.StandIn {
		note = "STAND-IN: runs other weights than its name says"
	}
	t := facts(
		"Name", m.Name,
		"Note", note,
		"Description", m.Description,
		"Kind", m.Kind,
		"Base", m.Base,
		"Engine", m.Engine,
		"Plans", strings.Join(m.Plans, ", "),
		"Architecture", m.Architecture,
		"Parameters", known(m.Parameters),
		"Context", known(m.ContextLength),
		"Thinking", m.Thinking,
		"Calibration", calibration(m.Calibration),
		"Terms of ptu", ptuTerms(m.PTU),
		"File", m.Path,
		"Size", size(m.SizeBytes),
		"Digest", m.Digest,
		"Endpoint", m.URL,
		"Remote name", m.RemoteName,
		"Workspace", m.WorkspaceID,
		"Added", p.age(m.CreatedAt),
	)
	for _, s := range m.Specs {
		t.add("Spec "+s.Name+":", specSentence(s))
	}
	for _, tag := range m.Prices {
		t.add(tagName(tag)+":", tagText(tag))
	}
	return t
}

func specSentence(s api.Spec) string {
	parts := []string{amount(s.UnitsPerReplica, "unit") + " per replica", amount(s.Threads, "thread"), size(s.MemoryBytes),
		amount(s.Slots, "slot") + " of " + amount(s.ContextLength, "token")}
	if s.Accelerators > 0 {
		parts = append(parts, amount(s.Accelerators, "accelerator"))
	}
	return strings.Join(parts, ", ")
}

func calibration(c *api.Calibration) string {
	if c == nil {
		return "none"
	}
	if f := c.Measured; f != nil {
		return fmt.Sprintf("%s of engine time per input token, %s per output token; sells %s in or %s out tpm per replica (measured)",
			perToken(f.InputNSPerToken), perToken(f.OutputNSPerToken), most(c.MaxInputTPM), most(c.MaxOutputTPM))
	}
	return count(c.InputTPM) + " in, " + count(c.OutputTPM) + " out tpm per replica (declared, not measured)"
}

// ptuTerms says how tokens count against reservations; "" where each counts as one.
func ptuTerms(t *api.PTUTerms) string {
	if t == nil {
		return ""
	}
	var parts []string
	if t.CacheFactor > 0 {
		parts = append(parts, fmt.Sprintf("cached input × %v", t.CacheFactor))
	}
	for _, l := range t.LongInput {
		parts = append(parts, fmt.Sprintf("input beyond %s × %v and then output × %v", amount(l.Above, "token"), l.Input, l.Output))
	}
	if t.MaxInput > 0 {
		parts = append(parts, "an input longer than "+amount(t.MaxInput, "token")+" is overflow")
	}
	return strings.Join(parts, "; ")
}

func (p *program) deleteModel() *cobra.Command {
	return &cobra.Command{
		Use:     "delete NAME",
		Aliases: []string{"rm"},
		Short:   "Delete a model that is not deployed; its files stay",
		Example: lines("berth model delete abacus-poet"),
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, args []string) error {
			if err := client.DeleteModel(cmd.Context(), args[0]); err != nil {
				return err
			}
			p.say("%s is deleted.", args[0])
			return nil
		}),
	}
}
