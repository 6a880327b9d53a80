package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/berthhq/berth/api"
	"github.com/berthhq/berth/backup"
	"github.com/berthhq/berth/config"
	"github.com/berthhq/berth/store"
)

func backupCommand(version string) *cobra.Command {
	cmd := &cobra.Command{Use: "backup", Short: "Take, check and restore backups"}
	cmd.AddCommand(backupCreateCommand(version), backupVerifyCommand(), backupRestoreCommand())
	return cmd
}

// interruptible ends with Ctrl-C or SIGTERM, so that nothing half is left.
func interruptible(run func(ctx context.Context, cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		return run(ctx, cmd, args)
	}
}

func backupCreateCommand(version string) *cobra.Command {
	var configured string
	j := backupJob{version: version}
	cmd := &cobra.Command{
		Use:   "create FILE|DIR",
		Short: "Write everything durable into one file",
		Long: `Writes the database and the journal of a data directory, as they are at one moment,
into one file of mode 0600 (a tar in zstd), whether a server runs on it or not; nothing
is stopped or kept waiting. The file is read again and every byte compared before it gets
its name. In a DIR it is called berth-TIME.tar.zst.

Model files are listed, not copied, unless --with-models says so. pepper.key and owner.key
are left out unless --with-secrets says so: without the pepper no API key works, so keep a
copy of it elsewhere. With --url the backup is fetched from that server, which needs an
owner's key and never sends secrets.

A database in Postgres (store: in --config, or BERTH_STORE) is read in one transaction that
sees one moment, and is in the file as one of SQLite would be: both are restored to either.`,
		Example: `  berth backup create /backup
  berth backup create --data /var/lib/berth --with-models /backup/berth.tar.zst
  berth backup create --with-secrets /safe/berth.tar.zst
  berth backup create --config /etc/berth.yaml /backup
  berth backup create --url https://berth.example.com /backup`,
		Args: cobra.ExactArgs(1),
		RunE: interruptible(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			file, err := backupFile(args[0], time.Now())
			if err != nil {
				return err
			}
			if address := cmd.Flag("url"); address != nil && address.Changed {
				if j.secrets {
					return errors.New("--with-secrets does not go with --url: secrets never leave a server over the network; run it where the server is")
				}
				return fetchBackup(ctx, cmd, address.Value.String(), file, j.models)
			}
			cfg, err := config.Load(config.Source{File: configured, Env: os.Environ()})
			if err != nil {
				return err
			}
			if cfg.Store != "sqlite" {
				j.store = cfg.Store
			}
			data := cmd.Flag("data").Value.String()
			if configured != "" && !cmd.Flag("data").Changed {
				data = cfg.Data
			}
			if j.data, err = filepath.Abs(data); err != nil {
				return err
			}
			s, err := createBackup(ctx, j, file)
			if err != nil {
				return err
			}
			return tellBackup(cmd.OutOrStdout(), file, s.manifest, s.missing)
		}),
	}
	cmd.Flags().StringVar(&configured, "config", "", "configuration file (YAML) of the server, which says where its data are")
	cmd.Flags().BoolVar(&j.models, "with-models", false, "copy the files of the models, too")
	cmd.Flags().BoolVar(&j.secrets, "with-secrets", false, "copy pepper.key and owner.key, too: the file then opens everything")
	return cmd
}

// backupFile is the file to write, which must not be there.
func backupFile(path string, now time.Time) (string, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Join(path, "berth-"+now.UTC().Format("20060102T150405Z")+".tar.zst")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return "", errors.Join(err, fmt.Errorf("%s is there already; choose another name", path))
	}
	return path, nil
}

// fetchBackup writes the backup that a server sends.
func fetchBackup(ctx context.Context, cmd *cobra.Command, address, file string, models bool) error {
	key := cmp.Or(cmd.Flag("key").Value.String(), os.Getenv("BERTH_API_KEY"))
	if key == "" {
		return fmt.Errorf("no key for %s; set BERTH_API_KEY or --key", address)
	}
	client := &api.Client{BaseURL: address, Key: key}
	err := writeBackup(ctx, file, func(w io.Writer) error {
		return client.CreateBackup(ctx, api.CreateBackup{WithModels: models}, w)
	})
	if err != nil {
		return err
	}
	m, err := verifyBackup(ctx, file)
	if err != nil {
		return err
	}
	return tellBackup(cmd.OutOrStdout(), file, m, nil)
}

func verifyBackup(ctx context.Context, file string) (backup.Manifest, error) {
	f, err := os.Open(file)
	if err != nil {
		return backup.Manifest{}, err
	}
	defer f.Close()
	m, err := backup.Verify(ctx, f, nil)
	if err != nil {
		return m, fmt.Errorf("%s: %w", file, err)
	}
	return m, nil
}

func tellBackup(w io.Writer, file string, m backup.Manifest, missing []string) error {
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%s: %s, verified\n", file, units.BytesSize(float64(info.Size())))
	fmt.Fprintf(w, "as of %s, of %s, schema %d: %s\n", m.TakenAt.Format(time.RFC3339), m.Data, m.Schema, rowsOf(m))
	if len(missing) > 0 {
		fmt.Fprintf(w, "the files of these models are not there and not in it: %s\n", strings.Join(missing, ", "))
	}
	if m.Note != "" {
		fmt.Fprintln(w, m.Note)
	}
	if m.Secrets {
		fmt.Fprintln(w, "pepper.key and owner.key are in it: whoever has this file can do everything; keep it like a password.")
	}
	return nil
}

// rowsOf names what people look for first.
func rowsOf(m backup.Manifest) string {
	var list []string
	for _, name := range []string{"workspaces", "keys", "models", "deployments", "usage", "postings"} {
		at := slices.IndexFunc(m.Tables, func(t backup.Table) bool { return t.Name == name })
		if at >= 0 {
			list = append(list, fmt.Sprintf("%d %s", m.Tables[at].Rows, name))
		}
	}
	return strings.Join(list, ", ")
}

func backupVerifyCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "verify FILE",
		Short:   "Read a backup to its end and compare every byte with its manifest",
		Example: "  berth backup verify /backup/berth-20261123T030000Z.tar.zst",
		Args:    cobra.ExactArgs(1),
		RunE: interruptible(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			m, err := verifyBackup(ctx, args[0])
			if err != nil {
				return err
			}
			if err := store.KnownSchema(m.Schema); err != nil {
				return err
			}
			return tellBackup(cmd.OutOrStdout(), args[0], m, nil)
		}),
	}
}

func backupRestoreCommand() *cobra.Command {
	var address string
	cmd := &cobra.Command{
		Use:   "restore FILE --data NEWDIR",
		Short: "Unpack a backup into a new data directory, and an empty Postgres if named",
		Long: `Unpacks a backup into a data directory that does not exist or is empty, compares every
byte and every row with the manifest, and says which model files are missing. With --store
the database goes to an empty Postgres (15 or newer) instead of a file of the directory, in
one transaction, and is read back and compared, too; it does not matter which of the two the
backup was taken of. Without a password in the URL, PGPASSWORD or ~/.pgpass is used.

A backup of a newer Berth is refused; one of an older is brought up to date. When it fails
nothing is left, in the directory or in Postgres. Then start berth serve on the directory:
deployments that were RUNNING come up.`,
		Example: `  berth backup restore /backup/berth-20261123T030000Z.tar.zst --data /var/lib/berth-restored
  cp /safe/pepper.key /var/lib/berth-restored/ && berth serve --data /var/lib/berth-restored
  berth backup restore FILE --data /var/lib/berth-restored --store postgres://berth@db.example.com/berth_restored`,
		Args: cobra.ExactArgs(1),
		RunE: interruptible(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			data := cmd.Flag("data")
			if !data.Changed {
				return errors.New("say where to restore with --data NEWDIR")
			}
			if address != "" && !isPostgres(address) {
				return errors.New("--store must be the URL of an empty database, such as postgres://user:password@host/database; leave it out for a file in the data directory")
			}
			r, err := restoreBackup(ctx, args[0], data.Value.String(), address)
			if err != nil {
				return err
			}
			r.tell(cmd.OutOrStdout())
			return nil
		}),
	}
	cmd.Flags().StringVar(&address, "store", "", "empty Postgres database for the data, as postgres://user:password@host/database")
	return cmd
}

func (r *restored) tell(w io.Writer) {
	m := r.manifest
	fmt.Fprintf(w, "%s is as it was at %s: %s\n", r.dir, m.TakenAt.Format(time.RFC3339), rowsOf(m))
	for _, model := range m.Models {
		if model.Configured && model.Unpacked != "" {
			fmt.Fprintf(w, "the files of %s are in %s; say so in the configuration (models.%s.path), or put them back to %s\n",
				model.Name, filepath.Join(r.dir, filepath.FromSlash(model.Unpacked)), model.Name, model.Path)
		}
	}
	for _, missing := range r.missing {
		fmt.Fprintf(w, "the files of %s are missing: put them to %s (%s)\n", missing.Name, missing.path, missing.Digest)
	}
	if !m.Secrets {
		fmt.Fprintf(w, "pepper.key is missing: copy it to %s before the start; without it no API key works.\n", filepath.Join(r.dir, pepperFile))
	}
	if r.postgres {
		fmt.Fprintln(w, "the database is in Postgres: name it with the key store of the configuration, or BERTH_STORE.")
	}
	fmt.Fprintf(w, "then: berth serve --data %s\n", r.dir)
}
