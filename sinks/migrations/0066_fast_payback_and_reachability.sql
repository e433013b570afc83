-- v_channel_reachability computes the states of people once for all segments, and v_payback attribution once: what a month has cost does not
-- depend on the model.

CREATE OR REPLACE VIEW {{database}}.v_channel_reachability {{on_cluster}}
(
    segment String COMMENT 'Segment at the end of the day, or (all)',
    channel String COMMENT 'Channel of messages, see message_channels',
    day Date COMMENT 'The day, in the time zone of reports; the state is that of its end',
    people UInt64 COMMENT 'People known: the sum of the six below',
    reachable UInt64 COMMENT 'People who can and may be written to',
    opted_out UInt64 COMMENT 'Those who said no to the channel or to marketing, unsubscribed or complained',
    no_address UInt64 COMMENT 'Those without an address for it',
    bounced UInt64 COMMENT 'Those to whom the last delivery failed for good',
    not_asked UInt64 COMMENT 'Those who never answered whether they want it: silence is not a yes',
    stale UInt64 COMMENT 'Those without a sign of life for longer than message_channels says',
    reachable_share Float64 COMMENT 'reachable / people'
)
AS
WITH assumeNotNull((SELECT timezone FROM {{database}}.v_attribution_settings)) AS zone
SELECT
    segment,
    channel,
    day,
    toUInt64(sum(sum(delta)) OVER so_far) AS people,
    toUInt64(sum(sumIf(delta, state = 'reachable')) OVER so_far) AS reachable,
    toUInt64(sum(sumIf(delta, state = 'opted_out')) OVER so_far) AS opted_out,
    toUInt64(sum(sumIf(delta, state = 'no_address')) OVER so_far) AS no_address,
    toUInt64(sum(sumIf(delta, state = 'bounced')) OVER so_far) AS bounced,
    toUInt64(sum(sumIf(delta, state = 'not_asked')) OVER so_far) AS not_asked,
    toUInt64(sum(sumIf(delta, state = 'stale')) OVER so_far) AS stale,
    if(people = 0, 0, reachable / people) AS reachable_share
FROM
(
    WITH (SELECT toDate(toTimeZone(max(occurred_at), zone)) FROM {{database}}.touchpoints) AS newest
    SELECT entry.1 AS segment, channel, state, change.1 AS day, change.2 AS delta
    FROM {{database}}.contact_states AS s
    LEFT JOIN
    (
        SELECT profile_id, groupArray((toString(segment), toDate(toTimeZone(since, zone)), toDate(toTimeZone(until, zone)))) AS memberships
        FROM {{database}}.v_segment_memberships
        GROUP BY profile_id
    ) AS m ON m.profile_id = s.profile_id
    ARRAY JOIN arrayPushFront(memberships, ('(all)', toDate(0), toDate('2100-01-01'))) AS entry
    ARRAY JOIN [(greatest(since, entry.2), 1), (least(until, entry.3), -1)] AS change
    WHERE greatest(since, entry.2) < least(until, entry.3) AND change.1 <= newest
    UNION ALL -- days on which nothing changes
    SELECT segment, channel, '' AS state, first_day + arrayJoin(range(toUInt32(greatest(newest - first_day + 1, 0)))) AS day, 0 AS delta
    FROM
    (
        SELECT segment, first_day FROM (SELECT '(all)' AS segment, toDate(toTimeZone(min(occurred_at), zone)) AS first_day FROM {{database}}.v_touchpoints WHERE profile_id != toUUID('00000000-0000-0000-0000-000000000000') HAVING count() > 0)
        UNION ALL
        SELECT toString(segment), toDate(toTimeZone(min(since), zone)) FROM {{database}}.v_segment_memberships GROUP BY segment
    ) AS s
    CROSS JOIN {{database}}.message_channels AS c
)
GROUP BY segment, channel, day
WINDOW so_far AS (PARTITION BY segment, channel ORDER BY day ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
COMMENT 'How many people could be written to, one row for each segment, channel and day.';

CREATE OR REPLACE VIEW {{database}}.v_payback {{on_cluster}}
(
    cohort Date COMMENT 'Month of the first conversion, by its first day',
    model String COMMENT 'An additive model, see v_attribution_models',
    channel String COMMENT 'Marketing channel that is credited with the first conversion, (unattributed), or (all)',
    months UInt32 COMMENT 'Months since the cohort''s, from 0',
    customers Float64 COMMENT 'Customers won',
    cac Nullable(Float64) COMMENT 'What one of them cost: spend of the cohort''s month / customers',
    margin_per_customer Float64 COMMENT 'Margin, after refunds, that one of them has brought by the end of this month',
    paid_back UInt8 COMMENT '1: that is at least what one cost'
)
AS SELECT
    p.cohort AS cohort,
    p.model AS model,
    p.channel AS channel,
    toUInt32(p.place - 1) AS months,
    p.customers AS customers,
    toFloat64(c.spend) / p.customers AS cac,
    p.brought / p.customers AS margin_per_customer,
    ifNull(margin_per_customer >= cac, 0) AS paid_back
FROM
(
    SELECT cohort, model, channel, customers, brought, place
    FROM
    (
        WITH
            (SELECT max(day) FROM {{database}}.conversion_amounts) AS newest,
            sumMap(arrayMap(entry -> entry.1, later.entries), arrayMap(entry -> entry.2 * won.credit, later.entries)) AS by_month
        SELECT
            won.cohort AS cohort,
            won.model AS model,
            arrayJoin([won.channel, '(all)']) AS channel,
            sum(won.credit) AS customers,
            arrayCumSum(arrayMap(
                month -> if(has(by_month.1, month), by_month.2[indexOf(by_month.1, month)], 0.),
                range(toUInt32(dateDiff('month', won.cohort, newest) + 1)))) AS so_far
        FROM
        (
            SELECT toStartOfMonth(v.day) AS cohort, a.model AS model, a.channel AS channel, v.profile_id AS profile_id, sum(a.credit) AS credit
            FROM {{database}}.v_attribution_default AS a
            INNER JOIN {{database}}.conversion_amounts AS v ON v.conversion_id = a.conversion_id AND v.conversion_type = a.conversion_type
            WHERE v.is_first AND v.conversion_type = (SELECT goal FROM {{database}}.v_attribution_settings)
                AND a.model IN (SELECT model FROM {{database}}.v_attribution_models WHERE additive)
            GROUP BY cohort, model, channel, profile_id
        ) AS won
        INNER JOIN
        (
            SELECT profile_id, groupArray((months, margin)) AS entries
            FROM
            (
                SELECT
                    profile_id,
                    -- An order of unknown time may arrive before the first one.
                    toUInt32(greatest(0, dateDiff('month', minIf(day, NOT time_doubtful) OVER (PARTITION BY profile_id), day))) AS months,
                    toFloat64(ifNull(net_revenue, 0)) * margin_rate AS margin
                FROM {{database}}.v_conversion_values
                WHERE conversion_type = (SELECT goal FROM {{database}}.v_attribution_settings)
            )
            GROUP BY profile_id
        ) AS later ON later.profile_id = won.profile_id
        GROUP BY cohort, model, channel
    )
    ARRAY JOIN so_far AS brought, arrayEnumerate(so_far) AS place
    WHERE customers > 0
) AS p
LEFT JOIN
(
    SELECT toStartOfMonth(date) AS month, arrayJoin([channel, '(all)']) AS channel, sum(ifNull(s.spend, 0)) AS spend
    FROM {{database}}.v_spend AS s
    GROUP BY month, channel
) AS c ON c.month = p.cohort AND c.channel = p.channel
COMMENT 'When the customers of a month have brought in what they cost, one row for each month, model, channel and month since.';
