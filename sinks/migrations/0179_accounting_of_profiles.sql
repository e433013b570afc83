-- What profiles have counted, beside the events that are stored of their people: an event that a profile lost, or counted
-- twice, is in no other account.

ALTER TABLE {{database}}.profiles {{on_cluster}}
    ADD COLUMN IF NOT EXISTS event_count UInt64 MATERIALIZED JSONExtractUInt(document, 'event_count')
    COMMENT 'How many events the profile has counted';

CREATE VIEW IF NOT EXISTS {{database}}.v_profile_accounting {{on_cluster}}
(
    profile_id UUID COMMENT 'The person as known now',
    stored UInt64 COMMENT 'Distinct events of the person in touchpoints',
    counted UInt64 COMMENT 'Events that the latest snapshot of the profile has counted',
    changed_at DateTime64(3, 'UTC') COMMENT 'When the last event was stored, the last snapshot made or the last identifier moved, whichever is latest',
    settled Bool COMMENT 'Nothing has changed for ten minutes: then a difference is no work in progress, unless profile workers are behind',
    difference Int64 COMMENT 'counted - stored, of a profile that has settled; else 0. Below 0: the profile lacks events; above 0: it has counted some twice'
)
AS SELECT
    profile_id,
    sum(stored_events) AS stored,
    sum(counted_events) AS counted,
    max(last) AS changed_at,
    changed_at < now64(3) - INTERVAL 10 MINUTE AS settled,
    if(settled, toInt64(counted) - toInt64(stored), 0) AS difference
FROM
(
    SELECT
        if(o.version > t.identity_version, o.profile_id, t.profile_id) AS profile_id,
        count() AS stored_events,
        toUInt64(0) AS counted_events,
        greatest(max(t.stored_at), toDateTime64(max(o.version) / 1000000, 3, 'UTC')) AS last
    FROM (SELECT profile_id, anchor, identity_version, stored_at FROM {{database}}.touchpoints FINAL) AS t
    LEFT JOIN (SELECT anchor, version, profile_id FROM {{database}}.identity_overrides FINAL) AS o ON o.anchor = t.anchor
    GROUP BY profile_id
    UNION ALL
    SELECT profile_id, 0, event_count, stored_at FROM {{database}}.profiles FINAL
)
WHERE profile_id != toUUID('00000000-0000-0000-0000-000000000000')
    AND profile_id NOT IN (SELECT from_profile_id FROM {{database}}.identity_log WHERE kind = 'merge')
    AND profile_id NOT IN (SELECT profile_id FROM {{database}}.identity_log WHERE kind = 'erase')
GROUP BY profile_id
COMMENT 'What profiles have counted and what is stored of their people, one row for each person; v_accounting has the records. Who was erased, or merged into another, is left out.';
