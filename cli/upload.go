package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berthhq/berth/api"
)

func (p *program) upload() *cobra.Command {
	return parent("upload", "List and delete uploads that no model was made of", p.listUploads(), p.deleteUploads())
}

func (p *program) listUploads() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List uploads that no model was made of yet",
		Example: lines("berth upload list"),
		Args:    arguments(cobra.NoArgs),
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, _ []string) error {
			all, err := client.ListUploads(cmd.Context())
			if err != nil {
				return err
			}
			return p.show(all, p.uploadTable(all))
		}),
	}
}

func (p *program) uploadTable(all []api.Upload) table {
	t := table{columns: columns("UPLOAD", "FILES", "ARRIVED>", "SIZE>", "CREATED"), empty: "No uploads. Begin one: berth model add NAME --path FILE"}
	for _, u := range all {
		var names []string
		var arrived, total int64
		for _, f := range u.Files {
			names = append(names, f.Name)
			arrived += f.Offset
			total += f.SizeBytes
		}
		t.add(u.ID, strings.Join(names, ","), size(arrived), size(total), p.age(u.CreatedAt))
	}
	return t
}

func (p *program) deleteUploads() *cobra.Command {
	return &cobra.Command{
		Use:     "delete ID...",
		Aliases: []string{"rm"},
		Short:   "Give uploads up; what arrived of them is removed",
		Example: lines("berth upload delete upl_0199a0c4"),
		Args:    arguments(cobra.MinimumNArgs(1)),
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, args []string) error {
			for _, id := range args {
				if err := client.DeleteUpload(cmd.Context(), id); err != nil {
					return fmt.Errorf("delete %s: %w", id, err)
				}
				p.say("%s is deleted.", id)
			}
			return nil
		}),
	}
}

// sharesFiles reports whether the server is the one that runs on the data directory here,
// with its owner asking: it reads the same files. An address on this machine says
// nothing, for it may be a tunnel or a container.
func (p *program) sharesFiles(client *api.Client) bool {
	owner, err := p.ownerKey()
	return err == nil && owner == client.Key && p.runningURL() == client.BaseURL
}

// send uploads the file or folder that m names, if it is here and the server is
// elsewhere, and puts the upload in its place.
func (p *program) send(ctx context.Context, client *api.Client, m *api.AddModel) error {
	named := m.Path + m.Adapter
	if !exists(named) || p.sharesFiles(client) {
		return nil // an endpoint's, or the server's own
	}
	paths, err := modelFiles(named)
	if err != nil {
		return err
	}
	if err := worthSending(ctx, client, *m); err != nil {
		return err
	}
	meter := uploadMeter{p: p, live: terminal(p.Err) != nil}
	u, err := client.UploadFiles(ctx, paths, meter.seen)
	meter.end()
	if err != nil {
		if ctx.Err() != nil {
			p.say("What arrived is kept for a while; the same command goes on from there.")
		}
		return err
	}
	m.Upload, m.Path, m.Adapter = u.ID, "", ""
	return nil
}

// worthSending refuses what the server would refuse after the last byte: a name that is
// taken, and a base that it does not have.
func worthSending(ctx context.Context, client *api.Client, m api.AddModel) error {
	if m.Base != "" {
		if _, err := client.GetModel(ctx, m.Base); err != nil {
			return err
		}
	}
	if m.Name == "" {
		return nil
	}
	var refused *api.Error
	switch _, err := client.GetModel(ctx, m.Name); {
	case err == nil:
		return fmt.Errorf("the model name %s is taken; choose another", m.Name)
	case errors.As(err, &refused) && refused.Status == http.StatusNotFound:
		return nil
	default:
		return err
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Endings of what the server takes; what else lies in a folder of weights is for people.
var modelEndings = []string{".gguf", ".safetensors", ".json", ".txt", ".model", ".jinja", ".tiktoken"}

// modelFiles returns the file, or those of a folder that a model is made of.
func modelFiles(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil || !info.IsDir() {
		return []string{path}, err
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		name := e.Name()
		usable := slices.ContainsFunc(modelEndings, func(end string) bool { return strings.HasSuffix(name, end) })
		if usable && !strings.HasPrefix(name, ".") && !e.IsDir() {
			files = append(files, filepath.Join(path, name))
		}
	}
	if files == nil {
		return nil, fmt.Errorf("the folder %s has no file of a model; they end in %s", path, strings.Join(modelEndings, ", "))
	}
	return files, nil
}

// uploadMeter tells how an upload goes on: in one line that changes on a terminal, in a
// line for each tenth elsewhere.
type uploadMeter struct {
	p     *program
	live  bool
	drawn bool
	tenth int64 // next to be told
}

func (m *uploadMeter) seen(u api.UploadProgress) {
	doing := "uploading"
	if u.Hashing {
		doing = "reading"
	}
	line := fmt.Sprintf("%s %s of %s", doing, size(max(u.Done, 1)), size(max(u.Total, 1)))
	if m.live {
		m.drawn = true
		_, _ = io.WriteString(m.p.Err, "\r\x1b[K"+line)
		return
	}
	if u.Hashing || u.Total == 0 || u.Done*10/u.Total < m.tenth {
		return
	}
	m.tenth = u.Done*10/u.Total + 1
	m.p.say("%s", line)
}

func (m *uploadMeter) end() {
	if m.drawn {
		m.p.say("")
	}
}
