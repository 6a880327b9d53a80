package berth

import (
	"context"
	"maps"
	"slices"
	"strings"
)

// Shelf is where Berth keeps its own copies of model files: those that did not lie on
// the server before.
type Shelf interface {
	// Put checks the files of one model, converts them where the engine of the base needs
	// it and puts them in their place for good. [CodeInvalid] says what is wrong with them
	// without naming a path of the server.
	Put(ctx context.Context, a Arrival) (ModelFile, error)
	// Remove takes a model's files off the shelf; files that never were there are left
	// alone.
	Remove(f ModelFile) error
}

// Arrival is the files of one model, complete, in a folder of their own.
type Arrival struct {
	Dir string // right inside it the files and nothing else; its name is unique for ever
	// Hashed are the SHA-256 digests, in hex and by name, of files that were hashed on
	// their way; the others are read once more.
	Hashed  map[string]string
	Model   string // the name that it will have in the catalogue
	Weights WeightType
	Base    Model // with only an engine: new weights for it, based on none
}

// addUploaded makes a model of an upload. Needs [RoleAdmin]; what others than an owner
// add belongs to their workspace and is custom.
func (s *Models) addUploaded(ctx context.Context, n NewModel, also func(Tx) error) (Model, error) {
	caller := CallerFrom(ctx)
	if !caller.May(RoleOwner) {
		n.WorkspaceID = caller.WorkspaceID
	}
	if err := checkUploaded(caller, n); err != nil {
		return Model{}, err
	}
	u, err := s.Uploads.Get(ctx, n.Upload)
	if err != nil {
		return Model{}, err
	}
	release, err := s.Uploads.claim(u.ID)
	if err != nil {
		return Model{}, err
	}
	defer release()
	if u, err = s.Uploads.Get(ctx, u.ID); err != nil { // it may have become a model meanwhile
		return Model{}, err
	}
	a, err := arrivalOf(u, s.Uploads.Inbox.Folder(u.ID), n)
	if err != nil {
		return Model{}, err
	}
	m := s.entry(n)
	if a.Base, err = s.expect(ctx, &m, n, slices.Collect(maps.Keys(a.Hashed))); err != nil {
		return Model{}, err
	}
	if m.File, err = s.Shelf.Put(ctx, a); err != nil {
		return Model{}, err
	}
	m.followFile()
	if err := s.checkEntry(&m); err != nil {
		return Model{}, err
	}
	err = s.write(ctx, "model.add", func(tx Tx) (string, error) {
		if _, err := ownUpload(ctx, tx, caller, u.ID); err != nil {
			return "", err
		}
		if err := tx.Uploads().Delete(ctx, u.ID); err != nil {
			return "", err
		}
		if err := distinct(ctx, tx, m); err != nil {
			return "", err
		}
		if err := s.put(ctx, tx, m); err != nil {
			return "", err
		}
		return m.Name, also(tx)
	})
	return m, err
}

// arrivalOf is a complete upload as the shelf takes it.
func arrivalOf(u UploadState, dir string, n NewModel) (Arrival, error) {
	a := Arrival{Dir: dir, Hashed: map[string]string{}, Model: n.Name, Weights: n.Weights}
	if n.Base == "" {
		a.Weights = WeightsFull
	} else if n.Weights == "" {
		a.Weights = WeightsLoRA
	}
	for i, f := range u.Files {
		if u.Offsets[i] < f.SizeBytes {
			return a, Errorf(CodeInvalid, "The upload %s is not complete: %s has %d of %d bytes; send the rest first.", u.ID, f.Name, u.Offsets[i], f.SizeBytes)
		}
		a.Hashed[f.Name] = f.SHA256
	}
	return a, nil
}

// checkUploaded refuses what an upload cannot be.
func checkUploaded(caller Caller, n NewModel) error {
	switch {
	case !caller.May(RoleAdmin):
		return accessDenied()
	case n.Path != "" || n.Adapter != "" || n.URL != "":
		return Errorf(CodeInvalid, "The model %s has an upload; leave out path, adapter and endpoint URL.", n.Name)
	case n.Base != "" && n.Engine != "":
		return Errorf(CodeInvalid, "The model %s runs on the engine of its base; leave out the engine.", n.Name)
	case !slices.Contains([]string{"", EngineLlamaCpp, EngineVLLM}, n.Engine):
		return Errorf(CodeInvalid, "Uploaded weights run on llamacpp or vllm, not on %q.", n.Engine)
	case !slices.Contains([]WeightType{"", WeightsLoRA, WeightsFull}, n.Weights):
		return Errorf(CodeInvalid, "The weight_type %q is not known; use lora or full.", n.Weights)
	case n.Base == "" && n.Weights == WeightsLoRA:
		return Errorf(CodeInvalid, "The adapter %s needs the base that it was trained on.", n.Name)
	}
	return ValidateModelName(n.Name)
}

// engineFor is the engine that loads whole weights in files of these names.
func engineFor(names []string) string {
	ends := func(suffix string) bool {
		return slices.ContainsFunc(names, func(n string) bool { return strings.HasSuffix(n, suffix) })
	}
	if ends(".safetensors") && !ends(".gguf") {
		return EngineVLLM
	}
	return EngineLlamaCpp
}

// expect fills what the entry of an uploaded model says before its files, of which
// the names are known, are looked at,
// and refuses what would be refused with any files: they are not moved for nothing. It
// returns the base.
func (s *Models) expect(ctx context.Context, m *Model, n NewModel, names []string) (base Model, err error) {
	if n.Base != "" {
		if base, err = s.baseOf(ctx, m, n); err != nil {
			return base, err
		}
		m.Engine = base.Engine
	} else if m.Engine == "" {
		m.Engine = engineFor(names)
	}
	if n.Base == "" || n.Weights == WeightsFull {
		m.asBase()
	} else {
		m.onBase(&base)
	}
	base.Engine = m.Engine
	early := *m
	if err := s.checkEntry(&early); err != nil {
		return base, err
	}
	return base, s.Store.View(ctx, func(tx Tx) error {
		if _, err := tx.Models().Get(ctx, m.Name); CodeOf(err) != CodeNotFound {
			if err == nil {
				err = modelTaken(m.Name)
			}
			return err
		}
		return distinct(ctx, tx, *m)
	})
}
