package billing

import (
	"context"

	berth "github.com/berthhq/berth"
)

// Recounted is [Desk.Rerate] with all tokens from records.
func (d *Desk) Recounted(ctx context.Context, accountID, workspaceID, month string, prices []berth.Price) ([]berth.Line, error) {
	return d.rerate(ctx, accountID, workspaceID, month, prices, true)
}
