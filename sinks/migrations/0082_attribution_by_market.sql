-- `markets` keeps conversions of these markets; empty: all. Spend is of no market, so there is none with a market.

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
        AND (empty({markets:Array(String)}) OR (conversion_type, conversion_id) IN (SELECT conversion_type, conversion_id FROM {{database}}.v_conversions WHERE notEmpty({markets:Array(String)}) AND has({markets:Array(String)}, toString(market))))
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

CREATE OR REPLACE VIEW {{database}}.v_attribution_by_channel {{on_cluster}}
(
    day Date COMMENT 'Day of the conversion, and of the spend',
    model String COMMENT 'The model, see v_attribution_models',
    key String COMMENT 'Marketing channel, or (unattributed)',
    channel String COMMENT 'The same as key',
    conversions Float64 COMMENT 'Credited conversions of the settings'' goal',
    revenue Float64 COMMENT 'Credited revenue',
    net_revenue Float64 COMMENT 'Credited revenue after refunds',
    new_customers Float64 COMMENT 'Credited conversions that were the person''s first',
    spend Nullable(Decimal(38, 4)) COMMENT 'Money spent for that day',
    roas Nullable(Float64) COMMENT 'revenue / spend',
    romi Nullable(Float64) COMMENT '(revenue x margin - spend) / spend',
    cpa Nullable(Float64) COMMENT 'spend / conversions',
    cac Nullable(Float64) COMMENT 'spend / new_customers'
)
AS WITH toFloat64(spend) AS cost
SELECT
    day,
    model,
    key,
    key AS channel,
    conversions,
    revenue,
    net_revenue,
    new_customers,
    spend,
    revenue / nullIf(cost, 0) AS roas,
    (revenue * (SELECT margin FROM {{database}}.v_attribution_settings) - cost) / nullIf(cost, 0) AS romi,
    cost / nullIf(conversions, 0) AS cpa,
    cost / nullIf(new_customers, 0) AS cac
FROM {{database}}.attribution_by_day(
    markets = [],
    start_ms = 0, stop_ms = 4133980800000, lookback_ms = 2592000000, half_life_ms = 604800000,
    goal = '', dimension = 'channel', scope = 'all', repeats = 'keep', timezone = '', milestone = '', contacts = 'all', only = [], without = [])
COMMENT 'Credit and spend, one row for each day, model and channel: lookback 30 days, half-life 7 days. Add up rows of one model only, and rates not at all.';

CREATE OR REPLACE VIEW {{database}}.v_attribution_by_campaign {{on_cluster}}
(
    day Date COMMENT 'Day of the conversion, and of the spend',
    model String COMMENT 'The model, see v_attribution_models',
    key String COMMENT 'Campaign, or (unattributed); empty: the touch had none',
    campaign String COMMENT 'The same as key',
    conversions Float64 COMMENT 'Credited conversions of the settings'' goal',
    revenue Float64 COMMENT 'Credited revenue',
    net_revenue Float64 COMMENT 'Credited revenue after refunds',
    new_customers Float64 COMMENT 'Credited conversions that were the person''s first',
    spend Nullable(Decimal(38, 4)) COMMENT 'Money spent for that day',
    roas Nullable(Float64) COMMENT 'revenue / spend',
    romi Nullable(Float64) COMMENT '(revenue x margin - spend) / spend',
    cpa Nullable(Float64) COMMENT 'spend / conversions',
    cac Nullable(Float64) COMMENT 'spend / new_customers'
)
AS WITH toFloat64(spend) AS cost
SELECT
    day,
    model,
    key,
    key AS campaign,
    conversions,
    revenue,
    net_revenue,
    new_customers,
    spend,
    revenue / nullIf(cost, 0) AS roas,
    (revenue * (SELECT margin FROM {{database}}.v_attribution_settings) - cost) / nullIf(cost, 0) AS romi,
    cost / nullIf(conversions, 0) AS cpa,
    cost / nullIf(new_customers, 0) AS cac
FROM {{database}}.attribution_by_day(
    markets = [],
    start_ms = 0, stop_ms = 4133980800000, lookback_ms = 2592000000, half_life_ms = 604800000,
    goal = '', dimension = 'campaign', scope = 'all', repeats = 'keep', timezone = '', milestone = '', contacts = 'all', only = [], without = [])
COMMENT 'Credit and spend, one row for each day, model and campaign: lookback 30 days, half-life 7 days. Add up rows of one model only, and rates not at all.';

CREATE OR REPLACE VIEW {{database}}.v_attribution_by_creative {{on_cluster}}
(
    day Date COMMENT 'Day of the conversion, and of the spend',
    model String COMMENT 'The model, see v_attribution_models',
    key String COMMENT 'Creative, or (unattributed); empty: the touch had none',
    creative String COMMENT 'The same as key',
    conversions Float64 COMMENT 'Credited conversions of the settings'' goal',
    revenue Float64 COMMENT 'Credited revenue',
    net_revenue Float64 COMMENT 'Credited revenue after refunds',
    new_customers Float64 COMMENT 'Credited conversions that were the person''s first',
    spend Nullable(Decimal(38, 4)) COMMENT 'Money spent for that day',
    roas Nullable(Float64) COMMENT 'revenue / spend',
    romi Nullable(Float64) COMMENT '(revenue x margin - spend) / spend',
    cpa Nullable(Float64) COMMENT 'spend / conversions',
    cac Nullable(Float64) COMMENT 'spend / new_customers'
)
AS WITH toFloat64(spend) AS cost
SELECT
    day,
    model,
    key,
    key AS creative,
    conversions,
    revenue,
    net_revenue,
    new_customers,
    spend,
    revenue / nullIf(cost, 0) AS roas,
    (revenue * (SELECT margin FROM {{database}}.v_attribution_settings) - cost) / nullIf(cost, 0) AS romi,
    cost / nullIf(conversions, 0) AS cpa,
    cost / nullIf(new_customers, 0) AS cac
FROM {{database}}.attribution_by_day(
    markets = [],
    start_ms = 0, stop_ms = 4133980800000, lookback_ms = 2592000000, half_life_ms = 604800000,
    goal = '', dimension = 'creative', scope = 'all', repeats = 'keep', timezone = '', milestone = '', contacts = 'all', only = [], without = [])
COMMENT 'Credit and spend, one row for each day, model and creative: lookback 30 days, half-life 7 days. Add up rows of one model only, and rates not at all.';

CREATE OR REPLACE VIEW {{database}}.v_attribution_by_product {{on_cluster}}
(
    day Date COMMENT 'Day of the conversion, and of the spend',
    model String COMMENT 'The model, see v_attribution_models',
    key String COMMENT 'Product of the touch, or (unattributed); empty: it had none',
    product_id String COMMENT 'The same as key',
    conversions Float64 COMMENT 'Credited conversions of the settings'' goal',
    revenue Float64 COMMENT 'Credited revenue',
    net_revenue Float64 COMMENT 'Credited revenue after refunds',
    new_customers Float64 COMMENT 'Credited conversions that were the person''s first',
    spend Nullable(Decimal(38, 4)) COMMENT 'Always NULL: spend is not known by product',
    roas Nullable(Float64) COMMENT 'revenue / spend',
    romi Nullable(Float64) COMMENT '(revenue x margin - spend) / spend',
    cpa Nullable(Float64) COMMENT 'spend / conversions',
    cac Nullable(Float64) COMMENT 'spend / new_customers'
)
AS WITH toFloat64(spend) AS cost
SELECT
    day,
    model,
    key,
    key AS product_id,
    conversions,
    revenue,
    net_revenue,
    new_customers,
    spend,
    revenue / nullIf(cost, 0) AS roas,
    (revenue * (SELECT margin FROM {{database}}.v_attribution_settings) - cost) / nullIf(cost, 0) AS romi,
    cost / nullIf(conversions, 0) AS cpa,
    cost / nullIf(new_customers, 0) AS cac
FROM {{database}}.attribution_by_day(
    markets = [],
    start_ms = 0, stop_ms = 4133980800000, lookback_ms = 2592000000, half_life_ms = 604800000,
    goal = '', dimension = 'product', scope = 'all', repeats = 'keep', timezone = '', milestone = '', contacts = 'all', only = [], without = [])
COMMENT 'Credit and spend, one row for each day, model and product: lookback 30 days, half-life 7 days. Add up rows of one model only, and rates not at all.';

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
                AND (empty({markets:Array(String)}) OR (conversion_type, conversion_id) IN (SELECT conversion_type, conversion_id FROM {{database}}.v_conversions WHERE notEmpty({markets:Array(String)}) AND has({markets:Array(String)}, toString(market))))
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

CREATE OR REPLACE VIEW {{database}}.v_paths {{on_cluster}}
(
    path Array(String) COMMENT 'Marketing channels of the touches in order; empty: a conversion without a touch',
    conversions UInt64 COMMENT 'Conversions of the settings'' goal with exactly this path',
    revenue Decimal(38, 4) COMMENT 'Their revenue',
    null_journeys UInt64 COMMENT 'People with this path who never converted'
)
AS SELECT path, conversions, revenue, null_journeys
FROM {{database}}.attribution_paths(
    markets = [],
    start_ms = 0, stop_ms = 4133980800000, lookback_ms = 2592000000, goal = '', scope = 'all', repeats = 'keep',
    dimension = 'channel', contacts = 'all', only = [], without = [])
COMMENT 'Ways to a conversion, one row for each distinct path: lookback 30 days.';
