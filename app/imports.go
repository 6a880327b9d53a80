package app

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/config"
	"github.com/berthhq/berth/imports"
)

// importsKept bounds the import jobs of a workspace, ended ones too.
const importsKept = 1000

// arrivingDir is where import jobs collect their files, beside uploadsDir.
const arrivingDir = "arriving"

func (a *App) modelFiles() imports.Files {
	var files imports.Files
	for _, r := range a.opt.Config.Imports.Ranks {
		files.Ranks = append(files.Ranks, int64(r))
	}
	return files
}

// newImports makes the service of import jobs and the worker that does them.
func (a *App) newImports(writer berth.Writer, models *berth.Models) (*berth.Imports, *imports.Worker, error) {
	c := a.opt.Config.Imports
	stores := map[string]imports.Store{}
	for _, s := range c.Stores {
		opened, err := importStore(s, a.storeHTTP)
		if err != nil {
			return nil, nil, fmt.Errorf("imports.stores.%s: %w", s.Name, err)
		}
		stores[s.Name] = opened
	}
	service := &berth.Imports{
		Writer: writer, Models: models, Bounds: berth.ImportBounds{Queued: int64(c.Queued), Kept: importsKept},
		Allows:    func(store, workspaceID string) bool { return mayImport(c.Stores, store, workspaceID) },
		NewSuffix: newNameSuffix, Zone: a.zone(),
	}
	worker := imports.NewWorker(imports.WorkerOptions{
		Jobs: service, Stores: stores, Shelf: a.newShelf().Shelf, Dir: filepath.Join(a.dir.path, modelsDir, arrivingDir),
		Parallel: c.Parallel, MaxBytes: c.MaxBytes, Logger: a.opt.Logger,
	})
	service.Wake, service.Stop, service.Progress = worker.Wake, worker.Stop, worker.Progress
	return service, worker, nil
}

func mayImport(stores []config.ImportStore, name, workspaceID string) bool {
	i := slices.IndexFunc(stores, func(s config.ImportStore) bool { return s.Name == name })
	return i >= 0 && (stores[i].Workspaces == nil || slices.Contains(stores[i].Workspaces, workspaceID))
}

func importStore(s config.ImportStore, transport http.RoundTripper) (imports.Store, error) {
	place, remote := strings.CutPrefix(s.Path, "s3://")
	if !remote {
		return imports.NewLocalStore(s.Path), nil
	}
	bucket, root, _ := strings.Cut(place, "/")
	return imports.NewS3Store(imports.S3Config{
		Bucket: bucket, Root: root, Endpoint: s.Endpoint, Region: s.Region,
		AccessKey: s.AccessKey, SecretKey: s.SecretKey, CredentialsFile: s.CredentialsFile,
		HTTP: transport,
	})
}

// newStoreTransport reaches object stores: proxies of the environment count, nothing
// link-local can be reached, and nothing is unpacked on the way.
func newStoreTransport() *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, Control: berth.RefuseLinkLocal}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: time.Minute,
		IdleConnTimeout:       time.Minute,
		MaxIdleConnsPerHost:   16,
		DisableCompression:    true,
	}
}

// sweepShelf removes files of models that never came into the catalogue, or left it.
func (a *App) sweepShelf(ctx context.Context) error {
	var models []berth.Model
	err := a.store.View(ctx, func(tx berth.Tx) (err error) {
		models, err = tx.Models().List(ctx)
		return err
	})
	if err != nil {
		return err
	}
	return a.newShelf().Sweep(models)
}
