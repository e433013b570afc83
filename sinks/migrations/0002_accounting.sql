-- Where every record of the producers' topics ended: received = stored + duplicate + suppressed + dead-lettered.

CREATE TABLE IF NOT EXISTS {{database}}.arrivals {{on_cluster}}
(
    topic LowCardinality(String) COMMENT 'Kafka topic that the producer wrote to',
    partition Int32 COMMENT 'Its partition',
    offset Int64 CODEC(Delta, ZSTD(1)) COMMENT 'Its offset',
    outcome LowCardinality(String) COMMENT 'stored, duplicate, suppressed or dead_lettered',
    event_id String COMMENT 'The producer''s id of the event; empty: not readable',
    source LowCardinality(String) COMMENT 'Which producer wrote it; empty: not readable',
    received_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'When the broker got it'
)
ENGINE = {{replicated}}ReplacingMergeTree
PARTITION BY toYYYYMM(received_at)
ORDER BY (topic, partition, offset, received_at, outcome) -- a broker that lost its log gives the same offsets again
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'What became of each record, one row for each record and outcome; one outcome each if all is well. Read v_accounting.';

CREATE MATERIALIZED VIEW IF NOT EXISTS {{database}}.touchpoints_to_arrivals {{on_cluster}} TO {{database}}.arrivals
AS SELECT origin_topic AS topic, origin_partition AS partition, origin_offset AS offset, 'stored' AS outcome, event_id, source, received_at
FROM {{database}}.touchpoints
WHERE origin_topic != '';

CREATE MATERIALIZED VIEW IF NOT EXISTS {{database}}.dropped_touchpoints_to_arrivals {{on_cluster}} TO {{database}}.arrivals
AS SELECT topic, partition, offset, if(reason = 'duplicate', 'duplicate', 'suppressed') AS outcome, event_id, source, received_at
FROM {{database}}.dropped_touchpoints;

-- A resolved touchpoint that could not be stored stands for the producer's record that it came from. Other records of
-- our own topics (a conversion's row, an identity change) are no arrivals: their touchpoint is stored.
CREATE MATERIALIZED VIEW IF NOT EXISTS {{database}}.dead_letters_to_arrivals {{on_cluster}} TO {{database}}.arrivals
AS WITH
    position(letter.topic, 'touchpoints.') > 0 AS at_the_door,
    tryBase64Decode(letter.value_base64) AS value
SELECT
    if(at_the_door, letter.topic, JSONExtractString(value, 'origin', 'topic')) AS topic,
    if(at_the_door, letter.partition, toInt32(JSONExtractInt(value, 'origin', 'partition'))) AS partition,
    if(at_the_door, letter.offset, JSONExtractInt(value, 'origin', 'offset')) AS offset,
    'dead_lettered' AS outcome,
    '' AS event_id,
    letter.source AS source,
    if(at_the_door, letter.received_at, parseDateTime64BestEffortOrZero(JSONExtractString(value, 'received_at'), 3, 'UTC')) AS received_at
FROM {{database}}.dead_letters AS letter
WHERE at_the_door
    OR (letter.stage = 'record' AND endsWith(letter.topic, 'resolved-touchpoints')
        AND (letter.reason = 'bug' OR startsWith(letter.message, 'touchpoints: ')));

CREATE VIEW IF NOT EXISTS {{database}}.v_accounting {{on_cluster}}
(
    hour DateTime('UTC') COMMENT 'The hour in which the broker got the records',
    source String COMMENT 'Which producer wrote them; empty: not readable',
    received UInt64 COMMENT 'Records whose outcome is known: distinct topic, partition, offset and time',
    stored UInt64 COMMENT 'Distinct events in touchpoints',
    duplicate UInt64 COMMENT 'Further deliveries of an event, recognised before or at storing',
    suppressed UInt64 COMMENT 'Left out on purpose: consent, erasure',
    dead_lettered UInt64 COMMENT 'Refused, with the original bytes in dead_letters',
    difference Int64 COMMENT 'received - stored - duplicate - suppressed - dead_lettered; other than 0: a record had two outcomes'
)
AS WITH (topic, partition, offset, received_at) AS record
SELECT
    toStartOfHour(received_at) AS hour,
    source,
    uniqExact(record) AS received,
    uniqExactIf(event_id, outcome = 'stored') AS stored,
    uniqExactIf(record, outcome = 'duplicate') + uniqExactIf(record, outcome = 'stored') - stored AS duplicate,
    uniqExactIf(record, outcome = 'suppressed') AS suppressed,
    uniqExactIf(record, outcome = 'dead_lettered') AS dead_lettered,
    toInt64(received) - toInt64(stored + duplicate + suppressed + dead_lettered) AS difference
FROM {{database}}.arrivals
GROUP BY hour, source
COMMENT 'What became of the producers'' records, one row for each hour and source. Records without any outcome are in v_missing_offsets.';

CREATE VIEW IF NOT EXISTS {{database}}.v_missing_offsets {{on_cluster}}
(
    topic String COMMENT 'Kafka topic that producers write to',
    partition Int32 COMMENT 'Its partition',
    first_offset Int64 COMMENT 'First offset of the gap',
    last_offset Int64 COMMENT 'Last offset of the gap',
    missing UInt64 COMMENT 'How many offsets that is',
    received_before DateTime64(3, 'UTC') COMMENT 'When the broker got the record after the gap'
)
AS SELECT
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
)
WHERE offset > before + 1
COMMENT 'Records that have no outcome (yet): one row for each gap between two offsets that have one. Work in progress shows here until it is stored; so do the control records of a producer that uses Kafka transactions.';
