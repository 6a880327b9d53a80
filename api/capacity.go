package api

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
)

// The charge types, the billing methods that name them in a write, and the tiers.
const (
	ChargePostPaid = "post_paid"
	ChargePrePaid  = "pre_paid"

	BillingPostPay = "POST_PAY"
	BillingPrePay  = "PRE_PAY"

	TierFast    = "ptu_fast"
	TierDefault = "ptu_default"
)

// The pricing cycles.
const (
	CycleDay  = "Day"
	CycleHour = "Hour" // one slot of 8 hours
)

// The overflow strategies: what happens to calls beyond the reserved throughput.
const (
	OverflowEnable  = "enable"  // served best effort
	OverflowDisable = "disable" // refused
)

// PrePaidInfo is a term paid in advance. In writes AutoRenewal must be there.
type PrePaidInfo struct {
	PricingCycle        string `json:"pricing_cycle,omitempty"` // "" is Day
	Duration            int64  `json:"duration"`
	AutoRenewal         *bool  `json:"auto_renewal,omitempty"`
	AutoRenewalDuration int64  `json:"auto_renewal_duration,omitempty"` // days
	AutoRenewalCycle    string `json:"auto_renewal_cycle,omitempty"`
}

// CapacityWrite is the body of every write to capacity: of an instance, or of a
// deployment that has one. Servers read it with [DecodeCapacity].
type CapacityWrite struct {
	InstanceID    string       `json:"instance_id,omitempty"`    // scale and renew of a deployment with several
	BillingMethod string       `json:"billing_method,omitempty"` // create: PRE_PAY or POST_PAY
	PTU           *PTUCapacity `json:"ptu_capacity,omitempty"`   // absolute
	PrePaidInfo   *PrePaidInfo `json:"pre_paid_info,omitempty"`
	OrderType     string       `json:"order_type,omitempty"` // scale: UPGRADE or DOWNGRADE
	IsChange      bool         `json:"is_change,omitempty"`  // renew: ptu_capacity is another
}

// InstanceCapacity is throughput per minute, in the unit that the server has for the
// capacity-instance endpoints: tokens, or thousands of them.
type InstanceCapacity struct {
	InputTPM    json.Number `json:"input_tpm"`
	OutputTPM   json.Number `json:"output_tpm"`
	ThinkingTPM json.Number `json:"thinking_output_tpm,omitempty"`
}

// CapacityInstance is throughput that is bought, scaled, renewed and released by itself.
type CapacityInstance struct {
	ModelServiceID      string           `json:"model_service_id"` // the deployed model
	InstanceID          string           `json:"instance_id"`
	ChargeType          string           `json:"charge_type"`
	Status              string           `json:"status"`
	Deleted             bool             `json:"deleted"` // released
	EffectiveCapacity   InstanceCapacity `json:"effective_capacity"`
	ConfiguredCapacity  InstanceCapacity `json:"configured_capacity"`
	TargetCapacity      InstanceCapacity `json:"target_capacity"`
	PrePaidInfo         *PrePaidInfo     `json:"pre_paid_info,omitempty"`
	GMTEffective        string           `json:"gmt_effective,omitempty"` // see [ParseTime]
	GMTExpired          string           `json:"gmt_expired,omitempty"`
	CanScale            bool             `json:"can_scale"`
	CanRenew            bool             `json:"can_renew"`
	CanEnableAutoRenew  bool             `json:"can_enable_auto_renew"`
	CanDisableAutoRenew bool             `json:"can_disable_auto_renew"`
	CanDelete           bool             `json:"can_delete"`
	FailReason          string           `json:"fail_reason,omitempty"`
	GMTCreated          string           `json:"gmt_created"`
	GMTModified         string           `json:"gmt_modified"`
	GMTDeleted          string           `json:"gmt_deleted,omitempty"`
}

// CapacityInstanceList is one page of instances: those that serve first, then the newest.
type CapacityInstanceList struct {
	Records      []CapacityInstance `json:"records"`
	Items        int64              `json:"items"` // of all pages
	Page         int64              `json:"page"`
	ItemsPerPage int64              `json:"itemsPerPage"`
	PageCount    int64              `json:"pageCount"`
}

// CapacityOperation is one write to capacity on its way.
type CapacityOperation struct {
	OperationID     string `json:"operation_id"`
	RequestID       string `json:"request_id"` // of the write
	OperationType   string `json:"operation_type"`
	OperationStatus string `json:"operation_status"` // PROCESSING, SUCCEEDED or FAILED
	ModelServiceID  string `json:"model_service_id"`
	InstanceID      string `json:"instance_id"`
	FromStatus      string `json:"from_status"`
	CurrentStatus   string `json:"current_status"`
	ErrorCode       string `json:"error_code,omitempty"`
	ErrorMessage    string `json:"error_message,omitempty"`
	GMTCreated      string `json:"gmt_created"`
	GMTFinished     string `json:"gmt_finished,omitempty"`
}

// CapacityQuery selects instances; its zero value is the first page of all, released ones
// too.
type CapacityQuery struct {
	Page, Size      int // 0: the server's defaults, 1 and 20
	WithoutReleased bool
	Statuses        string // separated by commas
	ChargeTypes     string // separated by commas
}

func (q CapacityQuery) values() url.Values {
	v := url.Values{}
	set := func(name, value string, given bool) {
		if given {
			v.Set(name, value)
		}
	}
	set("page_no", strconv.Itoa(q.Page), q.Page > 0)
	set("page_size", strconv.Itoa(q.Size), q.Size > 0)
	set("include_deleted", "false", q.WithoutReleased)
	set("statuses", q.Statuses, q.Statuses != "")
	set("charge_types", q.ChargeTypes, q.ChargeTypes != "")
	return v
}

func capacityPath(deployedModel, instanceID string) string {
	path := deploymentPath(deployedModel) + "/capacity-instances"
	if instanceID != "" {
		path += "/" + url.PathEscape(instanceID)
	}
	return path
}

// SetOverflow says what happens to calls beyond the throughput of a ptu deployment.
func (c *Client) SetOverflow(ctx context.Context, deployedModel, strategy string) (Deployment, error) {
	return native[Deployment](ctx, c, request{
		method: http.MethodPut, path: deploymentPath(deployedModel) + "/update-overflowstrategy",
		body: map[string]string{"overflow_strategy": strategy},
	})
}

// CreateCapacity buys another capacity instance for a ptu deployment.
func (c *Client) CreateCapacity(ctx context.Context, deployedModel string, w CapacityWrite) (CapacityOperation, error) {
	return native[CapacityOperation](ctx, c, request{method: http.MethodPost, path: capacityPath(deployedModel, ""), body: w})
}

// ListCapacity returns one page of a deployment's capacity instances.
func (c *Client) ListCapacity(ctx context.Context, deployedModel string, q CapacityQuery) (CapacityInstanceList, error) {
	return native[CapacityInstanceList](ctx, c, request{path: capacityPath(deployedModel, ""), query: q.values()})
}

// GetCapacity returns one capacity instance, a released one too.
func (c *Client) GetCapacity(ctx context.Context, deployedModel, instanceID string) (CapacityInstance, error) {
	return native[CapacityInstance](ctx, c, request{path: capacityPath(deployedModel, instanceID)})
}

// ScaleCapacity changes how much an instance has.
func (c *Client) ScaleCapacity(ctx context.Context, deployedModel, instanceID string, w CapacityWrite) (CapacityOperation, error) {
	return native[CapacityOperation](ctx, c, request{method: http.MethodPut, path: capacityPath(deployedModel, instanceID) + "/scale", body: w})
}

// RenewCapacity buys another term for an instance that is paid in advance.
func (c *Client) RenewCapacity(ctx context.Context, deployedModel, instanceID string, w CapacityWrite) (CapacityOperation, error) {
	return native[CapacityOperation](ctx, c, request{method: http.MethodPut, path: capacityPath(deployedModel, instanceID) + "/renew", body: w})
}

// DeleteCapacity releases a post-paid instance.
func (c *Client) DeleteCapacity(ctx context.Context, deployedModel, instanceID, reason string) (CapacityOperation, error) {
	query := url.Values{}
	if reason != "" {
		query.Set("reason", reason)
	}
	return native[CapacityOperation](ctx, c, request{method: http.MethodDelete, path: capacityPath(deployedModel, instanceID), query: query})
}

// UnsubscribeCapacity ends a term that was paid in advance before it is over.
func (c *Client) UnsubscribeCapacity(ctx context.Context, deployedModel, instanceID string) (CapacityOperation, error) {
	return own[CapacityOperation](ctx, c, request{
		method: http.MethodPost,
		path:   "/berth/v1/deployments/" + url.PathEscape(deployedModel) + "/capacity-instances/" + url.PathEscape(instanceID) + "/unsubscribe",
	})
}

// CapacityOperation returns an operation of a deployment.
func (c *Client) CapacityOperation(ctx context.Context, deployedModel, operationID string) (CapacityOperation, error) {
	return native[CapacityOperation](ctx, c, request{path: deploymentPath(deployedModel) + "/capacity-operations/" + url.PathEscape(operationID)})
}
