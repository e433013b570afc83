-- How large a segment was, by day, also before it was defined or its people were imported, if a backfill has dated them.

CREATE VIEW IF NOT EXISTS {{database}}.v_segment_sizes {{on_cluster}}
(
    segment LowCardinality(String) COMMENT 'The segment',
    day Date COMMENT 'Day, in the time zone of reports; days without a change are left out, since the size stays',
    entered UInt64 COMMENT 'How often people entered it on that day',
    left UInt64 COMMENT 'How often people left it',
    members Int64 COMMENT 'Members at the end of the day'
)
AS
WITH assumeNotNull((SELECT timezone FROM {{database}}.v_attribution_settings)) AS zone
SELECT
    segment,
    toDate(toTimeZone(changed_at, zone)) AS day,
    countIf(change > 0) AS entered,
    countIf(change < 0) AS left,
    sum(sum(change)) OVER (PARTITION BY segment ORDER BY day) AS members
FROM
(
    SELECT segment, changed_at, sum(step) AS change
    FROM
    (
        SELECT profile_id, segment, since AS changed_at, toInt64(1) AS step FROM {{database}}.v_segment_memberships
        UNION ALL
        SELECT profile_id, segment, until, -1 FROM {{database}}.v_segment_memberships WHERE until < toDateTime64('2100-01-01 00:00:00', 3, 'UTC')
    )
    GROUP BY profile_id, segment, changed_at
    HAVING change != 0
)
GROUP BY segment, day
COMMENT 'Members of segments by day, one row for each day on which somebody entered or left.';
