-- A conversion brings its market to its credits, so that a report of a market need not look all conversions up once more.

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
    market,
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
        time_doubtful AS is_undated,
        row_number() OVER goal_of_person AS ordinal,
        lagInFrame(converted_at) OVER goal_of_person AS previous_at,
        maxIf(converted_at, conversion_type = wanted_milestone AND NOT is_undated) OVER
            (PARTITION BY profile_id ORDER BY converted_at, conversion_type != wanted_milestone, conversion_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS milestone_at
    FROM {{database}}.v_conversions
    WHERE ({goal:String} = '' OR conversion_type IN ({goal:String}, wanted_milestone))
        AND ({stop_ms:Int64} - {start_ms:Int64} > 7948800000 OR profile_id = toUUID('00000000-0000-0000-0000-000000000000')
            OR profile_id IN (SELECT id FROM {{database}}.attribution_people(start_ms = {start_ms:Int64}, stop_ms = {stop_ms:Int64}, goal = {goal:String})))
    WINDOW goal_of_person AS (PARTITION BY profile_id, conversion_type ORDER BY is_undated, converted_at, conversion_id ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
)
WHERE {goal:String} IN ('', conversion_type)
    AND converted_at >= fromUnixTimestamp64Milli({start_ms:Int64}, 'UTC') AND converted_at < fromUnixTimestamp64Milli({stop_ms:Int64}, 'UTC')
COMMENT 'Conversions with the window of their touches, one row for each. Internal: feeds attribution_journeys and attribution_paths.';

CREATE OR REPLACE VIEW {{database}}.attribution_journeys {{on_cluster}}
AS
WITH
    arraySort(touch -> (touch.touched_at, touch.event_id), arrayConcat(others,
        arrayMap(e -> e.8, arrayFilter((e, yes) -> yes AND e.9, of_visits, is_touch)))) AS ordered,
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
                groupArrayIf(touch, t.event_id != '' AND t.visitor = 0 AND counts) AS others,
                arraySort(e -> (e.1, e.2, e.3), groupArrayIf(
                    (t.visitor, toUnixTimestamp64Milli(t.touched_at), t.event_hash, t.session, t.visit_role, t.campaign_key,
                        if(bitAnd(t.visit_role, 7) = 5 AND t.click_id != '', cityHash64(t.click_id), 0), touch, t.is_wanted AND counts),
                    t.visitor != 0 AND t.touched_at >= c.opens_at - toIntervalDay(1) AND t.touched_at <= c.converted_at + toIntervalMinute(1))) AS of_visits
            FROM {{database}}.touch_candidates(
                start_ms = {start_ms:Int64}, stop_ms = {stop_ms:Int64}, lookback_ms = {lookback_ms:Int64}, goal = {goal:String},
                contacts = {contacts:String}, only = {only:Array(String)}, without = {without:Array(String)}) AS t
            RIGHT JOIN {{database}}.attribution_conversions(
                start_ms = {start_ms:Int64}, stop_ms = {stop_ms:Int64}, lookback_ms = {lookback_ms:Int64},
                goal = {goal:String}, scope = {scope:String}, milestone = {milestone:String}) AS c ON c.profile_id = t.profile_id
            GROUP BY c.conversion_id, c.conversion_type
        ) AS g
        LEFT JOIN {{database}}.checkouts_of_servers(
            start_ms = greatest({start_ms:Int64} - {lookback_ms:Int64}, 0) - 86400000, stop_ms = {stop_ms:Int64} + 60000) AS s ON s.person = g.profile_id
    )
)
COMMENT 'Conversions with the touches that may be credited for them, one row for each. Internal: feeds attribution_credits.';

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
        FROM {{database}}.attribution_journeys(
            start_ms = {start_ms:Int64}, stop_ms = {stop_ms:Int64}, lookback_ms = {lookback_ms:Int64},
            goal = {goal:String}, scope = {scope:String}, repeats = {repeats:String}, milestone = {milestone:String},
            contacts = {contacts:String}, only = {only:Array(String)}, without = {without:Array(String)})
    )
)
ARRAY JOIN touches AS touch, arrayEnumerate(touches) AS position, decays AS decay
COMMENT 'What the models give each touch of each conversion, one row for each of the two. Internal: feeds attribution_credits and attribution_stored.';

CREATE OR REPLACE VIEW {{database}}.attribution_by_day {{on_cluster}}
AS
WITH
    if({goal:String} = '', (SELECT goal FROM {{database}}.v_attribution_settings), {goal:String}) AS wanted_goal,
    if({timezone:String} = '', (SELECT timezone FROM {{database}}.v_attribution_settings), {timezone:String}) AS zone,
    assumeNotNull((SELECT currency FROM {{database}}.v_report_settings)) AS wanted
SELECT
    day,
    model,
    key,
    sum(c) AS conversions,
    sum(r) AS revenue,
    sum(k) AS net_revenue,
    sum(n) AS new_customers,
    if({dimension:String} = 'product', NULL, sum(s)) AS spend
FROM
(
    SELECT day, one.1 AS model, key, one.2 AS c, one.3 AS r, one.4 AS k, one.5 AS n, toDecimal128(0, 4) AS s
    FROM
    (
        WITH
            a.weights.2 AS credits,
            a.currency = wanted OR a.revenue = 0 AS as_it_is,
            ifNull(x.rate, 0) AS rate,
            multiIf(as_it_is, toFloat64(a.revenue), rate > 0, round(toFloat64(a.revenue) * rate, 4), 0.) AS worth,
            multiIf(as_it_is, toFloat64(a.net_revenue), rate > 0, round(toFloat64(a.net_revenue) * rate, 4), 0.) AS net_worth
        SELECT
            toDate(toTimeZone(a.converted_at, zone)) AS day,
            multiIf({dimension:String} = 'channel', channel, {dimension:String} = 'campaign', campaign, {dimension:String} = 'creative', creative, product_id) AS key,
            any(a.weights.1) AS models,
            sumForEach(credits) AS of_conversions,
            sumForEach(arrayMap(credit -> credit * worth, credits)) AS of_revenue,
            sumForEach(arrayMap(credit -> credit * net_worth, credits)) AS of_net_revenue,
            sumForEach(arrayMap(credit -> credit * is_first, credits)) AS of_new_customers
        FROM {{database}}.attribution_weights(
            start_ms = {start_ms:Int64}, stop_ms = {stop_ms:Int64}, lookback_ms = {lookback_ms:Int64},
            half_life_ms = {half_life_ms:Float64}, goal = if({goal:String} = 'all', '', {goal:String}), scope = {scope:String}, repeats = {repeats:String}, milestone = {milestone:String},
            contacts = {contacts:String}, only = {only:Array(String)}, without = {without:Array(String)}) AS a
        LEFT JOIN {{database}}.v_rates AS x ON x.currency = a.currency AND x.date = toDate(toTimeZone(a.converted_at, zone))
        WHERE wanted_goal IN ('all', conversion_type)
        AND (empty({markets:Array(String)}) OR has({markets:Array(String)}, toString(a.market)))
        GROUP BY day, key
    )
    ARRAY JOIN arrayZip(models, of_conversions, of_revenue, of_net_revenue, of_new_customers) AS one
    UNION ALL
    SELECT
        date AS day,
        models.model AS model,
        multiIf({dimension:String} = 'channel', channel, {dimension:String} = 'campaign', campaign, creative) AS key,
        0. AS c,
        0. AS r,
        0. AS k,
        0. AS n,
        toDecimal128(ifNull(spend, toDecimal128(0, 4)), 4) AS s
    FROM {{database}}.v_spend
    CROSS JOIN {{database}}.v_attribution_models AS models
    WHERE {dimension:String} != 'product' AND empty({markets:Array(String)})
        AND date >= toDate(toTimeZone(fromUnixTimestamp64Milli({start_ms:Int64}, 'UTC'), zone))
        AND date <= toDate(toTimeZone(fromUnixTimestamp64Milli({stop_ms:Int64} - 1, 'UTC'), zone))
)
GROUP BY day, model, key
COMMENT 'Credit and spend in the currency of reports, one row for each day, model and key; amounts without a rate are 0, see v_missing_rates. Internal: feeds v_attribution_by_… and `throughline attribution report`.';

CREATE OR REPLACE VIEW {{database}}.attribution_paths {{on_cluster}}
AS
WITH
    (SELECT arraySort(groupUniqArray(toString(multiIf({dimension:String} = 'channel', marketing_channel, {dimension:String} = 'campaign', campaign, {dimension:String} = 'creative', creative, product_id)))) FROM {{database}}.touchpoints) AS names,
    assumeNotNull((SELECT currency FROM {{database}}.v_report_settings)) AS wanted,
    assumeNotNull((SELECT timezone FROM {{database}}.v_attribution_settings)) AS zone
SELECT
    arrayMap(code -> names[code], codes) AS path,
    conversions,
    revenue,
    squares,
    null_journeys
FROM
(
    SELECT
        codes,
        countIf(converted) AS conversions,
        sum(worth) AS revenue,
        sum(toFloat64(worth) * toFloat64(worth)) AS squares,
        countIf(NOT converted) AS null_journeys
    FROM
    (
        WITH
            c.conversion_id != '' AS is_conversion,
            if(is_conversion, toUnixTimestamp64Milli(c.opens_at), greatest(newest_ms - {lookback_ms:Int64}, 0)) AS opens_ms,
            if(is_conversion, toUnixTimestamp64Milli(c.converted_at), newest_ms) AS closes_ms,
            bitShiftLeft(toUInt256(opens_ms), 208) AS opens,
            bitShiftLeft(toUInt256(closes_ms + 1), 208) AS closes,
            arrayFilter(touch -> touch.2 = c.conversion_id, own).1 AS not_its_touches,
            arraySort(arrayFilter(place -> place >= opens AND place < closes AND NOT has(not_its_touches, place), places)) AS ordered,
            arrayMap(place -> toUInt32(place), ordered) AS every
        SELECT
            if({repeats:String} = 'collapse', arrayCompact(every), every) AS codes,
            is_conversion AS converted,
            c.revenue AS worth
        FROM
        (
            WITH
                bitShiftLeft(toUInt256(toUnixTimestamp64Milli(touched_at)), 208)
                    + bitShiftLeft(reinterpretAsUInt256(reverse(toFixedString(substring(event_id, 1, 22), 22))), 32)
                    + transform(multiIf({dimension:String} = 'channel', channel, {dimension:String} = 'campaign', campaign, {dimension:String} = 'creative', creative, product_id), names, arrayEnumerate(names), 0) AS place
            SELECT
                profile_id,
                groupArray(place) AS places,
                groupArrayIf((place, conversion_id), conversion_id != '') AS own,
                toUnixTimestamp64Milli(max(touched_at)) AS newest_ms
            FROM {{database}}.touches(
                start_ms = greatest({start_ms:Int64} - {lookback_ms:Int64}, 0), stop_ms = {stop_ms:Int64} - 1,
                contacts = {contacts:String}, only = {only:Array(String)}, without = {without:Array(String)})
            GROUP BY profile_id
        ) AS t
        FULL JOIN
        (
            SELECT
                a.conversion_id AS conversion_id,
                a.profile_id AS profile_id,
                a.converted_at AS converted_at,
                a.opens_at AS opens_at,
                multiIf(
                    a.currency = wanted OR a.revenue = 0, toDecimal128(a.revenue, 4),
                    x.rate > 0, toDecimal128(toString(round(toFloat64(a.revenue) * x.rate, 4)), 4),
                    toDecimal128(0, 4)) AS revenue
            FROM {{database}}.attribution_conversions(
                start_ms = {start_ms:Int64}, stop_ms = {stop_ms:Int64}, lookback_ms = {lookback_ms:Int64},
                goal = if({goal:String} = 'all', '', {goal:String}), scope = {scope:String}, milestone = '') AS a
            LEFT JOIN {{database}}.v_rates AS x ON x.currency = a.currency AND x.date = toDate(toTimeZone(a.converted_at, zone))
            WHERE ({goal:String} = 'all' OR conversion_type = if({goal:String} = '', (SELECT goal FROM {{database}}.v_attribution_settings), {goal:String}))
                AND (empty({markets:Array(String)}) OR has({markets:Array(String)}, toString(a.market)))
        ) AS c ON c.profile_id = t.profile_id
        WHERE c.conversion_id != '' OR (newest_ms >= {start_ms:Int64}
            AND (empty({markets:Array(String)}) OR t.profile_id IN (SELECT profile_id FROM {{database}}.v_person_markets WHERE notEmpty({markets:Array(String)}) AND has({markets:Array(String)}, toString(market))))
            AND t.profile_id NOT IN
        (
            SELECT profile_id
            FROM {{database}}.v_conversions
            WHERE {goal:String} = 'all' OR conversion_type = if({goal:String} = '', (SELECT goal FROM {{database}}.v_attribution_settings), {goal:String})
        ))
    )
    GROUP BY codes
)
COMMENT 'Ways to a conversion and to none, one row for each distinct path of keys. Revenue is in the currency of reports, 0 without a rate. Internal: feeds v_paths and the models that learn from all journeys.';
