package server

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/api"
)

// billingMethods are the charge types as writes name them; case matters (api.md 4.12).
var billingMethods = map[string]string{api.BillingPrePay: berth.ChargeTypePrePaid, api.BillingPostPay: berth.ChargeTypePostPaid}

// setOverflow is the overflow strategy of api.md 4.12, on both of its paths.
func (s *Server) setOverflow(ctx context.Context, r *http.Request) (any, error) {
	body, err := readBody(r)
	if err != nil {
		return nil, err
	}
	strategy, err := api.DecodeOverflow(body)
	if err != nil {
		return nil, fieldRefusal(err)
	}
	d, err := s.Deployments.SetOverflow(ctx, r.PathValue("id"), berth.OverflowStrategy(strategy))
	if err != nil {
		return nil, err
	}
	return s.deployment(d), nil
}

// createCapacity buys an instance.
func (s *Server) createCapacity(ctx context.Context, r *http.Request) (any, error) {
	w, ask, err := s.capacityAsk(ctx, r, true)
	if err != nil {
		return nil, err
	}
	method, ok := billingMethods[w.BillingMethod]
	switch {
	case w.BillingMethod == "":
		return nil, berth.Errorf(berth.CodeInvalid, "Field required: billing_method")
	case !ok:
		return nil, berth.Errorf(berth.CodeInvalid, "The billing_method %q is not known; use PRE_PAY or POST_PAY, in capitals.", w.BillingMethod)
	case w.PrePaidInfo != nil && method == berth.ChargeTypePostPaid:
		return nil, berth.Errorf(berth.CodeInvalid, "The pre_paid_info needs billing_method PRE_PAY; leave it out for POST_PAY.")
	}
	ask.InstanceID, ask.ChargeType = "", method
	return s.operation(ctx, r)(s.Deployments.AddCapacity(ctx, r.PathValue("id"), ask))
}

// scaleCapacity changes how much an instance has.
func (s *Server) scaleCapacity(ctx context.Context, r *http.Request) (any, error) {
	_, ask, err := s.capacityAsk(ctx, r, true)
	if err != nil {
		return nil, err
	}
	ask.InstanceID = r.PathValue("instance")
	_, op, err := s.Deployments.ScaleCapacity(ctx, r.PathValue("id"), ask)
	return s.operation(ctx, r)(op, err)
}

// renewCapacity extends the term of an instance.
func (s *Server) renewCapacity(ctx context.Context, r *http.Request) (any, error) {
	_, ask, err := s.capacityAsk(ctx, r, true)
	if err != nil {
		return nil, err
	}
	ask.InstanceID = r.PathValue("instance")
	_, op, err := s.Deployments.RenewCapacity(ctx, r.PathValue("id"), ask)
	return s.operation(ctx, r)(op, err)
}

// renewDeployment extends the term of the instance of a deployment; its unit is always
// tokens per minute.
func (s *Server) renewDeployment(ctx context.Context, r *http.Request) (any, error) {
	_, ask, err := s.capacityAsk(ctx, r, false)
	if err != nil {
		return nil, err
	}
	d, op, err := s.Deployments.RenewCapacity(ctx, r.PathValue("id"), ask)
	if err != nil {
		return nil, err
	}
	out := s.deployment(d)
	out.OperationID, out.InstanceID = op.ID, op.InstanceID
	return out, nil
}

// deleteCapacity releases an instance.
func (s *Server) deleteCapacity(ctx context.Context, r *http.Request) (any, error) {
	reason := r.URL.Query().Get("reason")
	if len([]rune(reason)) > maxReason {
		return nil, berth.Errorf(berth.CodeInvalid, "The reason is too long; use at most %d characters.", maxReason)
	}
	ask := berth.CapacityAsk{RequestID: requestOf(ctx), InstanceID: r.PathValue("instance"), Reason: reason}
	return s.operation(ctx, r)(s.Deployments.ReleaseCapacity(ctx, r.PathValue("id"), ask))
}

// maxReason bounds the reason of a release, in characters.
const maxReason = 200

// unsubscribeCapacity ends a term paid in advance; ours, since the service has it in its
// console only.
func (s *Server) unsubscribeCapacity(ctx context.Context, r *http.Request) (any, error) {
	ask := berth.CapacityAsk{RequestID: requestOf(ctx), InstanceID: r.PathValue("instance"), Unsubscribe: true}
	return s.operation(ctx, r)(s.Deployments.ReleaseCapacity(ctx, r.PathValue("id"), ask))
}

// getOperation is GET …/capacity-operations/{id}.
func (s *Server) getOperation(ctx context.Context, r *http.Request) (any, error) {
	return s.operation(ctx, r)(s.Deployments.CapacityOperation(ctx, r.PathValue("id"), r.PathValue("operation")))
}

// operation writes an operation with the present status of its instance.
func (s *Server) operation(ctx context.Context, r *http.Request) func(berth.CapacityOperation, error) (any, error) {
	return func(o berth.CapacityOperation, err error) (any, error) {
		if err != nil {
			return nil, err
		}
		current := o.ToStatus
		if o.Status == berth.OperationProcessing {
			i, err := s.Deployments.CapacityInstance(ctx, r.PathValue("id"), o.InstanceID)
			if err != nil {
				return nil, err
			}
			current = i.Status
		}
		return api.CapacityOperation{
			OperationID: o.ID, RequestID: o.RequestID, OperationType: string(o.Type), OperationStatus: string(o.Status),
			ModelServiceID: r.PathValue("id"), InstanceID: o.InstanceID,
			FromStatus: string(o.FromStatus), CurrentStatus: string(current),
			ErrorCode: o.ErrorCode, ErrorMessage: o.ErrorMessage,
			GMTCreated: s.gmt(o.CreatedAt), GMTFinished: s.gmt(o.FinishedAt),
		}, nil
	}
}

// listCapacity is GET …/capacity-instances (statement 129).
func (s *Server) listCapacity(ctx context.Context, r *http.Request) (any, error) {
	f, err := instanceFilter(r)
	if err != nil {
		return nil, err
	}
	page, total, err := s.Deployments.CapacityInstances(ctx, r.PathValue("id"), f)
	if err != nil {
		return nil, err
	}
	out := api.CapacityInstanceList{
		Records: make([]api.CapacityInstance, 0, len(page)), Items: total,
		Page: f.Page.Number, ItemsPerPage: f.Page.Size, PageCount: (total + f.Page.Size - 1) / f.Page.Size,
	}
	for _, i := range page {
		out.Records = append(out.Records, s.instance(r.PathValue("id"), i))
	}
	return out, nil
}

func instanceFilter(r *http.Request) (f berth.InstanceFilter, err error) {
	query := r.URL.Query()
	if f.Page.Number, err = number(r, "page_no", 1, 1, maxPage); err != nil {
		return f, err
	}
	if f.Page.Size, err = number(r, "page_size", 20, 1, 100); err != nil {
		return f, err
	}
	with, err := strconv.ParseBool(cmp.Or(query.Get("include_deleted"), "true"))
	if err != nil {
		return f, berth.Errorf(berth.CodeInvalid, "The include_deleted must be true or false.")
	}
	f.WithoutReleased = !with
	for text := range fieldsOf(query.Get("statuses")) {
		f.Statuses = append(f.Statuses, berth.InstanceStatus(text))
	}
	for text := range fieldsOf(query.Get("charge_types")) {
		if text != berth.ChargeTypePrePaid && text != berth.ChargeTypePostPaid {
			return f, berth.Errorf(berth.CodeInvalid, "The charge type %q is not known; use pre_paid or post_paid.", text)
		}
		f.ChargeTypes = append(f.ChargeTypes, text)
	}
	return f, nil
}

// fieldsOf yields what stands between commas, without spaces and empty places.
func fieldsOf(csv string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for text := range strings.SplitSeq(csv, ",") {
			if text = strings.TrimSpace(text); text != "" && !yield(text) {
				return
			}
		}
	}
}

// getCapacity is GET …/capacity-instances/{id}.
func (s *Server) getCapacity(ctx context.Context, r *http.Request) (any, error) {
	i, err := s.Deployments.CapacityInstance(ctx, r.PathValue("id"), r.PathValue("instance"))
	if err != nil {
		return nil, err
	}
	return s.instance(r.PathValue("id"), i), nil
}

// instance is the object of api.md 4.12.
func (s *Server) instance(deployedModel string, i berth.CapacityInstance) api.CapacityInstance {
	out := api.CapacityInstance{
		ModelServiceID: deployedModel, InstanceID: i.ID, ChargeType: i.ChargeType, Status: string(i.Status), Deleted: i.Released(),
		EffectiveCapacity: s.amount(i.Effective), ConfiguredCapacity: s.amount(i.Configured), TargetCapacity: s.amount(i.Target),
		GMTEffective: s.gmt(i.EffectiveAt), GMTExpired: s.gmt(i.ExpiresAt),
		CanScale: i.CanScale(), CanRenew: i.CanRenew(), CanDelete: i.CanDelete(),
		CanEnableAutoRenew: i.CanEnableAutoRenewal(), CanDisableAutoRenew: i.CanDisableAutoRenewal(),
		FailReason: i.Reason, GMTCreated: s.gmt(i.CreatedAt), GMTModified: s.gmt(i.ModifiedAt), GMTDeleted: s.gmt(i.DeletedAt),
	}
	if i.Prepaid() {
		out.PrePaidInfo = prepaidInfo(i.Terms)
	}
	return out
}

// gmt writes a time of the native API; the zero time is left out.
func (s *Server) gmt(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return api.FormatTime(t, s.Zone)
}

// kilo is the factor of [Options.KiloTPM].
const kilo = 1000

// amount writes throughput in the unit of the capacity-instance endpoints, exactly.
func (s *Server) amount(c berth.PTUCapacity) api.InstanceCapacity {
	write := func(tpm int64) json.Number {
		if !s.KiloTPM {
			return json.Number(strconv.FormatInt(tpm, 10))
		}
		text := strconv.FormatInt(tpm/kilo, 10)
		if rest := tpm % kilo; rest != 0 {
			text += "." + strings.TrimRight(strconv.FormatInt(kilo+rest, 10)[1:], "0")
		}
		return json.Number(text)
	}
	out := api.InstanceCapacity{InputTPM: write(c.InputTPM), OutputTPM: write(c.OutputTPM)}
	if c.ThinkingTPM > 0 {
		out.ThinkingTPM = write(c.ThinkingTPM)
	}
	return out
}

// capacityAsk reads the body of a write to capacity; ofInstance says that its unit is
// that of the capacity-instance endpoints.
func (s *Server) capacityAsk(ctx context.Context, r *http.Request, ofInstance bool) (api.CapacityWrite, berth.CapacityAsk, error) {
	body, err := readBody(r)
	if err != nil {
		return api.CapacityWrite{}, berth.CapacityAsk{}, err
	}
	w, err := api.DecodeCapacity(body)
	if err != nil {
		return w, berth.CapacityAsk{}, fieldRefusal(err)
	}
	ask, err := askOf(ctx, w)
	if ofInstance && s.KiloTPM && ask.PTU != nil {
		for _, n := range []*int64{&ask.PTU.InputTPM, &ask.PTU.OutputTPM, &ask.PTU.ThinkingTPM} {
			if *n < 0 || *n > berth.MaxLimitPerMinute/kilo {
				return w, ask, berth.Errorf(berth.CodeInvalid, "Range of ptu_capacity should be [0, %d] thousand tokens per minute", int64(berth.MaxLimitPerMinute/kilo))
			}
			*n *= kilo
		}
	}
	return w, ask, err
}

func askOf(ctx context.Context, w api.CapacityWrite) (berth.CapacityAsk, error) {
	ask := berth.CapacityAsk{RequestID: requestOf(ctx), InstanceID: w.InstanceID, OrderType: w.OrderType, IsChange: w.IsChange}
	if w.PTU != nil {
		ask.PTU = &berth.PTUCapacity{InputTPM: w.PTU.InputTPM, OutputTPM: w.PTU.OutputTPM, ThinkingTPM: w.PTU.ThinkingTPM}
	}
	var err error
	ask.Terms, err = prepaidTerms(w.PrePaidInfo)
	return ask, err
}

// prepaidTerms maps pre_paid_info; nil stays nil.
func prepaidTerms(info *api.PrePaidInfo) (*berth.PrepaidTerms, error) {
	switch {
	case info == nil:
		return nil, nil
	case info.AutoRenewal == nil:
		return nil, berth.Errorf(berth.CodeInvalid, "Field required: pre_paid_info.auto_renewal")
	case info.AutoRenewalCycle != "" && info.AutoRenewalCycle != api.CycleDay:
		return nil, berth.Errorf(berth.CodeInvalid, "The auto_renewal_cycle %q is not known; use Day, or leave it out.", info.AutoRenewalCycle)
	}
	t := &berth.PrepaidTerms{
		Cycle: berth.PricingCycle(cmp.Or(info.PricingCycle, api.CycleDay)), Duration: info.Duration, AutoRenewal: *info.AutoRenewal,
	}
	if t.AutoRenewal {
		t.RenewalDays = info.AutoRenewalDuration
	}
	return t, nil
}

func prepaidInfo(t berth.PrepaidTerms) *api.PrePaidInfo {
	renewal := t.AutoRenewal
	info := &api.PrePaidInfo{PricingCycle: string(t.Cycle), Duration: t.Duration, AutoRenewal: &renewal, AutoRenewalDuration: t.RenewalDays}
	if renewal {
		info.AutoRenewalCycle = api.CycleDay
	}
	return info
}

// begun adds the operation that the request began, if it began one, to an answer.
func (s *Server) begun(ctx context.Context, d berth.Deployment) (api.Deployment, error) {
	out := s.deployment(d)
	if !d.Reserved {
		return out, nil
	}
	o, found, err := s.Deployments.CapacityOperationOf(ctx, d, requestOf(ctx))
	if found {
		out.OperationID, out.InstanceID = o.ID, o.InstanceID
	}
	return out, err
}
