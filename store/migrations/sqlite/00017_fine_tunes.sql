-- +goose Up

-- Records of jobs that tuned a model elsewhere. They outlive the model that came of them.
CREATE TABLE fine_tunes (
    id                  TEXT PRIMARY KEY,
    workspace_id        TEXT NOT NULL REFERENCES workspaces (id) DEFERRABLE INITIALLY DEFERRED,
    name                TEXT NOT NULL,
    model               TEXT NOT NULL,
    output              TEXT NOT NULL,
    training_type       TEXT NOT NULL,
    training_file_ids   TEXT NOT NULL, -- JSON
    validation_file_ids TEXT NOT NULL, -- JSON
    hyper_parameters    BLOB NOT NULL, -- a JSON object, as it was given
    usage_tokens        INTEGER NOT NULL,
    creator             TEXT NOT NULL,
    created_at          INTEGER NOT NULL
) STRICT;

CREATE INDEX fine_tunes_newest_of_workspace ON fine_tunes (workspace_id, created_at DESC, id DESC);
