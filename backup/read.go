package backup

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/klauspost/compress/zstd"
)

// Bounds of what is read of an archive.
const (
	jsonMax   = 64 << 20
	windowMax = 64 << 20 // of the compression, in bytes
)

// ErrIncomplete says that an archive ends before its manifest, or is none.
var ErrIncomplete = errors.New("this is no whole backup: it was cut short, or damaged")

// Verify reads an archive to its end and compares every file with the manifest. allow
// judges the head before anything else is read; nil allows all.
func Verify(ctx context.Context, r io.Reader, allow func(Head) error) (Manifest, error) {
	return read(ctx, r, allow, func(string, int64, io.Reader) error { return nil })
}

// Unpack is [Verify] that also writes the files into dir, which exists and is empty, and
// brings them to the disk. After an error dir holds rubbish.
func Unpack(ctx context.Context, r io.Reader, dir string, allow func(Head) error) (Manifest, error) {
	m, err := read(ctx, r, allow, func(name string, size int64, content io.Reader) error {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		return writeDurably(path, size, content)
	})
	return m, err
}

func writeDurably(path string, size int64, content io.Reader) (err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if n, err := io.Copy(f, content); err != nil || n != size {
		return errors.Join(err, io.ErrUnexpectedEOF)
	}
	return f.Sync()
}

// read reads an archive; take gets each file and may leave it unread.
func read(ctx context.Context, r io.Reader, allow func(Head) error, take func(name string, size int64, content io.Reader) error) (Manifest, error) {
	var m Manifest
	packed, err := zstd.NewReader(cancelled{ctx, r}, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(windowMax))
	if err != nil {
		return m, err
	}
	defer packed.Close()
	a := tar.NewReader(packed)
	var head Head
	if err := readJSON(a, headFile, &head); err != nil {
		return m, damaged(ctx, err)
	}
	if head.Format > Format {
		return m, fmt.Errorf("the backup was written by a newer Berth (%s, form %d, this one knows %d); restore it with that version or a later one", head.Berth, head.Format, Format)
	}
	if allow != nil {
		if err := allow(head); err != nil {
			return m, err
		}
	}
	var found []File
	for {
		h, err := a.Next()
		if err != nil {
			return m, damaged(ctx, err) // also at the end: the manifest is missing
		}
		if h.Name == manifestFile {
			break
		}
		if h.Typeflag != tar.TypeReg || !filepath.IsLocal(filepath.FromSlash(h.Name)) {
			return m, fmt.Errorf("%w: it holds %q", ErrIncomplete, h.Name)
		}
		sum := sha256.New()
		counted := &counter{Reader: io.TeeReader(a, sum)}
		if err := take(h.Name, h.Size, counted); err != nil {
			return m, readFault(ctx, counted, err)
		}
		if _, err := io.Copy(io.Discard, counted); err != nil {
			return m, damaged(ctx, err)
		}
		found = append(found, File{Name: h.Name, Bytes: counted.n, SHA256: hex.EncodeToString(sum.Sum(nil))})
	}
	if err := decode(a, &m); err != nil {
		return m, damaged(ctx, err)
	}
	if _, err := a.Next(); !errors.Is(err, io.EOF) {
		return m, damaged(ctx, err)
	}
	// The end of the compressed stream has its own checksum.
	if _, err := io.Copy(io.Discard, packed); err != nil {
		return m, damaged(ctx, err)
	}
	return m, compare(m, head, found)
}

// counter counts what was read and remembers why no more could be.
type counter struct {
	io.Reader
	n   int64
	err error
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.n += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		c.err = err
	}
	return n, err
}

// readFault tells a damaged archive from a disk that does not take what is in it.
func readFault(ctx context.Context, c *counter, err error) error {
	if c.err != nil {
		return damaged(ctx, c.err)
	}
	return err
}

func damaged(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if fault := new(os.PathError); errors.As(err, &fault) {
		return err // the file could not be read at all
	}
	if err == nil || errors.Is(err, io.EOF) {
		return ErrIncomplete
	}
	return fmt.Errorf("%w (%w)", ErrIncomplete, err)
}

func readJSON(a *tar.Reader, name string, v any) error {
	h, err := a.Next()
	if err != nil {
		return err
	}
	if h.Name != name {
		return fmt.Errorf("it begins with %q", h.Name)
	}
	return decode(a, v)
}

func decode(r io.Reader, v any) error {
	text, err := io.ReadAll(io.LimitReader(r, jsonMax))
	if err != nil {
		return err
	}
	return json.Unmarshal(text, v)
}

// compare holds what was found against the manifest.
func compare(m Manifest, head Head, found []File) error {
	if m.Head != head {
		return fmt.Errorf("%w: its head and its manifest differ", ErrIncomplete)
	}
	for _, f := range found {
		at := slices.IndexFunc(m.Files, func(is File) bool { return is.Name == f.Name })
		if at < 0 || m.Files[at] != f {
			return fmt.Errorf("%w: %s is not what the manifest says", ErrIncomplete, f.Name)
		}
	}
	if len(found) != len(m.Files) {
		return fmt.Errorf("%w: it has %d of %d files", ErrIncomplete, len(found), len(m.Files))
	}
	return nil
}
