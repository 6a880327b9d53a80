package berth_test

import (
	"strings"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
)

func TestWhoMayMakeWhichKey(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for name, c := range map[string]struct {
		as   berth.Role
		ask  berth.NewKey
		code berth.Code
		want string
	}{
		"an admin makes an admin":         {"admin", berth.NewKey{Role: "admin", Name: "ci"}, "", ""},
		"an owner makes an owner":         {"owner", berth.NewKey{Role: "owner"}, "", ""},
		"an owner, in another workspace":  {"owner", berth.NewKey{Role: "inference", WorkspaceID: away}, "", ""},
		"a key that ends":                 {"admin", berth.NewKey{Role: "inference", ExpiresAt: h.now().Add(1)}, "", ""},
		"an admin makes no owner":         {"admin", berth.NewKey{Role: "owner"}, berth.CodeForbidden, "admin may not make one of role owner"},
		"an admin stays in its workspace": {"admin", berth.NewKey{Role: "inference", WorkspaceID: away}, berth.CodeWorkspaceDenied, "Workspace access denied."},
		"a guest makes none":              {"inference", berth.NewKey{Role: "inference"}, berth.CodeForbidden, "Access denied."},
		"an unknown role":                 {"owner", berth.NewKey{Role: "root"}, berth.CodeInvalid, `"root"`},
		"an unknown workspace":            {"owner", berth.NewKey{Role: "admin", WorkspaceID: "llm-none"}, berth.CodeNotFound, "WorkSpace can not be found."},
		"a long name":                     {"admin", berth.NewKey{Role: "admin", Name: strings.Repeat("x", 51)}, berth.CodeInvalid, "too long"},
		"a key that has expired already":  {"admin", berth.NewKey{Role: "admin", ExpiresAt: h.now()}, berth.CodeInvalid, "in the future"},
	} {
		if c.code != "" {
			err := h.unchanged(func() error { _, _, err := h.keys.Create(h.as(home, c.as), c.ask); return err })
			if berth.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		k, text, err := h.keys.Create(h.as(home, c.as), c.ask)
		if err != nil || k.Hash != hashOf(text) || k.Role != c.ask.Role || k.Name != c.ask.Name || !k.Live(h.now()) || h.published.Load() != h.books().Version {
			t.Errorf("%s: %+v, %v", name, k, err)
		}
		if want := c.ask.WorkspaceID; want != "" && k.WorkspaceID != want || want == "" && k.WorkspaceID != home {
			t.Errorf("%s: in workspace %s", name, k.WorkspaceID)
		}
	}
	mine, err := h.keys.List(h.admin(), "", 100)
	must(t, err)
	all, err := h.keys.List(h.owner(), "", 100)
	if err != nil || len(mine) != 3 || len(all) != 4 {
		t.Errorf("an admin sees %d keys, an owner %d: %v", len(mine), len(all), err)
	}
}

func TestRevoke(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	create := func(n berth.NewKey) berth.Key {
		t.Helper()
		k, _, err := h.keys.Create(h.owner(), n)
		must(t, err)
		return k
	}
	owner := create(berth.NewKey{Role: berth.RoleOwner})
	ending := create(berth.NewKey{Role: berth.RoleOwner, ExpiresAt: h.now().Add(time.Hour)})
	guest := create(berth.NewKey{Role: berth.RoleInference})
	foreign := create(berth.NewKey{Role: berth.RoleInference, WorkspaceID: away})
	for name, c := range map[string]struct {
		as   berth.Role
		id   string
		code berth.Code
	}{
		"an unknown key":                    {"owner", "key_none", berth.CodeNotFound},
		"an admin, another workspace's key": {"admin", foreign.ID, berth.CodeNotFound},
		"an admin, an owner's key":          {"admin", owner.ID, berth.CodeForbidden},
		// Another owner's key that ends by itself would leave nobody.
		"the last owner's key": {"owner", owner.ID, berth.CodeUnsupported},
	} {
		err := h.unchanged(func() error { _, err := h.keys.Revoke(h.as(home, c.as), c.id); return err })
		if berth.CodeOf(err) != c.code {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, k := range []berth.Key{guest, ending} {
		revoked, err := h.keys.Revoke(h.owner(), k.ID)
		if err != nil || revoked.Live(h.now()) {
			t.Errorf("%s: %+v, %v", k.Role, revoked, err)
		}
	}
	first := h.now()
	h.pass(time.Minute)
	again, err := h.keys.Revoke(h.admin(), guest.ID)
	if err != nil || !again.RevokedAt.Equal(first) {
		t.Errorf("a repeat moves the end: %+v, %v", again, err)
	}
	create(berth.NewKey{Role: berth.RoleOwner})
	if _, err := h.keys.Revoke(h.owner(), owner.ID); err != nil {
		t.Errorf("an owner's key beside another: %v", err)
	}
}

func TestBootstrapHappensOnce(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	keep := func(string) error {
		t.Error("a key was made")
		return nil
	}
	if err := h.keys.Bootstrap(t.Context(), berth.First{Currency: "XXX", TimeZone: "UTC", Prices: []berth.Price{{}}}, keep); err != nil {
		t.Errorf("on a store with accounts: %v", err)
	}
	if b := h.books(); len(b.Keys) != 0 || len(b.Prices) != 0 {
		t.Errorf("it made %d keys and %d prices", len(b.Keys), len(b.Prices))
	}
}
