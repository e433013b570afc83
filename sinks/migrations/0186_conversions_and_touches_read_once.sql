-- ClickHouse analyses a view with parameters again for each view above it, and a view at every place that reads it. So the touches, journeys and
-- weights of conversions are one view, the views of credits read it themselves, and views about customers read conversions once. The rows are as before.

CREATE OR REPLACE VIEW {{database}}.attribution_weights {{on_cluster}}
AS
WITH
    path_length AS n,
    1 / occurrences[touch.channel] AS of_channel,
    multiIf(n = 1, 1., n = 2, 0.5, position IN (1, n), 0.4, 0.2 / (n - 2)) AS position_based,
    toUInt8(position = 1) + toUInt8(position = milestone) + toUInt8(position = n) AS roles,
    n - 1 - (n > 1) - (milestone NOT IN (1, n)) AS without_role
SELECT
    conversion_id,
    conversion_type,
    profile_id,
    converted_at,
    revenue,
    net_revenue,
    currency,
    market,
    is_first,
    path_length,
    position,
    touch.event_id AS touch_event_id,
    if(touch.event_id = '', NULL, touch.touched_at) AS touched_at,
    touch.channel AS channel,
    touch.campaign AS campaign,
    touch.creative AS creative,
    touch.product_id AS product_id,
    [
        ('first_touch', toFloat64(position = 1)),
        ('last_touch', toFloat64(position = n)),
        ('last_non_direct', toFloat64(position = if(last_other = 0, n, last_other))),
        ('linear', 1 / n),
        ('linear_distinct_channels', of_channel / length(occurrences)),
        ('time_decay', decay / decay_total),
        ('position_based', position_based),
        ('w_shaped', multiIf(milestone = 0, position_based, without_role = 0, roles / 3, roles > 0, 0.3 * roles, 0.1 / without_role)),
        ('j_shaped', multiIf(n = 1, 1., n = 2, if(position = 1, 0.25, 0.75), position = 1, 0.2, position = n, 0.6, 0.2 / (n - 2))),
        ('inverse_j', multiIf(n = 1, 1., n = 2, if(position = 1, 0.75, 0.25), position = 1, 0.6, position = n, 0.2, 0.2 / (n - 2))),
        ('participation', of_channel)
    ] AS weights
FROM
(
    WITH
        arrayDistinct(touches.channel) AS channels,
        (SELECT direct_channels FROM {{database}}.v_attribution_settings) AS direct_channels
    SELECT
        conversion_id,
        conversion_type,
        profile_id,
        converted_at,
        revenue,
        net_revenue,
        currency,
        market,
        is_first,
        touches,
        length(touches) AS path_length,
        if(milestone_at = toDateTime64(0, 3, 'UTC'), 0, arrayLastIndex(touched_at -> touched_at <= milestone_at, touches.touched_at)) AS milestone,
        arrayLastIndex(channel -> NOT has(direct_channels, channel), touches.channel) AS last_other,
        mapFromArrays(channels, arrayMap(channel -> countEqual(touches.channel, channel), channels)) AS occurrences,
        -- Measured from the newest touch: the shares are the same, and never all zero however short the half-life.
        arrayMap(touched_at -> exp2(dateDiff('millisecond', newest_at, touched_at) / {half_life_ms:Float64}), touches.touched_at) AS decays,
        arraySum(decays) AS decay_total
    FROM
    (
        SELECT
            *,
            CAST(if(empty(path), [(converted_at, '', '(unattributed)', '(unattributed)', '(unattributed)', '(unattributed)')], path),
                'Array(Tuple(touched_at DateTime64(3, \'UTC\'), event_id String, channel String, campaign String, creative String, product_id String))') AS touches,
            touches[-1].touched_at AS newest_at
        FROM
        (
            WITH
                -- Clicks on messages and touches of visits: time, whether of a visit, event_hash, touch, whether its channel is wanted, whether it is in the window.
                arraySort(event -> (event.1, event.2, event.3), arrayConcat(clicks, arrayMap(e -> (e.2, toUInt8(1), e.3, e.8, e.9, e.10), arrayFilter((e, yes) -> yes, of_visits, is_touch)))) AS line,
                arrayMap((event, next, n) -> event.2 = 0 AND next.2 = 1 AND n < length(line) AND next.1 - event.1 <= 300000
                        AND (tupleElement(next.4, 'channel') = tupleElement(event.4, 'channel') OR has((SELECT direct_channels FROM {{database}}.v_attribution_settings), tupleElement(next.4, 'channel'))),
                    line, arrayRotateLeft(line, 1), arrayEnumerate(line)) AS opens_a_visit,
                arrayMap((event, before, opened) -> if(opened,
                        (event.1, event.2, event.3,
                            CAST((tupleElement(event.4, 'touched_at'), tupleElement(event.4, 'event_id'), tupleElement(before.4, 'channel'),
                                if(tupleElement(event.4, 'campaign') = '', tupleElement(before.4, 'campaign'), tupleElement(event.4, 'campaign')),
                                if(tupleElement(event.4, 'creative') = '', tupleElement(before.4, 'creative'), tupleElement(event.4, 'creative')), tupleElement(event.4, 'product_id')),
                                'Tuple(touched_at DateTime64(3, \'UTC\'), event_id String, channel String, campaign String, creative String, product_id String)'),
                            before.5, event.6),
                        event),
                    line, arrayRotateRight(line, 1), arrayRotateRight(opens_a_visit, 1)) AS named_by_clicks,
                arraySort(touch -> (touch.touched_at, touch.event_id), arrayConcat(others,
                    arrayMap(event -> event.4, arrayFilter((event, opens) -> NOT opens AND event.5 AND event.6, named_by_clicks, opens_a_visit)))) AS ordered,
                arrayFilter((touch, previous, position) -> position = 1 OR touch.channel != previous,
                    ordered, arrayPopBack(arrayPushFront(ordered.channel, '')), arrayEnumerate(ordered)) AS collapsed
            SELECT
                conversion_id,
                conversion_type,
                profile_id,
                converted_at,
                revenue,
                net_revenue,
                currency,
                market,
                is_first,
                milestone_at,
                if({repeats:String} = 'collapse', collapsed, ordered) AS path
            FROM
            (
                WITH
                    assumeNotNull((SELECT toInt64(visit_pause_minutes) * 60000 FROM {{database}}.v_visit_settings)) AS pause_ms,
                    of_visits.1 AS visitors,
                    of_visits.2 AS ms,
                    of_visits.4 AS session,
                    of_visits.5 AS roles,
                    of_visits.6 AS campaign_key,
                    of_visits.7 AS click_key,
                    arrayMap((p, v, before) -> if(v = before, p, 31536000000000), arrayDifference(ms), visitors, arrayPopBack(arrayPushFront(visitors, 0))) AS pause,
                    arrayCumSum(p -> p > 86400000, pause) AS activity,
                    arrayEnumerateUniq(activity, session) AS use_of_session,
                    arrayFill(at -> at != 0, arrayMap((at, r, p) -> multiIf(bitTest(r, 3), at, p > 86400000, -31536000000000, 0), ms, roles, pause)) AS checkout_at,
                    arrayReverseFill(at -> at != 0, arrayMap((at, r, p) -> multiIf(bitTest(r, 4), at, p > 86400000, 31536000000000, 0),
                        ms, roles, arrayPopFront(arrayPushBack(pause, 31536000000000)))) AS order_at,
                    arrayMap(r -> bitAnd(r, 7), roles) AS role,
                    arrayFilter(at -> arrayExists(s -> at - s.1 BETWEEN 0 AND 1800000 OR (s.2 AND s.1 - at BETWEEN 0 AND 60000), steps),
                        arrayFilter((at, r) -> bitAnd(r, 7) = 3, ms, roles)) AS from_bank,
                    arrayMap((p, r, at, checkout, order) -> p <= 86400000 AND (r = 4 OR (r = 3 AND (at - checkout <= 1800000 OR (order - at BETWEEN 0 AND 60000) OR (p <= pause_ms + 1800000 AND has(from_bank, at))))),
                        pause, role, ms, checkout_at, order_at) AS goes_on,
                    arrayFill(m -> m > 0, arrayMap((p, s, g) -> multiIf(s != 0, 1, p >= pause_ms AND NOT g, 2, 0), pause, session, goes_on)) AS named,
                    arrayPopBack(arrayPushFront(named, 0)) AS name_known,
                    arrayMap((p, s, u, g, k) -> p > 86400000 OR (NOT g AND if(s = 0, p >= pause_ms, u = 1 AND (k = 1 OR p >= pause_ms))),
                        pause, session, use_of_session, goes_on, name_known) AS begins,
                    arrayCumSum(begins) AS visit
                SELECT
                    *,
                    arrayMap((r, first, s, c, c_visit, c_session, k, k_visit, k_session) -> multiIf(
                            r = 5, (c != 0 AND c_visit = 1 AND (s = 0 OR c_session = 1)) OR (k != 0 AND k_visit = 1 AND (s = 0 OR k_session = 1)),
                            r IN (2, 3), first = 1, 0),
                        role, arrayEnumerateUniq(visit, arrayMap(r -> r > 1, role)), session,
                        campaign_key, arrayEnumerateUniq(visit, campaign_key), arrayEnumerateUniq(activity, session, campaign_key),
                        click_key, arrayEnumerateUniq(visit, click_key), arrayEnumerateUniq(activity, session, click_key)) AS is_touch
                FROM
                (
                    SELECT g.*, s.steps AS steps
                    FROM
                    (
                        WITH
                            CAST((t.touched_at, t.event_id, t.channel, t.campaign, t.creative, t.product_id),
                                'Tuple(touched_at DateTime64(3, \'UTC\'), event_id String, channel String, campaign String, creative String, product_id String)') AS touch,
                            t.touched_at >= c.opens_at AND t.touched_at <= c.converted_at AND t.conversion_id != c.conversion_id AS counts
                        SELECT
                            c.conversion_id AS conversion_id,
                            c.conversion_type AS conversion_type,
                            any(c.profile_id) AS profile_id,
                            any(c.converted_at) AS converted_at,
                            any(c.revenue) AS revenue,
                            any(c.net_revenue) AS net_revenue,
                            any(c.currency) AS currency,
                            any(c.market) AS market,
                            any(c.is_first) AS is_first,
                            any(c.milestone_at) AS milestone_at,
                            groupArrayIf(touch, t.event_id != '' AND t.visitor = 0 AND NOT t.is_click AND counts) AS others,
                            groupArrayIf((toUnixTimestamp64Milli(t.touched_at), toUInt8(0), t.event_hash, touch, toUInt8(t.is_wanted), toUInt8(counts)),
                                t.is_click AND t.touched_at >= c.opens_at - toIntervalMinute(5) AND t.touched_at <= c.converted_at) AS clicks,
                            arraySort(e -> (e.1, e.2, e.3), groupArrayIf(
                                (t.visitor, toUnixTimestamp64Milli(t.touched_at), t.event_hash, t.session, t.visit_role, t.campaign_key,
                                    if(bitAnd(t.visit_role, 7) = 5 AND t.click_id != '', cityHash64(t.click_id), 0), touch, toUInt8(t.is_wanted), toUInt8(counts)),
                                t.visitor != 0 AND t.touched_at >= c.opens_at - toIntervalDay(1) AND t.touched_at <= c.converted_at + toIntervalMinute(5))) AS of_visits
                        FROM
                        (
                            WITH people AS (SELECT id FROM {{database}}.attribution_people(start_ms = {start_ms:Int64}, stop_ms = {stop_ms:Int64}, goal = {goal:String}))
                            SELECT
                                if(o.version > t.identity_version, o.profile_id, t.profile_id) AS profile_id,
                                t.occurred_at AS touched_at,
                                t.event_id AS event_id,
                                t.marketing_channel AS channel,
                                t.campaign AS campaign,
                                t.creative AS creative,
                                t.product_id AS product_id,
                                t.conversion_id AS conversion_id,
                                t.event_hash AS event_hash,
                                t.visitor AS visitor,
                                t.session AS session,
                                t.visit_role AS visit_role,
                                t.campaign_key AS campaign_key,
                                t.click_id AS click_id,
                                t.is_wanted AS is_wanted,
                                t.is_click AS is_click
                            FROM
                            (
                                SELECT
                                    profile_id, anchor, identity_version, occurred_at, event_id, marketing_channel, campaign, creative, product_id, conversion_id,
                                    event_hash, session, visit_role, campaign_key, click_id, if(bitAnd(visit_role, 7) = 0, 0, if(device_hash != 0, device_hash, session)) AS visitor,
                                    (empty({only:Array(String)}) OR has({only:Array(String)}, marketing_channel))
                                        AND NOT has({without:Array(String)}, marketing_channel)
                                        AND ({contacts:String} = 'all' OR ({contacts:String} = 'views') = (event IN ('Ad Impression', 'Direct Mail Sent', 'Push Notification Received')
                                            OR match(event, '^(Email|SMS|Push|WhatsApp|WhatsApp Message|Messenger Message|Telegram Message) (Sent|Delivered|Opened)$'))) AS is_wanted,
                                    touch IN ('rule', 'campaign') AND bitAnd(visit_role, 7) = 0 AND event IN (SELECT event FROM {{database}}.message_steps WHERE step = 'clicked') AS is_click
                                FROM {{database}}.touchpoints FINAL
                                PREWHERE {stop_ms:Int64} - {start_ms:Int64} > 7948800000 OR source_key = '' OR event_hash IN
                                    (
                                        SELECT event_hash
                                        FROM {{database}}.touchpoints
                                        WHERE occurred_at BETWEEN fromUnixTimestamp64Milli(greatest({start_ms:Int64} - {lookback_ms:Int64}, 0) - 86400000, 'UTC') AND fromUnixTimestamp64Milli({stop_ms:Int64} + 300000, 'UTC')
                                            AND touch != ''
                                            AND (profile_id IN (SELECT id FROM people) OR anchor IN (SELECT id FROM people))
                                    )
                                WHERE occurred_at BETWEEN fromUnixTimestamp64Milli(greatest({start_ms:Int64} - {lookback_ms:Int64}, 0) - 86400000, 'UTC') AND fromUnixTimestamp64Milli({stop_ms:Int64} + 300000, 'UTC')
                                    AND profile_id != toUUID('00000000-0000-0000-0000-000000000000')
                                    AND NOT is_bot
                                    AND event_hash NOT IN (SELECT event_hash FROM {{database}}.bot_events)
                                    AND (bitAnd(visit_role, 7) != 0 OR (touch IN ('rule', 'campaign') AND (is_wanted OR is_click)))
                            ) AS t
                            LEFT JOIN (SELECT * FROM {{database}}.identity_overrides FINAL) AS o ON o.anchor = t.anchor
                            WHERE profile_id NOT IN (SELECT profile_id FROM {{database}}.v_analytics_withdrawn)
                        ) AS t
                        RIGHT JOIN {{database}}.attribution_conversions(
                            start_ms = {start_ms:Int64}, stop_ms = {stop_ms:Int64}, lookback_ms = {lookback_ms:Int64},
                            goal = {goal:String}, scope = {scope:String}, milestone = {milestone:String}) AS c ON c.profile_id = t.profile_id
                        GROUP BY c.conversion_id, c.conversion_type
                    ) AS g
                    LEFT JOIN {{database}}.checkouts_of_servers(
                        start_ms = greatest({start_ms:Int64} - {lookback_ms:Int64}, 0) - 86400000, stop_ms = {stop_ms:Int64} + 300000) AS s ON s.person = g.profile_id
                )
            )
        )
    )
)
ARRAY JOIN touches AS touch, arrayEnumerate(touches) AS position, decays AS decay
COMMENT 'What the models give each touch of each conversion, one row for each of the two. Internal: feeds the views of credits and attribution_to_store.';

ALTER TABLE {{database}}.attribution_journeys {{on_cluster}}
    MODIFY COMMENT 'Conversions with the touches that may be credited for them, one row for each. Internal: feeds v_attribution_settled.';

ALTER TABLE {{database}}.attribution_people {{on_cluster}}
    MODIFY COMMENT 'People who may have converted from start_ms to stop_ms, and anchors of identifiers that became theirs. Internal: feeds attribution_weights and attribution_conversions.';

ALTER TABLE {{database}}.attribution_conversions {{on_cluster}}
    MODIFY COMMENT 'Conversions with the window of their touches, one row for each. Internal: feeds attribution_weights and attribution_paths.';

CREATE OR REPLACE VIEW {{database}}.v_attribution {{on_cluster}}
AS SELECT
    conversion_id,
    conversion_type,
    profile_id,
    converted_at,
    currency,
    weight.1 AS model,
    touch_event_id,
    touched_at,
    position,
    path_length,
    channel,
    campaign,
    creative,
    product_id,
    weight.2 AS credit,
    weight.2 * toFloat64(revenue) AS revenue_credit,
    weight.2 * toFloat64(net_revenue) AS net_revenue_credit
FROM {{database}}.attribution_weights(
    start_ms = 0, stop_ms = 4133980800000, lookback_ms = toInt64(round({lookback_days:Float64} * 86400000)), half_life_ms = {half_life_days:Float64} * 86400000,
    goal = '', scope = 'all', repeats = 'keep', milestone = '', contacts = 'all', only = [], without = [])
ARRAY JOIN weights AS weight
COMMENT 'What each model credits each touch of each conversion with, one row for each of the three: v_attribution(lookback_days = 30, half_life_days = 7). The columns are those of v_attribution_default.';

CREATE OR REPLACE VIEW {{database}}.v_attribution_default {{on_cluster}}
(
    conversion_id String COMMENT 'The order''s id, else the event''s',
    conversion_type LowCardinality(String) COMMENT 'The goal, such as purchase',
    profile_id UUID COMMENT 'The person as known now; nil: nobody',
    converted_at DateTime64(3, 'UTC') COMMENT 'When it happened',
    currency LowCardinality(String) COMMENT 'ISO 4217, of revenue_credit',
    model String COMMENT 'The model, see v_attribution_models',
    touch_event_id String COMMENT 'The event that was the touch; empty: there was none',
    touched_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When the touch was; NULL: there was none',
    position UInt32 COMMENT 'Place of the touch in the journey, from 1',
    path_length UInt64 COMMENT 'How many touches the journey has',
    channel String COMMENT 'Marketing channel of the touch, or (unattributed)',
    campaign String COMMENT 'Campaign of the touch, or (unattributed); empty: it had none',
    creative String COMMENT 'Creative of the touch, or (unattributed); empty: it had none',
    product_id String COMMENT 'Product of the touch, or (unattributed); empty: it had none',
    credit Float64 COMMENT 'Share of the conversion, from 0 to 1',
    revenue_credit Float64 COMMENT 'Share of its revenue',
    net_revenue_credit Float64 COMMENT 'Share of its revenue after refunds'
)
AS SELECT
    conversion_id,
    conversion_type,
    profile_id,
    converted_at,
    currency,
    weight.1 AS model,
    touch_event_id,
    touched_at,
    position,
    path_length,
    channel,
    campaign,
    creative,
    product_id,
    weight.2 AS credit,
    weight.2 * toFloat64(revenue) AS revenue_credit,
    weight.2 * toFloat64(net_revenue) AS net_revenue_credit
FROM {{database}}.attribution_weights(
    start_ms = 0, stop_ms = 4133980800000, lookback_ms = 2592000000, half_life_ms = 604800000,
    goal = '', scope = 'all', repeats = 'keep', milestone = '', contacts = 'all', only = [], without = [])
ARRAY JOIN weights AS weight
COMMENT 'What each model credits each touch of each conversion with, one row for each of the three: lookback 30 days, half-life 7 days.';

CREATE OR REPLACE VIEW {{database}}.cohorts {{on_cluster}}
AS SELECT
    cohort,
    toUInt32(entry.1) AS number,
    size AS people,
    entry.2 AS active,
    active / people AS retention,
    entry.3 AS orders,
    entry.4 AS revenue,
    so_far / people AS revenue_per_person,
    market
FROM
(
    WITH
        groupArray((number, active, orders, revenue)) AS seen,
        range(toUInt32(dateDiff({unit:String}, cohort, max(newest_day)) + 1)) AS numbers
    SELECT
        market,
        cohort,
        sumIf(active, number = 0) AS size,
        arrayMap(n -> (n, arrayFirst(e -> e.1 = n, seen)), numbers) AS found,
        arrayMap(e -> (e.1, e.2.2, e.2.3, e.2.4), found) AS entries,
        arrayCumSum(entries.4) AS sums
    FROM
    (
        SELECT
            market,
            cohort,
            toUInt32(dateDiff({unit:String}, cohort, day)) AS number,
            uniqExact(profile_id) AS active,
            count() AS orders,
            sum(toFloat64(ifNull(revenue, 0))) AS revenue,
            max(newest_day) AS newest_day
        FROM
        (
            SELECT
                c.profile_id AS profile_id,
                if(m.market = '', assumeNotNull((SELECT default_market FROM {{database}}.v_market_lookup)), m.market) AS market,
                day,
                revenue,
                newest_day,
                toDate(dateTrunc({unit:String}, min(day) OVER (PARTITION BY c.profile_id))) AS cohort
            FROM
            (
                SELECT conversion_type, profile_id, day, revenue, time_doubtful, max(day) OVER () AS newest_day
                FROM {{database}}.sale_amounts
                WHERE NOT is_return
            ) AS c
            LEFT JOIN {{database}}.v_person_markets AS m ON m.profile_id = c.profile_id
            WHERE conversion_type = (SELECT goal FROM {{database}}.v_attribution_settings)
                AND c.profile_id != toUUID('00000000-0000-0000-0000-000000000000')
                AND NOT time_doubtful
        )
        GROUP BY market, cohort, number
    )
    GROUP BY market, cohort
)
ARRAY JOIN entries AS entry, sums AS so_far
COMMENT 'Who bought again, one row for each market, cohort and unit since. Internal: feeds v_cohorts and v_cohorts_weekly.';

DROP VIEW IF EXISTS {{database}}.undated_conversions {{on_cluster}};

CREATE OR REPLACE VIEW {{database}}.v_payback_by_market {{on_cluster}}
(
    cohort Date COMMENT 'Month of the first conversion, by its first day',
    model String COMMENT 'An additive model, see v_attribution_models',
    channel String COMMENT 'Marketing channel that is credited with the first conversion, (unattributed), or (all)',
    market String COMMENT 'Market of the first conversion, and of the spend, see v_markets',
    months UInt32 COMMENT 'Months since the cohort''s, from 0',
    customers Float64 COMMENT 'Customers won',
    cac Nullable(Float64) COMMENT 'What one of them cost: spend of the cohort''s month for this market / customers',
    margin_per_customer Float64 COMMENT 'Margin, after refunds, that one of them has brought by the end of this month, in whichever market',
    paid_back UInt8 COMMENT '1: that is at least what one cost'
)
AS SELECT
    p.cohort AS cohort,
    p.model AS model,
    p.channel AS channel,
    p.market AS market,
    toUInt32(p.place - 1) AS months,
    p.customers AS customers,
    toFloat64(c.spend) / p.customers AS cac,
    p.brought / p.customers AS margin_per_customer,
    ifNull(margin_per_customer >= cac, 0) AS paid_back
FROM
(
    SELECT cohort, model, channel, market, customers, brought, place
    FROM
    (
        WITH
            assumeNotNull((SELECT timezone FROM {{database}}.v_attribution_settings)) AS zone,
            assumeNotNull((SELECT goal FROM {{database}}.v_attribution_settings)) AS wanted_goal,
            sumMap(arrayMap(entry -> entry.1, later.entries), arrayMap(entry -> entry.2 * won.credit, later.entries)) AS by_month
        SELECT
            won.cohort AS cohort,
            won.model AS model,
            arrayJoin([won.channel, '(all)']) AS channel,
            won.market AS market,
            sum(won.credit) AS customers,
            arrayCumSum(arrayMap(
                month -> if(has(by_month.1, month), by_month.2[indexOf(by_month.1, month)], 0.),
                range(toUInt32(dateDiff('month', won.cohort, max(later.newest_day)) + 1)))) AS so_far
        FROM
        (
            SELECT toStartOfMonth(toDate(toTimeZone(a.converted_at, zone))) AS cohort, weight.1 AS model, a.channel AS channel, toString(a.market) AS market, a.profile_id AS profile_id, sum(assumeNotNull(weight.2)) AS credit
            FROM {{database}}.attribution_weights(
                start_ms = 0, stop_ms = 4133980800000, lookback_ms = 2592000000, half_life_ms = 604800000,
                goal = '', scope = 'all', repeats = 'keep', milestone = '', contacts = 'all', only = [], without = []) AS a
            ARRAY JOIN a.weights AS weight
            WHERE a.is_first AND a.conversion_type = wanted_goal AND weight.1 IN (SELECT model FROM {{database}}.v_attribution_models WHERE additive)
            GROUP BY cohort, model, channel, market, profile_id
        ) AS won
        INNER JOIN
        (
            SELECT profile_id, groupArray((months, margin)) AS entries, max(newest_day) AS newest_day
            FROM
            (
                SELECT
                    profile_id,
                    -- An order of unknown time may arrive before the first one.
                    toUInt32(greatest(0, dateDiff('month', minIf(day, NOT time_doubtful) OVER (PARTITION BY profile_id), day))) AS months,
                    toFloat64(ifNull(net_revenue, 0)) * margin_rate AS margin,
                    newest_day
                FROM
                (
                    SELECT conversion_type, profile_id, day, time_doubtful, net_revenue, margin_rate, max(day) OVER () AS newest_day
                    FROM {{database}}.v_conversion_values
                )
                WHERE conversion_type = wanted_goal
            )
            GROUP BY profile_id
        ) AS later ON later.profile_id = won.profile_id
        GROUP BY cohort, model, channel, market
    )
    ARRAY JOIN so_far AS brought, arrayEnumerate(so_far) AS place
    WHERE customers > 0
) AS p
LEFT JOIN
(
    SELECT toStartOfMonth(date) AS month, arrayJoin([channel, '(all)']) AS channel, toString(market) AS market, sum(ifNull(s.spend, 0)) AS spend
    FROM {{database}}.v_spend AS s
    GROUP BY month, channel, market
) AS c ON c.month = p.cohort AND c.channel = p.channel AND c.market = p.market
COMMENT 'When the customers whom a month has won in a market have brought in what they cost, one row for each month, model, channel, market and month since. v_payback has all markets together, and the spend that names none.';
