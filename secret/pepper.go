// Package secret keeps what must not be readable in the database: it hashes keys with a
// pepper that lies in a file beside it, and seals endpoint keys with a key derived from
// the same pepper. Whoever has the database alone can neither guess nor use a key.
package secret

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// pepperSize is the length of a pepper in bytes.
const pepperSize = 32

// Pepper is the installation's secret. It shows itself to nobody: printing or logging
// it gives a placeholder. Losing the file makes all keys and sealed values useless.
type Pepper struct{ bytes [pepperSize]byte }

// String hides the pepper from fmt and slog.
func (Pepper) String() string { return "(pepper)" }

// GoString hides the pepper from %#v.
func (p Pepper) GoString() string { return p.String() }

// Format hides the pepper from all other verbs.
func (p Pepper) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, p.String()) }

// LoadPepper reads the pepper file, or creates one of 32 random bytes and mode 0600 if
// there is none. A file of another length, or one that others than its owner may touch,
// is refused with a sentence that says what to do. The wiring calls it once at the start.
func LoadPepper(file string) (Pepper, error) {
	p, err := readPepper(file)
	if !errors.Is(err, fs.ErrNotExist) {
		return p, err
	}
	if err := createPepper(file); err != nil {
		return Pepper{}, fmt.Errorf("create the pepper file: %w", err)
	}
	return readPepper(file)
}

func readPepper(file string) (Pepper, error) {
	f, err := os.Open(file)
	if err != nil {
		return Pepper{}, fmt.Errorf("read the pepper file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Pepper{}, fmt.Errorf("read the pepper file: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return Pepper{}, fmt.Errorf("the pepper file %s has mode %04o, so others may read or change it; run chmod 600 on it", file, mode)
	}
	if !info.Mode().IsRegular() || info.Size() != pepperSize {
		return Pepper{}, fmt.Errorf("the pepper file %s must be a file of %d bytes, but has %d; restore it from a backup, or no existing key will work", file, pepperSize, info.Size())
	}
	var p Pepper
	if _, err := io.ReadFull(f, p.bytes[:]); err != nil {
		return Pepper{}, fmt.Errorf("read the pepper file: %w", err)
	}
	return p, nil
}

// createPepper writes aside and links, so that a crash leaves no half file and of two
// starts at the same time both get the first one's pepper.
func createPepper(file string) (err error) {
	dir := filepath.Dir(file)
	aside, err := os.CreateTemp(dir, ".pepper-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(aside.Name())) }()
	fresh := make([]byte, pepperSize)
	if _, err = rand.Read(fresh); err == nil {
		_, err = aside.Write(fresh)
	}
	if err == nil {
		err = aside.Sync()
	}
	if err = errors.Join(err, aside.Close()); err != nil {
		return err
	}
	if err = os.Link(aside.Name(), file); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(dir)
}

// syncDir makes a new name in dir survive a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
