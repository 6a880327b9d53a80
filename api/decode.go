package api

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// FieldError says which field of a body cannot be read and what it should be.
type FieldError struct {
	Field string // with the object's name and a dot where it is nested; "" is the body
	Value string // as written, shortened
	Want  string // such as "an integer"
}

// Error implements error.
func (e *FieldError) Error() string {
	if e.Field == "" {
		return fmt.Sprintf("The body must be %s.", e.Want)
	}
	return fmt.Sprintf("The field %s must be %s, not %s.", e.Field, e.Want, e.Value)
}

// DecodeCreate reads the body of a create as leniently as its clients need and no more:
// unknown fields are ignored unless they stand there twice, null is an absent field, 4.0 is an integer, template_id
// stands in for deploy_spec and diasplay_name for name. Every error is a [*FieldError].
func DecodeCreate(body []byte) (CreateDeployment, error) {
	var err error
	o, ok := readBody(body, &err)
	if !ok {
		return CreateDeployment{}, err
	}
	template := o.text("template_id")
	displayName := o.text("diasplay_name")
	c := CreateDeployment{
		ModelName:        o.text("model_name"),
		Plan:             o.text("plan"),
		Name:             cmp.Or(o.text("name"), displayName),
		Capacity:         o.integer("capacity"),
		PrefillCapacity:  o.integer("prefill_capacity"),
		DecodeCapacity:   o.integer("decode_capacity"),
		DeploySpec:       cmp.Or(o.deploySpec(), template),
		BillingMethod:    o.text("billing_method"),
		ChargeType:       o.text("charge_type"),
		ServiceTier:      o.text("service_tier"),
		PrePaidInfo:      o.prePaidInfo(),
		PTU:              o.ptuCapacity(),
		Suffix:           o.text("suffix"),
		EnableThinking:   o.boolean("enable_thinking"),
		MaxContextLength: o.integer("max_context_length"),
		RPMLimit:         o.limit("rpm_limit"),
		TPMLimit:         o.limit("tpm_limit"),
	}
	if err != nil {
		return CreateDeployment{}, err
	}
	return c, nil
}

// DecodeImport reads the body of an import as leniently as [DecodeCreate].
func DecodeImport(body []byte) (CreateImport, error) {
	var err error
	o, ok := readBody(body, &err)
	if !ok {
		return CreateImport{}, err
	}
	c := CreateImport{
		ModelName:   o.text("model_name"),
		DisplayName: o.text("display_name"),
		Source:      o.text("source"),
		WeightType:  o.text("weight_type"),
	}
	if inner, ok := o.inner("storage_info"); ok {
		c.StorageInfo = StorageInfo{BucketName: inner.text("bucket_name"), ObjectKey: inner.text("object_key")}
	}
	if err != nil {
		return CreateImport{}, err
	}
	return c, nil
}

// DecodeChange reads the body of a change as [DecodeCreate] reads that of a create. The
// deployed_model that SDKs repeat in it is ignored: the path wins.
func DecodeChange(body []byte) (ChangeDeployment, error) {
	var err error
	o, ok := readBody(body, &err)
	if !ok {
		return ChangeDeployment{}, err
	}
	c := ChangeDeployment{
		Capacity:        o.integer("capacity"),
		PrefillCapacity: o.integer("prefill_capacity"),
		DecodeCapacity:  o.integer("decode_capacity"),
		PTU:             o.ptuCapacity(),
		RPMLimit:        o.limit("rpm_limit"),
		TPMLimit:        o.limit("tpm_limit"),
	}
	if o.raw("name") != nil {
		name := o.text("name")
		c.Name = &name
	}
	if err != nil {
		return ChangeDeployment{}, err
	}
	return c, nil
}

// object reads typed fields out of one JSON object; the first mistake stays in err,
// which nested objects share.
type object struct {
	prefix string
	fields map[string]json.RawMessage
	err    *error
}

// readBody returns the one object of a body, or reports false and sets err.
func readBody(body []byte, err *error) (object, bool) {
	switch fields, ok := parseObject(body); {
	case !utf8.Valid(body):
		*err = &FieldError{Value: shorten(body), Want: "UTF-8"}
	case !ok:
		*err = &FieldError{Value: shorten(body), Want: "exactly one JSON object"}
	default:
		o := object{fields: fields, err: err}
		o.refuseTwins(body)
		return o, true
	}
	return object{}, false
}

// refuseTwins refuses a name that stands in raw, which is an object, more than once: of
// two values readers choose differently.
func (o object) refuseTwins(raw []byte) {
	seen := map[string]bool{}
	d := json.NewDecoder(bytes.NewReader(raw))
	_, err := d.Token() // the brace
	for err == nil && d.More() {
		var name json.Token
		var value json.RawMessage
		if name, err = d.Token(); err == nil {
			err = d.Decode(&value)
		}
		text, _ := name.(string)
		if seen[text] {
			o.refuse(shorten([]byte(text)), []byte("twice"), "there once")
		}
		seen[text] = true
	}
}

// inner returns the object in a field; false when the field is absent, or no object.
func (o object) inner(name string) (object, bool) {
	raw := o.raw(name)
	if raw == nil {
		return object{}, false
	}
	fields, ok := parseObject(raw)
	if !ok {
		o.refuse(name, raw, "an object")
		return object{}, false
	}
	inner := object{prefix: o.prefix + name + ".", fields: fields, err: o.err}
	inner.refuseTwins(raw)
	return inner, true
}

// parseObject reports false for everything that is not one JSON object.
func parseObject(raw []byte) (map[string]json.RawMessage, bool) {
	var fields map[string]json.RawMessage
	err := json.Unmarshal(raw, &fields)
	return fields, err == nil && fields != nil
}

// raw returns the field's text, or nil when it is absent or null.
func (o object) raw(name string) json.RawMessage {
	raw := o.fields[name]
	if bytes.Equal(raw, []byte("null")) {
		return nil
	}
	return raw
}

func (o object) refuse(name string, raw []byte, want string) {
	if *o.err == nil {
		*o.err = &FieldError{Field: o.prefix + name, Value: shorten(raw), Want: want}
	}
}

func (o object) text(name string) string {
	var s string
	if raw := o.raw(name); raw != nil && json.Unmarshal(raw, &s) != nil {
		o.refuse(name, raw, "a string")
	} else if strings.Contains(s, "\x00") {
		o.refuse(name, raw, "a string without NUL characters")
	}
	return s
}

func (o object) boolean(name string) *bool {
	raw := o.raw(name)
	if raw == nil {
		return nil
	}
	var b bool
	if json.Unmarshal(raw, &b) != nil {
		o.refuse(name, raw, "true or false")
	}
	return &b
}

func (o object) integer(name string) *int64 {
	raw := o.raw(name)
	if raw == nil {
		return nil
	}
	n, ok := integral(string(raw))
	if !ok {
		o.refuse(name, raw, "an integer")
	}
	return &n
}

// limit reads an integer that some documents type as a string.
func (o object) limit(name string) *int64 {
	var digits string
	if json.Unmarshal(o.raw(name), &digits) == nil {
		if n, err := strconv.ParseInt(digits, 10, 64); err == nil {
			return &n
		}
	}
	return o.integer(name)
}

// deploySpec reads a template's id, bare or wrapped into an object.
func (o object) deploySpec() string {
	raw := o.raw("deploy_spec")
	if raw == nil {
		return ""
	}
	id := []byte(raw)
	if wrapped, ok := parseObject(raw); ok {
		object{prefix: "deploy_spec.", err: o.err}.refuseTwins(raw)
		id = wrapped["template_id"]
	}
	var s *string
	if json.Unmarshal(id, &s) != nil || s == nil {
		o.refuse("deploy_spec", raw, "a string, or an object with a string template_id")
		return ""
	}
	return *s
}

func (o object) ptuCapacity() *PTUCapacity {
	inner, ok := o.inner("ptu_capacity")
	if !ok {
		return nil
	}
	number := func(name string) int64 {
		if n := inner.integer(name); n != nil {
			return *n
		}
		return 0
	}
	return &PTUCapacity{
		InputTPM:    number("input_tpm"),
		OutputTPM:   number("output_tpm"),
		ThinkingTPM: number("thinking_output_tpm"),
	}
}

// prePaidInfo leaves AutoRenewal nil where it is absent, for it must be said.
func (o object) prePaidInfo() *PrePaidInfo {
	inner, ok := o.inner("pre_paid_info")
	if !ok {
		return nil
	}
	info := &PrePaidInfo{
		PricingCycle: inner.text("pricing_cycle"), AutoRenewal: inner.boolean("auto_renewal"),
		AutoRenewalCycle: inner.text("auto_renewal_cycle"),
	}
	if n := inner.integer("duration"); n != nil {
		info.Duration = *n
	}
	if n := inner.integer("auto_renewal_duration"); n != nil {
		info.AutoRenewalDuration = *n
	}
	return info
}

// DecodeCapacity reads the body of a write to capacity as leniently as [DecodeCreate].
func DecodeCapacity(body []byte) (CapacityWrite, error) {
	var err error
	o, ok := readBody(body, &err)
	if !ok {
		return CapacityWrite{}, err
	}
	w := CapacityWrite{
		InstanceID: o.text("instance_id"), BillingMethod: o.text("billing_method"), PTU: o.ptuCapacity(),
		PrePaidInfo: o.prePaidInfo(), OrderType: o.text("order_type"),
	}
	if change := o.boolean("is_change"); change != nil {
		w.IsChange = *change
	}
	if err != nil {
		return CapacityWrite{}, err
	}
	return w, nil
}

// DecodeOverflow reads the strategy in the body of update-overflowstrategy as leniently as
// [DecodeCreate], "" where it is absent.
func DecodeOverflow(body []byte) (strategy string, err error) {
	o, ok := readBody(body, &err)
	if ok {
		strategy = o.text("overflow_strategy")
	}
	return strategy, err
}

// integral reads a JSON number without a fractional part, in any notation. Beyond 2^53,
// where a fraction could hide, only plain digits are read.
func integral(s string) (int64, bool) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n, true
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
		return 0, false
	}
	return int64(f), true
}

// shorten makes a value fit into a sentence.
func shorten(raw []byte) string {
	const most = 40
	s := string(bytes.TrimSpace(raw))
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
