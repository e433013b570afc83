-- A dead letter that was published again is marked, so that no other replay publishes it once more. What is refused again is a dead
-- letter of its own, with the offset of the new record.

CREATE TABLE IF NOT EXISTS {{database}}.dead_letter_replays {{on_cluster}}
(
    topic LowCardinality(String) COMMENT 'Kafka topic of the record that the dead letter is about',
    partition Int32 COMMENT 'Its partition',
    offset Int64 COMMENT 'Its offset',
    received_at DateTime64(3, 'UTC') COMMENT 'When the broker got it',
    replayed_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When it was published again'
)
ENGINE = {{replicated}}ReplacingMergeTree
ORDER BY (topic, partition, offset, received_at)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Dead letters that a replay has published again, one row for each. Read with FINAL.';
