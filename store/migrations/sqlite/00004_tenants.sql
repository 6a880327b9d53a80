-- Workspaces get a quota, a list of the models they may deploy and an end; keys may be
-- temporary tokens of others. 0 in a quota: no bound. Accelerators of nodes get a vendor,
-- a name and memory; each start writes them anew.

-- +goose Up

ALTER TABLE workspaces ADD COLUMN models TEXT NOT NULL DEFAULT 'null'; -- JSON; null: any
ALTER TABLE workspaces ADD COLUMN threads_max INTEGER NOT NULL DEFAULT 0;
ALTER TABLE workspaces ADD COLUMN memory_bytes_max INTEGER NOT NULL DEFAULT 0;
ALTER TABLE workspaces ADD COLUMN accelerators_max INTEGER NOT NULL DEFAULT 0;
ALTER TABLE workspaces ADD COLUMN deployments_max INTEGER NOT NULL DEFAULT 0;
ALTER TABLE workspaces ADD COLUMN deleted_at INTEGER NOT NULL DEFAULT 0;

ALTER TABLE keys ADD COLUMN parent_id TEXT REFERENCES keys (id) DEFERRABLE INITIALLY DEFERRED;

CREATE INDEX keys_of_parent ON keys (parent_id, expires_at) WHERE parent_id IS NOT NULL;
CREATE INDEX holds_of_deployment ON holds (deployment_id);

UPDATE nodes SET gpus = '[]';
