package berth_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	berth "github.com/berthhq/berth"
)

func TestWorkspacesAreMadeChangedAndDeleted(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 8)
	a, err := h.workspaces.CreateAccount(h.owner(), berth.NewAccount{Name: "lab"})
	if err != nil || a.Currency != "CNY" || a.TimeZone != "UTC" {
		t.Fatalf("got %+v, %v", a, err)
	}
	w, err := h.workspaces.Create(h.owner(), berth.NewWorkspace{Name: "research", AccountID: a.ID})
	if err != nil || w.AccountID != a.ID || w.Models != nil || h.published.Load() != h.books().Version {
		t.Fatalf("got %+v, %v", w, err)
	}
	name, list := "search", []string{"abacus"}
	changed, err := h.workspaces.Update(h.owner(), w.ID, berth.WorkspaceChange{Name: &name, Models: &list, Quota: &berth.Quota{Deployments: 1}})
	if err != nil || changed.Name != "search" || !slices.Equal(changed.Models, list) || changed.Quota.Deployments != 1 {
		t.Fatalf("got %+v, %v", changed, err)
	}
	if same, err := h.workspaces.Update(h.owner(), w.ID, berth.WorkspaceChange{}); err != nil || fmt.Sprint(same) != fmt.Sprint(changed) {
		t.Errorf("a change of nothing: %+v, %v", same, err)
	}
	all, err := h.workspaces.List(h.owner(), "", 10)
	if err != nil || len(all) != 3 {
		t.Errorf("%d workspaces, %v", len(all), err)
	}
	k, _, err := h.keys.Create(h.owner(), berth.NewKey{WorkspaceID: w.ID, Role: berth.RoleAdmin})
	must(t, err)
	err = h.unchanged(func() error { _, err := h.workspaces.Delete(h.owner(), w.ID); return err })
	if berth.CodeOf(err) != berth.CodeConflict || !strings.Contains(err.Error(), "0 deployments, 0 models and 1 valid keys") {
		t.Errorf("with a key: %v", err)
	}
	_, err = h.keys.Revoke(h.owner(), k.ID)
	must(t, err)
	_, err = h.workspaces.Delete(h.owner(), w.ID)
	must(t, err)
	for what, err := range map[string]error{
		"get":    second(h.workspaces.Get(h.owner(), w.ID)),
		"change": second(h.workspaces.Update(h.owner(), w.ID, berth.WorkspaceChange{})),
		"delete": second(h.workspaces.Delete(h.owner(), w.ID)),
	} {
		if berth.CodeOf(err) != berth.CodeNotFound {
			t.Errorf("%s what is deleted: %v", what, err)
		}
	}
	if _, _, err := h.keys.Create(h.owner(), berth.NewKey{WorkspaceID: w.ID, Role: berth.RoleAdmin}); berth.CodeOf(err) != berth.CodeNotFound {
		t.Errorf("a key for what is deleted: %v", err)
	}
	if _, err := h.workspaces.Create(h.owner(), berth.NewWorkspace{Name: "search"}); err != nil {
		t.Errorf("a name that is free again: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestWorkspacesThatCannotBe(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 8)
	h.mustCreate(h.admin(), berth.Purchase{ModelName: "abacus", Plan: "mu", Spec: "MU1", Capacity: num(1)})
	create := func(n berth.NewWorkspace) error { return second(h.workspaces.Create(h.owner(), n)) }
	for name, c := range map[string]struct {
		run  func() error
		code berth.Code
		says string
	}{
		"no name":               {func() error { return create(berth.NewWorkspace{}) }, berth.CodeInvalid, "Field required: name"},
		"a long name":           {func() error { return create(berth.NewWorkspace{Name: strings.Repeat("x", 51)}) }, berth.CodeInvalid, "at most 50"},
		"a line break":          {func() error { return create(berth.NewWorkspace{Name: "a\nb"}) }, berth.CodeInvalid, "control character"},
		"a taken name":          {func() error { return create(berth.NewWorkspace{Name: payer}) }, berth.CodeConflict, "is taken"},
		"no such account":       {func() error { return create(berth.NewWorkspace{Name: "x", AccountID: "7"}) }, berth.CodeNotFound, "The account 7 is not there."},
		"no such model":         {func() error { return create(berth.NewWorkspace{Name: "x", Models: []string{"none"}}) }, berth.CodeNotFound, "Model: none not found!"},
		"somebody else's model": {func() error { return create(berth.NewWorkspace{Name: "x", Models: []string{"secret"}}) }, berth.CodeNotFound, "not found"},
		"a negative quota": {func() error {
			return create(berth.NewWorkspace{Name: "x", Quota: berth.Quota{Deployments: -1}})
		}, berth.CodeInvalid, "Range of quota.deployments should be [0, "},
		"an account's taken name": {func() error {
			return second(h.workspaces.CreateAccount(h.owner(), berth.NewAccount{Name: payer}))
		}, berth.CodeConflict, "is taken"},
		"deleting what is in use":   {func() error { return second(h.workspaces.Delete(h.owner(), home)) }, berth.CodeConflict, "1 deployments, 0 models"},
		"deleting what has a model": {func() error { return second(h.workspaces.Delete(h.owner(), away)) }, berth.CodeConflict, "0 deployments, 1 models"},
	} {
		if err := h.unchanged(c.run); berth.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// quota sets what a workspace may have.
func (h *house) quota(workspace string, q berth.Quota) {
	h.Helper()
	_, err := h.workspaces.Update(h.owner(), workspace, berth.WorkspaceChange{Quota: &q})
	must(h, err)
}

func TestDeploymentPrivilege(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 8)
	none, every := []string{}, []string(nil)
	_, err := h.workspaces.Update(h.owner(), away, berth.WorkspaceChange{Models: &none})
	must(t, err)
	buy := func(model, spec string) error {
		_, err := h.deployments.Create(h.as(away, berth.RoleAdmin), berth.Purchase{ModelName: model, Plan: "mu", Spec: spec, Capacity: num(1)})
		return err
	}
	// After the model is found, before anything else is looked at (api.md 4.6).
	for model, want := range map[string]string{
		"none":   "Model: none not found!",
		"abacus": "Workspace llm-away does not have deployment privilege for model abacus",
	} {
		if err := h.unchanged(func() error { return buy(model, "nothing") }); err.Error() != want {
			t.Errorf("%s: %v", model, err)
		}
	}
	if err := buy("secret", "MU1"); err != nil {
		t.Errorf("a workspace's own model: %v", err)
	}
	h.mustCreate(h.admin(), berth.Purchase{ModelName: "abacus", Plan: "mu", Spec: "MU1", Capacity: num(1)}) // the others are free
	_, err = h.workspaces.Update(h.owner(), away, berth.WorkspaceChange{Models: &every})
	must(t, err)
	if err := buy("abacus", "MU1"); err != nil {
		t.Errorf("with any model: %v", err)
	}
}

func TestQuotas(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 32)
	buy := func(capacity int64, suffix string) error {
		_, err := h.deployments.Create(h.admin(), berth.Purchase{ModelName: "abacus", Plan: "mu", Spec: "MU1", Capacity: num(capacity), Suffix: suffix})
		return err
	}
	h.quota(home, berth.Quota{Resources: berth.Resources{Threads: 3}})
	must(t, buy(2, "a"))
	err := h.unchanged(func() error { return buy(2, "b") })
	if want := "The workspace llm-home has a quota of 3 threads, of which 2 are in use and 2 more were asked for."; berth.CodeOf(err) != berth.CodeNoCapacity || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("threads: %v", err)
	}
	must(t, buy(1, "c"))
	// What a pool holds is nobody's, and another workspace has its own bound.
	h.mustCreate(h.admin(), berth.Purchase{ModelName: "twin", Plan: "ptu"})
	h.mustCreate(h.as(away, berth.RoleAdmin), berth.Purchase{ModelName: "abacus", Plan: "mu", Spec: "MU1", Capacity: num(4)})
	h.quota(home, berth.Quota{Resources: berth.Resources{MemoryBytes: 1 << 30}})
	err = h.unchanged(func() error { return buy(2, "d") })
	if want := "quota of 1024 MiB of memory, of which 768 are in use and 512 more"; !strings.Contains(err.Error(), want) {
		t.Errorf("memory: %v", err)
	}
	h.quota(home, berth.Quota{Deployments: 4})
	must(t, buy(1, "e"))
	err = h.unchanged(func() error { return buy(1, "f") })
	if want := "The workspace llm-home may have 4 deployments and has 4;"; berth.CodeOf(err) != berth.CodeThrottled || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("deployments: %v", err)
	}
	h.quota(home, berth.Quota{})
	h.deployments.MaxPerWorkspace = 2
	if err := buy(1, "g"); berth.CodeOf(err) != berth.CodeThrottled {
		t.Errorf("the server's limit: %v", err)
	}
	h.quota(home, berth.Quota{Deployments: 5})
	must(t, buy(1, "h"))
}

// Scaling up and starting are purchases like the first.
func TestAQuotaHoldsForScaleAndStart(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 8)
	d := h.mustCreate(h.admin(), berth.Purchase{ModelName: "abacus", Plan: "mu", Spec: "MU1", Capacity: num(2)})
	set := func(status berth.Status) {
		t.Helper()
		h.tx(func(ctx context.Context, tx berth.Tx) error {
			d, err := tx.Deployments().Get(ctx, d.ID)
			d.Status = status
			return errors.Join(err, tx.Deployments().Update(ctx, d))
		})
	}
	set(berth.StatusRunning)
	h.quota(home, berth.Quota{Resources: berth.Resources{Threads: 3}})
	err := h.unchanged(func() error {
		return second(h.deployments.Scale(h.admin(), d.DeployedModel, berth.Change{Capacity: num(4)}))
	})
	if want := "quota of 3 threads, of which 2 are in use and 2 more"; berth.CodeOf(err) != berth.CodeNoCapacity || !strings.Contains(err.Error(), want) {
		t.Errorf("scaled to four: %v", err)
	}
	must(t, second(h.deployments.Scale(h.admin(), d.DeployedModel, berth.Change{Capacity: num(3)})))
	h.tx(func(ctx context.Context, tx berth.Tx) error {
		replicas, err := tx.Replicas().OfDeployment(ctx, d.ID)
		for _, r := range replicas {
			err = errors.Join(err, tx.Nodes().Release(ctx, r.ID), tx.Replicas().Delete(ctx, r.ID))
		}
		return err
	})
	set(berth.StatusStopped)
	h.quota(home, berth.Quota{Resources: berth.Resources{Threads: 2}})
	err = h.unchanged(func() error { return second(h.deployments.Start(h.admin(), d.DeployedModel)) })
	if want := "quota of 2 threads, of which 0 are in use and 3 more"; berth.CodeOf(err) != berth.CodeNoCapacity || !strings.Contains(err.Error(), want) {
		t.Errorf("started with three: %v", err)
	}
	h.quota(home, berth.Quota{Resources: berth.Resources{Threads: 3}})
	must(t, second(h.deployments.Start(h.admin(), d.DeployedModel)))
}

// Whoever buys at the same time, a workspace never has more than its quota, and whoever
// was refused would have exceeded it.
func TestManyBuyersNeverExceedAQuota(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 1000)
	round := 0
	rapid.Check(t, func(rt *rapid.T) {
		round++
		w, err := h.workspaces.Create(h.owner(), berth.NewWorkspace{Name: fmt.Sprint("round ", round), AccountID: payer, Quota: berth.Quota{
			Resources:   berth.Resources{Threads: rapid.Int64Range(0, 12).Draw(rt, "threads"), MemoryBytes: rapid.Int64Range(0, 12).Draw(rt, "units of memory") * 256 << 20},
			Deployments: rapid.Int64Range(0, 6).Draw(rt, "deployments"),
		}})
		must(h, err)
		wishes := rapid.SliceOfN(rapid.Int64Range(1, 5), 1, 8).Draw(rt, "wishes")
		refused := make([]atomic.Bool, len(wishes))
		var buyers sync.WaitGroup
		for i, n := range wishes {
			buyers.Go(func() {
				_, err := h.deployments.Create(h.as(w.ID, berth.RoleAdmin), berth.Purchase{ModelName: "abacus", Plan: "mu", Spec: "MU1", Capacity: num(n), Suffix: fmt.Sprint(i)})
				if code := berth.CodeOf(err); code != "" && code != berth.CodeNoCapacity && code != berth.CodeThrottled {
					t.Errorf("refused for another reason: %v", err)
				}
				refused[i].Store(err != nil)
			})
		}
		buyers.Wait()
		var have berth.Resources
		var deployments int64
		h.tx(func(ctx context.Context, tx berth.Tx) (err error) {
			if _, deployments, err = tx.Deployments().List(ctx, berth.DeploymentFilter{WorkspaceID: w.ID, Limit: 1}); err != nil {
				return err
			}
			have, err = tx.Nodes().HeldBy(ctx, w.ID)
			return err
		})
		within := func(more, deployment int64) bool {
			q := w.Quota
			return (q.Threads == 0 || have.Threads+more <= q.Threads) &&
				(q.MemoryBytes == 0 || have.MemoryBytes+more*256<<20 <= q.MemoryBytes) &&
				(q.Deployments == 0 || deployments+deployment <= q.Deployments)
		}
		if !within(0, 0) {
			rt.Fatalf("%+v and %d deployments of %+v", have, deployments, w.Quota)
		}
		for i, n := range wishes {
			if refused[i].Load() && within(n, 1) {
				rt.Fatalf("%d units were refused while %+v and %d deployments of %+v are in use", n, have, deployments, w.Quota)
			}
		}
	})
}

func TestTemporaryTokens(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	parent, _, err := h.keys.Create(h.owner(), berth.NewKey{Role: berth.RoleAdmin, ExpiresAt: h.now().Add(time.Hour)})
	must(t, err)
	caller := berth.Caller{KeyID: parent.ID, WorkspaceID: home, AccountID: payer, Role: parent.Role}
	as := berth.WithCaller(t.Context(), caller)
	h.pass(time.Millisecond)
	token, text, err := h.keys.CreateToken(as, time.Minute)
	if err != nil || !strings.HasPrefix(text, "st-") || token.Hash != hashOf(text) || token.Role != parent.Role || token.ParentID != parent.ID {
		t.Fatalf("got %+v, %v", token, err)
	}
	if !token.ExpiresAt.Equal(h.now().Truncate(time.Second).Add(61 * time.Second)) {
		t.Errorf("it ends %s after it was made", token.ExpiresAt.Sub(h.now()))
	}
	entry := h.snapshot().Keys[token.Hash]
	caller.Temporary = true
	if entry == nil || entry.Caller != caller || !entry.ExpiresAt.Equal(token.ExpiresAt) {
		t.Fatalf("the gateway has %+v", entry)
	}
	as = berth.WithCaller(t.Context(), caller)
	for what, run := range map[string]func() error{
		"a token":     func() error { _, _, err := h.keys.CreateToken(as, time.Minute); return err },
		"a key":       func() error { _, _, err := h.keys.Create(as, berth.NewKey{Role: berth.RoleInference}); return err },
		"a key's end": func() error { _, err := h.keys.Revoke(as, parent.ID); return err },
	} {
		if err := h.unchanged(run); berth.CodeOf(err) != berth.CodeForbidden {
			t.Errorf("%s by a token: %v", what, err)
		}
	}
	keys, err := h.keys.List(as, "", 10)
	if err != nil || len(keys) != 1 {
		t.Errorf("%d keys are listed, %v", len(keys), err)
	}
	// The parent is revoked: dead at once, and no further one is made.
	_, err = h.keys.Revoke(h.owner(), parent.ID)
	must(t, err)
	if n := len(h.snapshot().Keys); n != 0 {
		t.Errorf("%d keys live", n)
	}
	caller.Temporary = false
	err = h.unchanged(func() error {
		_, _, err := h.keys.CreateToken(berth.WithCaller(t.Context(), caller), time.Minute)
		return err
	})
	if berth.CodeOf(err) != berth.CodeUnauthenticated {
		t.Errorf("a token of a revoked key: %v", err)
	}
	h.pass(time.Minute)
	must(t, h.keys.Sweep(t.Context()))
	if n := len(h.books().Keys); n != 2 {
		t.Errorf("%d rows before the end, want 2", n)
	}
	h.pass(time.Second)
	must(t, h.keys.Sweep(t.Context()))
	if n := len(h.books().Keys); n != 1 {
		t.Errorf("%d rows after the end, want 1", n)
	}
}

func TestATokenEndsWithItsKeyAtTheLatest(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	key, _, err := h.keys.Create(h.owner(), berth.NewKey{Role: berth.RoleInference, ExpiresAt: h.now().Add(1500 * time.Millisecond)})
	must(t, err)
	as := berth.WithCaller(t.Context(), berth.Caller{KeyID: key.ID, WorkspaceID: home, Role: key.Role})
	token, _, err := h.keys.CreateToken(as, time.Minute)
	if err != nil || !token.ExpiresAt.Equal(key.ExpiresAt) {
		t.Errorf("got %+v, %v", token, err)
	}
	for _, life := range []time.Duration{0, -1, berth.MinTokenLife - 1, berth.MaxTokenLife + 1} {
		if _, _, err := h.keys.CreateToken(as, life); berth.CodeOf(err) != berth.CodeInvalid || !strings.Contains(err.Error(), "[1, 1800]") {
			t.Errorf("%s: %v", life, err)
		}
	}
	h.pass(1500 * time.Millisecond)
	if n := len(h.snapshot().Keys); n != 0 {
		t.Errorf("%d keys live", n)
	}
}

func TestTokensPerKeyAreBounded(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	key, _, err := h.keys.Create(h.owner(), berth.NewKey{Role: berth.RoleInference})
	must(t, err)
	h.tx(func(ctx context.Context, tx berth.Tx) error {
		for i := range berth.MaxTokensPerKey {
			id := fmt.Sprintf("tok_%d", i)
			must(t, tx.Keys().Insert(ctx, berth.Key{
				ID: id, WorkspaceID: home, ParentID: key.ID, Hash: hashOf(id), ExpiresAt: h.now().Add(time.Duration(i+7) * time.Second),
			}))
		}
		return nil
	})
	as := berth.WithCaller(t.Context(), berth.Caller{KeyID: key.ID, WorkspaceID: home, Role: key.Role})
	err = h.unchanged(func() error { _, _, err := h.keys.CreateToken(as, time.Minute); return err })
	var full *berth.Error
	if !errors.As(err, &full) || full.Code != berth.CodeThrottled || full.RetryAfter != 7*time.Second {
		t.Errorf("got %v", err)
	}
	h.pass(7 * time.Second)
	if _, _, err := h.keys.CreateToken(as, time.Minute); err != nil {
		t.Errorf("after the wait: %v", err)
	}
	if n := len(h.books().Keys); n != 1+berth.MaxTokensPerKey {
		t.Errorf("%d rows: what has ended was not swept", n)
	}
}

func TestKeysOfNamedDeployments(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 8)
	d := h.mustCreate(h.admin(), berth.Purchase{ModelName: "abacus", Plan: "mu", Spec: "MU1", Capacity: num(1)})
	bind := func(role berth.Role, workspace string, names ...string) (berth.Key, error) {
		k, _, err := h.keys.Create(h.owner(), berth.NewKey{Role: role, WorkspaceID: workspace, Deployments: names})
		return k, err
	}
	k, err := bind(berth.RoleInference, "", d.DeployedModel)
	if err != nil || !slices.Equal(k.Deployments, []string{d.ID}) || !slices.Equal(h.snapshot().Keys[k.Hash].Deployments, k.Deployments) {
		t.Errorf("got %+v, %v", k, err)
	}
	for name, c := range map[string]struct {
		role      berth.Role
		workspace string
		names     []string
		code      berth.Code
	}{
		"an admin":                       {berth.RoleAdmin, "", []string{d.DeployedModel}, berth.CodeInvalid},
		"an unknown deployment":          {berth.RoleInference, "", []string{d.DeployedModel, "none"}, berth.CodeNotFound},
		"another workspace's deployment": {berth.RoleInference, away, []string{d.DeployedModel}, berth.CodeNotFound},
		"too many":                       {berth.RoleInference, "", make([]string, berth.MaxDeploymentsOfKey+1), berth.CodeInvalid},
	} {
		err := h.unchanged(func() error { return second(bind(c.role, c.workspace, c.names...)) })
		if berth.CodeOf(err) != c.code {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err = h.deployments.Delete(h.admin(), d.DeployedModel)
	must(t, err)
	keys, err := h.keys.List(h.admin(), "", 10)
	if err != nil || len(keys) != 1 || !slices.Equal(keys[0].DeployedModels, []string{d.DeployedModel}) {
		t.Errorf("got %+v, %v", keys, err)
	}
}

// conformance 11
func TestWhichWorkspaceAKeyMayEnter(t *testing.T) {
	t.Parallel()
	s := (&berth.Routing{
		Keys: []berth.Key{
			{ID: "owner", WorkspaceID: home, Role: berth.RoleOwner, Hash: hashOf("owner")},
			{ID: "admin", WorkspaceID: home, Role: berth.RoleAdmin, Hash: hashOf("admin")},
			{ID: "lost", WorkspaceID: "llm-gone", Role: berth.RoleOwner, Hash: hashOf("lost")},
		},
		Workspaces: []berth.Workspace{{ID: home, AccountID: payer}, {ID: away, AccountID: spare}},
	}).Snapshot(time.Time{})
	if s.Keys[hashOf("lost")] != nil {
		t.Error("a key of a workspace that is gone lives")
	}
	for _, c := range []struct{ key, workspace, account string }{
		{"admin", "", payer}, {"admin", home, payer}, {"admin", away, ""}, {"admin", "llm-none", ""},
		{"owner", "", payer}, {"owner", home, payer}, {"owner", away, spare}, {"owner", "llm-none", ""},
	} {
		before := *s.Keys[hashOf(c.key)]
		entry, err := s.Enter(s.Keys[hashOf(c.key)], c.workspace)
		if c.account == "" {
			if berth.CodeOf(err) != berth.CodeWorkspaceDenied || entry != nil {
				t.Errorf("%s into %q: %+v, %v", c.key, c.workspace, entry, err)
			}
			continue
		}
		if err != nil || entry.Caller.AccountID != c.account || c.workspace != "" && entry.Caller.WorkspaceID != c.workspace || entry.Caller.KeyID != c.key {
			t.Errorf("%s into %q: %+v, %v", c.key, c.workspace, entry, err)
		}
		if now := s.Keys[hashOf(c.key)]; now.Caller != before.Caller {
			t.Errorf("%s into %q changed the key itself", c.key, c.workspace)
		}
	}
}

// snapshot is what the gateway would have now.
func (h *house) snapshot() *berth.Snapshot {
	b := h.books()
	return (&berth.Routing{Keys: b.Keys, Workspaces: b.Workspaces}).Snapshot(h.now())
}
