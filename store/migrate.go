package store

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"time"

	"github.com/pressly/goose/v3"

	berth "github.com/berthhq/berth"
)

// A second process that opens the same new file at the same time can make an attempt
// fail; what it did is there at the next.
const (
	migrateAttempts = 10
	migratePause    = 50 * time.Millisecond
)

// versionTable says which migrations were applied.
const versionTable = "schema_version"

// migrate applies the migrations that the database has not seen.
func (s *Store) migrate(ctx context.Context, log *slog.Logger) error {
	for attempt := 1; ; attempt++ {
		err := s.tryMigrate(ctx, log)
		if err == nil || attempt == migrateAttempts || !s.dialect.contended(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(migratePause):
		}
	}
}

func (s *Store) tryMigrate(ctx context.Context, log *slog.Logger) error {
	return s.dialect.schema(ctx, func(db *sql.DB) error { return s.dialect.migrate(ctx, log, db) })
}

func (d *dialect) migrate(ctx context.Context, log *slog.Logger, db *sql.DB) error {
	provider, err := d.provider(db)
	if err != nil {
		return err
	}
	have, know, err := versions(ctx, provider)
	if err != nil {
		return err
	}
	if have > 0 && have < know {
		if err := d.keep(ctx, log, db, have, know); err != nil {
			return err
		}
	}
	results, err := provider.Up(ctx)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	for _, r := range results {
		log.InfoContext(ctx, "schema migrated", "version", r.Source.Version, "took", r.Duration)
	}
	return nil
}

func (d *dialect) provider(db *sql.DB) (*goose.Provider, error) {
	provider, err := goose.NewProvider(d.goose, db, d.migrations,
		goose.WithTableName(versionTable), goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	return provider, nil
}

// versions returns the schema's version and the newest that this Berth knows. An older
// Berth must not write into what it does not understand.
func versions(ctx context.Context, provider *goose.Provider) (have, know int64, err error) {
	have, know, err = provider.GetVersions(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("read schema version: %w", err)
	}
	if have > know {
		return 0, 0, newerSchema(have, know)
	}
	return have, know, nil
}

func newerSchema(have, know int64) error {
	return berth.Errorf(berth.CodeUnsupported,
		"The data was written by a newer Berth (schema %d, this one knows up to %d); start that version or a later one.", have, know)
}
