-- What the configuration adds to the command line of a model's engine.

-- +goose Up

ALTER TABLE models ADD COLUMN args TEXT NOT NULL DEFAULT '[]';
