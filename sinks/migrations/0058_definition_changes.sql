-- What was in force when: Redis has what is in force now, and is restored from here.

CREATE TABLE IF NOT EXISTS {{database}}.definition_changes {{on_cluster}}
(
    number UInt64 COMMENT 'Number of the change; they are counted up',
    changed_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'When',
    changed_by String COMMENT 'The person who made it',
    kind LowCardinality(String) COMMENT 'publish, rollback, pause, resume or stop',
    journeys Array(String) COMMENT 'The journeys that it named; none: all',
    version String COMMENT 'The version of the definitions that was in force afterwards; empty: none was published',
    files Map(String, String) CODEC(ZSTD(3)) COMMENT 'What was published: path of the file and its text; empty for other changes',
    stored_at DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(Delta, ZSTD(1)) COMMENT 'When this row was written'
)
ENGINE = {{replicated}}ReplacingMergeTree(stored_at)
ORDER BY number
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Every change of what is in force. Read v_definition_changes.';

CREATE VIEW IF NOT EXISTS {{database}}.v_definition_changes {{on_cluster}}
(
    number UInt64 COMMENT 'Number of the change; they are counted up',
    changed_at DateTime64(3, 'UTC') COMMENT 'When',
    changed_by String COMMENT 'The person who made it',
    kind LowCardinality(String) COMMENT 'publish, rollback, pause, resume or stop',
    journeys Array(String) COMMENT 'The journeys that it named; none: all',
    version String COMMENT 'The version of the definitions that was in force afterwards; empty: none was published',
    files UInt64 COMMENT 'Number of files that were published'
)
AS SELECT number, changed_at, changed_by, kind, journeys, version, length(files) AS files
FROM {{database}}.definition_changes AS c FINAL
COMMENT 'Who published, paused, resumed, stopped or rolled back what, one row for each change.';
