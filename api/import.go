package api

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// The statuses of import jobs, spelled as on the wire.
const (
	ImportPending   = "PENDING"
	ImportRunning   = "RUNNING"
	ImportSucceeded = "SUCCESSED"
	ImportFailed    = "FAILED"
)

// What an import brings.
const (
	WeightsFull = "full" // whole weights
	WeightsLoRA = "lora" // an adapter
)

// SourceOSS is the only source of imports. Answers say it in capitals.
const SourceOSS = "oss"

// CreateImport is the body of POST /api/v1/custom_models/import.
type CreateImport struct {
	ModelName   string      `json:"model_name"`             // the base
	DisplayName string      `json:"display_name,omitempty"` // at most 50 characters; without it the base's name
	Source      string      `json:"source"`                 // [SourceOSS]
	WeightType  string      `json:"weight_type"`            // full or lora
	StorageInfo StorageInfo `json:"storage_info"`
}

// StorageInfo is a folder of an object store.
type StorageInfo struct {
	BucketName string `json:"bucket_name"` // name of a store that the server is configured with
	ObjectKey  string `json:"object_key"`  // the folder; ends with /
}

// Import is an import job.
type Import struct {
	JobID       string      `json:"job_id"`
	ModelName   string      `json:"model_name"` // of the model to be
	DisplayName string      `json:"display_name"`
	Source      string      `json:"source"`                // OSS
	WeightType  string      `json:"weight_type,omitempty"` // in the answer to a creation only
	StorageInfo StorageInfo `json:"storage_info"`
	Status      string      `json:"status"`
	GMTCreate   string      `json:"gmt_create"`           // such as 2024-01-01T12:00:00.000+00:00
	ErrorCode   string      `json:"error_code,omitempty"` // FAILED: why, in words for people
	// Progress is of running jobs; an extension of Berth.
	Progress *ImportProgress `json:"progress,omitempty"`
}

// Done reports whether nothing more happens to the job by itself.
func (i Import) Done() bool { return i.Status == ImportSucceeded || i.Status == ImportFailed }

// ImportProgress is how much of a running job has been copied.
type ImportProgress struct {
	DoneBytes  int64 `json:"done_bytes"`
	TotalBytes int64 `json:"total_bytes"` // 0: not known yet
}

// ImportList is one page of import jobs, newest first.
type ImportList struct {
	Total    int64    `json:"total"`
	PageNo   int64    `json:"page_no"`
	PageSize int64    `json:"page_size"`
	List     []Import `json:"list"`
}

// FormatImportTime writes t as the gmt_create of import jobs is written.
func FormatImportTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000-07:00") }

const importsPath = "/api/v1/custom_models/import"

// CreateImport asks the server to bring a model from an object store.
func (c *Client) CreateImport(ctx context.Context, i CreateImport) (Import, error) {
	return native[Import](ctx, c, request{method: http.MethodPost, path: importsPath, body: i})
}

// GetImport returns one import job.
func (c *Client) GetImport(ctx context.Context, jobID string) (Import, error) {
	return native[Import](ctx, c, request{path: importPath(jobID)})
}

// ListImports returns a page of import jobs; status "" means all.
func (c *Client) ListImports(ctx context.Context, page, size int, status string) (ImportList, error) {
	query := url.Values{"page_no": {strconv.Itoa(page)}, "page_size": {strconv.Itoa(size)}}
	if status != "" {
		query.Set("status", status)
	}
	return native[ImportList](ctx, c, request{path: importsPath, query: query})
}

// CancelImport ends a job that has not ended; what it copied is removed.
func (c *Client) CancelImport(ctx context.Context, jobID string) (Import, error) {
	return native[Import](ctx, c, request{method: http.MethodPut, path: importPath(jobID) + "/cancel"})
}

// DeleteImport removes a job that has ended, with its model and the server's copy of the
// files. The source stays.
func (c *Client) DeleteImport(ctx context.Context, jobID string) (Import, error) {
	return native[Import](ctx, c, request{method: http.MethodDelete, path: importPath(jobID)})
}

func importPath(jobID string) string { return importsPath + "/" + url.PathEscape(jobID) }

// WaitImport looks at a job until it has ended and returns it as it then is. seen,
// unless nil, is called with every look.
func (c *Client) WaitImport(ctx context.Context, jobID string, seen func(Import)) (Import, error) {
	for pause := firstPoll; ; pause = min(pause*5/4, slowestPoll) {
		job, err := c.GetImport(ctx, jobID)
		if err != nil {
			return job, err
		}
		if seen != nil {
			seen(job)
		}
		if job.Done() {
			return job, nil
		}
		select {
		case <-ctx.Done():
			return job, ctx.Err()
		case <-time.After(pause):
		}
	}
}
