-- What a restore has to know, in the backup itself: how far the recorder had come, and with which secret identifiers were hashed.

CREATE TABLE IF NOT EXISTS {{database}}.backups {{on_cluster}}
(
    made_at DateTime64(3, 'UTC') COMMENT 'When the backup was begun',
    events UInt64 COMMENT 'Rows of touchpoints then; the backup has at least those',
    cluster String COMMENT 'Id of the Kafka cluster that the offsets are of',
    secret_check String COMMENT 'Keyed hash of nothing: another THROUGHLINE_IDENTITY_SECRET gives another one',
    offsets Array(Tuple(topic String, partition Int32, offset Int64)) COMMENT 'How far the recorder had come in each partition; topics without the prefix of the deployment'
)
ENGINE = {{replicated}}ReplacingMergeTree
ORDER BY made_at
COMMENT 'Backups that were begun, one row for each.';
