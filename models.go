package berth

import (
	"context"
	"net/url"
	"slices"
	"strings"
)

// Models keeps the catalogue.
type Models struct {
	Writer
	Engines map[string]EngineTraits
	Files   ModelFiles
	// Seal encrypts the key of an endpoint model for keeping.
	Seal func(model, key string) []byte
	// SpecsOf says which specs a model is sold on ([Deployments.SpecsOf]).
	SpecsOf func(m *Model) []ResolvedSpec
	// Uploads are what models may be made of, Shelf is where their files come then.
	Uploads *Uploads
	Shelf   Shelf
}

// ModelFiles reads files of weights. Errors are [CodeInvalid] or [CodeNotFound] with a
// sentence that says what is wrong with the file.
type ModelFiles interface {
	// InspectBase hashes a GGUF of weights and reads its header.
	InspectBase(ctx context.Context, path string) (ModelFile, error)
	// InspectAdapter hashes LoRA weights and checks them against their base: a GGUF for a
	// base that is one, else a PEFT folder.
	InspectAdapter(ctx context.Context, path string, base ModelFile) (ModelFile, error)
	// InspectPlain hashes any regular file, such as the script of the fake engine, or a
	// folder of whole weights in the form of Hugging Face.
	InspectPlain(ctx context.Context, path string) (ModelFile, error)
	// IsFolder reports whether path is a folder rather than a file.
	IsFolder(path string) bool
}

// NewModel is what somebody adds to the catalogue: a base (Path), an adapter (Base and
// Adapter), an endpoint (URL), or what an Upload holds, which is an adapter when there is
// a Base.
type NewModel struct {
	Name          string
	Path          string
	Base, Adapter string
	Upload        string     // id of a complete one
	Weights       WeightType // of an upload with a base; "": LoRA
	WorkspaceID   string     // "": the catalogue
	URL           string
	RemoteName    string
	Key           string   // of the endpoint
	Engine        string   // "": by kind, and of weights by their form
	Args          []string // of the engine; from the configuration only
	Plans         []Plan   // nil: by kind
	Specs         []SpecOverride
	Pool          PoolPolicy
	Calibration   Calibration
	PTU           PTUTerms // needs [RoleOwner], whoever adds the model: they are the seller's
	Thinking      Thinking // "": what the file's chat template says
	ContextLength int64    // 0: what the file says
	StandIn       bool
	Description   string
	Configured    bool
}

// Engine names that the domain itself chooses.
const (
	EngineLlamaCpp = "llamacpp"
	EngineVLLM     = "vllm"
	EngineFake     = "fake"
	EngineEndpoint = "endpoint"
)

// Add checks and hashes a model's files and puts it into the catalogue. Needs
// [RoleOwner], since a path is one of the server's; of an upload [RoleAdmin].
// [CodeConflict] when the name is taken, without saying by whom.
func (s *Models) Add(ctx context.Context, n NewModel) (Model, error) {
	return s.add(ctx, n, func(Tx) error { return nil })
}

// add is Add with something else to write in the same transaction.
func (s *Models) add(ctx context.Context, n NewModel, also func(Tx) error) (Model, error) {
	if !n.PTU.IsZero() && !CallerFrom(ctx).May(RoleOwner) {
		return Model{}, Errorf(CodeForbidden, "Access denied. Only a key of role owner may say how tokens of a model count against reservations.")
	}
	if n.Upload != "" {
		return s.addUploaded(ctx, n, also)
	}
	switch caller := CallerFrom(ctx); {
	case caller.May(RoleAdmin) && !caller.May(RoleOwner):
		return Model{}, Errorf(CodeForbidden, "Access denied. Only a key of role owner may name an endpoint or a file of the server's; upload a file that is where you are.")
	case !caller.May(RoleOwner):
		return Model{}, accessDenied()
	}
	if err := ValidateModelName(n.Name); err != nil {
		return Model{}, err
	}
	m, err := s.inspect(ctx, n)
	if err != nil {
		return Model{}, err
	}
	err = s.write(ctx, "model.add", func(tx Tx) (string, error) {
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

// distinct refuses a name that looks like a deployment of another model, and a base
// whose deployments would look like another model (design 1).
func distinct(ctx context.Context, tx Tx, m Model) error {
	models, err := tx.Models().List(ctx)
	if err != nil {
		return err
	}
	for _, o := range models {
		for base := MimickedBase(m.Name); base != ""; base = MimickedBase(base) {
			if base == o.Name {
				return Errorf(CodeInvalid, "The model name %q looks like a deployment of %s; choose another.", m.Name, o.Name)
			}
		}
		for base := MimickedBase(o.Name); base != ""; base = MimickedBase(base) {
			if base == m.Name {
				return Errorf(CodeInvalid, "Deployments of %q would look like the model %s; choose another name.", m.Name, o.Name)
			}
		}
	}
	return nil
}

// put inserts m, or replaces the entry that the configuration itself put there.
func (s *Models) put(ctx context.Context, tx Tx, m Model) error {
	if m.Kind == ModelKindAdapter { // its base may have gone while its files were read
		base, err := tx.Models().Get(ctx, m.Base)
		switch {
		case CodeOf(err) == CodeNotFound || err == nil && base.Kind != ModelKindBase:
			return noBase(m.Base, m.Name)
		case err != nil:
			return err
		}
	}
	if err := m.recall(ctx, tx); err != nil {
		return err
	}
	old, err := tx.Models().Get(ctx, m.Name)
	switch {
	case CodeOf(err) == CodeNotFound:
		return tx.Models().Insert(ctx, m)
	case err != nil:
		return err
	case m.Configured && old.Configured:
		m.CreatedAt = old.CreatedAt
		return tx.Models().Update(ctx, m)
	}
	return modelTaken(m.Name)
}

func modelTaken(name string) error {
	return Errorf(CodeConflict, "The model name %s is taken; choose another.", name)
}

// entry is what n says of a model without its files.
func (s *Models) entry(n NewModel) Model {
	return Model{
		Name: n.Name, WorkspaceID: n.WorkspaceID, Engine: n.Engine, Args: n.Args, Plans: n.Plans, Specs: n.Specs, Pool: n.Pool, Calibration: n.Calibration, PTU: n.PTU,
		Thinking: n.Thinking, ContextLength: n.ContextLength, StandIn: n.StandIn, Description: n.Description,
		Configured: n.Configured, CreatedAt: s.Now(),
	}
}

// inspect turns an entry into a model by its kind.
func (s *Models) inspect(ctx context.Context, n NewModel) (Model, error) {
	m := s.entry(n)
	var err error
	switch {
	case n.URL != "" && n.Path == "" && n.Base == "" && n.Adapter == "":
		err = s.inspectEndpoint(&m, n)
	case n.Base != "" && n.Adapter != "" && n.Path == "" && n.URL == "":
		err = s.inspectAdapter(ctx, &m, n)
	case n.Path != "" && n.Base != "" && n.Weights == WeightsFull && n.Adapter == "" && n.URL == "":
		err = s.inspectTuned(ctx, &m, n)
	case (n.Path != "" || n.Engine == EngineFake) && n.Base == "" && n.Adapter == "" && n.URL == "":
		err = s.inspectBase(ctx, &m, n)
	default:
		err = Errorf(CodeInvalid, "The model %s needs either a path, or a base and an adapter, or an endpoint URL.", n.Name)
	}
	if err != nil {
		return Model{}, err
	}
	if err := s.checkEntry(&m); err != nil {
		return Model{}, err
	}
	return m, nil
}

// asBase fills what models with weights of their own have.
func (m *Model) asBase() {
	m.Kind = ModelKindBase
	defaultTo(&m.Engine, EngineLlamaCpp)
	if m.Plans == nil {
		m.Plans, m.PlansByKind = []Plan{PlanMU}, true
		if m.Calibration.Known() {
			m.Plans = append(m.Plans, PlanPTU)
		}
	}
}

// calibrated adds ptu to the plans of a model whose plans nobody chose.
func (m *Model) calibrated() {
	if m.PlansByKind && !m.Offers(PlanPTU) {
		m.Plans = append(m.Plans, PlanPTU)
	}
}

// recall adds what calibrations of the model have found to its entry.
func (m *Model) recall(ctx context.Context, tx Tx) error {
	all, err := tx.Calibrations().List(ctx, m.Name)
	for i := range all {
		if f := &all[i].Found; all[i].Engine == m.Engine && f.Applies(m.File.Digest, f.Spec) {
			m.calibrated()
		}
	}
	return err
}

// onBase fills what adapters have of their base.
func (m *Model) onBase(base *Model) {
	m.Kind, m.Base, m.Engine = ModelKindAdapter, base.Name, base.Engine
	if m.Plans == nil {
		m.Plans = []Plan{PlanLoRA, PlanMU}
	}
	defaultTo(&m.Thinking, base.Thinking)
	if m.ContextLength == 0 {
		m.ContextLength = base.ContextLength
	}
}

// followFile takes what the entry leaves open from the file.
func (m *Model) followFile() {
	if m.ContextLength == 0 {
		m.ContextLength = m.File.ContextLength
	}
	if m.File.Thinking {
		defaultTo(&m.Thinking, ThinkingOptional)
	}
}

func (s *Models) inspectBase(ctx context.Context, m *Model, n NewModel) (err error) {
	if m.Engine == "" && s.Files.IsFolder(n.Path) {
		m.Engine = EngineVLLM
	}
	m.asBase()
	if err := s.checkEngine(m); err != nil {
		return err // before anything large is read
	}
	switch {
	case m.Engine == EngineLlamaCpp:
		m.File, err = s.Files.InspectBase(ctx, n.Path)
	case n.Path != "": // a fake engine without a script never fails
		m.File, err = s.Files.InspectPlain(ctx, n.Path)
	}
	m.followFile()
	return err
}

// inspectTuned takes whole weights that were tuned from a base for its engine.
func (s *Models) inspectTuned(ctx context.Context, m *Model, n NewModel) error {
	base, err := s.baseOf(ctx, m, n)
	if err != nil {
		return err
	}
	m.Engine = base.Engine
	defaultTo(&m.Thinking, base.Thinking)
	return s.inspectBase(ctx, m, n)
}

// baseOf finds the base that n names, among those that whoever sees m may see.
func (s *Models) baseOf(ctx context.Context, m *Model, n NewModel) (Model, error) {
	var base Model
	err := s.Store.View(ctx, func(tx Tx) (err error) {
		base, err = tx.Models().Get(ctx, n.Base)
		return err
	})
	if CodeOf(err) == CodeNotFound || err == nil && (base.Kind != ModelKindBase || !base.VisibleTo(m.WorkspaceID)) {
		return Model{}, noBase(n.Base, n.Name)
	}
	return base, err
}

func noBase(base, model string) error {
	return Errorf(CodeInvalid, "The base %q of %s is not a base model of the catalogue; add it first.", base, model)
}

func (s *Models) inspectAdapter(ctx context.Context, m *Model, n NewModel) error {
	base, err := s.baseOf(ctx, m, n)
	if err != nil {
		return err
	}
	m.onBase(&base)
	if base.Engine == EngineFake {
		m.File, err = s.Files.InspectPlain(ctx, n.Adapter)
	} else {
		m.File, err = s.Files.InspectAdapter(ctx, n.Adapter, base.File)
	}
	return err
}

func (s *Models) inspectEndpoint(m *Model, n NewModel) error {
	u, err := url.Parse(n.URL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return Errorf(CodeInvalid, "The URL of model %s must be an address such as https://host/v1.", n.Name)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return Errorf(CodeInvalid, "The URL of model %s must hold neither user, password, query nor fragment; an endpoint's key is a field of its own.", n.Name)
	case strings.ContainsFunc(n.Key, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		return Errorf(CodeInvalid, "The key of model %s must be one word of letters, digits and signs, as it stands in a header; it may have been copied with a line break.", n.Name)
	}
	m.Kind, m.Engine, m.URL, m.RemoteName = ModelKindEndpoint, EngineEndpoint, n.URL, n.RemoteName
	if m.Plans == nil {
		m.Plans = []Plan{PlanMU}
	}
	if n.Key != "" {
		m.SealedKey = s.Seal(n.Name, n.Key)
	}
	return nil
}

// MaxDescriptionLength bounds what is said of a model, in characters: every list repeats it.
const MaxDescriptionLength = 1000

// checkEntry refuses an entry that contradicts itself.
func (s *Models) checkEntry(m *Model) error {
	defaultTo(&m.Thinking, ThinkingNone)
	if !m.Thinking.Valid() {
		return Errorf(CodeInvalid, "The value %q of thinking of model %s is not known; use none, optional or always.", m.Thinking, m.Name)
	}
	if err := s.checkEngine(m); err != nil {
		return err
	}
	if (m.Engine == EngineEndpoint) != (m.Kind == ModelKindEndpoint) {
		return Errorf(CodeInvalid, "The engine %s is not for %s models such as %s; it is for those with a URL.", m.Engine, m.Kind, m.Name)
	}
	if len([]rune(m.Description)) > MaxDescriptionLength {
		return Errorf(CodeInvalid, "The description of model %s is too long; use at most %d characters.", m.Name, MaxDescriptionLength)
	}
	if m.ContextLength < 0 {
		return Errorf(CodeInvalid, "The context_length of model %s must be above 0.", m.Name)
	}
	if err := s.checkSpecs(m); err != nil {
		return err
	}
	if err := m.PTU.check(m); err != nil {
		return err
	}
	for _, p := range m.Plans {
		if p == PlanLoRA && m.Kind != ModelKindAdapter || p == PlanPTU && m.Kind != ModelKindBase {
			return Errorf(CodeInvalid, "The plan %s is not sold for %s models such as %s.", p, m.Kind, m.Name)
		}
	}
	return nil
}

// checkEngine refuses an engine that is not known or that this server does not have.
func (s *Models) checkEngine(m *Model) error {
	engine, ok := s.Engines[m.Engine]
	switch {
	case !ok:
		return Errorf(CodeInvalid, "The engine %q of model %s is not known; use llamacpp, vllm, fake or endpoint.", m.Engine, m.Name)
	case engine.Missing != "":
		return Errorf(CodeInvalid, "The model %s needs the engine %s, which this server does not have: %s.", m.Name, m.Engine, engine.Missing)
	}
	return nil
}

// checkSpecs refuses a spec that nobody configured: nothing could ever be sold on it.
func (s *Models) checkSpecs(m *Model) error {
	known := s.SpecsOf(m)
	for _, o := range m.Specs {
		if !slices.ContainsFunc(known, func(spec ResolvedSpec) bool { return spec.Name == o.Spec }) {
			return Errorf(CodeInvalid, "The spec %q of model %s is not configured; ask GET /berth/v1/specs for those that are.", o.Spec, m.Name)
		}
	}
	return nil
}

// Get returns a model that the caller's workspace may see. Needs [RoleInference].
func (s *Models) Get(ctx context.Context, name string) (Model, error) {
	caller := CallerFrom(ctx)
	if !caller.May(RoleInference) {
		return Model{}, accessDenied()
	}
	var m Model
	err := s.Store.View(ctx, func(tx Tx) (err error) {
		m, err = visibleModel(ctx, tx, caller.WorkspaceID, name)
		return err
	})
	return m, err
}

// List returns the models that the caller's workspace may see, by name. Needs
// [RoleInference].
func (s *Models) List(ctx context.Context) ([]Model, error) {
	caller := CallerFrom(ctx)
	if !caller.May(RoleInference) {
		return nil, accessDenied()
	}
	var all []Model
	err := s.Store.View(ctx, func(tx Tx) (err error) {
		all, err = tx.Models().List(ctx)
		return err
	})
	return slices.DeleteFunc(all, func(m Model) bool { return !m.VisibleTo(caller.WorkspaceID) }), err
}

// Delete takes a model out of the catalogue. Its files stay, but for those that only
// Berth has, which were uploaded or imported. Needs [RoleOwner]; of a workspace's own
// model [RoleAdmin]. [CodeConflict] while it is deployed, an adapter names it or a pool
// runs it.
func (s *Models) Delete(ctx context.Context, name string) (Model, error) {
	caller := CallerFrom(ctx)
	if !caller.May(RoleAdmin) {
		return Model{}, accessDenied()
	}
	var m Model
	err := s.write(ctx, "model.delete", func(tx Tx) (_ string, err error) {
		if m, err = visibleModel(ctx, tx, caller.WorkspaceID, name); err != nil {
			return "", err
		}
		if m.WorkspaceID == "" && !caller.May(RoleOwner) {
			return "", accessDenied()
		}
		if err := unused(ctx, tx, m); err != nil {
			return "", err
		}
		if err := forgetCalibrations(ctx, tx, name); err != nil {
			return "", err
		}
		return name, tx.Models().Delete(ctx, name)
	})
	if err != nil {
		return Model{}, err
	}
	return m, s.Shelf.Remove(m.File)
}

// forgetCalibrations removes what was measured of a model, which nothing may be measuring.
func forgetCalibrations(ctx context.Context, tx Tx, model string) error {
	all, err := tx.Calibrations().List(ctx, model)
	if err != nil {
		return err
	}
	for _, m := range all {
		if m.Status == CalibrationRunning {
			return Errorf(CodeConflict, "The model %s is being calibrated; wait until that has ended.", model)
		}
		if err := tx.Nodes().Release(ctx, m.ID); err != nil {
			return err
		}
		if err := tx.Calibrations().Delete(ctx, m.ID); err != nil {
			return err
		}
	}
	return nil
}

func unused(ctx context.Context, tx Tx, m Model) error {
	models, err := tx.Models().List(ctx)
	if err != nil {
		return err
	}
	for _, o := range models {
		if o.Base == m.Name {
			return Errorf(CodeConflict, "The adapter %s is on base %s; delete it first.", o.Name, m.Name)
		}
	}
	deployments, _, err := tx.Deployments().List(ctx, DeploymentFilter{})
	if err != nil {
		return err
	}
	for _, d := range deployments {
		if d.ModelName == m.Name {
			return Errorf(CodeConflict, "The model %s is deployed as %s; delete the deployment first.", m.Name, d.DeployedModel)
		}
	}
	return unpooled(ctx, tx, m)
}

// unpooled refuses while a pool that others use runs on the model's entry.
func unpooled(ctx context.Context, tx Tx, m Model) error {
	pools, err := tx.Pools().List(ctx)
	if err != nil {
		return err
	}
	for _, p := range pools {
		if p.ModelName != m.Name {
			continue
		}
		demand, err := tx.Pools().Demand(ctx, p.ID)
		if err != nil {
			return err
		}
		if demand.Members() > 0 {
			return Errorf(CodeConflict, "The model %s runs the pool that %d deployments of the same weights share; delete those first.", m.Name, demand.Members())
		}
	}
	return nil
}

// Offer is a model as it is sold (api.md 4.9).
type Offer struct {
	Model Model
	Specs []ResolvedSpec
}

// Deployable returns what can be deployed, custom models (tuned and imported ones) or
// base ones, with the specs each is sold on; separated ones are left out where the
// engine cannot run them (statement 60). Needs [RoleInference].
func (s *Models) Deployable(ctx context.Context, custom bool) ([]Offer, error) {
	models, err := s.List(ctx)
	if err != nil {
		return nil, err
	}
	byName := map[string]*Model{}
	for i := range models {
		byName[models[i].Name] = &models[i]
	}
	var offers []Offer
	for _, m := range models {
		if m.Custom() != custom || len(m.Plans) == 0 {
			continue
		}
		weights := &m
		if base, ok := byName[m.Base]; ok {
			weights = base
		}
		specs := slices.DeleteFunc(s.SpecsOf(weights), func(r ResolvedSpec) bool {
			return r.Type == SpecTypeSeparated && !s.Engines[weights.Engine].SeparatesRoles
		})
		offers = append(offers, Offer{Model: m, Specs: specs})
	}
	return offers, nil
}

func defaultTo[T ~string](p *T, v T) {
	if *p == "" {
		*p = v
	}
}
