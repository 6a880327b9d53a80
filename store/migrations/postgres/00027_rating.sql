-- How far runs have become lines, and lines postings.

-- +goose Up

ALTER TABLE runs ADD COLUMN rated_to BIGINT NOT NULL DEFAULT 0;
ALTER TABLE lines ADD COLUMN posted BIGINT NOT NULL DEFAULT 0;
ALTER TABLE lines ADD COLUMN postings BIGINT NOT NULL DEFAULT 0;
ALTER TABLE lines ADD COLUMN posted_at BIGINT NOT NULL DEFAULT 0;

CREATE INDEX lines_growing ON lines (account_id, currency, posted_at) WHERE amount <> posted;
CREATE INDEX postings_by_time ON postings (account_id, at);
