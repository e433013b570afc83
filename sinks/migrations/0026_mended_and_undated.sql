-- What was mended in events, and events whose own time cannot be believed.

ALTER TABLE {{database}}.touchpoints {{on_cluster}}
    ADD COLUMN IF NOT EXISTS mended Array(Tuple(field LowCardinality(String), rule LowCardinality(String)))
    DEFAULT JSONExtract(context, 'mended', 'Array(Tuple(field String, rule String))')
    COMMENT 'What was mended: the field, positions in lists left out, and the rule of schemas/events/mending.py; mostly empty';

ALTER TABLE {{database}}.touchpoints {{on_cluster}}
    ADD COLUMN IF NOT EXISTS time_doubtful UInt8 DEFAULT 0
    COMMENT '1: the producer''s time cannot be believed, occurred_at is the time of arrival: no touch, cohort or lookback counts from it';

CREATE VIEW IF NOT EXISTS {{database}}.v_mended {{on_cluster}}
(
    day Date COMMENT 'Day in the time zone of reports',
    source LowCardinality(String) COMMENT 'Which producer reported it',
    event LowCardinality(String) COMMENT 'What happened',
    field String COMMENT 'The field that was mended, as properties.products.price',
    rule String COMMENT 'What was mended: float_sum, digits, whole_number, empty, nul, surrogate, lines_cut, set_aside, …',
    events UInt64 COMMENT 'Events in which it was',
    example_event_id String COMMENT 'The first of them'
)
AS
WITH assumeNotNull((SELECT timezone FROM {{database}}.v_attribution_settings)) AS zone
SELECT
    toDate(toTimeZone(t.occurred_at, zone)) AS day,
    t.source AS source,
    t.event AS event,
    toString(note.field) AS field,
    toString(note.rule) AS rule,
    uniqExact(t.event_id) AS events,
    argMin(t.event_id, (t.occurred_at, t.event_id)) AS example_event_id
FROM (SELECT event_id, source, event, occurred_at, mended FROM {{database}}.touchpoints FINAL WHERE notEmpty(mended)) AS t
ARRAY JOIN t.mended AS note
GROUP BY day, source, event, field, rule
COMMENT 'Values of events that broke a rule and had one meaning, one row for each day, producer, event, field and rule. Mend them at the producer.';

-- Their amounts count, on the day of arrival. When they were made is not known.
CREATE VIEW IF NOT EXISTS {{database}}.undated_conversions {{on_cluster}}
(
    conversion_type LowCardinality(String) COMMENT 'The goal, such as purchase',
    conversion_id String COMMENT 'The order''s id, else the event''s'
)
AS SELECT conversion_type, conversion_id
FROM {{database}}.v_conversions
WHERE (source, event_id) IN (SELECT source, event_id FROM {{database}}.touchpoints WHERE time_doubtful)
COMMENT 'Conversions whose time cannot be believed, one row for each goal and conversion id. Internal: such a one starts no cohort and looks back at no touch.';

CREATE OR REPLACE VIEW {{database}}.attribution_conversions {{on_cluster}}
AS
SELECT
    conversion_id,
    conversion_type,
    profile_id,
    converted_at,
    revenue,
    net_revenue,
    currency,
    ordinal = 1 AND NOT is_undated AND profile_id != toUUID('00000000-0000-0000-0000-000000000000') AS is_first,
    milestone_at,
    if(is_undated, converted_at + toIntervalMillisecond(1), greatest(
        converted_at - toIntervalMillisecond({lookback_ms:Int64}),
        if({scope:String} = 'since_previous' AND ordinal > 1, previous_at + toIntervalMillisecond(1), toDateTime64(0, 3, 'UTC'))
    )) AS opens_at
FROM
(
    WITH if({milestone:String} = '', (SELECT milestone FROM {{database}}.v_attribution_settings), {milestone:String}) AS wanted_milestone
    SELECT
        *,
        (conversion_type, conversion_id) IN (SELECT conversion_type, conversion_id FROM {{database}}.undated_conversions) AS is_undated,
        row_number() OVER goal_of_person AS ordinal,
        lagInFrame(converted_at) OVER goal_of_person AS previous_at,
        maxIf(converted_at, conversion_type = wanted_milestone AND NOT is_undated) OVER
            (PARTITION BY profile_id ORDER BY converted_at, conversion_type != wanted_milestone, conversion_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS milestone_at
    FROM {{database}}.v_conversions
    WHERE {goal:String} = '' OR conversion_type IN ({goal:String}, wanted_milestone)
    WINDOW goal_of_person AS (PARTITION BY profile_id, conversion_type ORDER BY is_undated, converted_at, conversion_id ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
)
WHERE {goal:String} IN ('', conversion_type)
    AND converted_at >= fromUnixTimestamp64Milli({start_ms:Int64}, 'UTC') AND converted_at < fromUnixTimestamp64Milli({stop_ms:Int64}, 'UTC')
COMMENT 'Conversions with the window of their touches, one row for each. Internal: feeds attribution_journeys and attribution_paths.';
CREATE OR REPLACE VIEW {{database}}.cohorts {{on_cluster}}
AS SELECT
    cohort,
    toUInt32(entry.1) AS number,
    size AS people,
    entry.2 AS active,
    active / people AS retention,
    entry.3 AS orders,
    entry.4 AS revenue,
    so_far / people AS revenue_per_person
FROM
(
    WITH
        (SELECT max(day) FROM {{database}}.conversion_amounts) AS newest,
        groupArray((number, active, orders, revenue)) AS seen,
        range(toUInt32(dateDiff({unit:String}, cohort, assumeNotNull(newest)) + 1)) AS numbers
    SELECT
        cohort,
        sumIf(active, number = 0) AS size,
        arrayMap(n -> (n, arrayFirst(e -> e.1 = n, seen)), numbers) AS found,
        arrayMap(e -> (e.1, e.2.2, e.2.3, e.2.4), found) AS entries,
        arrayCumSum(entries.4) AS sums
    FROM
    (
        SELECT
            cohort,
            toUInt32(dateDiff({unit:String}, cohort, day)) AS number,
            uniqExact(profile_id) AS active,
            count() AS orders,
            sum(toFloat64(ifNull(revenue, 0))) AS revenue
        FROM
        (
            SELECT
                profile_id,
                day,
                revenue,
                toDate(dateTrunc({unit:String}, min(day) OVER (PARTITION BY profile_id))) AS cohort
            FROM {{database}}.conversion_amounts
            WHERE conversion_type = (SELECT goal FROM {{database}}.v_attribution_settings)
                AND profile_id != toUUID('00000000-0000-0000-0000-000000000000')
                AND (conversion_type, conversion_id) NOT IN (SELECT conversion_type, conversion_id FROM {{database}}.undated_conversions)
        )
        GROUP BY cohort, number
    )
    GROUP BY cohort
)
ARRAY JOIN entries AS entry, sums AS so_far
COMMENT 'Who bought again, one row for each cohort and unit since. Internal: feeds v_cohorts and v_cohorts_weekly.';
