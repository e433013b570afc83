-- A profile judges a click when it comes, by what has come before; read again, events come in another order. So whoever
-- reads history takes the verdicts that there were. Of a click that has none, history judges by the order of arrival.

CREATE TABLE IF NOT EXISTS {{database}}.click_verdicts {{on_cluster}}
(
    source LowCardinality(String) COMMENT 'Source of the event, as in touchpoints',
    event_id String COMMENT 'The click, or the unsubscription that came with one, as in touchpoints',
    verdict LowCardinality(String) COMMENT 'counted: of a person; held: right after the delivery, and no visit has followed so far; scan: of a mail filter that opens links',
    is_final UInt8 COMMENT '0: a held click, which may still be counted or turn out to be of a scan',
    at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'When the click was received',
    profile_id UUID COMMENT 'The person as known then, as in touchpoints',
    anchor UUID COMMENT 'The identifier by which the event was resolved, as in touchpoints',
    identity_version UInt64 COMMENT 'Version of the identity store at that time, as in touchpoints',
    stored_at DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(Delta, ZSTD(1)) COMMENT 'When this row was written',
    INDEX by_profile profile_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_anchor anchor TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = {{replicated}}ReplacingMergeTree(is_final)
ORDER BY (source, event_id)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Whether the profile took a click for that of a person, one row for each click of an e-mail. Read with FINAL.';
