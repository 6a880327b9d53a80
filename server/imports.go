package server

import (
	"context"
	"net/http"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/api"
)

// createImport is api.md 8.2.
func (s *Server) createImport(ctx context.Context, r *http.Request) (any, error) {
	body, err := readBody(r)
	if err != nil {
		return nil, err
	}
	c, err := api.DecodeImport(body)
	if err != nil {
		return nil, berth.Errorf(berth.CodeInvalid, "%s", err.Error())
	}
	job, err := s.Imports.Create(ctx, berth.NewImport{
		BaseModel: c.ModelName, DisplayName: c.DisplayName, Source: c.Source, Weights: c.WeightType,
		Store: c.StorageInfo.BucketName, Prefix: c.StorageInfo.ObjectKey,
	})
	if err != nil {
		return nil, err
	}
	out := importJob(job)
	out.WeightType = string(job.Weights)
	return out, nil
}

// importJob shows a job. weight_type is in the answer to a creation only.
func importJob(j berth.ImportView) api.Import {
	out := api.Import{
		JobID: j.ID, ModelName: j.ModelName, DisplayName: j.DisplayName, Source: "OSS",
		StorageInfo: api.StorageInfo{BucketName: j.Store, ObjectKey: j.Prefix},
		Status:      string(j.Status), GMTCreate: api.FormatImportTime(j.CreatedAt), ErrorCode: j.Reason,
	}
	if j.Progress != nil {
		out.Progress = &api.ImportProgress{DoneBytes: j.Progress.DoneBytes, TotalBytes: j.Progress.TotalBytes}
	}
	return out
}

func (s *Server) listImports(ctx context.Context, r *http.Request) (any, error) {
	p, err := pageOf(r, 10, 100)
	if err != nil {
		return nil, err
	}
	query := r.URL.Query()
	status := berth.ImportStatus(query.Get("status"))
	switch status {
	case "", berth.ImportPending, berth.ImportRunning, berth.ImportSucceeded, berth.ImportFailed:
	default:
		return nil, berth.Errorf(berth.CodeInvalid, "The status %.40q is not known; use PENDING, RUNNING, SUCCESSED or FAILED.", string(status))
	}
	jobs, total, err := s.Imports.List(ctx, p, status, query.Get("model_name"))
	if err != nil {
		return nil, err
	}
	out := api.ImportList{Total: total, PageNo: p.Number, PageSize: p.Size, List: make([]api.Import, 0, len(jobs))}
	for _, j := range jobs {
		out.List = append(out.List, importJob(j))
	}
	return out, nil
}

func (s *Server) getImport(ctx context.Context, r *http.Request) (any, error) {
	return s.showImport(s.Imports.Get(ctx, r.PathValue("id")))
}

func (s *Server) deleteImport(ctx context.Context, r *http.Request) (any, error) {
	return s.showImport(s.Imports.Delete(ctx, r.PathValue("id")))
}

// cancelImport is ours.
func (s *Server) cancelImport(ctx context.Context, r *http.Request) (any, error) {
	return s.showImport(s.Imports.Cancel(ctx, r.PathValue("id")))
}

func (*Server) showImport(j berth.ImportView, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return importJob(j), nil
}
