package api

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// The kinds of models.
const (
	ModelKindBase     = "base"     // weights in a file
	ModelKindAdapter  = "adapter"  // LoRA weights on a base
	ModelKindEndpoint = "endpoint" // somebody else's OpenAI-compatible URL
)

// Model is what can be deployed.
type Model struct {
	Name          string       `json:"name"`
	Kind          string       `json:"kind"`
	WorkspaceID   string       `json:"workspace_id,omitempty"` // absent: the catalogue's
	Base          string       `json:"base,omitempty"`         // adapters
	Engine        string       `json:"engine"`
	Path          string       `json:"path,omitempty"` // on the server
	Digest        string       `json:"digest,omitempty"`
	SizeBytes     int64        `json:"size_bytes,omitempty"`
	Architecture  string       `json:"architecture,omitempty"`
	Parameters    int64        `json:"parameters,omitempty"`
	URL           string       `json:"url,omitempty"`         // endpoints
	RemoteName    string       `json:"remote_name,omitempty"` // endpoints
	ContextLength int64        `json:"context_length,omitempty"`
	Thinking      string       `json:"thinking"` // none, optional or always
	Plans         []string     `json:"plans"`
	Specs         []Spec       `json:"specs"` // as they hold for one replica of this model
	Calibration   *Calibration `json:"calibration,omitempty"`
	PTU           *PTUTerms    `json:"ptu,omitempty"`    // absent: each token counts as one
	Prices        []PriceTag   `json:"prices,omitempty"` // for admins; by plan
	StandIn       bool         `json:"stand_in"`         // runs other weights than its name says
	Description   string       `json:"description,omitempty"`
	CreatedAt     time.Time    `json:"created_at"`
}

// PriceTag is what a model costs under one plan, at this moment and in the currency of the
// account that pays for the workspace: so much for each Per of a dimension.
type PriceTag struct {
	Plan       string `json:"plan"`
	Spec       string `json:"spec,omitempty"` // of unit minutes
	Dimension  string `json:"dimension"`
	FromTokens int64  `json:"from_tokens,omitempty"` // the shortest prompt that it is for
	PriceNano  int64  `json:"price_nano"`
	Per        int64  `json:"per"`
	Currency   string `json:"currency"`
	Unpriced   bool   `json:"unpriced,omitempty"` // there is no price: free, or not sold (billing.unpriced)
}

// Calibration is what throughput of a model is sold by.
type Calibration struct {
	Declared bool `json:"declared"` // written in the configuration, not measured
	// InputTPM and OutputTPM are declared: what one replica carries, both at the same time.
	InputTPM  int64 `json:"input_tpm,omitempty"`
	OutputTPM int64 `json:"output_tpm,omitempty"`
	// MaxInputTPM and MaxOutputTPM are what one replica sells of each; of a measured
	// calibration while it sells nothing of the other. 0: no bound, since it costs nothing.
	MaxInputTPM  int64     `json:"max_input_tpm"`
	MaxOutputTPM int64     `json:"max_output_tpm"`
	Measured     *Findings `json:"measured,omitempty"`
}

// PTUTerms are how tokens of a model's ptu deployments count against what is reserved. A
// factor has at most three decimals; 0 stands for 1.
type PTUTerms struct {
	CacheFactor float64     `json:"cache_factor,omitempty"` // of input tokens from the prefix cache, up to 1
	MaxInput    int64       `json:"max_input,omitempty"`    // tokens; a longer input is always overflow
	LongInput   []LongInput `json:"long_input,omitempty"`   // the shortest first
}

// LongInput is what tokens count when the input is longer than Above, in tokens: those of
// the input beyond it (Input), and all of the answer (Output). Factors are 1 to 16.
type LongInput struct {
	Above  int64   `json:"above"`
	Input  float64 `json:"input"`
	Output float64 `json:"output"`
}

// Spec is hardware under a name: of one unit in [Client.Specs], of one replica in a
// [Model].
type Spec struct {
	Name            string `json:"name"`
	Type            string `json:"type"` // COUPLED or SEPERATED
	Threads         int64  `json:"threads"`
	MemoryBytes     int64  `json:"memory_bytes"`
	Accelerators    int64  `json:"accelerators"`
	Slots           int64  `json:"slots"` // parallel sequences
	ContextLength   int64  `json:"context_length"`
	UnitsPerReplica int64  `json:"units_per_replica"`
}

// AddModel is the body of POST /berth/v1/models: one of Path, Base with Adapter, URL, and
// Upload with or without a Base. Path and Adapter name files on the server.
type AddModel struct {
	Name          string    `json:"name"`
	Upload        string    `json:"upload,omitempty"`      // id of a complete [Upload]
	WeightType    string    `json:"weight_type,omitempty"` // of an upload with a base: lora (default) or full
	Path          string    `json:"path,omitempty"`
	Base          string    `json:"base,omitempty"`
	Adapter       string    `json:"adapter,omitempty"`
	URL           string    `json:"url,omitempty"`
	Key           string    `json:"key,omitempty"` // never shown again
	RemoteName    string    `json:"remote_name,omitempty"`
	Engine        string    `json:"engine,omitempty"`
	Plans         []string  `json:"plans,omitempty"`
	Specs         []string  `json:"specs,omitempty"` // names; the first is the default
	ContextLength int64     `json:"context_length,omitempty"`
	Thinking      string    `json:"thinking,omitempty"`
	StandIn       bool      `json:"stand_in,omitempty"`
	PTU           *PTUTerms `json:"ptu,omitempty"` // an owner's to say
	Description   string    `json:"description,omitempty"`
}

// ModelList is the answer of GET /berth/v1/models.
type ModelList struct {
	Models []Model `json:"models"`
	Next   string  `json:"next,omitempty"` // cursor of the next page; absent on the last
}

// SpecList is the answer of GET /berth/v1/specs.
type SpecList struct {
	Specs []Spec `json:"specs"`
}

const modelsPath = "/berth/v1/models"

// AddModel adds a model to the catalogue or, for others than the owner, to the
// workspace of the key.
func (c *Client) AddModel(ctx context.Context, m AddModel) (Model, error) {
	return own[Model](ctx, c, request{method: http.MethodPost, path: modelsPath, body: m})
}

// Models returns the page of the models that the key's workspace sees, by name, that cursor
// names, "" for the first.
func (c *Client) Models(ctx context.Context, cursor string) (ModelList, error) {
	return own[ModelList](ctx, c, request{path: modelsPath, query: withCursor(url.Values{}, cursor)})
}

// ListModels returns all models that the key's workspace sees, by name.
func (c *Client) ListModels(ctx context.Context) (all []Model, err error) {
	for cursor := ""; ; {
		page, err := c.Models(ctx, cursor)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Models...)
		if cursor = page.Next; cursor == "" {
			return all, nil
		}
	}
}

// GetModel returns one model.
func (c *Client) GetModel(ctx context.Context, name string) (Model, error) {
	return own[Model](ctx, c, request{path: modelsPath + "/" + url.PathEscape(name)})
}

// DeleteModel removes a model that is not deployed. Its files stay where they are.
func (c *Client) DeleteModel(ctx context.Context, name string) error {
	return nothing(ctx, c, request{method: http.MethodDelete, path: modelsPath + "/" + url.PathEscape(name)})
}

// Specs returns the hardware that models can be deployed on.
func (c *Client) Specs(ctx context.Context) ([]Spec, error) {
	list, err := own[SpecList](ctx, c, request{path: "/berth/v1/specs"})
	return list.Specs, err
}
