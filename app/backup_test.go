package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/backup"
	"github.com/berthhq/berth/store"
	"github.com/berthhq/berth/store/pgtest"
	"github.com/berthhq/berth/store/sqlitetest"
)

// kept is a data directory with a model inside of it and one outside, an engine that
// serves, and an upload under way.
type kept struct{ data, inside, outside string }

func newKept(t *testing.T) kept {
	t.Helper()
	base := t.TempDir()
	k := kept{data: filepath.Join(base, "data")}
	k.inside = filepath.Join(k.data, modelsDir, shelfDir, "up_1", "adapter.gguf")
	k.outside = filepath.Join(base, "elsewhere", "base.gguf")
	for path, content := range map[string]string{
		k.inside: "inside", k.outside: "outside", filepath.Join(k.data, pepperFile): strings.Repeat("p", 32), filepath.Join(k.data, ownerKeyFile): "sk-1\n",
	} {
		must(t, os.MkdirAll(filepath.Dir(path), 0o700))
		must(t, os.WriteFile(path, []byte(content), 0o600))
	}
	sqlitetest.Put(t, filepath.Join(k.data, databaseFile))
	s, err := store.Open(t.Context(), store.Config{Path: filepath.Join(k.data, databaseFile)})
	must(t, err)
	adapter := berth.AdapterRef{Digest: "sha256:aa", Path: k.inside}
	err = s.Tx(t.Context(), func(tx berth.Tx) error {
		return errors.Join(
			tx.Accounts().InsertAccount(t.Context(), berth.Account{ID: "1", Currency: "CNY", TimeZone: "UTC"}),
			tx.Accounts().InsertWorkspace(t.Context(), berth.Workspace{ID: "llm-1", AccountID: "1"}),
			tx.Models().Insert(t.Context(), berth.Model{Name: "in", Kind: berth.ModelKindAdapter, File: berth.ModelFile{Path: k.inside, Digest: "sha256:aa"}}),
			tx.Models().Insert(t.Context(), berth.Model{Name: "out", Kind: berth.ModelKindBase, File: berth.ModelFile{Path: k.outside, Digest: "sha256:0123456789abcdef00"}, Configured: true}),
			tx.Models().Insert(t.Context(), berth.Model{Name: "far", Kind: berth.ModelKindEndpoint, URL: "https://h/v1"}),
			tx.Replicas().Insert(t.Context(), berth.Replica{ID: "rep_1", State: berth.ReplicaReady, Nonce: "run_1", PID: 1, StartTime: 2, Adapters: []berth.AdapterRef{adapter}}),
			tx.Uploads().Insert(t.Context(), berth.Upload{ID: "up_2", WorkspaceID: "llm-1"}),
		)
	})
	must(t, errors.Join(err, s.Close()))
	return k
}

func (k kept) backup(t *testing.T, models, secrets bool) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "b.tar.zst")
	_, err := createBackup(t.Context(), backupJob{data: k.data, version: "test", models: models, secrets: secrets}, file)
	must(t, err)
	if left, _ := os.ReadDir(filepath.Dir(file)); len(left) != 1 {
		t.Errorf("beside the backup: %v", left)
	}
	return file
}

// paths returns where the catalogue and a replica of a restored directory look for files.
func paths(t *testing.T, dir string) (models map[string]string, replica berth.Replica, uploads int) {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{Path: filepath.Join(dir, databaseFile)})
	must(t, err)
	models = map[string]string{}
	err = s.View(t.Context(), func(tx berth.Tx) error {
		list, err := tx.Models().List(t.Context())
		for _, m := range list {
			models[m.Name] = m.File.Path
		}
		ups, upsErr := tx.Uploads().List(t.Context(), "")
		uploads = len(ups)
		var replicaErr error
		replica, replicaErr = tx.Replicas().Get(t.Context(), "rep_1")
		return errors.Join(err, upsErr, replicaErr)
	})
	must(t, errors.Join(err, s.Close()))
	return models, replica, uploads
}

func TestABackupWithModelsIsWholeWithoutTheOldDirectory(t *testing.T) {
	t.Parallel()
	k := newKept(t)
	file := k.backup(t, true, true)
	must(t, os.RemoveAll(filepath.Dir(k.data)))
	dir := filepath.Join(t.TempDir(), "new")
	r, err := restoreBackup(t.Context(), file, dir, "")
	must(t, err)
	models, replica, uploads := paths(t, dir)
	for name, want := range map[string]string{"in": "inside", "out": "outside"} {
		content, err := os.ReadFile(models[name])
		if below, ok := belowDir(dir, models[name]); err != nil || string(content) != want || !ok {
			t.Errorf("%s is at %s: %q, %v", name, below, content, err)
		}
	}
	if models["far"] != "" || len(r.missing) > 0 || uploads > 0 {
		t.Errorf("%v, missing %v, %d uploads", models, r.missing, uploads)
	}
	if replica.PID != 0 || replica.StartTime != 0 || replica.Adapters[0].Path != models["in"] {
		t.Errorf("%+v still means an engine of the other server", replica)
	}
	for _, name := range []string{pepperFile, ownerKeyFile} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	var said bytes.Buffer
	r.tell(&said)
	if !strings.Contains(said.String(), "models.out.path") || strings.Contains(said.String(), "missing") {
		t.Errorf("it says %s", &said)
	}
}

func TestMissingModelsAreListedWithTheirPlaces(t *testing.T) {
	t.Parallel()
	k := newKept(t)
	file := k.backup(t, false, false)
	must(t, os.RemoveAll(filepath.Dir(k.data)))
	dir := t.TempDir() // there, and empty
	r, err := restoreBackup(t.Context(), file, dir, "")
	must(t, err)
	var said bytes.Buffer
	r.tell(&said)
	moved := filepath.Join(dir, modelsDir, shelfDir, "up_1", "adapter.gguf")
	for _, want := range []string{"in are missing: put them to " + moved + " (sha256:aa)", "out are missing: put them to " + k.outside, "pepper.key is missing"} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("it says %s instead of %q", &said, want)
		}
	}
	if models, _, _ := paths(t, dir); models["in"] != moved || models["out"] != k.outside {
		t.Errorf("%v", models)
	}
}

// forged packs what a backup has with another manifest.
func forged(t *testing.T, file string, change func(*backup.Manifest), more ...string) string {
	t.Helper()
	f, err := os.Open(file)
	must(t, err)
	defer f.Close()
	dir := t.TempDir()
	m, err := backup.Unpack(t.Context(), f, dir, nil)
	must(t, err)
	var files []backup.Source
	for _, one := range m.Files {
		files = append(files, backup.Source{Name: one.Name, Path: filepath.Join(dir, one.Name)})
	}
	for _, name := range more {
		files = append(files, backup.Source{Name: name, Path: filepath.Join(dir, databaseFile)})
	}
	change(&m)
	out, err := os.Create(filepath.Join(t.TempDir(), "forged.tar.zst"))
	must(t, err)
	defer out.Close()
	_, err = backup.Write(t.Context(), out, m, files)
	must(t, err)
	return out.Name()
}

func TestARestoreIsRefusedAndLeavesNothing(t *testing.T) {
	t.Parallel()
	k := newKept(t)
	file := k.backup(t, false, false)
	whole, err := os.ReadFile(file)
	must(t, err)
	short := filepath.Join(t.TempDir(), "short")
	must(t, os.WriteFile(short, whole[:len(whole)-100], 0o600))
	for name, test := range map[string]struct{ file, want string }{
		"a row too few":     {forged(t, file, func(m *backup.Manifest) { m.Tables[0].Rows++ }), "tables"},
		"another row":       {forged(t, file, func(m *backup.Manifest) { m.Tables[0].Checksum = "00" }), "tables"},
		"a newer schema":    {forged(t, file, func(m *backup.Manifest) { m.Schema = 99999 }), "newer Berth"},
		"cut short":         {short, "cut short"},
		"a file that is no": {k.outside, "no whole backup"},
		"not there":         {"/nowhere/at/all", "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "new")
			if _, err := restoreBackup(t.Context(), test.file, dir, ""); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v", err)
			}
			if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the directory is there: %v", err)
			}
			must(t, os.Mkdir(dir, 0o700))
			_, _ = restoreBackup(t.Context(), test.file, dir, "")
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("left: %v, %v", left, err)
			}
		})
	}
}

// What a backup without secrets has must not open anything.
func TestABackupWithoutSecretsHasNone(t *testing.T) {
	t.Parallel()
	k := newKept(t)
	f, err := os.Open(k.backup(t, true, false))
	must(t, err)
	defer f.Close()
	dir := t.TempDir()
	m, err := backup.Unpack(t.Context(), f, dir, nil)
	must(t, err)
	for _, one := range m.Files {
		content, err := os.ReadFile(filepath.Join(dir, one.Name))
		must(t, err)
		if bytes.Contains(content, []byte("sk-1")) || bytes.Contains(content, []byte(strings.Repeat("p", 32))) {
			t.Errorf("%s has a secret", one.Name)
		}
	}
	text, err := json.Marshal(m)
	if err != nil || m.Secrets || !strings.Contains(string(text), "pepper.key is not in this backup") {
		t.Errorf("%s, %v", text, err)
	}
}

func TestABackupNeedsRoom(t *testing.T) {
	t.Parallel()
	k := newKept(t)
	_, err := backupJob{data: k.data, spare: 1 << 62}.stage(t.Context(), t.TempDir())
	if berth.CodeOf(err) != berth.CodeUnavailable || !strings.Contains(err.Error(), "no room") {
		t.Errorf("%v", err)
	}
}

func TestWhatACrashLeftOfABackupGoes(t *testing.T) {
	t.Parallel()
	d, err := openDataDir(t.TempDir())
	must(t, err)
	defer func() { must(t, d.Close()) }()
	must(t, os.MkdirAll(d.file(stagingName+"1/journal"), 0o700))
	must(t, d.sweepBackups())
	if left, _ := filepath.Glob(d.file(".berth*")); len(left) > 0 {
		t.Errorf("%v", left)
	}
}

func TestAFileIsNeverReplacedByABackup(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	named, err := backupFile(dir, time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC))
	if err != nil || named != filepath.Join(dir, "berth-20261123T030000Z.tar.zst") {
		t.Errorf("%s, %v", named, err)
	}
	must(t, os.WriteFile(named, []byte("mine"), 0o600))
	if _, err := backupFile(named, time.Now()); err == nil {
		t.Error("it would be replaced")
	}
	k := newKept(t)
	// Also when it came meanwhile.
	if _, err := createBackup(t.Context(), backupJob{data: k.data}, named); err == nil {
		t.Error("it was replaced")
	}
	content, err := os.ReadFile(named)
	left, _ := os.ReadDir(dir)
	if string(content) != "mine" || err != nil || len(left) != 1 {
		t.Errorf("%q, %v, %v", content, err, left)
	}
}

// inPostgres moves the database of a directory to Postgres.
func (k kept) inPostgres(t *testing.T) (url string) {
	t.Helper()
	url = pgtest.Empty(t)
	must(t, os.WriteFile(filepath.Join(k.data, lockFile), nil, 0o600)) // every server leaves one
	file := filepath.Join(k.data, databaseFile)
	must(t, copyStore(t.Context(), "sqlite:"+file, url, io.Discard, slog.New(slog.DiscardHandler)))
	must(t, os.Remove(file+copiedSuffix))
	return url
}

// held returns what a backup says its tables hold, without the times of migrations.
func held(m backup.Manifest) []backup.Table {
	return slices.DeleteFunc(slices.Clone(m.Tables), func(t backup.Table) bool { return t.Name == "schema_version" })
}

// Whatever database it is taken of and restored to, what is in a backup is the same.
func TestABackupIsTheSameOfEitherDatabase(t *testing.T) {
	t.Parallel()
	k := newKept(t)
	must(t, os.MkdirAll(filepath.Join(k.data, journalDir), 0o700))
	must(t, os.WriteFile(filepath.Join(k.data, journalDir, localNode+"-00000007"), []byte("marks"), 0o600))
	ofFile, err := verifyBackup(t.Context(), k.backup(t, false, false))
	must(t, err)
	url := k.inPostgres(t)
	file := filepath.Join(t.TempDir(), "b.tar.zst")
	if _, err := createBackup(t.Context(), backupJob{data: k.data}, file); err == nil || !strings.Contains(err.Error(), "Postgres") {
		t.Errorf("without its configuration: %v", err)
	}
	if _, err := createBackup(t.Context(), backupJob{data: t.TempDir(), store: url}, file); err == nil {
		t.Error("a directory that no server had is taken for one")
	}
	s, err := createBackup(t.Context(), backupJob{data: k.data, store: url, models: true, secrets: true}, file)
	must(t, err)
	if !slices.Equal(held(s.manifest), held(ofFile)) || s.manifest.Schema != ofFile.Schema || len(s.manifest.Models) != len(ofFile.Models) {
		t.Errorf("of Postgres it is %+v, of the file %+v", s.manifest, ofFile)
	}
	if left, _ := os.ReadDir(filepath.Dir(file)); len(left) != 1 {
		t.Errorf("beside the backup: %v", left)
	}

	restored, into := pgtest.Empty(t), filepath.Join(t.TempDir(), "postgres")
	r, err := restoreBackup(t.Context(), file, into, restored)
	must(t, err)
	var said bytes.Buffer
	r.tell(&said)
	if !strings.Contains(said.String(), "the database is in Postgres") {
		t.Errorf("it says %s", &said)
	}
	if _, err := os.Stat(filepath.Join(into, databaseFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it left a file, too: %v", err)
	}
	back := filepath.Join(t.TempDir(), "postgres-and-back")
	must(t, os.MkdirAll(back, 0o700))
	must(t, copyStore(t.Context(), restored, "sqlite:"+back, io.Discard, nil))
	plain := filepath.Join(t.TempDir(), "file")
	_, err = restoreBackup(t.Context(), file, plain, "")
	must(t, err)
	for _, test := range []struct{ dir, database string }{{into, back}, {plain, plain}} {
		models, replica, uploads := paths(t, test.database)
		content, err := os.ReadFile(models["out"])
		if _, ok := belowDir(test.dir, models["out"]); err != nil || string(content) != "outside" || !ok || uploads > 0 || replica.PID != 0 {
			t.Errorf("the models are %v (%q, %v), the replica %+v, %d uploads", models, content, err, replica, uploads)
		}
		content, err = os.ReadFile(filepath.Join(test.dir, journalDir, localNode+"-00000007"))
		if err != nil || string(content) != "marks" {
			t.Errorf("the journal is %q, %v", content, err)
		}
		if _, err := os.Stat(filepath.Join(test.dir, pepperFile)); err != nil {
			t.Error(err)
		}
		if left, _ := filepath.Glob(filepath.Join(test.dir, ".*")); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	}
}

func TestARestoreToPostgresIsRefusedAndLeavesNothing(t *testing.T) {
	t.Parallel()
	k := newKept(t)
	file := k.backup(t, false, false)
	full := k.inPostgres(t)
	empty := pgtest.Empty(t)
	for name, test := range map[string]struct{ file, url, want string }{
		"a database with data": {file, full, "not empty"},
		"no database":          {file, "postgres://berth@127.0.0.1:1/none", "put the data into the database"},
		"another row":          {forged(t, file, func(m *backup.Manifest) { m.Tables[0].Checksum = "00" }), empty, "tables"},
		// Its file cannot be put where the disk has a folder of that name.
		"a file that has no place": {forged(t, file, func(m *backup.Manifest) {}, lostAndFound), empty, "put the data into the database"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			must(t, os.MkdirAll(filepath.Join(dir, lostAndFound, "x"), 0o700))
			if _, err := restoreBackup(t.Context(), test.file, dir, test.url); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v", err)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
				t.Errorf("left: %v, %v", left, err)
			}
		})
	}
	t.Cleanup(func() {
		// Both are as they were.
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := store.Snapshot(ctx, store.Config{URL: empty}, filepath.Join(k.data, "copy"), func() error { return nil }); berth.CodeOf(err) != berth.CodeNotFound {
			t.Errorf("the empty database has something: %v", err)
		}
		if err := store.Snapshot(ctx, store.Config{URL: full}, filepath.Join(k.data, "copy"), func() error { return nil }); err != nil {
			t.Error(err)
		}
	})
}

// A server does not take a directory whose restore was killed.
func TestADirectoryThatIsBeingRestoredIsNotServed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, restoringDir), 0o700))
	if _, err := openDataDir(dir); err == nil || !strings.Contains(err.Error(), "did not come to its end") {
		t.Errorf("%v", err)
	}
}

// However late a backup is restored, what served at its moment is charged up to the last
// sign of life in it.
func TestTheTimeBetweenBackupAndRestoreIsNotCharged(t *testing.T) {
	t.Parallel()
	k := newKept(t)
	long := time.Now().Add(-72 * time.Hour).UTC().Truncate(time.Second)
	s, err := store.Open(t.Context(), store.Config{Path: filepath.Join(k.data, databaseFile)})
	must(t, err)
	must(t, errors.Join(s.Tx(t.Context(), func(tx berth.Tx) error {
		return errors.Join(
			tx.Deployments().Insert(t.Context(), berth.Deployment{ID: "dep_1", DeployedModel: "m-1", WorkspaceID: "llm-1", Plan: berth.PlanMU, Status: berth.StatusRunning}),
			tx.Runs().Insert(t.Context(), berth.Run{ID: "svc_1", AccountID: "1", WorkspaceID: "llm-1", DeploymentID: "dep_1", Plan: berth.PlanMU, StartedAt: long, Steps: []berth.RunStep{{At: long, Units: 1}}}),
			tx.Runs().Beat(t.Context(), localNode, long.Add(time.Hour)),
		)
	}), s.Close()))
	file := k.backup(t, false, false)
	dir := filepath.Join(t.TempDir(), "new")
	_, err = restoreBackup(t.Context(), file, dir, "")
	must(t, err)
	s, err = store.Open(t.Context(), store.Config{Path: filepath.Join(dir, databaseFile)})
	must(t, err)
	a := &App{store: s, opt: Options{Now: time.Now}}
	a.services.deployments = &berth.Deployments{Writer: berth.Writer{Store: s, Now: time.Now, NewID: newID, Publish: func(context.Context, int64) error { return nil }}}
	must(t, a.endCrashedRuns(t.Context()))
	var runs []berth.Run
	must(t, s.View(t.Context(), func(tx berth.Tx) (err error) {
		runs, err = tx.Runs().During(t.Context(), []string{"dep_1"}, long, time.Now())
		return err
	}))
	if len(runs) != 1 || !runs[0].EndedAt.Equal(long.Add(time.Hour)) {
		t.Errorf("%+v, the last sign of life was at %s", runs, long.Add(time.Hour))
	}
	must(t, s.Close())
}
