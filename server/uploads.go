package server

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/api"
)

func (s *Server) createUpload(ctx context.Context, r *http.Request) (any, error) {
	c, err := decode[api.CreateUpload](r)
	if err != nil {
		return nil, err
	}
	files := make([]berth.UploadFile, len(c.Files))
	for i, f := range c.Files {
		files[i] = berth.UploadFile{Name: f.Name, SizeBytes: f.SizeBytes, SHA256: f.SHA256}
	}
	u, err := s.Uploads.Create(ctx, files)
	if err != nil {
		return nil, err
	}
	return upload(u), nil
}

func upload(u berth.UploadState) api.Upload {
	out := api.Upload{ID: u.ID, WorkspaceID: u.WorkspaceID, Complete: u.Complete(), CreatedAt: u.CreatedAt, ExpiresAt: u.ExpiresAt}
	for i, f := range u.Files {
		out.Files = append(out.Files, api.UploadFile{Name: f.Name, SizeBytes: f.SizeBytes, SHA256: f.SHA256, Offset: u.Offsets[i]})
	}
	return out
}

func (s *Server) listUploads(ctx context.Context, r *http.Request) (any, error) {
	all, err := s.Uploads.List(ctx)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(u, v berth.UploadState) int { return strings.Compare(u.ID, v.ID) })
	all, next, err := listPage(r, all, func(u *berth.UploadState) string { return u.ID })
	if err != nil {
		return nil, err
	}
	out := api.UploadList{Uploads: make([]api.Upload, len(all)), Next: next}
	for i, u := range all {
		out.Uploads[i] = upload(u)
	}
	return out, nil
}

func (s *Server) getUpload(ctx context.Context, r *http.Request) (any, error) {
	u, err := s.Uploads.Get(ctx, r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return upload(u), nil
}

func (s *Server) deleteUpload(ctx context.Context, r *http.Request) (any, error) {
	u, err := s.Uploads.Delete(ctx, r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return upload(u), nil
}

// getUploadFile answers, also to HEAD, how much of one file has arrived.
func (s *Server) getUploadFile(w http.ResponseWriter, r *http.Request) {
	s.answer(w, r, func(ctx context.Context, r *http.Request) (any, error) {
		u, err := s.Uploads.Get(ctx, r.PathValue("id"))
		if err != nil {
			return nil, err
		}
		f, err := fileOf(w, u, r.PathValue("name"))
		return f, err
	}, bare)
}

// bare is the shape of our own answers.
func bare(_ string, v any) any { return v }

// fileOf returns one file of an upload and says in headers how much of it has arrived,
// in the words of draft-ietf-httpbis-resumable-upload.
func fileOf(w http.ResponseWriter, u berth.UploadState, name string) (api.UploadFile, error) {
	for _, f := range upload(u).Files {
		if f.Name != name {
			continue
		}
		complete := "?0"
		if f.Offset == f.SizeBytes {
			complete = "?1"
		}
		w.Header().Set("Upload-Offset", strconv.FormatInt(f.Offset, 10))
		w.Header().Set("Upload-Length", strconv.FormatInt(f.SizeBytes, 10))
		w.Header().Set("Upload-Complete", complete)
		return f, nil
	}
	return api.UploadFile{}, berth.Errorf(berth.CodeNotFound, "The upload %s has no file %q.", u.ID, name)
}

// appendUpload takes the bytes of one file from an offset on. Its body may be as long as
// what is missing of the file, whatever other bodies may have.
func (s *Server) appendUpload(w http.ResponseWriter, r *http.Request) {
	body := r.Body
	s.answer(w, r, func(ctx context.Context, r *http.Request) (any, error) {
		offset, err := strconv.ParseInt(r.Header.Get("Upload-Offset"), 10, 64)
		if err != nil || offset < 0 {
			return nil, berth.Errorf(berth.CodeInvalid, "The header Upload-Offset must say at which byte of the file the body begins.")
		}
		id, name := r.PathValue("id"), r.PathValue("name")
		u, err := s.Uploads.Append(ctx, id, name, offset, &incoming{body: body, connection: http.NewResponseController(w)})
		if err != nil {
			if now, stateErr := s.Uploads.Get(ctx, id); stateErr == nil {
				_, _ = fileOf(w, now, name) // only for its headers: where to go on
			}
			return nil, err
		}
		f, err := fileOf(w, u, name)
		return f, err
	}, bare)
}

// uploadIdle is how long a body may be silent before what came of it is kept and the
// connection let go.
const uploadIdle = time.Minute

// incoming is a body that can be stopped from outside, also while its sender is silent.
type incoming struct {
	body       io.Reader
	connection *http.ResponseController
	mu         sync.Mutex
	stopped    bool
}

var errStopped = errors.New("another request goes on with this file")

// Read implements [berth.UploadBody].
func (b *incoming) Read(p []byte) (int, error) {
	if err := b.patience(); err != nil {
		return 0, err
	}
	return b.body.Read(p)
}

func (b *incoming) patience() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopped {
		return errStopped
	}
	// Where there is no connection to wait at, such as behind a recorder, it cannot hang.
	_ = b.connection.SetReadDeadline(time.Now().Add(uploadIdle))
	return nil
}

// Stop implements [berth.UploadBody].
func (b *incoming) Stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stopped = true
	_ = b.connection.SetReadDeadline(time.Unix(1, 0))
}
