-- What retention deleted before the push URL took it (docs/push.md): lost counts it while a
-- push is active; records says whether the URL is to be told of usage records at all.

-- +goose Up

ALTER TABLE pushes ADD COLUMN records BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE pushes ADD COLUMN lost BIGINT NOT NULL DEFAULT 0;
