package app

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/config"
	"github.com/berthhq/berth/imports"
)

func specs(configured []config.Spec) []berth.Spec {
	out := make([]berth.Spec, 0, len(configured))
	for _, s := range configured {
		out = append(out, berth.Spec{
			Name: s.Name, Type: berth.SpecType(s.Type),
			Unit:  berth.Resources{Threads: int64(s.Threads), MemoryBytes: s.Memory, Accelerators: int64(s.Accelerators)},
			Slots: int64(s.Slots), ContextLength: int64(s.Context), UnitsPerReplica: int64(s.Units),
		})
	}
	return out
}

// knownFiles hashes only what has changed since it was hashed last (design 5).
type knownFiles struct {
	imports.Files
	byPath map[string]berth.ModelFile
}

// InspectBase implements berth.ModelFiles.
func (k knownFiles) InspectBase(ctx context.Context, path string) (berth.ModelFile, error) {
	return k.inspect(ctx, path, k.Files.InspectBase)
}

// InspectPlain implements berth.ModelFiles.
func (k knownFiles) InspectPlain(ctx context.Context, path string) (berth.ModelFile, error) {
	return k.inspect(ctx, path, k.Files.InspectPlain)
}

func (k knownFiles) inspect(ctx context.Context, path string, read func(context.Context, string) (berth.ModelFile, error)) (berth.ModelFile, error) {
	if was, ok := k.byPath[path]; ok {
		if now, err := k.Verify(ctx, was); err == nil {
			return now, nil
		}
	}
	f, err := read(ctx, path)
	if err == nil {
		k.byPath[path] = f
	}
	return f, err
}

// addConfiguredModels makes the catalogue follow the configuration: bases before the
// adapters that name them, and what is not configured any more goes, unless it is
// deployed.
func (a *App) addConfiguredModels(ctx context.Context) error {
	before, err := a.services.models.List(ctx)
	if err != nil {
		return err
	}
	known := knownFiles{Files: a.modelFiles(), byPath: map[string]berth.ModelFile{}}
	for _, m := range before {
		if m.Kind == berth.ModelKindBase && m.File.Architecture != "" { // its header was read
			known.byPath[m.File.Path] = m.File
		}
	}
	models := *a.services.models
	models.Files = known
	configured := map[string]bool{}
	for _, adapters := range []bool{false, true} {
		for _, m := range a.opt.Config.Models {
			if (m.Adapter != "") != adapters {
				continue
			}
			configured[m.Name] = true
			n, err := newModel(m)
			if err == nil {
				_, err = models.Add(ctx, n)
			}
			if err != nil {
				return fmt.Errorf("models.%s of the configuration: %w", m.Name, err)
			}
		}
	}
	return a.forgetUnconfigured(ctx, before, configured)
}

func (a *App) forgetUnconfigured(ctx context.Context, before []berth.Model, configured map[string]bool) error {
	slices.SortFunc(before, func(x, y berth.Model) int { return strings.Compare(string(x.Kind), string(y.Kind)) }) // adapters first
	for _, m := range before {
		if !m.Configured || configured[m.Name] {
			continue
		}
		_, err := a.services.models.Delete(ctx, m.Name)
		if berth.CodeOf(err) == berth.CodeConflict {
			a.opt.Logger.Warn("a model is not configured any more but still used", "model", m.Name, "reason", err)
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func newModel(m config.Model) (berth.NewModel, error) {
	n := berth.NewModel{
		Name: m.Name, Path: m.Path, Base: m.Base, Adapter: m.Adapter, URL: m.URL, RemoteName: m.RemoteName, Engine: m.Engine, Args: m.Args,
		Pool:     berth.PoolPolicy{Spec: m.Pool.Spec, Min: m.Pool.Min, Max: m.Pool.Max},
		Thinking: berth.Thinking(m.Thinking), ContextLength: int64(m.Context),
		StandIn: m.StandIn, Description: m.Description, Configured: true,
	}
	if m.Calibration.InputTPM > 0 {
		n.Calibration = berth.Calibration{InputTPM: int64(m.Calibration.InputTPM), OutputTPM: int64(m.Calibration.OutputTPM), Declared: true}
	}
	n.PTU = berth.PTUTerms{CacheFactor: berth.Factor(m.PTU.CacheFactor), MaxInput: m.PTU.MaxInput}
	for _, l := range m.PTU.LongInput {
		n.PTU.LongInput = append(n.PTU.LongInput, berth.LongInput{Above: l.Above(), Input: berth.Factor(l.Input), Output: berth.Factor(l.Output)})
	}
	for _, p := range m.Plans {
		n.Plans = append(n.Plans, berth.Plan(p))
	}
	for _, s := range m.Specs {
		n.Specs = append(n.Specs, berth.SpecOverride{
			Spec: s.Name, UnitsPerReplica: int64(s.Units), Threads: int64(s.Threads), MemoryBytes: s.Memory,
			Slots: int64(s.Slots), ContextLength: int64(s.Context),
		})
	}
	if m.KeyFile != "" {
		key, err := os.ReadFile(m.KeyFile)
		if err != nil {
			return n, fmt.Errorf("key_file: %w", err)
		}
		n.Key = strings.TrimSpace(string(key))
	}
	return n, nil
}
