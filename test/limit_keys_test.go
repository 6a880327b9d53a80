package test

import (
	"net/http"
	"testing"
	"time"

	"github.com/berthhq/berth/api"
)

// conformance 108
// A limit is the deployment's: all keys that may call it use it up together, those of
// others, bound ones, and what a key was changed for included.
func TestALimitIsOfAllKeysTogether(t *testing.T) {
	t.Parallel()
	b := inProcess(t, "models: {m: {engine: fake, path: "+emptyScript(t)+", plans: [mu]}}\n")
	d := one("m")
	d.RPMLimit = ptr(int64(3))
	name := b.running(t, d).DeployedModel
	admin, err := b.CreateKey(t.Context(), api.CreateKey{Role: api.RoleAdmin})
	must(t, err)
	bound, err := b.CreateKey(t.Context(), api.CreateKey{Role: api.RoleInference, Deployments: []string{name}})
	must(t, err)
	temporary, err := b.CreateToken(t.Context(), time.Minute)
	must(t, err)
	for i, key := range []string{admin.Text, bound.Text, temporary.Token, b.Key, admin.Text, bound.Text, temporary.Token} {
		want := http.StatusOK
		if i >= 3 {
			want = http.StatusTooManyRequests
		}
		got := b.send(t, "POST", "/v1/chat/completions", `{"model":"`+name+`","messages":[{"role":"user","content":"1+1"}],"max_tokens":4}`, "Authorization", "Bearer "+key)
		if got.status != want {
			t.Errorf("call %d: %d, want %d: %s", i, got.status, want, got.body)
		}
	}
}
