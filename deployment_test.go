package berth_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
)

func TestDeployedModelNames(t *testing.T) {
	t.Parallel()
	base := &berth.Model{Name: "qwen-flash", Kind: berth.ModelKindBase}
	tuned := &berth.Model{Name: "qwen3-8b-ft-2025", Kind: berth.ModelKindAdapter}
	first := berth.DeployedModelName(base, "llm-1", "")
	switch {
	case !strings.HasPrefix(first, "qwen-flash-") || len(first) != len("qwen-flash-")+8:
		t.Errorf("base: %q is not the name and 8 digits", first)
	case first != berth.DeployedModelName(base, "llm-1", ""):
		t.Error("base: a second deployment would not collide")
	case first == berth.DeployedModelName(base, "llm-2", ""):
		t.Error("base: two workspaces collide")
	}
	// conformance 33: a suffix stands at the end.
	if got := berth.DeployedModelName(base, "llm-1", "tst"); got != first+"-tst" {
		t.Errorf("base with suffix: %q", got)
	}
	// conformance 31: the first deployment of a tuned model has its name.
	if got := berth.DeployedModelName(tuned, "llm-1", ""); got != tuned.Name {
		t.Errorf("tuned: %q", got)
	}
	if berth.MimickedBase(first) != "qwen-flash" || berth.MimickedBase(first+"-tst") != "qwen-flash" {
		t.Error("the name of a deployment is not recognised")
	}
	if berth.MimickedBase("qwen-plus-2025-12-01") != "" {
		t.Error("a date is taken for 8 digits")
	}
}

func TestSuffixes(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"": "", "tst": "tst", "TST": "tst", "a-1": "a-1", "12345678": "12345678"} {
		if got, err := berth.NormalSuffix(in); err != nil || got != want {
			t.Errorf("%q: got %q, %v", in, got, err)
		}
	}
	for _, in := range []string{"123456789", "a b", "ä", "a/b", "a_b", "a.b", "\x00"} {
		if _, err := berth.NormalSuffix(in); berth.CodeOf(err) != berth.CodeInvalid {
			t.Errorf("%q passed: %v", in, err)
		}
	}
}

func TestModelNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a", "qwen-plus-2025-12-01", "A.b_c-9"} {
		if err := berth.ValidateModelName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"", "models", "a/b", "a b", "-a", ".", "ü", strings.Repeat("a", 121), "a\n"} {
		if err := berth.ValidateModelName(name); berth.CodeOf(err) != berth.CodeInvalid {
			t.Errorf("%q passed: %v", name, err)
		}
	}
}

func TestAReplicaIsGivenUpAfterFiveFailuresInTenMinutes(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 10, 2, 9, 0, 0, 0, time.UTC)
	r := berth.Replica{State: berth.ReplicaStarting}
	for i, wait := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second} {
		r.Fail(now, time.Second, false, "crash")
		if r.State != berth.ReplicaPending || r.RestartAt != now.Add(wait) {
			t.Fatalf("failure %d: %s, restart in %s", i+1, r.State, r.RestartAt.Sub(now))
		}
		now = now.Add(time.Minute)
	}
	patient := r
	r.Fail(now, time.Second, false, "crash")
	if r.State != berth.ReplicaFailed {
		t.Errorf("the fifth failure leaves it %s", r.State)
	}
	slow := patient
	slow.Failures = slices.Clone(patient.Failures)
	patient.ReadyAt = now // it answered in between
	patient.Fail(now.Add(10*time.Minute), time.Second, false, "crash")
	if patient.State != berth.ReplicaPending || len(patient.Failures) != 1 {
		t.Errorf("failures of more than ten minutes ago count: %s, %d", patient.State, len(patient.Failures))
	}
	slow.Fail(now.Add(time.Hour), time.Second, false, "no answer")
	if slow.State != berth.ReplicaFailed {
		t.Errorf("five slow failures without an answer leave it %s", slow.State)
	}
	permanent := berth.Replica{State: berth.ReplicaStarting}
	permanent.Fail(now, time.Second, true, "no such file")
	if permanent.State != berth.ReplicaFailed {
		t.Errorf("a permanent failure leaves it %s", permanent.State)
	}
	served := berth.Replica{State: berth.ReplicaReady, ReadyAt: now}
	served.Fail(now, time.Second, true, "the disk is away")
	if served.State != berth.ReplicaPending {
		t.Errorf("a permanent failure leaves one that served %s", served.State)
	}
	if got := berth.Backoff(40, time.Second); got != time.Minute {
		t.Errorf("the longest backoff is %s", got)
	}
}

func TestMemoryNeedCountsWeightsContextAndEngine(t *testing.T) {
	t.Parallel()
	file := berth.ModelFile{Stat: berth.FileStat{SizeBytes: 1000}, KVBytesPerToken: 10}
	if got := berth.MemoryNeed(file, berth.EngineTraits{OverheadBytes: 7}, 4, 100); got != 1000+4*100*10+7 {
		t.Errorf("got %d", got)
	}
}

func TestAModelsEntryWinsOverUnitsTimesSpec(t *testing.T) {
	t.Parallel()
	spec := berth.Spec{Name: "MU1", Unit: berth.Resources{Threads: 2, MemoryBytes: 100}, Slots: 4, ContextLength: 1000, UnitsPerReplica: 1}
	plain := spec.Resolve(berth.SpecOverride{UnitsPerReplica: 4})
	if plain.Replica != (berth.Resources{Threads: 8, MemoryBytes: 400}) || plain.Slots != 16 || plain.ContextLength != 1000 {
		t.Errorf("units times spec: %+v", plain)
	}
	own := spec.Resolve(berth.SpecOverride{UnitsPerReplica: 4, Threads: 1, Slots: 2, ContextLength: 50})
	if own.Replica.Threads != 1 || own.Replica.MemoryBytes != 400 || own.Slots != 2 || own.ContextLength != 50 {
		t.Errorf("the entry's values: %+v", own)
	}
}
