package test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/berthhq/berth/abacus"
	"github.com/berthhq/berth/api"
)

// isolation says what a route has to do with workspaces.
type isolation string

const (
	// open: no key is needed, and nothing of a workspace is told.
	open isolation = "open"
	// wide: for owners, or the same for everybody.
	wide isolation = "wide"
	// scoped: about the caller's workspace and no other, such as a list or a creation.
	scoped isolation = "scoped"
	// named: about one thing of a workspace. Another workspace's is as unknown as one that
	// never was.
	named isolation = "named"
	// called: inference; another workspace's deployment is 403 Model.AccessDenied (api.md 9.1).
	called isolation = "called"
)

// access is what was decided about a route.
type access struct {
	isolation isolation
	role      string // the least that may use it; "" without a key
	// path is the request's where the pattern has names in it, with ${…} of [furniture].
	path string
	body string
	// header of the request, in pairs.
	header []string
}

const (
	purchase     = `{"model_name":"nobody","plan":"mu","deploy_spec":"MU1","capacity":1}`
	limited      = `{"rpm_limit":5}`
	chatBody     = `{"model":"${deployment}","messages":[{"role":"user","content":"hi"}]}`
	callBody     = `{"model":"${deployment}","input":{"prompt":"hi"}}`
	messagesBody = `{"model":"${deployment}","max_tokens":8,"messages":[{"role":"user","content":"hi"}]}`
	imported     = `{"model_name":"nobody","source":"oss","weight_type":"lora","storage_info":{"bucket_name":"b","object_key":"k/"}}`
	uploaded     = `{"files":[{"name":"../no","size_bytes":8,"sha256":"924d391c158a46409fdff363063d718ea0bc00b14556f129984942af91233bbe"}]}`
	file         = "/berth/v1/uploads/${upload}/files/a.json"
)

// decisions has every route there is. A new one is a line here: who may use it, and what
// of it another workspace sees.
var decisions = map[string]access{
	"GET /healthz":      {isolation: open},
	"GET /readyz":       {isolation: open},
	"GET /openapi.json": {isolation: open},

	"POST /api/v1/deployments":            {isolation: scoped, role: api.RoleAdmin, body: purchase},
	"GET /api/v1/deployments":             {isolation: scoped, role: api.RoleInference},
	"GET /api/v1/deployments/models":      {isolation: scoped, role: api.RoleInference},
	"GET /api/v1/deployments/{id}":        {isolation: named, role: api.RoleInference, path: "/api/v1/deployments/${deployment}"},
	"PUT /api/v1/deployments/{id}":        {isolation: named, role: api.RoleAdmin, path: "/api/v1/deployments/${deployment}", body: limited},
	"PUT /api/v1/deployments/{id}/scale":  {isolation: named, role: api.RoleAdmin, path: "/api/v1/deployments/${deployment}/scale", body: `{"capacity":1}`},
	"PUT /api/v1/deployments/{id}/update": {isolation: named, role: api.RoleAdmin, path: "/api/v1/deployments/${deployment}/update", body: limited},
	"PUT /api/v1/deployments/{id}/stop":   {isolation: named, role: api.RoleAdmin, path: "/api/v1/deployments/${deployment}/stop"},
	"PUT /api/v1/deployments/{id}/start":  {isolation: named, role: api.RoleAdmin, path: "/api/v1/deployments/${deployment}/start"},
	"DELETE /api/v1/deployments/{id}":     {isolation: named, role: api.RoleAdmin, path: "/api/v1/deployments/${deployment}"},
	"GET /api/v1/deployments/{id}/stream": {isolation: named, role: api.RoleInference, path: "/api/v1/deployments/${deployment}/stream"},
	"GET /api/v1/deployments/{id}/events": {isolation: named, role: api.RoleInference, path: "/api/v1/deployments/${deployment}/events"},
	"GET /api/v1/models":                  {isolation: scoped, role: api.RoleInference},
	"POST /api/v1/tokens":                 {isolation: scoped, role: api.RoleInference},
	"POST /api/v1/fine-tunes":             {isolation: scoped, role: api.RoleInference}, // answers that nothing is trained here
	"GET /api/v1/fine-tunes":              {isolation: scoped, role: api.RoleInference},
	"GET /api/v1/fine-tunes/{id}":         {isolation: named, role: api.RoleInference, path: "/api/v1/fine-tunes/${job}"},
	"GET /api/v1/fine-tunes/{id}/logs":    {isolation: named, role: api.RoleInference, path: "/api/v1/fine-tunes/${job}/logs"},
	"GET /api/v1/fine-tunes/{id}/checkpoints": {
		isolation: named, role: api.RoleInference, path: "/api/v1/fine-tunes/${job}/checkpoints",
	},
	"GET /api/v1/fine-tunes/{id}/stream":  {isolation: named, role: api.RoleInference, path: "/api/v1/fine-tunes/${job}/stream"},
	"POST /api/v1/fine-tunes/{id}/cancel": {isolation: named, role: api.RoleAdmin, path: "/api/v1/fine-tunes/${job}/cancel"},
	"DELETE /api/v1/fine-tunes/{id}":      {isolation: named, role: api.RoleAdmin, path: "/api/v1/fine-tunes/${job}"},
	"POST /berth/v1/fine-tunes":           {isolation: scoped, role: api.RoleAdmin, body: `{"model":"nobody","upload":"nobody"}`},

	"POST /api/v1/custom_models/import":     {isolation: scoped, role: api.RoleAdmin, body: imported},
	"GET /api/v1/custom_models/import":      {isolation: scoped, role: api.RoleAdmin},
	"GET /api/v1/custom_models/import/{id}": {isolation: named, role: api.RoleAdmin, path: "/api/v1/custom_models/import/${import}"},
	"DELETE /api/v1/custom_models/import/{id}": {
		isolation: named, role: api.RoleAdmin, path: "/api/v1/custom_models/import/${import}",
	},
	"PUT /api/v1/custom_models/import/{id}/cancel": {
		isolation: named, role: api.RoleAdmin, path: "/api/v1/custom_models/import/${import}/cancel",
	},

	"POST /berth/v1/quote": {isolation: scoped, role: api.RoleAdmin, body: purchase},

	"GET /berth/v1/models":           {isolation: scoped, role: api.RoleInference},
	"POST /berth/v1/models":          {isolation: scoped, role: api.RoleAdmin, body: `{"name":"new","base":"plain","upload":"nobody"}`},
	"GET /berth/v1/models/{name}":    {isolation: named, role: api.RoleInference, path: "/berth/v1/models/${model}"},
	"DELETE /berth/v1/models/{name}": {isolation: named, role: api.RoleAdmin, path: "/berth/v1/models/${model}"},
	"POST /berth/v1/models/{name}/calibrate": {
		isolation: named, role: api.RoleAdmin, path: "/berth/v1/models/${model}/calibrate", body: `{"seconds":5}`,
	},
	"GET /berth/v1/models/{name}/calibrations": {isolation: named, role: api.RoleInference, path: "/berth/v1/models/${model}/calibrations"},

	"GET /berth/v1/accounts":                {isolation: wide, role: api.RoleOwner},
	"POST /berth/v1/accounts":               {isolation: wide, role: api.RoleOwner, body: `{"name":""}`},
	"GET /berth/v1/accounts/{id}":           {isolation: wide, role: api.RoleOwner, path: "/berth/v1/accounts/nobody"},
	"PATCH /berth/v1/accounts/{id}":         {isolation: wide, role: api.RoleOwner, path: "/berth/v1/accounts/nobody", body: `{}`},
	"GET /berth/v1/accounts/{id}/balance":   {isolation: wide, role: api.RoleOwner, path: "/berth/v1/accounts/nobody/balance"},
	"GET /berth/v1/accounts/{id}/payments":  {isolation: wide, role: api.RoleOwner, path: "/berth/v1/accounts/nobody/payments"},
	"POST /berth/v1/accounts/{id}/payments": {isolation: wide, role: api.RoleOwner, path: "/berth/v1/accounts/nobody/payments", body: `{"amount_nano":1,"reference":"x"}`},
	"GET /berth/v1/ledger":                  {isolation: wide, role: api.RoleOwner},
	"GET /berth/v1/prices":                  {isolation: wide, role: api.RoleAdmin},
	"POST /berth/v1/prices":                 {isolation: wide, role: api.RoleOwner, body: `{"prices":[]}`},

	"POST /berth/v1/prices/dry-run":            {isolation: wide, role: api.RoleOwner, body: `{"month":"current","prices":[{"dimension":"output","price_nano":1,"per":1}]}`},
	"GET /berth/v1/statements/{month}":         {isolation: scoped, role: api.RoleAdmin, path: "/berth/v1/statements/current"},
	"GET /berth/v1/statements/{month}/records": {isolation: named, role: api.RoleAdmin, path: "/berth/v1/statements/current/records?line=${line}"},

	"GET /berth/v1/workspaces":         {isolation: wide, role: api.RoleOwner},
	"POST /berth/v1/workspaces":        {isolation: wide, role: api.RoleOwner, body: `{"name":""}`},
	"GET /berth/v1/workspaces/{id}":    {isolation: wide, role: api.RoleOwner, path: "/berth/v1/workspaces/${workspace}"},
	"PUT /berth/v1/workspaces/{id}":    {isolation: wide, role: api.RoleOwner, path: "/berth/v1/workspaces/${workspace}", body: `{}`},
	"DELETE /berth/v1/workspaces/{id}": {isolation: wide, role: api.RoleOwner, path: "/berth/v1/workspaces/${workspace}"},

	"GET /berth/v1/uploads":         {isolation: scoped, role: api.RoleAdmin},
	"POST /berth/v1/uploads":        {isolation: scoped, role: api.RoleAdmin, body: uploaded},
	"GET /berth/v1/uploads/{id}":    {isolation: named, role: api.RoleAdmin, path: "/berth/v1/uploads/${upload}"},
	"DELETE /berth/v1/uploads/{id}": {isolation: named, role: api.RoleAdmin, path: "/berth/v1/uploads/${upload}"},
	"GET /berth/v1/uploads/{id}/files/{name}": {
		isolation: named, role: api.RoleAdmin, path: file,
	},
	"PATCH /berth/v1/uploads/{id}/files/{name}": {
		isolation: named, role: api.RoleAdmin, path: file, header: []string{"Upload-Offset", "0"}, body: "abc",
	},

	"GET /berth/v1/keys":          {isolation: scoped, role: api.RoleAdmin},
	"POST /berth/v1/keys":         {isolation: scoped, role: api.RoleAdmin, body: `{"role":"inference","expires_at":"2020-01-01T00:00:00Z"}`},
	"DELETE /berth/v1/keys/{id}":  {isolation: named, role: api.RoleAdmin, path: "/berth/v1/keys/${key}"},
	"GET /berth/v1/usage":         {isolation: scoped, role: api.RoleInference},
	"GET /berth/v1/usage/records": {isolation: scoped, role: api.RoleInference},

	"GET /berth/v1/reconciliation": {isolation: wide, role: api.RoleOwner},
	"GET /berth/v1/audit":          {isolation: wide, role: api.RoleOwner},
	"GET /metrics":                 {isolation: wide, role: api.RoleOwner},

	"GET /berth/v1/specs":   {isolation: wide, role: api.RoleInference},
	"GET /berth/v1/nodes":   {isolation: wide, role: api.RoleOwner},
	"POST /berth/v1/backup": {isolation: wide, role: api.RoleOwner},
	"GET /berth/v1/push":    {isolation: wide, role: api.RoleOwner},

	"GET /berth/v1/deployments/{id}/events":   {isolation: named, role: api.RoleAdmin, path: "/berth/v1/deployments/${deployment}/events"},
	"GET /berth/v1/deployments/{id}/replicas": {isolation: named, role: api.RoleAdmin, path: "/berth/v1/deployments/${deployment}/replicas"},
	"GET /berth/v1/deployments/{id}/explain":  {isolation: named, role: api.RoleAdmin, path: "/berth/v1/deployments/${deployment}/explain"},
	"GET /berth/v1/deployments/{id}/logs":     {isolation: named, role: api.RoleAdmin, path: "/berth/v1/deployments/${deployment}/logs"},

	"PUT /api/v1/deployments/{id}/update-overflowstrategy":                      {isolation: named, role: api.RoleAdmin, path: "/api/v1/deployments/${reserved}/update-overflowstrategy", body: `{"overflow_strategy":"enable"}`},
	"PUT /api/v1/deployments/{id}/updateOverflowStrategy":                       {isolation: named, role: api.RoleAdmin, path: "/api/v1/deployments/${reserved}/updateOverflowStrategy", body: `{"overflow_strategy":"enable"}`},
	"PUT /api/v1/deployments/{id}/renew":                                        {isolation: named, role: api.RoleAdmin, path: "/api/v1/deployments/${reserved}/renew", body: `{"pre_paid_info":{"duration":1,"auto_renewal":false}}`},
	"POST /api/v1/deployments/{id}/capacity-instances":                          {isolation: named, role: api.RoleAdmin, path: "/api/v1/deployments/${reserved}/capacity-instances", body: `{"billing_method":"POST_PAY","ptu_capacity":{"input_tpm":1000,"output_tpm":100}}`},
	"GET /api/v1/deployments/{id}/capacity-instances":                           {isolation: named, role: api.RoleInference, path: "/api/v1/deployments/${reserved}/capacity-instances"},
	"GET /api/v1/deployments/{id}/capacity-instances/{instance}":                {isolation: named, role: api.RoleInference, path: "/api/v1/deployments/${reserved}/capacity-instances/${instance}"},
	"PUT /api/v1/deployments/{id}/capacity-instances/{instance}/scale":          {isolation: named, role: api.RoleAdmin, path: "/api/v1/deployments/${reserved}/capacity-instances/${instance}/scale", body: `{"ptu_capacity":{"input_tpm":1000,"output_tpm":100}}`},
	"PUT /api/v1/deployments/{id}/capacity-instances/{instance}/renew":          {isolation: named, role: api.RoleAdmin, path: "/api/v1/deployments/${reserved}/capacity-instances/${instance}/renew", body: `{"pre_paid_info":{"duration":1,"auto_renewal":false}}`},
	"DELETE /api/v1/deployments/{id}/capacity-instances/{instance}":             {isolation: named, role: api.RoleAdmin, path: "/api/v1/deployments/${reserved}/capacity-instances/${instance}"},
	"GET /api/v1/deployments/{id}/capacity-operations/{operation}":              {isolation: named, role: api.RoleInference, path: "/api/v1/deployments/${reserved}/capacity-operations/${operation}"},
	"POST /berth/v1/deployments/{id}/capacity-instances/{instance}/unsubscribe": {isolation: named, role: api.RoleAdmin, path: "/berth/v1/deployments/${reserved}/capacity-instances/${instance}/unsubscribe"},

	"POST /compatible-mode/v1/chat/completions": {isolation: called, role: api.RoleInference, body: chatBody},
	"POST /v1/chat/completions":                 {isolation: called, role: api.RoleInference, body: chatBody},
	"POST /api/v1/chat/completions":             {isolation: called, role: api.RoleInference, body: chatBody},

	"POST /api/v1/services/aigc/text-generation/generation":             {isolation: called, role: api.RoleInference, body: callBody},
	"POST /compatible-mode/v1/services/aigc/text-generation/generation": {isolation: called, role: api.RoleInference, body: callBody},
	"POST /v1/services/aigc/text-generation/generation":                 {isolation: called, role: api.RoleInference, body: callBody},
	"POST /apps/anthropic/services/aigc/text-generation/generation":     {isolation: called, role: api.RoleInference, body: callBody},

	"POST /api/v1/services/aigc/multimodal-generation/generation":             {isolation: called, role: api.RoleInference, body: callBody},
	"POST /compatible-mode/v1/services/aigc/multimodal-generation/generation": {isolation: called, role: api.RoleInference, body: callBody},
	"POST /v1/services/aigc/multimodal-generation/generation":                 {isolation: called, role: api.RoleInference, body: callBody},
	"POST /apps/anthropic/services/aigc/multimodal-generation/generation":     {isolation: called, role: api.RoleInference, body: callBody},

	"POST /apps/anthropic/v1/messages":     {isolation: called, role: api.RoleInference, body: messagesBody},
	"POST /api/v1/v1/messages":             {isolation: called, role: api.RoleInference, body: messagesBody},
	"POST /compatible-mode/v1/v1/messages": {isolation: called, role: api.RoleInference, body: messagesBody},
	"POST /v1/messages":                    {isolation: called, role: api.RoleInference, body: messagesBody},

	"POST /apps/anthropic/v1/messages/count_tokens":     {isolation: called, role: api.RoleInference, body: messagesBody},
	"POST /api/v1/v1/messages/count_tokens":             {isolation: called, role: api.RoleInference, body: messagesBody},
	"POST /compatible-mode/v1/v1/messages/count_tokens": {isolation: called, role: api.RoleInference, body: messagesBody},
	"POST /v1/messages/count_tokens":                    {isolation: called, role: api.RoleInference, body: messagesBody},

	"GET /apps/anthropic/v1/models":      {isolation: scoped, role: api.RoleInference},
	"GET /apps/anthropic/v1/models/{id}": {isolation: named, role: api.RoleInference, path: "/apps/anthropic/v1/models/${deployment}"},

	"POST /compatible-mode/v1/responses":                       {isolation: called, role: api.RoleInference, body: `{"model":"${deployment}","input":"hi"}`},
	"POST /v1/responses":                                       {isolation: called, role: api.RoleInference, body: `{"model":"${deployment}","input":"hi"}`},
	"POST /api/v1/responses":                                   {isolation: called, role: api.RoleInference, body: `{"model":"${deployment}","input":"hi"}`},
	"POST /api/v2/apps/protocols/compatible-mode/v1/responses": {isolation: called, role: api.RoleInference, body: `{"model":"${deployment}","input":"hi"}`},
	"POST /api/v1/tokenizer":                                   {isolation: called, role: api.RoleInference, body: callBody},
	"POST /compatible-mode/v1/tokenizer":                       {isolation: called, role: api.RoleInference, body: callBody},
	"POST /v1/tokenizer":                                       {isolation: called, role: api.RoleInference, body: callBody},
	"POST /apps/anthropic/tokenizer":                           {isolation: called, role: api.RoleInference, body: callBody},
	"POST /apps/anthropic/v1/tokenizer":                        {isolation: called, role: api.RoleInference, body: callBody},

	"POST /compatible-mode/v1/completions":                                       {isolation: called, role: api.RoleInference, body: `{"model":"${deployment}","prompt":"hi"}`},
	"POST /v1/completions":                                                       {isolation: called, role: api.RoleInference, body: `{"model":"${deployment}","prompt":"hi"}`},
	"POST /compatible-mode/v1/embeddings":                                        {isolation: called, role: api.RoleInference, body: `{"model":"${deployment}","input":"hi"}`},
	"POST /v1/embeddings":                                                        {isolation: called, role: api.RoleInference, body: `{"model":"${deployment}","input":"hi"}`},
	"POST /api/v1/embeddings":                                                    {isolation: called, role: api.RoleInference, body: `{"model":"${deployment}","input":"hi"}`},
	"POST /api/v1/services/embeddings/text-embedding/text-embedding":             {isolation: called, role: api.RoleInference, body: `{"model":"${deployment}","input":{"texts":["hi"]}}`},
	"POST /compatible-mode/v1/services/embeddings/text-embedding/text-embedding": {isolation: called, role: api.RoleInference, body: `{"model":"${deployment}","input":{"texts":["hi"]}}`},
	"POST /v1/services/embeddings/text-embedding/text-embedding":                 {isolation: called, role: api.RoleInference, body: `{"model":"${deployment}","input":{"texts":["hi"]}}`},
	"POST /apps/anthropic/services/embeddings/text-embedding/text-embedding":     {isolation: called, role: api.RoleInference, body: `{"model":"${deployment}","input":{"texts":["hi"]}}`},

	"GET /compatible-mode/v1/models":      {isolation: scoped, role: api.RoleInference},
	"GET /v1/models":                      {isolation: scoped, role: api.RoleInference},
	"GET /compatible-mode/v1/models/{id}": {isolation: named, role: api.RoleInference, path: "/compatible-mode/v1/models/${deployment}"},
	"GET /v1/models/{id}":                 {isolation: named, role: api.RoleInference, path: "/v1/models/${deployment}"},
}

func TestEveryRouteIsDecidedAbout(t *testing.T) {
	t.Parallel()
	b := inProcess(t, "node: {threads: 1, memory: 1GiB}\n")
	routes := b.app.Routes()
	for _, route := range routes {
		if _, ok := decisions[route]; !ok {
			t.Errorf("%s: nobody has decided who may use it and what of it other workspaces see; say it in decisions", route)
		}
	}
	for route := range decisions {
		if !slices.Contains(routes, route) {
			t.Errorf("%s is not served any more; take it out of decisions", route)
		}
	}
}

// furniture is a workspace with one of everything, and the names of all that.
type furniture struct {
	*berth
	names map[string]string
	keys  map[string]string // text by role; "stranger" is an admin elsewhere
	away  string
}

func furnish(t *testing.T) *furniture {
	t.Helper()
	b := inProcess(t, `
node: {threads: 8, memory: 4GiB}
imports: {stores: {b: `+t.TempDir()+`}}
models:
  plain: {engine: fake, plans: [mu], context: 32768}
  shared: {engine: fake, plans: [ptu], calibration: {input_tpm: 600000, output_tpm: 60000}}
`)
	f := &furniture{berth: b, names: map[string]string{}, keys: map[string]string{"": "", api.RoleOwner: b.Key}}
	f.away, f.keys["stranger"] = b.withStranger(t)
	w, err := b.CreateWorkspace(t.Context(), api.CreateWorkspace{Name: "furnished"})
	must(t, err)
	for _, role := range []string{api.RoleInference, api.RoleAdmin} {
		k, err := b.CreateKey(t.Context(), api.CreateKey{WorkspaceID: w.ID, Role: role})
		must(t, err)
		f.keys[role], f.names["key"] = k.Text, k.ID
	}
	f.names["workspace"] = w.ID
	admin := &berth{Client: &api.Client{BaseURL: b.BaseURL, Key: f.keys[api.RoleAdmin], HTTP: b.HTTP}}
	f.names["deployment"] = admin.running(t, api.CreateDeployment{ModelName: "plain", Plan: api.PlanMU, DeploySpec: "MU1", Capacity: ptr(int64(1))}).DeployedModel
	f.names["reserved"] = admin.running(t, api.CreateDeployment{ModelName: "shared", Plan: api.PlanPTU, ChargeType: api.ChargePostPaid}).DeployedModel
	instances, err := admin.ListCapacity(t.Context(), f.names["reserved"], api.CapacityQuery{})
	must(t, err)
	f.names["instance"] = instances.Records[0].InstanceID
	less, err := admin.ScaleCapacity(t.Context(), f.names["reserved"], f.names["instance"], api.CapacityWrite{PTU: &api.PTUCapacity{InputTPM: 2000, OutputTPM: 200}})
	must(t, err)
	f.names["operation"] = less.OperationID
	statement, err := admin.Statement(t.Context(), api.StatementQuery{})
	must(t, err)
	f.names["line"] = statement.Lines[0].ID
	admin.ask(t, f.names["deployment"], "hi")
	until(t, "the call is recorded", func() bool {
		page, err := admin.UsageRecords(t.Context(), api.UsageFilter{}, "")
		must(t, err)
		return len(page.Records) > 0
	})
	files, err := abacus.Extract(t.TempDir())
	must(t, err)
	weights, err := admin.UploadFiles(t.Context(), []string{files.Base}, nil)
	must(t, err)
	own, err := admin.AddModel(t.Context(), api.AddModel{Name: "own-model", Upload: weights.ID})
	must(t, err)
	f.names["model"] = own.Name
	f.names["upload"] = f.made(t, "/berth/v1/uploads", strings.ReplaceAll(uploaded, "../no", "a.json"), "id")
	adapter, err := admin.UploadFiles(t.Context(), []string{files.Words}, nil)
	must(t, err)
	f.names["job"] = f.made(t, "/berth/v1/fine-tunes", `{"model":"own-model","upload":"`+adapter.ID+`"}`, "job_id")
	f.names["import"] = f.made(t, "/api/v1/custom_models/import", strings.ReplaceAll(imported, "nobody", "plain"), "output.job_id")
	return f
}

// made makes something as the admin and returns its name.
func (f *furniture) made(t *testing.T, path, body, name string) string {
	t.Helper()
	got := f.send(t, http.MethodPost, path, body, f.as(api.RoleAdmin)...)
	var answer any
	must(t, json.Unmarshal([]byte(got.body), &answer))
	id, _ := at(answer, name)
	text, _ := id.(string)
	if text == "" {
		t.Fatalf("POST %s: %s", path, got.body)
	}
	return text
}

func (f *furniture) as(who string, headers ...string) []string {
	key := f.keys[who]
	if key != "" {
		key = "Bearer " + key
	}
	return append([]string{"Authorization", key}, headers...)
}

// fill puts the names of what there is into a text; blank those of what is not.
func (f *furniture) fill(text string) string {
	for name, value := range f.names {
		text = strings.ReplaceAll(text, "${"+name+"}", value)
	}
	return text
}

func (f *furniture) blank(text string) string {
	for name := range f.names {
		text = strings.ReplaceAll(text, "${"+name+"}", "nobody")
	}
	return text
}

// try makes a route's request.
func (f *furniture) try(t *testing.T, route string, a access, fill func(string) string, headers []string) answer {
	t.Helper()
	method, path, _ := strings.Cut(route, " ")
	if a.path != "" {
		path = a.path
	}
	return f.send(t, method, fill(path), fill(a.body), append(headers, a.header...)...)
}

var ranks = []string{"", api.RoleInference, api.RoleAdmin, api.RoleOwner}

// Every route, as everybody, about things that are not there: who may not use it learns
// nothing but that.
func TestRolesOfEveryRoute(t *testing.T) {
	t.Parallel()
	f := furnish(t)
	for route, a := range decisions {
		for rank, role := range ranks {
			got := f.try(t, route, a, f.blank, f.as(role))
			allowed := rank >= slices.Index(ranks, a.role)
			switch {
			case a.isolation == open:
				allowed = got.status == http.StatusOK || got.status == http.StatusServiceUnavailable
			case role == "": // conformance 1
				if got.status != http.StatusUnauthorized {
					t.Errorf("%s without a key: %d %s", route, got.status, got.body)
				}
				continue
			}
			refused := got.status == http.StatusForbidden || got.status == http.StatusUnauthorized
			if refused == allowed || !allowed && got.status != http.StatusForbidden || got.status >= http.StatusInternalServerError && a.isolation != open {
				t.Errorf("%s as %s: %d %s", route, role, got.status, got.body)
			}
		}
	}
}

// Every route, as an admin of another workspace, about things that are there.
func TestIsolationOfEveryRoute(t *testing.T) {
	t.Parallel()
	f := furnish(t)
	for route, a := range decisions {
		got := f.try(t, route, a, f.fill, f.as("stranger"))
		// What the request names, the answer may repeat.
		for noun, name := range f.names {
			if !strings.Contains(a.path+a.body, "${"+noun+"}") && strings.Contains(got.body, name) {
				t.Errorf("%s tells another workspace of the %s: %s", route, noun, got.body)
			}
		}
		switch a.isolation {
		case named: // conformance 57
			other := f.try(t, route, a, f.blank, f.as("stranger"))
			if f.anonymous(got) != f.anonymous(other) || got.status != http.StatusNotFound {
				t.Errorf("%s tells what is there from what is not: %d %s, %d %s", route, got.status, got.body, other.status, other.body)
			}
		case called: // conformance 84
			if code, _ := errorOf(parsed(got)); got.status != http.StatusForbidden || code != "Model.AccessDenied" {
				t.Errorf("%s: %d %s", route, got.status, got.body)
			}
		}
		if a.isolation == open {
			continue
		}
		// conformance 11
		entered := f.try(t, route, a, f.fill, f.as("stranger", "X-DashScope-WorkSpace", f.names["workspace"]))
		if code, _ := errorOf(parsed(entered)); entered.status != http.StatusForbidden || code != "Workspace.AccessDenied" {
			t.Errorf("%s in a workspace of others: %d %s", route, entered.status, entered.body)
		}
	}
	f.stillThere(t)
}

func parsed(got answer) (body any) {
	_ = json.Unmarshal([]byte(got.body), &body)
	return body
}

// anonymous is a refusal without what differs by what was asked.
func (f *furniture) anonymous(got answer) string {
	code, message := errorOf(parsed(got))
	for _, name := range f.names {
		message = strings.ReplaceAll(message, name, "nobody")
	}
	return code + " " + message
}

// stillThere proves that what a stranger was refused was there to be had, and still is.
func (f *furniture) stillThere(t *testing.T) {
	t.Helper()
	for route, a := range decisions {
		method, _, _ := strings.Cut(route, " ")
		if method != http.MethodGet || strings.HasSuffix(route, "/stream") || strings.HasSuffix(route, "/api/v1/deployments/{id}/events") {
			continue // would be changed, or has no end while it runs
		}
		got := f.try(t, route, a, f.fill, f.as(api.RoleAdmin))
		if a.isolation == named && got.status != http.StatusOK {
			t.Errorf("%s as its own admin: %d %s", route, got.status, got.body)
		}
	}
	for list, noun := range map[string]string{
		"/api/v1/deployments": "deployment", "/api/v1/models": "deployment", "/v1/models": "deployment", "/compatible-mode/v1/models": "deployment", "/apps/anthropic/v1/models": "deployment",
		"/api/v1/deployments/models?model_source=custom": "model", "/berth/v1/models": "model", "/berth/v1/uploads": "upload",
		"/berth/v1/keys": "key", "/api/v1/custom_models/import": "import", "/berth/v1/usage?group_by=deployed_model": "deployment", "/berth/v1/usage/records": "deployment",
	} {
		if got := f.send(t, http.MethodGet, list, "", f.as(api.RoleAdmin)...); !strings.Contains(got.body, f.names[noun]) {
			t.Errorf("%s does not show its own admin the %s: %s", list, noun, got.body)
		}
		if got := f.send(t, http.MethodGet, list, "", f.as("stranger")...); got.status != http.StatusOK || strings.Contains(got.body, f.names[noun]) {
			t.Errorf("%s shows a stranger: %d %s", list, got.status, got.body)
		}
	}
}

// A revoked key and its tokens end calls that begin after the answer to the revocation,
// on both surfaces, however many are on their way.
func TestARevokedKeyIsRefusedFromTheNextCall(t *testing.T) {
	t.Parallel()
	f := furnish(t)
	key, err := f.CreateKey(t.Context(), api.CreateKey{WorkspaceID: f.names["workspace"], Role: api.RoleInference})
	must(t, err)
	token, err := (&api.Client{BaseURL: f.BaseURL, Key: key.Text, HTTP: f.HTTP}).CreateToken(t.Context(), 0)
	must(t, err)
	var revoked, stop atomic.Bool
	var before, after atomic.Int64
	var callers sync.WaitGroup
	for _, text := range []string{key.Text, token.Token} {
		for _, call := range []string{"POST /v1/chat/completions", "GET /v1/models", "GET /api/v1/deployments"} {
			callers.Go(func() {
				for !stop.Load() {
					late := revoked.Load()
					method, path, _ := strings.Cut(call, " ")
					got := f.send(t, method, path, f.fill(chatBody), "Authorization", "Bearer "+text)
					switch {
					case got.status == http.StatusOK && !late:
						before.Add(1)
					case got.status == http.StatusUnauthorized:
						after.Add(1)
					default:
						t.Errorf("%s, revoked: %v: %d %s", call, late, got.status, got.body)
					}
				}
			})
		}
	}
	until(t, "calls are answered", func() bool { return before.Load() > 50 })
	must(t, f.RevokeKey(t.Context(), key.ID))
	revoked.Store(true)
	known := after.Load()
	until(t, "calls are refused", func() bool { return after.Load() > known+50 })
	stop.Store(true)
	callers.Wait()
}
