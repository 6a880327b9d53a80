package api

import "context"

// Node is one machine: what it has, and what is held of that by whom.
type Node struct {
	ID string `json:"id"`
	Hardware
	// AcceleratorDetails says what is known of each accelerator.
	AcceleratorDetails []Accelerator `json:"accelerator_details"`
	Held               []Hold        `json:"held"`
}

// Accelerator is a GPU or the like.
type Accelerator struct {
	ID          string `json:"id"`
	Vendor      string `json:"vendor"`         // nvidia or amd
	Name        string `json:"name,omitempty"` // "": unknown
	MemoryBytes int64  `json:"memory_bytes"`   // 0: unknown
}

// Hold is hardware that one replica takes, for a deployment or for a pool, or that a
// calibration does.
type Hold struct {
	DeployedModel string `json:"deployed_model,omitempty"`
	Pool          string `json:"pool,omitempty"`        // the model whose pool it is
	Calibration   string `json:"calibration,omitempty"` // the model that is being calibrated
	Replica       string `json:"replica"`
	Hardware
}

// NodeList is the answer of GET /berth/v1/nodes.
type NodeList struct {
	Nodes []Node `json:"nodes"`
}

// Health is the answer of GET /healthz.
type Health struct {
	Status  string `json:"status"`
	Version string `json:"version"`
	// Warnings are what an operator should look at; they do not keep it from serving.
	Warnings []string `json:"warnings,omitempty"`
}

// Nodes returns the inventory.
func (c *Client) Nodes(ctx context.Context) ([]Node, error) {
	list, err := own[NodeList](ctx, c, request{path: "/berth/v1/nodes"})
	return list.Nodes, err
}

// Health asks whether the server is up; it needs no key.
func (c *Client) Health(ctx context.Context) (Health, error) {
	return own[Health](ctx, c, request{path: "/healthz"})
}
