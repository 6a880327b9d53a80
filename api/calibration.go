package api

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"
)

// CalibrateModel is the body of POST /berth/v1/models/{name}/calibrate.
type CalibrateModel struct {
	Spec    string `json:"spec,omitempty"`    // absent: that of the model's pool
	Seconds *int64 `json:"seconds,omitempty"` // about how long to drive the engine, 5 to 600; absent: 30
}

// The statuses of a calibration.
const (
	CalibrationRunning     = "running"
	CalibrationSucceeded   = "succeeded"
	CalibrationFailed      = "failed"
	CalibrationInterrupted = "interrupted" // the server ended meanwhile
)

// CalibrationRun is the calibration of a model on a spec: how its last run stands and what
// the last one that succeeded has found.
type CalibrationRun struct {
	ID        string     `json:"id"`
	Model     string     `json:"model"`
	Spec      string     `json:"spec"`
	Engine    string     `json:"engine"`
	Status    string     `json:"status"`
	Reason    string     `json:"reason,omitempty"`
	Seconds   int64      `json:"seconds"` // that the engine was to be driven
	StartedAt time.Time  `json:"started_at"`
	EndedAt   *time.Time `json:"ended_at,omitempty"`
	Sells     bool       `json:"sells"` // throughput is sold by what was found
	Found     *Findings  `json:"found,omitempty"`
}

// Findings are what a calibration has found, for one replica with all its slots busy.
type Findings struct {
	Digest           string    `json:"digest,omitempty"` // of the weights
	Spec             string    `json:"spec"`
	Slots            int64     `json:"slots"`
	EngineVersion    string    `json:"engine_version,omitempty"`
	Machine          Machine   `json:"machine"`
	InputNSPerToken  int64     `json:"input_ns_per_token"`  // engine time
	OutputNSPerToken int64     `json:"output_ns_per_token"` // engine time, also of thinking
	FirstTokenP50MS  int64     `json:"first_token_p50_ms"`
	FirstTokenP95MS  int64     `json:"first_token_p95_ms"`
	FirstTokenInput  int64     `json:"first_token_input_tokens"` // of those calls, on average
	DeviationPPM     int64     `json:"deviation_ppm"`            // of the rounds from the line
	Calls            int64     `json:"calls"`
	MaxInputTPM      int64     `json:"max_input_tpm"`  // see [Calibration]
	MaxOutputTPM     int64     `json:"max_output_tpm"` // see [Calibration]
	MeasuredAt       time.Time `json:"measured_at"`
}

// Machine is what an engine was measured on.
type Machine struct {
	CPU          string   `json:"cpu,omitempty"`
	Threads      int64    `json:"threads"`
	Accelerators []string `json:"accelerators"`
}

// CalibrationList is the answer of GET /berth/v1/models/{name}/calibrations.
type CalibrationList struct {
	Calibrations []CalibrationRun `json:"calibrations"`
}

// CalibrateModel starts a calibration on hardware that is free, and returns at once.
func (c *Client) CalibrateModel(ctx context.Context, name string, ask CalibrateModel) (CalibrationRun, error) {
	return own[CalibrationRun](ctx, c, request{method: http.MethodPost, path: modelsPath + "/" + url.PathEscape(name) + "/calibrate", body: ask})
}

// Calibrations returns the calibrations of a model, by spec.
func (c *Client) Calibrations(ctx context.Context, name string) ([]CalibrationRun, error) {
	list, err := own[CalibrationList](ctx, c, request{path: modelsPath + "/" + url.PathEscape(name) + "/calibrations"})
	return list.Calibrations, err
}

// calibrationPoll is the wait between two looks at a calibration.
const calibrationPoll = 500 * time.Millisecond

// WaitCalibration returns a calibration once it has ended, in whatever way.
func (c *Client) WaitCalibration(ctx context.Context, run CalibrationRun) (CalibrationRun, error) {
	for run.Status == CalibrationRunning {
		select {
		case <-ctx.Done():
			return run, ctx.Err()
		case <-time.After(calibrationPoll):
		}
		all, err := c.Calibrations(ctx, run.Model)
		if err != nil {
			return run, err
		}
		found := false
		for _, now := range all {
			if now.ID == run.ID {
				run, found = now, true
			}
		}
		if !found {
			return run, errors.New("the calibration is gone: its model was deleted")
		}
	}
	return run, nil
}
