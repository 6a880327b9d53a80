package engine

import (
	"net/http/httptest"
	"strings"
	"testing"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/fakeengine"
)

// The fake engine has vLLM's two paths, so both drivers can be held to them.
func TestAdaptersAreLoadedByName(t *testing.T) {
	t.Parallel()
	good, bad := berth.AdapterRef{Digest: "sha256:aa", Path: "/good"}, berth.AdapterRef{Digest: "sha256:bb", Path: "/bad"}
	for name, loader := range map[string]AdapterLoader{"vllm": vllm{}, "fake": fake{}} {
		e := fakeengine.New(fakeengine.Script{RefuseAdapters: []string{"bad"}}, fakeengine.Options{})
		server := httptest.NewServer(e)
		at := Endpoint{URL: server.URL}
		for range 2 { // the second time it is there already
			if _, err := loader.LoadAdapter(t.Context(), server.Client(), at, good); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if got := strings.Join(e.Adapters(), " "); got != "berth-adapter-aa" {
			t.Errorf("%s: the engine has %s", name, got)
		}
		if _, err := loader.LoadAdapter(t.Context(), server.Client(), at, bad); !Refused(err) || !strings.Contains(err.Error(), "wrong tensor shapes") {
			t.Errorf("%s: a bad one: %v", name, err)
		}
		for range 2 { // and then gone
			if err := loader.UnloadAdapter(t.Context(), server.Client(), at, good); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if got := e.Adapters(); len(got) > 0 {
			t.Errorf("%s: the engine has %v", name, got)
		}
		server.Close()
		if _, err := loader.LoadAdapter(t.Context(), server.Client(), at, good); err == nil || Refused(err) {
			t.Errorf("%s: an engine that is gone: %v", name, err)
		}
	}
}

// A replica to which adapters may come has room for as many as it has slots, and vLLM is
// told that they may.
func TestVLLMTakesAdaptersWhileItRuns(t *testing.T) {
	t.Parallel()
	l := launchForTest()
	l.Adapters, l.Loads = nil, true
	d := NewVLLM(VLLMConfig{Command: []string{"vllm"}})
	for slots, want := range map[int64]string{1: "--max-loras 1 --max-cpu-loras 4", 4: "--max-loras 4 --max-cpu-loras 16", 64: "--max-loras 8 --max-cpu-loras 32"} {
		l.Spec.Slots = slots
		command, err := d.Command(l, Listen{})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(command.Args, " "); !strings.Contains(got, "--enable-lora "+want) || strings.Contains(got, "--lora-modules") {
			t.Errorf("%d slots: %s", slots, got)
		}
		if got := strings.Join(command.Env, " "); !strings.Contains(got, "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True") {
			t.Errorf("the environment is %s", got)
		}
	}
	l.Model.Args = []string{"--no-enable-lora"}
	if command, err := d.Command(l, Listen{}); err != nil || strings.Contains(strings.Join(command.Args, " "), "--enable-lora") {
		t.Errorf("a model without adapters: %v, %v", command.Args, err)
	}
}
