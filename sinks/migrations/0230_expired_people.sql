-- Anonymous people expire: their events stay, and their profiles, which have counted them, do not.

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
    AND profile_id NOT IN (SELECT profile_id FROM {{database}}.identity_log WHERE kind IN ('erase', 'expire'))
GROUP BY profile_id
COMMENT 'What profiles have counted and what is stored of their people, one row for each person; v_accounting has the records. Who was erased, has expired, or was merged into another, is left out.';

ALTER TABLE {{database}}.identity_log {{on_cluster}}
    COMMENT COLUMN kind 'bind, merge, split, transfer, erase, refuse, release or expire';
