package cli

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/berthhq/berth/api"
)

func (p *program) tunes() *cobra.Command {
	return parent("tune", "Register, list and delete records of fine-tune jobs", p.addTune(), p.listTunes(), p.showTune(), p.deleteTune())
}

func (p *program) addTune() *cobra.Command {
	var f api.RegisterFineTune
	var onServer bool
	var parameters string
	cmd := &cobra.Command{
		Use:   "add BASE PATH",
		Short: "Register a finished job: its files become a model of the workspace",
		Long: `Register a job that tuned BASE elsewhere, since Berth trains nothing. The file or folder
PATH, an adapter or whole weights, is uploaded unless the server reads it itself, and
becomes a model of the workspace that can be deployed.`,
		Example: lines(
			"berth tune add qwen3-8b ./out/checkpoint-last --suffix support",
			`berth tune add qwen3-8b ./merged --type sft --hyper-parameters '{"n_epochs":3}'`),
		Args: arguments(cobra.ExactArgs(2)),
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, args []string) error {
			f.Model, f.Path = args[0], args[1]
			if parameters != "" {
				f.HyperParameters = json.RawMessage(parameters)
				if !json.Valid(f.HyperParameters) {
					return usageError{cmd, fmt.Sprintf("--hyper-parameters: %q is no JSON object", parameters)}
				}
			}
			if !onServer {
				files := api.AddModel{Path: f.Path, Base: f.Model}
				if err := p.send(cmd.Context(), client, &files); err != nil {
					return err
				}
				f.Path, f.Upload = files.Path, files.Upload
			}
			f.Path = absolute(f.Path)
			made, err := client.RegisterFineTune(cmd.Context(), f)
			if err != nil {
				return err
			}
			return p.show(made, p.tuneFacts(made))
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&f.Suffix, "suffix", "", "`text` in the model's name, at most 8 letters and digits")
	flags.StringVar(&f.TrainingType, "type", "", "training `type` of the job; an efficient one made an adapter, any other whole weights (default efficient_sft)")
	flags.StringVar(&f.JobName, "name", "", "`name` of the job, for people")
	flags.StringVar(&parameters, "hyper-parameters", "", "`JSON` object of what the trainer was told")
	flags.BoolVar(&onServer, "on-server", false, "the files are on the server's machine; send nothing")
	return cmd
}

func (p *program) tuneFacts(f api.FineTune) table {
	return facts(
		"Job", f.JobID,
		"Name", f.JobName,
		"Model", f.FinetunedOutput,
		"Base", f.BaseModel,
		"Type", f.TrainingType,
		"Hyper-parameters", string(f.HyperParameters),
		"Registered", f.CreateTime,
	)
}

func (p *program) listTunes() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List fine-tune jobs, newest first",
		Example: lines("berth tune list"),
		Args:    arguments(cobra.NoArgs),
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, _ []string) error {
			const pageSize = 200
			var all []api.FineTune
			for page := 1; ; page++ {
				list, err := client.ListFineTunes(cmd.Context(), page, pageSize)
				if err != nil {
					return err
				}
				all = append(all, list.Jobs...)
				if len(list.Jobs) < pageSize {
					break
				}
			}
			t := table{columns: columns("JOB", "MODEL", "BASE", "TYPE", "REGISTERED"), empty: "No fine-tune jobs. Register one: berth tune add BASE PATH"}
			for _, f := range all {
				t.add(f.JobID, f.FinetunedOutput, f.BaseModel, f.TrainingType, f.CreateTime)
			}
			return p.show(all, t)
		}),
	}
}

func (p *program) showTune() *cobra.Command {
	return &cobra.Command{
		Use:     "show JOB",
		Short:   "Show a fine-tune job",
		Example: lines("berth tune show ft-202610021956-1c7f"),
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, args []string) error {
			f, err := client.GetFineTune(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return p.show(f, p.tuneFacts(f))
		}),
	}
}

func (p *program) deleteTune() *cobra.Command {
	return &cobra.Command{
		Use:     "delete JOB",
		Aliases: []string{"rm"},
		Short:   "Delete the record of a fine-tune job; its model stays",
		Example: lines("berth tune delete ft-202610021956-1c7f"),
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, args []string) error {
			if err := client.DeleteFineTune(cmd.Context(), args[0]); err != nil {
				return err
			}
			p.say("%s is deleted; the model that came of it stays.", args[0])
			return nil
		}),
	}
}
