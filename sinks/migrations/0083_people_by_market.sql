-- Funnels and frequency of people of these markets.

CREATE OR REPLACE VIEW {{database}}.funnel_people {{on_cluster}}
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
                AND NOT is_bot
                AND (empty({markets:Array(String)}) OR profile_id IN (SELECT profile_id FROM {{database}}.v_person_markets WHERE notEmpty({markets:Array(String)}) AND has({markets:Array(String)}, toString(market))))
        )
        WHERE notEmpty(matches)
        GROUP BY profile_id
    )
)
WHERE notEmpty(times)
COMMENT 'How far people get through the steps from start_ms to stop_ms, one row for each person who takes the first. Internal: feeds funnel.';

CREATE OR REPLACE VIEW {{database}}.funnel {{on_cluster}}
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
    FROM {{database}}.funnel_people(markets = {markets:Array(String)}, steps = {steps:Array(String)}, window_ms = {window_ms:Int64}, start_ms = {start_ms:Int64}, stop_ms = {stop_ms:Int64})
    UNION ALL
    SELECT channel AS key, times
    FROM {{database}}.funnel_people(markets = {markets:Array(String)}, steps = {steps:Array(String)}, window_ms = {window_ms:Int64}, start_ms = {start_ms:Int64}, stop_ms = if({by:String} = 'channel', {stop_ms:Int64}, 0))
    UNION ALL
    SELECT toString(m.segment) AS key, p.times AS times
    FROM {{database}}.funnel_people(markets = {markets:Array(String)}, steps = {steps:Array(String)}, window_ms = {window_ms:Int64}, start_ms = {start_ms:Int64}, stop_ms = if({by:String} = 'segment', {stop_ms:Int64}, 0)) AS p
    INNER JOIN {{database}}.v_segment_memberships AS m ON m.profile_id = p.profile_id
    WHERE p.entered_at >= m.since AND p.entered_at < m.until
    UNION ALL
    SELECT if(t.channel != '' AND p.entered_at <= t.touched_at + toIntervalDay(30), toString(t.channel), '(unattributed)') AS key, p.times AS times
    FROM {{database}}.funnel_people(markets = {markets:Array(String)}, steps = {steps:Array(String)}, window_ms = {window_ms:Int64}, start_ms = {start_ms:Int64}, stop_ms = if({by:String} = 'marketing_channel', {stop_ms:Int64}, 0)) AS p
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

CREATE OR REPLACE VIEW {{database}}.v_funnel {{on_cluster}}
AS SELECT key, step, name, people, dropped, from_previous, from_first, median_hours, p90_hours
FROM {{database}}.funnel(
    markets = [], steps = {steps:Array(String)}, window_ms = toInt64({window_days:Float64} * 86400000), by = {by:String}, start_ms = 0, stop_ms = 4133980800000)
COMMENT 'How many people reach each step, one row for each key and step: v_funnel(steps = [''Product Viewed'', ''Order Completed''], window_days = 7, by = ''''), by segment, channel, marketing_channel or nothing. The columns are those of v_funnel_default.';

CREATE OR REPLACE VIEW {{database}}.message_weeks {{on_cluster}}
AS SELECT
    profile_id,
    arrayJoin([channel, '(all)']) AS channel,
    toStartOfWeek(day, 1) AS week,
    count() AS messages,
    sum(responded) AS responses,
    sum(unsubscribed) AS unsubscribes
FROM {{database}}.v_messages
WHERE sent_at >= fromUnixTimestamp64Milli({start_ms:Int64}, 'UTC') AND sent_at < fromUnixTimestamp64Milli({stop_ms:Int64}, 'UTC')
    AND (empty({markets:Array(String)}) OR has({markets:Array(String)}, toString(market)))
GROUP BY profile_id, channel, week
COMMENT 'Weeks with messages from start_ms to stop_ms, one row for each person, channel and week. Internal: feeds message_frequency.';

CREATE OR REPLACE VIEW {{database}}.message_frequency {{on_cluster}}
AS SELECT
    segment,
    channel,
    messages,
    cityHash64(profile_id) % {groups:UInt32} AS people_group,
    uniqExact(profile_id) AS people,
    count() AS person_weeks,
    sum(responses) AS responses,
    sum(orders) AS conversions,
    sum(revenue) AS revenue,
    sum(margin) AS margin,
    sum(unsubscribes) AS unsubscribes
FROM
(
    SELECT
        p.profile_id AS profile_id,
        p.channel AS channel,
        s.messages AS messages,
        s.responses AS responses,
        s.unsubscribes AS unsubscribes,
        o.orders AS orders,
        o.revenue AS revenue,
        o.margin AS margin,
        arrayPushFront(arrayDistinct(arrayMap(stay -> stay.1, arrayFilter(stay -> stay.2 < p.week AND stay.3 >= p.week, m.stays))), '(all)') AS segments
    FROM
    (
        SELECT profile_id, channel, arrayJoin(arrayMap(n -> first_week + 7 * n, range(toUInt32(1 + intDiv(last_week - first_week, 7))))) AS week
        FROM
        (
            SELECT
                profile_id,
                channel,
                min(week) AS first_week,
                max(max(week)) OVER () AS newest_week,
                if(countIf(unsubscribes > 0) > 0 AND channel != '(all)', maxIf(week, unsubscribes > 0), newest_week) AS last_week
            FROM {{database}}.message_weeks(markets = {markets:Array(String)}, start_ms = {start_ms:Int64}, stop_ms = {stop_ms:Int64})
            GROUP BY profile_id, channel
        )
    ) AS p
    LEFT JOIN {{database}}.message_weeks(markets = {markets:Array(String)}, start_ms = {start_ms:Int64}, stop_ms = {stop_ms:Int64}) AS s
        ON s.profile_id = p.profile_id AND s.channel = p.channel AND s.week = p.week
    LEFT JOIN
    (
        SELECT profile_id, toStartOfWeek(day, 1) AS week, count() AS orders, sum(c.revenue) AS revenue, sum(c.revenue * c.margin_rate) AS margin
        FROM {{database}}.customer_orders AS c
        GROUP BY profile_id, week
    ) AS o ON o.profile_id = p.profile_id AND o.week = p.week
    LEFT JOIN
    (
        WITH assumeNotNull((SELECT timezone FROM {{database}}.v_attribution_settings)) AS zone
        SELECT profile_id, groupArray((toString(segment), toDate(toTimeZone(since, zone)), toDate(toTimeZone(until, zone)))) AS stays
        FROM {{database}}.v_segment_memberships
        GROUP BY profile_id
    ) AS m ON m.profile_id = p.profile_id
)
ARRAY JOIN segments AS segment
GROUP BY segment, channel, messages, people_group
COMMENT 'What weeks with so many messages bring, one row for each segment, channel, number and group of people. Internal: feeds v_message_frequency and `throughline frequency`.';

CREATE OR REPLACE VIEW {{database}}.v_message_frequency {{on_cluster}}
(
    segment String COMMENT 'Segment at the beginning of the week, or (all)',
    channel String COMMENT 'Channel of the messages, or (all)',
    messages UInt64 COMMENT 'Messages that a person got in a week',
    people UInt64 COMMENT 'People with such a week; not to be added up',
    person_weeks UInt64 COMMENT 'How many such weeks there are: of each person from the first message to the newest week, or to unsubscribing',
    responses UInt64 COMMENT 'Messages of these weeks that were clicked or answered',
    conversions UInt64 COMMENT 'Orders of these people in these weeks, whatever led to them',
    revenue Float64 COMMENT 'Their revenue after refunds, in the currency of reports',
    margin Float64 COMMENT 'What of it is margin',
    unsubscribes UInt64 COMMENT 'Messages of these weeks that made people unsubscribe or complain',
    response_rate Nullable(Float64) COMMENT 'responses / messages sent; NULL: none were',
    conversion_rate Float64 COMMENT 'conversions / person_weeks',
    revenue_per_person_week Float64 COMMENT 'revenue / person_weeks',
    unsubscribe_rate Float64 COMMENT 'unsubscribes / person_weeks'
)
AS SELECT
    f.segment AS segment,
    f.channel AS channel,
    f.messages AS messages,
    f.people AS people,
    f.person_weeks AS person_weeks,
    f.responses AS responses,
    f.conversions AS conversions,
    f.revenue AS revenue,
    f.margin AS margin,
    f.unsubscribes AS unsubscribes,
    responses / nullIf(messages * person_weeks, 0) AS response_rate,
    conversions / person_weeks AS conversion_rate,
    revenue / person_weeks AS revenue_per_person_week,
    unsubscribes / person_weeks AS unsubscribe_rate
FROM {{database}}.message_frequency(markets = [], start_ms = 0, stop_ms = 4133980800000, groups = 1) AS f
COMMENT 'What comes of so many messages a week, one row for each segment, channel and number. Who gets many messages is not who gets few: a holdout tells cause from choice.';
