package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/docker/go-units"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/backup"
	"github.com/berthhq/berth/journal"
	"github.com/berthhq/berth/store"
)

const (
	databaseFile = "berth.db"
	// stagingName begins the names of folders in which a backup is made ready; what a crash
	// left of one is removed at the next start.
	stagingName = ".berth-backup-"
	// restoredDir is where the files of models go that were outside of the data directory.
	restoredDir = "restored"
	// overtakenMost is how often a journal is looked at again that is written too fast.
	overtakenMost = 5
)

// noPepper is what a backup without secrets says of itself.
const noPepper = "pepper.key is not in this backup. Without it no API key can be checked and no endpoint's key opened: keep a copy of it elsewhere, it never changes."

// backupJob says what a backup is taken of.
type backupJob struct {
	data            string // directory
	store           string // URL of the database, "": it is a file of the directory
	version         string
	models, secrets bool
	// spare is left free on the disk of the staging folder, in bytes.
	spare int64
}

// stagedBackup is everything for an archive in files that nobody writes to any more.
type stagedBackup struct {
	dir      string
	manifest backup.Manifest
	files    []backup.Source
	missing  []string // models whose files were asked for and are not there
}

var _ berth.Backup = (*stagedBackup)(nil)

// TakenAt implements berth.Backup.
func (s *stagedBackup) TakenAt() time.Time { return s.manifest.TakenAt }

// WriteTo implements berth.Backup.
func (s *stagedBackup) WriteTo(ctx context.Context, w io.Writer) (err error) {
	s.manifest, err = backup.Write(ctx, w, s.manifest, s.files)
	return err
}

// Close implements berth.Backup.
func (s *stagedBackup) Close() error { return os.RemoveAll(s.dir) }

// stage takes everything as it is at one moment and makes it ready in a folder below
// parent. It does not matter whether a server works on the data directory, in this process,
// in another or not at all: the database is read in one transaction, and right after that
// began the journal's segments are copied, so that whatever was closed before is in one of
// them, and behind the place up to which that database has folded it.
func (j backupJob) stage(ctx context.Context, parent string) (_ *stagedBackup, err error) {
	if err := j.check(); err != nil {
		return nil, err
	}
	if err := j.room(ctx, parent); err != nil {
		return nil, err
	}
	s := &stagedBackup{}
	if s.dir, err = os.MkdirTemp(parent, stagingName); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	s.manifest = backup.Manifest{Head: backup.Head{Berth: j.version, Secrets: j.secrets}, Data: j.data}
	if err := j.pin(ctx, s); err != nil {
		return nil, err
	}
	contents, err := store.Inspect(ctx, filepath.Join(s.dir, databaseFile))
	if err != nil {
		return nil, err
	}
	s.manifest.Schema, s.manifest.Tables = contents.Schema, tables(contents)
	if err := j.addModels(s, contents.Models); err != nil {
		return nil, err
	}
	j.addSecrets(s)
	return s, nil
}

// database is what is read.
func (j backupJob) database() store.Config {
	if j.store != "" {
		return store.Config{URL: j.store}
	}
	return store.Config{Path: filepath.Join(j.data, databaseFile)}
}

// check refuses what is no data directory.
func (j backupJob) check() error {
	_, err := os.Stat(filepath.Join(j.data, databaseFile))
	_, locked := os.Stat(filepath.Join(j.data, lockFile)) // every server leaves one
	switch {
	case j.store != "":
		err = locked
	case err != nil && locked == nil:
		return fmt.Errorf("%s has no database; if that is in Postgres, say so with --config FILE or BERTH_STORE", j.data)
	}
	if err != nil {
		return fmt.Errorf("%s is no data directory (%w); name the one of your server with --data", j.data, err)
	}
	return nil
}

// room refuses a backup for which its disk has no room.
func (j backupJob) room(ctx context.Context, parent string) error {
	need, err := store.Size(ctx, j.database())
	if err != nil {
		return err
	}
	segments, _ := filepath.Glob(filepath.Join(j.data, journalDir, "*"))
	for _, path := range segments {
		if info, err := os.Stat(path); err == nil {
			need += info.Size()
		}
	}
	free, err := diskFree(parent)
	if err != nil || free >= need+j.spare {
		return err
	}
	return berth.Errorf(berth.CodeUnavailable, "There is no room for a backup: it needs %s of the disk of %s for a while and %s are free; make room, or run berth backup create on the server with a FILE on another disk.",
		units.BytesSize(float64(need+j.spare)), parent, units.BytesSize(float64(free)))
}

// pin copies database and journal as of one moment.
func (j backupJob) pin(ctx context.Context, s *stagedBackup) error {
	for attempt := 1; ; attempt++ {
		err := j.pinOnce(ctx, s)
		if !errors.Is(err, journal.ErrOvertaken) || attempt == overtakenMost {
			return err
		}
		if err := errors.Join(os.RemoveAll(s.dir), os.Mkdir(s.dir, 0o700)); err != nil {
			return err
		}
		s.files = nil
	}
}

func (j backupJob) pinOnce(ctx context.Context, s *stagedBackup) (err error) {
	held, err := journal.Hold(filepath.Join(j.data, journalDir), localNode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, held.Close()) }()
	copied := filepath.Join(s.dir, databaseFile)
	s.files = append(s.files, backup.Source{Name: databaseFile, Path: copied})
	return store.Snapshot(ctx, j.database(), copied, func() error {
		s.manifest.TakenAt = time.Now().UTC()
		if err := held.Again(); err != nil {
			return err
		}
		return j.copyJournal(held, s)
	})
}

func (j backupJob) copyJournal(held *journal.Copier, s *stagedBackup) error {
	dir := filepath.Join(s.dir, journalDir)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	names, err := held.CopyTo(dir)
	for _, name := range names {
		s.files = append(s.files, backup.Source{Name: journalDir + "/" + name, Path: filepath.Join(dir, name)})
	}
	return err
}

func tables(c store.Contents) []backup.Table {
	list := make([]backup.Table, 0, len(c.Tables))
	for _, t := range c.Tables {
		list = append(list, backup.Table(t))
	}
	return list
}

// addModels lists the models and, if asked, adds their files. Those inside the data
// directory keep their place in it.
func (j backupJob) addModels(s *stagedBackup, models []store.StoredModel) error {
	s.manifest.Models = []backup.Model{}
	for _, stored := range models {
		m := backup.Model{
			Name: stored.Name, Path: stored.File.Path, Digest: stored.File.Digest, Bytes: stored.File.Stat.SizeBytes, Configured: stored.Configured,
		}
		if j.models {
			files, unpacked, err := j.modelFiles(stored.File)
			if errors.Is(err, fs.ErrNotExist) {
				s.missing = append(s.missing, m.Name)
			} else if err != nil {
				return err
			}
			m.Unpacked = unpacked
			for _, f := range files {
				if !slices.ContainsFunc(s.files, func(is backup.Source) bool { return is.Name == f.Name }) {
					s.files = append(s.files, f)
				}
			}
		}
		s.manifest.Models = append(s.manifest.Models, m)
	}
	return nil
}

// modelFiles returns the files of a model and where its path will be below a data
// directory.
func (j backupJob) modelFiles(f berth.ModelFile) (files []backup.Source, unpacked string, err error) {
	info, err := os.Stat(f.Path)
	if err != nil {
		return nil, "", err
	}
	below, inside := belowDir(j.data, f.Path)
	if !inside {
		_, digest, _ := strings.Cut(f.Digest, ":")
		below = filepath.Join(modelsDir, restoredDir, digest[:min(len(digest), 16)], filepath.Base(f.Path))
	}
	unpacked = filepath.ToSlash(below)
	if !info.IsDir() {
		return []backup.Source{{Name: unpacked, Path: f.Path}}, unpacked, nil
	}
	entries, err := os.ReadDir(f.Path)
	for _, e := range entries {
		path := filepath.Join(f.Path, e.Name())
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() { // behind a link, too
			files = append(files, backup.Source{Name: unpacked + "/" + e.Name(), Path: path})
		}
	}
	return files, unpacked, err
}

// belowDir returns the part of a path below a directory.
func belowDir(dir, path string) (string, bool) {
	below, err := filepath.Rel(dir, path)
	return below, err == nil && below != "." && filepath.IsLocal(below)
}

func (j backupJob) addSecrets(s *stagedBackup) {
	if !j.secrets {
		s.manifest.Note = noPepper
		return
	}
	for _, name := range []string{pepperFile, ownerKeyFile} {
		path := filepath.Join(j.data, name)
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) && name == ownerKeyFile {
			continue // its owner has taken it away
		}
		s.files = append(s.files, backup.Source{Name: name, Path: path})
	}
}

// takeBackup makes a backup of this server ready for a client.
func (a *App) takeBackup(ctx context.Context, o berth.BackupOptions) (berth.Backup, error) {
	j := backupJob{data: a.dir.path, version: a.opt.Version, models: o.Models, spare: spareBytes}
	if a.opt.Config.Store != "sqlite" {
		j.store = a.opt.Config.Store
	}
	s, err := j.stage(ctx, a.dir.path)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// sweepBackups removes what a crash left of backups.
func (d *dataDir) sweepBackups() error {
	left, err := filepath.Glob(filepath.Join(d.path, stagingName+"*"))
	for _, path := range left {
		err = errors.Join(err, os.RemoveAll(path))
	}
	return err
}

// createBackup writes a backup to a file of mode 0600 that is whole as soon as it has its
// name: it is read again before.
func createBackup(ctx context.Context, j backupJob, file string) (_ *stagedBackup, err error) {
	j.spare = lowDisk
	s, err := j.stage(ctx, filepath.Dir(file))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return s, writeBackup(ctx, file, func(w io.Writer) error { return s.WriteTo(ctx, w) })
}

// writeBackup brings an archive to the disk, verifies it and gives it its name.
func writeBackup(ctx context.Context, file string, write func(io.Writer) error) (err error) {
	aside, err := os.CreateTemp(filepath.Dir(file), stagingName+"*.partial") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, aside.Close())
		if err != nil {
			err = errors.Join(err, os.Remove(aside.Name()))
		}
	}()
	if err := errors.Join(write(aside), aside.Sync()); err != nil {
		return err
	}
	if _, err := aside.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if _, err := backup.Verify(ctx, aside, nil); err != nil {
		return fmt.Errorf("what was written is not what was to be written: %w", err)
	}
	// Unlike a rename a link never replaces what is there.
	if err := os.Link(aside.Name(), file); err != nil {
		return err
	}
	return errors.Join(os.Remove(aside.Name()), syncDir(filepath.Dir(file)))
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
