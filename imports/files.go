// Package imports reads files of weights before they are sold: it hashes them, checks
// that an engine will be able to load them, and finds in them what a sale must know.
// Files come from strangers, so nothing in them is believed before it was checked.
package imports

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	berth "github.com/berthhq/berth"
)

// Files reads model files. The zero value is ready to use.
type Files struct {
	// Progress is told how much of a file has been hashed; nil is silence.
	Progress func(path string, doneBytes, totalBytes int64)
	// Ranks are the ranks of PEFT adapters that are taken; nil means [Ranks].
	Ranks []int64
	// hashed are the digests, in hex and by name, of files that were hashed while they
	// were written: those are not read again for it.
	hashed map[string]string
}

var _ berth.ModelFiles = Files{}

// IsFolder implements [berth.ModelFiles].
func (Files) IsFolder(path string) bool { return isFolder(path) }

// InspectPlain implements [berth.ModelFiles].
func (f Files) InspectPlain(ctx context.Context, path string) (berth.ModelFile, error) {
	if isFolder(path) {
		return f.inspectWeightsFolder(ctx, path)
	}
	file, err := open(path)
	if err != nil {
		return berth.ModelFile{}, err
	}
	defer func() { _ = file.Close() }()
	return f.hash(ctx, file, berth.ModelFile{Path: file.Name()})
}

// Verify compares a file with what it was when it was added, and returns it as it is
// now. Its content is read only when device, inode, size or times differ, so a copy or
// a touch costs one reading and a change is [berth.CodeInvalid].
func (f Files) Verify(ctx context.Context, was berth.ModelFile) (berth.ModelFile, error) {
	if isFolder(was.Path) {
		return f.verifyFolder(ctx, was)
	}
	file, err := open(was.Path)
	if err != nil {
		return berth.ModelFile{}, err
	}
	defer func() { _ = file.Close() }()
	stat, err := statOf(file)
	if err != nil {
		return berth.ModelFile{}, err
	}
	if stat == was.Stat {
		return was, nil
	}
	now, err := f.hash(ctx, file, was)
	if err != nil {
		return berth.ModelFile{}, err
	}
	if now.Digest != was.Digest {
		return berth.ModelFile{}, hasChanged("file", was.Path)
	}
	return now, nil
}

func hasChanged(what, path string) error {
	return berth.Errorf(berth.CodeInvalid, "The %s %s has changed since it was added; put the old one back or add the model again.", what, path)
}

// open opens a regular file under its absolute name.
func open(path string) (*os.File, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", path, err)
	}
	// Without O_NONBLOCK a named pipe would be waited for.
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, berth.Errorf(berth.CodeNotFound, "There is no file %s; check the path, which is one of the server's.", path)
	case errors.Is(err, fs.ErrPermission):
		return nil, berth.Errorf(berth.CodeInvalid, "The file %s may not be read by Berth; allow it to the user that Berth runs as.", path)
	case err != nil:
		return nil, &berth.Error{Code: berth.CodeInvalid, Message: "The file " + path + " cannot be opened; check it.", Err: err}
	}
	info, err := file.Stat()
	switch {
	case err != nil:
		err = fmt.Errorf("stat %s: %w", path, err)
	case info.IsDir():
		err = berth.Errorf(berth.CodeInvalid, "%s is a directory; name a file in it.", path)
	case !info.Mode().IsRegular():
		err = berth.Errorf(berth.CodeInvalid, "%s is not a regular file; name one.", path)
	default:
		return file, nil
	}
	return nil, errors.Join(err, file.Close())
}

const hashBlock = 1 << 20

// hash reads the whole file and returns m with its digest and state.
func (f Files) hash(ctx context.Context, file *os.File, m berth.ModelFile) (berth.ModelFile, error) {
	before, err := statOf(file)
	if err != nil {
		return berth.ModelFile{}, err
	}
	if digest := f.hashed[filepath.Base(file.Name())]; digest != "" {
		m.Digest, m.Stat = "sha256:"+digest, before
		return m, nil
	}
	sum, block := sha256.New(), make([]byte, hashBlock)
	content := io.NewSectionReader(file, 0, before.SizeBytes)
	for done := int64(0); done < before.SizeBytes; {
		if ctx.Err() != nil {
			return berth.ModelFile{}, context.Cause(ctx)
		}
		n, err := content.Read(block)
		_, _ = sum.Write(block[:n]) // a hash never fails
		done += int64(n)
		if err != nil && done < before.SizeBytes {
			return berth.ModelFile{}, &berth.Error{Code: berth.CodeInvalid, Message: "The file " + file.Name() + " cannot be read to its end; check the disk, or wait until it is written.", Err: err}
		}
		if f.Progress != nil {
			f.Progress(file.Name(), done, before.SizeBytes)
		}
	}
	after, err := statOf(file)
	if err != nil {
		return berth.ModelFile{}, err
	}
	if after != before {
		return berth.ModelFile{}, berth.Errorf(berth.CodeInvalid, "The file %s changed while it was read; wait until it is written and try again.", file.Name())
	}
	m.Digest, m.Stat = "sha256:"+hex.EncodeToString(sum.Sum(nil)), after
	return m, nil
}

func statOf(file *os.File) (berth.FileStat, error) {
	info, err := file.Stat()
	if err != nil {
		return berth.FileStat{}, fmt.Errorf("stat %s: %w", file.Name(), err)
	}
	system := info.Sys().(*syscall.Stat_t)
	return berth.FileStat{
		Device:     deviceOf(system),
		Inode:      system.Ino,
		SizeBytes:  info.Size(),
		ModifiedNS: info.ModTime().UnixNano(),
		ChangedNS:  changedNS(system),
	}, nil
}
