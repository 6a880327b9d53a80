package api

import (
	"context"
	"net/url"
	"strconv"
)

// DeployableModel is what can be deployed. The older shape has a name and a base
// capacity, the one of version v1.0 the plans.
type DeployableModel struct {
	ModelName    string      `json:"model_name"`
	BaseCapacity *int64      `json:"base_capacity,omitempty"`
	Plans        []ModelPlan `json:"plans,omitempty"`

	SupportedPlans []string `json:"supported_plans,omitempty"`
	BaseModel      string   `json:"base_model,omitempty"`
	ModelSource    string   `json:"model_source,omitempty"` // base or custom
	Description    string   `json:"description,omitempty"`
	StandIn        bool     `json:"stand_in,omitempty"` // runs other weights than its name says
}

// ModelPlan is one way to buy a model; only mu has templates.
type ModelPlan struct {
	Plan      string     `json:"plan"`
	Templates []Template `json:"templates,omitempty"`
}

// Template is hardware to deploy on.
type Template struct {
	TemplateID      string                  `json:"template_id"`
	TemplateName    string                  `json:"template_name"`
	TemplateDesc    string                  `json:"template_desc,omitempty"`
	TemplateType    string                  `json:"template_type"`
	TemplateVersion string                  `json:"template_version"`
	TemplateSource  string                  `json:"template_source,omitempty"` // SYSTEM or CUSTOM
	DeploySpec      string                  `json:"deploy_spec,omitempty"`
	ChargeType      string                  `json:"charge_type,omitempty"`
	Roles           map[string]TemplateRole `json:"roles"`
}

// The types of templates and the roles that they have.
const (
	TemplateCoupled   = "COUPLED"   // role unified
	TemplateSeparated = "SEPERATED" // roles prefill and decode; the spelling is the wire's
	RoleUnified       = "unified"
	RolePrefill       = "prefill"
	RoleDecode        = "decode"
)

// TemplateRole is the part of a template that one role of a replica takes.
type TemplateRole struct {
	ModelUnitSpec           string `json:"model_unit_spec"`
	CapacityUnitPerInstance int64  `json:"capacity_unit_per_instance"`
}

// DeployableModels is one page of the catalogue.
type DeployableModels struct {
	PageNo   int64             `json:"page_no"`
	PageSize int64             `json:"page_size"`
	Total    int64             `json:"total"`
	Models   []DeployableModel `json:"models"`
}

// DeployableModels returns a page of models with their plans and templates. source is
// base for the catalogue or custom for the workspace's own models.
func (c *Client) DeployableModels(ctx context.Context, page, size int, source string) (DeployableModels, error) {
	return native[DeployableModels](ctx, c, request{path: deploymentsPath + "/models", query: url.Values{
		"page_no": {strconv.Itoa(page)}, "page_size": {strconv.Itoa(size)},
		"model_source": {source}, "version": {"v1.0"},
	}})
}
