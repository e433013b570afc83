-- Where each run is now: v_journeys counts what began to wait on a day, which never falls.

CREATE VIEW IF NOT EXISTS {{database}}.v_journey_runs {{on_cluster}}
(
    run_id String COMMENT 'The run',
    journey LowCardinality(String) COMMENT 'The journey',
    version LowCardinality(String) COMMENT 'The version that the run entered with',
    profile_id UUID COMMENT 'The person as known now',
    key String COMMENT 'What the run is about, such as a cart; empty: the person',
    entered_at DateTime64(3, 'UTC') COMMENT 'When it began',
    step LowCardinality(String) COMMENT 'The step at which it is, or was last',
    since DateTime64(3, 'UTC') COMMENT 'Since when it is at that step',
    held UInt8 COMMENT '1: a pause of the journey holds it there, or held it there last',
    ended_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When it ended; NULL: it is under way',
    reason String COMMENT 'Why it ended; empty: it is under way'
)
AS WITH e.kind IN ('exited', 'collapsed') AS ends, (e.at, e.kind IN ('waiting', 'held'), length(e.step), e.step) AS place
SELECT
    e.run_id AS run_id,
    any(e.journey) AS journey,
    any(e.version) AS version,
    any(e.profile_id) AS profile_id,
    any(e.key) AS key,
    min(e.at) AS entered_at,
    argMaxIf(e.step, place, NOT ends) AS step,
    maxIf(e.at, NOT ends) AS since,
    argMaxIf(e.kind = 'held', place, NOT ends) AS held,
    minIf(toNullable(e.at), ends) AS ended_at,
    if(countIf(e.kind = 'collapsed') > 0, 'collapsed', anyIf(JSONExtractString(e.detail, 'reason'), e.kind = 'exited')) AS reason
FROM {{database}}.v_journey_events AS e
WHERE e.kind IN ('journey_entered', 'waiting', 'step', 'held', 'trait_updated', 'exited', 'collapsed')
GROUP BY e.run_id
HAVING countIf(e.kind = 'journey_entered') > 0
COMMENT 'Each run of a journey and where it is, one row for each run.';
