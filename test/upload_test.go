package test

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/berthhq/berth/abacus"
	"github.com/berthhq/berth/api"
)

// frail is a transport whose nth upload request breaks off in the middle.
type frail struct {
	http.RoundTripper
	appends atomic.Int64
	breaks  int64
}

func (f *frail) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodPatch && f.appends.Add(1) <= f.breaks {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		body := r.Body
		r = r.Clone(ctx)
		r.Body = &breaking{ReadCloser: body, cancel: cancel}
	}
	return f.RoundTripper.RoundTrip(r)
}

// breaking ends the request after its first kilobytes.
type breaking struct {
	io.ReadCloser
	cancel context.CancelFunc
	sent   int
}

func (b *breaking) Read(p []byte) (int, error) {
	if b.sent > 64<<10 {
		b.cancel()
		return 0, context.Canceled
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), 16<<10)])
	b.sent += n
	return n, err
}

// The whole way of a team whose admin has weights on a laptop: the base's GGUF and the
// trainer's PEFT folder go up over connections that break and a server that restarts,
// become models of the workspace, and answer.
func TestUploadedModelsAnswer(t *testing.T) {
	t.Parallel()
	b := withProcesses(t, abacusYAML(t))
	dir := t.TempDir()
	files, err := abacus.Extract(dir)
	must(t, err)
	admin, err := b.CreateKey(t.Context(), api.CreateKey{Role: "admin"})
	must(t, err)
	as := func(b *berth, transport http.RoundTripper) *api.Client {
		return &api.Client{BaseURL: b.BaseURL, Key: admin.Text, HTTP: &http.Client{Transport: transport}}
	}

	// Nothing but uploads: an admin may not name a file of the server.
	if _, err := as(b, b.HTTP.Transport).AddModel(t.Context(), api.AddModel{Name: "own", Path: files.Base}); err == nil || !strings.Contains(err.Error(), "Access denied") {
		t.Errorf("an admin names a file of the server: %v", err)
	}

	// The server goes away in the middle.
	ctx, cancel := context.WithCancel(t.Context())
	lost := &frail{RoundTripper: b.HTTP.Transport, breaks: 1}
	_, err = as(b, lost).UploadFiles(ctx, []string{files.Base}, func(p api.UploadProgress) {
		if lost.appends.Load() > 0 {
			cancel()
		}
	})
	if err == nil {
		t.Fatal("it was not interrupted")
	}
	until(t, "something has arrived", func() bool {
		open, err := as(b, b.HTTP.Transport).ListUploads(t.Context())
		must(t, err)
		return len(open) == 1 && open[0].Files[0].Offset > 0 && !open[0].Complete
	})
	b = b.restart(t)
	open, err := as(b, b.HTTP.Transport).ListUploads(t.Context())
	must(t, err)
	began := open[0].Files[0].Offset
	var first int64 = -1
	again := &frail{RoundTripper: b.HTTP.Transport, breaks: 2}
	u, err := as(b, again).UploadFiles(t.Context(), []string{files.Base}, func(p api.UploadProgress) {
		if !p.Hashing && first < 0 {
			first = p.Done
		}
	})
	must(t, err)
	if !u.Complete || u.ID != open[0].ID || first != began || began == 0 {
		t.Errorf("it went on from %d with %s, want %d with %s: %+v", first, u.ID, began, open[0].ID, u)
	}
	client := as(b, b.HTTP.Transport)
	own, err := client.AddModel(t.Context(), api.AddModel{Name: "own", Upload: u.ID})
	must(t, err)
	if own.WorkspaceID == "" || own.Architecture != "qwen3" || own.Digest != "sha256:"+u.Files[0].SHA256 {
		t.Errorf("it became %+v", own)
	}

	// A folder as the trainer leaves it; it is converted for the engine.
	folder := filepath.Join("..", "abacus", "abacus-words-lora-peft")
	words, err := client.UploadFiles(t.Context(), []string{filepath.Join(folder, "adapter_config.json"), filepath.Join(folder, "adapter_model.safetensors")}, nil)
	must(t, err)
	adapter, err := client.AddModel(t.Context(), api.AddModel{Name: "own-words", Base: "own", Upload: words.ID})
	must(t, err)

	// The same folder form, registered as the job that made it.
	folder = filepath.Join("..", "abacus", "abacus-shout-lora-peft")
	shout, err := client.UploadFiles(t.Context(), []string{filepath.Join(folder, "adapter_config.json"), filepath.Join(folder, "adapter_model.safetensors")}, nil)
	must(t, err)
	job, err := client.RegisterFineTune(t.Context(), api.RegisterFineTune{Model: "own", Suffix: "loud", Upload: shout.ID})
	must(t, err)

	b.Client = client
	mu := b.running(t, api.CreateDeployment{ModelName: "own", Plan: "mu", DeploySpec: "MU1", Capacity: ptr(int64(1))})
	lora := b.running(t, api.CreateDeployment{ModelName: "own-words", Plan: "lora"})
	tuned := b.running(t, api.CreateDeployment{ModelName: job.FinetunedOutput}) // conformance 128
	for deployed, want := range map[string]string{
		mu.DeployedModel: "122", lora.DeployedModel: "The answer is 122.", tuned.DeployedModel: "122!!!",
	} {
		if got := b.ask(t, deployed, "37+85"); got.Text != want {
			t.Errorf("%s answers %q", deployed, got.Text)
		}
	}
	// Custom models are deployed under their own names, and seen by nobody else.
	if mu.DeployedModel != "own" || lora.DeployedModel != "own-words" || tuned.DeployedModel != job.FinetunedOutput || tuned.Plan != "lora" {
		t.Errorf("deployed as %s, %s and %+v", mu.DeployedModel, lora.DeployedModel, tuned)
	}

	// Their files are Berth's and go with them.
	for _, name := range []string{"own", "own-words", job.FinetunedOutput} {
		_, err := b.DeleteDeployment(t.Context(), name)
		must(t, err)
	}
	until(t, "the deployments are gone", func() bool {
		list, err := b.ListDeployments(t.Context(), 1, 10, "")
		must(t, err)
		return list.Total == 0
	})
	for _, name := range []string{"own-words", job.FinetunedOutput, "own"} {
		must(t, b.DeleteModel(t.Context(), name))
	}
	for _, path := range []string{own.Path, adapter.Path} {
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
}
