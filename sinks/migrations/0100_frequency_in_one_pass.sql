-- message_frequency reads messages once: their weeks are filled up with those without one, not joined to them.

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
        p.messages AS messages,
        p.responses AS responses,
        p.unsubscribes AS unsubscribes,
        o.orders AS orders,
        o.revenue AS revenue,
        o.margin AS margin,
        arrayPushFront(arrayDistinct(arrayMap(stay -> stay.1, arrayFilter(stay -> stay.2 < p.week AND stay.3 >= p.week, m.stays))), '(all)') AS segments
    FROM
    (
        SELECT profile_id, channel, one.1 AS week, one.2 AS messages, one.3 AS responses, one.4 AS unsubscribes
        FROM
        (
            SELECT
                profile_id,
                channel,
                groupArray((week, messages, responses, unsubscribes)) AS said,
                min(week) AS first_week,
                max(max(week)) OVER () AS newest_week,
                if(countIf(unsubscribes > 0) > 0 AND channel != '(all)', maxIf(week, unsubscribes > 0), newest_week) AS last_week,
                range(toUInt32(1 + intDiv(last_week - first_week, 7))) AS places
            FROM {{database}}.message_weeks(markets = {markets:Array(String)}, start_ms = {start_ms:Int64}, stop_ms = {stop_ms:Int64})
            GROUP BY profile_id, channel
        )
        ARRAY JOIN arrayConcat(
            arrayFilter(one -> one.1 <= last_week, said),
            arrayMap(week -> (week, toUInt64(0), toUInt64(0), toUInt64(0)),
                arrayFilter(week -> NOT has(said.1, week), arrayMap(n -> toDate(first_week + 7 * n), places)))) AS one
    ) AS p
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
