package app

import (
	"bytes"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/store/pgtest"
)

// The way from one database to the other, as docs/postgres.md tells it.
func TestTheDataMovesToPostgres(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	url := pgtest.Empty(t)
	file := filepath.Join(dir, databaseFile)
	var out bytes.Buffer
	move := func(from, to string) error {
		out.Reset()
		return copyStore(t.Context(), from, to, &out, slog.New(slog.DiscardHandler))
	}
	refused := func(err error, want string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	var key string
	serveOnce(t, options(t, dir, "", nil), func(a *App) {
		var err error
		key, err = a.OwnerKey()
		must(t, err)
		refused(move("sqlite:"+file, url), "is in use by the berth with pid")
	})
	refused(move("sqlite:"+filepath.Join(dir, "other.db"), url), "no such file")
	refused(move(file, url), "--from must be sqlite: and the name of the file")
	refused(move("sqlite:"+file, "mysql://host/db"), "--to must be the URL of a database")
	refused(move("sqlite:"+file, "postgres://u:hunter2@127.0.0.1:1/db"), "nothing was copied: ")

	must(t, move("sqlite:"+dir, url)) // the folder will do
	for _, want := range []string{"accounts                            1  ", "Set the key store of the configuration", file + ".copied now, and not used any more."} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, out.String())
		}
	}
	refused(move("sqlite:"+file, url), "no such file")
	refused(move("sqlite:"+file+".copied", url), "nothing was copied: The database to copy to is not empty")

	serveOnce(t, options(t, dir, "store: '"+url+"'", nil), func(a *App) {
		if status, body := get(t, a.URL()+"/berth/v1/nodes", key); status != 200 || !strings.Contains(body, "local") {
			t.Errorf("got %d: %s", status, body)
		}
		b, err := a.takeBackup(t.Context(), berth.BackupOptions{})
		must(t, err)
		must(t, b.Close())
		refused(move(url, "sqlite:"+file), "is in use by the berth with pid")
	})

	// And back.
	refused(move(url, file), "--to must be sqlite: and the name of the file to make")
	must(t, move(url, "sqlite:"+dir))
	if !strings.Contains(out.String(), "Take the key store out of the configuration") {
		t.Errorf("it says %s", out.String())
	}
	refused(move(url, "sqlite:"+file), "is there already")
	serveOnce(t, options(t, dir, "", nil), func(a *App) {
		if status, body := get(t, a.URL()+"/berth/v1/nodes", key); status != 200 || !strings.Contains(body, "local") {
			t.Errorf("got %d: %s", status, body)
		}
	})
}
