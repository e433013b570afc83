-- How long each class of data is kept. `throughline migrate` and `throughline retention apply` make TTLs of the settings; views and
-- rebuilds ask here what may have expired.

CREATE TABLE IF NOT EXISTS {{database}}.retention {{on_cluster}}
(
    class LowCardinality(String) COMMENT 'payloads, events or reports',
    keep_days UInt32 COMMENT 'For how many days it is kept; 0: for ever',
    expired_before DateTime('UTC') COMMENT 'What is older may have expired by an earlier, shorter time; 1970: nothing',
    rules UInt64 COMMENT 'Hash of the TTLs that were set; 0: they are being set',
    changed_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When it was set; a later row replaces it'
)
ENGINE = {{replicated}}ReplacingMergeTree(changed_at)
ORDER BY class
COMMENT 'How long each class of data is kept, one row for each. Read v_retention.';

CREATE VIEW IF NOT EXISTS {{database}}.v_retention {{on_cluster}}
(
    class LowCardinality(String) COMMENT 'payloads: identifiers, traits, context and properties of events, dead letters; events: their rows; reports: orders, messages, decisions, runs, credits',
    keep_days UInt32 COMMENT 'For how many days it is kept; 0: for ever',
    complete_since DateTime('UTC') COMMENT 'Everything later is there; 1970: everything is'
)
AS SELECT
    class,
    keep_days,
    greatest(expired_before, if(keep_days = 0, toDateTime(0, 'UTC'), now('UTC') - toIntervalDay(keep_days))) AS complete_since
FROM {{database}}.retention FINAL
COMMENT 'How long each class of data is kept, one row for each; without a row: for ever.';

ALTER TABLE {{database}}.profiles {{on_cluster}}
    ADD COLUMN IF NOT EXISTS first_seen DateTime64(3, 'UTC') MATERIALIZED fromUnixTimestamp64Milli(JSONExtractInt(document, 'first_seen'), 'UTC')
    COMMENT 'Time of the first event that the profile has counted; 1970: not known';

-- Records arrive nearly in the order of their offsets: where they expire, some of two days are left between gaps.
CREATE OR REPLACE VIEW {{database}}.v_missing_offsets {{on_cluster}}
(
    topic String COMMENT 'Kafka topic that producers write to',
    partition Int32 COMMENT 'Its partition',
    first_offset Int64 COMMENT 'First offset of the gap',
    last_offset Int64 COMMENT 'Last offset of the gap',
    missing UInt64 COMMENT 'How many offsets that is',
    received_before DateTime64(3, 'UTC') COMMENT 'When the broker got the record after the gap'
)
AS
WITH (SELECT max(complete_since) FROM {{database}}.v_retention WHERE class = 'events') AS expired
SELECT
    topic,
    partition,
    before + 1 AS first_offset,
    offset - 1 AS last_offset,
    toUInt64(offset - before - 1) AS missing,
    received_at AS received_before
FROM
(
    SELECT
        topic,
        partition,
        offset,
        received_at,
        lagInFrame(offset, 1, offset) OVER (PARTITION BY topic, partition ORDER BY offset ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS before
    FROM {{database}}.arrivals
    WHERE partition >= 0
)
WHERE offset > before + 1 AND (toUnixTimestamp(expired) = 0 OR received_at > expired + INTERVAL 2 DAY)
COMMENT 'Records that have no outcome (yet): one row for each gap between two offsets that have one. Work in progress shows here until it is stored; so do the control records of a producer that uses Kafka transactions. Gaps where records expire are left out.';

CREATE OR REPLACE VIEW {{database}}.v_profile_accounting {{on_cluster}}
(
    profile_id UUID COMMENT 'The person as known now',
    stored UInt64 COMMENT 'Distinct events of the person in touchpoints',
    counted UInt64 COMMENT 'Events that the latest snapshot of the profile has counted',
    changed_at DateTime64(3, 'UTC') COMMENT 'When the last event was stored, the last snapshot made or the last identifier moved, whichever is latest',
    settled Bool COMMENT 'Nothing has changed for ten minutes: then a difference is no work in progress, unless profile workers are behind',
    expired Bool COMMENT 'The profile has counted events that may have expired, by v_retention: they are not compared',
    difference Int64 COMMENT 'counted - stored, of a profile that has settled and of which nothing has expired; else 0. Below 0: the profile lacks events; above 0: it has counted some twice'
)
AS
WITH (SELECT max(complete_since) FROM {{database}}.v_retention WHERE class = 'events') AS complete_since
SELECT
    profile_id,
    sum(stored_events) AS stored,
    sum(counted_events) AS counted,
    max(last) AS changed_at,
    changed_at < now64(3) - INTERVAL 10 MINUTE AS settled,
    toUnixTimestamp(complete_since) > 0 AND min(first) <= complete_since + INTERVAL 1 DAY AS expired,
    if(settled AND NOT expired, toInt64(counted) - toInt64(stored), 0) AS difference
FROM
(
    SELECT
        if(o.version > t.identity_version, o.profile_id, t.profile_id) AS profile_id,
        count() AS stored_events,
        toUInt64(0) AS counted_events,
        greatest(max(t.stored_at), toDateTime64(max(o.version) / 1000000, 3, 'UTC')) AS last,
        min(t.occurred_at) AS first
    FROM (SELECT profile_id, anchor, identity_version, stored_at, occurred_at FROM {{database}}.touchpoints FINAL) AS t
    LEFT JOIN (SELECT anchor, version, profile_id FROM {{database}}.identity_overrides FINAL) AS o ON o.anchor = t.anchor
    GROUP BY profile_id
    UNION ALL
    SELECT profile_id, 0, event_count, stored_at, first_seen FROM {{database}}.profiles FINAL
)
WHERE profile_id != toUUID('00000000-0000-0000-0000-000000000000')
    AND profile_id NOT IN (SELECT from_profile_id FROM {{database}}.identity_log WHERE kind = 'merge')
    AND profile_id NOT IN (SELECT profile_id FROM {{database}}.identity_log WHERE kind = 'erase')
GROUP BY profile_id
COMMENT 'What profiles have counted and what is stored of their people, one row for each person; v_accounting has the records. Who was erased, or merged into another, is left out.';

-- A withdrawal must not lapse with the event that said so.
CREATE TABLE IF NOT EXISTS {{database}}.analytics_consents {{on_cluster}}
(
    anchor UUID COMMENT 'Keyed hash of the strongest identifier that the events were resolved by',
    profile_id UUID COMMENT 'The person as known when a row was stored',
    identity_version SimpleAggregateFunction(max, UInt64) COMMENT 'Changes of identity up to this version are in profile_id; 0: not known, so all later ones apply',
    denied_at SimpleAggregateFunction(max, DateTime64(3, 'UTC')) COMMENT 'When an event last said no to analytics; 1970: none did',
    given_at SimpleAggregateFunction(max, DateTime64(3, 'UTC')) COMMENT 'When an event last said yes; 1970: none did'
)
ENGINE = {{replicated}}AggregatingMergeTree
ORDER BY (anchor, profile_id)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'What people have said about analytics, one row for each identifier and person. Read v_analytics_withdrawn.';

CREATE MATERIALIZED VIEW IF NOT EXISTS {{database}}.touchpoints_to_analytics_consents {{on_cluster}} TO {{database}}.analytics_consents
AS WITH JSONExtractBool(consent, 'analytics') AS agreed
SELECT
    anchor,
    profile_id,
    max(t.identity_version) AS identity_version,
    maxIf(t.occurred_at, NOT agreed) AS denied_at,
    maxIf(t.occurred_at, agreed) AS given_at
FROM {{database}}.touchpoints AS t
WHERE position(consent, '"analytics":') > 0 AND profile_id != toUUID('00000000-0000-0000-0000-000000000000')
GROUP BY anchor, profile_id;

INSERT INTO {{database}}.analytics_consents (anchor, profile_id, identity_version, denied_at, given_at)
WITH JSONExtractBool(consent, 'analytics') AS agreed
SELECT
    anchor,
    profile_id,
    max(t.identity_version) AS identity_version,
    maxIf(t.occurred_at, NOT agreed) AS denied_at,
    maxIf(t.occurred_at, agreed) AS given_at
FROM {{database}}.touchpoints AS t
WHERE position(consent, '"analytics":') > 0 AND profile_id != toUUID('00000000-0000-0000-0000-000000000000')
GROUP BY anchor, profile_id;

CREATE OR REPLACE VIEW {{database}}.v_analytics_withdrawn {{on_cluster}}
(
    profile_id UUID COMMENT 'The person as known now',
    withdrawn_at DateTime64(3, 'UTC') COMMENT 'When they last said so'
)
AS SELECT
    if(o.version > c.identity_version, o.profile_id, c.profile_id) AS profile_id,
    max(c.denied_at) AS withdrawn_at
FROM (SELECT * FROM {{database}}.analytics_consents FINAL) AS c
LEFT JOIN (SELECT * FROM {{database}}.identity_overrides FINAL) AS o ON o.anchor = c.anchor
GROUP BY profile_id
HAVING max(c.denied_at) >= max(c.given_at)
COMMENT 'People whose latest word on analytics is no, one row for each.';
