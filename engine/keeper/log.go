package keeper

import (
	"errors"
	"fmt"
	"os"
)

// Log says where an engine's standard output and error go.
type Log struct {
	// Path is the file, created with mode 0600 and appended to. Its directory
	// must exist.
	Path string `json:"path"`

	// MaxBytes is the size beyond which the file is rotated; 0 or less means 10 MiB.
	MaxBytes int64 `json:"max_bytes,omitempty"`

	// Keep is how many rotated files stay, as Path.1 (the newest) to Path.Keep;
	// 0 or less means that a full file is emptied.
	Keep int `json:"keep,omitempty"`
}

// rotatingFile writes a Log. It never splits a Write between two files.
type rotatingFile struct {
	Log
	file *os.File // nil between files: the next Write opens one
	size int64
}

func openRotatingFile(l Log) (*rotatingFile, error) {
	if l.MaxBytes <= 0 {
		l.MaxBytes = 10 << 20
	}
	f := &rotatingFile{Log: l}
	if err := f.open(os.O_APPEND); err != nil {
		return nil, err
	}
	return f, nil
}

func (f *rotatingFile) open(flag int) error {
	file, err := os.OpenFile(f.Path, os.O_CREATE|os.O_WRONLY|flag, 0o600)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	info, err := file.Stat()
	if err != nil {
		return errors.Join(fmt.Errorf("open log: %w", err), file.Close())
	}
	f.file, f.size = file, info.Size()
	return nil
}

// Write appends p, to a fresh file if it would not fit into the present one.
func (f *rotatingFile) Write(p []byte) (int, error) {
	if f.size > 0 && f.size+int64(len(p)) > f.MaxBytes {
		f.shelve()
	}
	if f.file == nil {
		// Emptied in case it could not be moved: a log must not outgrow its bound.
		if err := f.open(os.O_APPEND | os.O_TRUNC); err != nil {
			return 0, err
		}
	}
	n, err := f.file.Write(p)
	f.size += int64(n)
	return n, err
}

// shelve closes the present file and moves every file one number on.
func (f *rotatingFile) shelve() {
	_ = f.Close()
	for i := f.Keep; i > 0; i-- {
		_ = os.Rename(f.numbered(i-1), f.numbered(i))
	}
}

func (f *rotatingFile) numbered(i int) string {
	if i == 0 {
		return f.Path
	}
	return fmt.Sprintf("%s.%d", f.Path, i)
}

// Close closes the present file; it may be called twice.
func (f *rotatingFile) Close() error {
	if f.file == nil {
		return nil
	}
	file := f.file
	f.file, f.size = nil, 0
	return file.Close()
}
