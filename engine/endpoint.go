package engine

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	berth "github.com/berthhq/berth"
)

// EndpointConfig is what the driver for somebody else's engines needs.
type EndpointConfig struct {
	// OpenKey decrypts the key of an endpoint model.
	OpenKey func(m berth.Model) (string, error)
}

// endpoint speaks to any OpenAI-compatible server that somebody else runs.
type endpoint struct{ EndpointConfig }

var (
	_ Driver = endpoint{}
	_ Remote = endpoint{}
)

// NewEndpoint returns the driver "endpoint".
func NewEndpoint(c EndpointConfig) Driver { return endpoint{c} }

func (endpoint) Traits() berth.EngineTraits {
	return berth.EngineTraits{Name: berth.EngineEndpoint, Remote: true}
}

func (endpoint) Command(Launch, Listen) (Command, error) {
	return Command{}, fmt.Errorf("%w: an endpoint model has no engine to start", ErrPermanent)
}

// Endpoint implements [Remote].
func (d endpoint) Endpoint(l Launch) (Endpoint, error) {
	base := strings.TrimRight(l.Model.URL, "/")
	if len(l.Model.SealedKey) == 0 {
		return Endpoint{URL: base}, nil
	}
	if d.OpenKey == nil {
		return Endpoint{}, errors.New("open the endpoint's key: no key store is configured")
	}
	key, err := d.OpenKey(l.Model)
	if err != nil {
		return Endpoint{}, fmt.Errorf("open the key of model %s: %w", l.Model.Name, err)
	}
	return Endpoint{URL: base, Key: key}, nil
}

// Ready lists the models instead of asking for a token, which somebody would pay for.
// A URL with a path is a base URL, which ends before /chat/completions.
func (endpoint) Ready(ctx context.Context, client *http.Client, e Endpoint, _ Launch) (Spent, error) {
	u, err := url.Parse(e.URL)
	if err != nil {
		return Spent{}, fmt.Errorf("%w: %w", ErrPermanent, err)
	}
	path := "/models"
	if u.Path == "" {
		path = "/v1/models"
	}
	_, err = ask(ctx, client, e, http.MethodGet, path, nil)
	var refused *refusal
	if errors.As(err, &refused) && (refused.status == http.StatusUnauthorized || refused.status == http.StatusForbidden) {
		return Spent{}, fmt.Errorf("%w: %w; add the model again with a key that may list its models", ErrPermanent, err)
	}
	return Spent{}, err
}

// Fields leaves the thinking switch out where nothing was decided, because other servers
// may refuse a member that they do not know.
func (endpoint) Fields(c berth.EngineCall) []berth.Field {
	return withThinking(openAIFields(c, usageAtEnd), c.Thinking)
}

// Count implements [Driver]: there is no common way to ask, and asking might cost.
func (endpoint) Count(berth.EngineCall) (berth.EngineCount, bool) { return berth.EngineCount{}, false }

func (endpoint) Refuses(berth.EngineCall, []berth.Field) string { return "" }

func (endpoint) Blames(status int, said string) string { return blames(status, said) }
