package imports

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	berth "github.com/berthhq/berth"
)

// Jobs is the state of import jobs; [berth.Imports] keeps it.
type Jobs interface {
	Claim(ctx context.Context, busy func(id string) bool) (berth.ImportTask, bool, error)
	Succeed(ctx context.Context, task berth.ImportTask, file berth.ModelFile) (bool, error)
	Fail(ctx context.Context, jobID, reason string) error
}

// WorkerOptions of a [Worker]; all are required but Retry and Stall.
type WorkerOptions struct {
	Jobs   Jobs
	Stores map[string]Store
	Shelf  Shelf
	// Dir is where arrivals are collected, one folder per job; on the shelf's file system
	// and the worker's alone.
	Dir      string
	Parallel int   // jobs at the same time
	MaxBytes int64 // of one import
	Retry    time.Duration
	Stall    time.Duration // a store that sends nothing for so long is asked again
	Logger   *slog.Logger
}

// Defaults, and what is always left free of the disk.
const (
	retryDefault   = 2 * time.Second
	stallDefault   = time.Minute
	copyTries      = 5 // in a row without a byte
	diskSpareBytes = 256 << 20
)

// Worker does import jobs: it copies, checks and puts on the shelf. One runs at a time
// on a data directory.
type Worker struct {
	WorkerOptions
	wake chan struct{}

	mu   sync.Mutex // held from a claim to its entry here, so that no stop falls in between
	busy map[string]*work
}

// work is a job under way.
type work struct {
	stop        context.CancelCauseFunc
	done, total atomic.Int64
}

// NewWorker returns a worker that [Worker.Run] sets to work.
func NewWorker(o WorkerOptions) *Worker {
	o.Retry, o.Stall = cmp.Or(o.Retry, retryDefault), cmp.Or(o.Stall, stallDefault)
	return &Worker{WorkerOptions: o, wake: make(chan struct{}, 1), busy: map[string]*work{}}
}

// Wake says that there may be a new job. It never blocks.
func (w *Worker) Wake() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

var errStopped = errors.New("the job was cancelled")

// Stop ends the work on a job, whose state somebody else has changed; one that is not
// worked on is no error.
func (w *Worker) Stop(jobID string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if b := w.busy[jobID]; b != nil {
		b.stop(errStopped)
	}
}

// Progress returns how far a job is that is worked on.
func (w *Worker) Progress(jobID string) (berth.ImportProgress, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := w.busy[jobID]
	if b == nil {
		return berth.ImportProgress{}, false
	}
	return berth.ImportProgress{DoneBytes: b.done.Load(), TotalBytes: b.total.Load()}, true
}

// Run works until ctx ends and everything under way has stopped; those jobs stay RUNNING
// and begin anew with the next Run. What an earlier one left half done is removed first.
func (w *Worker) Run(ctx context.Context) error {
	ctx = berth.WithCaller(ctx, berth.System())
	if err := errors.Join(os.RemoveAll(w.Dir), os.MkdirAll(w.Dir, 0o700)); err != nil {
		return fmt.Errorf("make room for imports: %w", err)
	}
	var running sync.WaitGroup
	defer running.Wait()
	slots := make(chan struct{}, w.Parallel)
	for {
		select {
		case <-ctx.Done():
			return nil
		case slots <- struct{}{}:
		}
		task, jobCtx, err := w.next(ctx)
		if err != nil {
			return nil // only the end of ctx ends the wait
		}
		running.Go(func() {
			w.do(jobCtx, task)
			w.forget(task.ID)
			<-slots
		})
	}
}

// next waits for a task.
func (w *Worker) next(ctx context.Context) (berth.ImportTask, context.Context, error) {
	for {
		task, jobCtx, ok, err := w.claim(ctx)
		if ok {
			return task, jobCtx, nil
		}
		again := time.NewTimer(time.Hour)
		if err != nil && ctx.Err() == nil {
			w.Logger.Error("import jobs cannot be read", "error", err)
			again.Reset(w.Retry)
		}
		select {
		case <-ctx.Done():
		case <-w.wake:
		case <-again.C:
		}
		again.Stop()
		if ctx.Err() != nil {
			return berth.ImportTask{}, nil, context.Cause(ctx)
		}
	}
}

func (w *Worker) claim(ctx context.Context) (berth.ImportTask, context.Context, bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	task, ok, err := w.Jobs.Claim(ctx, func(id string) bool { return w.busy[id] != nil })
	if !ok || err != nil {
		return berth.ImportTask{}, nil, false, err
	}
	jobCtx, stop := context.WithCancelCause(ctx)
	w.busy[task.ID] = &work{stop: stop}
	return task, jobCtx, true, nil
}

func (w *Worker) forget(jobID string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.busy[jobID].stop(nil)
	delete(w.busy, jobID)
}

// do imports one model and says how it ended. When the worker itself is stopped, nothing
// is said.
func (w *Worker) do(ctx context.Context, task berth.ImportTask) {
	log := w.Logger.With("job", task.ID, "model", task.ModelName, "workspace", task.WorkspaceID)
	log.Info("import begins", "store", task.Store, "prefix", task.Prefix)
	dir := filepath.Join(w.Dir, task.ID)
	file, err := w.bring(ctx, task, dir)
	if removeErr := os.RemoveAll(dir); removeErr != nil {
		log.Error("what an import left cannot be removed", "dir", dir, "error", removeErr)
	}
	switch {
	case err == nil:
		w.keep(ctx, log, task, file)
	case ctx.Err() != nil:
		log.Info("import is stopped", "reason", context.Cause(ctx))
	default:
		log.Warn("import failed", "error", err)
		if err := w.Jobs.Fail(ctx, task.ID, reasonOf(err, task)); err != nil && ctx.Err() == nil {
			log.Error("the end of an import cannot be written", "error", err)
		}
	}
}

// keep puts the model into the catalogue, or its files away when it is not wanted there.
func (w *Worker) keep(ctx context.Context, log *slog.Logger, task berth.ImportTask, file berth.ModelFile) {
	kept, err := w.Jobs.Succeed(ctx, task, file)
	switch {
	case kept: // also when only the gateway has not taken it yet
		log.Info("import is done", "digest", file.Digest, "bytes", file.Stat.SizeBytes)
		return
	case err == nil || ctx.Err() != nil:
		log.Info("import is stopped", "reason", context.Cause(ctx))
	default:
		log.Error("the end of an import cannot be written", "error", err)
	}
	if err := w.Shelf.Remove(file); err != nil {
		log.Error("the files of an import cannot be removed", "error", err)
	}
}

// reasonOf is what a person reads of a failure. What is not a sentence of ours is the
// operator's to look at.
func reasonOf(err error, task berth.ImportTask) string {
	var known *berth.Error
	switch {
	case errors.As(err, &known) && known.Code != berth.CodeInternal:
		return known.Message
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "The server's disk is full; ask its owner for room and import again."
	case errors.Is(err, errUnreachable):
		return "The store " + task.Store + " did not answer; import again later, or ask the server's owner to check it."
	}
	return "The import failed on the server; ask its owner to look into the log for job " + task.ID + "."
}

// bring copies the files of a task into dir and puts them on the shelf.
func (w *Worker) bring(ctx context.Context, task berth.ImportTask, dir string) (berth.ModelFile, error) {
	store, ok := w.Stores[task.Store]
	if !ok {
		return berth.ModelFile{}, berth.Errorf(berth.CodeInvalid, "The store %s is not configured any more; import again from another.", task.Store)
	}
	objects, err := w.choose(ctx, store, task)
	if err != nil {
		return berth.ModelFile{}, err
	}
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700)); err != nil {
		return berth.ModelFile{}, err
	}
	hashed := map[string]string{}
	for _, o := range objects {
		if hashed[o.Name], err = w.copy(ctx, store, o, dir, task.ID); err != nil {
			return berth.ModelFile{}, err
		}
		// Before gigabytes come after a configuration that cannot be used.
		if o.Name == adapterConfigFile {
			if err := w.Shelf.checkAdapterConfig(dir); err != nil {
				return berth.ModelFile{}, err
			}
		}
	}
	return w.Shelf.Put(ctx, Arrival{Dir: dir, Hashed: hashed, Model: task.ModelName, Weights: task.Weights, Base: task.Base})
}

// checkAdapterConfig looks at an adapter_config.json on its own.
func (s Shelf) checkAdapterConfig(dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, adapterConfigFile))
	if err != nil {
		return err
	}
	if _, err := parseAdapterConfig(text, s.Files.ranks()); err != nil {
		return damaged(adapterConfigFile, err)
	}
	return nil
}

// choose returns the objects that make the model, after finding room for them.
func (w *Worker) choose(ctx context.Context, store Store, task berth.ImportTask) ([]Object, error) {
	all, err := retried(ctx, w.Retry, func() ([]Object, error) { return store.List(ctx, task.Prefix) })
	if err != nil {
		return nil, err
	}
	byName, names := map[string]Object{}, make([]string, 0, len(all))
	for _, o := range all {
		byName[o.Name] = o
		names = append(names, o.Name)
	}
	choice, err := Choose(names, task.Weights, task.Base.Engine)
	if err != nil {
		return nil, err
	}
	var objects []Object
	total := int64(0)
	for _, name := range choice.Names {
		o := byName[name]
		if o.SizeBytes < 0 || o.SizeBytes > w.MaxBytes-total {
			return nil, berth.Errorf(berth.CodeInvalid, "The files have more than %d bytes, which is the most that may be imported; ask the server's owner to raise imports.max_bytes.", w.MaxBytes)
		}
		if configs := !isWeights(name); configs && o.SizeBytes > configBytesMax {
			return nil, berth.Errorf(berth.CodeInvalid, "%s has %d bytes; a file beside the weights may have %d.", name, o.SizeBytes, configBytesMax)
		}
		total += o.SizeBytes
		objects = append(objects, o)
	}
	w.mu.Lock()
	w.busy[task.ID].total.Store(total)
	w.mu.Unlock()
	need := total
	if choice.form == formPEFT && task.Base.Engine == berth.EngineLlamaCpp {
		need += 2 * total // the converted adapter, should BF16 become F32
	}
	return objects, w.room(need)
}

func isWeights(name string) bool {
	return filepath.Ext(name) == safetensorsEnd || filepath.Ext(name) == ggufEnd
}

// room refuses what would fill the disk.
func (w *Worker) room(bytes int64) error {
	var disk syscall.Statfs_t
	if err := syscall.Statfs(w.Dir, &disk); err != nil {
		return fmt.Errorf("measure the disk: %w", err)
	}
	free := int64(disk.Bavail) * int64(disk.Bsize) //nolint:unconvert // differs by platform
	if bytes > free-diskSpareBytes {
		return berth.Errorf(berth.CodeInvalid, "The import needs %d bytes of disk, and the server has %d; ask its owner for room.", bytes, max(0, free-diskSpareBytes))
	}
	return nil
}

// errUnreachable marks a store that failed again and again.
var errUnreachable = errors.New("the store does not answer")

// retried repeats what fails for a reason that may pass.
func retried[T any](ctx context.Context, wait time.Duration, do func() (T, error)) (T, error) {
	for try := 1; ; try++ {
		v, err := do()
		if err == nil || !mayPass(err) || ctx.Err() != nil {
			return v, err
		}
		if try == copyTries {
			return v, fmt.Errorf("%w: %w", errUnreachable, err)
		}
		if err := pause(ctx, wait<<(try-1)); err != nil {
			return v, err
		}
	}
}

// mayPass reports whether a failure of a store is worth another try.
func mayPass(err error) bool {
	return !errors.As(err, new(*berth.Error)) && !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT)
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// copy brings one object into dir, durably, and returns its digest in hex. A connection
// that breaks off is taken up where it broke.
func (w *Worker) copy(ctx context.Context, store Store, o Object, dir, jobID string) (string, error) {
	w.mu.Lock()
	progress := &w.busy[jobID].done
	w.mu.Unlock()
	sum := sha256.New()
	err := writeDurably(filepath.Join(dir, o.Name), func(file io.Writer) error {
		c := &copying{store: store, object: o, to: file, sum: sum, progress: progress, stall: w.Stall}
		for !c.ended {
			before := c.at
			_, err := retried(ctx, w.Retry, func() (struct{}, error) {
				err := c.more(ctx)
				if c.at > before {
					err = finalOnly(err) // it goes on: the tries begin anew
				}
				return struct{}{}, err
			})
			if err == nil && !c.ended {
				err = pause(ctx, w.Retry)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	return hex.EncodeToString(sum.Sum(nil)), err
}

// finalOnly drops an error that may pass.
func finalOnly(err error) error {
	if err != nil && mayPass(err) {
		return nil
	}
	return err
}

// copying is an object on its way.
type copying struct {
	store    Store
	object   Object
	to       io.Writer
	sum      hash.Hash
	progress *atomic.Int64
	stall    time.Duration
	at       int64
	ended    bool // the store said so
}

// more reads on from where the last try ended, to the end or to an error.
func (c *copying) more(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	watch := time.AfterFunc(c.stall, func() { stop(fmt.Errorf("the store sent nothing for %s", c.stall)) })
	defer watch.Stop()
	body, err := c.store.Open(ctx, c.object, c.at)
	if err != nil {
		return because(ctx, err)
	}
	defer func() { _ = body.Close() }()
	block := make([]byte, 256<<10)
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := body.Read(block)
		watch.Reset(c.stall)
		if c.at+int64(n) > c.object.SizeBytes {
			return objectChanged(c.object)
		}
		if _, writeErr := io.MultiWriter(c.to, c.sum).Write(block[:n]); writeErr != nil {
			return berthInternal(writeErr)
		}
		c.at += int64(n)
		c.progress.Add(int64(n))
		switch {
		case err != nil && c.at == c.object.SizeBytes && mayPass(err): // whatever comes after the last byte
			c.ended = true
			return nil
		case errors.Is(err, io.EOF):
			return io.ErrUnexpectedEOF
		case err != nil:
			return because(ctx, err)
		}
	}
}

// because prefers why a context ended to what came of it.
func because(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// berthInternal keeps a failure of our own disk from being tried again.
func berthInternal(err error) error {
	return &berth.Error{Code: berth.CodeInternal, Message: "write the copy", Err: err}
}
