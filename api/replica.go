package api

import (
	"context"
	"net/url"
	"strconv"
	"time"
)

// Replica is one engine that serves a deployment.
type Replica struct {
	ID        string    `json:"id"`
	Nonce     string    `json:"nonce"`
	PID       int64     `json:"pid"` // the engine's; 0 when none runs
	State     string    `json:"state"`
	URL       string    `json:"url"`
	Slots     int64     `json:"slots"`
	Busy      int64     `json:"busy"`
	StartedAt time.Time `json:"started_at,omitzero"`
	Adopted   bool      `json:"adopted"` // taken over from an earlier server process
	Held      Hardware  `json:"held"`
}

// Hardware is an amount of threads and memory, and accelerators by their ids.
type Hardware struct {
	Threads      int64    `json:"threads"`
	MemoryBytes  int64    `json:"memory_bytes"`
	Accelerators []string `json:"accelerators"`
}

// ReplicaList is the answer of GET /berth/v1/deployments/{id}/replicas.
type ReplicaList struct {
	Replicas []Replica `json:"replicas"`
}

// Explanation is what would become of calls to a deployment now.
type Explanation struct {
	DeployedModel string       `json:"deployed_model"`
	Limits        []LimitState `json:"limits"`
	// PTU is how tokens count against Limits; absent: each as one.
	PTU *PTUTerms `json:"ptu,omitempty"`
	// ExpectedOutputTokens is what a call reserves for an answer that declares no largest
	// output: what 95 of 100 answers did not exceed.
	ExpectedOutputTokens int64         `json:"expected_output_tokens"`
	Replicas             []ReplicaLoad `json:"replicas"`
	Refusals             []string      `json:"refusals"` // why a call would be refused; empty: it would not
	Queue                *Queue        `json:"queue"`    // null where the deployment has replicas of its own
}

// Queue is how calls wait in the pool that a deployment shares with others.
type Queue struct {
	Lines    []QueueLine    `json:"lines"`
	Replicas []QueueReplica `json:"replicas"`
}

// QueueLine is one class of a pool's calls: "guaranteed" ones, which are within a
// reservation, go before those of "best_effort".
type QueueLine struct {
	Class       string     `json:"class"`
	Waiting     int64      `json:"waiting"`     // calls, of all deployments
	Own         int64      `json:"own"`         // of those, this deployment's
	Deployments int64      `json:"deployments"` // that have calls waiting
	Since       *time.Time `json:"since"`       // somebody has been waiting all the time; null: nobody waits
	// ExpectedWaitMS is how long a call of this deployment waits that comes now, at the pace
	// of the last seconds; 0 when it does not wait, at most 60,000.
	ExpectedWaitMS int64 `json:"expected_wait_ms"`
}

// QueueReplica is one replica of a pool.
type QueueReplica struct {
	ID              string `json:"id"`
	Lane            string `json:"lane"` // "base", "lora", or "mixed" for both
	Slots           int64  `json:"slots"`
	GuaranteedSlots int64  `json:"guaranteed_slots"` // that best effort leaves free
	Busy            int64  `json:"busy"`
	BusyBestEffort  int64  `json:"busy_best_effort"` // of those busy
	Failing         bool   `json:"failing"`          // it failed, and gets few calls or none while others serve them
	Group           *Group `json:"group"`            // null where adapters do not take turns, or no call runs
}

// Group are the calls of one adapter whose turn it is in a lane.
type Group struct {
	Own     bool      `json:"own"` // the adapter is this deployment's
	Since   time.Time `json:"since"`
	Waiting int64     `json:"waiting"` // calls that have no slots yet
}

// LimitState is how far one limit per minute is used.
type LimitState struct {
	Dimension string `json:"dimension"` // "requests", "tokens", "input", "output" or "thinking"
	Limit     int64  `json:"limit"`
	Used      int64  `json:"used"` // or reserved
	Remaining int64  `json:"remaining"`
	ResetMS   int64  `json:"reset_ms"` // until all is free if nothing else comes
}

// ReplicaLoad is how many calls a replica has, those of other deployments with them.
type ReplicaLoad struct {
	ID       string `json:"id"`
	Slots    int64  `json:"slots"`
	InFlight int64  `json:"in_flight"`
}

// Explain returns what would become of calls to a deployment now.
func (c *Client) Explain(ctx context.Context, deployedModel string) (Explanation, error) {
	return own[Explanation](ctx, c, request{path: ofDeployment(deployedModel, "explain")})
}

// Event is one thing that happened to a deployment.
type Event struct {
	ID            string    `json:"id"`
	At            time.Time `json:"at"`
	Status        Status    `json:"status"` // after it
	Capacity      int64     `json:"capacity"`
	ReadyCapacity int64     `json:"ready_capacity"`
	Reason        string    `json:"reason"` // a sentence
}

// EventList is one page of events, oldest first.
type EventList struct {
	Events []Event `json:"events"`
	Next   string  `json:"next,omitempty"`
}

// Log is the end of a replica's log.
type Log struct {
	Replica string   `json:"replica"`
	Lines   []string `json:"lines"`
}

// LogList is the answer of GET /berth/v1/deployments/{id}/logs.
type LogList struct {
	Logs []Log `json:"logs"`
}

func ofDeployment(deployedModel, what string) string {
	return "/berth/v1/deployments/" + url.PathEscape(deployedModel) + "/" + what
}

// Replicas returns the replicas that serve a deployment.
func (c *Client) Replicas(ctx context.Context, deployedModel string) ([]Replica, error) {
	list, err := own[ReplicaList](ctx, c, request{path: ofDeployment(deployedModel, "replicas")})
	return list.Replicas, err
}

// Events returns the page of a deployment's events that cursor names, "" for the first.
func (c *Client) Events(ctx context.Context, deployedModel, cursor string) (EventList, error) {
	return own[EventList](ctx, c, request{path: ofDeployment(deployedModel, "events"), query: withCursor(url.Values{}, cursor)})
}

// Logs returns the last lines of the log of each of a deployment's replicas.
func (c *Client) Logs(ctx context.Context, deployedModel string, lines int) ([]Log, error) {
	query := url.Values{"lines": {strconv.Itoa(lines)}}
	list, err := own[LogList](ctx, c, request{path: ofDeployment(deployedModel, "logs"), query: query})
	return list.Logs, err
}
