-- Broadcasts: who is on the list of one that was started, and what was started or won.

ALTER TABLE {{database}}.definition_changes {{on_cluster}}
    ADD COLUMN IF NOT EXISTS detail String DEFAULT '' COMMENT 'Of a broadcast, as JSON: its version and audience when it starts, or the winner; else empty' AFTER version,
    MODIFY COLUMN kind LowCardinality(String) COMMENT 'publish, rollback, pause, resume or stop; of a broadcast also start or winner';

CREATE TABLE IF NOT EXISTS {{database}}.broadcast_members {{on_cluster}}
(
    broadcast LowCardinality(String) COMMENT 'The broadcast',
    listed_at DateTime64(3, 'UTC') COMMENT 'When the members of its segment were listed; of the list in use, when it was started',
    shard UInt8 COMMENT 'The shard of the person',
    place UInt64 COMMENT 'A hash of the person, in whose order the list is worked off',
    profile_id UUID COMMENT 'The person, as known then',
    stored_at DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(Delta, ZSTD(1)) COMMENT 'When this row was written'
)
ENGINE = {{replicated}}ReplacingMergeTree(stored_at)
ORDER BY (broadcast, listed_at, shard, place, profile_id)
COMMENT 'Who a broadcast is for: the members of its segment when it was started. Workers read it shard by shard.';
