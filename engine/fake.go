package engine

import (
	"context"
	"fmt"
	"net/http"
	"strconv"

	berth "github.com/berthhq/berth"
)

// FakeConfig says where the fake engine is.
type FakeConfig struct {
	// Executable is a program with the command "fake-engine"; Berth's own.
	Executable string
}

// fake runs the scriptable engine (package fakeengine). A model's file is its script;
// a model without a file is an engine that never fails.
type fake struct{ FakeConfig }

var (
	_ Driver        = fake{}
	_ AdapterLoader = fake{}
	_ Counted       = fake{}
)

// NewFake returns the driver "fake".
func NewFake(c FakeConfig) Driver { return fake{c} }

func (fake) Traits() berth.EngineTraits {
	return berth.EngineTraits{
		Name:            berth.EngineFake,
		MixedAdapters:   true, // it plays any adapter in any call, also without having its file
		Adapters:        true,
		LoadsAdapters:   true,
		ThinkingBudgets: true,
		// It answers without having read anything, so nothing has to be handed over.
		SeparatesRoles: true,
		OverheadBytes:  32 << 20, // a Go program with little to do
	}
}

func (d fake) Command(l Launch, at Listen) (Command, error) {
	if d.Executable == "" {
		return Command{}, fmt.Errorf("%w: no executable for the fake engine is configured", ErrPermanent)
	}
	args := []string{d.Executable, "fake-engine", "--host", at.Host, "--port", strconv.Itoa(at.Port)}
	if l.Model.File.Path != "" {
		args = append(args, "--script", l.Model.File.Path)
	}
	for _, name := range FakeAdapters(l) {
		args = append(args, "--adapter", name)
	}
	return Command{Args: args, Env: environment(l, "BERTH_ENGINE_KEY="+at.Key)}, nil
}

// FakeAdapters are the names of the adapters that a fake engine starts with.
func FakeAdapters(l Launch) []string {
	names := make([]string, len(l.Adapters))
	for i, a := range l.Adapters {
		names[i] = adapterName(a.Digest)
	}
	return names
}

// LoadAdapter implements [AdapterLoader]; as Ready it asks for no token.
func (fake) LoadAdapter(ctx context.Context, client *http.Client, e Endpoint, a berth.AdapterRef) (Spent, error) {
	return Spent{}, loadByName(ctx, client, e, a)
}

// UnloadAdapter implements [AdapterLoader].
func (fake) UnloadAdapter(ctx context.Context, client *http.Client, e Endpoint, a berth.AdapterRef) error {
	return unloadByName(ctx, client, e, a)
}

// Ready asks for no token: that would count as a call, and scripts say by number which
// call of a client goes wrong.
func (fake) Ready(ctx context.Context, client *http.Client, e Endpoint, _ Launch) (Spent, error) {
	_, err := ask(ctx, client, e, http.MethodGet, "/v1/models", nil)
	return Spent{}, err
}

// Count implements [Driver], with the path of llama.cpp.
func (d fake) Count(c berth.EngineCall) (berth.EngineCount, bool) {
	if !templated(c) {
		return berth.EngineCount{}, false
	}
	return berth.EngineCount{Path: "/v1/chat/completions/input_tokens", Fields: d.Fields(c), Member: "input_tokens"}, true
}

// Fields names the adapter twice: by its number, which says how the engine talks, and by
// its name, which the engine must have been given.
func (fake) Fields(c berth.EngineCall) []berth.Field {
	if c.AdapterDigest != "" {
		c.Model = adapterName(c.AdapterDigest)
	}
	fields := withThinking(openAIFields(c, usageAlong), c.Thinking)
	return append(withBudget(fields, "thinking_budget_tokens", c.ThinkingBudget), loraField(c.Adapter))
}

func (fake) Refuses(berth.EngineCall, []berth.Field) string { return "" }

func (fake) Blames(status int, said string) string { return blames(status, said) }

// Counters implements [Counted], with the names of llama.cpp.
func (fake) Counters() Counters { return llamaCpp{}.Counters() }
