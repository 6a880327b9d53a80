package engine

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// fileSHA256 is the hash of a file's content in hex.
func fileSHA256(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// unzip unpacks a whole archive into dir, which it makes. The archive is trusted in
// size, because its hash was checked, but not with paths outside dir.
func unzip(ctx context.Context, archive, dir string) error {
	reader, err := zip.OpenReader(archive)
	if err != nil {
		return err
	}
	defer func() { _ = reader.Close() }()
	for _, entry := range reader.File {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if strings.HasSuffix(entry.Name, "/") {
			continue
		}
		if err := unzipFile(entry, dir); err != nil {
			return err
		}
	}
	return nil
}

func unzipFile(entry *zip.File, dir string) error {
	if !filepath.IsLocal(entry.Name) {
		return fmt.Errorf("the archive has a file outside itself: %q", entry.Name)
	}
	path := filepath.Join(dir, filepath.FromSlash(entry.Name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	content, err := entry.Open()
	if err != nil {
		return err
	}
	defer func() { _ = content.Close() }()
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644|entry.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(file, content)
	// Synced, because the rename that follows says that all of it is there.
	return errors.Join(err, file.Sync(), file.Close())
}
