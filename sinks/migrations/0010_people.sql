-- How people move: segments as of any moment, funnels, paths, sessions, cohorts. People are those known now: what two profiles
-- did before they turned out to be one person counts as one person's. Days are those of the time zone of reports.

CREATE VIEW IF NOT EXISTS {{database}}.v_segment_memberships {{on_cluster}}
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
            PARTITION BY profile_id, segment ORDER BY changed_at, entered, change_id
            ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS next_at
    FROM {{database}}.v_segment_changes
)
WHERE entered AND next_at > changed_at
COMMENT 'Who was in which segment and when, one row for each uninterrupted stay or part of one.';

-- Each person's furthest way through the steps, as windowFunnel finds it: steps in order, other events between them do not
-- matter, the last step within the window of the first. Unlike windowFunnel it keeps the times. Of ways that are equally
-- far, a complete one is the first, an incomplete one the last. A step is an event's name or name@channel.
CREATE VIEW IF NOT EXISTS {{database}}.funnel_people {{on_cluster}}
AS SELECT
    profile_id,
    times,
    fromUnixTimestamp64Milli(times[1], 'UTC') AS entered_at,
    arrayFirst(step -> step.1 = times[1] AND has(step.2, 1), events).4 AS channel
FROM
(
    SELECT
        profile_id,
        events,
        arrayLast(way -> notEmpty(way), arrayFold(
            (ways, step) -> arrayMap(
                (way, before, place) -> multiIf(
                    NOT has(step.2, place), way,
                    place = 1, [step.1],
                    notEmpty(before) AND step.1 - before[1] <= {window_ms:Int64} AND (place < length({steps:Array(String)}) OR empty(way)), arrayPushBack(before, step.1),
                    way),
                ways, arrayPushFront(arrayPopBack(ways), CAST([], 'Array(Int64)')), arrayEnumerate(ways)),
            events,
            CAST(arrayMap(step -> [], {steps:Array(String)}), 'Array(Array(Int64))'))) AS times
    FROM
    (
        SELECT profile_id, arraySort(step -> (step.1, step.2, step.3), groupUniqArray((at, matches, event_id, toString(channel)))) AS events
        FROM
        (
            SELECT
                profile_id,
                toUnixTimestamp64Milli(occurred_at) AS at,
                event_id,
                channel,
                arrayFilter((place, step) -> step IN (toString(event), concat(event, '@', channel)), arrayEnumerate({steps:Array(String)}), {steps:Array(String)}) AS matches
            FROM {{database}}.v_touchpoints
            WHERE occurred_at >= fromUnixTimestamp64Milli({start_ms:Int64}, 'UTC') AND occurred_at < fromUnixTimestamp64Milli({stop_ms:Int64}, 'UTC')
                AND has(arrayMap(step -> splitByChar('@', step)[1], {steps:Array(String)}), event)
                AND profile_id != toUUID('00000000-0000-0000-0000-000000000000')
        )
        WHERE notEmpty(matches)
        GROUP BY profile_id
    )
)
WHERE notEmpty(times)
COMMENT 'How far people get through the steps from start_ms to stop_ms, one row for each person who takes the first. Internal: feeds funnel.';

-- `by` is segment (as of the first step), channel (where it was), marketing_channel (of the last touch within 30 days before
-- it) or empty. People in several segments count in each; the row (all) has everybody.
CREATE VIEW IF NOT EXISTS {{database}}.funnel {{on_cluster}}
AS
SELECT
    key,
    place AS step,
    ({steps:Array(String)})[place] AS name,
    countIf(length(times) >= place) AS people,
    if(place < length({steps:Array(String)}), countIf(length(times) = place), 0) AS dropped,
    people / nullIf(countIf(length(times) >= greatest(place - 1, 1)), 0) AS from_previous,
    people / count() AS from_first,
    if(place = 1 OR people = 0, NULL, quantileExactIf(0.5)((times[place] - times[place - 1]) / 3600000, length(times) >= place)) AS median_hours,
    if(place = 1 OR people = 0, NULL, quantileExactIf(0.9)((times[place] - times[place - 1]) / 3600000, length(times) >= place)) AS p90_hours
FROM
(
    SELECT '(all)' AS key, times
    FROM {{database}}.funnel_people(steps = {steps:Array(String)}, window_ms = {window_ms:Int64}, start_ms = {start_ms:Int64}, stop_ms = {stop_ms:Int64})
    UNION ALL
    SELECT channel AS key, times
    FROM {{database}}.funnel_people(steps = {steps:Array(String)}, window_ms = {window_ms:Int64}, start_ms = {start_ms:Int64}, stop_ms = if({by:String} = 'channel', {stop_ms:Int64}, 0))
    UNION ALL
    SELECT toString(m.segment) AS key, p.times AS times
    FROM {{database}}.funnel_people(steps = {steps:Array(String)}, window_ms = {window_ms:Int64}, start_ms = {start_ms:Int64}, stop_ms = if({by:String} = 'segment', {stop_ms:Int64}, 0)) AS p
    INNER JOIN {{database}}.v_segment_memberships AS m ON m.profile_id = p.profile_id
    WHERE p.entered_at >= m.since AND p.entered_at < m.until
    UNION ALL
    SELECT if(t.channel != '' AND p.entered_at <= t.touched_at + toIntervalDay(30), toString(t.channel), '(unattributed)') AS key, p.times AS times
    FROM {{database}}.funnel_people(steps = {steps:Array(String)}, window_ms = {window_ms:Int64}, start_ms = {start_ms:Int64}, stop_ms = if({by:String} = 'marketing_channel', {stop_ms:Int64}, 0)) AS p
    ASOF LEFT JOIN
    (
        SELECT profile_id, touched_at, channel
        FROM {{database}}.touches(start_ms = greatest({start_ms:Int64} - 2592000000, 0), stop_ms = if({by:String} = 'marketing_channel', {stop_ms:Int64}, 0),
            contacts = 'all', only = [], without = [])
    ) AS t ON t.profile_id = p.profile_id AND p.entered_at >= t.touched_at
)
ARRAY JOIN arrayEnumerate({steps:Array(String)}) AS place
GROUP BY key, place
COMMENT 'How many people reach each step, one row for each key and step. Internal: feeds v_funnel and `throughline funnel`.';

CREATE VIEW IF NOT EXISTS {{database}}.v_funnel {{on_cluster}}
AS SELECT key, step, name, people, dropped, from_previous, from_first, median_hours, p90_hours
FROM {{database}}.funnel(
    steps = {steps:Array(String)}, window_ms = toInt64({window_days:Float64} * 86400000), by = {by:String}, start_ms = 0, stop_ms = 4133980800000)
COMMENT 'How many people reach each step, one row for each key and step: v_funnel(steps = [''Product Viewed'', ''Order Completed''], window_days = 7, by = ''''), by segment, channel, marketing_channel or nothing. The columns are those of v_funnel_default.';

CREATE VIEW IF NOT EXISTS {{database}}.v_funnel_default {{on_cluster}}
(
    key String COMMENT 'Always (all); v_funnel tells people apart by segment or channel',
    step UInt32 COMMENT 'Number of the step, from 1',
    name String COMMENT 'Event of the step',
    people UInt64 COMMENT 'People who got so far within 7 days of the first step',
    dropped UInt64 COMMENT 'Those who got no further',
    from_previous Nullable(Float64) COMMENT 'Share of those who reached the step before; NULL: nobody did',
    from_first Float64 COMMENT 'Share of those who took the first step',
    median_hours Nullable(Float64) COMMENT 'Hours since the step before, half of the people need less',
    p90_hours Nullable(Float64) COMMENT 'Hours since the step before, nine of ten need less'
)
AS SELECT * FROM {{database}}.v_funnel(
    steps = ['Product Viewed', 'Product Added', 'Checkout Started', 'Order Completed'], window_days = 7, by = '')
COMMENT 'From a product''s page to an order, one row for each step: window 7 days.';

CREATE VIEW IF NOT EXISTS {{database}}.v_path_links {{on_cluster}}
(
    step UInt32 COMMENT 'Place of source in the path; 0: the start',
    source String COMMENT 'Marketing channel, or (start)',
    target String COMMENT 'Marketing channel of the next touch, or (conversion) or (no conversion)',
    conversions UInt64 COMMENT 'Conversions whose path takes this link at this step',
    revenue Decimal(38, 4) COMMENT 'Their revenue',
    null_journeys UInt64 COMMENT 'People who never converted and took it'
)
AS SELECT
    toUInt32(link.1) AS step,
    link.2 AS source,
    link.3 AS target,
    sum(conversions) AS conversions,
    sum(revenue) AS revenue,
    sum(null_journeys) AS null_journeys
FROM
(
    WITH arrayPushFront(path, '(start)') AS sources
    SELECT arrayZip(range(length(sources)), sources, arrayPushBack(path, '(conversion)')) AS links, conversions, revenue, toUInt64(0) AS null_journeys
    FROM {{database}}.v_paths
    WHERE conversions > 0
    UNION ALL
    WITH arrayPushFront(path, '(start)') AS sources
    SELECT arrayZip(range(length(sources)), sources, arrayPushBack(path, '(no conversion)')), toUInt64(0), toDecimal128(0, 4), null_journeys
    FROM {{database}}.v_paths
    WHERE null_journeys > 0
)
ARRAY JOIN links AS link
GROUP BY step, source, target
COMMENT 'How people get from channel to channel, for Sankey diagrams, one row for each step, source and target: lookback 30 days.';

CREATE VIEW IF NOT EXISTS {{database}}.v_channel_transitions {{on_cluster}}
(
    source String COMMENT 'Marketing channel of a touch',
    target String COMMENT 'Marketing channel of the same person''s next touch',
    transitions UInt64 COMMENT 'How often one followed the other',
    people UInt64 COMMENT 'Of how many people',
    share Float64 COMMENT 'Share of all that follows source',
    median_hours Float64 COMMENT 'Hours between the two, half of the time it takes less'
)
AS SELECT
    source,
    target,
    count() AS transitions,
    uniqExact(profile_id) AS people,
    transitions / sum(transitions) OVER (PARTITION BY source) AS share,
    quantileExact(0.5)(hours) AS median_hours
FROM
(
    SELECT
        profile_id,
        toString(channel) AS target,
        lagInFrame(toString(channel)) OVER person AS source,
        dateDiff('millisecond', lagInFrame(touched_at) OVER person, touched_at) / 3600000 AS hours,
        row_number() OVER person AS ordinal
    FROM
    (
        SELECT profile_id, event_id, argMin(touched_at, received_at) AS touched_at, argMin(channel, received_at) AS channel
        FROM {{database}}.touches(start_ms = 0, stop_ms = 4133980800000, contacts = 'all', only = [], without = [])
        GROUP BY profile_id, event_id
    )
    WINDOW person AS (PARTITION BY profile_id ORDER BY touched_at, event_id ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
)
WHERE ordinal > 1
GROUP BY source, target
COMMENT 'Which channel follows which, one row for each pair of marketing channels.';
