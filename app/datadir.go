package app

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/gofrs/flock"

	"github.com/berthhq/berth/secret"
)

// Files of the data directory (design 10).
const (
	lockFile     = "lock" // pid and URL of the server that has it
	ownerKeyFile = "owner.key"
	pepperFile   = "pepper.key"
	journalDir   = "journal" // segments of marks, see package journal
)

// dataDir is a locked data directory.
type dataDir struct {
	path string
	lock *flock.Flock
}

// openDataDir makes the directory if need be and takes its lock. A second server on it
// is refused with the pid of the first.
func openDataDir(path string) (*dataDir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w; choose another with --data", err)
	}
	d := &dataDir{path: path}
	d.lock = flock.New(d.file(lockFile), flock.SetPermissions(0o600))
	taken, err := d.lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	if !taken {
		content, _ := os.ReadFile(d.file(lockFile))
		pid, _, _ := strings.Cut(string(content), "\n")
		return nil, fmt.Errorf("the data directory %s is in use by the berth with pid %s; stop that one, or choose another directory with --data", path, pid)
	}
	if d.has(restoringDir) {
		return nil, errors.Join(d.Close(), fmt.Errorf("a restore into %s did not come to its end; remove the directory, and restore into an empty one and an empty database again", path))
	}
	return d, nil
}

func (d *dataDir) file(name string) string { return filepath.Join(d.path, name) }

func (d *dataDir) has(name string) bool {
	_, err := os.Stat(d.file(name))
	return err == nil
}

// announce writes pid and URL into the lock, for the refusal of a second server and
// for the command line.
func (d *dataDir) announce(url string) error {
	return os.WriteFile(d.file(lockFile), fmt.Appendf(nil, "%d\n%s\n", os.Getpid(), url), 0o600)
}

func (d *dataDir) pepper() (secret.Pepper, error) { return secret.LoadPepper(d.file(pepperFile)) }

// keepOwnerKey writes the key and waits until it is on disk.
func (d *dataDir) keepOwnerKey(key string) (err error) {
	f, err := os.OpenFile(d.file(ownerKeyFile), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.WriteString(key + "\n"); err != nil {
		return err
	}
	return f.Sync()
}

func (d *dataDir) ownerKey() (string, error) {
	key, err := os.ReadFile(d.file(ownerKeyFile))
	return strings.TrimSpace(string(key)), err
}

// Close gives the lock back. The file stays: removing it would let two servers lock
// two files of one name.
func (d *dataDir) Close() error { return d.lock.Unlock() }

// tail returns the last bytes of a file, from the beginning of a line.
func tail(path string, bytes int64) (_ string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	from := max(0, info.Size()-bytes)
	text, err := io.ReadAll(io.NewSectionReader(f, from, bytes))
	if err != nil || from == 0 {
		return string(text), err
	}
	_, whole, _ := strings.Cut(string(text), "\n")
	return whole, nil
}
