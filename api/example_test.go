package api_test

import (
	"encoding/json"
	"os"

	"github.com/berthhq/berth/api"
)

// A deployment has the fields of its plan only.
func ExampleDeployment() {
	d := api.Deployment{
		DeployedModel: "abacus-1f0c77aa", Name: "abacus", Status: api.StatusRunning, Plan: api.PlanPTU,
		PTU: &api.PTUCapacity{InputTPM: 20000, OutputTPM: 2000}, OverflowStrategy: "enable",
	}
	out := json.NewEncoder(os.Stdout)
	out.SetIndent("", " ")
	_ = out.Encode(api.Envelope[api.Deployment]{RequestID: "7b0e7b52", Output: d})
	// Output:
	// {
	//  "request_id": "7b0e7b52",
	//  "output": {
	//   "deployed_model": "abacus-1f0c77aa",
	//   "name": "abacus",
	//   "gmt_create": "",
	//   "gmt_modified": "",
	//   "status": "RUNNING",
	//   "model_name": "",
	//   "base_model": "",
	//   "base_capacity": 0,
	//   "capacity": 0,
	//   "ready_capacity": 0,
	//   "workspace_id": "",
	//   "charge_type": "",
	//   "creator": "",
	//   "modifier": "",
	//   "plan": "ptu",
	//   "ptu_capacity": {
	//    "input_tpm": 20000,
	//    "output_tpm": 2000
	//   },
	//   "overflow_strategy": "enable"
	//  }
	// }
}
