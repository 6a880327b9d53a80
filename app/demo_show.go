package app

import (
	"context"
	_ "embed"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"

	"golang.org/x/term"

	"github.com/berthhq/berth/api"
)

//go:embed demo.yaml
var demoConfig string

// showing is one run through the demo.
type showing struct {
	out    io.Writer
	client *api.Client
	key    string
	names  []string // deployed models
}

// question is what every deployment is asked.
const question = "37+85"

// plans deploys under each plan, one after the other, and asks each the same sum.
func (s *showing) plans(ctx context.Context) error {
	one := int64(1)
	purchases := []api.CreateDeployment{
		{ModelName: "abacus", Plan: api.PlanMU, Name: "demo mu", DeploySpec: "MU1", Capacity: &one, Suffix: "mu"},
		{ModelName: "abacus-words", Plan: api.PlanLoRA, Name: "demo lora", Capacity: &one, Suffix: "lora"},
		{ModelName: "abacus", Plan: api.PlanPTU, Name: "demo ptu", Suffix: "ptu", PTU: &api.PTUCapacity{InputTPM: 10_000, OutputTPM: 1_000}},
	}
	fmt.Fprintf(s.out, "Berth serves at %s. Its node claims 16 threads (node.threads: 16); this machine has %d.\n", s.client.BaseURL, runtime.NumCPU())
	fmt.Fprintf(s.out, "Asking a deployment of each plan, without thinking: %s\n\n", question)
	fmt.Fprintf(s.out, "%-5s %-26s %-20s %-12s %s\n", "PLAN", "DEPLOYED MODEL", "ANSWER", "TOKENS", "POST TO ANSWER")
	for _, p := range purchases {
		if err := s.buyAndAsk(ctx, p); err != nil {
			return fmt.Errorf("%s: %w", p.Plan, err)
		}
	}
	return nil
}

// buyAndAsk measures from the POST to the whole first answer.
func (s *showing) buyAndAsk(ctx context.Context, p api.CreateDeployment) error {
	began := time.Now()
	s.progress(p.Plan + ": starting the engine ...")
	d, err := s.client.CreateDeployment(ctx, p)
	if err != nil {
		return err
	}
	d, err = s.client.WaitDeployment(ctx, d.DeployedModel, nil)
	if err != nil {
		return err
	}
	if d.Status != api.StatusRunning {
		return fmt.Errorf("the deployment %s is %s: %s", d.DeployedModel, d.Status, d.FailReason)
	}
	zero := 0.0
	answer, err := s.client.Chat(ctx, api.ChatRequest{
		Model: d.DeployedModel, Messages: []api.Message{{Role: "user", Content: question}}, Temperature: &zero,
	}, nil)
	if err != nil {
		return err
	}
	s.names = append(s.names, d.DeployedModel)
	s.progress("")
	tokens := fmt.Sprintf("%d + %d", answer.Usage.PromptTokens, answer.Usage.CompletionTokens)
	fmt.Fprintf(s.out, "%-5s %-26s %-20s %-12s %.2f s\n", p.Plan, d.DeployedModel, answer.Text, tokens, time.Since(began).Seconds())
	return nil
}

// progress shows on a terminal what is under way, on a line that the next one
// overwrites.
func (s *showing) progress(text string) {
	if f, ok := s.out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		fmt.Fprintf(s.out, "\r%-40s\r", text)
	}
}

// recipes prints lines that work when pasted into a shell, each by itself.
func (s *showing) recipes() {
	curl := fmt.Sprintf(`curl -s -H "Authorization: Bearer %s" -H "Content-Type: application/json" %s`, s.key, s.client.BaseURL)
	fmt.Fprintf(s.out, `
URL  %s
key  %s

Create a deployment, with the vendor's own example request:
  %s/api/v1/deployments -d '{"name":"my_qwen_flash","model_name":"qwen-flash-2025-07-28","plan":"ptu","ptu_capacity":{"input_tpm":10000,"output_tpm":1000}}'
Chat as OpenAI clients do:
  %s/compatible-mode/v1/chat/completions -d '{"model":"%s","messages":[{"role":"user","content":"37+85"}],"temperature":0}'
Generate as DashScope clients do:
  %s/api/v1/services/aigc/text-generation/generation -d '{"model":"%s","input":{"messages":[{"role":"user","content":"37+85"}]},"parameters":{"temperature":0,"result_format":"message"}}'

For the command line: export BERTH_URL=%s BERTH_API_KEY=%s
`, s.client.BaseURL, s.key, curl, curl, s.names[0], curl, s.names[1], s.client.BaseURL, s.key)
}
