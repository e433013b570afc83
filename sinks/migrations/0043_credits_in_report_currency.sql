-- Credit is in the currency of reports, at the rate of the day, in every model. What has no rate counts as a conversion
-- without revenue and is a row of v_missing_rates, as in v_marketing_returns.

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
    SELECT
        toDate(toTimeZone(a.converted_at, zone)) AS day,
        a.model AS model,
        multiIf({dimension:String} = 'channel', channel, {dimension:String} = 'campaign', campaign, {dimension:String} = 'creative', creative, product_id) AS key,
        credit AS c,
        credit * multiIf(a.currency = wanted OR a.revenue = 0, toFloat64(a.revenue), ifNull(x.rate, 0) > 0, round(toFloat64(a.revenue) * ifNull(x.rate, 0), 4), 0.) AS r,
        credit * multiIf(a.currency = wanted OR a.revenue = 0, toFloat64(a.net_revenue), ifNull(x.rate, 0) > 0, round(toFloat64(a.net_revenue) * ifNull(x.rate, 0), 4), 0.) AS k,
        credit * is_first AS n,
        toDecimal128(0, 4) AS s
    FROM {{database}}.attribution_credits(
        start_ms = {start_ms:Int64}, stop_ms = {stop_ms:Int64}, lookback_ms = {lookback_ms:Int64},
        half_life_ms = {half_life_ms:Float64}, goal = if({goal:String} = 'all', '', {goal:String}), scope = {scope:String}, repeats = {repeats:String}, milestone = {milestone:String},
        contacts = {contacts:String}, only = {only:Array(String)}, without = {without:Array(String)}) AS a
    LEFT JOIN {{database}}.v_rates AS x ON x.currency = a.currency AND x.date = toDate(toTimeZone(a.converted_at, zone))
    WHERE wanted_goal IN ('all', conversion_type)
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
    WHERE {dimension:String} != 'product'
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
            WHERE {goal:String} = 'all' OR conversion_type = if({goal:String} = '', (SELECT goal FROM {{database}}.v_attribution_settings), {goal:String})
        ) AS c ON c.profile_id = t.profile_id
        WHERE c.conversion_id != '' OR (newest_ms >= {start_ms:Int64} AND t.profile_id NOT IN
        (
            SELECT profile_id
            FROM {{database}}.v_conversions
            WHERE {goal:String} = 'all' OR conversion_type = if({goal:String} = '', (SELECT goal FROM {{database}}.v_attribution_settings), {goal:String})
        ))
    )
    GROUP BY codes
)
COMMENT 'Ways to a conversion and to none, one row for each distinct path of keys. Revenue is in the currency of reports, 0 without a rate. Internal: feeds v_paths and the models that learn from all journeys.';
