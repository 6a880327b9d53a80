-- Deployments can be changed while they serve, and templates can separate prefill and decode.

-- +goose Up

ALTER TABLE deployments ADD COLUMN prefill_capacity INTEGER NOT NULL DEFAULT 0;
ALTER TABLE deployments ADD COLUMN decode_capacity INTEGER NOT NULL DEFAULT 0;
ALTER TABLE deployments ADD COLUMN before TEXT NOT NULL DEFAULT '{}'; -- JSON
