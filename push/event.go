package push

import (
	"bytes"
	"encoding/json"
	"time"

	berth "github.com/berthhq/berth"
)

// The types of events, as they are configured and, behind "berth.", sent.
const (
	TypeRecord   = "usage.record"      // a call that is billed
	TypeUnbilled = "usage.unbilled"    // one that is not
	TypeStatus   = "deployment.status" // a deployment's status or capacity changed
	TypeClosed   = "statement.closed"  // a month of an account has its last figures
	TypeWarned   = "budget.warning"    // most or all of a workspace's budget is spent, and calls go on
	TypeStopped  = "budget.stopped"    // it is spent, and calls are refused
)

// typePrefix begins the types on the wire: they are Berth's, whoever receives them.
const typePrefix = "berth."

// Subject says whom events are about.
type Subject string

// The subjects; where an event has none of that kind it is the workspace, or the account.
const (
	SubjectWorkspace  Subject = "workspace"
	SubjectKey        Subject = "key"
	SubjectDeployment Subject = "deployment" // its deployed_model
)

// event is one CloudEvent in its JSON form (CloudEvents 1.0.2, section 3 of its JSON format).
type event struct {
	SpecVersion string    `json:"specversion"`
	ID          string    `json:"id"`
	Source      string    `json:"source"`
	Type        string    `json:"type"`
	Subject     string    `json:"subject,omitempty"`
	Time        time.Time `json:"time"`
	ContentType string    `json:"datacontenttype"`
	Data        any       `json:"data"`
}

// record is the data of a usage record: the names of /berth/v1/usage/records.
type record struct {
	CallID         string     `json:"call_id"`
	WorkspaceID    string     `json:"workspace_id"`
	KeyID          string     `json:"key_id"`
	DeploymentID   string     `json:"deployment_id"`
	DeployedModel  string     `json:"deployed_model"`
	ModelName      string     `json:"model_name"`
	Plan           string     `json:"plan"`
	Class          string     `json:"class"`
	StartedAt      time.Time  `json:"started_at"`
	FirstTokenAt   *time.Time `json:"first_token_at,omitempty"`
	EndedAt        time.Time  `json:"ended_at"`
	InputTokens    int64      `json:"input_tokens"`
	CachedTokens   int64      `json:"cached_tokens"`
	OutputTokens   int64      `json:"output_tokens"`
	ThinkingTokens int64      `json:"thinking_tokens"`
	// TotalTokens is input and output, for meters that read one number.
	TotalTokens int64  `json:"total_tokens"`
	Billable    bool   `json:"billable"`
	End         string `json:"end"`
	HTTPStatus  int    `json:"http_status"`
	Source      string `json:"source"` // of the figures
}

type status struct {
	DeploymentID  string `json:"deployment_id"`
	DeployedModel string `json:"deployed_model"`
	WorkspaceID   string `json:"workspace_id"`
	ModelName     string `json:"model_name"`
	Plan          string `json:"plan"`
	Status        string `json:"status"`
	Capacity      int64  `json:"capacity"`
	ReadyCapacity int64  `json:"ready_capacity"`
	Reason        string `json:"reason"`
}

type closed struct {
	AccountID string    `json:"account_id"`
	Month     string    `json:"month"`
	ClosedAt  time.Time `json:"closed_at"`
}

type budget struct {
	WorkspaceID string `json:"workspace_id"`
	AccountID   string `json:"account_id"`
	Month       string `json:"month"`
	Percent     int    `json:"percent"` // of the budget that is spent, at least
	AmountNano  int64  `json:"amount_nano"`
	SpentNano   int64  `json:"spent_nano"`
	Currency    string `json:"currency"`
}

// maker makes events of what the store has.
type maker struct {
	source  string
	subject Subject
	wanted  map[string]bool // types
}

func (m *maker) event(kind, id, subject string, at time.Time, data any) (event, bool) {
	return event{
		SpecVersion: "1.0", ID: id, Source: m.source, Type: typePrefix + kind, Subject: subject,
		Time: at.UTC(), ContentType: "application/json", Data: data,
	}, m.wanted[kind]
}

// record makes the event of a usage record; false when nobody wants it. Its time is that of
// the admission, as it is for Berth's own months.
func (m *maker) record(r *berth.UsageRecord) (event, bool) {
	kind := TypeUnbilled
	if r.Billable {
		kind = TypeRecord
	}
	subject := map[Subject]string{SubjectWorkspace: r.WorkspaceID, SubjectKey: r.KeyID, SubjectDeployment: r.DeployedModel}[m.subject]
	if subject == "" {
		subject = r.WorkspaceID
	}
	d := record{
		CallID: r.CallID, WorkspaceID: r.WorkspaceID, KeyID: r.KeyID, DeploymentID: r.DeploymentID, DeployedModel: r.DeployedModel,
		ModelName: r.ModelName, Plan: string(r.Plan), Class: string(r.Class), StartedAt: r.StartedAt.UTC(), EndedAt: r.EndedAt.UTC(),
		InputTokens: r.InputTokens, CachedTokens: r.CachedTokens, OutputTokens: r.OutputTokens, ThinkingTokens: r.ThinkingTokens,
		TotalTokens: r.InputTokens + r.OutputTokens, Billable: r.Billable, End: string(r.End), HTTPStatus: r.HTTPStatus, Source: string(r.Source),
	}
	if !r.FirstTokenAt.IsZero() {
		at := r.FirstTokenAt.UTC()
		d.FirstTokenAt = &at
	}
	return m.event(kind, r.ID, subject, r.StartedAt, d)
}

// notice makes the event of anything else.
func (m *maker) notice(n *berth.Notice) (event, bool) {
	switch {
	case n.Event.ID != "":
		e, d := &n.Event, &n.Deployment
		subject := d.WorkspaceID
		if m.subject == SubjectDeployment {
			subject = d.DeployedModel
		}
		return m.event(TypeStatus, e.ID, subject, e.At, status{
			DeploymentID: e.DeploymentID, DeployedModel: d.DeployedModel, WorkspaceID: d.WorkspaceID, ModelName: d.ModelName, Plan: string(d.Plan),
			Status: string(e.Status), Capacity: e.Capacity, ReadyCapacity: e.ReadyCapacity, Reason: e.Reason,
		})
	case n.Month.Month != "":
		c := &n.Month
		return m.event(TypeClosed, "stm_"+c.AccountID+"_"+c.Month, c.AccountID, c.ClosedAt, closed{c.AccountID, c.Month, c.ClosedAt.UTC()})
	}
	if b := &n.Budget; b.ID != "" {
		kind, percent := TypeWarned, 100
		switch b.Kind {
		case berth.BudgetStopped:
			kind = TypeStopped
		case berth.BudgetWarned:
			percent = 80
		case berth.BudgetSpent:
		}
		return m.event(kind, b.ID, b.WorkspaceID, b.At, budget{b.WorkspaceID, b.AccountID, b.Month, percent, int64(b.Amount), int64(b.Spent), b.Currency})
	}
	return event{}, false // what it was about is not kept any more
}

// encode returns the JSON of a value without the escapes for HTML.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
