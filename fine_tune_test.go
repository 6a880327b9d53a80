package berth_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	berth "github.com/berthhq/berth"
)

func TestEfficientTrainingMakesAnAdapter(t *testing.T) {
	t.Parallel()
	for trainingType, want := range map[string]bool{
		"efficient_sft": true, "Efficient_sft": true, "dpo_lora": true, "efficient_dpo_full": true,
		"sft": false, "dpo_full": false, "cpt": false, "": false,
	} {
		if got := berth.Efficient(trainingType); got != want {
			t.Errorf("%q: %v", trainingType, got)
		}
	}
}

func TestAFineTuneJobAndItsModelAreWrittenTogether(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for name, c := range map[string]struct {
		job  berth.NewFineTune
		code berth.Code
		want string
	}{
		"of nothing":        {berth.NewFineTune{Path: "f"}, berth.CodeInvalid, "Field required: model"},
		"without files":     {berth.NewFineTune{Model: "abacus"}, berth.CodeInvalid, "needs its files"},
		"with both":         {berth.NewFineTune{Model: "abacus", Path: "f", Upload: "u"}, berth.CodeInvalid, "needs its files"},
		"a broken file":     {berth.NewFineTune{Model: "abacus", Path: "broken"}, berth.CodeInvalid, "is broken"},
		"of an adapter":     {berth.NewFineTune{Model: "words", Path: "f"}, berth.CodeInvalid, "is not a base model"},
		"another's secret":  {berth.NewFineTune{Model: "secret", Path: "f"}, berth.CodeInvalid, "is not a base model"},
		"a long suffix":     {berth.NewFineTune{Model: "abacus", Path: "f", Suffix: "ninechars"}, berth.CodeInvalid, "suffix"},
		"usage below 0":     {berth.NewFineTune{Model: "abacus", Path: "f", UsageTokens: -1}, berth.CodeInvalid, "below 0"},
		"parameters a list": {berth.NewFineTune{Model: "abacus", Path: "f", HyperParameters: json.RawMessage("[]")}, berth.CodeInvalid, "must be a JSON object"},
		"large parameters":  {berth.NewFineTune{Model: "abacus", Path: "f", HyperParameters: make([]byte, 65<<10)}, berth.CodeTooLarge, "hyper_parameters"},
		"long file ids":     {berth.NewFineTune{Model: "abacus", Path: "f", ValidationFileIDs: []string{strings.Repeat("x", 65<<10)}}, berth.CodeTooLarge, "ids of files"},
		"a broken line":     {berth.NewFineTune{Model: "abacus", Path: "f", Name: "a\nb"}, berth.CodeInvalid, "control characters"},
		"too many files":    {berth.NewFineTune{Model: "abacus", Path: "f", TrainingFileIDs: make([]string, 1001)}, berth.CodeInvalid, "1000 files"},
	} {
		err := h.unchanged(func() error { _, err := h.fineTunes.Register(h.owner(), c.job); return err })
		if berth.CodeOf(err) != c.code || !strings.Contains(fmt.Sprint(err), c.want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if list, total, err := h.fineTunes.List(h.owner(), berth.Page{Number: 1, Size: 10}); len(list) != 0 || total != 0 || err != nil {
		t.Errorf("a refusal left %v, %v", list, err)
	}

	tuned, err := h.fineTunes.Register(h.owner(), berth.NewFineTune{Model: "abacus", Path: "f", Suffix: "My"})
	must(t, err)
	whole, err := h.fineTunes.Register(h.owner(), berth.NewFineTune{Model: "abacus", Path: "g", TrainingType: "sft"})
	must(t, err)
	for job, want := range map[*berth.FineTune]berth.ModelKind{&tuned: berth.ModelKindAdapter, &whole: berth.ModelKindBase} {
		m, err := h.models.Get(h.admin(), job.Output)
		must(t, err)
		if m.Kind != want || !m.Custom() || m.WorkspaceID != home || m.Engine != berth.EngineLlamaCpp || m.Offers(berth.PlanLoRA) != (want == berth.ModelKindAdapter) {
			t.Errorf("%s became %+v", job.TrainingType, m)
		}
		if string(job.HyperParameters) != "{}" || job.Creator != payer {
			t.Errorf("the job is %+v", job)
		}
	}
	if !strings.HasPrefix(tuned.Output, "abacus-my-ft-202610020900-") || !strings.HasPrefix(whole.Output, "abacus-ft-202610020900-") {
		t.Errorf("called %s and %s", tuned.Output, whole.Output)
	}

	// Only its workspace knows of it.
	stranger := h.as(away, berth.RoleAdmin)
	_, getErr := h.fineTunes.Get(stranger, tuned.ID)
	for _, err := range []error{getErr, h.fineTunes.Cancel(stranger, tuned.ID), h.fineTunes.Delete(stranger, tuned.ID)} {
		if berth.CodeOf(err) != berth.CodeNotFound {
			t.Errorf("a stranger: %v", err)
		}
	}
	if err := h.fineTunes.Cancel(h.admin(), tuned.ID); berth.CodeOf(err) != berth.CodeUnsupported {
		t.Errorf("cancelled: %v", err)
	}
	page, total, err := h.fineTunes.List(h.admin(), berth.Page{Number: 2, Size: 1})
	must(t, err)
	if total != 2 || len(page) != 1 {
		t.Errorf("the second page: %v of %d", page, total)
	}
	must(t, h.fineTunes.Delete(h.admin(), tuned.ID))
	if _, err := h.models.Get(h.admin(), tuned.Output); err != nil {
		t.Errorf("its model went too: %v", err)
	}
}
