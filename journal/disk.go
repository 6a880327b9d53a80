package journal

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Disk is what the journal asks of a file system; tests have others.
type Disk struct {
	// Allocate makes the file, with the given beginning and zeros up to size, and returns
	// when it is durable under its name. It fails when there is no room.
	Allocate func(path string, begin []byte, size int64) error
	// Map maps the whole file for reading and writing.
	Map func(path string, size int64) ([]byte, error)
	// Sync returns when the bytes, which begin at a page of a mapped file, are on disk.
	Sync func(mapped []byte) error
}

// RealDisk is the file system of the machine.
var RealDisk = Disk{Allocate: allocate, Map: mapFile, Sync: func(b []byte) error { return unix.Msync(b, unix.MS_SYNC) }}

// allocate writes the zeros: blocks that are only reserved would be made at the first
// write to the mapped page, in the middle of a call, and may not be there then.
func allocate(path string, begin []byte, size int64) (err error) {
	fresh := path + freshSuffix
	f, err := os.OpenFile(fresh, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(fresh))
		}
	}()
	if err := errors.Join(fill(f, begin, size), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(fresh, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func fill(f *os.File, begin []byte, size int64) error {
	zeros := make([]byte, min(size, 1<<20))
	for at := int64(0); at < size; at += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(size-at, int64(len(zeros)))], at); err != nil {
			return err
		}
	}
	if _, err := f.WriteAt(begin, 0); err != nil {
		return err
	}
	return f.Sync()
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func mapFile(path string, size int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	data, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	return data, errors.Join(err, f.Close())
}
