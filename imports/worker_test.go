package imports

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	berth "github.com/berthhq/berth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// desk is the state of jobs in memory.
type desk struct {
	mu      sync.Mutex
	waiting []berth.ImportTask
	ended   chan string // "kept", "dropped" or the reason of a failure
	unwant  bool        // the job was cancelled while it was put on the shelf
}

func (d *desk) Claim(_ context.Context, busy func(string) bool) (berth.ImportTask, bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, task := range d.waiting {
		if !busy(task.ID) {
			return task, true, nil
		}
	}
	return berth.ImportTask{}, false, nil
}

func (d *desk) end(what string) {
	d.mu.Lock()
	d.waiting = d.waiting[1:]
	d.mu.Unlock()
	d.ended <- what
}

func (d *desk) Succeed(context.Context, berth.ImportTask, berth.ModelFile) (bool, error) {
	if d.unwant {
		d.end("dropped")
		return false, nil
	}
	d.end("kept")
	return true, nil
}

func (d *desk) Fail(_ context.Context, _, reason string) error {
	d.end(reason)
	return nil
}

// shop is a store in memory that does what the test says.
type shop struct {
	files  map[string][]byte
	list   func() error
	broken func(ctx context.Context, name string, offset int64) (io.ReadCloser, error) // nil, nil: as it is
	mu     sync.Mutex
	opened []int64 // offsets
}

func (s *shop) List(context.Context, string) ([]Object, error) {
	if s.list != nil {
		if err := s.list(); err != nil {
			return nil, err
		}
	}
	var objects []Object
	for name, content := range s.files {
		objects = append(objects, Object{Key: name, Name: name, SizeBytes: int64(len(content))})
	}
	return objects, nil
}

func (s *shop) Open(ctx context.Context, o Object, offset int64) (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opened = append(s.opened, offset)
	if s.broken != nil {
		if r, err := s.broken(ctx, o.Name, offset); r != nil || err != nil {
			return r, err
		}
	}
	return io.NopCloser(bytes.NewReader(s.files[o.Name][offset:])), nil
}

// tinyAdapter fits the base of tinyModel.
func tinyAdapter(t testing.TB) map[string][]byte {
	return map[string][]byte{
		adapterConfigFile:  []byte(`{"peft_type":"LORA","r":8,"lora_alpha":16,"target_modules":["q_proj"]}`),
		adapterWeightsFile: safetensorsOf(t, loraOf("model.layers.0.self_attn.q_proj", "F32", 8, 4, 8)...),
	}
}

// working is a worker that runs until the test ends.
type working struct {
	*Worker
	desk *desk
	stop func() // of the worker; nothing is left behind
}

func startWorker(t *testing.T, s Store, change func(*WorkerOptions, *desk)) working {
	t.Helper()
	base, err := Files{}.InspectPlain(t.Context(), folderOf(t, tinyModel(t)))
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{ended: make(chan string, 8)}
	d.waiting = []berth.ImportTask{{
		ImportJob: berth.ImportJob{ID: "imp_1", ModelName: "mine", Store: "shop", Prefix: "a/", Weights: berth.WeightsLoRA},
		Base:      berth.Model{Name: "tiny", Engine: "vllm", File: base},
	}}
	dir := t.TempDir()
	o := WorkerOptions{
		Jobs: d, Stores: map[string]Store{"shop": s}, Shelf: Shelf{Dir: filepath.Join(dir, "imported")}, Dir: filepath.Join(dir, "arriving"),
		Parallel: 1, MaxBytes: 1 << 20, Retry: time.Microsecond, Stall: time.Minute, Logger: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&o, d)
	}
	w := working{Worker: NewWorker(o), desk: d}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		if entries, _ := os.ReadDir(o.Dir); len(entries) > 0 {
			t.Errorf("left behind: %v", entries)
		}
	})
	t.Cleanup(w.stop)
	return w
}

func (w working) onShelf(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir(w.Shelf.Dir)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return len(entries)
}

func TestAWorkerImports(t *testing.T) {
	t.Parallel()
	w := startWorker(t, &shop{files: tinyAdapter(t)}, nil)
	if got := <-w.desk.ended; got != "kept" || w.onShelf(t) != 1 {
		t.Errorf("it ended as %q with %d on the shelf", got, w.onShelf(t))
	}
}

// Every connection ends after a hundred bytes: the copy goes on where it was.
func TestACopyIsTakenUpWhereItBrokeOff(t *testing.T) {
	t.Parallel()
	s := &shop{files: tinyAdapter(t)}
	s.broken = func(_ context.Context, name string, offset int64) (io.ReadCloser, error) {
		rest := s.files[name][offset:]
		if len(rest) <= 100 {
			return nil, nil
		}
		return io.NopCloser(io.MultiReader(bytes.NewReader(rest[:100]), failing{errors.New("connection reset")})), nil
	}
	w := startWorker(t, s, nil)
	if got := <-w.desk.ended; got != "kept" {
		t.Errorf("it ended as %q", got)
	}
	if len(s.opened) < 5 || s.opened[len(s.opened)-1] == 0 {
		t.Errorf("it was opened at %v", s.opened)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestAWorkerFailsWithASentence(t *testing.T) {
	t.Parallel()
	gone := errors.New("dial tcp 10.0.0.7:9000: connection refused")
	for name, c := range map[string]struct {
		store  func(s *shop)
		change func(*WorkerOptions, *desk)
		want   string
	}{
		"a store that is not configured any more": {nil, func(o *WorkerOptions, _ *desk) { o.Stores = nil }, "The store shop is not configured any more"},
		"a store that does not answer":            {func(s *shop) { s.list = func() error { return gone } }, nil, "The store shop did not answer; import again later"},
		"a connection that never comes": {func(s *shop) {
			s.broken = func(context.Context, string, int64) (io.ReadCloser, error) { return nil, gone }
		}, nil, "The store shop did not answer"},
		"more than is taken": {nil, func(o *WorkerOptions, _ *desk) { o.MaxBytes = 100 }, "The files have more than 100 bytes"},
		"a folder without weights": {func(s *shop) { s.files = map[string][]byte{adapterConfigFile: nil} }, nil,
			"AvailableModelFileNotFound: The folder has no adapter"},
		"a file that grew": {func(s *shop) {
			s.broken = func(_ context.Context, name string, _ int64) (io.ReadCloser, error) {
				return io.NopCloser(strings.NewReader(string(s.files[name]) + "more")), nil
			}
		}, nil, "changed while it was copied; wait until it is written and import again."},
		"other bytes than announced": {func(s *shop) {
			s.files[adapterWeightsFile] = append(s.files[adapterWeightsFile], 0)
		}, nil, "adapter_model.safetensors cannot be used: it has 1 bytes that belong to no tensor"},
		"a shelf that cannot be written": {nil, func(o *WorkerOptions, _ *desk) { o.Shelf.Dir = "/dev/null/shelf" },
			"The import failed on the server; ask its owner to look into the log for job imp_1."},
		"a job that nobody wants any more": {nil, func(_ *WorkerOptions, d *desk) { d.unwant = true }, "dropped"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &shop{files: tinyAdapter(t)}
			if c.store != nil {
				c.store(s)
			}
			w := startWorker(t, s, c.change)
			got := <-w.desk.ended
			if !strings.Contains(got, c.want) || strings.Contains(got, "10.0.0.7") {
				t.Errorf("it ended as %q, want %q", got, c.want)
			}
			w.stop()
			if w.Shelf.Dir != "/dev/null/shelf" && w.onShelf(t) != 0 {
				t.Error("something is on the shelf")
			}
		})
	}
}

// silent is a connection on which nothing comes until its context ends.
type silent struct {
	ctx    context.Context //nolint:containedctx // as a connection has one
	closed chan struct{}
}

func (s silent) Read([]byte) (int, error) {
	<-s.ctx.Done()
	return 0, errors.New("use of closed connection")
}

func (s silent) Close() error {
	close(s.closed)
	return nil
}

// A job that is stopped ends though its store is silent, and leaves nothing.
func TestAJobIsStopped(t *testing.T) {
	t.Parallel()
	reading, closed := make(chan struct{}), make(chan struct{})
	s := &shop{files: tinyAdapter(t)}
	s.broken = func(ctx context.Context, _ string, _ int64) (io.ReadCloser, error) {
		close(reading)
		return silent{ctx, closed}, nil
	}
	w := startWorker(t, s, nil)
	<-reading
	if p, ok := w.Progress("imp_1"); !ok || p.DoneBytes != 0 || p.TotalBytes == 0 {
		t.Errorf("progress is %+v, %v", p, ok)
	}
	w.desk.mu.Lock()
	w.desk.waiting = nil // as a cancellation does
	w.desk.mu.Unlock()
	w.Stop("imp_unknown")
	w.Stop("imp_1")
	<-closed
	w.stop()
	if len(w.desk.ended) != 0 || w.onShelf(t) != 0 {
		t.Errorf("%d ends were told, %d models are on the shelf", len(w.desk.ended), w.onShelf(t))
	}
}

// A worker that is stopped says nothing of its jobs: they begin anew with the next one.
func TestAStoppedWorkerLeavesItsJobs(t *testing.T) {
	t.Parallel()
	reading := make(chan struct{})
	s := &shop{files: tinyAdapter(t)}
	s.broken = func(ctx context.Context, _ string, _ int64) (io.ReadCloser, error) {
		close(reading)
		return silent{ctx, make(chan struct{})}, nil
	}
	w := startWorker(t, s, nil)
	<-reading
	w.stop()
	if len(w.desk.ended) != 0 || len(w.desk.waiting) != 1 {
		t.Errorf("%d ends were told, %d jobs are left", len(w.desk.ended), len(w.desk.waiting))
	}
}

// A store that says nothing for too long is asked again.
func TestASilentStoreIsAskedAgain(t *testing.T) {
	t.Parallel()
	s := &shop{files: tinyAdapter(t)}
	s.broken = func(ctx context.Context, _ string, _ int64) (io.ReadCloser, error) {
		if len(s.opened) > 1 {
			return nil, nil
		}
		return silent{ctx, make(chan struct{})}, nil
	}
	w := startWorker(t, s, func(o *WorkerOptions, _ *desk) { o.Stall = 10 * time.Millisecond })
	if got := <-w.desk.ended; got != "kept" {
		t.Errorf("it ended as %q", got)
	}
}

func TestALocalStoreShowsNothingOutsideItself(t *testing.T) {
	t.Parallel()
	outside := folderOf(t, map[string]string{"secret.json": "{}"})
	root := t.TempDir()
	for _, err := range []error{
		os.MkdirAll(filepath.Join(root, "a", "deeper"), 0o700),
		os.WriteFile(filepath.Join(root, "a", "plain.json"), []byte("{}"), 0o600),
		os.WriteFile(filepath.Join(root, "a", ".hidden.json"), []byte("{}"), 0o600),
		os.Symlink("plain.json", filepath.Join(root, "a", "inside.json")),
		os.Symlink(filepath.Join(outside, "secret.json"), filepath.Join(root, "a", "outside.json")),
		os.Symlink("../../../../../../../../../../etc/passwd", filepath.Join(root, "a", "up.json")),
		os.Symlink("/dev/zero", filepath.Join(root, "a", "device.json")),
		os.Symlink(outside, filepath.Join(root, "out")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	s := NewLocalStore(root)
	objects, err := s.List(t.Context(), "a/")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, o := range objects {
		names = append(names, o.Name)
	}
	if got := strings.Join(names, " "); got != "inside.json plain.json" && got != "plain.json inside.json" {
		t.Errorf("it shows %s", got)
	}
	for _, key := range []string{"a/outside.json", "a/up.json", "a/device.json", "../" + filepath.Base(outside) + "/secret.json", "out/secret.json"} {
		if r, err := s.Open(t.Context(), Object{Key: key, Name: "x"}, 0); err == nil {
			t.Errorf("%s was opened", key)
			_ = r.Close()
		}
	}
	for prefix, want := range map[string]string{
		"out/":          "out/ leads out of the store; name a folder inside it.",
		"nowhere/":      "AvailableModelFileNotFound: There are no files under nowhere/",
		"a/plain.json/": "AvailableModelFileNotFound",
		"a/deeper/":     "AvailableModelFileNotFound",
	} {
		if _, err := s.List(t.Context(), prefix); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", prefix, err, want)
		}
	}
}

// A file that is written while it is copied is refused, at its beginning or at its end.
func TestALocalFileThatChangesIsRefused(t *testing.T) {
	t.Parallel()
	root := folderOf(t, nil)
	path := filepath.Join(root, "a", "x.json")
	write := func(content string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	write("before")
	s := NewLocalStore(root)
	objects, err := s.List(t.Context(), "a/")
	if err != nil || len(objects) != 1 {
		t.Fatalf("%v, %v", objects, err)
	}
	r, err := s.Open(t.Context(), objects[0], 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	write("beforeafter")
	if _, err := io.ReadAll(r); err == nil || !strings.Contains(err.Error(), "changed while it was copied") {
		t.Errorf("at the end: %v", err)
	}
	if _, err := s.Open(t.Context(), objects[0], 0); err == nil || !strings.Contains(err.Error(), "changed while it was copied") {
		t.Errorf("at the beginning: %v", err)
	}
}
