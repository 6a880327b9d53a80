-- The audit log is read the newest first, all of it or what was done in a workspace, with a
-- key, of a kind or to one thing.

-- +goose Up

CREATE INDEX audits_by_time ON audits (at, id);
CREATE INDEX audits_by_workspace ON audits (workspace_id, at, id);
CREATE INDEX audits_by_key ON audits (key_id, at, id);
CREATE INDEX audits_by_action ON audits (action, at, id);
CREATE INDEX audits_by_target ON audits (target, at, id);
