-- How tokens of a model's ptu deployments count against what they reserved.

-- +goose Up

ALTER TABLE models ADD COLUMN ptu TEXT NOT NULL DEFAULT '{}';
