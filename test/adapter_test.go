package test

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berthhq/berth/api"
)

// brokenAdapter copies an adapter and spoils what only the engine looks at: the alpha of
// its header is an integer instead of a float.
func brokenAdapter(t *testing.T, adapter string) string {
	t.Helper()
	content, err := os.ReadFile(adapter)
	must(t, err)
	const key, typeUint32, typeFloat32 = "adapter.lora.alpha", 4, 6
	i := bytes.Index(content, []byte(key)) + len(key)
	if i < len(key) || binary.LittleEndian.Uint32(content[i:]) != typeFloat32 {
		t.Fatal("the adapter has no alpha to spoil")
	}
	binary.LittleEndian.PutUint32(content[i:], typeUint32)
	path := filepath.Join(t.TempDir(), "broken.gguf")
	must(t, os.WriteFile(path, content, 0o600))
	return path
}

// An adapter that no check of files sees through and that the engine refuses: whoever
// deployed it is told, everybody else's calls go on, also those of an adapter that is
// deployed at the same time.
func TestABadAdapterOnLlamaCpp(t *testing.T) {
	t.Parallel()
	b := withProcesses(t, abacusYAML(t))
	words := b.running(t, api.CreateDeployment{ModelName: "abacus-words", Plan: "lora"})
	good, err := b.GetModel(t.Context(), "abacus-shout")
	must(t, err)
	_, err = b.AddModel(t.Context(), api.AddModel{Name: "abacus-broken", Base: "abacus", Adapter: brokenAdapter(t, good.Path)})
	must(t, err)
	before := b.heldThreads(t)

	stop := b.keepAsking(t, words.DeployedModel, "122")
	_, err = b.CreateDeployment(t.Context(), api.CreateDeployment{ModelName: "abacus-broken", Plan: "lora"})
	must(t, err)
	shout := b.running(t, api.CreateDeployment{ModelName: "abacus-shout", Plan: "lora"})
	broken := b.settled(t, "abacus-broken")
	if broken.Status != api.StatusFailed || !strings.HasPrefix(broken.FailReason, "The adapter could not be loaded: ") {
		t.Errorf("the broken one is %s: %s", broken.Status, broken.FailReason)
	}
	until(t, "the lane has been rolled", func() bool {
		replicas, err := b.Replicas(t.Context(), words.DeployedModel)
		must(t, err)
		return len(replicas) == 1 && replicas[0].State == "ready" && b.heldThreads(t) == before
	})
	if calls := stop(); calls == 0 {
		t.Error("nobody called meanwhile")
	}
	if got := b.ask(t, shout.DeployedModel, "37+85"); !strings.Contains(got.Text, "122") {
		t.Errorf("the adapter deployed with it answers %q", got.Text)
	}
}
