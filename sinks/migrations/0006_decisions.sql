-- Why each message was or was not sent, what journeys did with people, and who was in which segment.
--
-- These rows have no anchor: they are about a person as known then. Who that is now is worked out when it is read, as
-- for touchpoints: see profile_aliases.

CREATE TABLE IF NOT EXISTS {{database}}.decisions {{on_cluster}}
(
    decision_id UUID COMMENT 'Hash of journey, version, run, step and attempt, so a replay writes the same row',
    decided_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'When it was decided, by the time of the event or timer that asked',
    profile_id UUID COMMENT 'The person as known then; v_decisions has the person as known now',
    journey LowCardinality(String) COMMENT 'The journey that wanted to send',
    journey_version LowCardinality(String) COMMENT 'The version that the run entered with',
    run_id String COMMENT 'The person''s run through the journey',
    step LowCardinality(String) COMMENT 'The message''s node in the journey',
    message LowCardinality(String) COMMENT 'The template',
    channel LowCardinality(String) COMMENT 'The channel that was chosen; empty: none was',
    purpose LowCardinality(String) COMMENT 'What consent was asked for, such as marketing',
    tags Array(LowCardinality(String)) COMMENT 'The message''s tags, which frequency caps count by',
    campaign LowCardinality(String) COMMENT 'Campaign name',
    outcome LowCardinality(String) COMMENT 'sent, postponed, suppressed or ghost (would have been sent, but the person is held out); later failed (not delivered) or regretted (sent, then a late event said otherwise)',
    gate LowCardinality(String) COMMENT 'The gate that decided; empty: all were passed',
    reason String COMMENT 'Why, in a sentence',
    until Nullable(DateTime64(3, 'UTC')) COMMENT 'Of a postponed message: when it is decided again',
    idempotency_key String COMMENT 'Names the message: it is delivered at most once, and is message_id in its receipts',
    variant LowCardinality(String) COMMENT 'The branch of a random split that led here; empty: none',
    holdout LowCardinality(String) COMMENT 'journey or global: which holdout the person is in; empty: none',
    propensity Nullable(Float64) COMMENT 'How likely this channel was to be chosen, where it was drawn',
    gates String CODEC(ZSTD(3)) COMMENT 'Every gate with its result and its input, JSON',
    event_id String COMMENT 'The evidence: the event that led here; empty: a timer',
    stored_at DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(Delta, ZSTD(1)) COMMENT 'When this row was written',
    INDEX by_profile profile_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_key idempotency_key TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = {{replicated}}ReplacingMergeTree(stored_at)
PARTITION BY toYYYYMM(decided_at)
ORDER BY (journey, decision_id)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'The ledger: every message considered, one row for each decision. Read v_decisions.';

CREATE TABLE IF NOT EXISTS {{database}}.journey_events {{on_cluster}}
(
    id UUID COMMENT 'Hash of what happened, so a replay writes the same row',
    kind LowCardinality(String) COMMENT 'journey_entered, step, waiting, goal, exited, collapsed (a merge left two runs of one key), trait_updated, …',
    at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'When it happened',
    profile_id UUID COMMENT 'The person as known then; see profile_aliases',
    journey LowCardinality(String) COMMENT 'The journey',
    version LowCardinality(String) COMMENT 'The version that the run entered with',
    run_id String COMMENT 'The person''s run through the journey',
    key String COMMENT 'What the run is about, such as a cart; empty: the person',
    step LowCardinality(String) COMMENT 'The node; empty: the journey as a whole',
    detail String CODEC(ZSTD(3)) COMMENT 'More, by kind, JSON',
    event_id String COMMENT 'The evidence: the event that led here; empty: a timer',
    stored_at DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(Delta, ZSTD(1)) COMMENT 'When this row was written',
    INDEX by_profile profile_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = {{replicated}}ReplacingMergeTree(stored_at)
PARTITION BY toYYYYMM(at)
ORDER BY (journey, id)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'What journeys did with people, one row for each event of a run. Read with FINAL.';

CREATE TABLE IF NOT EXISTS {{database}}.segment_changes {{on_cluster}}
(
    change_id UUID COMMENT 'Hash of what changed, so a replay writes the same row',
    segment LowCardinality(String) COMMENT 'The segment',
    changed_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'When the person entered or left, to the millisecond at which time alone changed the answer',
    profile_id UUID COMMENT 'The person as known then; see profile_aliases',
    entered UInt8 COMMENT '1: entered, 0: left',
    definition_version LowCardinality(String) COMMENT 'The version of the segment''s definition',
    event_id String COMMENT 'The evidence: the event that led here; empty: time alone',
    stored_at DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(Delta, ZSTD(1)) COMMENT 'When this row was written',
    INDEX by_profile profile_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = {{replicated}}ReplacingMergeTree(stored_at)
PARTITION BY toYYYYMM(changed_at)
ORDER BY (segment, change_id)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Who entered or left which segment, one row for each change. Read with FINAL.';

-- A merge names the identifiers that the ended profile had, and every later merge or split of one of them is in
-- identity_overrides: so who has them now tells, without a chain to follow, what became of the profile. If a split
-- has parted them, the profile stays with whoever has most of them, and among equals with the latest move.
CREATE VIEW IF NOT EXISTS {{database}}.profile_aliases {{on_cluster}}
(
    profile_id UUID COMMENT 'A profile that was merged into another',
    profile_id_now UUID COMMENT 'Whose history it is now'
)
AS SELECT
    ended AS profile_id,
    argMax(owner, (identifiers, moved)) AS profile_id_now
FROM
(
    SELECT m.ended AS ended, o.profile_id AS owner, count() AS identifiers, max(o.version) AS moved
    FROM
    (
        SELECT from_profile_id AS ended, arrayJoin(argMax(anchors, version)).1 AS anchor
        FROM {{database}}.identity_log FINAL
        WHERE kind = 'merge'
        GROUP BY from_profile_id
    ) AS m
    INNER JOIN (SELECT * FROM {{database}}.identity_overrides FINAL) AS o ON o.anchor = m.anchor
    GROUP BY ended, owner
)
GROUP BY ended
COMMENT 'Who a profile is now, one row for each that was ever merged into another; a profile that is not here is itself.';

CREATE VIEW IF NOT EXISTS {{database}}.v_decisions {{on_cluster}}
(
    decision_id UUID COMMENT 'The decision',
    decided_at DateTime64(3, 'UTC') COMMENT 'When it was decided',
    profile_id UUID COMMENT 'The person as known now',
    journey LowCardinality(String) COMMENT 'The journey that wanted to send',
    journey_version LowCardinality(String) COMMENT 'The version that the run entered with',
    run_id String COMMENT 'The person''s run through the journey',
    step LowCardinality(String) COMMENT 'The message''s node in the journey',
    message LowCardinality(String) COMMENT 'The template',
    channel LowCardinality(String) COMMENT 'The channel that was chosen; empty: none was',
    purpose LowCardinality(String) COMMENT 'What consent was asked for',
    tags Array(LowCardinality(String)) COMMENT 'The message''s tags',
    campaign LowCardinality(String) COMMENT 'Campaign name',
    outcome LowCardinality(String) COMMENT 'sent, postponed, suppressed, ghost, failed or regretted',
    gate LowCardinality(String) COMMENT 'The gate that decided; empty: all were passed',
    reason String COMMENT 'Why, in a sentence',
    until Nullable(DateTime64(3, 'UTC')) COMMENT 'Of a postponed message: when it is decided again',
    idempotency_key String COMMENT 'Names the message; messages.message_id once it was sent',
    variant LowCardinality(String) COMMENT 'The branch of a random split that led here',
    holdout LowCardinality(String) COMMENT 'journey or global: which holdout the person is in',
    propensity Nullable(Float64) COMMENT 'How likely this channel was to be chosen, where it was drawn',
    gates String COMMENT 'Every gate with its result and its input, JSON',
    event_id String COMMENT 'The event that led here; empty: a timer',
    profile_id_then UUID COMMENT 'The person as known then'
)
AS SELECT
    d.decision_id AS decision_id,
    d.decided_at AS decided_at,
    if(a.profile_id = d.profile_id, a.profile_id_now, d.profile_id) AS profile_id,
    d.journey AS journey,
    d.journey_version AS journey_version,
    d.run_id AS run_id,
    d.step AS step,
    d.message AS message,
    d.channel AS channel,
    d.purpose AS purpose,
    d.tags AS tags,
    d.campaign AS campaign,
    d.outcome AS outcome,
    d.gate AS gate,
    d.reason AS reason,
    d.until AS until,
    d.idempotency_key AS idempotency_key,
    d.variant AS variant,
    d.holdout AS holdout,
    d.propensity AS propensity,
    d.gates AS gates,
    d.event_id AS event_id,
    d.profile_id AS profile_id_then
FROM {{database}}.decisions AS d FINAL
LEFT JOIN {{database}}.profile_aliases AS a ON a.profile_id = d.profile_id
COMMENT 'Why each message was or was not sent, one row for each decision.';

CREATE VIEW IF NOT EXISTS {{database}}.v_journey_events {{on_cluster}}
(
    id UUID COMMENT 'The event',
    kind LowCardinality(String) COMMENT 'journey_entered, step, waiting, goal, exited, collapsed, …',
    at DateTime64(3, 'UTC') COMMENT 'When it happened',
    profile_id UUID COMMENT 'The person as known now',
    journey LowCardinality(String) COMMENT 'The journey',
    version LowCardinality(String) COMMENT 'The version that the run entered with',
    run_id String COMMENT 'The person''s run through the journey',
    key String COMMENT 'What the run is about, such as a cart; empty: the person',
    step LowCardinality(String) COMMENT 'The node; empty: the journey as a whole',
    detail String COMMENT 'More, by kind, JSON',
    event_id String COMMENT 'The event that led here; empty: a timer',
    profile_id_then UUID COMMENT 'The person as known then'
)
AS SELECT
    e.id AS id,
    e.kind AS kind,
    e.at AS at,
    if(a.profile_id = e.profile_id, a.profile_id_now, e.profile_id) AS profile_id,
    e.journey AS journey,
    e.version AS version,
    e.run_id AS run_id,
    e.key AS key,
    e.step AS step,
    e.detail AS detail,
    e.event_id AS event_id,
    e.profile_id AS profile_id_then
FROM {{database}}.journey_events AS e FINAL
LEFT JOIN {{database}}.profile_aliases AS a ON a.profile_id = e.profile_id
COMMENT 'What journeys did with people as known now, one row for each event of a run.';

CREATE VIEW IF NOT EXISTS {{database}}.v_segment_changes {{on_cluster}}
(
    change_id UUID COMMENT 'The change',
    segment LowCardinality(String) COMMENT 'The segment',
    changed_at DateTime64(3, 'UTC') COMMENT 'When the person entered or left',
    profile_id UUID COMMENT 'The person as known now',
    entered UInt8 COMMENT '1: entered, 0: left',
    definition_version LowCardinality(String) COMMENT 'The version of the segment''s definition',
    event_id String COMMENT 'The event that led here; empty: time alone',
    profile_id_then UUID COMMENT 'The person as known then'
)
AS SELECT
    s.change_id AS change_id,
    s.segment AS segment,
    s.changed_at AS changed_at,
    if(a.profile_id = s.profile_id, a.profile_id_now, s.profile_id) AS profile_id,
    s.entered AS entered,
    s.definition_version AS definition_version,
    s.event_id AS event_id,
    s.profile_id AS profile_id_then
FROM {{database}}.segment_changes AS s FINAL
LEFT JOIN {{database}}.profile_aliases AS a ON a.profile_id = s.profile_id
COMMENT 'Who entered or left which segment, as known now, one row for each change.';

CREATE VIEW IF NOT EXISTS {{database}}.v_journeys {{on_cluster}}
(
    journey LowCardinality(String) COMMENT 'The journey',
    step LowCardinality(String) COMMENT 'The node; empty: the journey as a whole',
    day Date COMMENT 'The day, in the time zone of the settings',
    entered UInt64 COMMENT 'Runs that began',
    waiting UInt64 COMMENT 'Runs that began to wait at this step',
    sent UInt64 COMMENT 'Messages sent',
    postponed UInt64 COMMENT 'Runs whose message was put off, however often',
    ghost UInt64 COMMENT 'Messages that would have been sent to people who are held out',
    suppressed UInt64 COMMENT 'Messages that a gate held back',
    suppressed_by Map(String, UInt64) COMMENT 'The same by gate',
    failed UInt64 COMMENT 'Messages sent that could not be delivered',
    regretted UInt64 COMMENT 'Messages sent that a late event would have stopped',
    goal UInt64 COMMENT 'Runs that reached the goal',
    exited UInt64 COMMENT 'Runs that ended'
)
AS WITH (SELECT timezone FROM {{database}}.v_attribution_settings) AS zone
SELECT
    journey,
    step,
    day,
    uniqExactIf(run_id, what = 'journey_entered') AS entered,
    uniqExactIf(run_id, what = 'waiting') AS waiting,
    countIf(what = 'sent') AS sent,
    uniqExactIf(run_id, what = 'postponed') AS postponed,
    countIf(what = 'ghost') AS ghost,
    countIf(what = 'suppressed') AS suppressed,
    CAST(sumMapIf(map(toString(gate), toUInt64(1)), what = 'suppressed'), 'Map(String, UInt64)') AS suppressed_by,
    countIf(what = 'failed') AS failed,
    countIf(what = 'regretted') AS regretted,
    uniqExactIf(run_id, what = 'goal') AS goal,
    uniqExactIf(run_id, what = 'exited') AS exited
FROM
(
    SELECT journey, step, toDate(toTimeZone(at, zone)) AS day, run_id, kind AS what, '' AS gate
    FROM {{database}}.journey_events FINAL
    WHERE kind IN ('journey_entered', 'waiting', 'goal', 'exited')
    UNION ALL
    SELECT journey, step, toDate(toTimeZone(decided_at, zone)) AS day, run_id, outcome AS what, gate
    FROM {{database}}.decisions FINAL
)
GROUP BY journey, step, day
COMMENT 'The funnel of each journey, one row for each journey, step and day.';

-- A person counts once a journey, by the first message that was sent or would have been. Both groups have passed the
-- same gates, so the holdout is the one difference between them. A person who is in both (two people turned out to be
-- one, or the holdout was changed) would blur it and is left out. The goal's window is the journey's own: its runs go
-- on for people held out too, and a `goal` event says that one was reached within it.
-- The interval is Newcombe's hybrid score interval (Statistics in Medicine 17, 1998, method 10) of the difference of
-- two proportions: it stays within -1 and 1 and holds its level for small groups and rare conversions.
CREATE VIEW IF NOT EXISTS {{database}}.v_experiments {{on_cluster}}
(
    journey LowCardinality(String) COMMENT 'The journey',
    treated UInt64 COMMENT 'People who were sent a message of it',
    control UInt64 COMMENT 'People held out who would have been sent one',
    mixed UInt64 COMMENT 'People who are in both groups, and so in neither',
    treated_conversions UInt64 COMMENT 'Treated people who reached the goal afterwards, within its window',
    control_conversions UInt64 COMMENT 'The same of the control group',
    treated_rate Nullable(Float64) COMMENT 'treated_conversions / treated',
    control_rate Nullable(Float64) COMMENT 'control_conversions / control',
    difference Nullable(Float64) COMMENT 'treated_rate - control_rate: what the messages brought, as a share of people',
    difference_low Nullable(Float64) COMMENT 'Lower end of the 95 % interval of the difference',
    difference_high Nullable(Float64) COMMENT 'Upper end of the 95 % interval of the difference'
)
AS WITH
    1.959963984540054 AS z,
    (converted, people) -> (converted / people + z * z / (2 * people)) / (1 + z * z / people) AS centre,
    (converted, people) -> z * sqrt((converted / people) * (1 - converted / people) / people + z * z / (4 * people * people)) / (1 + z * z / people) AS reach
SELECT
    journey,
    uniqExactIf(profile_id, group = 'treated') AS treated,
    uniqExactIf(profile_id, group = 'control') AS control,
    uniqExactIf(profile_id, group = 'mixed') AS mixed,
    uniqExactIf(profile_id, group = 'treated' AND converted) AS treated_conversions,
    uniqExactIf(profile_id, group = 'control' AND converted) AS control_conversions,
    if(treated = 0, NULL, treated_conversions / treated) AS treated_rate,
    if(control = 0, NULL, control_conversions / control) AS control_rate,
    treated_rate - control_rate AS difference,
    difference - sqrt(
        pow(treated_rate - (centre(treated_conversions, treated) - reach(treated_conversions, treated)), 2)
        + pow(centre(control_conversions, control) + reach(control_conversions, control) - control_rate, 2)) AS difference_low,
    difference + sqrt(
        pow(centre(treated_conversions, treated) + reach(treated_conversions, treated) - treated_rate, 2)
        + pow(control_rate - (centre(control_conversions, control) - reach(control_conversions, control)), 2)) AS difference_high
FROM
(
    SELECT
        d.journey AS journey,
        d.profile_id AS profile_id,
        d.group AS group,
        max(e.at >= d.first_at AND e.journey != '') AS converted
    FROM
    (
        SELECT
            journey,
            profile_id,
            multiIf(countIf(outcome = 'ghost') = 0, 'treated', countIf(outcome = 'sent') = 0, 'control', 'mixed') AS group,
            min(decided_at) AS first_at
        FROM {{database}}.v_decisions
        WHERE outcome IN ('sent', 'ghost')
        GROUP BY journey, profile_id
    ) AS d
    LEFT JOIN (SELECT journey, profile_id, at FROM {{database}}.v_journey_events WHERE kind = 'goal') AS e
        ON e.journey = d.journey AND e.profile_id = d.profile_id
    GROUP BY journey, profile_id, group
)
GROUP BY journey
COMMENT 'What each journey brought, against the people held out of it: one row for each journey.';
