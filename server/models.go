package server

import (
	"context"
	"net/http"
	"slices"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/api"
)

// nativeModels is the answer of GET /api/v1/models (api.md 8.4).
type nativeModels struct {
	PageNo   int64         `json:"page_no"`
	PageSize int64         `json:"page_size"`
	Total    int64         `json:"total"`
	Models   []nativeModel `json:"models"`
}

type nativeModel struct {
	Model      string `json:"model"`
	Source     string `json:"source"`
	Provider   string `json:"provider"`
	OpenSource bool   `json:"opensource"`
}

// listModelsNative lists what the key can call: running deployments of its workspace.
func (s *Server) listModelsNative(ctx context.Context, r *http.Request) (any, error) {
	p, err := page(r, 200)
	if err != nil {
		return nil, err
	}
	running, err := s.Deployments.Callable(ctx)
	if err != nil {
		return nil, err
	}
	name, key := r.URL.Query().Get("model"), keyOf(ctx)
	running = slices.DeleteFunc(running, func(d berth.Deployment) bool {
		return name != "" && d.DeployedModel != name || !key.MayCall(d.ID)
	})
	out := nativeModels{PageNo: p.Number, PageSize: p.Size, Total: int64(len(running)), Models: []nativeModel{}}
	for _, d := range slice(running, p) {
		out.Models = append(out.Models, nativeModel{Model: d.DeployedModel, Source: "deployment", Provider: "berth"})
	}
	return out, nil
}

func (s *Server) listModels(ctx context.Context, r *http.Request) (any, error) {
	models, err := s.Models.List(ctx)
	if err != nil {
		return nil, err
	}
	models, next, err := listPage(r, models, func(m *berth.Model) string { return m.Name })
	if err != nil {
		return nil, err
	}
	tags, err := s.tags(ctx)
	if err != nil {
		return nil, err
	}
	known, err := s.Calibrations.Known(ctx)
	if err != nil {
		return nil, err
	}
	out := api.ModelList{Models: make([]api.Model, 0, len(models)), Next: next}
	for _, m := range models {
		out.Models = append(out.Models, priced(s.model(ctx, m, known[m.Name]), &m, tags))
	}
	return out, nil
}

// tags is what models cost, nil for callers that are not told.
func (s *Server) tags(ctx context.Context) (*berth.PriceTags, error) {
	if !berth.CallerFrom(ctx).May(berth.RoleAdmin) {
		return nil, nil
	}
	return s.Deployments.Tags(ctx)
}

// priced adds what the model costs.
func priced(out api.Model, m *berth.Model, tags *berth.PriceTags) api.Model {
	if tags == nil {
		return out
	}
	specs := make([]string, len(out.Specs))
	for i, spec := range out.Specs {
		specs[i] = spec.Name
	}
	for _, o := range tags.Of(m, specs) {
		out.Prices = append(out.Prices, api.PriceTag{
			Plan: string(o.Plan), Spec: o.Spec, Dimension: string(o.Dimension), FromTokens: o.FromTokens,
			PriceNano: int64(o.Nano), Per: o.Per, Currency: tags.Currency, Unpriced: o.Unpriced,
		})
	}
	return out
}

func (s *Server) getModel(ctx context.Context, r *http.Request) (any, error) {
	m, err := s.Models.Get(ctx, r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	known, err := s.Calibrations.Of(ctx, m.Name)
	if err != nil {
		return nil, err
	}
	tags, err := s.tags(ctx)
	if err != nil {
		return nil, err
	}
	return priced(s.model(ctx, m, known), &m, tags), nil
}

func (s *Server) addModel(ctx context.Context, r *http.Request) (any, error) {
	a, err := decode[api.AddModel](r)
	if err != nil {
		return nil, err
	}
	n := berth.NewModel{
		Name: a.Name, Path: a.Path, Base: a.Base, Adapter: a.Adapter, URL: a.URL, Key: a.Key, RemoteName: a.RemoteName,
		Upload: a.Upload, Weights: berth.WeightType(a.WeightType),
		Engine: a.Engine, ContextLength: a.ContextLength, Thinking: berth.Thinking(a.Thinking),
		StandIn: a.StandIn, Description: a.Description,
	}
	for _, p := range a.Plans {
		plan, err := berth.ParsePlan(p)
		if err != nil {
			return nil, err
		}
		n.Plans = append(n.Plans, plan)
	}
	for _, name := range a.Specs {
		n.Specs = append(n.Specs, berth.SpecOverride{Spec: name})
	}
	if n.PTU, err = readTerms(a.PTU); err != nil {
		return nil, err
	}
	m, err := s.Models.Add(ctx, n)
	if err != nil {
		return nil, err
	}
	tags, err := s.tags(ctx)
	if err != nil {
		return nil, err
	}
	return priced(s.model(ctx, m, nil), &m, tags), nil
}

func (s *Server) deleteModel(ctx context.Context, r *http.Request) (any, error) {
	m, err := s.Models.Delete(ctx, r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	return s.model(ctx, m, nil), nil
}

// model shows a model with what is known of its calibrations; the server's paths and
// addresses only to owners.
func (s *Server) model(ctx context.Context, m berth.Model, known []berth.Measurement) api.Model {
	out := api.Model{
		Name: m.Name, Kind: string(m.Kind), WorkspaceID: m.WorkspaceID, Base: m.Base, Engine: m.Engine,
		Digest: m.File.Digest, SizeBytes: m.File.Stat.SizeBytes, Architecture: m.File.Architecture,
		Parameters: m.File.Parameters, RemoteName: m.RemoteName, ContextLength: m.ContextLength, Thinking: string(m.Thinking),
		Plans: []string{}, Specs: []api.Spec{}, StandIn: m.StandIn, Description: m.Description, CreatedAt: m.CreatedAt,
	}
	if berth.CallerFrom(ctx).May(berth.RoleOwner) {
		out.Path, out.URL = m.File.Path, m.URL
	}
	for _, p := range m.Plans {
		out.Plans = append(out.Plans, string(p))
	}
	for _, spec := range s.Deployments.SpecsOf(s.weights(ctx, &m)) {
		out.Specs = append(out.Specs, api.Spec{
			Name: spec.Name, Type: string(spec.Type), Threads: spec.Replica.Threads, MemoryBytes: spec.Replica.MemoryBytes,
			Accelerators: spec.Replica.Accelerators, Slots: spec.Slots, ContextLength: spec.ContextLength,
			UnitsPerReplica: spec.UnitsPerReplica,
		})
	}
	out.Calibration, out.PTU = s.calibration(&m, known), shownTerms(&m.PTU)
	return out
}

// weights is the model whose specs m is sold on: an adapter's base.
func (s *Server) weights(ctx context.Context, m *berth.Model) *berth.Model {
	if m.Base == "" {
		return m
	}
	base, err := s.Models.Get(ctx, m.Base)
	if err != nil {
		return m
	}
	return &base
}

func (s *Server) listSpecs(context.Context, *http.Request) (any, error) {
	out := api.SpecList{Specs: []api.Spec{}}
	for _, spec := range s.Deployments.Specs {
		out.Specs = append(out.Specs, api.Spec{
			Name: spec.Name, Type: string(spec.Type), Threads: spec.Unit.Threads, MemoryBytes: spec.Unit.MemoryBytes,
			Accelerators: spec.Unit.Accelerators, Slots: spec.Slots, ContextLength: spec.ContextLength,
			UnitsPerReplica: spec.UnitsPerReplica,
		})
	}
	return out, nil
}
