package app

import (
	"context"
	"path/filepath"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/imports"
)

// Folders of the data directory for files that are not elsewhere on the server; side by
// side, so that a file can be moved from one to the other.
const (
	modelsDir  = "models"
	uploadsDir = "uploads"  // on their way
	shelfDir   = "imported" // of models
)

// spareBytes of the disk are never given to uploads: store and journal need some.
const spareBytes = 1 << 30

func (a *App) newUploads(writer berth.Writer) *berth.Uploads {
	bounds := a.opt.Config.Imports
	return &berth.Uploads{
		Writer: writer, Inbox: &imports.Inbox{Dir: filepath.Join(a.dir.path, modelsDir, uploadsDir)},
		Bounds: berth.UploadBounds{Bytes: bounds.MaxBytes, Open: bounds.Uploads, Expiry: bounds.UploadExpiry, SpareBytes: spareBytes},
	}
}

// shelf is imports.Shelf in the words of the domain.
type shelf struct{ imports.Shelf }

var _ berth.Shelf = shelf{}

func (a *App) newShelf() shelf {
	return shelf{imports.Shelf{Files: a.modelFiles(), Dir: filepath.Join(a.dir.path, modelsDir, shelfDir)}}
}

// Put implements berth.Shelf.
func (s shelf) Put(ctx context.Context, arrived berth.Arrival) (berth.ModelFile, error) {
	return s.Shelf.Put(ctx, imports.Arrival(arrived))
}

// uploadSweepPause is how often abandoned uploads are looked for.
const uploadSweepPause = 10 * time.Minute

// sweepUploads removes abandoned uploads until ctx ends.
func (a *App) sweepUploads(ctx context.Context) {
	every(ctx, uploadSweepPause, func() {
		if removed, err := a.services.uploads.Sweep(ctx); err != nil && ctx.Err() == nil {
			a.opt.Logger.Error("abandoned uploads not removed; trying again later", "error", err)
		} else if removed > 0 {
			a.opt.Logger.Info("abandoned uploads removed", "uploads", removed)
		}
	})
}
