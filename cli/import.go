package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berthhq/berth/api"
)

func (p *program) imports() *cobra.Command {
	return parent("import", "Bring models from object stores", p.createImport(), p.listImports(), p.getImport(), p.cancelImport(), p.deleteImport())
}

func (p *program) createImport() *cobra.Command {
	job := api.CreateImport{Source: api.SourceOSS}
	var wait bool
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Import an adapter or whole weights from a store",
		Long: `Import an adapter or whole weights from a folder of a store that the server is
configured with (imports.stores). An adapter in PEFT's form is converted for llama.cpp.`,
		Example: lines(
			"berth import create --base qwen3-8b --store bucket1 --folder adapters/poet/ --wait",
			"berth import create --base qwen3-8b --store bucket1 --folder tuned/poet/ --weights full --name poet"),
		Args: arguments(cobra.NoArgs),
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, _ []string) error {
			if job.ModelName == "" || job.StorageInfo.BucketName == "" || job.StorageInfo.ObjectKey == "" {
				return usageError{cmd, "--base, --store and --folder are needed"}
			}
			if !strings.HasSuffix(job.StorageInfo.ObjectKey, "/") {
				job.StorageInfo.ObjectKey += "/"
			}
			made, err := client.CreateImport(cmd.Context(), job)
			if err == nil && wait {
				made, err = p.awaitImport(cmd, client, made)
			}
			if made.JobID == "" {
				return err
			}
			if showErr := p.show(made, importFacts(made)); showErr != nil {
				return showErr
			}
			return err
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&job.ModelName, "base", "", "`model` that the weights were trained from")
	flags.StringVar(&job.StorageInfo.BucketName, "store", "", "`name` of the store, as configured")
	flags.StringVar(&job.StorageInfo.ObjectKey, "folder", "", "`folder` of the store, with everything below it")
	flags.StringVar(&job.WeightType, "weights", api.WeightsLoRA, "`what` is there: lora or full")
	flags.StringVar(&job.DisplayName, "name", "", "`name` for people")
	flags.BoolVar(&wait, "wait", false, "wait until it has ended")
	complete(cmd, "weights", api.WeightsLoRA, api.WeightsFull)
	return cmd
}

// awaitImport waits until a job has ended; a failure is an error.
func (p *program) awaitImport(cmd *cobra.Command, client *api.Client, job api.Import) (api.Import, error) {
	live := terminal(p.Err) != nil
	last := ""
	end, err := client.WaitImport(cmd.Context(), job.JobID, func(i api.Import) {
		switch line := importLine(i); {
		case live && i.Done():
			_, _ = io.WriteString(p.Err, "\r\x1b[K")
		case live:
			_, _ = io.WriteString(p.Err, "\r\x1b[K"+line)
		case i.Status != last:
			p.say("%s", line)
		}
		last = i.Status
	})
	switch {
	case cmd.Context().Err() != nil:
		p.say("%s goes on; look at it: berth import get %s", end.ModelName, end.JobID)
		return end, err
	case err == nil && end.Status == api.ImportFailed:
		return end, fmt.Errorf("%s is not imported: %s", end.ModelName, end.ErrorCode)
	}
	return end, err
}

func importLine(i api.Import) string {
	line := i.ModelName + "  " + i.Status
	if i.Progress != nil && i.Progress.TotalBytes > 0 {
		line += "  " + importProgress(i)
	}
	return printable(line)
}

func importProgress(i api.Import) string {
	if i.Progress == nil {
		return ""
	}
	return size(i.Progress.DoneBytes) + " of " + size(i.Progress.TotalBytes)
}

func importFacts(i api.Import) table {
	return facts(
		"Job", i.JobID,
		"Model", i.ModelName,
		"Name", i.DisplayName,
		"Store", i.StorageInfo.BucketName,
		"Folder", i.StorageInfo.ObjectKey,
		"Weights", i.WeightType,
		"Status", i.Status,
		"Copied", importProgress(i),
		"Reason", i.ErrorCode,
		"Created", i.GMTCreate,
	)
}

func (p *program) listImports() *cobra.Command {
	var status string
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List import jobs, newest first",
		Example: lines("berth import list", "berth import list --status RUNNING"),
		Args:    arguments(cobra.NoArgs),
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, _ []string) error {
			jobs := []api.Import{}
			for page := 1; ; page++ {
				list, err := client.ListImports(cmd.Context(), page, 100, status)
				if err != nil {
					return err
				}
				if jobs = append(jobs, list.List...); len(list.List) == 0 || int64(len(jobs)) >= list.Total {
					break
				}
			}
			t := table{columns: columns("JOB", "MODEL", "STORE", "FOLDER", "STATUS", "COPIED", "REASON"), empty: "No import jobs."}
			for _, i := range jobs {
				t.add(i.JobID, i.ModelName, i.StorageInfo.BucketName, i.StorageInfo.ObjectKey, i.Status, importProgress(i), i.ErrorCode)
			}
			return p.show(jobs, t)
		}),
	}
	cmd.Flags().StringVar(&status, "status", "", "only jobs in this `status`")
	complete(cmd, "status", api.ImportPending, api.ImportRunning, api.ImportSucceeded, api.ImportFailed)
	return cmd
}

func (p *program) getImport() *cobra.Command {
	return &cobra.Command{
		Use:     "get JOB",
		Short:   "Show an import job",
		Example: lines("berth import get imp_01999b3c-2f7e-7cc1-b4de-5a3f0c1d2e3f"),
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, args []string) error {
			job, err := client.GetImport(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return p.show(job, importFacts(job))
		}),
	}
}

func (p *program) cancelImport() *cobra.Command {
	return &cobra.Command{
		Use:     "cancel JOB",
		Short:   "End an import job; what it copied is removed",
		Example: lines("berth import cancel imp_01999b3c-2f7e-7cc1-b4de-5a3f0c1d2e3f"),
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, args []string) error {
			job, err := client.CancelImport(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			p.say("%s is cancelled.", job.JobID)
			return nil
		}),
	}
}

func (p *program) deleteImport() *cobra.Command {
	return &cobra.Command{
		Use:     "delete JOB",
		Aliases: []string{"rm"},
		Short:   "Delete an import job that has ended, its model and the server's copy of the files",
		Example: lines("berth import delete imp_01999b3c-2f7e-7cc1-b4de-5a3f0c1d2e3f"),
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, args []string) error {
			job, err := client.DeleteImport(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			p.say("%s and its model are deleted; the store is as it was.", job.JobID)
			return nil
		}),
	}
}
