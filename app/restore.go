package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gofrs/flock"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/backup"
	"github.com/berthhq/berth/store"
)

// restoringDir is where a backup is unpacked to. While it is there the directory is none
// that a server takes.
const restoringDir = ".restoring"

// restored is what came of a restore.
type restored struct {
	manifest backup.Manifest
	dir      string
	postgres bool // has the database
	missing  []missingModel
}

// missingModel is a model whose files are not where the catalogue has them now.
type missingModel struct {
	backup.Model
	path string
}

// restoreBackup unpacks a backup into a data directory, which must not exist or be empty,
// and with an address its database into a Postgres, which must be empty. When it fails both
// are as they were before.
func restoreBackup(ctx context.Context, file, dir, address string) (r restored, err error) {
	if r.dir, err = filepath.Abs(dir); err != nil {
		return r, err
	}
	made, err := emptyDir(r.dir)
	if err != nil {
		return r, err
	}
	aside := filepath.Join(r.dir, restoringDir) // below it, since it may be a disk of its own
	defer func() {
		if err != nil {
			err = errors.Join(err, clearDir(r.dir, made))
		}
	}()
	if err := os.Mkdir(aside, 0o700); err != nil {
		return r, err
	}
	if r.manifest, err = unpackBackup(ctx, file, aside); err != nil {
		return r, err
	}
	place := placesOf(r.manifest, r.dir)
	if err := settleIn(ctx, filepath.Join(aside, databaseFile), place); err != nil {
		return r, err
	}
	if address == "" {
		err = moveUp(aside, r.dir)
	} else {
		r.postgres = true
		err = moveToPostgres(ctx, aside, r.dir, address)
	}
	if err != nil {
		return r, err
	}
	for _, m := range r.manifest.Models {
		if _, err := os.Stat(place(m.Path)); err != nil {
			r.missing = append(r.missing, missingModel{m, place(m.Path)})
		}
	}
	return r, nil
}

// moveToPostgres puts the database into Postgres and everything else into its place. All
// that can go wrong with the files does so before the database is committed; who is killed
// in between leaves a directory that no server takes.
func moveToPostgres(ctx context.Context, aside, dir, address string) error {
	err := store.Copy(ctx, store.Config{Path: filepath.Join(aside, databaseFile)}, store.Config{URL: address}, func(store.CopiedTable) {}, func() error {
		return moveFiles(aside, dir)
	})
	if err != nil {
		return fmt.Errorf("put the data into the database: %w", err)
	}
	return errors.Join(os.RemoveAll(aside), syncDir(dir))
}

// clearDir removes what a restore put into a directory that was empty, and the directory if
// the restore made it.
func clearDir(dir string, made bool) error {
	if made {
		return os.RemoveAll(dir)
	}
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if e.Name() != lostAndFound {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

// lostAndFound is in a directory that is a disk of its own.
const lostAndFound = "lost+found"

// emptyDir makes the directory, or sees to it that it is empty and nobody's.
func emptyDir(path string) (made bool, err error) {
	entries, err := os.ReadDir(path)
	if errors.Is(err, fs.ErrNotExist) {
		return true, os.MkdirAll(path, 0o700)
	}
	if err != nil {
		return false, err
	}
	entries = slices.DeleteFunc(entries, func(e os.DirEntry) bool { return e.Name() == lostAndFound })
	if len(entries) == 0 {
		return false, nil
	}
	lock := flock.New(filepath.Join(path, lockFile), flock.SetFlag(os.O_RDONLY))
	if free, err := lock.TryRLock(); err == nil && !free {
		return false, fmt.Errorf("a berth is running on %s; restore into a new directory with --data", path)
	}
	return false, errors.Join(lock.Close(), fmt.Errorf("the directory %s is not empty; restore into a new one with --data, and move it when you have looked at it", path))
}

// unpackBackup unpacks an archive and compares every byte and every row with its manifest.
func unpackBackup(ctx context.Context, file, dir string) (backup.Manifest, error) {
	f, err := os.Open(file)
	if err != nil {
		return backup.Manifest{}, err
	}
	defer f.Close()
	m, err := backup.Unpack(ctx, f, dir, func(h backup.Head) error { return store.KnownSchema(h.Schema) })
	if err != nil {
		return m, fmt.Errorf("%s: %w", file, err)
	}
	contents, err := store.Inspect(ctx, filepath.Join(dir, databaseFile))
	if err != nil {
		return m, err
	}
	if !slices.Equal(tables(contents), m.Tables) || contents.Schema != m.Schema {
		return m, fmt.Errorf("%s: the tables do not hold what the manifest says; take another backup", file)
	}
	return m, nil
}

// placesOf returns where a path of a model is after the restore: what was in the data
// directory is in the new one, what was unpacked is where it was unpacked, and all else
// where it was.
func placesOf(m backup.Manifest, dir string) func(path string) string {
	unpacked := map[string]string{}
	for _, model := range m.Models {
		if model.Unpacked != "" {
			unpacked[model.Path] = filepath.Join(dir, filepath.FromSlash(model.Unpacked))
		}
	}
	return func(path string) string {
		if to, ok := unpacked[path]; ok {
			return to
		}
		if below, ok := belowDir(m.Data, path); ok {
			return filepath.Join(dir, below)
		}
		return path
	}
}

// settleIn makes a restored database that of a server of its own: its schema is brought up
// to date, model files are where they are now, engines of the server that it was taken of
// are not waited for, and uploads that were under way are forgotten.
func settleIn(ctx context.Context, database string, place func(string) string) error {
	s, err := store.Open(ctx, store.Config{Path: database})
	if err != nil {
		return err
	}
	err = s.Tx(ctx, func(tx berth.Tx) error {
		return errors.Join(moveModels(ctx, tx, place), moveAdapters(ctx, tx, place), forgetEngines(ctx, tx, place), forgetUploads(ctx, tx))
	})
	return errors.Join(err, s.Close())
}

func moveModels(ctx context.Context, tx berth.Tx, place func(string) string) error {
	models, err := tx.Models().List(ctx)
	if err != nil {
		return err
	}
	for _, m := range models {
		to := place(m.File.Path)
		if m.File.Path == "" || to == m.File.Path {
			continue
		}
		m.File.Path = to
		if err := tx.Models().Update(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

func moveAdapters(ctx context.Context, tx berth.Tx, place func(string) string) error {
	members, err := tx.Pools().Members(ctx, "")
	if err != nil {
		return err
	}
	for _, m := range members {
		to := place(m.Adapter.Path)
		if m.Adapter.Path == "" || to == m.Adapter.Path {
			continue
		}
		m.Adapter.Path = to
		if err := errors.Join(tx.Pools().Leave(ctx, m.DeploymentID), tx.Pools().Join(ctx, m)); err != nil {
			return err
		}
	}
	return nil
}

func forgetEngines(ctx context.Context, tx berth.Tx, place func(string) string) error {
	replicas, err := tx.Replicas().List(ctx)
	if err != nil {
		return err
	}
	for _, r := range replicas {
		r.PID, r.StartTime = 0, 0
		for i := range r.Adapters {
			r.Adapters[i].Path = place(r.Adapters[i].Path)
		}
		if err := tx.Replicas().Update(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

func forgetUploads(ctx context.Context, tx berth.Tx) error {
	uploads, err := tx.Uploads().List(ctx, "")
	if err != nil {
		return err
	}
	for _, u := range uploads {
		if err := tx.Uploads().Delete(ctx, u.ID); err != nil {
			return err
		}
	}
	return nil
}

// moveUp puts everything into its place, the database last: without it the directory is
// none that a server would take for its own.
func moveUp(aside, dir string) error {
	if err := moveFiles(aside, dir); err != nil {
		return err
	}
	kept, err := filepath.Glob(filepath.Join(aside, databaseFile+".*")) // from before its schema changed
	for _, path := range append(kept, filepath.Join(aside, databaseFile)) {
		err = errors.Join(err, os.Rename(path, filepath.Join(dir, filepath.Base(path))))
	}
	return errors.Join(err, os.Remove(aside), syncDir(dir))
}

// moveFiles puts everything but the database into its place.
func moveFiles(aside, dir string) error {
	entries, err := os.ReadDir(aside)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), databaseFile) {
			continue
		}
		if err := os.Rename(filepath.Join(aside, e.Name()), filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return errors.Join(syncDir(dir), syncDir(filepath.Dir(dir)))
}
