-- A backfill reads a person's history and dates memberships by when the events happened. Its changes take the place of
-- those that were published before, so that a segment can be asked for a time before it was defined, or imported.

ALTER TABLE {{database}}.segment_changes {{on_cluster}}
    ADD COLUMN IF NOT EXISTS replaces_before UInt64 DEFAULT 0 COMMENT 'Dated by history: changes of this profile and segment with a lower sequence count no more; 0: all count';

CREATE OR REPLACE VIEW {{database}}.v_segment_changes {{on_cluster}}
(
    change_id UUID COMMENT 'The change',
    segment LowCardinality(String) COMMENT 'The segment',
    changed_at DateTime64(3, 'UTC') COMMENT 'When the person entered or left; dated by when the events happened, if a backfill has read the history',
    profile_id UUID COMMENT 'The person as known now',
    entered UInt8 COMMENT '1: entered, 0: left',
    definition_version LowCardinality(String) COMMENT 'The version of the segment''s definition',
    event_id String COMMENT 'The event that led here; empty: time alone, or a backfill',
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
FROM
(
    SELECT
        change_id, segment, changed_at, profile_id, entered, definition_version, event_id, sequence,
        max(replaces_before) OVER (PARTITION BY profile_id, segment) AS counts_from
    FROM {{database}}.segment_changes FINAL
) AS s
LEFT JOIN {{database}}.profile_aliases AS a ON a.profile_id = s.profile_id
WHERE s.sequence >= s.counts_from
COMMENT 'Who entered or left which segment, as known now, one row for each change; what a backfill has replaced is left out. After a merge, an entry may repeat what one of the merged profiles had.';
