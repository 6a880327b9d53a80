package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berthhq/berth/config"
	"github.com/berthhq/berth/store"
)

// copiedSuffix is added to the name of a file that was copied.
const copiedSuffix = ".copied"

func storeCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "store", Short: "Move the data to another database"}
	cmd.AddCommand(storeCopyCommand())
	return cmd
}

func storeCopyCommand() *cobra.Command {
	var from, to string
	cmd := &cobra.Command{
		Use:   "copy",
		Short: "Copy everything from the SQLite file to an empty Postgres database, or back",
		Long: `Copies all tables of a data directory's SQLite file to an empty Postgres database (15 or
newer), or those of a Postgres database to a new file, in one transaction, and compares rows
and checksums of both before it is done. The server must be stopped. A file that was copied
is renamed to berth.db.copied in the end; a database stays as it is. Without a password in
the URL, PGPASSWORD or ~/.pgpass is used. Afterwards, set the key store of the configuration
to the URL, or take it out.`,
		Example: `  berth store copy --from sqlite:./berth-data/berth.db --to postgres://berth@db.example.com/berth
  berth store copy --from postgres://berth@db.example.com/berth --to sqlite:./berth-data/berth.db`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			logger, flush := newLogger(config.Log{Level: "warn", Format: "text"}, cmd.ErrOrStderr())
			defer flush()
			return copyStore(cmd.Context(), from, to, cmd.OutOrStdout(), logger)
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "the file, as sqlite:PATH, or its folder; or the database, as postgres://user:password@host/database")
	cmd.Flags().StringVar(&to, "to", "", "the empty database, or the file that is to be made")
	for _, name := range []string{"from", "to"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // it was defined right above
		}
	}
	return cmd
}

func isPostgres(address string) bool {
	return strings.HasPrefix(address, "postgres://") || strings.HasPrefix(address, "postgresql://")
}

func copyStore(ctx context.Context, from, to string, out io.Writer, logger *slog.Logger) (err error) {
	if isPostgres(from) {
		return copyToFile(ctx, from, to, out)
	}
	path, ok := strings.CutPrefix(from, "sqlite:")
	if !ok {
		return errors.New("--from must be sqlite: and the name of the file, such as sqlite:./berth-data/berth.db, or the URL of a database")
	}
	if !isPostgres(to) {
		return errors.New("--to must be the URL of a database, such as postgres://user:password@host/database")
	}
	path = fileOf(path)
	if _, err := os.Stat(path); err != nil {
		return err
	}
	dir, err := openDataDir(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	err = copyTables(ctx, store.Config{Path: path, Logger: logger}, store.Config{URL: to, Logger: logger}, out)
	if err != nil {
		return fmt.Errorf("nothing was copied: %w", err)
	}
	// Nobody takes it for the present data any more, as a start without the key or a backup would.
	if err := os.Rename(path, path+copiedSuffix); err != nil {
		return err
	}
	fmt.Fprintf(out, "Both have the same. Set the key store of the configuration (or BERTH_STORE) to the URL, and start the server with the\n"+
		"same data directory: its keys, models and journal stay there. The file is %s now, and not used any more.\n", path+copiedSuffix)
	return nil
}

// fileOf returns the database file of a folder, or the file itself.
func fileOf(path string) string {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return filepath.Join(path, databaseFile)
	}
	return path
}

// copyTables copies and tells of each table.
func copyTables(ctx context.Context, from, to store.Config, out io.Writer) error {
	const line = "%-24s %12v  %.16s\n"
	fmt.Fprintf(out, line, "TABLE", "ROWS", "CHECKSUM")
	return store.Copy(ctx, from, to, func(t store.CopiedTable) {
		fmt.Fprintf(out, line, t.Name, t.Rows, t.Checksum)
	}, nil)
}

// copyToFile copies a Postgres database to a file of the data directory whose server has it.
func copyToFile(ctx context.Context, from, to string, out io.Writer) (err error) {
	path, ok := strings.CutPrefix(to, "sqlite:")
	if !ok {
		return errors.New("--to must be sqlite: and the name of the file to make in the server's data directory, such as sqlite:./berth-data/berth.db")
	}
	path = fileOf(path)
	dir, err := openDataDir(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	if err := copyTables(ctx, store.Config{URL: from}, store.Config{Path: path}, out); err != nil {
		return fmt.Errorf("nothing was copied: %w", err)
	}
	fmt.Fprintf(out, "Both have the same. Take the key store out of the configuration (and BERTH_STORE), and start the server with the data\n"+
		"directory that it had, in which %s must be. The database stays as it is, and is not used any more.\n", filepath.Base(path))
	return nil
}
