package cli

import (
	"fmt"
	"os"
	"path/filepath"
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
	flags.BoolVar(&m.StandIn, "stand-in", false, "it runs other weights than its name says, and is shown so")
	flags.StringVar(&m.Description, "description", "", "`sentence` for people")
	return cmd
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
		Short:   "List models that can be deployed",
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
		columns: columns("NAME", "KIND", "ENGINE", "PLANS", "SPECS", "SIZE>", "CONTEXT>", "ADDED", "NOTE"),
		empty:   "No models. Add one: berth model add NAME --path FILE",
	}
	for _, m := range all {
		note := ""
		if m.StandIn {
			note = "STAND-IN"
		}
		t.add(m.Name, m.Kind, m.Engine, strings.Join(m.Plans, ","), specNames(m), size(m.SizeBytes),
			known(m.ContextLength), p.age(m.CreatedAt), note)
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
