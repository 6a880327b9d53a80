package berth

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// Upload is the files of one model on their way to the server. They may come in many
// pieces, over many connections, before and after restarts.
type Upload struct {
	ID          string // upl_ + UUIDv7
	WorkspaceID string
	Files       []UploadFile
	CreatedAt   time.Time
	// TouchedAt is when bytes arrived last; an upload that is not touched for long is
	// abandoned.
	TouchedAt time.Time
}

// UploadFile is one announced file.
type UploadFile struct {
	Name      string // without folders
	SizeBytes int64
	SHA256    string // 64 hex digits, lower case
}

// SizeBytes is the sum of all files.
func (u *Upload) SizeBytes() int64 {
	var sum int64
	for _, f := range u.Files {
		sum += f.SizeBytes
	}
	return sum
}

// UploadState is an upload and what has arrived of each of its files.
type UploadState struct {
	Upload
	Offsets   []int64 // bytes that are kept, in the order of Files
	ExpiresAt time.Time
}

// Complete reports whether every byte has arrived and was found right.
func (u *UploadState) Complete() bool {
	for i, f := range u.Files {
		if u.Offsets[i] < f.SizeBytes {
			return false
		}
	}
	return true
}

// UploadBounds are what uploads may take.
type UploadBounds struct {
	Bytes  int64         // of one upload
	Open   int           // of one workspace, at the same time
	Expiry time.Duration // after which an untouched upload is abandoned
	// SpareBytes of the disk are never given to uploads.
	SpareBytes int64
}

// UploadFilesMax bounds the files of one upload.
const UploadFilesMax = 256

// Inbox is where the bytes of uploads are kept until they are a model.
type Inbox interface {
	// Offset returns how many bytes of a file are kept for good. It is the file's size
	// only when the digest was right.
	Offset(uploadID string, f UploadFile) (int64, error)
	// Append adds bytes from offset on and returns the offset then. An append under way
	// to the same file is ended first, by the stop that it was given. [CodeConflict] when
	// offset is not the present one; [CodeInvalid] when the body is longer than announced,
	// breaks off (what came is kept) or the digest is wrong (the file begins anew).
	Append(ctx context.Context, uploadID string, f UploadFile, offset int64, body UploadBody) (int64, error)
	// Folder is where the files of a complete upload are, nothing else right inside it.
	Folder(uploadID string) string
	// Busy reports whether an append is under way.
	Busy(uploadID string) bool
	// FreeBytes is what the disk has left.
	FreeBytes() (int64, error)
	// Remove forgets an upload's bytes; one without any is no error.
	Remove(uploadID string) error
	// Uploads returns the ids of which there are bytes.
	Uploads() ([]string, error)
}

// UploadBody is the bytes of one append.
type UploadBody interface {
	Read(p []byte) (int, error)
	// Stop makes a running Read return, and every later one fail.
	Stop()
}

// Uploads takes files from other machines. All of it needs [RoleAdmin]; what another
// workspace uploads is as unknown as what never was.
type Uploads struct {
	Writer
	Inbox  Inbox
	Bounds UploadBounds

	mu      sync.Mutex
	claimed map[string]bool // uploads that models are being made of
}

// claim lets one caller at a time make a model of an upload: a second one, such as the
// repeat of a request that was given up, would move or remove the files under the first.
// [CodeConflict] until release is called.
func (s *Uploads) claim(id string) (release func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.claimed[id] {
		return nil, Errorf(CodeConflict, "A model is being made of the upload %s; wait until it is there.", id)
	}
	if s.claimed == nil {
		s.claimed = map[string]bool{}
	}
	s.claimed[id] = true
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.claimed, id)
	}, nil
}

var (
	uploadName   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$`)
	uploadDigest = regexp.MustCompile(`^[0-9a-f]{64}$`)
	// uploadEndings are those of weights and of what lies beside them. Programs and
	// pickles are left out: an engine that loads one runs it.
	uploadEndings = []string{".gguf", ".safetensors", ".json", ".txt", ".model", ".jinja", ".tiktoken"}
)

// Create announces files. [CodeTooLarge] and [CodeThrottled] say which bound is reached.
func (s *Uploads) Create(ctx context.Context, files []UploadFile) (UploadState, error) {
	caller := CallerFrom(ctx)
	if !caller.May(RoleAdmin) {
		return UploadState{}, accessDenied()
	}
	u := Upload{ID: s.NewID("upl_"), WorkspaceID: caller.WorkspaceID, Files: files, CreatedAt: s.Now(), TouchedAt: s.Now()}
	if err := s.check(&u); err != nil {
		return UploadState{}, err
	}
	err := s.write(ctx, "upload.create", func(tx Tx) (string, error) {
		if err := s.room(ctx, tx, &u); err != nil {
			return "", err
		}
		return u.ID, tx.Uploads().Insert(ctx, u)
	})
	return UploadState{Upload: u, Offsets: make([]int64, len(files)), ExpiresAt: s.expiry(&u)}, err
}

// check refuses what could never become a model.
func (s *Uploads) check(u *Upload) error {
	if n := len(u.Files); n == 0 || n > UploadFilesMax {
		return Errorf(CodeInvalid, "An upload has 1 to %d files; this one has %d.", UploadFilesMax, n)
	}
	names := map[string]bool{}
	var sum int64
	for _, f := range u.Files {
		switch {
		case !uploadName.MatchString(f.Name):
			return Errorf(CodeInvalid, "The file name %q is not usable; use 1 to 200 letters, digits, '.', '_' and '-', starting with a letter or digit.", f.Name)
		case !slices.ContainsFunc(uploadEndings, func(end string) bool { return strings.HasSuffix(f.Name, end) }):
			return Errorf(CodeInvalid, "The file %s is of no kind that a model is made of; upload files ending in %s.", f.Name, strings.Join(uploadEndings, ", "))
		case names[strings.ToLower(f.Name)]:
			return Errorf(CodeInvalid, "The file name %s stands twice in one upload.", f.Name)
		case !uploadDigest.MatchString(f.SHA256):
			return Errorf(CodeInvalid, "The sha256 of %s must be 64 lower-case hex digits.", f.Name)
		case f.SizeBytes < 1 || f.SizeBytes > s.Bounds.Bytes:
			return s.tooLarge(f.Name, f.SizeBytes)
		}
		names[strings.ToLower(f.Name)] = true
		if sum += f.SizeBytes; sum > s.Bounds.Bytes {
			return s.tooLarge("The upload", sum)
		}
	}
	return nil
}

func (s *Uploads) tooLarge(what string, bytes int64) error {
	return Errorf(CodeTooLarge, "%s has %d bytes; an upload may have 1 to %d (imports.max_bytes).", what, bytes, s.Bounds.Bytes)
}

// room refuses an upload that would not find its place, counting what the open ones
// still need.
func (s *Uploads) room(ctx context.Context, tx Tx, u *Upload) error {
	all, err := tx.Uploads().List(ctx, "")
	if err != nil {
		return err
	}
	free, err := s.Inbox.FreeBytes()
	if err != nil {
		return err
	}
	free -= s.Bounds.SpareBytes
	own := 0
	for _, o := range all {
		state, err := s.state(o)
		if err != nil {
			return err
		}
		for i, f := range o.Files {
			free -= f.SizeBytes - state.Offsets[i]
		}
		if o.WorkspaceID == u.WorkspaceID {
			own++
		}
	}
	switch {
	case own >= s.Bounds.Open:
		return Errorf(CodeThrottled, "The workspace has %d uploads that no model was made of; finish one, or delete one with berth upload delete.", own)
	case u.SizeBytes() > free:
		return Errorf(CodeTooLarge, "The server's disk has room for %d more bytes of uploads, this one has %d; delete models or uploads, or add a disk.", max(0, free), u.SizeBytes())
	}
	return nil
}

func (s *Uploads) state(u Upload) (UploadState, error) {
	state := UploadState{Upload: u, Offsets: make([]int64, len(u.Files)), ExpiresAt: s.expiry(&u)}
	for i, f := range u.Files {
		offset, err := s.Inbox.Offset(u.ID, f)
		if err != nil {
			return state, err
		}
		state.Offsets[i] = offset
	}
	return state, nil
}

func (s *Uploads) expiry(u *Upload) time.Time { return u.TouchedAt.Add(s.Bounds.Expiry) }

// Get returns an upload of the caller's workspace.
func (s *Uploads) Get(ctx context.Context, id string) (UploadState, error) {
	u, err := s.find(ctx, id)
	if err != nil {
		return UploadState{}, err
	}
	return s.state(u)
}

func (s *Uploads) find(ctx context.Context, id string) (Upload, error) {
	caller := CallerFrom(ctx)
	if !caller.May(RoleAdmin) {
		return Upload{}, accessDenied()
	}
	var u Upload
	err := s.Store.View(ctx, func(tx Tx) (err error) {
		u, err = ownUpload(ctx, tx, caller, id)
		return err
	})
	return u, err
}

func ownUpload(ctx context.Context, tx Tx, caller Caller, id string) (Upload, error) {
	u, err := tx.Uploads().Get(ctx, id)
	if CodeOf(err) == CodeNotFound || err == nil && u.WorkspaceID != caller.WorkspaceID {
		return Upload{}, Errorf(CodeNotFound, "There is no upload %s; it was abandoned, deleted or made into a model.", id)
	}
	return u, err
}

// List returns the uploads of the caller's workspace, oldest first.
func (s *Uploads) List(ctx context.Context) ([]UploadState, error) {
	caller := CallerFrom(ctx)
	if !caller.May(RoleAdmin) {
		return nil, accessDenied()
	}
	var all []Upload
	err := s.Store.View(ctx, func(tx Tx) (err error) {
		all, err = tx.Uploads().List(ctx, caller.WorkspaceID)
		return err
	})
	states := make([]UploadState, 0, len(all))
	for _, u := range all {
		state, stateErr := s.state(u)
		if stateErr != nil {
			return nil, stateErr
		}
		states = append(states, state)
	}
	return states, err
}

// Append adds bytes to a file of an upload from offset on ([Inbox.Append]) and returns
// the upload then.
func (s *Uploads) Append(ctx context.Context, id, name string, offset int64, body UploadBody) (UploadState, error) {
	u, err := s.find(ctx, id)
	if err != nil {
		return UploadState{}, err
	}
	i := slices.IndexFunc(u.Files, func(f UploadFile) bool { return f.Name == name })
	if i < 0 {
		return UploadState{}, Errorf(CodeNotFound, "The upload %s has no file %q.", id, name)
	}
	_, err = s.Inbox.Append(ctx, u.ID, u.Files[i], offset, body)
	// Also of a connection that broke something may have been kept.
	touched := s.touch(context.WithoutCancel(ctx), &u)
	if err == nil {
		err = touched
	}
	if err != nil {
		return UploadState{}, err
	}
	return s.state(u)
}

// touch puts the end of an upload off. It is nobody's decision, so it is no entry of the
// audit log.
func (s *Uploads) touch(ctx context.Context, u *Upload) error {
	return s.Store.Tx(ctx, func(tx Tx) error {
		u.TouchedAt = s.Now()
		return tx.Uploads().Update(ctx, *u)
	})
}

// Delete forgets an upload and its bytes.
func (s *Uploads) Delete(ctx context.Context, id string) (UploadState, error) {
	state, err := s.Get(ctx, id)
	if err != nil {
		return UploadState{}, err
	}
	err = s.write(ctx, "upload.delete", func(tx Tx) (string, error) {
		if _, err := ownUpload(ctx, tx, CallerFrom(ctx), id); err != nil {
			return "", err
		}
		return id, tx.Uploads().Delete(ctx, id)
	})
	if err != nil {
		return UploadState{}, err
	}
	return state, s.Inbox.Remove(id)
}

// Sweep ends uploads that were abandoned and removes bytes that belong to none, such as
// those of an upload that a kill of the server kept from being removed. It returns how
// many were removed.
func (s *Uploads) Sweep(ctx context.Context) (int, error) {
	known := map[string]bool{}
	err := s.Store.Tx(ctx, func(tx Tx) error {
		clear(known)
		all, err := tx.Uploads().List(ctx, "")
		if err != nil {
			return err
		}
		for _, u := range all {
			if s.Inbox.Busy(u.ID) || s.Now().Before(s.expiry(&u)) {
				known[u.ID] = true
				continue
			}
			if err := tx.Uploads().Delete(ctx, u.ID); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	kept, err := s.Inbox.Uploads()
	removed := 0
	for _, id := range kept {
		if known[id] {
			continue
		}
		if err := s.Inbox.Remove(id); err != nil {
			return removed, err
		}
		removed++
	}
	return removed, err
}
