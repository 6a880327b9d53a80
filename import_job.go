package berth

import (
	"cmp"
	"context"
	"io/fs"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// WeightType says what an import brings: whole weights or a LoRA adapter (api.md 8.2).
type WeightType string

// The weight types.
const (
	WeightsFull WeightType = "full"
	WeightsLoRA WeightType = "lora"
)

// ImportStatus is where an import job stands, spelled as on the wire (api.md 8.2). It
// only ever goes from PENDING to RUNNING to one of the others, or from PENDING to FAILED
// when it is cancelled. A job that was RUNNING when the server ended is RUNNING when it
// starts again, and begins anew.
type ImportStatus string

// The statuses of import jobs.
const (
	ImportPending   ImportStatus = "PENDING"
	ImportRunning   ImportStatus = "RUNNING"
	ImportSucceeded ImportStatus = "SUCCESSED" // sic
	ImportFailed    ImportStatus = "FAILED"
)

// Done reports whether nothing more will happen to the job by itself.
func (s ImportStatus) Done() bool { return s == ImportSucceeded || s == ImportFailed }

// ImportJob brings a model from an object store into a workspace.
type ImportJob struct {
	ID          string // imp_ + UUIDv7
	WorkspaceID string
	BaseModel   string
	ModelName   string // of the model to be, {base}-offline-{yyyyMMdd}-{4}
	DisplayName string
	Weights     WeightType
	Store       string // name of the object store
	Prefix      string // of the objects, ends with /
	Status      ImportStatus
	Reason      string // FAILED: why, in words for a person
	CreatedAt   time.Time
	StartedAt   time.Time // zero: not yet
	EndedAt     time.Time // zero: not yet
}

// ImportProgress is how far a running job is.
type ImportProgress struct {
	DoneBytes  int64
	TotalBytes int64 // 0: not known yet
}

// ImportView is a job as its workspace sees it; Progress is of running jobs only.
type ImportView struct {
	ImportJob
	Progress *ImportProgress
}

// ImportFilter selects and pages import jobs, newest first. Empty fields select all.
type ImportFilter struct {
	WorkspaceID string
	Status      ImportStatus
	ModelName   string
	Offset      int64
	Limit       int64 // 0 = all
}

// ImportJobStore keeps import jobs. ModelName is unique among them.
type ImportJobStore interface {
	Insert(ctx context.Context, j ImportJob) error
	Update(ctx context.Context, j ImportJob) error
	Get(ctx context.Context, id string) (ImportJob, error)
	Delete(ctx context.Context, id string) error
	// List returns one page, newest CreatedAt first, ties by id, and the number of all
	// that match.
	List(ctx context.Context, f ImportFilter) ([]ImportJob, int64, error)
}

// ImportBounds is what import jobs may take.
type ImportBounds struct {
	Queued int64 // jobs of one workspace that have not ended
	Kept   int64 // jobs of one workspace at all
}

// Imports takes import jobs and keeps their state; a worker does them ([Imports.Claim]).
// Everything that clients do needs [RoleAdmin]. Jobs of other workspaces are as unknown
// as those that never were.
type Imports struct {
	Writer
	Models *Models
	Bounds ImportBounds
	// Allows reports whether the store exists and the workspace may read from it.
	Allows func(store, workspaceID string) bool
	// NewSuffix returns 4 lower-case letters or digits.
	NewSuffix func() string
	Zone      *time.Location // of the day in generated names
	// Wake tells the worker that there may be something to do; it never blocks.
	Wake func()
	// Stop ends the worker's work on a job; one that it does not work on is no error.
	Stop func(jobID string)
	// Progress returns how far the worker is with a job.
	Progress func(jobID string) (ImportProgress, bool)
}

// NewImport is what somebody asks to be imported.
type NewImport struct {
	BaseModel   string
	DisplayName string // "": the base's name
	Source      string // "oss"
	Weights     string
	Store       string
	Prefix      string
}

// Create takes a job (api.md 8.2) and answers at once. [CodeInvalid], [CodeNotFound] for
// a store or a base that the workspace cannot use, [CodeThrottled] when it has too many.
func (s *Imports) Create(ctx context.Context, n NewImport) (ImportView, error) {
	caller := CallerFrom(ctx)
	if !caller.May(RoleAdmin) {
		return ImportView{}, accessDenied()
	}
	if err := n.check(); err != nil {
		return ImportView{}, err
	}
	if !s.Allows(n.Store, caller.WorkspaceID) {
		return ImportView{}, Errorf(CodeNotFound, "There is no store %.60q that this workspace may import from; ask the server's owner to configure it under imports.stores.", n.Store)
	}
	now := s.Now()
	job := ImportJob{
		ID: s.NewID("imp_"), WorkspaceID: caller.WorkspaceID, BaseModel: n.BaseModel, DisplayName: cmp.Or(n.DisplayName, n.BaseModel),
		Weights: WeightType(n.Weights), Store: n.Store, Prefix: n.Prefix, Status: ImportPending, CreatedAt: now,
	}
	err := s.write(ctx, "import.create", func(tx Tx) (string, error) {
		if err := s.admit(ctx, tx, &job); err != nil {
			return "", err
		}
		return job.ID, tx.Imports().Insert(ctx, job)
	})
	if err != nil {
		return ImportView{}, err
	}
	s.Wake()
	return ImportView{ImportJob: job}, nil
}

// prefixMax is the longest name of an object that S3 knows.
const prefixMax = 1024

// check refuses what can be seen from the request alone.
func (n *NewImport) check() error {
	folder, ends := strings.CutSuffix(n.Prefix, "/")
	switch {
	case n.BaseModel == "":
		return Errorf(CodeInvalid, "Field required: model_name")
	case !strings.EqualFold(n.Source, "oss"):
		return Errorf(CodeInvalid, "The source %.40q is not known; use oss.", n.Source)
	case n.Weights != string(WeightsFull) && n.Weights != string(WeightsLoRA):
		return Errorf(CodeInvalid, "The weight_type %.40q is not known; use full or lora.", n.Weights)
	case utf8.RuneCountInString(n.DisplayName) > MaxDisplayNameLength:
		return Errorf(CodeInvalid, "The display_name is too long; use at most %d characters.", MaxDisplayNameLength)
	case n.Store == "":
		return Errorf(CodeInvalid, "Field required: storage_info.bucket_name")
	case n.Prefix == "":
		return Errorf(CodeInvalid, "Field required: storage_info.object_key")
	case !ends:
		return Errorf(CodeInvalid, "The object_key %.80q must be a folder and end with /.", n.Prefix)
	case !fs.ValidPath(folder) || folder == "." || len(n.Prefix) > prefixMax || strings.ContainsFunc(folder, func(r rune) bool { return r < ' ' || r == '\\' }):
		return Errorf(CodeInvalid, "The object_key %.80q must name a folder below the store's root, such as models/mine/.", n.Prefix)
	}
	return nil
}

// admit names a job, or refuses it: its base cannot be imported to, or it is one too many.
func (s *Imports) admit(ctx context.Context, tx Tx, job *ImportJob) error {
	base, err := visibleModel(ctx, tx, job.WorkspaceID, job.BaseModel)
	if err != nil {
		return err
	}
	if base.Kind != ModelKindBase {
		return Errorf(CodeNotFound, "Model: %s is not a base that can be imported to; name one of the models with weights of their own.", job.BaseModel)
	}
	workspace, err := findWorkspace(ctx, tx, job.WorkspaceID)
	if err != nil {
		return err
	}
	if !workspace.MayDeploy(&base) { // or a tuned copy would get round it
		return noPrivilege(workspace, base)
	}
	if job.Weights == WeightsLoRA && !s.Models.Engines[base.Engine].Adapters {
		return Errorf(CodeInvalid, "The engine %s of base model %s cannot apply adapters; import full weights.", base.Engine, base.Name)
	}
	jobs, kept, err := tx.Imports().List(ctx, ImportFilter{WorkspaceID: job.WorkspaceID})
	if err != nil {
		return err
	}
	jobs = slices.DeleteFunc(jobs, func(j ImportJob) bool { return j.Status.Done() })
	switch {
	case int64(len(jobs)) >= s.Bounds.Queued:
		return Errorf(CodeThrottled, "The workspace has %d import jobs that have not ended; wait for one or cancel one.", len(jobs))
	case kept >= s.Bounds.Kept:
		return Errorf(CodeThrottled, "The workspace has %d import jobs; delete some that have ended.", kept)
	}
	job.ModelName, err = s.freeName(ctx, tx, job)
	return err
}

// freeName makes the name of the model to be (api.md 8.1).
func (s *Imports) freeName(ctx context.Context, tx Tx, job *ImportJob) (string, error) {
	const tries = 16 // of 36⁴ names a day
	for range tries {
		name := job.BaseModel + "-offline-" + job.CreatedAt.In(s.Zone).Format("20060102") + "-" + s.NewSuffix()
		if err := ValidateModelName(name); err != nil {
			return "", err
		}
		_, err := tx.Models().Get(ctx, name)
		if err != nil && CodeOf(err) != CodeNotFound {
			return "", err
		}
		_, jobs, listErr := tx.Imports().List(ctx, ImportFilter{ModelName: name, Limit: 1})
		if listErr != nil {
			return "", listErr
		}
		if err != nil && jobs == 0 {
			return name, nil
		}
	}
	return "", Errorf(CodeConflict, "No name is free for an import to %s today; delete import jobs, or try again tomorrow.", job.BaseModel)
}

// Get returns a job of the caller's workspace.
func (s *Imports) Get(ctx context.Context, id string) (ImportView, error) {
	var view ImportView
	err := s.read(ctx, func(tx Tx, caller Caller) error {
		job, err := ownImport(ctx, tx, caller, id)
		view = s.view(job)
		return err
	})
	return view, err
}

// List returns a page of the caller's workspace, newest first, and the number of all
// that match. status and modelName "" select all.
func (s *Imports) List(ctx context.Context, page Page, status ImportStatus, modelName string) ([]ImportView, int64, error) {
	var views []ImportView
	var total int64
	err := s.read(ctx, func(tx Tx, caller Caller) error {
		jobs, n, err := tx.Imports().List(ctx, ImportFilter{
			WorkspaceID: caller.WorkspaceID, Status: status, ModelName: modelName, Offset: page.offset(), Limit: page.Size,
		})
		total = n
		for _, j := range jobs {
			views = append(views, s.view(j))
		}
		return err
	})
	return views, total, err
}

func (s *Imports) read(ctx context.Context, fn func(Tx, Caller) error) error {
	caller := CallerFrom(ctx)
	if !caller.May(RoleAdmin) {
		return accessDenied()
	}
	return s.Store.View(ctx, func(tx Tx) error { return fn(tx, caller) })
}

func (s *Imports) view(j ImportJob) ImportView {
	view := ImportView{ImportJob: j}
	if j.Status == ImportRunning {
		if p, ok := s.Progress(j.ID); ok {
			view.Progress = &p
		}
	}
	return view
}

func ownImport(ctx context.Context, tx Tx, caller Caller, id string) (ImportJob, error) {
	j, err := tx.Imports().Get(ctx, id)
	if CodeOf(err) == CodeNotFound || err == nil && j.WorkspaceID != caller.WorkspaceID {
		return ImportJob{}, Errorf(CodeNotFound, "Import job: %.80s not found!", id)
	}
	return j, err
}

// cancelledImport is the reason of jobs that somebody cancelled.
const cancelledImport = "The import was cancelled."

// Cancel ends a job; what it copied is removed. [CodeUnsupported] when it has ended
// already. Ours: the documented API has no such operation.
func (s *Imports) Cancel(ctx context.Context, id string) (ImportView, error) {
	caller := CallerFrom(ctx)
	if !caller.May(RoleAdmin) {
		return ImportView{}, accessDenied()
	}
	var job ImportJob
	err := s.write(ctx, "import.cancel", func(tx Tx) (_ string, err error) {
		if job, err = ownImport(ctx, tx, caller, id); err != nil {
			return "", err
		}
		if job.Status.Done() {
			return "", Errorf(CodeUnsupported, "The import job has ended as %s; there is nothing to cancel.", job.Status)
		}
		job.Status, job.Reason, job.EndedAt = ImportFailed, cancelledImport, s.Now()
		return id, tx.Imports().Update(ctx, job)
	})
	if err != nil {
		return ImportView{}, err
	}
	s.Stop(id)
	return ImportView{ImportJob: job}, nil
}

// Delete removes a job that has ended, its model and our copy of the files; the source
// is not touched. [CodeDenied] before it has ended, [CodeConflict] while the model is
// deployed.
func (s *Imports) Delete(ctx context.Context, id string) (ImportView, error) {
	caller := CallerFrom(ctx)
	if !caller.May(RoleAdmin) {
		return ImportView{}, accessDenied()
	}
	var job ImportJob
	var model Model
	err := s.write(ctx, "import.delete", func(tx Tx) (_ string, err error) {
		if job, err = ownImport(ctx, tx, caller, id); err != nil {
			return "", err
		}
		if !job.Status.Done() {
			return "", Errorf(CodeDenied, "The import job is currently running and cannot be deleted.")
		}
		if model, err = s.forget(ctx, tx, job); err != nil {
			return "", err
		}
		return id, tx.Imports().Delete(ctx, id)
	})
	if err != nil {
		return ImportView{}, err
	}
	return ImportView{ImportJob: job}, s.Models.Shelf.Remove(model.File)
}

// forget takes the model of a job out of the catalogue and returns it; the zero one when
// it has none, or none any more.
func (s *Imports) forget(ctx context.Context, tx Tx, job ImportJob) (Model, error) {
	m, err := tx.Models().Get(ctx, job.ModelName)
	if CodeOf(err) == CodeNotFound || err == nil && (job.Status != ImportSucceeded || m.WorkspaceID != job.WorkspaceID) {
		return Model{}, nil
	}
	if err != nil {
		return Model{}, err
	}
	if err := unused(ctx, tx, m); err != nil {
		return Model{}, err
	}
	return m, tx.Models().Delete(ctx, m.Name)
}

// ImportTask is a job and the base that it is imported to.
type ImportTask struct {
	ImportJob
	Base Model
}

// NextImport chooses the job that a worker should take: one that a server which ended
// left RUNNING, else the oldest of the workspace that has the fewest running. busy are
// those that are worked on. False when there is none.
func NextImport(jobs []ImportJob, busy func(id string) bool) (ImportJob, bool) {
	running := map[string]int{}
	for _, j := range jobs {
		if j.Status == ImportRunning {
			if !busy(j.ID) {
				return j, true
			}
			running[j.WorkspaceID]++
		}
	}
	var next ImportJob
	found := false
	for _, j := range jobs {
		if j.Status != ImportPending {
			continue
		}
		fewer := cmp.Compare(running[j.WorkspaceID], running[next.WorkspaceID])
		if !found || fewer < 0 || fewer == 0 && j.ID < next.ID { // ids are in order of time
			next, found = j, true
		}
	}
	return next, found
}

// Claim hands the worker its next task and makes it RUNNING; false when there is none.
// A job whose base is gone fails instead. Called by the worker alone, as [System].
func (s *Imports) Claim(ctx context.Context, busy func(id string) bool) (ImportTask, bool, error) {
	if !CallerFrom(ctx).May(RoleOwner) {
		return ImportTask{}, false, accessDenied()
	}
	var task ImportTask
	var claimed bool
	err := s.Store.Tx(ctx, func(tx Tx) error {
		claimed = false
		for {
			jobs, err := unfinished(ctx, tx)
			if err != nil {
				return err
			}
			job, ok := NextImport(jobs, busy)
			if !ok {
				return nil
			}
			base, err := visibleModel(ctx, tx, job.WorkspaceID, job.BaseModel)
			if err != nil && CodeOf(err) != CodeNotFound {
				return err
			}
			job.Status, job.StartedAt = ImportRunning, s.Now()
			if err != nil {
				job.Status, job.EndedAt = ImportFailed, s.Now()
				job.Reason = "The base model " + job.BaseModel + " is not in the catalogue any more; import again to another."
			}
			if err := tx.Imports().Update(ctx, job); err != nil {
				return err
			}
			if job.Status == ImportRunning {
				task, claimed = ImportTask{job, base}, true
				return nil
			}
		}
	})
	return task, claimed && err == nil, err
}

func unfinished(ctx context.Context, tx Tx) ([]ImportJob, error) {
	pending, _, err := tx.Imports().List(ctx, ImportFilter{Status: ImportPending})
	if err != nil {
		return nil, err
	}
	running, _, err := tx.Imports().List(ctx, ImportFilter{Status: ImportRunning})
	return append(running, pending...), err
}

// Succeed puts the model of a RUNNING job into the catalogue of its workspace. False
// when the job was cancelled meanwhile, or its model cannot be there any more: then the
// caller removes the file. Called by the worker alone, as [System].
func (s *Imports) Succeed(ctx context.Context, task ImportTask, file ModelFile) (bool, error) {
	if !CallerFrom(ctx).May(RoleOwner) {
		return false, accessDenied()
	}
	kept := false
	err := s.write(ctx, "import.succeed", func(tx Tx) (string, error) {
		kept = false
		job, err := tx.Imports().Get(ctx, task.ID)
		if CodeOf(err) == CodeNotFound || err == nil && job.Status != ImportRunning {
			return task.ID, nil
		}
		if err != nil {
			return "", err
		}
		refused := s.catalogue(ctx, tx, job, file)
		switch CodeOf(refused) {
		case "":
			job.Status, kept = ImportSucceeded, true
		case CodeConflict, CodeInvalid, CodeNotFound:
			job.Status, job.Reason = ImportFailed, sentence(refused)
		default:
			return "", refused
		}
		job.EndedAt = s.Now()
		return job.ID, tx.Imports().Update(ctx, job)
	})
	return kept, err
}

// catalogue inserts the model of a job, unless its workspace or base has gone meanwhile.
func (s *Imports) catalogue(ctx context.Context, tx Tx, job ImportJob, file ModelFile) error {
	if _, err := findWorkspace(ctx, tx, job.WorkspaceID); err != nil {
		return err
	}
	base, err := visibleModel(ctx, tx, job.WorkspaceID, job.BaseModel)
	if err != nil {
		return err
	}
	m := imported(job, base, file, s.Now())
	if err := s.Models.checkEntry(&m); err != nil {
		return err
	}
	if err := distinct(ctx, tx, m); err != nil {
		return err
	}
	return s.Models.put(ctx, tx, m)
}

// imported is the model of a job: what it runs on is said by its base.
func imported(job ImportJob, base Model, file ModelFile, now time.Time) Model {
	m := Model{
		Name: job.ModelName, WorkspaceID: job.WorkspaceID, File: file, StandIn: base.StandIn, Description: job.DisplayName, CreatedAt: now,
	}
	m.onBase(&base)
	if job.Weights == WeightsFull {
		m.Kind, m.Base, m.Plans, m.Specs = ModelKindBase, "", []Plan{PlanMU}, base.Specs
	}
	return m
}

// sentence is what of an error is meant for the caller.
func sentence(err error) string {
	if e, ok := err.(*Error); ok { //nolint:errorlint // the message of this very error is shown
		return e.Message
	}
	return err.Error()
}

// Fail ends a RUNNING job with a sentence for a person; one that was cancelled stays as
// it is. Called by the worker alone, as [System].
func (s *Imports) Fail(ctx context.Context, jobID, reason string) error {
	if !CallerFrom(ctx).May(RoleOwner) {
		return accessDenied()
	}
	return s.write(ctx, "import.fail", func(tx Tx) (string, error) {
		job, err := tx.Imports().Get(ctx, jobID)
		if CodeOf(err) == CodeNotFound || err == nil && job.Status != ImportRunning {
			return jobID, nil
		}
		if err != nil {
			return "", err
		}
		job.Status, job.Reason, job.EndedAt = ImportFailed, reason, s.Now()
		return jobID, tx.Imports().Update(ctx, job)
	})
}
