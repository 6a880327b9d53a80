package imports

import (
	"context"
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	berth "github.com/berthhq/berth"
)

// Inbox keeps the bytes of uploads: one folder each, in which a file has its name once
// it is whole and its digest was right. Until then it lies in the folder's own hidden
// one, beside a note of how much of it is on disk and of the hash so far, so that going
// on after a broken connection or a restart costs no reading.
type Inbox struct {
	// Dir is the folder, such as DATA/models/uploads; made when it is needed.
	Dir string

	mu      sync.Mutex
	writers map[string]*writer // by path
}

var _ berth.Inbox = (*Inbox)(nil)

// writer is an append under way.
type writer struct {
	uploadID string
	stop     func()
	done     chan struct{}
}

const (
	partDir = ".part"
	// notedBytes is after how many bytes of one append the note is renewed: what a kill of
	// the server can cost.
	notedBytes  = 32 << 20
	appendBlock = 256 << 10
)

// Folder implements [berth.Inbox].
func (b *Inbox) Folder(uploadID string) string { return filepath.Join(b.Dir, filepath.Base(uploadID)) }

func (b *Inbox) whole(uploadID string, f berth.UploadFile) string {
	return filepath.Join(b.Folder(uploadID), filepath.Base(f.Name))
}

func (b *Inbox) part(uploadID string, f berth.UploadFile) string {
	return filepath.Join(b.Folder(uploadID), partDir, filepath.Base(f.Name))
}

// note is what is known of a file that is not whole yet.
type note struct {
	Offset int64  `json:"offset"` // bytes that are on disk for good
	Hash   []byte `json:"hash"`   // state of the hash there
}

func (b *Inbox) noteFile(uploadID string, f berth.UploadFile) string {
	return b.part(uploadID, f) + ".note"
}

// Offset implements [berth.Inbox].
func (b *Inbox) Offset(uploadID string, f berth.UploadFile) (int64, error) {
	if info, err := os.Stat(b.whole(uploadID, f)); err == nil {
		return info.Size(), nil
	}
	n, err := readNote(b.noteFile(uploadID, f))
	return n.Offset, err
}

func readNote(path string) (note, error) {
	var n note
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return n, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &n)
	}
	return n, err
}

// Busy implements [berth.Inbox].
func (b *Inbox) Busy(uploadID string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, w := range b.writers {
		if w.uploadID == uploadID {
			return true
		}
	}
	return false
}

// claim makes the caller the only writer of a file, after ending the one before.
func (b *Inbox) claim(ctx context.Context, uploadID, path string, stop func()) (release func(), err error) {
	for {
		b.mu.Lock()
		before := b.writers[path]
		if before == nil {
			w := &writer{uploadID: uploadID, stop: stop, done: make(chan struct{})}
			if b.writers == nil {
				b.writers = map[string]*writer{}
			}
			b.writers[path] = w
			b.mu.Unlock()
			return func() {
				b.mu.Lock()
				defer b.mu.Unlock()
				delete(b.writers, path)
				close(w.done)
			}, nil
		}
		b.mu.Unlock()
		before.stop()
		select {
		case <-before.done:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// Append implements [berth.Inbox].
func (b *Inbox) Append(ctx context.Context, uploadID string, f berth.UploadFile, offset int64, body berth.UploadBody) (int64, error) {
	release, err := b.claim(ctx, uploadID, b.whole(uploadID, f), body.Stop)
	if err != nil {
		return 0, err
	}
	defer release()
	present, err := b.Offset(uploadID, f)
	if err != nil {
		return present, err
	}
	if offset != present {
		return present, berth.Errorf(berth.CodeConflict, "The server has %d bytes of %s, not %d; go on from there.", present, f.Name, offset)
	}
	if present == f.SizeBytes {
		return present, nil
	}
	a, err := b.open(uploadID, f)
	if err != nil {
		return present, err
	}
	err = a.copy(body)
	err = errors.Join(err, a.file.Close())
	if err == nil && a.offset == f.SizeBytes {
		err = b.finish(uploadID, f, a)
	}
	if err != nil {
		return a.kept, err
	}
	return a.offset, nil
}

// arrival is one append.
type arrival struct {
	file   *os.File
	note   string // its path
	hash   hash.Hash
	size   int64
	offset int64
	kept   int64 // offset of the note
}

func (b *Inbox) open(uploadID string, f berth.UploadFile) (*arrival, error) {
	if err := os.MkdirAll(filepath.Dir(b.part(uploadID, f)), 0o700); err != nil {
		return nil, err
	}
	a := &arrival{note: b.noteFile(uploadID, f), hash: sha256.New(), size: f.SizeBytes}
	n, err := readNote(a.note)
	if err != nil {
		return nil, err
	}
	if n.Offset > 0 {
		if err := a.hash.(encoding.BinaryUnmarshaler).UnmarshalBinary(n.Hash); err != nil {
			return nil, fmt.Errorf("restore the hash of %s: %w", f.Name, err)
		}
	}
	a.offset, a.kept = n.Offset, n.Offset
	a.file, err = os.OpenFile(b.part(uploadID, f), os.O_CREATE|os.O_WRONLY|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	// What lies behind the note may never have reached the disk.
	if err := a.file.Truncate(a.offset); err != nil {
		return nil, errors.Join(err, a.file.Close())
	}
	return a, nil
}

// copy writes the body to the end of the file and the note, also when it breaks off.
func (a *arrival) copy(body io.Reader) error {
	block := make([]byte, appendBlock)
	for {
		n, err := body.Read(block)
		if a.offset+int64(n) > a.size {
			return berth.Errorf(berth.CodeInvalid, "The body goes beyond the %d bytes that were announced; nothing behind byte %d is kept.", a.size, a.kept)
		}
		if n > 0 {
			if _, err := a.file.WriteAt(block[:n], a.offset); err != nil {
				return err
			}
			_, _ = a.hash.Write(block[:n]) // a hash never fails
			a.offset += int64(n)
		}
		if err == nil && a.offset-a.kept < notedBytes {
			continue
		}
		if noteErr := a.keep(); noteErr != nil {
			return noteErr
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return &berth.Error{Code: berth.CodeInvalid, Message: fmt.Sprintf("The body broke off; %d bytes are kept, go on from there.", a.kept), Err: err}
		}
	}
}

// keep makes what was written last, and notes it.
func (a *arrival) keep() error {
	if a.offset == a.kept {
		return nil
	}
	if err := a.file.Sync(); err != nil {
		return err
	}
	state, err := a.hash.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		return err
	}
	text, err := json.Marshal(note{Offset: a.offset, Hash: state})
	if err != nil {
		return err
	}
	if err := replaceFile(a.note, text); err != nil {
		return err
	}
	a.kept = a.offset
	return nil
}

// replaceFile writes a file so that at any moment the old or the new one is there.
func replaceFile(path string, content []byte) error {
	next := path + ".next"
	file, err := os.OpenFile(next, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	err = errors.Join(err, file.Sync(), file.Close())
	if err != nil {
		return err
	}
	return os.Rename(next, path)
}

// finish gives a file whose digest is right its name. One whose digest is wrong begins
// anew.
func (b *Inbox) finish(uploadID string, f berth.UploadFile, a *arrival) error {
	part := b.part(uploadID, f)
	if sum := hex.EncodeToString(a.hash.Sum(nil)); sum != f.SHA256 {
		a.kept = 0
		// The note first: without it the file counts for nothing.
		if err := errors.Join(os.Remove(a.note), os.Remove(part)); err != nil {
			return err
		}
		return berth.Errorf(berth.CodeInvalid, "What arrived of %s has the sha256 %s, announced was %s; it is deleted, send the file again from 0.", f.Name, sum, f.SHA256)
	}
	if err := os.Rename(part, b.whole(uploadID, f)); err != nil {
		return err
	}
	if err := os.Remove(a.note); err != nil {
		return err
	}
	_ = os.Remove(filepath.Dir(part)) // while others lie there it stays
	return syncFolder(b.Folder(uploadID))
}

// Remove implements [berth.Inbox].
func (b *Inbox) Remove(uploadID string) error { return os.RemoveAll(b.Folder(uploadID)) }

// Uploads implements [berth.Inbox].
func (b *Inbox) Uploads() ([]string, error) {
	entries, err := os.ReadDir(b.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var ids []string
	for _, e := range entries {
		ids = append(ids, e.Name())
	}
	return ids, err
}

// FreeBytes implements [berth.Inbox].
func (b *Inbox) FreeBytes() (int64, error) {
	if err := os.MkdirAll(b.Dir, 0o700); err != nil {
		return 0, err
	}
	var s syscall.Statfs_t
	if err := syscall.Statfs(b.Dir, &s); err != nil {
		return 0, fmt.Errorf("ask for the free bytes of %s: %w", b.Dir, err)
	}
	return int64(s.Bavail) * int64(s.Bsize), nil //nolint:unconvert // another type on macOS
}
