-- When each source was heard first. An event can have been recorded and forgotten by the identity store only if its source
-- was heard that long ago: the first import of a history has nothing to be looked up.
CREATE TABLE IF NOT EXISTS {{database}}.source_starts {{on_cluster}}
(
    source LowCardinality(String) COMMENT 'The producer',
    first_received_at SimpleAggregateFunction(min, DateTime64(3, 'UTC')) COMMENT 'When the broker got the first of its events that were recorded'
)
ENGINE = {{replicated}}AggregatingMergeTree
ORDER BY source
COMMENT 'When each source was heard first, one row for each. Internal: saves looking up event_deliveries for sources that are new.';

CREATE MATERIALIZED VIEW IF NOT EXISTS {{database}}.touchpoints_to_source_starts {{on_cluster}} TO {{database}}.source_starts
AS SELECT source, min(received_at) AS first_received_at
FROM {{database}}.touchpoints
GROUP BY source;

INSERT INTO {{database}}.source_starts (source, first_received_at)
SELECT source, min(received_at) AS first_received_at
FROM {{database}}.touchpoints
GROUP BY source;
