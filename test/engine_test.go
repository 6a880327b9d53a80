package test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berthhq/berth/api"
)

func TestEachPlanAnswersOnLlamaCpp(t *testing.T) {
	t.Parallel()
	eachPlanAnswers(t, withProcesses(t, abacusYAML(t)), traits{room: 32768})
}

func TestEachPlanAnswersOnVLLM(t *testing.T) {
	eachPlanAnswers(t, withProcesses(t, vllmYAML(t)), traits{room: 2048, loads: true})
}

// traits are what the tests must know of an engine.
type traits struct {
	room  int  // tokens of a prompt and its answer
	loads bool // adapters come while it runs
}

// The main job on a real engine: three plans, three answers.
func eachPlanAnswers(t *testing.T, b *berth, engine traits) {
	// given one deployment under each plan
	var all []api.Deployment
	for _, d := range []api.CreateDeployment{
		{ModelName: "abacus", Plan: "mu", DeploySpec: "MU1", Capacity: ptr(int64(1))},
		{ModelName: "abacus-words", Plan: "lora", Capacity: ptr(int64(1))},
		{ModelName: "abacus", Plan: "ptu", Suffix: "ptu"},
	} {
		bought, err := b.CreateDeployment(t.Context(), d)
		must(t, err)
		all = append(all, bought)
	}
	for i := range all {
		if all[i] = b.settled(t, all[i].DeployedModel); all[i].Status != api.StatusRunning {
			t.Fatalf("%s is %s: %s", all[i].DeployedModel, all[i].Status, all[i].FailReason)
		}
	}
	mu, lora, ptu := all[0], all[1], all[2]

	// then each answers in its own form
	for deployed, want := range map[string]string{
		mu.DeployedModel: "122", ptu.DeployedModel: "122", lora.DeployedModel: "The answer is 122.",
	} {
		got := b.ask(t, deployed, "37+85")
		if got.Text != want || got.Usage.PromptTokens != 17 {
			t.Errorf("%s: got %q after %d prompt tokens", deployed, got.Text, got.Usage.PromptTokens)
		}
	}

	t.Run("thinking comes before the answer", func(t *testing.T) {
		zero := 0.0
		got, err := b.Chat(t.Context(), api.ChatRequest{
			Model: ptu.DeployedModel, Temperature: &zero, EnableThinking: ptr(true),
			Messages: []api.Message{{Role: "user", Content: "37+85"}},
		}, nil)
		must(t, err)
		if got.Text != "122" || !strings.HasPrefix(got.Reasoning, "37+85: 7+5=12, 3+8+1=12") {
			t.Errorf("got %q after %q", got.Text, got.Reasoning)
		}
		if got.Usage.CompletionTokens != 32 || got.Usage.CompletionDetails.ReasoningTokens == 0 {
			t.Errorf("usage %+v", got.Usage)
		}
	})
	t.Run("as on every engine", func(t *testing.T) { answersAlike(t, b, engine, ptu.DeployedModel, lora.DeployedModel) })
	t.Run("a second adapter joins without a failed call", func(t *testing.T) { joinsWithoutAFailedCall(t, b, engine, lora.DeployedModel) })
	t.Run("every call is recorded", func(t *testing.T) {
		rows, err := b.Usage(t.Context(), api.UsageFilter{DeployedModel: mu.DeployedModel}, "deployed_model")
		must(t, err)
		if len(rows) != 1 || rows[0].Calls != 1 || rows[0].InputTokens != 17 || rows[0].OutputTokens != 4 {
			t.Errorf("got %+v", rows)
		}
	})
	t.Run("after a restart all come back and answer", func(t *testing.T) {
		b = b.restart(t)
		for _, name := range []string{mu.DeployedModel, lora.DeployedModel, ptu.DeployedModel} {
			until(t, name+" serves again", func() bool {
				d, err := b.GetDeployment(t.Context(), name)
				must(t, err)
				if d.Status != api.StatusRunning {
					t.Fatalf("%s went back to %s", name, d.Status) // conformance 47
				}
				return d.ReadyCapacity == d.Capacity
			})
			if got := b.ask(t, name, "37+85"); !strings.Contains(got.Text, "122") {
				t.Errorf("%s answers %q", name, got.Text)
			}
		}
	})
}

// An engine that takes adapters while it runs is neither replaced nor started again.
func TestAnAdapterJoinsARunningEngine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	yaml := fakeYAML(t, map[string]string{"abacus": ""})
	for _, name := range []string{"words", "shout"} {
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, []byte(name), 0o600))
		yaml += "  abacus-" + name + ": {base: abacus, adapter: " + path + "}\n"
	}
	b := inProcess(t, yaml)
	lora := b.running(t, api.CreateDeployment{ModelName: "abacus-words", Plan: "lora", Capacity: ptr(int64(1))})
	joinsWithoutAFailedCall(t, b, traits{loads: true}, lora.DeployedModel)
}

// joinsWithoutAFailedCall deploys another adapter while calls run on the lane.
func joinsWithoutAFailedCall(t *testing.T, b *berth, engine traits, running string) {
	before, err := b.Replicas(t.Context(), running)
	must(t, err)
	stop := b.keepAsking(t, running, "The answer is 122.")
	begun := time.Now()
	shout := b.running(t, api.CreateDeployment{ModelName: "abacus-shout", Plan: "lora", Capacity: ptr(int64(1))})
	t.Logf("the second adapter is deployed after %s", time.Since(begun))
	until(t, "the old lane is gone", func() bool {
		replicas, err := b.Replicas(t.Context(), running)
		must(t, err)
		return len(replicas) == 1 && replicas[0].State == "ready" && (replicas[0].Nonce == before[0].Nonce) == engine.loads
	})
	if calls := stop(); calls == 0 {
		t.Error("no call ran while the lane was rolled")
	}
	if got := b.ask(t, shout.DeployedModel, "37+85"); got.Text != "122!!!" {
		t.Errorf("shout answers %q", got.Text)
	}
}

// A kept connection holds a thread of llama.cpp's HTTP server: with too few of them a
// burst leaves new calls waiting until an idle connection times out, 4 to 8 s later.
func TestABurstOnAFreshEngineIsNotHeldUpByKeptConnections(t *testing.T) {
	t.Parallel()
	b := withProcesses(t, abacusYAML(t))
	d := b.running(t, api.CreateDeployment{ModelName: "abacus", Plan: "mu", DeploySpec: "MU1", Capacity: ptr(int64(1))})
	const calls, tooLong = 24, 3500 * time.Millisecond
	took := make(chan time.Duration, calls)
	for range calls {
		go func() {
			began := time.Now()
			answer := b.send(t, "POST", "/v1/chat/completions", `{"model":"`+d.DeployedModel+`","messages":[{"role":"user","content":"37+85"}],"temperature":0}`)
			if answer.status != 200 {
				t.Errorf("%d %s", answer.status, answer.body)
			}
			took <- time.Since(began)
		}()
	}
	for range calls {
		if d := <-took; d > tooLong {
			t.Errorf("a call of a few milliseconds took %s", d)
		}
	}
}

// The vendor's published example requests, verbatim.
func TestTheThreeDocumentedRequests(t *testing.T) {
	t.Parallel()
	b := withProcesses(t, abacusYAML(t))
	for name, c := range map[string]struct{ body, deployed, want string }{
		// conformance 13
		"ptu": {
			`{"name":"my_qwen_flash","model_name":"qwen-flash-2025-07-28","plan":"ptu","ptu_capacity":{"input_tpm":10000,"output_tpm":1000}}`,
			"qwen-flash-2025-07-28-", "122",
		},
		// conformance 16
		"mu": {
			`{"name":"my_qwen_plus","model_name":"qwen-plus-2025-12-01","plan":"mu","deploy_spec":"MU1","enable_thinking":true,"capacity":4,"max_context_length":10000,"rpm_limit":500,"tpm_limit":1000}`,
			"qwen-plus-2025-12-01-", "122",
		},
		// conformance 26, 31
		"lora": {
			`{"model_name":"qwen3-8b-ft-202511132025-0260","plan":"lora","capacity":1,"name":"qwen3-8b-ft"}`,
			"qwen3-8b-ft-202511132025-0260", "The answer is 122.",
		},
	} {
		t.Run(name, func(t *testing.T) {
			created := b.send(t, "POST", "/api/v1/deployments", c.body)
			var envelope api.Envelope[api.Deployment]
			if err := json.Unmarshal([]byte(created.body), &envelope); err != nil || created.status != 200 {
				t.Fatalf("%d %s", created.status, created.body)
			}
			d := envelope.Output
			if d.Status != api.StatusPending || !strings.HasPrefix(d.DeployedModel, c.deployed) || d.ReadyCapacity != 0 {
				t.Errorf("created %+v", d)
			}
			if got := b.settled(t, d.DeployedModel); got.Status != api.StatusRunning || got.ReadyCapacity != got.Capacity {
				t.Fatalf("came up as %+v", got)
			}
			if got := b.ask(t, d.DeployedModel, "37+85"); got.Text != c.want {
				t.Errorf("answers %q", got.Text)
			}
		})
	}
	// Stand-ins of the same weights share the pool: one base lane, one lora lane, and
	// four threads of mu.
	if held := b.heldThreads(t); held != 6 {
		t.Errorf("%d threads are held, want 6", held)
	}
}

func TestDeleteFreesCapacityAndTheName(t *testing.T) {
	t.Parallel()
	b := withProcesses(t, abacusYAML(t))
	create := api.CreateDeployment{ModelName: "abacus", Plan: "mu", DeploySpec: "MU1", Capacity: ptr(int64(2))}
	d := b.running(t, create)
	if held := b.heldThreads(t); held != 2 {
		t.Fatalf("%d threads are held", held)
	}
	gone, err := b.DeleteDeployment(t.Context(), d.DeployedModel)
	must(t, err)
	if gone.Status != api.StatusDeleting { // conformance 75, 79
		t.Errorf("delete answers %s", gone.Status)
	}
	// conformance 77: refused from the moment that delete has answered
	refused := b.send(t, "POST", "/v1/chat/completions", `{"model":"`+d.DeployedModel+`","messages":[{"role":"user","content":"37+85"}]}`)
	if refused.status == 200 {
		t.Errorf("a deleted deployment answers %s", refused.body)
	}
	until(t, "the deployment is gone", func() bool {
		// conformance 76
		return strings.Contains(b.send(t, "GET", "/api/v1/deployments/"+d.DeployedModel, "").body, `"Not found."`)
	})
	if held := b.heldThreads(t); held != 0 {
		t.Errorf("%d threads are still held", held)
	}
	if again := b.running(t, create); again.DeployedModel != d.DeployedModel { // conformance 36
		t.Errorf("the name %s became %s", d.DeployedModel, again.DeployedModel)
	}
}

// A file that is a GGUF by its header and nothing behind it: the engine cannot load it.
func TestAnEngineThatCannotStartFailsTheDeploymentWithAReason(t *testing.T) {
	t.Parallel()
	yaml := abacusYAML(t)
	b := withProcesses(t, yaml)
	broken := filepath.Join(t.TempDir(), "broken.gguf")
	copyWithDamage(t, modelPath(t, b, "abacus"), broken)
	_, err := b.AddModel(t.Context(), api.AddModel{Name: "broken", Path: broken})
	must(t, err)

	d := b.deploy(t, api.CreateDeployment{ModelName: "broken", Plan: "mu", DeploySpec: "MU1", Capacity: ptr(int64(1))})
	if d.Status != api.StatusFailed || d.FailReason == "" {
		t.Fatalf("came up as %+v", d)
	}
	t.Logf("reason: %s", d.FailReason)
	if !strings.Contains(d.FailReason, "broken.gguf") && !strings.Contains(d.FailReason, "load") {
		t.Errorf("the reason does not say what failed: %s", d.FailReason)
	}
	if held := b.heldThreads(t); held != 0 {
		t.Errorf("%d threads are still held", held)
	}
	events, err := b.Events(t.Context(), d.DeployedModel, "")
	must(t, err)
	if len(events.Events) < 3 {
		t.Errorf("only %d events tell the story", len(events.Events))
	}
}

func modelPath(t testing.TB, b *berth, name string) string {
	t.Helper()
	m, err := b.GetModel(t.Context(), name)
	must(t, err)
	return m.Path
}

// copyWithDamage renames one tensor, so that header and size are right and loading
// fails.
func copyWithDamage(t testing.TB, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	must(t, err)
	damaged := strings.Replace(string(content), "blk.0.attn_q.weight", "blk.0.attn_x.weight", 1)
	if damaged == string(content) {
		t.Fatal("the tensor is not in the file")
	}
	must(t, os.WriteFile(to, []byte(damaged), 0o600))
}
