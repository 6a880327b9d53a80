package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// Upload is the files of one model on their way to the server.
type Upload struct {
	ID          string       `json:"id"`
	WorkspaceID string       `json:"workspace_id"`
	Files       []UploadFile `json:"files"`
	Complete    bool         `json:"complete"` // every byte is there and was found right
	CreatedAt   time.Time    `json:"created_at"`
	ExpiresAt   time.Time    `json:"expires_at"` // unless more bytes arrive before
}

// UploadFile is one file of an [Upload].
type UploadFile struct {
	Name      string `json:"name"` // without folders
	SizeBytes int64  `json:"size_bytes"`
	SHA256    string `json:"sha256"`           // 64 hex digits, lower case
	Offset    int64  `json:"offset,omitempty"` // bytes that the server has
}

// CreateUpload is the body of POST /berth/v1/uploads.
type CreateUpload struct {
	Files []UploadFile `json:"files"`
}

// UploadList is the answer of GET /berth/v1/uploads.
type UploadList struct {
	Uploads []Upload `json:"uploads"`
	Next    string   `json:"next,omitempty"` // cursor of the next page; absent on the last
}

const uploadsPath = "/berth/v1/uploads"

// CreateUpload announces files.
func (c *Client) CreateUpload(ctx context.Context, u CreateUpload) (Upload, error) {
	return own[Upload](ctx, c, request{method: http.MethodPost, path: uploadsPath, body: u})
}

// ListUploads returns all uploads of the key's workspace that no model was made of yet.
func (c *Client) ListUploads(ctx context.Context) (all []Upload, err error) {
	for cursor := ""; ; {
		page, err := own[UploadList](ctx, c, request{path: uploadsPath, query: withCursor(url.Values{}, cursor)})
		if err != nil {
			return nil, err
		}
		all = append(all, page.Uploads...)
		if cursor = page.Next; cursor == "" {
			return all, nil
		}
	}
}

// GetUpload returns an upload and how much of each file has arrived.
func (c *Client) GetUpload(ctx context.Context, id string) (Upload, error) {
	return own[Upload](ctx, c, request{path: uploadsPath + "/" + url.PathEscape(id)})
}

// DeleteUpload forgets an upload and its bytes.
func (c *Client) DeleteUpload(ctx context.Context, id string) error {
	return nothing(ctx, c, request{method: http.MethodDelete, path: uploadsPath + "/" + url.PathEscape(id)})
}

// AppendUpload sends bytes of one file, beginning at offset, which must be the one that
// the server has, and returns the file then.
func (c *Client) AppendUpload(ctx context.Context, id, file string, offset int64, body io.Reader) (UploadFile, error) {
	return own[UploadFile](ctx, c, request{
		method: http.MethodPatch, path: uploadsPath + "/" + url.PathEscape(id) + "/files/" + url.PathEscape(file), raw: body,
		header: http.Header{"Content-Type": {"application/partial-upload"}, "Upload-Offset": {strconv.FormatInt(offset, 10)}},
	})
}

// UploadProgress is how far [Client.UploadFiles] has come.
type UploadProgress struct {
	Hashing     bool // else sending
	Done, Total int64
}

// Sending files.
const (
	uploadChunkBytes = 16 << 20
	uploadTries      = 8 // without a byte that arrives
	uploadPauseMax   = 8 * time.Second
)

// UploadFiles sends local files as one complete upload. It goes on with an open upload of
// the same files, and through broken connections and restarts of the server; bytes that
// have arrived are not sent again. progress may be nil.
func (c *Client) UploadFiles(ctx context.Context, paths []string, progress func(UploadProgress)) (Upload, error) {
	s := sender{Client: c, progress: progress, pause: 500 * time.Millisecond}
	if progress == nil {
		s.progress = func(UploadProgress) {}
	}
	return s.send(ctx, paths)
}

// sender sends one upload.
type sender struct {
	*Client
	progress func(UploadProgress)
	pause    time.Duration // the first after a failure; doubled each time
	total    int64
	before   int64 // bytes of the files that are done
}

func (s *sender) send(ctx context.Context, paths []string) (Upload, error) {
	files, err := s.announce(ctx, paths)
	if err != nil {
		return Upload{}, err
	}
	u, err := s.find(ctx, files)
	if err != nil {
		return Upload{}, err
	}
	for i, f := range u.Files {
		if err := s.file(ctx, u.ID, f, paths[i]); err != nil {
			return Upload{}, fmt.Errorf("upload %s: %w", paths[i], err)
		}
		s.before += f.SizeBytes
	}
	return s.GetUpload(ctx, u.ID)
}

// announce hashes the files.
func (s *sender) announce(ctx context.Context, paths []string) ([]UploadFile, error) {
	files := make([]UploadFile, len(paths))
	for i, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		files[i] = UploadFile{Name: filepath.Base(path), SizeBytes: info.Size()}
		s.total += info.Size()
	}
	var done int64
	for i, path := range paths {
		sum, err := s.hash(ctx, path, done)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		files[i].SHA256 = sum
		done += files[i].SizeBytes
	}
	return files, nil
}

func (s *sender) hash(ctx context.Context, path string, done int64) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	sum := sha256.New()
	for {
		n, err := io.CopyN(sum, file, uploadChunkBytes)
		done += n
		s.progress(UploadProgress{Hashing: true, Done: done, Total: s.total})
		switch {
		case errors.Is(err, io.EOF):
			return hex.EncodeToString(sum.Sum(nil)), nil
		case err != nil:
			return "", err
		case ctx.Err() != nil:
			return "", ctx.Err()
		}
	}
}

// find returns the open upload of these very files, or a new one.
func (s *sender) find(ctx context.Context, files []UploadFile) (Upload, error) {
	open, err := s.ListUploads(ctx)
	if err != nil {
		return Upload{}, err
	}
	for _, u := range open {
		if slices.EqualFunc(u.Files, files, func(a, b UploadFile) bool {
			return a.Name == b.Name && a.SizeBytes == b.SizeBytes && a.SHA256 == b.SHA256
		}) {
			return u, nil
		}
	}
	return s.CreateUpload(ctx, CreateUpload{Files: files})
}

// file sends what the server has not of one file.
func (s *sender) file(ctx context.Context, id string, f UploadFile, path string) error {
	local, err := os.Open(path)
	if err != nil {
		return err
	}
	defer local.Close()
	pause, failures := s.pause, 0
	for f.Offset < f.SizeBytes {
		s.progress(UploadProgress{Done: s.before + f.Offset, Total: s.total})
		next, err := s.AppendUpload(ctx, id, f.Name, f.Offset, io.NewSectionReader(local, f.Offset, min(uploadChunkBytes, f.SizeBytes-f.Offset)))
		switch {
		case err == nil && next.Offset > f.Offset:
			f, pause, failures = next, s.pause, 0
			continue
		case err == nil:
			return fmt.Errorf("the server took %d bytes and has %d", next.Offset-f.Offset, next.Offset)
		case !passes(err) || ctx.Err() != nil:
			return err
		}
		if failures++; failures == uploadTries {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
		pause = min(2*pause, uploadPauseMax)
		// What came of a broken request was kept.
		if u, getErr := s.GetUpload(ctx, id); getErr == nil {
			for _, now := range u.Files {
				if now.Name == f.Name {
					if now.Offset > f.Offset {
						pause, failures = s.pause, 0
					}
					f = now
				}
			}
		}
	}
	s.progress(UploadProgress{Done: s.before + f.Offset, Total: s.total})
	return nil
}

// passes reports whether a failure may pass by itself: the server is away or busy, or has
// other bytes than was thought.
func passes(err error) bool {
	var refused *Error
	if !errors.As(err, &refused) {
		return errors.As(err, new(*url.Error))
	}
	return refused.Status >= http.StatusInternalServerError || refused.Status == http.StatusConflict || refused.Status == http.StatusTooManyRequests
}
