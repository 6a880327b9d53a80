-- Pools with thousands of members: their sums and their deployments without reading tables.

-- +goose Up

CREATE INDEX members_sums ON members (pool_id, plan, adapter_digest, adapter_path, load_ppm);
CREATE INDEX deployments_of_pool ON deployments (pool_id, id) WHERE deleted_at = 0 AND pool_id <> '';
