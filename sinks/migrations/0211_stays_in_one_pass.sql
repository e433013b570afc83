-- Stays in segments were found by two windows, each of which sorts all changes of all people. Now each person's changes are put in order by themselves,
-- which takes half of the CPU time. The rows are as before.

CREATE OR REPLACE VIEW {{database}}.v_segment_memberships {{on_cluster}}
(
    profile_id UUID COMMENT 'The person as known now',
    segment LowCardinality(String) COMMENT 'The segment',
    since DateTime64(3, 'UTC') COMMENT 'When the person entered it',
    until DateTime64(3, 'UTC') COMMENT 'When the person left it; year 2100: has not'
)
AS SELECT
    profile_id,
    segment,
    fromUnixTimestamp64Milli(stay.1, 'UTC') AS since,
    fromUnixTimestamp64Milli(stay.2, 'UTC') AS until
FROM
(
    SELECT profile_id, segment, moments, arrayResize(arrayPopFront(moments.1), length(moments), toInt64(4102444800000)) AS next
    FROM
    (
        -- The moments at which something changes, and whether the person is in from then on. Changes of one moment without
        -- numbers cancel each other out.
        SELECT
            profile_id,
            segment,
            arrayMap(
                (change, balance) -> (change.1, if(change.2 > 0, change.3, toUInt8(balance > 0)), change.2 > 0 OR balance != 0),
                lasts, arrayPopFront(arrayDifference(arrayPushFront(lasts.4, toInt64(0))))) AS every,
            arrayFilter(moment -> moment.3, every) AS moments
        FROM
        (
            SELECT
                profile_id,
                segment,
                arrayFilter((change, next) -> change.1 != next,
                    arrayZip(line.1, line.2, line.3, arrayCumSum(entered -> if(entered, 1, -1), line.3)),
                    arrayResize(arrayPopFront(line.1), length(line), toInt64(9223372036854775807))) AS lasts
            FROM
            (
                SELECT
                    if(a.profile_id = s.profile_id, a.profile_id_now, s.profile_id) AS profile_id,
                    s.segment AS segment,
                    arraySort(groupArrayArray(s.changes)) AS line
                FROM
                (
                    SELECT
                        profile_id,
                        segment,
                        max(replaces_before) AS counts_from,
                        arrayFilter(change -> change.2 >= counts_from, groupArray((toUnixTimestamp64Milli(changed_at), sequence, entered))) AS changes
                    FROM {{database}}.segment_changes FINAL
                    GROUP BY profile_id, segment
                ) AS s
                LEFT JOIN {{database}}.profile_aliases AS a ON a.profile_id = s.profile_id
                GROUP BY profile_id, segment
            )
        )
    )
)
ARRAY JOIN arrayFilter((stay, moment) -> moment.2, arrayZip(moments.1, next), moments) AS stay
COMMENT 'Who was in which segment and when, one row for each uninterrupted stay or part of one.';

-- The stays are read once.
CREATE OR REPLACE VIEW {{database}}.v_segment_sizes {{on_cluster}}
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
    SELECT profile_id, segment, step.1 AS changed_at, sum(step.2) AS change
    FROM
    (
        SELECT profile_id, segment, if(until < toDateTime64('2100-01-01 00:00:00', 3, 'UTC'), [(since, toInt64(1)), (until, toInt64(-1))], [(since, toInt64(1))]) AS steps
        FROM {{database}}.v_segment_memberships
    )
    ARRAY JOIN steps AS step
    GROUP BY profile_id, segment, changed_at
    HAVING change != 0
)
GROUP BY segment, day
COMMENT 'Members of segments by day, one row for each day on which somebody entered or left.';
