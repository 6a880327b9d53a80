-- +goose Up

-- Jobs that bring models from object stores. The base and the model to be are no foreign
-- keys: a job tells what happened, also when they are gone.
CREATE TABLE imports (
    id           TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) DEFERRABLE INITIALLY DEFERRED,
    base_model   TEXT NOT NULL,
    model_name   TEXT NOT NULL UNIQUE,
    display_name TEXT NOT NULL,
    weights      TEXT NOT NULL,
    store        TEXT NOT NULL,
    prefix       TEXT NOT NULL,
    status       TEXT NOT NULL,
    reason       TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    started_at   INTEGER NOT NULL,
    ended_at     INTEGER NOT NULL
) STRICT;

CREATE INDEX imports_newest_of_workspace ON imports (workspace_id, created_at DESC, id);
CREATE INDEX imports_unfinished ON imports (status) WHERE status IN ('PENDING', 'RUNNING');
