-- Sums of days once more, without what only rating and few who ask tell apart: keys, prompt
-- lengths, changes of prices and the ids of deployments.

-- +goose Up

CREATE TABLE usage_model_days (
    space             BIGINT NOT NULL REFERENCES usage_spaces (id) DEFERRABLE INITIALLY DEFERRED,
    day               TEXT COLLATE "C" NOT NULL,
    deployed_model    TEXT COLLATE "C" NOT NULL,
    model_name        TEXT COLLATE "C" NOT NULL,
    plan              TEXT COLLATE "C" NOT NULL,
    class             TEXT COLLATE "C" NOT NULL,
    calls             BIGINT NOT NULL,
    input_tokens      BIGINT NOT NULL,
    cached_tokens     BIGINT NOT NULL,
    output_tokens     BIGINT NOT NULL,
    thinking_tokens   BIGINT NOT NULL,
    billable_calls    BIGINT NOT NULL,
    billable_input    BIGINT NOT NULL,
    billable_cached   BIGINT NOT NULL,
    billable_output   BIGINT NOT NULL,
    billable_thinking BIGINT NOT NULL,
    unknown_calls     BIGINT NOT NULL,
    counted_calls     BIGINT NOT NULL,
    PRIMARY KEY (space, day, deployed_model, model_name, plan, class)
);

INSERT INTO usage_model_days (space, day, deployed_model, model_name, plan, class,
    calls, input_tokens, cached_tokens, output_tokens, thinking_tokens,
    billable_calls, billable_input, billable_cached, billable_output, billable_thinking,
    unknown_calls, counted_calls)
SELECT s.space, d.day, s.deployed_model, s.model_name, s.plan, s.class,
    CAST(SUM(d.calls) AS BIGINT),
    CAST(SUM(d.input_tokens) AS BIGINT),
    CAST(SUM(d.cached_tokens) AS BIGINT),
    CAST(SUM(d.output_tokens) AS BIGINT),
    CAST(SUM(d.thinking_tokens) AS BIGINT),
    CAST(SUM(d.billable_calls) AS BIGINT),
    CAST(SUM(d.billable_input) AS BIGINT),
    CAST(SUM(d.billable_cached) AS BIGINT),
    CAST(SUM(d.billable_output) AS BIGINT),
    CAST(SUM(d.billable_thinking) AS BIGINT),
    CAST(SUM(d.unknown_calls) AS BIGINT),
    CAST(SUM(d.counted_calls) AS BIGINT)
FROM usage_days d JOIN usage_subjects s ON s.id = d.subject
GROUP BY s.space, d.day, s.deployed_model, s.model_name, s.plan, s.class;
