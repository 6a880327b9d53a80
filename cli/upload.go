package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/berthhq/berth/api"
)

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
