-- The rule models and what they add up to. The formulas are those of `processors/attribution.py`.

CREATE VIEW IF NOT EXISTS {{database}}.v_attribution_models {{on_cluster}}
(
    model String COMMENT 'Name of the model',
    additive UInt8 COMMENT '1: the credits of a conversion add up to 1',
    description String COMMENT 'Which touches of a journey get how much'
)
AS SELECT entry.1 AS model, entry.2 AS additive, entry.3 AS description
FROM
(
    SELECT arrayJoin([
        ('first_touch', 1, 'all to the first touch'),
        ('last_touch', 1, 'all to the last touch'),
        ('last_non_direct', 1, 'all to the last touch that is not direct; to the last touch when all are'),
        ('linear', 1, 'the same to each touch'),
        ('linear_distinct_channels', 1, 'the same to each distinct channel'),
        ('time_decay', 1, 'half as much to a touch that is one half-life older'),
        ('position_based', 1, '40 % to the first, 40 % to the last, 20 % to those between'),
        ('w_shaped', 1, '30 % to the first, 30 % to the last at or before the milestone, 30 % to the last, 10 % to the others; without a milestone as position_based'),
        ('j_shaped', 1, '20 % to the first, 60 % to the last, 20 % to those between'),
        ('inverse_j', 1, '60 % to the first, 20 % to the last, 20 % to those between'),
        ('participation', 0, 'all to each distinct channel')
    ]) AS entry
)
COMMENT 'The models of v_attribution, one row for each.';

-- The one place where the models are written down for the database. A conversion without a touch gets a stand-in touch
-- with the key (unattributed): every model gives it the weight 1, so no total is lost.
-- A channel that occurs several times shares what it gets among its touches, for the finer keys.
CREATE VIEW IF NOT EXISTS {{database}}.attribution_weights {{on_cluster}}
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

CREATE VIEW IF NOT EXISTS {{database}}.attribution_credits {{on_cluster}}
AS SELECT
    * EXCEPT (weights),
    weight.1 AS model,
    weight.2 AS credit,
    weight.2 * toFloat64(revenue) AS revenue_credit,
    weight.2 * toFloat64(net_revenue) AS net_revenue_credit
FROM {{database}}.attribution_weights(
    start_ms = {start_ms:Int64}, stop_ms = {stop_ms:Int64}, lookback_ms = {lookback_ms:Int64}, half_life_ms = {half_life_ms:Float64},
    goal = {goal:String}, scope = {scope:String}, repeats = {repeats:String}, milestone = {milestone:String},
    contacts = {contacts:String}, only = {only:Array(String)}, without = {without:Array(String)})
ARRAY JOIN weights AS weight
COMMENT 'What each model credits each touch of each conversion with, one row for each of the three. Internal: feeds every view and report of attribution.';

CREATE VIEW IF NOT EXISTS {{database}}.v_attribution {{on_cluster}}
AS SELECT
    conversion_id,
    conversion_type,
    profile_id,
    converted_at,
    currency,
    model,
    touch_event_id,
    touched_at,
    position,
    path_length,
    channel,
    campaign,
    creative,
    product_id,
    credit,
    revenue_credit,
    net_revenue_credit
FROM {{database}}.attribution_credits(
    start_ms = 0, stop_ms = 4133980800000, lookback_ms = toInt64(round({lookback_days:Float64} * 86400000)),
    half_life_ms = {half_life_days:Float64} * 86400000, goal = '', scope = 'all', repeats = 'keep', milestone = '', contacts = 'all', only = [], without = [])
COMMENT 'What each model credits each touch of each conversion with, one row for each of the three: v_attribution(lookback_days = 30, half_life_days = 7). The columns are those of v_attribution_default.';

CREATE VIEW IF NOT EXISTS {{database}}.v_attribution_default {{on_cluster}}
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
AS SELECT * FROM {{database}}.v_attribution(lookback_days = 30, half_life_days = 7)
COMMENT 'What each model credits each touch of each conversion with, one row for each of the three: lookback 30 days, half-life 7 days.';

-- Credit and spend by day. They meet in one GROUP BY, which keeps spend without credit and credit without spend.
-- `dimension` is channel, campaign, creative or product; `goal` is a conversion type or all; an empty one means
-- the one of the settings, and so does an empty `timezone`. Spend is counted by its own date and is not known by product.
CREATE VIEW IF NOT EXISTS {{database}}.attribution_by_day {{on_cluster}}
AS
WITH
    if({goal:String} = '', (SELECT goal FROM {{database}}.v_attribution_settings), {goal:String}) AS wanted_goal,
    if({timezone:String} = '', (SELECT timezone FROM {{database}}.v_attribution_settings), {timezone:String}) AS zone
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
        toDate(toTimeZone(converted_at, zone)) AS day,
        model,
        multiIf({dimension:String} = 'channel', channel, {dimension:String} = 'campaign', campaign, {dimension:String} = 'creative', creative, product_id) AS key,
        credit AS c,
        revenue_credit AS r,
        net_revenue_credit AS k,
        credit * is_first AS n,
        toDecimal128(0, 4) AS s
    FROM {{database}}.attribution_credits(
        start_ms = {start_ms:Int64}, stop_ms = {stop_ms:Int64}, lookback_ms = {lookback_ms:Int64},
        half_life_ms = {half_life_ms:Float64}, goal = if({goal:String} = 'all', '', {goal:String}), scope = {scope:String}, repeats = {repeats:String}, milestone = {milestone:String},
        contacts = {contacts:String}, only = {only:Array(String)}, without = {without:Array(String)})
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
        toDecimal128(spend, 4) AS s
    FROM {{database}}.spend FINAL
    CROSS JOIN {{database}}.v_attribution_models AS models
    WHERE {dimension:String} != 'product'
        AND date >= toDate(toTimeZone(fromUnixTimestamp64Milli({start_ms:Int64}, 'UTC'), zone))
        AND date <= toDate(toTimeZone(fromUnixTimestamp64Milli({stop_ms:Int64} - 1, 'UTC'), zone))
)
GROUP BY day, model, key
COMMENT 'Credit and spend, one row for each day, model and key. Internal: feeds v_attribution_by_… and `throughline attribution report`.';

CREATE VIEW IF NOT EXISTS {{database}}.v_attribution_by_channel {{on_cluster}}
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
    start_ms = 0, stop_ms = 4133980800000, lookback_ms = 2592000000, half_life_ms = 604800000,
    goal = '', dimension = 'channel', scope = 'all', repeats = 'keep', timezone = '', milestone = '', contacts = 'all', only = [], without = [])
COMMENT 'Credit and spend, one row for each day, model and channel: lookback 30 days, half-life 7 days. Add up rows of one model only, and rates not at all.';

CREATE VIEW IF NOT EXISTS {{database}}.v_attribution_by_campaign {{on_cluster}}
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
    start_ms = 0, stop_ms = 4133980800000, lookback_ms = 2592000000, half_life_ms = 604800000,
    goal = '', dimension = 'campaign', scope = 'all', repeats = 'keep', timezone = '', milestone = '', contacts = 'all', only = [], without = [])
COMMENT 'Credit and spend, one row for each day, model and campaign: lookback 30 days, half-life 7 days. Add up rows of one model only, and rates not at all.';

CREATE VIEW IF NOT EXISTS {{database}}.v_attribution_by_creative {{on_cluster}}
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
    start_ms = 0, stop_ms = 4133980800000, lookback_ms = 2592000000, half_life_ms = 604800000,
    goal = '', dimension = 'creative', scope = 'all', repeats = 'keep', timezone = '', milestone = '', contacts = 'all', only = [], without = [])
COMMENT 'Credit and spend, one row for each day, model and creative: lookback 30 days, half-life 7 days. Add up rows of one model only, and rates not at all.';

CREATE VIEW IF NOT EXISTS {{database}}.v_attribution_by_product {{on_cluster}}
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
    start_ms = 0, stop_ms = 4133980800000, lookback_ms = 2592000000, half_life_ms = 604800000,
    goal = '', dimension = 'product', scope = 'all', repeats = 'keep', timezone = '', milestone = '', contacts = 'all', only = [], without = [])
COMMENT 'Credit and spend, one row for each day, model and product: lookback 30 days, half-life 7 days. Add up rows of one model only, and rates not at all.';
