package api

import (
	"context"
	"fmt"
	"io"
	"net/http"
)

// CreateBackup says what is in a backup besides the database and the journal. The pepper
// and the owner's key never are: they do not leave the server.
type CreateBackup struct {
	WithModels bool `json:"with_models,omitempty"` // the models' files themselves
}

// CreateBackup takes a backup of the server and writes it, a tar in zstd, to w. It takes
// an owner's key. What was written before an error is no backup; `berth backup verify` tells.
func (c *Client) CreateBackup(ctx context.Context, b CreateBackup, w io.Writer) error {
	response, err := c.send(ctx, request{method: http.MethodPost, path: "/berth/v1/backup", body: b})
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(w, response.Body); err != nil {
		return fmt.Errorf("the backup broke off: %w", err)
	}
	return nil
}
