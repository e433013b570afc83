-- A person may enter and leave a segment in one millisecond: the events of a batch have one time of arrival. So each
-- change has its number among the person's changes, and the last one of a time counts.

ALTER TABLE {{database}}.segment_changes {{on_cluster}}
    ADD COLUMN IF NOT EXISTS sequence UInt64 DEFAULT 0 COMMENT 'Number of the change among all of the person''s, which orders changes of one millisecond; 0: stored before there were numbers';

CREATE OR REPLACE VIEW {{database}}.v_segment_changes {{on_cluster}}
(
    change_id UUID COMMENT 'The change',
    segment LowCardinality(String) COMMENT 'The segment',
    changed_at DateTime64(3, 'UTC') COMMENT 'When the person entered or left',
    profile_id UUID COMMENT 'The person as known now',
    entered UInt8 COMMENT '1: entered, 0: left',
    definition_version LowCardinality(String) COMMENT 'The version of the segment''s definition',
    event_id String COMMENT 'The event that led here; empty: time alone',
    profile_id_then UUID COMMENT 'The person as known then',
    sequence UInt64 COMMENT 'Number of the change among all of the person''s, which orders changes of one millisecond; 0: stored before there were numbers'
)
AS SELECT
    s.change_id AS change_id,
    s.segment AS segment,
    s.changed_at AS changed_at,
    if(a.profile_id = s.profile_id, a.profile_id_now, s.profile_id) AS profile_id,
    s.entered AS entered,
    s.definition_version AS definition_version,
    s.event_id AS event_id,
    s.profile_id AS profile_id_then,
    s.sequence AS sequence
FROM {{database}}.segment_changes AS s FINAL
LEFT JOIN {{database}}.profile_aliases AS a ON a.profile_id = s.profile_id
COMMENT 'Who entered or left which segment, as known now, one row for each change. After a merge, an entry may repeat what one of the merged profiles had.';

-- Of the changes of one millisecond the last one counts. Without numbers the order is not known, but the number of
-- entries and leaves is: as many leaves as entries change nothing, else what there is more of is the result.
CREATE OR REPLACE VIEW {{database}}.v_segment_memberships {{on_cluster}}
(
    profile_id UUID COMMENT 'The person as known now',
    segment LowCardinality(String) COMMENT 'The segment',
    since DateTime64(3, 'UTC') COMMENT 'When the person entered it',
    until DateTime64(3, 'UTC') COMMENT 'When the person left it; year 2100: has not'
)
AS SELECT profile_id, segment, changed_at AS since, next_at AS until
FROM
(
    SELECT
        profile_id,
        segment,
        changed_at,
        entered,
        leadInFrame(changed_at, 1, toDateTime64('2100-01-01 00:00:00', 3, 'UTC')) OVER (
            PARTITION BY profile_id, segment ORDER BY changed_at
            ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS next_at
    FROM
    (
        SELECT
            c.profile_id AS profile_id,
            c.segment AS segment,
            c.changed_at AS changed_at,
            sum(if(c.entered, 1, -1)) AS balance,
            if(max(c.sequence) > 0, argMax(c.entered, c.sequence), balance > 0) AS entered
        FROM {{database}}.v_segment_changes AS c
        GROUP BY profile_id, segment, changed_at
        HAVING max(c.sequence) > 0 OR balance != 0
    )
)
WHERE entered
COMMENT 'Who was in which segment and when, one row for each uninterrupted stay or part of one.';
