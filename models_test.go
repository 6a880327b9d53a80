package berth_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	berth "github.com/berthhq/berth"
)

func TestAddEachKindOfModel(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 16)
	for name, c := range map[string]struct {
		add  berth.NewModel
		want berth.Model
	}{
		"a base gets its file's ceiling": {
			berth.NewModel{Name: "new", Path: "file"},
			berth.Model{Kind: "base", Engine: "llamacpp", Plans: []berth.Plan{"mu"}, Thinking: "none", ContextLength: 4096},
		},
		"a calibrated base is sold as ptu too": {
			berth.NewModel{Name: "known", Path: "file", Calibration: berth.Calibration{InputTPM: 1, OutputTPM: 1}},
			berth.Model{Kind: "base", Engine: "llamacpp", Plans: []berth.Plan{"mu", "ptu"}, Thinking: "none", ContextLength: 4096},
		},
		"a file that knows a thinking switch": {
			berth.NewModel{Name: "thinks", Path: "thinker", ContextLength: 100},
			berth.Model{Kind: "base", Engine: "llamacpp", Plans: []berth.Plan{"mu"}, Thinking: "optional", ContextLength: 100},
		},
		"the entry wins over the file": {
			berth.NewModel{Name: "says", Path: "thinker", Thinking: "always", Engine: "fake", Plans: []berth.Plan{"mu"}},
			berth.Model{Kind: "base", Engine: "fake", Plans: []berth.Plan{"mu"}, Thinking: "always", ContextLength: 4096},
		},
		"an adapter follows its base": {
			berth.NewModel{Name: "tuned", Base: "deep", Adapter: "file"},
			berth.Model{Kind: "adapter", Base: "deep", Engine: "llamacpp", Plans: []berth.Plan{"lora", "mu"}, Thinking: "always", ContextLength: 32_768},
		},
		"an endpoint": {
			berth.NewModel{Name: "there", URL: "http://x/v1", RemoteName: "gpt", Key: "K"},
			berth.Model{Kind: "endpoint", Engine: "endpoint", URL: "http://x/v1", RemoteName: "gpt", Plans: []berth.Plan{"mu"}, Thinking: "none", SealedKey: []byte("sealed thereK")},
		},
	} {
		m, err := h.models.Add(h.owner(), c.add)
		must(t, err)
		kept, err := h.models.Get(h.as(away, berth.RoleInference), c.add.Name)
		must(t, err)
		for _, got := range []berth.Model{m, kept} {
			w := c.want
			same := got.Kind == w.Kind && got.Engine == w.Engine && slices.Equal(got.Plans, w.Plans) && got.Thinking == w.Thinking &&
				got.ContextLength == w.ContextLength && got.Base == w.Base && got.URL == w.URL && got.RemoteName == w.RemoteName &&
				string(got.SealedKey) == string(w.SealedKey) && got.CreatedAt.Equal(h.now())
			if !same {
				t.Errorf("%s: got %+v", name, got)
			}
		}
	}
}

func TestARefusedModelLeavesNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 16)
	for name, c := range map[string]struct {
		add  berth.NewModel
		code berth.Code
		want string
	}{
		"no name":            {berth.NewModel{Path: "f"}, berth.CodeInvalid, "needs a name"},
		"a name of a path":   {berth.NewModel{Name: "a/b", Path: "f"}, berth.CodeInvalid, "not usable"},
		"nothing to run":     {berth.NewModel{Name: "x"}, berth.CodeInvalid, "either a path, or a base and an adapter, or an endpoint URL"},
		"two kinds":          {berth.NewModel{Name: "x", Path: "f", URL: "u"}, berth.CodeInvalid, "either a path"},
		"half an adapter":    {berth.NewModel{Name: "x", Adapter: "f"}, berth.CodeInvalid, "either a path"},
		"a broken file":      {berth.NewModel{Name: "x", Path: "broken"}, berth.CodeInvalid, "is broken"},
		"no such base":       {berth.NewModel{Name: "x", Base: "nix", Adapter: "f"}, berth.CodeInvalid, `The base "nix" of x is not a base model`},
		"base is an adapter": {berth.NewModel{Name: "x", Base: "words", Adapter: "f"}, berth.CodeInvalid, "is not a base model"},
		"unknown thinking":   {berth.NewModel{Name: "x", Path: "f", Thinking: "maybe"}, berth.CodeInvalid, `"maybe"`},
		"unknown engine":     {berth.NewModel{Name: "x", Path: "f", Engine: "steam"}, berth.CodeInvalid, `"steam"`},
		"lora of a base":     {berth.NewModel{Name: "x", Path: "f", Plans: []berth.Plan{"lora"}}, berth.CodeInvalid, "The plan lora is not sold for base models"},
		"ptu of an adapter":  {berth.NewModel{Name: "x", Base: "abacus", Adapter: "f", Plans: []berth.Plan{"ptu"}}, berth.CodeInvalid, "The plan ptu is not sold for adapter models"},
		"ptu of an endpoint": {berth.NewModel{Name: "x", URL: "http://x/v1", Plans: []berth.Plan{"ptu"}}, berth.CodeInvalid, "The plan ptu is not sold for endpoint models"},
		"a key of two lines": {berth.NewModel{Name: "x", URL: "http://x/v1", Key: "K\r\nX: y"}, berth.CodeInvalid, "The key of model x must be one word"},
		"a deployment's":     {berth.NewModel{Name: "abacus-0123abcd", Path: "f"}, berth.CodeInvalid, "looks like a deployment of abacus"},
		"with a suffix":      {berth.NewModel{Name: "abacus-0123abcd-tst", Path: "f"}, berth.CodeInvalid, "looks like a deployment of abacus"},
		"with a hex suffix":  {berth.NewModel{Name: "abacus-0123abcd-deadbeef", Path: "f"}, berth.CodeInvalid, "looks like a deployment of abacus"},
		"a long story":       {berth.NewModel{Name: "x", Path: "f", Description: strings.Repeat("測", berth.MaxDescriptionLength+1)}, berth.CodeInvalid, "at most 1000 characters"},
		"taken":              {berth.NewModel{Name: "abacus", Path: "f"}, berth.CodeConflict, "The model name abacus is taken; choose another."},
		// Without saying by whom.
		"taken elsewhere": {berth.NewModel{Name: "secret", Path: "f"}, berth.CodeConflict, "The model name secret is taken; choose another."},
		"taken by hand":   {berth.NewModel{Name: "abacus", Path: "f", Configured: true}, berth.CodeConflict, "is taken"},
	} {
		err := h.unchanged(func() error { _, err := h.models.Add(h.owner(), c.add); return err })
		if berth.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if strings.Contains(err.Error(), away) {
			t.Errorf("%s: the sentence names another workspace: %v", name, err)
		}
	}
	// A tail of 8 hex digits is no deployment of a base that is not there.
	_, err := h.models.Add(h.owner(), berth.NewModel{Name: "nothing-0123abcd", Path: "f"})
	must(t, err)
	// But then the base may not come after it.
	_, err = h.models.Add(h.owner(), berth.NewModel{Name: "nothing", Path: "f"})
	if berth.CodeOf(err) != berth.CodeInvalid || !strings.Contains(err.Error(), "would look like the model nothing-0123abcd") {
		t.Errorf("a base whose deployments look like a model: %v", err)
	}
}

func TestConfiguredModelsFollowTheConfiguration(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 16)
	entry := berth.NewModel{Name: "conf", Path: "f", Configured: true}
	first, err := h.models.Add(h.owner(), entry)
	must(t, err)
	h.pass(1)
	entry.Description = "changed"
	second, err := h.models.Add(h.owner(), entry)
	must(t, err)
	kept, err := h.models.Get(h.owner(), "conf")
	if err != nil || kept.Description != "changed" || !kept.CreatedAt.Equal(first.CreatedAt) || second.Name != "conf" {
		t.Errorf("got %+v, %v", kept, err)
	}
}

func TestWeightsRunOnTheEngineThatLoadsTheirForm(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 16)
	file, err := h.models.Add(h.owner(), berth.NewModel{Name: "file", Path: "f", Args: []string{"--mlock"}})
	if err != nil || file.Engine != berth.EngineLlamaCpp || !slices.Equal(file.Args, []string{"--mlock"}) {
		t.Errorf("a file: %+v, %v", file, err)
	}
	folder := berth.NewModel{Name: "folder", Path: "d/"}
	refused(t, second(h.models.Add(h.owner(), folder)), berth.CodeInvalid,
		"The model folder needs the engine vllm, which this server does not have: set its command.")
	h.models.Engines[berth.EngineVLLM] = berth.EngineTraits{Name: berth.EngineVLLM}
	added, err := h.models.Add(h.owner(), folder)
	if err != nil || added.Engine != berth.EngineVLLM {
		t.Errorf("a folder: %+v, %v", added, err)
	}
}

func TestAModelInUseIsNotDeleted(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 16)
	own := h.mustCreate(h.admin(), onMU1("plain", ""))
	pooled := h.mustCreate(h.admin(), berth.Purchase{ModelName: "twin", Plan: "ptu"})
	h.mustCreate(h.admin(), berth.Purchase{ModelName: "words", Plan: "lora"})
	remove := func(name string) error { _, err := h.models.Delete(h.owner(), name); return err }
	for name, want := range map[string]string{
		"plain":  "The adapter stiff is on base plain; delete it first.",
		"abacus": "The adapter shout is on base abacus; delete it first.",
		"twin":   "The model twin is deployed as " + pooled.DeployedModel,
		"words":  "The model words is deployed as words; delete the deployment first.",
	} {
		if err := h.unchanged(func() error { return remove(name) }); berth.CodeOf(err) != berth.CodeConflict || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := remove("secret"); berth.CodeOf(err) != berth.CodeNotFound {
		t.Errorf("another workspace's model: %v", err)
	}
	// The pool still runs from the entry after the deployment that made it has gone.
	gone, err := h.deployments.Delete(h.admin(), pooled.DeployedModel)
	must(t, err)
	h.bury(gone)
	if err := remove("twin"); berth.CodeOf(err) != berth.CodeConflict || !strings.Contains(err.Error(), "pool") {
		t.Errorf("a model that a pool runs: %v", err)
	}
	must(t, remove("stiff"))
	gone, err = h.deployments.Delete(h.admin(), own.DeployedModel)
	must(t, err)
	if err := remove("plain"); berth.CodeOf(err) != berth.CodeConflict {
		t.Errorf("while the deployment ends: %v", err)
	}
	h.bury(gone)
	must(t, remove("plain"))
	if _, err := h.models.Get(h.owner(), "plain"); berth.CodeOf(err) != berth.CodeNotFound {
		t.Errorf("it is still there: %v", err)
	}
}

func TestWhatIsDeployable(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 16)
	names := func(ctx context.Context, custom bool) []string {
		offers, err := h.models.Deployable(ctx, custom)
		must(t, err)
		var out []string
		for _, o := range offers {
			out = append(out, o.Model.Name)
			if len(o.Specs) == 0 {
				t.Errorf("%s is sold on nothing", o.Model.Name)
			}
		}
		return out
	}
	// conformance 62
	if got := names(h.admin(), true); !slices.Equal(got, []string{"shout", "stiff", "words"}) {
		t.Errorf("custom: %v", got)
	}
	if got := names(h.as(away, berth.RoleInference), true); !slices.Contains(got, "secret") {
		t.Errorf("custom, of its workspace: %v", got)
	}
	if got := names(h.admin(), false); slices.Contains(got, "words") || slices.Contains(got, "shown") || !slices.Contains(got, "plus") {
		t.Errorf("base: %v", got)
	}
}

// Files are read outside of the transaction; their base may go meanwhile.
func TestAnAdapterNeedsItsBaseToTheEnd(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 4)
	h.models.Files = slow{shelf{}, func() { must(t, second(h.models.Delete(h.owner(), "deep"))) }}
	err := second(h.models.Add(h.owner(), berth.NewModel{Name: "tuned", Base: "deep", Adapter: "f"}))
	refused(t, err, berth.CodeInvalid, "not a base model")
}

// slow are files during whose reading something happens.
type slow struct {
	berth.ModelFiles
	meanwhile func()
}

func (s slow) InspectAdapter(ctx context.Context, path string, base berth.ModelFile) (berth.ModelFile, error) {
	s.meanwhile()
	return s.ModelFiles.InspectAdapter(ctx, path, base)
}
