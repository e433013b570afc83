-- Visits, cohorts, what people are worth, what they buy and when.

CREATE VIEW IF NOT EXISTS {{database}}.v_sessions {{on_cluster}}
(
    source LowCardinality(String) COMMENT 'Which producer reported it',
    session_id String COMMENT 'The producer''s id of the visit',
    profile_id UUID COMMENT 'The person as known now; nil: nobody',
    channel LowCardinality(String) COMMENT 'Where it was, such as web',
    marketing_channel LowCardinality(String) COMMENT 'What brought it: of its first touch',
    campaign LowCardinality(String) COMMENT 'Campaign of that touch',
    started_at DateTime64(3, 'UTC') COMMENT 'Its first event',
    day Date COMMENT 'That day in the time zone of reports',
    seconds Float64 COMMENT 'From its first event to its last',
    events UInt64 COMMENT 'How many events it has',
    pages UInt64 COMMENT 'Pages and screens seen',
    conversions UInt64 COMMENT 'Conversions of the settings'' goal in it',
    revenue Float64 COMMENT 'Their revenue in the currency of reports',
    engaged UInt8 COMMENT '1: longer than 10 s, or two pages, or a conversion, as in Google Analytics 4; the others bounced'
)
AS
WITH assumeNotNull((SELECT timezone FROM {{database}}.v_attribution_settings)) AS zone
SELECT
    t.source AS source,
    t.session_id AS session_id,
    argMax(t.profile_id, t.occurred_at) AS profile_id,
    argMin(t.channel, t.occurred_at) AS channel,
    if(countIf(t.touch != '') = 0, 'Unassigned', argMinIf(t.marketing_channel, (t.occurred_at, t.event_id), t.touch != '')) AS marketing_channel,
    argMinIf(t.campaign, (t.occurred_at, t.event_id), t.touch != '') AS campaign,
    min(t.occurred_at) AS started_at,
    toDate(toTimeZone(started_at, zone)) AS day,
    dateDiff('millisecond', started_at, max(t.occurred_at)) / 1000 AS seconds,
    count() AS events,
    countIf(t.event IN ('Page Viewed', 'Screen Viewed')) AS pages,
    countIf(c.event_id != '') AS conversions,
    sum(toFloat64(ifNull(c.revenue, 0))) AS revenue,
    seconds > 10 OR pages > 1 OR conversions > 0 AS engaged
FROM {{database}}.v_touchpoints AS t
LEFT JOIN
(
    SELECT event_id, revenue FROM {{database}}.conversion_amounts WHERE conversion_type = (SELECT goal FROM {{database}}.v_attribution_settings)
) AS c ON c.event_id = t.event_id
WHERE t.session_id != ''
GROUP BY source, session_id
COMMENT 'Visits of the site and the app, one row for each source and session id.';

CREATE VIEW IF NOT EXISTS {{database}}.v_traffic {{on_cluster}}
(
    day Date COMMENT 'Day that the visits began',
    channel LowCardinality(String) COMMENT 'Marketing channel that brought them: the default channel groups',
    sessions UInt64 COMMENT 'Visits',
    people UInt64 COMMENT 'Visitors; not to be added up over days',
    new_people UInt64 COMMENT 'Of whom it was the first visit',
    engaged_sessions UInt64 COMMENT 'Visits of more than 10 s, or two pages, or with a conversion',
    bounce_rate Float64 COMMENT 'Share of visits that were not engaged',
    pages_per_session Float64 COMMENT 'Pages and screens a visit',
    seconds_per_session Float64 COMMENT 'Seconds from the first to the last event, on average',
    conversions UInt64 COMMENT 'Conversions during these visits',
    revenue Float64 COMMENT 'Their revenue in the currency of reports'
)
AS SELECT
    day,
    marketing_channel AS channel,
    count() AS sessions,
    uniqExact(profile_id) AS people,
    countIf(ordinal = 1) AS new_people,
    countIf(engaged) AS engaged_sessions,
    1 - engaged_sessions / sessions AS bounce_rate,
    sum(pages) / sessions AS pages_per_session,
    avg(seconds) AS seconds_per_session,
    sum(conversions) AS conversions,
    sum(revenue) AS revenue
FROM (SELECT *, row_number() OVER (PARTITION BY profile_id ORDER BY started_at, source, session_id) AS ordinal FROM {{database}}.v_sessions)
GROUP BY day, channel
COMMENT 'Visits by what brought them, one row for each day and marketing channel.';

CREATE VIEW IF NOT EXISTS {{database}}.v_engagement {{on_cluster}}
(
    day Date COMMENT 'Day of the events',
    channel LowCardinality(String) COMMENT 'Where they happened, such as web or store',
    events UInt64 COMMENT 'Events of people',
    people UInt64 COMMENT 'People active there; not to be added up over days or channels',
    events_per_person Float64 COMMENT 'events / people',
    conversions UInt64 COMMENT 'Conversions of the settings'' goal there',
    revenue Float64 COMMENT 'Their revenue in the currency of reports'
)
AS
WITH assumeNotNull((SELECT timezone FROM {{database}}.v_attribution_settings)) AS zone
SELECT
    toDate(toTimeZone(t.occurred_at, zone)) AS day,
    t.channel AS channel,
    count() AS events,
    uniqExact(t.profile_id) AS people,
    events / people AS events_per_person,
    countIf(c.event_id != '') AS conversions,
    sum(toFloat64(ifNull(c.revenue, 0))) AS revenue
FROM {{database}}.v_touchpoints AS t
LEFT JOIN
(
    SELECT event_id, revenue FROM {{database}}.conversion_amounts WHERE conversion_type = (SELECT goal FROM {{database}}.v_attribution_settings)
) AS c ON c.event_id = t.event_id
WHERE t.profile_id != toUUID('00000000-0000-0000-0000-000000000000')
GROUP BY day, channel
COMMENT 'Where people are active, one row for each day and channel.';

-- `unit` is week (from Monday) or month. Every unit since the cohort's is there, also those in which nobody bought.
CREATE VIEW IF NOT EXISTS {{database}}.cohorts {{on_cluster}}
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
        )
        GROUP BY cohort, number
    )
    GROUP BY cohort
)
ARRAY JOIN entries AS entry, sums AS so_far
COMMENT 'Who bought again, one row for each cohort and unit since. Internal: feeds v_cohorts and v_cohorts_weekly.';

CREATE VIEW IF NOT EXISTS {{database}}.v_cohorts {{on_cluster}}
(
    cohort Date COMMENT 'Month of the first order, by its first day',
    number UInt32 COMMENT 'Months since then, from 0',
    people UInt64 COMMENT 'People of the cohort',
    active UInt64 COMMENT 'Those who ordered in this month',
    retention Float64 COMMENT 'active / people',
    orders UInt64 COMMENT 'Their orders in this month',
    revenue Float64 COMMENT 'Revenue of these in the currency of reports',
    revenue_per_person Float64 COMMENT 'Revenue of the cohort up to the end of this month / people'
)
AS SELECT * FROM {{database}}.cohorts(unit = 'month')
COMMENT 'Who bought again, one row for each month of first order and month since; the newest month may not be over.';

CREATE VIEW IF NOT EXISTS {{database}}.v_cohorts_weekly {{on_cluster}}
(
    cohort Date COMMENT 'Week of the first order, by its Monday',
    number UInt32 COMMENT 'Weeks since then, from 0',
    people UInt64 COMMENT 'People of the cohort',
    active UInt64 COMMENT 'Those who ordered in this week',
    retention Float64 COMMENT 'active / people',
    orders UInt64 COMMENT 'Their orders in this week',
    revenue Float64 COMMENT 'Revenue of these in the currency of reports',
    revenue_per_person Float64 COMMENT 'Revenue of the cohort up to the end of this week / people'
)
AS SELECT * FROM {{database}}.cohorts(unit = 'week')
COMMENT 'Who bought again, one row for each week of first order and week since; the newest week may not be over.';
