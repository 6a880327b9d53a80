package cli

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/berthhq/berth/api"
)

var (
	dedicated = api.Deployment{
		DeployedModel: "abacus-1f0c77aa", Name: "sums", Status: api.StatusRunning, ModelName: "abacus", BaseModel: "abacus",
		GMTCreate: "2026-10-02T19:56:59.68", GMTModified: "2026-10-02T19:59:48", BaseCapacity: 2, Capacity: 4, ReadyCapacity: 2,
		WorkspaceID: "llm-4kd02x9a", ChargeType: "post_paid", Creator: "1", Modifier: "1", Plan: "mu", ModelUnitSpec: "MU1",
		EnableThinking: ptr(true), MaxContextLength: ptr(int64(32768)), RPMLimit: ptr(int64(600)), TPMLimit: ptr(int64(200000)),
	}
	reserved = api.Deployment{
		DeployedModel: "abacus-1f0c77aa-chat", Name: "abacus", Status: api.StatusFailed, ModelName: "abacus", BaseModel: "abacus",
		GMTCreate: "2026-09-30T10:00:00", GMTModified: "2026-09-30T10:00:00", Plan: "ptu",
		PTU: &api.PTUCapacity{InputTPM: 20000, OutputTPM: 2000}, OverflowStrategy: "enable", FailReason: "the engine ran out of memory",
	}
	tuned = api.Deployment{
		DeployedModel: "poet", Name: "two\nlines\x1b[31m", Status: api.StatusPending, ModelName: "poet", BaseModel: "abacus",
		GMTCreate: "2026-10-03T19:00:00", GMTModified: "2026-10-03T19:00:00", Plan: "lora",
	}
	specMU1 = api.Spec{Name: "MU1", Type: "COUPLED", Threads: 1, MemoryBytes: 256 << 20, Slots: 4, ContextLength: 32768, UnitsPerReplica: 1}
	abacus  = api.Model{
		Name: "abacus", Kind: "base", Engine: "llamacpp", Path: "/models/abacus.gguf", Digest: "sha256:ab", SizeBytes: 1_700_000,
		Architecture: "qwen3", Parameters: 800_000, ContextLength: 40960, Thinking: "optional", Plans: []string{"mu", "ptu"},
		Specs: []api.Spec{specMU1}, Calibration: &api.Calibration{InputTPM: 600000, OutputTPM: 60000, Declared: true},
		PTU:       &api.PTUTerms{CacheFactor: 0.2, MaxInput: 131072, LongInput: []api.LongInput{{Above: 32768, Input: 1.33, Output: 1.17}}},
		CreatedAt: noon.Add(-72 * time.Hour),
		Prices: []api.PriceTag{
			{Plan: "mu", Spec: "MU1", Dimension: "unit_minute", PriceNano: 54_000_000_000, Per: 60, Currency: "CNY"},
			{Plan: "ptu", Dimension: "10k_input_tpm_minute", PriceNano: 6_000_000, Per: 1, Currency: "CNY"},
			{Plan: "ptu", Dimension: "1k_output_tpm_minute", PriceNano: 1, Per: 7, Currency: "CNY"},
			{Plan: "ptu", Dimension: "input", Currency: "CNY", Per: 1, Unpriced: true},
			{Plan: "ptu", Dimension: "output", FromTokens: 128_000, Currency: "CNY", PriceNano: 4_800_000_000, Per: 1_000_000},
		},
	}
	standIn = api.Model{
		Name: "qwen-plus", Kind: "endpoint", Engine: "endpoint", URL: "https://models.example.com/v1", RemoteName: "q",
		Thinking: "none", Plans: []string{"mu"}, StandIn: true, CreatedAt: noon.Add(-200 * 24 * time.Hour),
	}
	queuedSince = noon.Add(-42 * time.Second)

	findings = &api.Findings{
		Digest: "sha256:ab", Spec: "MU1", Slots: 4, EngineVersion: "b6082", Machine: api.Machine{CPU: "AMD EPYC", Threads: 16, Accelerators: []string{}},
		InputNSPerToken: 8_600, OutputNSPerToken: 154_185, FirstTokenP50MS: 12, FirstTokenP95MS: 31, FirstTokenInput: 276,
		DeviationPPM: 18_228, Calls: 154, MaxInputTPM: 6_279_069, MaxOutputTPM: 350_228, MeasuredAt: noon.Add(-time.Hour),
	}
	calibrations = []api.CalibrationRun{
		{ID: "cal_1", Model: "measured", Spec: "MU1", Engine: "llamacpp", Status: api.CalibrationSucceeded, Seconds: 30, StartedAt: noon.Add(-time.Hour), EndedAt: ptr(noon.Add(-time.Hour)), Sells: true, Found: findings},
		{ID: "cal_2", Model: "abacus", Spec: "MU1", Engine: "llamacpp", Status: api.CalibrationRunning, Seconds: 30, StartedAt: noon},
		{ID: "cal_3", Model: "broken", Spec: "MU2", Engine: "llamacpp", Status: api.CalibrationInterrupted, Reason: "The server ended while the calibration ran; start it again.", Seconds: 30, StartedAt: noon.Add(-time.Minute), EndedAt: ptr(noon), Found: findings},
	}
	eventList = []api.Event{
		{ID: "evt_1", At: noon.Add(-181 * time.Second), Status: api.StatusPending, Capacity: 4, Reason: "Bought: MU1 x 4."},
		{ID: "evt_2", At: noon.Add(-178 * time.Second), Status: api.StatusRunning, Capacity: 4, ReadyCapacity: 4, Reason: "2 of 2 replicas answer."},
	}
	nodes = []api.Node{{
		ID:       "node-a",
		Hardware: api.Hardware{Threads: 16, MemoryBytes: 64 << 30, Accelerators: []string{"0", "1"}},
		AcceleratorDetails: []api.Accelerator{
			{ID: "0", Vendor: "nvidia", Name: "NVIDIA A100", MemoryBytes: 80 << 30}, {ID: "1", Vendor: "nvidia", Name: "NVIDIA A100", MemoryBytes: 80 << 30},
		},
		Held: []api.Hold{
			{DeployedModel: "abacus-1f0c77aa", Replica: "rep_1", Hardware: api.Hardware{Threads: 2, MemoryBytes: 512 << 20, Accelerators: []string{"1"}}},
			{Pool: "pool_1", Replica: "rep_2", Hardware: api.Hardware{Threads: 1, MemoryBytes: 256 << 20}},
		},
	}}
	capacities = []api.CapacityInstance{
		{
			ModelServiceID: "abacus-1f0c77aa-chat", InstanceID: "cap_1", ChargeType: "pre_paid", Status: "RUNNING",
			EffectiveCapacity: tokens("20000", "2000"), ConfiguredCapacity: tokens("20000", "2000"), TargetCapacity: tokens("30000", "3000"),
			PrePaidInfo:  &api.PrePaidInfo{PricingCycle: "Day", Duration: 30, AutoRenewal: ptr(true), AutoRenewalDuration: 7},
			GMTEffective: "2026-10-02T19:56:59", GMTExpired: "2026-11-01T00:00:00", GMTCreated: "2026-10-02T19:56:59", GMTModified: "2026-10-02T19:56:59",
		},
		{
			ModelServiceID: "abacus-1f0c77aa-chat", InstanceID: "cap_2", ChargeType: "post_paid", Status: "STOPPED", Deleted: true,
			EffectiveCapacity: tokens("0", "0"), ConfiguredCapacity: tokens("10", "1"), TargetCapacity: tokens("0", "0"),
			GMTCreated: "2026-09-30T10:00:00", GMTModified: "2026-10-01T10:00:00", GMTDeleted: "2026-10-01T10:00:00",
		},
	}
	scaling = api.CapacityOperation{
		OperationID: "4611686018427387904", OperationType: "SCALE", OperationStatus: "PROCESSING", ModelServiceID: "abacus-1f0c77aa-chat",
		InstanceID: "cap_1", FromStatus: "RUNNING", CurrentStatus: "SCALING", GMTCreated: "2026-10-02T19:59:48",
	}
	rows = []api.UsageRow{
		{Group: map[string]string{"deployed_model": "abacus-1f0c77aa", "day": "2026-10-01"}, Calls: 1200, InputTokens: 1234567, CachedTokens: 1000, OutputTokens: 98765, ThinkingTokens: 12},
		{Group: map[string]string{"deployed_model": "poet", "day": "2026-10-02"}, Calls: 3, InputTokens: 30, OutputTokens: 9},
	}
	records = []api.UsageRecord{
		{ID: "use_1", CallID: "c-1", DeployedModel: "poet", Class: "shared", StartedAt: noon.Add(-time.Hour), EndedAt: noon.Add(-time.Hour + 1234*time.Millisecond), InputTokens: 10, OutputTokens: 3, Billable: true, End: "stop", Source: "engine"},
		{ID: "use_2", CallID: "c-2", DeployedModel: "poet", Class: "shared", StartedAt: noon.Add(-time.Minute), EndedAt: noon.Add(-time.Minute), InputTokens: 10, End: "client_gone", Source: "unknown"},
	}
	reconciled = []api.ReconciliationRow{
		{
			Replica: "rep_1", Run: "run_2", ModelName: "abacus", DeployedModels: []string{"poet"}, Hour: noon.Truncate(time.Hour),
			EngineInputTokens: 12_000, EngineOutputTokens: 3_000, RecordedInputTokens: 11_900, RecordedOutputTokens: 2_900, ProbeInputTokens: 17, ProbeOutputTokens: 1,
			UnbilledInputTokens: 40, ExplainedInputTokens: 60, ExplainedOutputTokens: 80, InexactCalls: 3, UnderWayInputTokens: 40, UnderWayOutputTokens: 20,
		},
		{
			Replica: "rep_1", Run: "run_1", ModelName: "abacus", DeployedModels: []string{}, Hour: noon.Truncate(time.Hour).Add(-time.Hour),
			EngineInputTokens: 500, EngineOutputTokens: 70, RecordedInputTokens: 505, RecordedOutputTokens: 60, UnreadInputTokens: 8,
			UnexplainedInputTokens: 3, UnexplainedOutputTokens: 10, Unexplained: 13,
		},
	}
	keyList = []api.Key{
		{ID: "key_1", Hint: "sk-abc…wxyz", Role: "owner", WorkspaceID: "llm-default0", Name: "first", CreatedAt: noon.Add(-48 * time.Hour)},
		{ID: "key_2", Hint: "sk-def…stuv", Role: "admin", WorkspaceID: "llm-4kd02x9a", CreatedAt: noon.Add(-time.Minute), ExpiresAt: noon.Add(30 * 24 * time.Hour)},
		{ID: "key_3", Hint: "sk-ghi…opqr", Role: "inference", WorkspaceID: "llm-4kd02x9a", CreatedAt: noon, RevokedAt: noon.Add(-5 * time.Second)},
		{ID: "key_4", Hint: "sk-jkl…klmn", Role: "inference", WorkspaceID: "llm-4kd02x9a", CreatedAt: noon, ExpiresAt: noon.Add(-2 * time.Hour)},
		{ID: "key_5", Hint: "sk-mno…ghij", Role: "inference", WorkspaceID: "llm-4kd02x9a", Deployments: []string{"poet"}, CreatedAt: noon},
	}
	workspaceList = []api.Workspace{
		{ID: "llm-4kd02x9a", AccountID: "1000000000000001", Name: "research", Models: []string{"abacus", "qwen-plus"}, Quota: api.Quota{Threads: 16, MemoryBytes: 64 << 30, Accelerators: 2, Deployments: 5}, CreatedAt: noon.Add(-48 * time.Hour)},
		{ID: "llm-default0", AccountID: "1000000000000001", Name: "default", Models: []string{api.AnyModel}, CreatedAt: noon.Add(-49 * time.Hour)},
	}
	accountList = []api.Account{{ID: "1000000000000001", Name: "default", Currency: "CNY", TimeZone: "Asia/Shanghai"}}
	importList  = []api.Import{
		{
			JobID: "imp_2", ModelName: "abacus-offline-20261002-k3x9", DisplayName: "abacus", Source: "OSS", Status: api.ImportRunning,
			StorageInfo: api.StorageInfo{BucketName: "bucket1", ObjectKey: "adapters/poet/"}, GMTCreate: "2026-10-02T11:59:00.000+00:00",
			Progress: &api.ImportProgress{DoneBytes: 1_500_000, TotalBytes: 4_000_000},
		},
		{
			JobID: "imp_1", ModelName: "abacus-offline-20261002-ab12", DisplayName: "poet", Source: "OSS", Status: api.ImportFailed,
			StorageInfo: api.StorageInfo{BucketName: "bucket1", ObjectKey: "nope/"}, GMTCreate: "2026-10-02T11:50:00.000+00:00",
			ErrorCode: "AvailableModelFileNotFound: There are no files under nope/.",
		},
	}
	uploadList = []api.Upload{
		{ID: "upl_2", WorkspaceID: "llm-4kd02x9a", Files: []api.UploadFile{{Name: "adapter_config.json", SizeBytes: 355, Offset: 355}, {Name: "adapter_model.safetensors", SizeBytes: 4_000_000, Offset: 1_500_000}}, CreatedAt: noon.Add(-5 * time.Minute)},
		{ID: "upl_1", WorkspaceID: "llm-4kd02x9a", Files: []api.UploadFile{{Name: "junk.gguf", SizeBytes: 60_000_000, Offset: 60_000_000}}, Complete: true, CreatedAt: noon.Add(-2 * time.Hour)},
	}
	replicas = []api.Replica{
		{ID: "rep_1", State: "ready", PID: 4711, URL: "http://127.0.0.1:41001", Slots: 4, Busy: 1, StartedAt: noon.Add(-3 * time.Minute), Held: api.Hardware{Threads: 1, MemoryBytes: 256 << 20, Accelerators: []string{"1"}}},
		{ID: "rep_2", State: "starting", Slots: 4},
	}
)

// tokens is throughput as the server writes it.
func tokens(input, output json.Number) api.InstanceCapacity {
	return api.InstanceCapacity{InputTPM: input, OutputTPM: output}
}

// furnished is a server in which something is of everything.
func furnished(t *testing.T) *fake {
	t.Helper()
	f := newFake(t)
	f.withMoney()
	measured := abacus
	measured.Name, measured.Calibration = "measured", &api.Calibration{MaxInputTPM: findings.MaxInputTPM, MaxOutputTPM: findings.MaxOutputTPM, Measured: findings}
	all := []api.Deployment{tuned, dedicated, reserved}
	for call, answer := range map[string]http.HandlerFunc{
		"GET /api/v1/deployments":                            output(api.DeploymentList{PageNo: 1, PageSize: 100, Total: 3, Deployments: all}),
		"GET /api/v1/deployments/abacus-1f0c77aa":            output(dedicated),
		"GET /api/v1/deployments/abacus-1f0c77aa-chat":       output(reserved),
		"POST /api/v1/deployments":                           output(tuned),
		"DELETE /api/v1/deployments/poet":                    output(api.Deployment{DeployedModel: "poet", Status: api.StatusDeleting}),
		"GET /berth/v1/deployments/abacus-1f0c77aa/events":   bare(api.EventList{Events: eventList}),
		"GET /berth/v1/deployments/abacus-1f0c77aa/replicas": bare(api.ReplicaList{Replicas: replicas}),
		"GET /berth/v1/deployments/abacus-1f0c77aa/explain": bare(api.Explanation{
			DeployedModel: "abacus-1f0c77aa", ExpectedOutputTokens: 256,
			Limits:   []api.LimitState{{Dimension: "requests", Limit: 10, Used: 10, ResetMS: 59_100}, {Dimension: "tokens", Limit: 1000, Used: 400, Remaining: 600, ResetMS: 60_000}},
			Replicas: []api.ReplicaLoad{{ID: "rep_1", Slots: 4, InFlight: 2}},
			Queue: &api.Queue{
				Lines: []api.QueueLine{
					{Class: "guaranteed"},
					{Class: "best_effort", Waiting: 12, Own: 3, Deployments: 2, Since: &queuedSince, ExpectedWaitMS: 4200},
				},
				Replicas: []api.QueueReplica{
					{ID: "rep_1", Lane: "base", Slots: 4, GuaranteedSlots: 2, Busy: 1, Failing: true},
					{ID: "rep_2", Lane: "lora", Slots: 4, Busy: 4, BusyBestEffort: 4, Group: &api.Group{Since: queuedSince, Waiting: 9}},
				},
			},
			Refusals: []string{"All 10 requests of the minute are used or reserved; calls are refused until some of it is free. All is free in 59.1s if nothing else comes."},
		}),
		"GET /berth/v1/deployments/abacus-1f0c77aa/logs":                              bare(api.LogList{Logs: []api.Log{{Replica: "rep_1", Lines: []string{"main: loading", "\x1b[32mready\x1b[0m"}}, {Replica: "rep_2", Lines: []string{"boom"}}}}),
		"GET /berth/v1/models":                                                        bare(api.ModelList{Models: []api.Model{abacus, standIn}}),
		"GET /berth/v1/models/abacus":                                                 bare(abacus),
		"GET /berth/v1/models/measured":                                               bare(measured),
		"POST /berth/v1/models/abacus/calibrate":                                      bare(calibrations[1]),
		"POST /berth/v1/models/measured/calibrate":                                    bare(calibrations[0]),
		"POST /berth/v1/models/broken/calibrate":                                      bare(calibrations[2]),
		"GET /berth/v1/models/abacus/calibrations":                                    bare(api.CalibrationList{Calibrations: calibrations}),
		"GET /berth/v1/models/qwen-plus":                                              bare(standIn),
		"POST /berth/v1/models":                                                       bare(abacus),
		"DELETE /berth/v1/models/abacus":                                              bare(struct{}{}),
		"GET /berth/v1/uploads":                                                       bare(api.UploadList{Uploads: uploadList}),
		"DELETE /berth/v1/uploads/upl_1":                                              bare(struct{}{}),
		"DELETE /berth/v1/uploads/upl_2":                                              bare(struct{}{}),
		"GET /api/v1/custom_models/import":                                            output(api.ImportList{PageNo: 1, PageSize: 100, Total: 2, List: importList}),
		"POST /api/v1/custom_models/import":                                           output(importList[0]),
		"GET /api/v1/custom_models/import/imp_2":                                      output(api.Import{JobID: "imp_2", ModelName: importList[0].ModelName, Status: api.ImportSucceeded}),
		"PUT /api/v1/custom_models/import/imp_2/cancel":                               output(importList[0]),
		"DELETE /api/v1/custom_models/import/imp_1":                                   output(importList[1]),
		"GET /berth/v1/keys":                                                          bare(api.KeyList{Keys: keyList}),
		"POST /berth/v1/keys":                                                         bare(api.Key{ID: "key_5", Role: "admin", Text: "sk-secret"}),
		"DELETE /berth/v1/keys/key_1":                                                 bare(struct{}{}),
		"GET /berth/v1/workspaces":                                                    bare(api.WorkspaceList{Workspaces: workspaceList}),
		"POST /berth/v1/workspaces":                                                   bare(workspaceList[0]),
		"GET /berth/v1/workspaces/llm-4kd02x9a":                                       bare(workspaceList[0]),
		"PUT /berth/v1/workspaces/llm-4kd02x9a":                                       bare(workspaceList[0]),
		"DELETE /berth/v1/workspaces/llm-4kd02x9a":                                    bare(struct{}{}),
		"GET /berth/v1/accounts":                                                      bare(api.AccountList{Accounts: accountList}),
		"POST /berth/v1/accounts":                                                     bare(accountList[0]),
		"GET /berth/v1/nodes":                                                         bare(api.NodeList{Nodes: nodes}),
		"GET /berth/v1/push":                                                          bare(pushing),
		"GET /berth/v1/usage":                                                         bare(api.UsageRows{Rows: rows}),
		"GET /berth/v1/reconciliation":                                                bare(api.ReconciliationRows{Rows: reconciled}),
		"GET /berth/v1/usage/records":                                                 bare(api.UsageRecords{Records: records}),
		"GET /api/v1/deployments/abacus-1f0c77aa-chat/capacity-instances":             output(api.CapacityInstanceList{Records: capacities, Items: 2, Page: 1, ItemsPerPage: 100, PageCount: 1}),
		"GET /api/v1/deployments/abacus-1f0c77aa-chat/capacity-instances/cap_1":       output(capacities[0]),
		"POST /api/v1/deployments/abacus-1f0c77aa-chat/capacity-instances":            output(scaling),
		"PUT /api/v1/deployments/abacus-1f0c77aa-chat/capacity-instances/cap_1/scale": output(scaling),
		"PUT /api/v1/deployments/abacus-1f0c77aa-chat/capacity-instances/cap_1/renew": output(scaling),
		"DELETE /api/v1/deployments/abacus-1f0c77aa-chat/capacity-instances/cap_2":    output(scaling),
		"PUT /api/v1/deployments/abacus-1f0c77aa-chat/update-overflowstrategy":        output(reserved),
	} {
		f.on(call, answer)
	}
	return f
}

// pushing is a push whose URL fails.
var pushing = func() api.Push {
	since, next := time.Date(2026, 10, 2, 9, 0, 0, 0, time.UTC), time.Date(2026, 10, 2, 9, 12, 0, 0, time.UTC)
	return api.Push{
		State: api.PushFailing, URL: "https://meter.example.com/events", Since: &since, NextAt: &next, Tries: 7,
		Reason: "it answered 503 Service Unavailable", Delivered: 1204311, WaitingRecords: 4120, WaitingEvents: 2, WaitingSince: &since,
	}
}()
