-- What the collector refuses never was in the log: partition -1, and an offset that no other has. It is no gap.

CREATE OR REPLACE VIEW {{database}}.v_missing_offsets {{on_cluster}}
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
    WHERE partition >= 0
)
WHERE offset > before + 1
COMMENT 'Records that have no outcome (yet): one row for each gap between two offsets that have one. Work in progress shows here until it is stored; so do the control records of a producer that uses Kafka transactions.';
