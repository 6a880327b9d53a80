package berth_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
)

func onMU1(model, suffix string) berth.Purchase {
	return berth.Purchase{ModelName: model, Plan: "mu", Spec: "MU1", Capacity: num(1), Suffix: suffix}
}

func TestWithoutACallerNothingIsAllowed(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 16)
	d := h.mustCreate(h.admin(), onMU1("abacus", ""))
	nobody, guest, admin := h.Context(), h.as(home, berth.RoleInference), h.admin()
	stranger := berth.WithCaller(h.Context(), berth.Caller{WorkspaceID: home, Role: "root"})
	for operation, c := range map[string]struct {
		need berth.Role
		run  func(context.Context) error
	}{
		"create": {berth.RoleAdmin, func(ctx context.Context) error { _, err := h.deployments.Create(ctx, berth.Purchase{}); return err }},
		"delete": {berth.RoleAdmin, func(ctx context.Context) error { _, err := h.deployments.Delete(ctx, "none"); return err }},
		"get":    {berth.RoleInference, func(ctx context.Context) error { _, err := h.deployments.Get(ctx, d.DeployedModel); return err }},
		"list": {berth.RoleInference, func(ctx context.Context) error {
			_, _, err := h.deployments.List(ctx, berth.Page{Number: 1, Size: 1}, "")
			return err
		}},
		"callable": {berth.RoleInference, func(ctx context.Context) error { _, err := h.deployments.Callable(ctx); return err }},
		"events": {berth.RoleAdmin, func(ctx context.Context) error {
			_, err := h.deployments.Events(ctx, d.DeployedModel, "", 1)
			return err
		}},
		"replicas":   {berth.RoleAdmin, func(ctx context.Context) error { _, err := h.deployments.Replicas(ctx, d.DeployedModel); return err }},
		"model":      {berth.RoleInference, func(ctx context.Context) error { _, err := h.models.Get(ctx, "abacus"); return err }},
		"models":     {berth.RoleInference, func(ctx context.Context) error { _, err := h.models.List(ctx); return err }},
		"deployable": {berth.RoleInference, func(ctx context.Context) error { _, err := h.models.Deployable(ctx, false); return err }},
		"add":        {berth.RoleOwner, func(ctx context.Context) error { _, err := h.models.Add(ctx, berth.NewModel{}); return err }},
		"add upload": {berth.RoleAdmin, func(ctx context.Context) error {
			_, err := h.models.Add(ctx, berth.NewModel{Upload: "none"})
			return err
		}},
		"upload":  {berth.RoleAdmin, func(ctx context.Context) error { _, err := h.uploads.Create(ctx, nil); return err }},
		"uploads": {berth.RoleAdmin, func(ctx context.Context) error { _, err := h.uploads.List(ctx); return err }},
		"remove":  {berth.RoleAdmin, func(ctx context.Context) error { _, err := h.models.Delete(ctx, "none"); return err }},
		"keys":    {berth.RoleAdmin, func(ctx context.Context) error { _, err := h.keys.List(ctx, "", 10); return err }},
		"new key": {berth.RoleAdmin, func(ctx context.Context) error { _, _, err := h.keys.Create(ctx, berth.NewKey{}); return err }},
		"revoke":  {berth.RoleAdmin, func(ctx context.Context) error { _, err := h.keys.Revoke(ctx, "none"); return err }},
		"records": {berth.RoleInference, func(ctx context.Context) error {
			_, _, err := h.usage.Records(ctx, berth.UsageFilter{}, "", 1)
			return err
		}},
		"totals": {berth.RoleInference, func(ctx context.Context) error { _, err := h.usage.Totals(ctx, berth.UsageFilter{}, nil); return err }},
		"token":  {berth.RoleInference, func(ctx context.Context) error { _, _, err := h.keys.CreateToken(ctx, 0); return err }},
		"new account": {berth.RoleOwner, func(ctx context.Context) error {
			_, err := h.workspaces.CreateAccount(ctx, berth.NewAccount{})
			return err
		}},
		"account":       {berth.RoleOwner, func(ctx context.Context) error { _, err := h.workspaces.Account(ctx, payer); return err }},
		"accounts":      {berth.RoleOwner, func(ctx context.Context) error { _, err := h.workspaces.Accounts(ctx, "", 1); return err }},
		"new workspace": {berth.RoleOwner, func(ctx context.Context) error { _, err := h.workspaces.Create(ctx, berth.NewWorkspace{}); return err }},
		"workspace":     {berth.RoleOwner, func(ctx context.Context) error { _, err := h.workspaces.Get(ctx, home); return err }},
		"workspaces":    {berth.RoleOwner, func(ctx context.Context) error { _, err := h.workspaces.List(ctx, "", 1); return err }},
		"change workspace": {berth.RoleOwner, func(ctx context.Context) error {
			_, err := h.workspaces.Update(ctx, "none", berth.WorkspaceChange{})
			return err
		}},
		"delete workspace": {berth.RoleOwner, func(ctx context.Context) error { _, err := h.workspaces.Delete(ctx, "none"); return err }},
		"nodes":            {berth.RoleOwner, func(ctx context.Context) error { _, err := h.inventory.Nodes(ctx); return err }},
	} {
		for who, allowed := range map[context.Context]bool{
			nobody: false, stranger: false,
			guest: c.need == berth.RoleInference, admin: c.need != berth.RoleOwner, h.owner(): true,
		} {
			if denied := berth.CodeOf(c.run(who)) == berth.CodeForbidden; denied == allowed {
				t.Errorf("%s as %q: denied is %v", operation, berth.CallerFrom(who).Role, denied)
			}
		}
	}
}

func TestWorkspacesDoNotSeeEachOther(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 16)
	d := h.mustCreate(h.admin(), onMU1("abacus", ""))
	other := h.as(away, berth.RoleOwner)
	unknown := "Model: " + d.DeployedModel + " not found!"
	for operation, run := range map[string]func() error{
		"get":      func() error { _, err := h.deployments.Get(other, d.DeployedModel); return err },
		"delete":   func() error { _, err := h.deployments.Delete(other, d.DeployedModel); return err },
		"events":   func() error { _, err := h.deployments.Events(other, d.DeployedModel, "", 10); return err },
		"replicas": func() error { _, err := h.deployments.Replicas(other, d.DeployedModel); return err },
	} {
		// Just as for a name that never was.
		if err := h.unchanged(run); berth.CodeOf(err) != berth.CodeNotFound || err.Error() != unknown {
			t.Errorf("%s: %v", operation, err)
		}
	}
	// conformance 57
	list, total, err := h.deployments.List(other, berth.Page{Number: 1, Size: 50}, "")
	if err != nil || total != 0 || len(list) != 0 {
		t.Errorf("list: %d of %d, %v", len(list), total, err)
	}
	if _, err := h.models.Get(h.admin(), "secret"); berth.CodeOf(err) != berth.CodeNotFound || err.Error() != "Model: secret not found!" {
		t.Errorf("another one's model: %v", err)
	}
}

func TestListPagesNewestFirst(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 16)
	var want []string
	for _, p := range []berth.Purchase{onMU1("abacus", "a"), onMU1("abacus", "b"), {ModelName: "abacus", Plan: "ptu", Suffix: "c"}} {
		want = append(want, h.mustCreate(h.admin(), p).DeployedModel)
		h.pass(time.Second)
	}
	slices.Reverse(want)
	for page, c := range map[berth.Page]struct {
		plan  berth.Plan
		total int64
		want  []string
	}{
		{Number: 1, Size: 50}: {"", 3, want},
		{Number: 1, Size: 2}:  {"", 3, want[:2]},
		{Number: 2, Size: 2}:  {"", 3, want[2:]},
		{Number: 9, Size: 2}:  {"", 3, nil},
		{Number: 1, Size: 10}: {berth.PlanPTU, 1, want[:1]}, // conformance 55
		{Number: 1, Size: 9}:  {berth.PlanLoRA, 0, nil},
	} {
		list, total, err := h.deployments.List(h.admin(), page, c.plan)
		must(t, err)
		var got []string
		for _, d := range list {
			got = append(got, d.DeployedModel)
		}
		if total != c.total || !slices.Equal(got, c.want) {
			t.Errorf("page %+v of %q: got %v of %d", page, c.plan, got, total)
		}
	}
}

func TestDelete(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 16)
	d := h.mustCreate(h.admin(), berth.Purchase{ModelName: "abacus", Plan: "ptu"})
	h.pass(time.Minute)
	gone, err := h.deployments.Delete(h.owner(), d.DeployedModel)
	must(t, err)
	if gone.Status != berth.StatusDeleting || !gone.ModifiedAt.Equal(h.now()) || !gone.CreatedAt.Equal(d.CreatedAt) {
		t.Errorf("got %+v", gone)
	}
	b := h.books()
	if len(b.Members) != 0 || b.Events != 2 || len(b.Replicas) != 1 || h.published.Load() != b.Version {
		t.Errorf("the sale is not over, or its engine is forgotten while it may run: %+v", b)
	}
	again, err := h.deployments.Delete(h.admin(), d.DeployedModel)
	if err != nil || again.ID != d.ID || again.Status != berth.StatusDeleting {
		t.Errorf("a repeat: %+v, %v", again, err)
	}
	// The name is taken until the deployment is gone.
	if _, err := h.deployments.Create(h.admin(), berth.Purchase{ModelName: "abacus", Plan: "ptu"}); berth.CodeOf(err) != berth.CodeConflict {
		t.Errorf("the name before the end: %v", err)
	}
	h.bury(gone)
	// conformance 76
	if _, err := h.deployments.Get(h.admin(), d.DeployedModel); berth.CodeOf(err) != berth.CodeNotFound || err.Error() != "Not found." {
		t.Errorf("get after the end: %v", err)
	}
	// conformance 78
	if _, err := h.deployments.Delete(h.admin(), d.DeployedModel); berth.CodeOf(err) != berth.CodeNotFound {
		t.Errorf("delete after the end: %v", err)
	}
	if _, err := h.deployments.Get(h.as(away, berth.RoleAdmin), d.DeployedModel); err == nil || err.Error() == "Not found." {
		t.Errorf("another workspace learns that there was one: %v", err)
	}
	// conformance 36
	fresh := h.mustCreate(h.admin(), berth.Purchase{ModelName: "abacus", Plan: "ptu"})
	if got, err := h.deployments.Get(h.admin(), d.DeployedModel); err != nil || got.ID != fresh.ID || fresh.ID == d.ID {
		t.Errorf("the name again: %+v, %v", got, err)
	}
}

// bury does what the reconciler does in the end.
func (h *house) bury(d berth.Deployment) {
	h.Helper()
	h.tx(func(ctx context.Context, tx berth.Tx) error {
		replicas, err := tx.Replicas().OfDeployment(ctx, d.ID)
		must(h, err)
		for _, r := range replicas {
			must(h, tx.Nodes().Release(ctx, r.ID))
			must(h, tx.Replicas().Delete(ctx, r.ID))
		}
		d.Status, d.DeletedAt = berth.StatusDeleted, h.now()
		return tx.Deployments().Update(ctx, d)
	})
}

func TestEventsAndReplicas(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 16)
	d := h.mustCreate(h.admin(), onMU1("abacus", ""))
	p := h.mustCreate(h.admin(), berth.Purchase{ModelName: "abacus", Plan: "ptu", Suffix: "p"})
	_, err := h.deployments.Delete(h.admin(), d.DeployedModel)
	must(t, err)
	first, err := h.deployments.Events(h.admin(), d.DeployedModel, "", 1)
	must(t, err)
	if len(first) != 1 || first[0].Status != berth.StatusPending || first[0].Reason == "" || first[0].Capacity != 1 {
		t.Fatalf("got %+v", first)
	}
	next, err := h.deployments.Events(h.admin(), d.DeployedModel, first[0].ID, 10)
	if err != nil || len(next) != 1 || next[0].Status != berth.StatusDeleting {
		t.Errorf("after the first: %+v, %v", next, err)
	}
	own, err := h.deployments.Replicas(h.admin(), d.DeployedModel)
	if err != nil || len(own) != 1 || own[0].DeploymentID != d.ID {
		t.Errorf("its own: %+v, %v", own, err)
	}
	shared, err := h.deployments.Replicas(h.admin(), p.DeployedModel)
	if err != nil || len(shared) != 1 || shared[0].PoolID != p.PoolID {
		t.Errorf("its pool's: %+v, %v", shared, err)
	}
}

func TestCallable(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 16)
	h.mustCreate(h.admin(), onMU1("abacus", ""))
	d := h.mustCreate(h.admin(), onMU1("abacus", "b"))
	d.Status = berth.StatusRunning
	h.tx(func(ctx context.Context, tx berth.Tx) error { return tx.Deployments().Update(ctx, d) })
	got, err := h.deployments.Callable(h.as(home, berth.RoleInference))
	if err != nil || len(got) != 1 || got[0].ID != d.ID {
		t.Errorf("got %+v, %v", got, err)
	}
}

// Whoever reads a state can call by it, so a read fails when the gateway cannot be told.
func TestReadsWaitForTheGateway(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 16)
	d := h.mustCreate(h.admin(), onMU1("abacus", ""))
	version := h.books().Version
	h.tx(func(ctx context.Context, tx berth.Tx) error { _, err := tx.Route(ctx); return err })
	_, err := h.deployments.Get(h.admin(), d.DeployedModel)
	if err != nil || h.published.Load() != version+1 {
		t.Errorf("the gateway was told of %d, want %d: %v", h.published.Load(), version+1, err)
	}
	deaf := errors.New("deaf")
	h.deployments.Publish = func(context.Context, int64) error { return deaf }
	if _, err := h.deployments.Get(h.admin(), d.DeployedModel); !errors.Is(err, deaf) {
		t.Errorf("get: %v", err)
	}
	// A write stands all the same.
	if _, err := h.deployments.Delete(h.admin(), d.DeployedModel); !errors.Is(err, deaf) {
		t.Errorf("delete: %v", err)
	}
	if got := h.books().Deployments[0].Status; got != berth.StatusDeleting {
		t.Errorf("the write was undone: %s", got)
	}
}

func TestNodesNameWhoHoldsThem(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 16)
	d := h.mustCreate(h.admin(), onMU1("abacus", ""))
	h.mustCreate(h.admin(), berth.Purchase{ModelName: "twin", Plan: "ptu"})
	nodes, err := h.inventory.Nodes(h.owner())
	must(t, err)
	held := map[string]int64{}
	for _, n := range nodes[0].Held {
		held[n.DeployedModel+"|"+n.PoolModel] = n.Hold.Held.Threads
	}
	if len(held) != 2 || held[d.DeployedModel+"|"] != 1 || held["|twin"] != 1 {
		t.Errorf("got %v", held)
	}
}
