package berth_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	berth "github.com/berthhq/berth"
)

func TestCreateMU(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 16)
	d := h.mustCreate(h.admin(), berth.Purchase{
		ModelName: "plus", Plan: "MU", Spec: "MU1", BillingMethod: "POST_PAY", Capacity: num(8),
		EnableThinking: yes(true), MaxContextLength: num(1000), RPMLimit: num(60), TPMLimit: num(6000),
	})
	// conformance 37: the display name defaults to the model's.
	if d.Status != berth.StatusPending || d.Plan != berth.PlanMU || d.DisplayName != "plus" || d.BaseModel != "plus" {
		t.Errorf("got %+v", d)
	}
	// conformance 12, 39, 40, 41
	if d.WorkspaceID != home || d.ChargeType != "post_paid" || d.ReadyCapacity != 0 || d.Creator != payer || d.Modifier != payer {
		t.Errorf("got %+v", d)
	}
	// conformance 24
	if d.Capacity != 8 || d.BaseCapacity != 4 || !*d.EnableThinking || d.MaxContextLength != 1000 || d.RPMLimit != 60 || d.TPMLimit != 6000 {
		t.Errorf("got %+v", d)
	}
	b := h.books()
	if len(b.Replicas) != 2 || len(b.Holds) != 2 || len(b.Pools) != 0 || b.Events != 1 || b.held()["node0"] != 8 {
		t.Fatalf("got %+v", b)
	}
	for i, r := range b.Replicas {
		if r.DeploymentID != d.ID || r.State != berth.ReplicaPending || r.Lane != berth.LaneDedicated || r.Spec.ContextLength != 1000 || r.Spec.Slots != 16 {
			t.Errorf("replica %d: %+v", i, r)
		}
	}
	if len(b.Audits) != 1 || b.Audits[0].Action != "deployment.create" || b.Audits[0].Target != d.DeployedModel || b.Audits[0].WorkspaceID != home {
		t.Errorf("audit: %+v", b.Audits)
	}
	if h.published.Load() != b.Version || h.woken.Load() == 0 {
		t.Errorf("the gateway has version %d of %d, the reconciler was woken %d times", h.published.Load(), b.Version, h.woken.Load())
	}
}

func TestCreatePTU(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 16)
	// conformance 15, 134: 10000/1000 without a capacity, and capacity is ignored.
	d := h.mustCreate(h.admin(), berth.Purchase{ModelName: "abacus", Plan: "ptu", Capacity: num(7)})
	if d.PTU != berth.DefaultPTUCapacity || d.Capacity != 1 || d.Overflow != berth.OverflowEnable || d.PoolID == "" {
		t.Errorf("got %+v", d)
	}
	b := h.books()
	if len(b.Pools) != 1 || len(b.Members) != 1 || len(b.Replicas) != 1 || b.held()["node0"] != 1 {
		t.Fatalf("got %+v", b)
	}
	if m := b.Members[0]; m.LoadPPM != 16_667 || m.Plan != berth.PlanPTU || m.DeploymentID != d.ID {
		t.Errorf("member: %+v", m)
	}
	if r := b.Replicas[0]; r.PoolID != d.PoolID || r.DeploymentID != "" || r.Lane != berth.LaneBase {
		t.Errorf("replica: %+v", r)
	}
	// 0.9 of a replica is for sale: with 16,667 ppm sold, 883,333 fit beside it.
	h.mustCreate(h.admin(), berth.Purchase{ModelName: "abacus", Plan: "ptu", Suffix: "fits", PTU: &berth.PTUCapacity{InputTPM: 529_999, OutputTPM: 1}})
	if n := len(h.books().Replicas); n != 1 {
		t.Errorf("%d replicas for what one carries", n)
	}
	h.mustCreate(h.admin(), berth.Purchase{ModelName: "abacus", Plan: "ptu", Suffix: "grows", PTU: &berth.PTUCapacity{InputTPM: 600, OutputTPM: 60}})
	if n := len(h.books().Replicas); n != 2 {
		t.Errorf("%d replicas for what two carry", n)
	}
}

func TestCreateLoRA(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 16)
	// conformance 26: the capacity has no effect.
	d := h.mustCreate(h.admin(), berth.Purchase{ModelName: "words", Plan: "Lora", Capacity: num(40)})
	// conformance 31
	if d.DeployedModel != "words" || d.BaseModel != "abacus" || d.Capacity != 1 || d.Plan != berth.PlanLoRA {
		t.Errorf("got %+v", d)
	}
	b := h.books()
	if len(b.Replicas) != 1 || b.Replicas[0].Lane != berth.LaneLoRA || b.Replicas[0].ModelName != "abacus" || b.Members[0].LoadPPM != 0 {
		t.Fatalf("got %+v", b)
	}
	// The same adapter again finds a lane that has it; another one rolls the lane.
	h.mustCreate(h.admin(), berth.Purchase{ModelName: "words", Plan: "lora", Suffix: "two"})
	if n := len(h.books().Replicas); n != 1 {
		t.Errorf("%d replicas for one adapter", n)
	}
	h.mustCreate(h.admin(), berth.Purchase{ModelName: "shout", Plan: "lora"})
	b = h.books()
	if len(b.Replicas) != 2 || len(b.Replicas[1].Adapters) != 2 || len(b.Pools) != 1 {
		t.Errorf("the lane is not rolled: %+v", b.Replicas)
	}
}

func TestCreateAnAdapterOnReplicasOfItsOwn(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 16)
	d := h.mustCreate(h.admin(), berth.Purchase{ModelName: "words", Plan: "mu", Spec: "MU1", Capacity: num(1)})
	r := h.books().Replicas[0]
	if r.DeploymentID != d.ID || r.ModelName != "abacus" || len(r.Adapters) != 1 || r.Adapters[0].Digest != "sha256:words" {
		t.Errorf("got %+v", r)
	}
}

func TestAnEndpointHoldsNoHardware(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 1)
	h.mustCreate(h.admin(), berth.Purchase{ModelName: "remote", Plan: "mu", Spec: "MU1", Capacity: num(3)})
	b := h.books()
	if len(b.Replicas) != 3 || len(b.Holds) != 0 || b.Replicas[0].NodeID != "" {
		t.Errorf("got %+v", b)
	}
}

// conformance 38 and api.md 4.4: without a plan a LoRA model is lora, another one with
// mu is mu on its first spec, else ptu.
func TestThePlanIsDerived(t *testing.T) {
	t.Parallel()
	for model, want := range map[string]struct {
		plan berth.Plan
		spec string
	}{
		"words":  {berth.PlanLoRA, "MU1"},
		"both":   {berth.PlanMU, "MU1"},
		"remote": {berth.PlanMU, "MU1"},
		"twin":   {berth.PlanPTU, "MU1"},
	} {
		h := newHouse(t, 16)
		d := h.mustCreate(h.admin(), berth.Purchase{ModelName: model, Capacity: num(1)})
		if d.Plan != want.plan || d.Spec.Name != want.spec {
			t.Errorf("%s: got %s on %q", model, d.Plan, d.Spec.Name)
		}
	}
}

func TestARefusedPurchaseLeavesNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 16)
	taken := h.mustCreate(h.admin(), berth.Purchase{ModelName: "abacus", Plan: "mu", Spec: "MU1", Capacity: num(1)})
	h.mustCreate(h.admin(), berth.Purchase{ModelName: "abacus", Plan: "ptu", Suffix: "sold", PTU: &berth.PTUCapacity{InputTPM: 600_000, OutputTPM: 1}})
	onMU1 := func(p berth.Purchase) berth.Purchase {
		p.Plan, p.Spec = "mu", "MU1"
		if p.ModelName == "" {
			p.ModelName = "plus"
		}
		if p.Capacity == nil {
			p.Capacity = num(4)
		}
		p.Suffix += "x"
		return p
	}
	capacity := func(n string) string {
		return "Invalid capacity (" + n + "), capacity must be larger than or equal to 0 and multiples of 4 and less than 1000!"
	}
	const notDeployable = " does not exist or is not deployable"
	for sentence, c := range map[string]struct {
		ask  berth.Purchase
		code berth.Code
		want string // part of the sentence
	}{
		"no model":              {berth.Purchase{}, berth.CodeInvalid, "Field required: model_name"},
		"unknown model":         {berth.Purchase{ModelName: "nix"}, berth.CodeNotFound, "Model: nix not found!"}, // conformance 29
		"another one's model":   {onMU1(berth.Purchase{ModelName: "secret"}), berth.CodeNotFound, "Model: secret not found!"},
		"unknown plan":          {berth.Purchase{ModelName: "abacus", Plan: "cu"}, berth.CodeInvalid, `The plan "cu" is not known`},
		"not for sale":          {berth.Purchase{ModelName: "shown"}, berth.CodeInvalid, "The model shown" + notDeployable},                 // conformance 30
		"base under lora":       {berth.Purchase{ModelName: "abacus", Plan: "lora"}, berth.CodeInvalid, "The model abacus" + notDeployable}, // conformance 27
		"adapter under ptu":     {berth.Purchase{ModelName: "words", Plan: "ptu"}, berth.CodeInvalid, "The model words" + notDeployable},    // conformance 28
		"engine not here":       {onMU1(berth.Purchase{ModelName: "strange"}), berth.CodeInternal, "nobody's"},
		"engine cannot":         {berth.Purchase{ModelName: "stiff", Plan: "lora"}, berth.CodeInvalid, "cannot apply adapters"},
		"long display name":     {onMU1(berth.Purchase{DisplayName: strings.Repeat("ü", 51)}), berth.CodeInvalid, "51 characters"},
		"prepaid":               {onMU1(berth.Purchase{ChargeType: "pre_paid"}), berth.CodeInvalid, "pre_paid"},
		"prepaid unit":          {onMU1(berth.Purchase{BillingMethod: "PRE_PAY"}), berth.CodeInvalid, "PRE_PAY"},                                     // conformance 17
		"mu without spec":       {berth.Purchase{ModelName: "plus", Plan: "mu", Capacity: num(4)}, berth.CodeInvalid, "Field required: deploy_spec"}, // conformance 18
		"mu without capacity":   {berth.Purchase{ModelName: "plus", Plan: "mu", Spec: "MU1"}, berth.CodeInvalid, "Field required: capacity"},         // conformance 19
		"unknown spec":          {berth.Purchase{ModelName: "plus", Plan: "mu", Spec: "MU9", Capacity: num(4)}, berth.CodeInvalid, `"MU9"`},          // conformance 20
		"spec of another model": {berth.Purchase{ModelName: "plus", Plan: "mu", Spec: "MU8", Capacity: num(4)}, berth.CodeInvalid, `"MU8"`},
		"separated spec":        {berth.Purchase{ModelName: "plus", Plan: "mu", Spec: "MU1-PD", Capacity: num(4)}, berth.CodeInvalid, "cannot separate"}, // conformance 44
		"no multiple":           {onMU1(berth.Purchase{Capacity: num(3)}), berth.CodeInvalid, capacity("3")},                                             // conformance 21
		"a thousand":            {onMU1(berth.Purchase{Capacity: num(1000)}), berth.CodeInvalid, capacity("1000")},                                       // conformance 22
		"negative":              {onMU1(berth.Purchase{Capacity: num(-4)}), berth.CodeInvalid, capacity("-4")},                                           // conformance 23
		"nothing":               {onMU1(berth.Purchase{Capacity: num(0)}), berth.CodeInvalid, capacity("0")},
		"thinks not":            {onMU1(berth.Purchase{ModelName: "abacus", EnableThinking: yes(true)}), berth.CodeInvalid, "The model abacus does not support enable_thinking."},
		"thinks always":         {onMU1(berth.Purchase{ModelName: "deep", EnableThinking: yes(false)}), berth.CodeInvalid, "The value of the enable_thinking parameter is restricted to True."},
		"no context":            {onMU1(berth.Purchase{MaxContextLength: num(0)}), berth.CodeInvalid, "Range of max_context_length should be [1, 32768]"},       // conformance 42
		"too much context":      {onMU1(berth.Purchase{MaxContextLength: num(262_145)}), berth.CodeInvalid, "Range of max_context_length should be [1, 32768]"}, // conformance 42
		"no requests":           {onMU1(berth.Purchase{RPMLimit: num(0)}), berth.CodeInvalid, "Range of rpm_limit"},
		"no tokens":             {onMU1(berth.Purchase{TPMLimit: num(-1)}), berth.CodeInvalid, "Range of tpm_limit"},
		"too heavy":             {onMU1(berth.Purchase{ModelName: "heavy"}), berth.CodeInvalid, "A replica of heavy on MU1 needs about 1048576 MiB"},
		"not calibrated":        {berth.Purchase{ModelName: "raw", Plan: "ptu"}, berth.CodeInvalid, "The model raw is not calibrated"},
		"no input reserved":     {berth.Purchase{ModelName: "abacus", Plan: "ptu", PTU: &berth.PTUCapacity{OutputTPM: 1}}, berth.CodeInvalid, "Range of ptu_capacity.input_tpm"},
		"no output reserved":    {berth.Purchase{ModelName: "abacus", Plan: "ptu", PTU: &berth.PTUCapacity{InputTPM: 1}}, berth.CodeInvalid, "Range of ptu_capacity.output_tpm"},
		"negative thinking":     {berth.Purchase{ModelName: "abacus", Plan: "ptu", PTU: &berth.PTUCapacity{InputTPM: 1, OutputTPM: 1, ThinkingTPM: -1}}, berth.CodeInvalid, "ptu_capacity.thinking_output_tpm"},
		"reserved thinking":     {berth.Purchase{ModelName: "abacus", Plan: "ptu", PTU: &berth.PTUCapacity{InputTPM: 1, OutputTPM: 1, ThinkingTPM: 1}}, berth.CodeInvalid, "does not think"},
		"long suffix":           {onMU1(berth.Purchase{Suffix: "12345678"}), berth.CodeInvalid, `The suffix "12345678x" is too long`}, // conformance 35
		"strange suffix":        {onMU1(berth.Purchase{Suffix: "a/"}), berth.CodeInvalid, "not usable"},
		"taken name": { // conformance 32
			berth.Purchase{ModelName: "abacus", Plan: "mu", Spec: "MU1", Capacity: num(1)}, berth.CodeConflict,
			"Deployed model " + taken.DeployedModel + " already exists, please specify a suffix.",
		},
		"taken suffix": {berth.Purchase{ModelName: "abacus", Plan: "ptu", Suffix: "SOLD"}, berth.CodeConflict, "-sold already exists"}, // conformance 34
		"pool is full": {
			berth.Purchase{ModelName: "abacus", Plan: "ptu", Suffix: "x", PTU: &berth.PTUCapacity{InputTPM: 600_000, OutputTPM: 1}},
			berth.CodeNoCapacity, "The pool of abacus would need 3 replicas and may have 2",
		},
		"no hardware":       {onMU1(berth.Purchase{Capacity: num(996)}), berth.CodeNoCapacity, "MU1 x 996 needs 249 x 4 threads; 13 of 16 are free; held: pool of abacus 2, " + taken.DeployedModel + " 1."},
		"no pool of a pool": {berth.Purchase{ModelName: "wide", Plan: "ptu", PTU: &berth.PTUCapacity{InputTPM: 1_000_000_000, OutputTPM: 1}}, berth.CodeNoCapacity, "of 16 are free"},
	} {
		err := h.unchanged(func() error {
			_, err := h.deployments.Create(h.admin(), c.ask)
			return err
		})
		if berth.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %s: %v", sentence, berth.CodeOf(err), err)
		}
	}
}

// conformance 22, 42: the largest capacity passes its check, as do the context's bounds.
func TestBoundsThatPass(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 16)
	buy := func(capacity, contextLength int64, suffix string) error {
		_, err := h.deployments.Create(h.admin(), berth.Purchase{
			ModelName: "abacus", Plan: "mu", Spec: "MU1", Capacity: &capacity, MaxContextLength: &contextLength, Suffix: suffix,
		})
		return err
	}
	if err := buy(999, 1, ""); berth.CodeOf(err) != berth.CodeNoCapacity {
		t.Errorf("999 units on 16 threads: %v", err)
	}
	must(t, buy(1, 1, ""))
	must(t, buy(1, 32_768, "12345678"))
}

func TestHardwareIsHeldPerSpecAndNode(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 6, 5)
	h.mustCreate(h.admin(), berth.Purchase{ModelName: "plus", Plan: "mu", Spec: "MU1", Capacity: num(8)})
	if held := h.books().held(); !maps.Equal(held, map[string]int64{"node0": 4, "node1": 4}) {
		t.Fatalf("two replicas of 4 threads: %v", held)
	}
	err := h.unchanged(func() error {
		_, err := h.deployments.Create(h.as(away, berth.RoleAdmin), berth.Purchase{ModelName: "plus", Plan: "mu", Spec: "MU1", Capacity: num(4)})
		return err
	})
	// What another workspace has is not named.
	want := "MU1 x 4 needs 1 x 4 threads; 3 of 11 are free; held: another workspace 8. Delete a deployment, choose a smaller spec, or add hardware."
	if berth.CodeOf(err) != berth.CodeNoCapacity || err.Error() != want {
		t.Errorf("got %v", err)
	}
	h.mustCreate(h.admin(), berth.Purchase{ModelName: "abacus", Plan: "mu", Spec: "MU1", Capacity: num(3)})
	if held := h.books().held(); !maps.Equal(held, map[string]int64{"node0": 6, "node1": 5}) {
		t.Errorf("all of it: %v", held)
	}
}

func TestNamesOfDeployments(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 16)
	buy := func(ctx context.Context, model, suffix string) string {
		t.Helper()
		d := h.mustCreate(ctx, berth.Purchase{ModelName: model, Plan: "mu", Spec: "MU1", Capacity: num(1), Suffix: suffix})
		return d.DeployedModel
	}
	first := buy(h.admin(), "abacus", "")
	// conformance 33, 136
	if got := buy(h.admin(), "abacus", "TST"); got != first+"-tst" {
		t.Errorf("with a suffix: %s", got)
	}
	if other := buy(h.as(away, berth.RoleAdmin), "abacus", ""); other == first || !strings.HasPrefix(other, "abacus-") {
		t.Errorf("in another workspace: %s", other)
	}
	if got := buy(h.as(away, berth.RoleAdmin), "secret", ""); got != "secret" {
		t.Errorf("an imported model: %s", got)
	}
	// An adapter of the catalogue has one name on the whole server.
	buy(h.admin(), "words", "")
	_, err := h.deployments.Create(h.as(away, berth.RoleAdmin), berth.Purchase{ModelName: "words", Plan: "mu", Spec: "MU1", Capacity: num(1)})
	if berth.CodeOf(err) != berth.CodeConflict {
		t.Errorf("the same name in another workspace: %v", err)
	}
}

func TestTwoNamesOfTheSameWeightsShareAPool(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 16)
	a := h.mustCreate(h.admin(), berth.Purchase{ModelName: "abacus", Plan: "ptu"})
	b := h.mustCreate(h.as(away, berth.RoleAdmin), berth.Purchase{ModelName: "twin", Plan: "ptu"})
	h.mustCreate(h.admin(), berth.Purchase{ModelName: "twin", Plan: "ptu", PTU: &berth.PTUCapacity{InputTPM: 600_000, OutputTPM: 1}})
	all := h.books()
	for _, r := range all.Replicas {
		if r.ModelName != "abacus" {
			t.Errorf("a replica runs from the entry of %s, which may go while the pool stays", r.ModelName)
		}
	}
	if a.PoolID != b.PoolID || len(all.Pools) != 1 || len(all.Members) != 3 || len(all.Replicas) != 2 {
		t.Errorf("got %+v", all)
	}
}

// A pool lingers after its last member; meanwhile the model that made it may go.
func TestAPoolIsTakenOverFromAModelThatWent(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 16)
	first := h.mustCreate(h.admin(), berth.Purchase{ModelName: "twin", Plan: "ptu"})
	gone, err := h.deployments.Delete(h.admin(), first.DeployedModel)
	must(t, err)
	h.bury(gone)
	_, err = h.models.Delete(h.owner(), "twin")
	must(t, err)
	second := h.mustCreate(h.admin(), berth.Purchase{ModelName: "abacus", Plan: "ptu"})
	b := h.books()
	if second.PoolID != first.PoolID || b.Pools[0].ModelName != "abacus" || len(b.Replicas) != 1 {
		t.Errorf("got %+v", b)
	}
}

func TestCreatorsAtOnceNeverOversell(t *testing.T) {
	t.Parallel()
	const creators, threads = 200, 8
	h := newHouse(t, threads/2, threads/2)
	var sold, refused atomic.Int64
	var all sync.WaitGroup
	for i := range creators {
		all.Go(func() {
			_, err := h.deployments.Create(h.admin(), berth.Purchase{
				ModelName: "abacus", Plan: "mu", Spec: "MU1", Capacity: num(1), Suffix: fmt.Sprint(i),
			})
			switch berth.CodeOf(err) {
			case "":
				sold.Add(1)
			case berth.CodeNoCapacity:
				refused.Add(1)
			default:
				t.Errorf("creator %d: %v", i, err)
			}
		})
	}
	all.Wait()
	b := h.books()
	if sold.Load() != threads || refused.Load() != creators-threads || len(b.Deployments) != threads || len(b.Replicas) != threads {
		t.Errorf("sold %d, refused %d, deployments %d, replicas %d", sold.Load(), refused.Load(), len(b.Deployments), len(b.Replicas))
	}
	if held := b.held(); held["node0"] != threads/2 || held["node1"] != threads/2 {
		t.Errorf("held: %v", held)
	}
	if names := slices.Collect(func(yield func(string) bool) {
		for _, d := range b.Deployments {
			if !yield(d.DeployedModel) {
				return
			}
		}
	}); len(slices.Compact(slices.Sorted(slices.Values(names)))) != threads {
		t.Error("two deployments have one name")
	}
}
