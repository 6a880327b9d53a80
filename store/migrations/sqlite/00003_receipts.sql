-- +goose Up

-- What a create made, so that a repeat of it makes nothing. Ended ones are removed by the
-- next write of one.
CREATE TABLE receipts (
    workspace_id  TEXT NOT NULL REFERENCES workspaces (id) DEFERRABLE INITIALLY DEFERRED,
    name          TEXT NOT NULL,
    body          BLOB NOT NULL, -- SHA-256
    deployment_id TEXT NOT NULL REFERENCES deployments (id) DEFERRABLE INITIALLY DEFERRED,
    expires_at    INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, name)
) STRICT, WITHOUT ROWID;

CREATE INDEX receipts_by_end ON receipts (expires_at);
