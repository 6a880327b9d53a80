package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/api"
)

// jobSucceeded is the status of every job here.
const jobSucceeded = "SUCCEEDED"

// done is the output of a write on a job.
var done = map[string]string{"status": "success"}

func (s *Server) mountFineTunes() {
	s.native("POST /api/v1/fine-tunes", func(context.Context, *http.Request) (any, error) { return nil, berth.NoTraining() })
	s.native("GET /api/v1/fine-tunes", s.listFineTunes)
	s.native("GET /api/v1/fine-tunes/{id}", s.getFineTune)
	s.native("DELETE /api/v1/fine-tunes/{id}", s.deleteFineTune)
	s.native("POST /api/v1/fine-tunes/{id}/cancel", s.cancelFineTune)
	s.native("GET /api/v1/fine-tunes/{id}/logs", s.fineTuneLogs)
	s.native("GET /api/v1/fine-tunes/{id}/checkpoints", s.fineTuneCheckpoints)
	s.mux.HandleFunc("GET /api/v1/fine-tunes/{id}/stream", s.streamFineTune)
	s.own("POST /berth/v1/fine-tunes", s.registerFineTune)
}

// fineTune is the object of api.md 8.3.
func (s *Server) fineTune(f berth.FineTune) api.FineTune {
	at := api.FormatJobTime(f.CreatedAt, s.Zone)
	return api.FineTune{
		JobID: f.ID, JobName: f.Name, Status: jobSucceeded, FinetunedOutput: f.Output, Model: f.Model, BaseModel: f.Model,
		TrainingFileIDs: append([]string{}, f.TrainingFileIDs...), ValidationFileIDs: append([]string{}, f.ValidationFileIDs...),
		HyperParameters: f.HyperParameters, TrainingType: f.TrainingType, CreateTime: at, EndTime: at, WorkspaceID: f.WorkspaceID,
		UserIdentity: f.Creator, Modifier: f.Creator, Creator: f.Creator, Group: "llm", Usage: f.UsageTokens,
		OutputCount: 1, MaxOutputCount: 1,
	}
}

func (s *Server) registerFineTune(ctx context.Context, r *http.Request) (any, error) {
	n, err := decode[api.RegisterFineTune](r)
	if err != nil {
		return nil, err
	}
	f, err := s.FineTunes.Register(ctx, berth.NewFineTune{
		Model: n.Model, Suffix: n.Suffix, Name: n.JobName, Upload: n.Upload, Path: n.Path, TrainingType: n.TrainingType,
		TrainingFileIDs: n.TrainingFileIDs, ValidationFileIDs: n.ValidationFileIDs, HyperParameters: n.HyperParameters, UsageTokens: n.Usage,
	})
	if err != nil {
		return nil, err
	}
	return s.fineTune(f), nil
}

func (s *Server) listFineTunes(ctx context.Context, r *http.Request) (any, error) {
	p, err := page(r, 200)
	if err != nil {
		return nil, err
	}
	list, total, err := s.FineTunes.List(ctx, p)
	if err != nil {
		return nil, err
	}
	out := api.FineTuneList{PageNo: p.Number, PageSize: p.Size, Total: total, Jobs: make([]api.FineTune, len(list))}
	for i, f := range list {
		out.Jobs[i] = s.fineTune(f)
	}
	return out, nil
}

func (s *Server) getFineTune(ctx context.Context, r *http.Request) (any, error) {
	f, err := s.FineTunes.Get(ctx, r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return s.fineTune(f), nil
}

func (s *Server) deleteFineTune(ctx context.Context, r *http.Request) (any, error) {
	return done, s.FineTunes.Delete(ctx, r.PathValue("id"))
}

func (s *Server) cancelFineTune(ctx context.Context, r *http.Request) (any, error) {
	return done, s.FineTunes.Cancel(ctx, r.PathValue("id"))
}

// fineTuneStory is what there is to tell of a job that ran elsewhere.
func (s *Server) fineTuneStory(f berth.FineTune) string {
	return fmt.Sprintf("%s Trained elsewhere (%s) and registered as %s.", api.FormatJobTime(f.CreatedAt, s.Zone), f.TrainingType, f.Output)
}

// fineTuneLogs answers lines from offset on. The documentation counts from 0, the SDKs
// ask from 1: both get the first line.
func (s *Server) fineTuneLogs(ctx context.Context, r *http.Request) (any, error) {
	offset, err := number(r, "offset", 0, 0, maxPage)
	if err != nil {
		return nil, err
	}
	if _, err := number(r, "line", 100, 1, maxPage); err != nil {
		return nil, err
	}
	f, err := s.FineTunes.Get(ctx, r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	lines := []string{s.fineTuneStory(f)}
	return api.FineTuneLogs{Total: int64(len(lines)), Logs: lines[min(max(offset-1, 0), int64(len(lines))):]}, nil
}

// fineTuneCheckpoints lists the only one: what was registered. It does not expire.
func (s *Server) fineTuneCheckpoints(ctx context.Context, r *http.Request) (any, error) {
	f, err := s.FineTunes.Get(ctx, r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return []api.Checkpoint{{
		CheckpointID: f.ID + "-last", FullName: f.Output, Checkpoint: "last", JobID: f.ID, Status: jobSucceeded,
		ModelName: f.Output, ModelDisplayName: f.Name, CreateTime: api.FormatJobTime(f.CreatedAt, s.Zone),
	}}, nil
}

// streamFineTune answers one frame in the framing of api.md 4.14, since nothing more will
// happen to the job.
func (s *Server) streamFineTune(w http.ResponseWriter, r *http.Request) {
	v, err := guarded(r.Context(), r, s.authenticated(synchronous(func(ctx context.Context, r *http.Request) (any, error) {
		return s.FineTunes.Get(ctx, r.PathValue("id"))
	})))
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	f := v.(berth.FineTune)
	data, _ := json.Marshal(map[string]string{ // cannot fail
		"job_id": f.ID, "status": jobSucceeded, "finetuned_output": f.Output, "message": s.fineTuneStory(f),
	})
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-cache")
	fmt.Fprintf(w, "id:1\nevent:result\ndata:%s\n\n", data)
}
