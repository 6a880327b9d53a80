package fakeengine_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/berthhq/berth/fakeengine"
)

func TestAdaptersComeAndGo(t *testing.T) {
	t.Parallel()
	e := mustNew(t, fakeengine.Script{RefuseAdapters: []string{"bad"}}, fakeengine.Options{Adapters: []string{"berth-adapter-0"}})
	const load, unload = "/v1/load_lora_adapter", "/v1/unload_lora_adapter"
	call := func(name string) string {
		return `{"model":"` + name + `","messages":[{"role":"user","content":"1+1"}]}`
	}
	for i, step := range []struct {
		path, body string
		status     int
		says       string
	}{
		{chatPath, call("berth-adapter-0"), http.StatusOK, ""},
		{chatPath, call("berth-adapter-1"), http.StatusNotFound, "does not exist"},
		{load, `{"lora_name":"berth-adapter-1","lora_path":"/good"}`, http.StatusOK, ""},
		{load, `{"lora_name":"berth-adapter-1","lora_path":"/good"}`, http.StatusBadRequest, "already been loaded"},
		{load, `{"lora_name":"berth-adapter-2","lora_path":"/bad"}`, http.StatusInternalServerError, "wrong tensor shapes"},
		{load, `{"lora_name":"berth-adapter-2"}`, http.StatusBadRequest, "must be provided"},
		{chatPath, call("berth-adapter-1"), http.StatusOK, ""},
		{chatPath, call("berth-adapter-2"), http.StatusNotFound, "does not exist"},
		{unload, `{"lora_name":"berth-adapter-1"}`, http.StatusOK, ""},
		{unload, `{"lora_name":"berth-adapter-1"}`, http.StatusNotFound, "cannot be found"},
		{unload, `[`, http.StatusBadRequest, ""},
		{chatPath, call("berth-adapter-1"), http.StatusNotFound, "does not exist"},
		{chatPath, call("any other name"), http.StatusOK, ""},
	} {
		if got := string(mustAsk(t, e, http.MethodPost, step.path, step.body, step.status)); !strings.Contains(got, step.says) {
			t.Errorf("step %d: %s does not say %q", i, got, step.says)
		}
	}
	if got := strings.Join(e.Adapters(), " "); got != "berth-adapter-0" {
		t.Errorf("it has %s", got)
	}
}
