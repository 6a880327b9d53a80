package api

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// FineTune is the record of a job that tuned a model. Berth trains nothing, so every one
// is finished.
type FineTune struct {
	JobID             string          `json:"job_id"`
	JobName           string          `json:"job_name"`
	Status            string          `json:"status"` // SUCCEEDED
	FinetunedOutput   string          `json:"finetuned_output"`
	Model             string          `json:"model"`
	BaseModel         string          `json:"base_model"`
	TrainingFileIDs   []string        `json:"training_file_ids"`
	ValidationFileIDs []string        `json:"validation_file_ids"`
	HyperParameters   json.RawMessage `json:"hyper_parameters"`
	TrainingType      string          `json:"training_type"`
	CreateTime        string          `json:"create_time"` // 2024-10-29 16:53:53, see [FormatJobTime]
	EndTime           string          `json:"end_time"`
	WorkspaceID       string          `json:"workspace_id"`
	UserIdentity      string          `json:"user_identity"`
	Modifier          string          `json:"modifier"`
	Creator           string          `json:"creator"`
	Group             string          `json:"group"`
	Usage             int64           `json:"usage"` // tokens
	OutputCount       int64           `json:"output_cnt"`
	MaxOutputCount    int64           `json:"max_output_cnt"`
}

// FineTuneList is a page of jobs, newest first.
type FineTuneList struct {
	PageNo   int64      `json:"page_no"`
	PageSize int64      `json:"page_size"`
	Total    int64      `json:"total"`
	Jobs     []FineTune `json:"jobs"`
}

// FineTuneLogs is the answer of GET /api/v1/fine-tunes/{job_id}/logs.
type FineTuneLogs struct {
	Total int64    `json:"total"`
	Logs  []string `json:"logs"`
}

// Checkpoint is a state of a job's model that can be deployed.
type Checkpoint struct {
	CheckpointID     string `json:"checkpoint_id"`
	FullName         string `json:"full_name"`
	Checkpoint       string `json:"checkpoint"`
	JobID            string `json:"job_id"`
	Step             int64  `json:"step"`
	Status           string `json:"status"`
	ModelName        string `json:"model_name"`
	ModelDisplayName string `json:"model_display_name"`
	CreateTime       string `json:"create_time"`
	ExpireTime       string `json:"expire_time"`
}

// RegisterFineTune is the body of POST /berth/v1/fine-tunes: a finished job whose files are
// an upload, or, as owner, a path of the server.
type RegisterFineTune struct {
	Model             string          `json:"model"`
	Suffix            string          `json:"suffix,omitempty"`
	JobName           string          `json:"job_name,omitempty"`
	Upload            string          `json:"upload,omitempty"`
	Path              string          `json:"path,omitempty"`
	TrainingType      string          `json:"training_type,omitempty"` // "": efficient_sft; an efficient one is an adapter
	TrainingFileIDs   []string        `json:"training_file_ids,omitempty"`
	ValidationFileIDs []string        `json:"validation_file_ids,omitempty"`
	HyperParameters   json.RawMessage `json:"hyper_parameters,omitempty"`
	Usage             int64           `json:"usage,omitempty"` // tokens
}

// FormatJobTime writes t as the times of jobs are written.
func FormatJobTime(t time.Time, zone *time.Location) string { return t.In(zone).Format(time.DateTime) }

const fineTunesPath = "/api/v1/fine-tunes"

// RegisterFineTune makes a custom model of a finished job's files.
func (c *Client) RegisterFineTune(ctx context.Context, f RegisterFineTune) (FineTune, error) {
	return own[FineTune](ctx, c, request{method: http.MethodPost, path: "/berth/v1/fine-tunes", body: f})
}

// ListFineTunes returns a page of the workspace's jobs, newest first.
func (c *Client) ListFineTunes(ctx context.Context, pageNo, pageSize int) (FineTuneList, error) {
	return native[FineTuneList](ctx, c, request{path: fineTunesPath, query: url.Values{
		"page_no": {strconv.Itoa(pageNo)}, "page_size": {strconv.Itoa(pageSize)},
	}})
}

// GetFineTune returns one job.
func (c *Client) GetFineTune(ctx context.Context, jobID string) (FineTune, error) {
	return native[FineTune](ctx, c, request{path: fineTunesPath + "/" + url.PathEscape(jobID)})
}

// DeleteFineTune forgets a job; the model that came of it stays.
func (c *Client) DeleteFineTune(ctx context.Context, jobID string) error {
	return nothing(ctx, c, request{method: http.MethodDelete, path: fineTunesPath + "/" + url.PathEscape(jobID)})
}
