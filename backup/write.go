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
	"time"

	"github.com/klauspost/compress/zstd"
)

// Names of what is no file of a data directory.
const (
	headFile     = "backup.json"
	manifestFile = "manifest.json"
)

// Source is a file on its way into an archive. Nobody may write to it meanwhile.
type Source struct {
	Name string // in the archive, with slashes
	Path string
}

// Write writes an archive of the files, in their order, and returns the manifest with what
// was written of them. Besides the buffers of the compression it holds nothing in memory.
func Write(ctx context.Context, w io.Writer, m Manifest, files []Source) (Manifest, error) {
	m.Format, m.Files = Format, []File{}
	// One goroutine: whoever is served meanwhile needs the others.
	packed, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(4<<20))
	if err != nil {
		return m, err
	}
	a := tar.NewWriter(packed)
	err = writeJSON(a, headFile, m.TakenAt, m.Head)
	for _, f := range files {
		if err != nil {
			break
		}
		var written File
		if written, err = writeFile(ctx, a, f, m.TakenAt); err == nil {
			m.Files = append(m.Files, written)
		}
	}
	if err != nil {
		packed.Reset(io.Discard) // so that it ends without having written an end
		return m, errors.Join(err, packed.Close())
	}
	return m, errors.Join(writeJSON(a, manifestFile, m.TakenAt, m), a.Close(), packed.Close())
}

func writeJSON(a *tar.Writer, name string, at time.Time, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	text = append(text, '\n')
	if err := a.WriteHeader(header(name, int64(len(text)), at)); err != nil {
		return err
	}
	_, err = a.Write(text)
	return err
}

func header(name string, size int64, at time.Time) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600, ModTime: at.Truncate(time.Second), Format: tar.FormatPAX}
}

func writeFile(ctx context.Context, a *tar.Writer, s Source, at time.Time) (File, error) {
	f, err := os.Open(s.Path)
	if err != nil {
		return File{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return File{}, err
	}
	if !info.Mode().IsRegular() {
		return File{}, fmt.Errorf("%s is no file", s.Path)
	}
	size := info.Size()
	if err := a.WriteHeader(header(s.Name, size, at)); err != nil {
		return File{}, err
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(a, sum), io.LimitReader(cancelled{ctx, f}, size))
	if err == nil && n < size {
		err = fmt.Errorf("%s became shorter while it was read", s.Path)
	}
	return File{Name: s.Name, Bytes: size, SHA256: hex.EncodeToString(sum.Sum(nil))}, err
}

// cancelled reads until its context ends.
type cancelled struct {
	ctx context.Context //nolint:containedctx // lives as long as one copy
	io.Reader
}

func (c cancelled) Read(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.Reader.Read(b)
}
