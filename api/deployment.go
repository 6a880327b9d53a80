package api

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// The plans.
const (
	PlanMU   = "mu"   // model units: replicas of one's own
	PlanPTU  = "ptu"  // provisioned throughput on a shared pool
	PlanLoRA = "lora" // an adapter on a shared pool, paid per token
)

// Status is where a deployment stands.
type Status string

// The documented values.
const (
	StatusPending           Status = "PENDING"
	StatusDeploying         Status = "DEPLOYING"
	StatusRunning           Status = "RUNNING"
	StatusUpdating          Status = "UPDATING"
	StatusUpdatingFailed    Status = "UPDATING_FAILED"
	StatusStopped           Status = "STOPPED"
	StatusFailed            Status = "FAILED"
	StatusOfflining         Status = "OFFLINING"
	StatusDeleting          Status = "DELETING"
	StatusDeleted           Status = "DELETED"
	StatusArrearsDown       Status = "ARREARS_DOWN"
	StatusArrearsRecovering Status = "ARREARS_RECOVERING"
)

// ComingUp reports whether the deployment is still being created.
func (s Status) ComingUp() bool { return s == StatusPending || s == StatusDeploying }

// Settled reports whether nothing is under way: the status stays until something new
// happens.
func (s Status) Settled() bool {
	switch s {
	case StatusRunning, StatusStopped, StatusFailed, StatusUpdatingFailed, StatusArrearsDown, StatusDeleted:
		return true
	}
	return false
}

// PTUCapacity is reserved throughput in tokens per minute.
type PTUCapacity struct {
	InputTPM    int64 `json:"input_tpm"`
	OutputTPM   int64 `json:"output_tpm"`
	ThinkingTPM int64 `json:"thinking_output_tpm,omitempty"`
}

// CreateDeployment is the body of POST /api/v1/deployments. Nil and empty fields are
// left out; servers read it with [DecodeCreate].
type CreateDeployment struct {
	ModelName        string       `json:"model_name"`
	Plan             string       `json:"plan,omitempty"`
	Name             string       `json:"name,omitempty"` // for people; diasplay_name is read as well
	Capacity         *int64       `json:"capacity,omitempty"`
	PrefillCapacity  *int64       `json:"prefill_capacity,omitempty"`
	DecodeCapacity   *int64       `json:"decode_capacity,omitempty"`
	DeploySpec       string       `json:"deploy_spec,omitempty"` // template_id is read as well
	BillingMethod    string       `json:"billing_method,omitempty"`
	ChargeType       string       `json:"charge_type,omitempty"`
	ServiceTier      string       `json:"service_tier,omitempty"`  // ptu
	PrePaidInfo      *PrePaidInfo `json:"pre_paid_info,omitempty"` // ptu
	PTU              *PTUCapacity `json:"ptu_capacity,omitempty"`
	Suffix           string       `json:"suffix,omitempty"`
	EnableThinking   *bool        `json:"enable_thinking,omitempty"`
	MaxContextLength *int64       `json:"max_context_length,omitempty"`
	RPMLimit         *int64       `json:"rpm_limit,omitempty"`
	TPMLimit         *int64       `json:"tpm_limit,omitempty"`

	// IdempotencyKey, sent as a header, makes creates with the same key and body within
	// 24 h one. It has 1 to 255 characters of A–Z, a–z, 0–9, '-', '_', '.' and ':'.
	IdempotencyKey string `json:"-"`
}

// Deployment is the deployment object of every answer.
type Deployment struct {
	DeployedModel string `json:"deployed_model"`
	Name          string `json:"name"`
	GMTCreate     string `json:"gmt_create"` // see [ParseTime]
	GMTModified   string `json:"gmt_modified"`
	Status        Status `json:"status"`
	ModelName     string `json:"model_name"`
	BaseModel     string `json:"base_model"`
	BaseCapacity  int64  `json:"base_capacity"`
	Capacity      int64  `json:"capacity"`
	ReadyCapacity int64  `json:"ready_capacity"`
	// Only with a template of type SEPERATED: the units of each role, together Capacity.
	PrefillCapacity int64 `json:"prefill_capacity,omitempty"`
	DecodeCapacity  int64 `json:"decode_capacity,omitempty"`

	WorkspaceID string `json:"workspace_id"`
	ChargeType  string `json:"charge_type"`
	Creator     string `json:"creator"`
	Modifier    string `json:"modifier"`
	Plan        string `json:"plan"`

	// Only mu. Limits that are not set are left out.
	ModelUnitSpec    string `json:"model_unit_spec,omitempty"`
	EnableThinking   *bool  `json:"enable_thinking,omitempty"`
	MaxContextLength *int64 `json:"max_context_length,omitempty"`
	RPMLimit         *int64 `json:"rpm_limit,omitempty"`
	TPMLimit         *int64 `json:"tpm_limit,omitempty"`

	// Only ptu.
	PTU              *PTUCapacity `json:"ptu_capacity,omitempty"`
	OverflowStrategy string       `json:"overflow_strategy,omitempty"`
	PTUServiceTier   string       `json:"ptu_service_tier,omitempty"`

	// Only ptu with a term paid in advance; of several, the one that ends first.
	PrePaidInfo       *PrePaidInfo `json:"pre_paid_info,omitempty"`
	PrePaidInstanceID string       `json:"pre_paid_instance_id,omitempty"`
	PrePaidGMTExpired string       `json:"pre_paid_gmt_expired,omitempty"`

	// Only in answers to writes that began a capacity operation.
	OperationID string `json:"operation_id,omitempty"`
	InstanceID  string `json:"instance_id,omitempty"`

	// FailReason explains FAILED and UPDATING_FAILED.
	FailReason string `json:"fail_reason,omitempty"`
}

// DeploymentList is one page of deployments, newest first.
type DeploymentList struct {
	PageNo      int64        `json:"page_no"`
	PageSize    int64        `json:"page_size"`
	Total       int64        `json:"total"` // of all pages
	Deployments []Deployment `json:"deployments"`
}

const deploymentsPath = "/api/v1/deployments"

func deploymentPath(deployedModel string) string {
	return deploymentsPath + "/" + url.PathEscape(deployedModel)
}

// CreateDeployment buys a deployment. It answers at once; see [Client.WaitDeployment].
func (c *Client) CreateDeployment(ctx context.Context, d CreateDeployment) (Deployment, error) {
	r := request{method: http.MethodPost, path: deploymentsPath, body: d}
	if d.IdempotencyKey != "" {
		r.header = http.Header{"Idempotency-Key": {d.IdempotencyKey}}
	}
	return native[Deployment](ctx, c, r)
}

// GetDeployment returns one deployment.
func (c *Client) GetDeployment(ctx context.Context, deployedModel string) (Deployment, error) {
	return native[Deployment](ctx, c, request{path: deploymentPath(deployedModel)})
}

// ListDeployments returns page number page, from 1, of at most size deployments; an
// empty plan selects all plans.
func (c *Client) ListDeployments(ctx context.Context, page, size int, plan string) (DeploymentList, error) {
	query := url.Values{"page_no": {strconv.Itoa(page)}, "page_size": {strconv.Itoa(size)}}
	if plan != "" {
		query.Set("plan", plan)
	}
	return native[DeploymentList](ctx, c, request{path: deploymentsPath, query: query})
}

// ChangeDeployment is the body of PUT on a deployment, its /scale and its /update. Nil
// fields stay as they are; servers read it with [DecodeChange].
type ChangeDeployment struct {
	Name            *string      `json:"name,omitempty"`
	Capacity        *int64       `json:"capacity,omitempty"` // mu; 0 stops the deployment
	PrefillCapacity *int64       `json:"prefill_capacity,omitempty"`
	DecodeCapacity  *int64       `json:"decode_capacity,omitempty"`
	PTU             *PTUCapacity `json:"ptu_capacity,omitempty"` // absolute
	RPMLimit        *int64       `json:"rpm_limit,omitempty"`    // 0 lifts the limit
	TPMLimit        *int64       `json:"tpm_limit,omitempty"`
}

// Quote is what a purchase would come to.
type Quote struct {
	Possible bool `json:"possible"`
	// Reason says why it is not possible: hardware that is not free, or an account that cannot
	// pay it.
	Reason        string       `json:"reason,omitempty"`
	DeployedModel string       `json:"deployed_model,omitempty"`
	Plan          string       `json:"plan,omitempty"`
	Spec          string       `json:"spec,omitempty"`
	Capacity      int64        `json:"capacity,omitempty"`
	PTU           *PTUCapacity `json:"ptu_capacity,omitempty"`
	// Replicas are the engines that would be started, beside those that serve already.
	Replicas []QuotedReplica `json:"replicas"`
	// ReadySeconds is how long an engine of this model took to come up the last time;
	// absent when none did yet.
	ReadySeconds *float64 `json:"ready_seconds,omitempty"`
	Cost         *Cost    `json:"cost,omitempty"`
}

// Cost is what a purchase costs.
type Cost struct {
	Currency string `json:"currency"`
	// PerHourNano is for each hour in which it serves; 0 of what is paid in advance, or by the
	// token.
	PerHourNano int64 `json:"per_hour_nano"`
	// DepositNano is held on the account by the purchase: 60 minutes of the price, or all that
	// is paid in advance.
	DepositNano int64 `json:"deposit_nano"`
	// SpendableNano is what the account has for that; below 0: overdue; nil: any amount.
	SpendableNano *int64 `json:"spendable_nano,omitempty"`
	// Unpriced says that something has no price, and is free.
	Unpriced bool       `json:"unpriced,omitempty"`
	Lines    []CostLine `json:"lines"`
}

// CostLine is what one dimension costs.
type CostLine struct {
	Dimension string `json:"dimension"`
	// Class is "overflow" of tokens beyond what is reserved.
	Class      string `json:"class,omitempty"`
	FromTokens int64  `json:"from_tokens"` // the shortest prompt that the price is for
	// Quantity is that of an hour, or of a whole term that is paid in advance; 0 of tokens.
	Quantity   int64  `json:"quantity"`
	Unit       string `json:"unit"`
	PriceNano  int64  `json:"price_nano"` // for each Per
	Per        int64  `json:"per"`        // in Unit
	AmountNano int64  `json:"amount_nano"`
	Unpriced   bool   `json:"unpriced,omitempty"`
}

// QuotedReplica is an engine and where it would run.
type QuotedReplica struct {
	NodeID       string `json:"node_id,omitempty"` // absent: somebody else's engine
	Lane         string `json:"lane"`
	Threads      int64  `json:"threads"`
	MemoryBytes  int64  `json:"memory_bytes"`
	Accelerators int64  `json:"accelerators"`
}

// QuoteDeployment answers what CreateDeployment would do, without buying.
func (c *Client) QuoteDeployment(ctx context.Context, d CreateDeployment) (Quote, error) {
	return own[Quote](ctx, c, request{method: http.MethodPost, path: "/berth/v1/quote", body: d})
}

// ScaleDeployment changes how much is bought of a deployment. It answers at once with
// UPDATING; see [Client.WaitDeployment].
func (c *Client) ScaleDeployment(ctx context.Context, deployedModel string, d ChangeDeployment) (Deployment, error) {
	return c.put(ctx, deployedModel, "/scale", d)
}

// UpdateDeployment changes the limits of a deployment.
func (c *Client) UpdateDeployment(ctx context.Context, deployedModel string, d ChangeDeployment) (Deployment, error) {
	return c.put(ctx, deployedModel, "/update", d)
}

// ChangeDeployment changes name, limits and capacity, whole or not at all.
func (c *Client) ChangeDeployment(ctx context.Context, deployedModel string, d ChangeDeployment) (Deployment, error) {
	return c.put(ctx, deployedModel, "", d)
}

// StopDeployment takes a deployment out of service until it is started again.
func (c *Client) StopDeployment(ctx context.Context, deployedModel string) (Deployment, error) {
	return c.put(ctx, deployedModel, "/stop", nil)
}

// StartDeployment buys a stopped or failed deployment again.
func (c *Client) StartDeployment(ctx context.Context, deployedModel string) (Deployment, error) {
	return c.put(ctx, deployedModel, "/start", nil)
}

func (c *Client) put(ctx context.Context, deployedModel, operation string, body any) (Deployment, error) {
	return native[Deployment](ctx, c, request{method: http.MethodPut, path: deploymentPath(deployedModel) + operation, body: body})
}

// DeleteDeployment takes a deployment down for good.
func (c *Client) DeleteDeployment(ctx context.Context, deployedModel string) (Deployment, error) {
	return native[Deployment](ctx, c, request{method: http.MethodDelete, path: deploymentPath(deployedModel)})
}

// Pauses between two looks at a deployment that comes up.
const (
	firstPoll   = 100 * time.Millisecond
	slowestPoll = time.Second
)

// WaitDeployment looks at a deployment until nothing is under way any more and returns
// it as it then is, be it RUNNING, FAILED or DELETING. seen, unless nil, is called with every look.
func (c *Client) WaitDeployment(ctx context.Context, deployedModel string, seen func(Deployment)) (Deployment, error) {
	for pause := firstPoll; ; pause = min(pause*5/4, slowestPoll) {
		d, err := c.GetDeployment(ctx, deployedModel)
		if err != nil {
			return d, err
		}
		if seen != nil {
			seen(d)
		}
		if d.Status.Settled() || d.Status == StatusDeleting {
			return d, nil
		}
		select {
		case <-ctx.Done():
			return d, ctx.Err()
		case <-time.After(pause):
		}
	}
}
