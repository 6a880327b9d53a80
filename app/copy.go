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
		Short: "Copy everything from the SQLite file to an empty Postgres database",
		Long: `Copies all tables of a data directory's SQLite file to an empty Postgres database (15 or
newer), in one transaction, and compares rows and checksums of both before it is done. The
server must be stopped; the file is renamed to berth.db.copied in the end. Without a password in the URL, PGPASSWORD
or ~/.pgpass is used. Afterwards, set the key store of the configuration to the URL.`,
		Example: "  berth store copy --from sqlite:./berth-data/berth.db --to postgres://berth@db.example.com/berth",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			logger, flush := newLogger(config.Log{Level: "warn", Format: "text"}, cmd.ErrOrStderr())
			defer flush()
			return copyStore(cmd.Context(), from, to, cmd.OutOrStdout(), logger)
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "the file, as sqlite:PATH; or its folder")
	cmd.Flags().StringVar(&to, "to", "", "the database, as postgres://user:password@host/database")
	for _, name := range []string{"from", "to"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // it was defined right above
		}
	}
	return cmd
}

func copyStore(ctx context.Context, from, to string, out io.Writer, logger *slog.Logger) (err error) {
	path, ok := strings.CutPrefix(from, "sqlite:")
	if !ok {
		return errors.New("--from must be sqlite: and the name of the file, such as sqlite:./berth-data/berth.db")
	}
	if !strings.HasPrefix(to, "postgres://") && !strings.HasPrefix(to, "postgresql://") {
		return errors.New("--to must be the URL of a database, such as postgres://user:password@host/database")
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Join(path, databaseFile)
	}
	if _, err := os.Stat(path); err != nil {
		return err
	}
	dir, err := openDataDir(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	const line = "%-24s %12v  %.16s\n"
	fmt.Fprintf(out, line, "TABLE", "ROWS", "CHECKSUM")
	err = store.Copy(ctx, store.Config{Path: path, Logger: logger}, store.Config{URL: to, Logger: logger}, func(t store.CopiedTable) {
		fmt.Fprintf(out, line, t.Name, t.Rows, t.Checksum)
	})
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
