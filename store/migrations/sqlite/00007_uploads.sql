-- +goose Up

-- What scratch runs have shown of the adapters of a pool.
CREATE TABLE proofs (
    pool_id  TEXT NOT NULL REFERENCES pools (id) ON DELETE CASCADE,
    adapter  TEXT NOT NULL, -- a digest, or 'weights'
    proved   INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    PRIMARY KEY (pool_id, adapter)
) STRICT, WITHOUT ROWID;

-- What the present start of a replica is to prove; '' = it takes calls.
ALTER TABLE replicas ADD COLUMN proving TEXT NOT NULL DEFAULT '';

-- Files on their way to the server, until a model is made of them.
CREATE TABLE uploads (
    id           TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) DEFERRABLE INITIALLY DEFERRED,
    files        TEXT NOT NULL, -- JSON
    created_at   INTEGER NOT NULL,
    touched_at   INTEGER NOT NULL
) STRICT;

CREATE INDEX uploads_by_workspace ON uploads (workspace_id, created_at, id);
