package imports

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	berth "github.com/berthhq/berth"
)

// folderFilesMax bounds the files of a model's folder; a large model has some hundred.
const folderFilesMax = 4096

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// folder is a model or adapter in the form of Hugging Face: the files right inside it.
// What is hidden and what lies deeper belongs to it no more than to the engine that
// loads it.
type folder struct {
	path  string
	names []string // sorted
}

func openFolder(path string) (folder, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return folder{}, fmt.Errorf("find %s: %w", path, err)
	}
	entries, err := os.ReadDir(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return folder{}, berth.Errorf(berth.CodeNotFound, "There is no folder %s; check the path, which is one of the server's.", path)
	case err != nil:
		return folder{}, &berth.Error{Code: berth.CodeInvalid, Message: "The folder " + path + " cannot be read; allow it to the user that Berth runs as.", Err: err}
	}
	d := folder{path: path}
	for _, e := range entries {
		if !e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			d.names = append(d.names, e.Name())
		}
	}
	if len(d.names) > folderFilesMax {
		return folder{}, berth.Errorf(berth.CodeInvalid, "The folder %s has %d files; at most %d can be one model.", path, len(d.names), folderFilesMax)
	}
	return d, nil
}

func (d *folder) file(name string) string { return filepath.Join(d.path, name) }

func (d *folder) has(name string) bool {
	for _, n := range d.names {
		if n == name {
			return true
		}
	}
	return false
}

// ending returns the names that end so.
func (d *folder) ending(suffix string) []string {
	var out []string
	for _, n := range d.names {
		if strings.HasSuffix(n, suffix) {
			out = append(out, n)
		}
	}
	return out
}

// small reads one of the folder's small files.
func (d *folder) small(name string) ([]byte, error) {
	file, err := open(d.file(name))
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	text, err := readSmall(file)
	if err != nil {
		return nil, damaged(name, err)
	}
	return text, nil
}

// tensors reads the header of one of the folder's safetensors files.
func (d *folder) tensors(name string) ([]tensor, error) {
	file, err := open(d.file(name))
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("stat %s: %w", d.file(name), err)
	}
	tensors, err := readSafetensors(file, info.Size())
	if err != nil {
		return nil, damaged(name, err)
	}
	return tensors, nil
}

// damaged says what is wrong with a file beside the weights or with the weights.
func damaged(name string, err error) error {
	return berth.Errorf(berth.CodeInvalid, "%s cannot be used: %v; check it or export it again.", name, err)
}

// hashFolder returns m with the digest and the state of a folder. The digest is that of
// a line per file, sorted by name: name, size and SHA-256.
func (f Files) hashFolder(ctx context.Context, d folder, m berth.ModelFile) (berth.ModelFile, error) {
	m.Path = d.path
	sum := sha256.New()
	for _, name := range d.names {
		one, err := f.hashFile(ctx, d.file(name))
		if err != nil {
			return berth.ModelFile{}, err
		}
		_, _ = fmt.Fprintf(sum, "%q %d %s\n", name, one.Stat.SizeBytes, one.Digest)
	}
	stat, err := d.stat()
	if err != nil {
		return berth.ModelFile{}, err
	}
	m.Digest, m.Stat = "sha256:"+hex.EncodeToString(sum.Sum(nil)), stat
	return m, nil
}

func (f Files) hashFile(ctx context.Context, path string) (berth.ModelFile, error) {
	file, err := open(path)
	if err != nil {
		return berth.ModelFile{}, err
	}
	defer func() { _ = file.Close() }()
	return f.hash(ctx, file, berth.ModelFile{})
}

// stat folds the states of all files into one: sizes are added, the newest times kept,
// and Inode is a hash over name and state of each, so that any difference shows.
func (d *folder) stat() (berth.FileStat, error) {
	all, fold := berth.FileStat{}, fnv.New64a()
	for _, name := range d.names {
		one, err := statFile(d.file(name))
		if err != nil {
			return berth.FileStat{}, err
		}
		all.Device = one.Device
		all.SizeBytes += one.SizeBytes
		all.ModifiedNS = max(all.ModifiedNS, one.ModifiedNS)
		all.ChangedNS = max(all.ChangedNS, one.ChangedNS)
		_, _ = io.WriteString(fold, name+"\x00") // a hash never fails
		_ = binary.Write(fold, binary.LittleEndian, one)
	}
	all.Inode = fold.Sum64()
	return all, nil
}

func statFile(path string) (berth.FileStat, error) {
	file, err := open(path)
	if err != nil {
		return berth.FileStat{}, err
	}
	defer func() { _ = file.Close() }()
	return statOf(file)
}

// verifyFolder is Verify for a folder.
func (f Files) verifyFolder(ctx context.Context, was berth.ModelFile) (berth.ModelFile, error) {
	d, err := openFolder(was.Path)
	if err != nil {
		return berth.ModelFile{}, err
	}
	stat, err := d.stat()
	if err != nil {
		return berth.ModelFile{}, err
	}
	if stat == was.Stat {
		return was, nil
	}
	now, err := f.hashFolder(ctx, d, was)
	if err != nil {
		return berth.ModelFile{}, err
	}
	if now.Digest != was.Digest {
		return berth.ModelFile{}, hasChanged("folder", was.Path)
	}
	return now, nil
}
