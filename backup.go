package berth

import (
	"context"
	"io"
	"sync/atomic"
	"time"
)

// Backup is a copy of everything durable as it was at one moment, on its way to whoever
// asked for it. It is closed in any case.
type Backup interface {
	TakenAt() time.Time
	// WriteTo writes the archive, once. It ends early with ctx.
	WriteTo(ctx context.Context, w io.Writer) error
	Close() error
}

// BackupOptions say what is in a backup besides the database and the journal. Secrets
// never leave a server over the network.
type BackupOptions struct {
	Models bool // the models' files themselves
}

// Backups takes copies of a running server.
type Backups struct {
	Writer Writer
	// Take makes the copy; [CodeUnavailable] when there is no room for it.
	Take func(ctx context.Context, o BackupOptions) (Backup, error)

	busy atomic.Bool
}

// Create takes a backup. Needs [RoleOwner]; one at a time, [CodeConflict] while there is
// another.
func (s *Backups) Create(ctx context.Context, o BackupOptions) (Backup, error) {
	if !CallerFrom(ctx).May(RoleOwner) {
		return nil, accessDenied()
	}
	if !s.busy.CompareAndSwap(false, true) {
		return nil, Errorf(CodeConflict, "A backup is being taken already; try again when it is done.")
	}
	err := s.Writer.write(ctx, "backup.create", func(Tx) (string, error) { return "", nil })
	if err != nil {
		s.busy.Store(false)
		return nil, err
	}
	b, err := s.Take(ctx, o)
	if err != nil {
		s.busy.Store(false)
		return nil, err
	}
	return &oneBackup{Backup: b, done: func() { s.busy.Store(false) }}, nil
}

// oneBackup makes room for the next when it is closed.
type oneBackup struct {
	Backup
	done func()
}

func (b *oneBackup) Close() error {
	defer b.done()
	return b.Backup.Close()
}
