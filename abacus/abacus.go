// Package abacus carries the demo model, a real one of 1.7 MB with two adapters, so that
// a fresh clone answers its first call without a download. README.md says what it can
// do. Only the wiring and tests import it.
package abacus

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

//go:embed *.gguf
var files embed.FS

// Files are the paths of the extracted model files.
type Files struct {
	Base  string // the weights
	Words string // LoRA adapter: "The answer is 122."
	Shout string // LoRA adapter: "122!!!"
}

// Extract writes the files into dir, which must exist, and returns their paths. A file
// that is already there with the same content is left alone, so running engines keep
// theirs; any other is replaced in one step. Modes are 0644.
func Extract(dir string) (Files, error) {
	var f Files
	for name, path := range map[string]*string{
		"abacus-0.8m-f16.gguf":       &f.Base,
		"abacus-words-lora-f16.gguf": &f.Words,
		"abacus-shout-lora-f16.gguf": &f.Shout,
	} {
		*path = filepath.Join(dir, name)
		if err := extract(name, *path); err != nil {
			return Files{}, fmt.Errorf("extract the demo model: %w", err)
		}
	}
	return f, nil
}

func extract(name, path string) error {
	content, err := files.ReadFile(name)
	if err != nil {
		return err
	}
	if same, err := holds(path, content); same || err != nil {
		return err
	}
	return replace(path, content)
}

// holds reports whether the file at path has this content.
func holds(path string, content []byte) (bool, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil || info.Size() != int64(len(content)) {
		return false, err
	}
	there, err := os.ReadFile(path)
	return bytes.Equal(there, content), err
}

// replace writes aside and renames: a reader sees the old file or the new one.
func replace(path string, content []byte) (err error) {
	aside, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(aside.Name()))
		}
	}()
	_, err = aside.Write(content)
	if err = errors.Join(err, aside.Chmod(0o644), aside.Close()); err != nil {
		return err
	}
	return os.Rename(aside.Name(), path)
}
