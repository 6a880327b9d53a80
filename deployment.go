package berth

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"
	"time"
	"unicode"
)

// Plan is how a deployment is sold.
type Plan string

// The three plans, three promises (design 2).
const (
	PlanPTU  Plan = "ptu"  // provisioned throughput on a shared pool
	PlanMU   Plan = "mu"   // model units: replicas of one's own
	PlanLoRA Plan = "lora" // an adapter on a shared pool, billed per token
)

// Pooled reports whether deployments of the plan share the replicas of a pool.
func (p Plan) Pooled() bool { return p == PlanPTU || p == PlanLoRA }

// ParsePlan compares without case (statement 133) and refuses anything else.
func ParsePlan(s string) (Plan, error) {
	switch p := Plan(strings.ToLower(s)); p {
	case PlanPTU, PlanMU, PlanLoRA:
		return p, nil
	}
	return "", Errorf(CodeInvalid, "The plan %q is not known; plan must be ptu, mu or lora.", s)
}

// PTUCapacity is reserved throughput in tokens per minute (api.md 6.2).
type PTUCapacity struct {
	InputTPM    int64
	OutputTPM   int64
	ThinkingTPM int64
}

// DefaultPTUCapacity is what a ptu deployment gets that names no capacity
// (api.md 4.4, statement 15).
var DefaultPTUCapacity = PTUCapacity{InputTPM: 10_000, OutputTPM: 1_000}

// OverflowStrategy says what happens to a ptu call beyond the reservation
// (api.md 6.3).
type OverflowStrategy string

// The strategies.
const (
	OverflowEnable  OverflowStrategy = "enable"  // served best effort and metered apart
	OverflowDisable OverflowStrategy = "disable" // refused with 429
)

// Deployment is a model sold to a workspace under a plan.
type Deployment struct {
	// ID is dep_ + UUIDv7 and the foreign key of everything, because DeployedModel can
	// be used again after deletion.
	ID string
	// DeployedModel is the name that clients use; unique among deployments that are not
	// deleted.
	DeployedModel string
	DisplayName   string
	WorkspaceID   string
	ModelName     string
	BaseModel     string
	Plan          Plan
	Suffix        string
	Status        Status
	// Reason is the sentence that explains FAILED and UPDATING_FAILED.
	Reason        string
	Capacity      int64 // units bought
	BaseCapacity  int64 // units per replica
	ReadyCapacity int64 // units that serve now
	// PartPPM is how much of a ptu deployment's throughput serves, in millionths, while its
	// pool serves less than was sold; 0 when it serves all or nothing.
	PartPPM int64
	// PrefillCapacity and DecodeCapacity are the units of each role of a spec that
	// separates them; together they are the Capacity. 0 otherwise.
	PrefillCapacity int64
	DecodeCapacity  int64
	// Before is what was sold before the change under way: a change that fails goes back
	// to it. Zero when there is none. A deployment that was scaled to 0 keeps it for its
	// next start.
	Before   Terms
	Spec     ResolvedSpec
	PTU      PTUCapacity
	Overflow OverflowStrategy
	// Reserved deployments own capacity instances: they were bought or changed through
	// the reservation API (api.md 4.12).
	Reserved bool
	// Kept is throughput of expired terms: not served any more, but not sold to others
	// until it is released either.
	Kept        PTUCapacity
	ServiceTier ServiceTier // ptu
	// Deposit is what its last purchase holds on the account.
	Deposit Deposit
	// Prepaid is the term that ends first of those paid in advance; zero without one.
	Prepaid Prepaid
	PoolID  string // pooled plans
	// EnableThinking fixes the mode of an mu deployment; nil leaves it to each call.
	EnableThinking   *bool
	MaxContextLength int64 // tokens of prompt and answer together; 0: the model's
	RPMLimit         int64 // requests per minute; 0: none
	TPMLimit         int64 // tokens per minute; 0: none
	ChargeType       string
	Creator          string // account ids
	Modifier         string
	CreatedAt        time.Time
	ModifiedAt       time.Time
	DeletedAt        time.Time // zero while the row is live
}

// Prepaid is what a deployment shows of a term paid in advance.
type Prepaid struct {
	InstanceID string       `json:"instance_id,omitempty"`
	Terms      PrepaidTerms `json:"terms,omitzero"`
	ExpiresAt  time.Time    `json:"expires_at,omitzero"`
}

// Lanes returns the replicas that an mu deployment is made of, each with the adapters.
func (d *Deployment) Lanes(adapters []AdapterRef) []LaneWant {
	unit := d.Spec.UnitsPerReplica
	switch {
	case d.Plan != PlanMU || unit == 0:
		return nil
	case d.Spec.Type == SpecTypeSeparated:
		return []LaneWant{
			{Lane: LanePrefill, Replicas: d.PrefillCapacity / unit, Adapters: adapters}, {Lane: LaneDecode, Replicas: d.DecodeCapacity / unit, Adapters: adapters},
		}
	}
	return []LaneWant{{Lane: LaneDedicated, Replicas: d.Capacity / unit, Adapters: adapters}}
}

// Superfluous returns those of the replicas of an mu deployment that it does not need any
// more. While it grows that is none, so that what was there before serves on when the
// change fails.
func (d *Deployment) Superfluous(have []Replica) []Replica {
	want := d.Lanes(nil)
	if d.Status == StatusUpdating && d.Growing() && !whole(want, have) {
		return nil
	}
	return Superfluous(want, have)
}

// Purchase is what a client asks for when it creates a deployment. Nil pointers and
// empty strings are fields that were not sent.
type Purchase struct {
	ModelName        string
	Plan             string // any case; "" derives it (api.md 4.4)
	DisplayName      string
	Suffix           string
	Spec             string
	BillingMethod    string
	ChargeType       string
	ServiceTier      ServiceTier   // ptu
	Prepaid          *PrepaidTerms // ptu
	RequestID        string        // of the capacity operation that a reservation begins with
	Capacity         *int64
	PrefillCapacity  *int64 // with a spec that separates roles, instead of Capacity
	DecodeCapacity   *int64
	EnableThinking   *bool
	MaxContextLength *int64
	RPMLimit         *int64
	TPMLimit         *int64
	PTU              *PTUCapacity
}

// Bounds of what a purchase may say (api.md 4.4).
const (
	MaxDisplayNameLength = 50
	MaxSuffixLength      = 8
	MaxCapacity          = 1000 // exclusive
	MaxContextLimit      = 262_144
	MaxLimitPerMinute    = 1_000_000_000_000
)

// InvalidCapacity is the documented refusal of a capacity (api.md 3.1), with the real
// units per replica in it. n is the value as the client wrote it.
func InvalidCapacity(n string, unitsPerReplica int64) error {
	return Errorf(CodeInvalid, "Invalid capacity (%s), capacity must be larger than or equal to 0 and multiples of %d and less than %d!", n, unitsPerReplica, MaxCapacity)
}

var suffixAlphabet = regexp.MustCompile(`^[a-z0-9-]*$`)

// NormalSuffix lower-cases a suffix and refuses one that is too long or has other
// characters than a–z, 0–9 and '-' (api.md 4.5).
func NormalSuffix(s string) (string, error) {
	s = strings.ToLower(s)
	if len(s) > MaxSuffixLength {
		return "", Errorf(CodeInvalid, "The suffix %q is too long; use at most %d characters.", s, MaxSuffixLength)
	}
	if !suffixAlphabet.MatchString(s) {
		return "", Errorf(CodeInvalid, "The suffix %q is not usable; use a-z, 0-9 and '-' only.", s)
	}
	return s, nil
}

// DeployedModelName makes the name that a deployment is called by (api.md 4.5):
// custom models keep their own name, catalogue bases get 8 stable hex digits of
// workspace and model, so that a second deployment without suffix collides.
func DeployedModelName(m *Model, workspaceID, suffix string) string {
	name := m.Name
	if !m.Custom() {
		sum := sha256.Sum256([]byte(workspaceID + "\x00" + m.Name))
		name += "-" + hex.EncodeToString(sum[:4])
	}
	if suffix != "" {
		name += "-" + suffix
	}
	return name
}

// resolvePlan finds the plan of a purchase: the named one, else a LoRA model's lora,
// else mu on a model that has it, else ptu (api.md 4.4).
func resolvePlan(m *Model, asked string) (Plan, error) {
	undeployable := Errorf(CodeInvalid, "The model %s does not exist or is not deployable", m.Name)
	if asked != "" {
		plan, err := ParsePlan(asked)
		if err != nil {
			return "", err
		}
		if !m.Offers(plan) && (plan != PlanPTU || m.Kind != ModelKindBase) {
			return "", undeployable
		}
		return plan, nil
	}
	order := []Plan{PlanMU, PlanPTU}
	if m.Kind == ModelKindAdapter {
		order = []Plan{PlanLoRA, PlanMU}
	}
	for _, p := range order {
		if m.Offers(p) {
			return p, nil
		}
	}
	return "", undeployable
}

// checkRange refuses a number outside [low, high]; nil passes.
func checkRange(field string, v *int64, low, high int64) error {
	if v == nil || *v >= low && *v <= high {
		return nil
	}
	return Errorf(CodeInvalid, "Range of %s should be [%d, %d]", field, low, high)
}

// fill copies the fields of every plan from p into d, after checking them.
func (p *Purchase) fill(d *Deployment) error {
	name, err := displayName(p.DisplayName, d.ModelName)
	if err != nil {
		return err
	}
	switch d.DisplayName = name; {
	case p.ChargeType == "" || p.ChargeType == ChargeTypePostPaid:
	case p.ChargeType != ChargeTypePrePaid:
		return Errorf(CodeInvalid, "The charge_type %q is not known; use post_paid, or pre_paid for plan ptu.", p.ChargeType)
	case d.Plan != PlanPTU:
		return Errorf(CodeInvalid, "The charge_type pre_paid is sold for plan ptu only; leave it out.")
	default:
		d.ChargeType = ChargeTypePrePaid
	}
	return nil
}

// displayName checks a name for people; "" becomes the fallback.
func displayName(name, fallback string) (string, error) {
	if n := len([]rune(name)); n > MaxDisplayNameLength {
		return "", Errorf(CodeInvalid, "The name is %d characters long; use at most %d.", n, MaxDisplayNameLength)
	}
	if strings.ContainsFunc(name, unicode.IsControl) {
		return "", Errorf(CodeInvalid, "The name has a control character, such as a line break; leave it out.")
	}
	return cmp.Or(name, fallback), nil
}

// fillMU checks and copies what only mu deployments have.
func (p *Purchase) fillMU(d *Deployment, m *Model, spec ResolvedSpec) error {
	switch {
	case p.BillingMethod != "" && p.BillingMethod != "POST_PAY":
		return Errorf(CodeInvalid, "The billing_method %q is not sold here; only POST_PAY is.", p.BillingMethod)
	case p.EnableThinking != nil && *p.EnableThinking && m.Thinking == ThinkingNone:
		return Errorf(CodeInvalid, "The model %s does not support enable_thinking.", m.Name)
	case p.EnableThinking != nil && !*p.EnableThinking && m.Thinking == ThinkingAlways:
		return Errorf(CodeInvalid, "The value of the enable_thinking parameter is restricted to True.")
	}
	units := Change{Capacity: p.Capacity, PrefillCapacity: p.PrefillCapacity, DecodeCapacity: p.DecodeCapacity}
	if err := units.checkUnits(spec); err != nil {
		return err
	}
	if units.units(spec) == 0 {
		return InvalidCapacity("0", spec.UnitsPerReplica)
	}
	ceiling := int64(MaxContextLimit)
	if m.ContextLength > 0 {
		ceiling = min(ceiling, m.ContextLength)
	}
	for _, err := range []error{
		checkRange("max_context_length", p.MaxContextLength, 1, ceiling),
		checkRange("rpm_limit", p.RPMLimit, 1, MaxLimitPerMinute),
		checkRange("tpm_limit", p.TPMLimit, 1, MaxLimitPerMinute),
	} {
		if err != nil {
			return err
		}
	}
	d.EnableThinking = p.EnableThinking
	d.MaxContextLength, d.RPMLimit, d.TPMLimit = value(p.MaxContextLength), value(p.RPMLimit), value(p.TPMLimit)
	if d.MaxContextLength > 0 {
		spec.ContextLength = d.MaxContextLength
	}
	d.Spec, d.BaseCapacity = spec, spec.UnitsPerReplica
	units.setUnits(d)
	return nil
}

// fillPTU checks and copies what only ptu deployments have.
func (p *Purchase) fillPTU(d *Deployment, m *Model, rules Reservations) error {
	d.PTU, d.Overflow, d.ServiceTier = DefaultPTUCapacity, OverflowEnable, cmp.Or(p.ServiceTier, TierFast)
	d.Reserved = p.ChargeType != "" || p.ServiceTier != "" || p.Prepaid != nil
	switch {
	case p.PTU != nil:
		d.PTU = *p.PTU
	case rules.StrictCapacity:
		return Errorf(CodeInvalid, "Miss ptu capacity info")
	}
	if err := p.checkReservation(d); err != nil {
		return err
	}
	return d.PTU.check(m)
}

// checkReservation checks what only creates through the reservation API say (api.md 4.12).
func (p *Purchase) checkReservation(d *Deployment) error {
	prepaid := d.ChargeType == ChargeTypePrePaid
	switch {
	case d.ServiceTier != TierFast && d.ServiceTier != TierDefault:
		return Errorf(CodeInvalid, "The service_tier %q is not known; use ptu_fast or ptu_default.", d.ServiceTier)
	case prepaid && p.Prepaid == nil:
		return Errorf(CodeInvalid, "Field required: pre_paid_info")
	case prepaid:
		return p.Prepaid.Check(d.ServiceTier)
	case p.Prepaid != nil:
		return Errorf(CodeInvalid, "The pre_paid_info needs charge_type pre_paid; leave it out for post_paid.")
	case d.ServiceTier == TierDefault:
		return Errorf(CodeInvalid, "The service_tier ptu_default is sold pre_paid only.")
	}
	return nil
}

// check refuses throughput out of range, and thinking of a model that does not think.
func (c *PTUCapacity) check(m *Model) error {
	for _, err := range []error{
		checkRange("ptu_capacity.input_tpm", &c.InputTPM, 1, MaxLimitPerMinute),
		checkRange("ptu_capacity.output_tpm", &c.OutputTPM, 1, MaxLimitPerMinute),
		checkRange("ptu_capacity.thinking_output_tpm", &c.ThinkingTPM, 0, MaxLimitPerMinute),
	} {
		if err != nil {
			return err
		}
	}
	if c.ThinkingTPM > 0 && m.Thinking == ThinkingNone {
		return Errorf(CodeInvalid, "The model %s does not think; leave ptu_capacity.thinking_output_tpm out.", m.Name)
	}
	return nil
}

func value(p *int64) int64 {
	if p == nil {
		return 0
	}
	return *p
}
