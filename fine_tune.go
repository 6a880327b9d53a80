package berth

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"
	"unicode"
)

// FineTune is the record of a job that tuned a model (api.md 8.3). Berth trains nothing:
// a job ran elsewhere and is registered when its result is there.
type FineTune struct {
	ID          string // ft- + minute + 4 characters
	WorkspaceID string
	Name        string
	Model       string // the base that was tuned
	Output      string // the custom model that came of it
	// TrainingType is that of the trainer, such as sft or efficient_sft.
	TrainingType      string
	TrainingFileIDs   []string
	ValidationFileIDs []string
	HyperParameters   json.RawMessage // a JSON object
	UsageTokens       int64
	Creator           string // account
	CreatedAt         time.Time
}

// Efficient reports whether a training type makes an adapter instead of whole weights.
func Efficient(trainingType string) bool {
	t := strings.ToLower(trainingType)
	return strings.HasPrefix(t, "efficient") || strings.HasSuffix(t, "lora")
}

// NewFineTune is a finished job that somebody registers. Its files are an Upload, or a
// Path of the server.
type NewFineTune struct {
	Model, Suffix, Name                string
	Upload, Path                       string
	TrainingType                       string // "": efficient_sft
	TrainingFileIDs, ValidationFileIDs []string
	HyperParameters                    json.RawMessage
	UsageTokens                        int64
}

// FineTunes keeps the records of jobs.
type FineTunes struct {
	Writer
	Models *Models
	// Zone is the one of the minute in a job's id.
	Zone *time.Location
}

// Bounds of what a record may have.
const (
	fineTuneFilesMax = 1000
	fineTuneTextMax  = 64 << 10 // bytes of hyper-parameters
)

// Register writes the record of a finished job and makes its files a custom model of the
// caller's workspace, both or neither. Needs [RoleAdmin], and for a path of the server
// [RoleOwner].
func (s *FineTunes) Register(ctx context.Context, n NewFineTune) (FineTune, error) {
	caller := CallerFrom(ctx)
	if !caller.May(RoleAdmin) {
		return FineTune{}, accessDenied()
	}
	defaultTo(&n.TrainingType, "efficient_sft")
	suffix, err := NormalSuffix(n.Suffix)
	if err != nil {
		return FineTune{}, err
	}
	if err := checkFineTune(n); err != nil {
		return FineTune{}, err
	}
	f := FineTune{
		ID: s.newID(), WorkspaceID: caller.WorkspaceID, Name: n.Name, Model: n.Model, TrainingType: n.TrainingType,
		TrainingFileIDs: n.TrainingFileIDs, ValidationFileIDs: n.ValidationFileIDs, HyperParameters: n.HyperParameters,
		UsageTokens: n.UsageTokens, Creator: caller.AccountID, CreatedAt: s.Now(),
	}
	f.Output = outputName(n.Model, suffix, f.ID)
	if len(f.HyperParameters) == 0 {
		f.HyperParameters = json.RawMessage("{}")
	}
	m := NewModel{Name: f.Output, Base: n.Model, Upload: n.Upload, WorkspaceID: caller.WorkspaceID, Weights: WeightsLoRA}
	if !Efficient(n.TrainingType) {
		m.Weights = WeightsFull
	}
	if n.Path != "" {
		m.Path, m.Adapter = n.Path, ""
		if m.Weights == WeightsLoRA {
			m.Path, m.Adapter = "", n.Path
		}
	}
	_, err = s.Models.add(ctx, m, func(tx Tx) error { return tx.FineTunes().Insert(ctx, f) })
	return f, err
}

func checkFineTune(n NewFineTune) error {
	var object map[string]json.RawMessage
	switch {
	case n.Model == "":
		return Errorf(CodeInvalid, "Field required: model")
	case (n.Upload == "") == (n.Path == ""):
		return Errorf(CodeInvalid, "A fine-tune job needs its files: name an upload, or, as owner, a path of the server.")
	case len([]rune(n.Name)) > MaxDisplayNameLength:
		return Errorf(CodeInvalid, "The job's name is too long; use at most %d characters.", MaxDisplayNameLength)
	case len(n.TrainingType) > MaxDisplayNameLength:
		return Errorf(CodeInvalid, "The training_type is too long; use at most %d characters.", MaxDisplayNameLength)
	case strings.ContainsFunc(n.Name+n.TrainingType, unicode.IsControl):
		return Errorf(CodeInvalid, "The job's name and training_type must have no control characters, such as line breaks.")
	case len(n.TrainingFileIDs)+len(n.ValidationFileIDs) > fineTuneFilesMax:
		return Errorf(CodeInvalid, "A job may name %d files.", fineTuneFilesMax)
	case len(strings.Join(n.TrainingFileIDs, ""))+len(strings.Join(n.ValidationFileIDs, "")) > fineTuneTextMax:
		return Errorf(CodeTooLarge, "The ids of files have more than %d bytes, which is the most that is kept.", fineTuneTextMax)
	case n.UsageTokens < 0:
		return Errorf(CodeInvalid, "The usage must not be below 0.")
	case len(n.HyperParameters) > fineTuneTextMax:
		return Errorf(CodeTooLarge, "The hyper_parameters have %d bytes; at most %d are kept.", len(n.HyperParameters), fineTuneTextMax)
	case len(n.HyperParameters) > 0 && json.Unmarshal(n.HyperParameters, &object) != nil:
		return Errorf(CodeInvalid, "The hyper_parameters must be a JSON object.")
	}
	return nil
}

// newID makes an id in the form of the contract; its end is random.
func (s *FineTunes) newID() string {
	random := s.NewID("")
	return "ft-" + s.Now().In(s.Zone).Format("200601021504") + "-" + random[max(0, len(random)-4):]
}

// outputName is the documented {base}[-{suffix}]-ft-{minute}-{4}.
func outputName(base, suffix, id string) string {
	if suffix != "" {
		base += "-" + suffix
	}
	return base + "-" + id
}

// Get returns a job of the caller's workspace. Needs [RoleInference].
func (s *FineTunes) Get(ctx context.Context, id string) (FineTune, error) {
	caller := CallerFrom(ctx)
	if !caller.May(RoleInference) {
		return FineTune{}, accessDenied()
	}
	var f FineTune
	err := s.Store.View(ctx, func(tx Tx) (err error) {
		f, err = ownFineTune(ctx, tx, caller, id)
		return err
	})
	return f, err
}

func ownFineTune(ctx context.Context, tx Tx, caller Caller, id string) (FineTune, error) {
	f, err := tx.FineTunes().Get(ctx, id)
	if CodeOf(err) == CodeNotFound || err == nil && f.WorkspaceID != caller.WorkspaceID {
		return FineTune{}, Errorf(CodeNotFound, "Not Found!")
	}
	return f, err
}

// List returns a page of the caller's workspace, newest first, and the number of all.
// Needs [RoleInference].
func (s *FineTunes) List(ctx context.Context, page Page) ([]FineTune, int64, error) {
	caller := CallerFrom(ctx)
	if !caller.May(RoleInference) {
		return nil, 0, accessDenied()
	}
	var all []FineTune
	err := s.Store.View(ctx, func(tx Tx) (err error) {
		all, err = tx.FineTunes().List(ctx, caller.WorkspaceID)
		return err
	})
	from := min(page.offset(), int64(len(all)))
	return slices.Clone(all[from:min(from+page.Size, int64(len(all)))]), int64(len(all)), err
}

// Cancel is for jobs that run, which none does here: [CodeUnsupported].
func (s *FineTunes) Cancel(ctx context.Context, id string) error {
	if !CallerFrom(ctx).May(RoleAdmin) {
		return accessDenied()
	}
	if _, err := s.Get(ctx, id); err != nil {
		return err
	}
	return Errorf(CodeUnsupported, "The operation is unsupported on the referee object.")
}

// Delete forgets the record of a job; the model that came of it stays. Needs [RoleAdmin].
func (s *FineTunes) Delete(ctx context.Context, id string) error {
	caller := CallerFrom(ctx)
	if !caller.May(RoleAdmin) {
		return accessDenied()
	}
	return s.write(ctx, "fine_tune.delete", func(tx Tx) (string, error) {
		if _, err := ownFineTune(ctx, tx, caller, id); err != nil {
			return "", err
		}
		return id, tx.FineTunes().Delete(ctx, id)
	})
}

// NoTraining refuses a job that is to be run.
func NoTraining() error {
	return Errorf(CodeUnsupported, "Berth trains no models. Train elsewhere, then register the result: POST /berth/v1/fine-tunes, or berth tune add.")
}
