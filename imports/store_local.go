package imports

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"

	berth "github.com/berthhq/berth"
)

// Store is a place that import jobs read from and never write to. Errors that are a
// [berth.Error] are for the caller and final; others may pass.
type Store interface {
	// List returns the objects right inside a folder, whose name ends with /.
	List(ctx context.Context, prefix string) ([]Object, error)
	// Open reads an object from a byte on. It fails when the object is not the listed one
	// any more.
	Open(ctx context.Context, o Object, offset int64) (io.ReadCloser, error)
}

// Object is a file of a store as it was when it was listed.
type Object struct {
	Key       string // of the whole store
	Name      string // within its folder
	SizeBytes int64
	Version   string // differs when the content does
}

// objectsMax bounds the objects of one folder.
const objectsMax = folderFilesMax

func tooManyObjects(prefix string) error {
	return berth.Errorf(berth.CodeInvalid, "The folder %s has more than %d files; put the model's files into a folder of their own.", prefix, objectsMax)
}

// emptyFolder is the documented failure (api.md 8.2).
func emptyFolder(prefix string) error {
	return noUsableFile("There are no files under %s; check bucket_name and object_key.", prefix)
}

func objectChanged(o Object) error {
	return berth.Errorf(berth.CodeInvalid, "%s changed while it was copied; wait until it is written and import again.", o.Name)
}

// localStore is a folder of the server's machine. Nothing outside of it can be reached:
// not by names, not by symbolic links.
type localStore struct{ root string }

// NewLocalStore returns the store of a folder, which need not exist yet.
func NewLocalStore(root string) Store { return localStore{root} }

// List implements [Store]. Links that lead out, pipes, devices and the like are left out
// with hidden files and deeper folders.
func (s localStore) List(_ context.Context, prefix string) ([]Object, error) {
	root, err := s.open()
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	folder, err := root.Open(strings.TrimSuffix(prefix, "/"))
	if err != nil {
		return nil, unreadable(prefix, err)
	}
	defer func() { _ = folder.Close() }()
	entries, err := folder.ReadDir(objectsMax + 1)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ENOTDIR):
		return nil, emptyFolder(prefix)
	case err != nil:
		return nil, fmt.Errorf("list %s: %w", prefix, err)
	case len(entries) > objectsMax:
		return nil, tooManyObjects(prefix)
	}
	var objects []Object
	for _, e := range entries {
		info, err := root.Stat(prefix + e.Name())
		if err != nil || !info.Mode().IsRegular() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		objects = append(objects, Object{Key: prefix + e.Name(), Name: e.Name(), SizeBytes: info.Size(), Version: versionOf(info)})
	}
	return objects, nil
}

func (s localStore) open() (*os.Root, error) {
	root, err := os.OpenRoot(s.root)
	if err != nil {
		return nil, fmt.Errorf("open the store: %w", err)
	}
	return root, nil
}

// unreadable says why a name cannot be opened, without the root's own.
func unreadable(name string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return emptyFolder(name)
	case errors.Is(err, fs.ErrPermission):
		return berth.Errorf(berth.CodeInvalid, "%s may not be read by Berth; ask the server's owner to allow it.", name)
	case strings.Contains(err.Error(), "escapes"): // os.Root exports no error for it
		return berth.Errorf(berth.CodeInvalid, "%s leads out of the store; name a folder inside it.", name)
	}
	return fmt.Errorf("open %s: %w", name, err)
}

// Open implements [Store].
func (s localStore) Open(_ context.Context, o Object, offset int64) (io.ReadCloser, error) {
	root, err := s.open()
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	// Without O_NONBLOCK a named pipe that took the file's place would be waited for.
	file, err := root.OpenFile(o.Key, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, unreadable(o.Key, err)
	}
	info, err := file.Stat()
	if err == nil && (!info.Mode().IsRegular() || versionOf(info) != o.Version) {
		err = objectChanged(o)
	}
	if err == nil {
		_, err = file.Seek(offset, io.SeekStart)
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return localObject{file, o}, nil
}

func versionOf(info fs.FileInfo) string {
	system := info.Sys().(*syscall.Stat_t)
	return fmt.Sprint(deviceOf(system), system.Ino, info.Size(), info.ModTime().UnixNano(), changedNS(system))
}

// localObject finds at its end out whether the file is still the listed one.
type localObject struct {
	*os.File
	listed Object
}

func (o localObject) Read(p []byte) (int, error) {
	n, err := o.File.Read(p)
	if !errors.Is(err, io.EOF) {
		return n, err
	}
	info, statErr := o.File.Stat()
	if statErr != nil {
		return n, statErr
	}
	if versionOf(info) != o.listed.Version {
		return n, objectChanged(o.listed)
	}
	return n, err
}
