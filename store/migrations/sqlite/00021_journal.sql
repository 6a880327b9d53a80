-- How far the journal of each instance has become records, kept in their transaction, and
-- which run of an engine a record is of.

-- +goose Up

CREATE TABLE usage_folds (
    instance TEXT PRIMARY KEY,
    position INTEGER NOT NULL,
    life     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

ALTER TABLE usage ADD COLUMN nonce TEXT NOT NULL DEFAULT '';
