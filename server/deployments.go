package server

import (
	"context"
	"errors"
	"net/http"
	"strings"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/api"
)

// createDeployment is api.md 4.4; with dry_run=true it answers the quote.
func (s *Server) createDeployment(ctx context.Context, r *http.Request) (any, error) {
	dry, err := boolean(r, "dry_run")
	if err != nil {
		return nil, err
	}
	if dry {
		return s.quote(ctx, r)
	}
	p, body, err := readPurchase(r)
	if err != nil {
		return nil, err
	}
	p.RequestID = requestOf(ctx)
	once := berth.Once{Body: body}
	switch keys := r.Header.Values("Idempotency-Key"); len(keys) {
	case 0:
	case 1:
		once.Key = &keys[0]
	default:
		return nil, berth.Errorf(berth.CodeInvalid, "The header Idempotency-Key stands %d times in the request; send it once.", len(keys))
	}
	d, err := s.Deployments.CreateOnce(ctx, p, once)
	if err != nil {
		return nil, err
	}
	out, err := s.begun(ctx, d)
	if err != nil {
		return nil, err
	}
	return heard{out, func() error { return s.Deployments.Unheard(ctx, d, once) }}, nil
}

// readPurchase also returns the body as it was sent.
func readPurchase(r *http.Request) (berth.Purchase, []byte, error) {
	body, err := readBody(r)
	if err != nil {
		return berth.Purchase{}, nil, err
	}
	c, err := api.DecodeCreate(body)
	if err != nil {
		return berth.Purchase{}, nil, fieldRefusal(err)
	}
	p := purchase(c)
	p.Prepaid, err = prepaidTerms(c.PrePaidInfo)
	return p, body, err
}

// quote answers what a create with the same body would do.
func (s *Server) quote(ctx context.Context, r *http.Request) (any, error) {
	p, _, err := readPurchase(r)
	if err != nil {
		return nil, err
	}
	q, err := s.Deployments.Quote(ctx, p)
	if err != nil {
		return nil, err
	}
	out := api.Quote{Possible: q.Refusal == "", Reason: q.Refusal, Replicas: make([]api.QuotedReplica, 0, len(q.Replicas)), Cost: cost(q.Cost)}
	if !out.Possible {
		return out, nil
	}
	d := s.deployment(q.Deployment)
	out.DeployedModel, out.Plan, out.Spec, out.Capacity, out.PTU = d.DeployedModel, d.Plan, q.Deployment.Spec.Name, d.Capacity, d.PTU
	for _, rep := range q.Replicas {
		need := rep.Spec.Replica
		out.Replicas = append(out.Replicas, api.QuotedReplica{
			NodeID: rep.NodeID, Lane: string(rep.Lane), Threads: need.Threads, MemoryBytes: need.MemoryBytes, Accelerators: need.Accelerators,
		})
	}
	if q.Known {
		seconds := q.ReadyIn.Seconds()
		out.ReadySeconds = &seconds
	}
	return out, nil
}

func cost(c *berth.Cost) *api.Cost {
	if c == nil {
		return nil
	}
	out := &api.Cost{
		Currency: c.Currency, PerHourNano: int64(c.Hour), DepositNano: int64(c.Deposit), SpendableNano: (*int64)(c.Spendable),
		Unpriced: c.Unpriced(), Lines: make([]api.CostLine, len(c.Parts)),
	}
	for i, p := range c.Parts {
		unit, _ := p.Dimension.Unit()
		out.Lines[i] = api.CostLine{
			Dimension: string(p.Dimension), Class: string(p.Class), FromTokens: p.FromTokens, Quantity: p.Quantity, Unit: unit,
			PriceNano: int64(p.Price), Per: p.Per, AmountNano: int64(p.Amount), Unpriced: p.Unpriced,
		}
	}
	return out
}

// changing is an operation that changes a deployment as its body says (api.md 4.10,
// 4.11).
func (s *Server) changing(change func(context.Context, string, berth.Change) (berth.Deployment, error)) operation {
	return func(ctx context.Context, r *http.Request) (any, error) {
		body, err := readBody(r)
		if err != nil {
			return nil, err
		}
		c, err := api.DecodeChange(body)
		if err != nil {
			return nil, fieldRefusal(err)
		}
		w, err := api.DecodeCapacity(body)
		if err != nil {
			return nil, fieldRefusal(err)
		}
		ask, err := askOf(ctx, w)
		if err != nil {
			return nil, err
		}
		d, err := change(ctx, r.PathValue("id"), berth.Change{
			Reservation: ask,
			DisplayName: c.Name, RPMLimit: c.RPMLimit, TPMLimit: c.TPMLimit,
			Capacity: c.Capacity, PrefillCapacity: c.PrefillCapacity, DecodeCapacity: c.DecodeCapacity, PTU: throughput(c.PTU),
		})
		if err != nil {
			return nil, err
		}
		return s.begun(ctx, d)
	}
}

// switching is an operation that needs no body (api.md 12, 19).
func (s *Server) switching(turn func(context.Context, string) (berth.Deployment, error)) operation {
	return func(ctx context.Context, r *http.Request) (any, error) {
		d, err := turn(ctx, r.PathValue("id"))
		if err != nil {
			return nil, err
		}
		return s.deployment(d), nil
	}
}

func throughput(c *api.PTUCapacity) *berth.PTUCapacity {
	if c == nil {
		return nil
	}
	return &berth.PTUCapacity{InputTPM: c.InputTPM, OutputTPM: c.OutputTPM, ThinkingTPM: c.ThinkingTPM}
}

// fieldRefusal gives a capacity that is no integer the documented sentence, everything
// else the decoder's own.
func fieldRefusal(err error) error {
	var f *api.FieldError
	if errors.As(err, &f) && strings.HasSuffix(f.Field, "capacity") && f.Want == "an integer" {
		return berth.InvalidCapacity(f.Value, 1)
	}
	return berth.Errorf(berth.CodeInvalid, "%s", err.Error())
}

func purchase(c api.CreateDeployment) berth.Purchase {
	return berth.Purchase{
		ModelName: c.ModelName, Plan: c.Plan, DisplayName: c.Name, Suffix: c.Suffix, Spec: c.DeploySpec,
		BillingMethod: c.BillingMethod, ChargeType: c.ChargeType, ServiceTier: berth.ServiceTier(c.ServiceTier), Capacity: c.Capacity,
		PrefillCapacity: c.PrefillCapacity, DecodeCapacity: c.DecodeCapacity,
		EnableThinking: c.EnableThinking, MaxContextLength: c.MaxContextLength, RPMLimit: c.RPMLimit, TPMLimit: c.TPMLimit,
		PTU: throughput(c.PTU),
	}
}

// deployment is the object of api.md 4.2, with the group of fields of its plan.
func (s *Server) deployment(d berth.Deployment) api.Deployment {
	out := api.Deployment{
		DeployedModel: d.DeployedModel, Name: d.DisplayName,
		GMTCreate: api.FormatTime(d.CreatedAt, s.Zone), GMTModified: api.FormatTime(d.ModifiedAt, s.Zone),
		Status: api.Status(d.Status), ModelName: d.ModelName, BaseModel: d.BaseModel,
		BaseCapacity: d.BaseCapacity, Capacity: d.Capacity, ReadyCapacity: d.ReadyCapacity,
		WorkspaceID: d.WorkspaceID, ChargeType: d.ChargeType, Creator: d.Creator, Modifier: d.Modifier,
		Plan: string(d.Plan), FailReason: d.Reason,
	}
	switch d.Plan {
	case berth.PlanMU:
		out.PrefillCapacity, out.DecodeCapacity = d.PrefillCapacity, d.DecodeCapacity
		out.ModelUnitSpec, out.EnableThinking = d.Spec.Name, d.EnableThinking
		out.MaxContextLength, out.RPMLimit, out.TPMLimit = positive(d.MaxContextLength), positive(d.RPMLimit), positive(d.TPMLimit)
	case berth.PlanPTU:
		out.PTU = &api.PTUCapacity{InputTPM: d.PTU.InputTPM, OutputTPM: d.PTU.OutputTPM, ThinkingTPM: d.PTU.ThinkingTPM}
		out.OverflowStrategy, out.PTUServiceTier = string(d.Overflow), string(d.ServiceTier)
		if d.Prepaid.InstanceID != "" {
			out.PrePaidInfo = prepaidInfo(d.Prepaid.Terms)
			out.PrePaidInstanceID = d.Prepaid.InstanceID
			out.PrePaidGMTExpired = s.gmt(d.Prepaid.ExpiresAt)
		}
	}
	return out
}

func positive(v int64) *int64 {
	if v <= 0 {
		return nil
	}
	return &v
}

// getDeployment is api.md 4.7.
func (s *Server) getDeployment(ctx context.Context, r *http.Request) (any, error) {
	d, err := s.Deployments.Get(ctx, r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return s.deployment(d), nil
}

// deleteDeployment is api.md 4.11.
func (s *Server) deleteDeployment(ctx context.Context, r *http.Request) (any, error) {
	d, err := s.Deployments.Delete(ctx, r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return s.deployment(d), nil
}

// listDeployments is api.md 4.8.
func (s *Server) listDeployments(ctx context.Context, r *http.Request) (any, error) {
	p, err := page(r, 200)
	if err != nil {
		return nil, err
	}
	var plan berth.Plan
	if text := r.URL.Query().Get("plan"); text != "" {
		if plan, err = berth.ParsePlan(text); err != nil {
			return nil, err
		}
	}
	caller := berth.CallerFrom(ctx)
	by := walker{caller.KeyID, caller.WorkspaceID, plan, p.Size}
	if p.Number > 1 {
		p.UpTo = s.walks.upTo(by)
	}
	list, total, err := s.Deployments.List(ctx, p, plan)
	if err != nil {
		return nil, err
	}
	if p.Number == 1 && len(list) > 0 {
		s.walks.begin(by, list[0].CreatedAt)
	}
	out := api.DeploymentList{PageNo: p.Number, PageSize: p.Size, Total: total, Deployments: make([]api.Deployment, 0, len(list))}
	for _, d := range list {
		out.Deployments = append(out.Deployments, s.deployment(d))
	}
	return out, nil
}

// listDeployable is api.md 4.9, in the older shape without a version.
func (s *Server) listDeployable(ctx context.Context, r *http.Request) (any, error) {
	query := r.URL.Query()
	full := query.Get("version") == "v1.0"
	sizeMax := int64(200)
	if full {
		sizeMax = 100
	}
	p, err := page(r, sizeMax)
	if err != nil {
		return nil, err
	}
	source := query.Get("model_source")
	switch source {
	case "", "public":
		source = "base"
	case "base", "custom":
	default:
		return nil, berth.Errorf(berth.CodeInvalid, "The model_source %q is not known; use base or custom.", source)
	}
	offers, err := s.Models.Deployable(ctx, source == "custom")
	if err != nil {
		return nil, err
	}
	out := api.DeployableModels{PageNo: p.Number, PageSize: p.Size, Total: int64(len(offers)), Models: []api.DeployableModel{}}
	for _, o := range slice(offers, p) {
		out.Models = append(out.Models, deployable(o, source, full))
	}
	return out, nil
}

func deployable(o berth.Offer, source string, full bool) api.DeployableModel {
	m := api.DeployableModel{ModelName: o.Model.Name}
	unit := int64(1)
	if len(o.Specs) > 0 {
		unit = o.Specs[0].UnitsPerReplica
	}
	m.BaseCapacity = &unit
	if !full {
		return m
	}
	m.BaseModel, m.ModelSource = o.Model.Base, source
	m.Description, m.StandIn = o.Model.Description, o.Model.StandIn
	if m.BaseModel == "" {
		m.BaseModel = o.Model.Name
	}
	for _, plan := range o.Model.Plans {
		m.SupportedPlans = append(m.SupportedPlans, string(plan))
		sold := api.ModelPlan{Plan: string(plan)}
		if plan == berth.PlanMU {
			for _, spec := range o.Specs {
				sold.Templates = append(sold.Templates, template(spec))
			}
		}
		m.Plans = append(m.Plans, sold)
	}
	return m
}

func template(spec berth.ResolvedSpec) api.Template {
	role := api.TemplateRole{ModelUnitSpec: spec.Name, CapacityUnitPerInstance: spec.UnitsPerReplica}
	t := api.Template{
		TemplateID: spec.Name, TemplateName: spec.Name, TemplateType: string(spec.Type), TemplateVersion: "v1",
		TemplateSource: "SYSTEM", DeploySpec: spec.Name, ChargeType: berth.ChargeTypePostPaid,
		Roles: map[string]api.TemplateRole{api.RoleUnified: role},
	}
	if spec.Type == berth.SpecTypeSeparated {
		t.Roles = map[string]api.TemplateRole{api.RolePrefill: role, api.RoleDecode: role}
	}
	return t
}
