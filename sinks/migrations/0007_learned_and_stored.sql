-- What models that learn from all journeys found (`throughline attribution fit`), credits stored for dashboards
-- (`throughline attribution refresh`), and whether everything adds up. The live views remain the truth.

CREATE TABLE IF NOT EXISTS {{database}}.attribution_models {{on_cluster}}
(
    run UInt64 COMMENT 'When it was computed, milliseconds since 1970: a higher one is newer',
    goal LowCardinality(String) COMMENT 'The conversion type; all: every one',
    dimension LowCardinality(String) COMMENT 'channel, campaign, creative or product',
    model LowCardinality(String) COMMENT 'markov_1, markov_2, markov_3, markov_1_pathwise, shapley, shapley_rate_subset or shao_li',
    model_order UInt8 COMMENT 'How many touches the next one depends on; 0: not a Markov chain',
    key String COMMENT 'Channel, campaign, creative or product; (unattributed): conversions without a touch',
    removal_effect Nullable(Float64) COMMENT 'Share of conversions lost without the key; of shapley_rate_subset and shao_li the raw value; NULL: the model has none',
    share Float64 COMMENT 'Share of the conversions that had a touch; 0 for (unattributed)',
    conversions Float64 COMMENT 'Credited conversions',
    revenue Float64 COMMENT 'Credited revenue',
    share_low Nullable(Float64) COMMENT 'Lower end of the 95 % interval of share; NULL: no bootstrap was asked for',
    share_high Nullable(Float64) COMMENT 'Upper end',
    revenue_low Nullable(Float64) COMMENT 'Lower end of the 95 % interval of revenue',
    revenue_high Nullable(Float64) COMMENT 'Upper end',
    journeys UInt64 COMMENT 'Converting journeys with the key: below 30, the share is hardly more than chance',
    start_at DateTime64(3, 'UTC') COMMENT 'Beginning of the period of the conversions',
    stop_at DateTime64(3, 'UTC') COMMENT 'The first instant after it',
    lookback_ms Int64 COMMENT 'Window of a touch, milliseconds'
)
ENGINE = {{replicated}}MergeTree
ORDER BY (run, goal, dimension, model, key)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Results of models that learn from all journeys, one row for each run, goal, dimension, model and key. Only grows.';

CREATE VIEW IF NOT EXISTS {{database}}.v_attribution_markov {{on_cluster}}
(
    run UInt64 COMMENT 'The computation, a higher one is newer',
    is_latest UInt8 COMMENT '1: there is no newer one of the same goal, dimension and model',
    goal LowCardinality(String) COMMENT 'The conversion type; all: every one',
    dimension LowCardinality(String) COMMENT 'channel, campaign, creative or product',
    model LowCardinality(String) COMMENT 'markov_1, markov_2, markov_3 or markov_1_pathwise',
    order UInt8 COMMENT 'How many touches the next one depends on',
    key String COMMENT 'Channel, campaign, creative or product; (unattributed): conversions without a touch',
    removal_effect Nullable(Float64) COMMENT 'Share of conversions that would be lost without the key',
    share Float64 COMMENT 'Share of the conversions that had a touch',
    conversions Float64 COMMENT 'Credited conversions',
    revenue Float64 COMMENT 'Credited revenue',
    share_low Nullable(Float64) COMMENT 'Lower end of the 95 % interval of share',
    share_high Nullable(Float64) COMMENT 'Upper end',
    revenue_low Nullable(Float64) COMMENT 'Lower end of the 95 % interval of revenue',
    revenue_high Nullable(Float64) COMMENT 'Upper end',
    journeys UInt64 COMMENT 'Converting journeys with the key: below 30, the share is hardly more than chance'
)
AS SELECT
    run,
    run = max(run) OVER (PARTITION BY goal, dimension, model) AS is_latest,
    goal, dimension, model, model_order AS order, key, removal_effect, share, conversions, revenue,
    share_low, share_high, revenue_low, revenue_high, journeys
FROM {{database}}.attribution_models
WHERE model_order > 0
COMMENT 'Markov chain attribution as computed by `throughline attribution fit`, one row for each run, goal, dimension, order and key.';

CREATE VIEW IF NOT EXISTS {{database}}.v_attribution_shapley {{on_cluster}}
(
    run UInt64 COMMENT 'The computation, a higher one is newer',
    is_latest UInt8 COMMENT '1: there is no newer one of the same goal, dimension and model',
    goal LowCardinality(String) COMMENT 'The conversion type; all: every one',
    dimension LowCardinality(String) COMMENT 'channel, campaign, creative or product',
    model LowCardinality(String) COMMENT 'shapley, shapley_rate_subset or shao_li',
    order UInt8 COMMENT 'Always 0',
    key String COMMENT 'Channel, campaign, creative or product; (unattributed): conversions without a touch',
    removal_effect Nullable(Float64) COMMENT 'The raw value of shapley_rate_subset and shao_li; NULL for shapley',
    share Float64 COMMENT 'Share of the conversions that had a touch',
    conversions Float64 COMMENT 'Credited conversions',
    revenue Float64 COMMENT 'Credited revenue',
    share_low Nullable(Float64) COMMENT 'Lower end of the 95 % interval of share',
    share_high Nullable(Float64) COMMENT 'Upper end',
    revenue_low Nullable(Float64) COMMENT 'Lower end of the 95 % interval of revenue',
    revenue_high Nullable(Float64) COMMENT 'Upper end',
    journeys UInt64 COMMENT 'Converting journeys with the key: below 30, the share is hardly more than chance'
)
AS SELECT
    run,
    run = max(run) OVER (PARTITION BY goal, dimension, model) AS is_latest,
    goal, dimension, model, model_order AS order, key, removal_effect, share, conversions, revenue,
    share_low, share_high, revenue_low, revenue_high, journeys
FROM {{database}}.attribution_models
WHERE model_order = 0
COMMENT 'Shapley and Shao-Li attribution as computed by `throughline attribution fit`, one row for each run, goal, dimension, model and key.';

-- One row holds all credits of a conversion, so a new version replaces them all at once and leaves nothing behind.
CREATE TABLE IF NOT EXISTS {{database}}.attribution_stored {{on_cluster}}
(
    conversion_type LowCardinality(String) COMMENT 'The goal, such as purchase',
    conversion_id String COMMENT 'The order''s id, else the event''s',
    day Date COMMENT 'Day of the conversion, in the time zone of the settings',
    profile_id UUID COMMENT 'The person as known at this version; nil: nobody',
    converted_at DateTime64(3, 'UTC') COMMENT 'When it happened',
    revenue Decimal(18, 4) COMMENT 'What it was worth when it was made',
    net_revenue Decimal(18, 4) COMMENT 'The same after refunds known at this version',
    currency LowCardinality(String) COMMENT 'ISO 4217',
    is_first UInt8 COMMENT '1: the person''s first of its goal',
    touches Array(Tuple(event_id String, touched_at Nullable(DateTime64(3, 'UTC')), channel String, campaign String, creative String, product_id String)) COMMENT 'In order; without a touch, one with the key (unattributed)',
    models Array(LowCardinality(String)) COMMENT 'Names of the models',
    credits Array(Array(Float64)) COMMENT 'For each touch, what each of the models gives it',
    fingerprint UInt64 COMMENT 'Hash of all of the above: what has the same one need not be stored again',
    version UInt64 COMMENT 'The refresh that wrote it, milliseconds since 1970; a higher one replaces it',
    is_deleted UInt8 COMMENT '1: there is no such conversion any more; FINAL leaves it out'
)
ENGINE = {{replicated}}ReplacingMergeTree(version, is_deleted)
ORDER BY (conversion_type, conversion_id)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Credits as of the last `throughline attribution refresh`, one row for each goal and conversion. Read v_attribution_stored.';

CREATE TABLE IF NOT EXISTS {{database}}.attribution_history {{on_cluster}} AS {{database}}.attribution_stored
ENGINE = {{replicated}}ReplacingMergeTree
ORDER BY (conversion_type, conversion_id, version)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Every version of every row of attribution_stored, for `throughline attribution changes`. Only grows.';

CREATE MATERIALIZED VIEW IF NOT EXISTS {{database}}.attribution_stored_to_history {{on_cluster}} TO {{database}}.attribution_history
AS SELECT * FROM {{database}}.attribution_stored;

CREATE TABLE IF NOT EXISTS {{database}}.attribution_days {{on_cluster}}
(
    dimension LowCardinality(String) COMMENT 'channel, campaign, creative or product',
    conversion_type LowCardinality(String) COMMENT 'The goal',
    day Date COMMENT 'Day of the conversions',
    credits Array(Tuple(model String, key String, conversions Float64, revenue Float64, net_revenue Float64, new_customers Float64)) COMMENT 'What each model gives each key',
    version UInt64 COMMENT 'The refresh that wrote it; a higher one replaces it'
)
ENGINE = {{replicated}}ReplacingMergeTree(version)
ORDER BY (dimension, conversion_type, day)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'attribution_stored added up, one row for each dimension, goal and day: a day is replaced as a whole. Read v_attribution_stored_by_day.';

CREATE VIEW IF NOT EXISTS {{database}}.v_attribution_stored {{on_cluster}}
(
    conversion_id String COMMENT 'The order''s id, else the event''s',
    conversion_type LowCardinality(String) COMMENT 'The goal',
    profile_id UUID COMMENT 'The person as known at this version; nil: nobody',
    converted_at DateTime64(3, 'UTC') COMMENT 'When it happened',
    currency LowCardinality(String) COMMENT 'ISO 4217',
    model String COMMENT 'The model, see v_attribution_models',
    touch_event_id String COMMENT 'The event that was the touch; empty: there was none',
    touched_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When the touch was; NULL: there was none',
    channel String COMMENT 'Marketing channel of the touch, or (unattributed)',
    campaign String COMMENT 'Campaign of the touch, or (unattributed); empty: it had none',
    creative String COMMENT 'Creative of the touch, or (unattributed); empty: it had none',
    product_id String COMMENT 'Product of the touch, or (unattributed); empty: it had none',
    credit Float64 COMMENT 'Share of the conversion, from 0 to 1',
    revenue_credit Float64 COMMENT 'Share of its revenue',
    net_revenue_credit Float64 COMMENT 'Share of its revenue after refunds',
    version UInt64 COMMENT 'The refresh that wrote it'
)
AS SELECT
    conversion_id, conversion_type, profile_id, converted_at, currency, model,
    touch.event_id AS touch_event_id, touch.touched_at AS touched_at, touch.channel AS channel,
    touch.campaign AS campaign, touch.creative AS creative, touch.product_id AS product_id,
    weight AS credit, weight * toFloat64(revenue) AS revenue_credit, weight * toFloat64(net_revenue) AS net_revenue_credit, version
FROM (SELECT *, touch, weights FROM {{database}}.attribution_stored FINAL ARRAY JOIN touches AS touch, credits AS weights)
ARRAY JOIN models AS model, weights AS weight
COMMENT 'Stored credits, one row for each conversion, touch and model: what v_attribution_default was at the last refresh.';

CREATE VIEW IF NOT EXISTS {{database}}.v_attribution_stored_by_day {{on_cluster}}
(
    dimension LowCardinality(String) COMMENT 'channel, campaign, creative or product: choose one',
    conversion_type LowCardinality(String) COMMENT 'The goal',
    day Date COMMENT 'Day of the conversions, in the time zone of the settings',
    model String COMMENT 'The model, see v_attribution_models: choose one',
    key String COMMENT 'Channel, campaign, creative or product; (unattributed): no touch',
    conversions Float64 COMMENT 'Credited conversions',
    revenue Float64 COMMENT 'Credited revenue',
    net_revenue Float64 COMMENT 'Credited revenue after refunds',
    new_customers Float64 COMMENT 'Credited conversions that were the person''s first'
)
AS SELECT
    dimension, conversion_type, day, credit.1 AS model, credit.2 AS key, credit.3 AS conversions, credit.4 AS revenue,
    credit.5 AS net_revenue, credit.6 AS new_customers
FROM {{database}}.attribution_days FINAL
ARRAY JOIN credits AS credit
COMMENT 'Stored credits by day, for dashboards, one row for each dimension, goal, day, model and key.';

-- The credits as they are now, in the shape of attribution_stored.
CREATE VIEW IF NOT EXISTS {{database}}.attribution_to_store {{on_cluster}}
AS
WITH
    assumeNotNull((SELECT timezone FROM {{database}}.v_attribution_settings)) AS zone,
    arraySort(part -> part.1, groupArray((position, (touch_event_id, touched_at, channel, campaign, creative, product_id), weights.2, weights.1))) AS parts
SELECT
    conversion_type,
    conversion_id,
    toDate(toTimeZone(any(w.converted_at), zone)) AS day,
    any(w.profile_id) AS profile_id,
    any(w.converted_at) AS converted_at,
    any(w.revenue) AS revenue,
    any(w.net_revenue) AS net_revenue,
    any(w.currency) AS currency,
    any(w.is_first) AS is_first,
    CAST(parts.2, 'Array(Tuple(event_id String, touched_at Nullable(DateTime64(3, \'UTC\')), channel String, campaign String, creative String, product_id String))') AS touches,
    CAST(parts.4[1], 'Array(LowCardinality(String))') AS models,
    parts.3 AS credits,
    sipHash64(toString(tuple(day, profile_id, converted_at, revenue, net_revenue, currency, is_first, touches, models, credits))) AS fingerprint
FROM {{database}}.attribution_weights(
    start_ms = {start_ms:Int64}, stop_ms = {stop_ms:Int64}, lookback_ms = 2592000000, half_life_ms = 604800000,
    goal = '', scope = 'all', repeats = 'keep', milestone = '', contacts = 'all', only = [], without = []) AS w
GROUP BY conversion_type, conversion_id
COMMENT 'Live credits, one row for each goal and conversion: lookback 30 days, half-life 7 days. Internal: what a refresh stores and a check compares.';

CREATE VIEW IF NOT EXISTS {{database}}.v_reconciliation {{on_cluster}}
(
    day Date COMMENT 'Day of the conversions, in the time zone of the settings',
    conversion_type String COMMENT 'The goal; empty: events that should be conversions and are none',
    model String COMMENT 'The model; of participation only the orders are compared',
    orders UInt64 COMMENT 'Distinct orders (or converting events) among all events',
    conversions UInt64 COMMENT 'Conversions',
    credits Float64 COMMENT 'Credited conversions',
    revenue Decimal(38, 4) COMMENT 'Revenue of the conversions',
    credited_revenue Float64 COMMENT 'Credited revenue',
    difference Float64 COMMENT 'credits - conversions, else conversions - orders: other than 0, something is lost or invented',
    revenue_difference Float64 COMMENT 'credited_revenue - revenue, to the cent',
    alert UInt8 COMMENT '1: orders, conversions and credits are not the same, or revenue is off by a cent'
)
AS
WITH assumeNotNull((SELECT timezone FROM {{database}}.v_attribution_settings)) AS zone
SELECT
    o.day AS day,
    o.conversion_type AS conversion_type,
    m.model AS model,
    o.orders AS orders,
    o.conversions AS conversions,
    if(m.additive, k.credits, toFloat64(o.conversions)) AS credits,
    o.revenue AS revenue,
    if(m.additive, k.credited, toFloat64(o.revenue)) AS credited_revenue,
    if(abs(credits - o.conversions) > 1e-6 * (o.conversions + 1), credits - o.conversions, toFloat64(o.conversions) - o.orders) AS difference,
    round(credited_revenue - toFloat64(o.revenue), 2) AS revenue_difference,
    difference != 0 OR revenue_difference != 0 AS alert
FROM
(
    SELECT
        toDate(toTimeZone(if(c.conversion_id = '', t.happened_at, c.converted_at), zone)) AS day,
        c.conversion_type AS conversion_type,
        uniqExactIf(t.order_id, t.order_id != '') AS orders,
        countIf(c.conversion_id != '') AS conversions,
        sum(toDecimal128(c.revenue, 4)) AS revenue
    FROM {{database}}.v_conversions AS c
    FULL JOIN
    (
        SELECT conversion_id AS order_id, min(occurred_at) AS happened_at
        FROM {{database}}.touchpoints FINAL
        WHERE conversion_id != ''
        GROUP BY conversion_id
    ) AS t ON t.order_id = c.conversion_id
    GROUP BY day, conversion_type
) AS o
CROSS JOIN {{database}}.v_attribution_models AS m
LEFT JOIN
(
    SELECT toDate(toTimeZone(converted_at, zone)) AS credited_day, conversion_type AS goal, model AS by_model, sum(credit) AS credits, sum(revenue_credit) AS credited
    FROM {{database}}.v_attribution_default
    GROUP BY credited_day, goal, by_model
) AS k ON k.credited_day = o.day AND k.goal = o.conversion_type AND k.by_model = m.model
COMMENT 'Do orders, conversions and credits agree? One row for each day, goal and model. `throughline attribution check` exits 1 if one has an alert.';

CREATE VIEW IF NOT EXISTS {{database}}.v_attribution_settled {{on_cluster}}
(
    data_until DateTime64(3, 'UTC') COMMENT 'When the broker got the newest event',
    lateness_p99_s Float64 COMMENT 'Of 100 events of the last 30 days, 99 arrived within so many seconds after they happened',
    lateness_p999_s Float64 COMMENT 'Of 1,000 events, 999',
    touch_to_conversion_p50_s Float64 COMMENT 'Half of the conversions of the last 60 days came within so many seconds of their first touch',
    touch_to_conversion_p95_s Float64 COMMENT 'Of 100 conversions, 95',
    settled_until DateTime64(3, 'UTC') COMMENT 'Credits of conversions before this hardly change any more: data_until - lateness_p999_s',
    touches_settled_until DateTime64(3, 'UTC') COMMENT 'Touches before this have mostly had the conversions that they will have: settled_until - touch_to_conversion_p95_s'
)
AS
WITH
    (SELECT max(received_at) FROM {{database}}.touchpoints) AS newest,
    (
        SELECT quantiles(0.99, 0.999)(greatest(0, dateDiff('millisecond', occurred_at, received_at)) / 1000)
        FROM {{database}}.touchpoints
        WHERE received_at > newest - INTERVAL 30 DAY
    ) AS lateness,
    (
        SELECT quantiles(0.5, 0.95)(dateDiff('millisecond', path[1].touched_at, converted_at) / 1000)
        FROM {{database}}.attribution_journeys(
            start_ms = toUnixTimestamp64Milli((SELECT max(received_at) FROM {{database}}.touchpoints)) - 5184000000, stop_ms = 4133980800000,
            lookback_ms = 2592000000, goal = '', scope = 'all', repeats = 'keep', milestone = '', contacts = 'all', only = [], without = [])
        WHERE notEmpty(path)
    ) AS lag
SELECT
    newest AS data_until,
    ifNotFinite(lateness[1], 0) AS lateness_p99_s,
    ifNotFinite(lateness[2], 0) AS lateness_p999_s,
    ifNotFinite(lag[1], 0) AS touch_to_conversion_p50_s,
    ifNotFinite(lag[2], 0) AS touch_to_conversion_p95_s,
    newest - toIntervalMillisecond(toInt64(lateness_p999_s * 1000)) AS settled_until,
    settled_until - toIntervalMillisecond(toInt64(touch_to_conversion_p95_s * 1000)) AS touches_settled_until
COMMENT 'Up to when reports may be relied on, from how late events arrive and how long people take: always one row.';
