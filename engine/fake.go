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

var _ Driver = fake{}

// NewFake returns the driver "fake".
func NewFake(c FakeConfig) Driver { return fake{c} }

func (fake) Traits() berth.EngineTraits {
	return berth.EngineTraits{
		Name:          berth.EngineFake,
		MixedAdapters: true, // it plays any adapter in any call, also without having its file
		Adapters:      true,
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
	return Command{Args: args, Env: environment(l, "BERTH_ENGINE_KEY="+at.Key)}, nil
}

// Ready asks for no token: that would count as a call, and scripts say by number which
// call of a client goes wrong.
func (fake) Ready(ctx context.Context, client *http.Client, e Endpoint, _ Launch) error {
	_, err := ask(ctx, client, e, http.MethodGet, "/v1/models", nil)
	return err
}

// Count implements [Driver], with the path of llama.cpp.
func (d fake) Count(c berth.EngineCall) (berth.EngineCount, bool) {
	return berth.EngineCount{Path: "/v1/chat/completions/input_tokens", Fields: d.Fields(c), Member: "input_tokens"}, true
}

func (fake) Fields(c berth.EngineCall) []berth.Field {
	return append(withThinking(openAIFields(c, usageAlong), c.Thinking), loraField(c.Adapter))
}
