-- Looks up markets with one scalar subquery for each view instead of seven, which reads each of its two tables once.
-- ClickHouse analyses a query anew for every table, view and subquery in it.

CREATE OR REPLACE VIEW {{database}}.v_market_lookup {{on_cluster}}
(
    names Array(String) COMMENT 'Names of countries in small letters',
    codes Array(String) COMMENT 'The country of each',
    countries Array(String) COMMENT 'Countries that are in a market',
    markets Array(String) COMMENT 'The market of each',
    stores Array(String) COMMENT 'Stores of the table',
    store_countries Array(String) COMMENT 'The country of each',
    default_market String COMMENT 'The market of everything else; empty: no table was published yet',
    lookup Tuple(names Array(String), codes Array(String), countries Array(String), markets Array(String), stores Array(String), store_countries Array(String), default_market String)
        COMMENT 'All of the above in one column, for views to read at once'
)
AS
WITH
    (SELECT groupArray((name, toString(country))) FROM {{database}}.country_names FINAL) AS named,
    arrayFlatten(arrayMap(m -> arrayMap(c -> (c, m.1), m.3), newest)) AS owned,
    arrayFlatten(arrayMap(m -> m.4, newest)) AS shops
SELECT
    -- Never empty, as transform wants it.
    arrayPushFront(arrayMap(p -> p.1, named), '') AS names,
    arrayPushFront(arrayMap(p -> p.2, named), '') AS codes,
    arrayPushFront(arrayMap(p -> p.1, owned), '') AS countries,
    arrayPushFront(arrayMap(p -> p.2, owned), default_market) AS markets,
    arrayPushFront(arrayMap(p -> p.1, shops), '') AS stores,
    arrayPushFront(arrayMap(p -> p.2, shops), '') AS store_countries,
    arrayFirst(m -> m.2 = 1, newest).1 AS default_market,
    (names, codes, countries, markets, stores, store_countries, default_market) AS lookup
FROM
(
    SELECT argMax(version, published_at) AS newest
    FROM
    (
        SELECT published_at, groupArray((toString(market), is_default, countries, arrayZip(mapKeys(stores), mapValues(stores)))) AS version
        FROM {{database}}.markets FINAL
        GROUP BY published_at
    )
)
COMMENT 'The table of markets as arrays to look up in: always one row.';

CREATE OR REPLACE VIEW {{database}}.v_person_markets {{on_cluster}}
(
    profile_id UUID COMMENT 'The person as known now',
    country LowCardinality(String) COMMENT 'The country that the person declared, else the one last seen, ISO 3166; empty: not known',
    language LowCardinality(String) COMMENT 'Language of the locale last seen, ISO 639; empty: not known',
    market LowCardinality(String) COMMENT 'The market of that country, see v_markets'
)
AS
WITH
    assumeNotNull((SELECT lookup FROM {{database}}.v_market_lookup)) AS lookup,
    replaceRegexpAll(toString(p.declared_country), '^[\\s\\p{Z}]+|[\\s\\p{Z}]+$', '') AS declared,
    replaceRegexpAll(toString(p.known_country), '^[\\s\\p{Z}]+|[\\s\\p{Z}]+$', '') AS seen
SELECT
    profile_id,
    if(declared != '', transform(lowerUTF8(declared), lookup.names, lookup.codes, toString(p.declared_country)), transform(lowerUTF8(seen), lookup.names, lookup.codes, if(seen = '', '', toString(p.known_country)))) AS country,
    language,
    transform(country, lookup.countries, lookup.markets, lookup.default_market) AS market
FROM (SELECT profile_id, declared_country, known_country, language FROM {{database}}.profiles FINAL) AS p
COMMENT 'Country, language and market of people, one row for each.';

CREATE OR REPLACE VIEW {{database}}.v_rfm {{on_cluster}}
(
    profile_id UUID COMMENT 'The person as known now',
    last_order Date COMMENT 'Day of the last order, in the time zone of reports',
    recency_days UInt32 COMMENT 'Whole days since then',
    frequency UInt64 COMMENT 'Orders',
    currency LowCardinality(String) COMMENT 'The person''s main currency: that of most orders',
    monetary Float64 COMMENT 'Revenue of the orders in that currency after refunds',
    r UInt8 COMMENT 'Score of recency from 1 to 5 by the thresholds of traits.yaml, 5: the most recent; as rfm.recency of segments',
    f UInt8 COMMENT 'Score of frequency, 5: the most orders; as rfm.frequency',
    m UInt8 COMMENT 'Score of monetary, 5: the most revenue; as rfm.monetary',
    class LowCardinality(String) COMMENT 'The first class of traits.yaml that fits the scores, such as champions; as rfm.class',
    country LowCardinality(String) COMMENT 'Country of the person, ISO 3166: the declared one, else the one last seen; empty: not known',
    market LowCardinality(String) COMMENT 'The market of that country, see v_markets'
)
AS SELECT
    s.*,
    m.country AS country,
    if(m.market = '', assumeNotNull((SELECT lookup FROM {{database}}.v_market_lookup)).default_market, m.market) AS market
FROM
(
    WITH
        (SELECT argMax(recency_ms, changed_at) FROM {{database}}.rfm_settings) AS recency_spans,
        (SELECT argMax(frequency, changed_at) FROM {{database}}.rfm_settings) AS counts,
        (SELECT argMax(monetary, changed_at) FROM {{database}}.rfm_settings) AS amounts,
        (SELECT argMax(monetary_by_currency, changed_at) FROM {{database}}.rfm_settings) AS amounts_of_currency,
        (SELECT argMax(classes, changed_at) FROM {{database}}.rfm_settings) AS rules,
        assumeNotNull((SELECT timezone FROM {{database}}.v_attribution_settings)) AS zone
    SELECT
        profile_id,
        toDate(toTimeZone(fromUnixTimestamp64Milli(last_at, 'UTC'), zone)) AS last_order,
        toUInt32(intDiv(age_ms, 86400000)) AS recency_days,
        orders AS frequency,
        main.1 AS currency,
        toFloat64(net) AS monetary,
        toUInt8(1 + arrayCount(span -> age_ms < span, recency_spans)) AS r,
        toUInt8(1 + arrayCount(least_orders -> orders >= least_orders, counts)) AS f,
        toUInt8(1 + arrayCount(least_amount -> net >= least_amount,
            if(mapContains(amounts_of_currency, main.1), amounts_of_currency[main.1], amounts))) AS m,
        arrayFirst(rule -> r BETWEEN rule.2[1] AND rule.2[2] AND f BETWEEN rule.3[1] AND rule.3[2] AND m BETWEEN rule.4[1] AND rule.4[2], rules).1 AS class
    FROM
    (
        SELECT
            profile_id,
            JSONExtract(section, 'last_at', 'Nullable(Int64)') AS last_known,
            assumeNotNull(last_known) AS last_at,
            greatest(toUnixTimestamp64Milli(now64(3)) - last_at, 0) AS age_ms,
            JSONExtractUInt(section, 'count') AS orders,
            arraySort(sum -> (-JSONExtractInt(sum.2, 'count'), sum.1), JSONExtractKeysAndValuesRaw(section, 'sums'))[1] AS main,
            toDecimal128(JSONExtractString(main.2, 'revenue'), 4) - toDecimal128(JSONExtractString(main.2, 'refunded'), 4) AS net
        FROM (SELECT profile_id, orders AS section FROM {{database}}.profiles FINAL)
        WHERE section != '' AND orders > 0 AND last_known IS NOT NULL AND main.1 != ''
    )
) AS s
LEFT JOIN {{database}}.v_person_markets AS m ON m.profile_id = s.profile_id
COMMENT 'Recency, frequency and money of customers by the rules of traits.yaml, one row for each person with an order whose time is known: the classes that segments have.';

CREATE OR REPLACE VIEW {{database}}.v_ltv {{on_cluster}}
(
    profile_id UUID COMMENT 'The person as known now',
    first_order Nullable(Date) COMMENT 'Day of the first order; NULL: the time of none can be believed',
    last_order Nullable(Date) COMMENT 'Day of the last order; likewise',
    orders UInt64 COMMENT 'Orders so far',
    revenue Float64 COMMENT 'Their revenue after refunds and returns, in the currency of reports: the historic lifetime value',
    margin Float64 COMMENT 'What of it is margin',
    average_order_value Float64 COMMENT 'revenue / orders',
    probability_alive Nullable(Float64) COMMENT 'How likely the person is still a customer; NULL: not predicted, see `throughline ltv fit`',
    predicted_orders Nullable(Float64) COMMENT 'Orders expected within the horizon of the newest run of v_ltv_runs',
    predicted_revenue Nullable(Float64) COMMENT 'Revenue expected of them',
    lifetime_value Float64 COMMENT 'revenue and, where there is one, predicted_revenue',
    country LowCardinality(String) COMMENT 'Country of the person, ISO 3166: the declared one, else the one last seen; empty: not known',
    market LowCardinality(String) COMMENT 'The market of that country, see v_markets'
)
AS SELECT
    o.profile_id AS profile_id,
    o.first_order AS first_order,
    o.last_order AS last_order,
    o.orders AS orders,
    o.revenue AS revenue,
    o.margin AS margin,
    o.revenue / o.orders AS average_order_value,
    if(p.n = 0, NULL, p.probability_alive) AS probability_alive,
    if(p.n = 0, NULL, p.orders) AS predicted_orders,
    if(p.n = 0, NULL, p.revenue) AS predicted_revenue,
    o.revenue + p.revenue AS lifetime_value,
    m.country AS country,
    if(m.market = '', assumeNotNull((SELECT lookup FROM {{database}}.v_market_lookup)).default_market, m.market) AS market
FROM
(
    SELECT
        profile_id, minOrNullIf(day, NOT is_return AND NOT time_doubtful) AS first_order,
        maxOrNullIf(day, NOT is_return AND NOT time_doubtful) AS last_order, countIf(NOT is_return) AS orders,
        sum(c.revenue) AS revenue, sum(c.revenue * margin_rate) AS margin
    FROM {{database}}.customer_sales AS c
    GROUP BY profile_id
    HAVING orders > 0
) AS o
LEFT JOIN
(
    SELECT
        if(n.profile_id = l.profile_id, n.profile_id_now, l.profile_id) AS profile_id,
        count() AS n,
        max(l.probability_alive) AS probability_alive,
        sum(l.orders) AS orders,
        sum(l.revenue) AS revenue
    FROM
    (
        SELECT * FROM {{database}}.ltv_predictions FINAL
        WHERE run_id = (SELECT argMax(run_id, fitted_at) FROM {{database}}.ltv_runs)
    ) AS l
    LEFT JOIN {{database}}.profile_aliases AS n ON n.profile_id = l.profile_id
    GROUP BY profile_id
) AS p ON p.profile_id = o.profile_id
LEFT JOIN {{database}}.v_person_markets AS m ON m.profile_id = o.profile_id
COMMENT 'What each customer has brought and is expected to bring, one row for each person with an order.';

CREATE OR REPLACE VIEW {{database}}.v_messages {{on_cluster}}
(
    channel String COMMENT 'email, sms, whatsapp, messenger, telegram, web_push or app_push',
    message_id String COMMENT 'The sender''s id of the message; of a journey''s message it is idempotency_key in v_decisions. One id may have several receivers',
    profile_id UUID COMMENT 'The receiver as known now',
    campaign String COMMENT 'Campaign name, as events of the message say, else of the decision that sent it',
    sent_at DateTime64(3, 'UTC') COMMENT 'When it was sent; where that is not reported, its first event',
    day Date COMMENT 'That day in the time zone of reports',
    delivered UInt8 COMMENT '1: delivered, or opened, clicked or answered',
    opened UInt8 COMMENT '1: opened, as far as that is reported; mail programs open unseen mail too',
    responded UInt8 COMMENT '1: clicked or answered',
    bounced UInt8 COMMENT '1: bounced',
    failed UInt8 COMMENT '1: sending it failed',
    unsubscribed UInt8 COMMENT '1: the receiver unsubscribed through it or marked it as spam',
    journey String COMMENT 'The journey that sent it; empty: none did',
    journey_version String COMMENT 'Its version',
    step String COMMENT 'The message''s node in the journey',
    template String COMMENT 'The template',
    variant String COMMENT 'The branch of a random split, or the variant of the message',
    country LowCardinality(String) COMMENT 'Country of the person, ISO 3166: the declared one, else the one last seen; empty: not known',
    market LowCardinality(String) COMMENT 'The market of that country, see v_markets',
    language LowCardinality(String) COMMENT 'Language of the person''s locale, ISO 639; empty: not known'
)
AS SELECT
    s.*,
    m.country AS country,
    if(m.market = '', assumeNotNull((SELECT lookup FROM {{database}}.v_market_lookup)).default_market, m.market) AS market,
    m.language AS language
FROM
(
    WITH assumeNotNull((SELECT timezone FROM {{database}}.v_attribution_settings)) AS zone
    SELECT
        m.channel AS channel,
        m.message_id AS message_id,
        m.profile_id AS profile_id,
        if(m.campaign = '', d.campaign, m.campaign) AS campaign,
        m.sent_at AS sent_at,
        toDate(toTimeZone(sent_at, zone)) AS day,
        m.delivered AS delivered,
        m.opened AS opened,
        m.responded AS responded,
        m.bounced AS bounced,
        m.failed AS failed,
        m.unsubscribed AS unsubscribed,
        d.journey AS journey,
        d.journey_version AS journey_version,
        d.step AS step,
        d.message AS template,
        d.variant AS variant
    FROM
    (
        SELECT
            e.channel AS channel,
            e.message_id AS message_id,
            e.profile_id AS profile_id,
            max(e.campaign) AS campaign,
            if(countIf(step = 'sent') > 0, minIf(occurred_at, step = 'sent'), min(occurred_at)) AS sent_at,
            countIf(step IN ('delivered', 'opened', 'clicked', 'replied')) > 0 AS delivered,
            countIf(step = 'opened') > 0 AS opened,
            countIf(step IN ('clicked', 'replied')) > 0 AS responded,
            countIf(step = 'bounced') > 0 AS bounced,
            countIf(step = 'failed') > 0 AS failed,
            countIf(step IN ('unsubscribed', 'complained')) > 0 AS unsubscribed
        FROM {{database}}.message_events AS e
        GROUP BY channel, message_id, profile_id
        HAVING countIf(step != 'replied' AND (step NOT IN ('unsubscribed', 'complained') OR e.message_id != event_id)) > 0
    ) AS m
    LEFT JOIN
    (
        SELECT
            idempotency_key, any(toString(journey)) AS journey, any(toString(journey_version)) AS journey_version, any(toString(step)) AS step,
            any(toString(message)) AS message, any(toString(campaign)) AS campaign, any(toString(variant)) AS variant
        FROM {{database}}.decisions
        WHERE outcome = 'sent'
        GROUP BY idempotency_key
    ) AS d ON d.idempotency_key = m.message_id
) AS s
LEFT JOIN {{database}}.v_person_markets AS m ON m.profile_id = s.profile_id
COMMENT 'Messages to known people and what became of them, one row for each channel, message id and receiver.';

CREATE OR REPLACE VIEW {{database}}.v_decisions {{on_cluster}}
(
    decision_id UUID COMMENT 'The decision',
    decided_at DateTime64(3, 'UTC') COMMENT 'When it was decided',
    profile_id UUID COMMENT 'The person as known now',
    journey LowCardinality(String) COMMENT 'The journey that wanted to send',
    journey_version LowCardinality(String) COMMENT 'The version that the run entered with',
    run_id String COMMENT 'The person''s run through the journey',
    step LowCardinality(String) COMMENT 'The message''s node in the journey',
    message LowCardinality(String) COMMENT 'The template',
    channel LowCardinality(String) COMMENT 'The channel that was chosen; empty: none was',
    purpose LowCardinality(String) COMMENT 'What consent was asked for',
    tags Array(LowCardinality(String)) COMMENT 'The message''s tags',
    campaign LowCardinality(String) COMMENT 'Campaign name',
    outcome LowCardinality(String) COMMENT 'sent, postponed, suppressed, ghost, failed or regretted',
    gate LowCardinality(String) COMMENT 'The gate that decided; empty: all were passed',
    reason String COMMENT 'Why, in a sentence',
    until Nullable(DateTime64(3, 'UTC')) COMMENT 'Of a postponed message: when it is decided again',
    idempotency_key String COMMENT 'Names the message; messages.message_id once it was sent',
    variant LowCardinality(String) COMMENT 'The branch of a random split that led here',
    holdout LowCardinality(String) COMMENT 'journey or global: which holdout the person is in',
    propensity Nullable(Float64) COMMENT 'How likely this channel was to be chosen, where it was drawn',
    gates String COMMENT 'Every gate with its result and its input, JSON',
    event_id String COMMENT 'The event that led here; empty: a timer',
    profile_id_then UUID COMMENT 'The person as known then',
    country LowCardinality(String) COMMENT 'Country of the person, ISO 3166: the declared one, else the one last seen; empty: not known',
    market LowCardinality(String) COMMENT 'The market of that country, see v_markets',
    language LowCardinality(String) COMMENT 'Language of the person''s locale, ISO 639; empty: not known'
)
AS SELECT
    d.decision_id AS decision_id,
    d.decided_at AS decided_at,
    if(a.profile_id = d.profile_id, a.profile_id_now, d.profile_id) AS profile_id,
    d.journey AS journey,
    d.journey_version AS journey_version,
    d.run_id AS run_id,
    d.step AS step,
    d.message AS message,
    d.channel AS channel,
    d.purpose AS purpose,
    d.tags AS tags,
    d.campaign AS campaign,
    d.outcome AS outcome,
    d.gate AS gate,
    d.reason AS reason,
    d.until AS until,
    d.idempotency_key AS idempotency_key,
    d.variant AS variant,
    d.holdout AS holdout,
    d.propensity AS propensity,
    d.gates AS gates,
    d.event_id AS event_id,
    d.profile_id AS profile_id_then,
    m.country AS country,
    if(m.market = '', assumeNotNull((SELECT lookup FROM {{database}}.v_market_lookup)).default_market, m.market) AS market,
    m.language AS language
FROM {{database}}.decisions AS d FINAL
LEFT JOIN {{database}}.profile_aliases AS a ON a.profile_id = d.profile_id
LEFT JOIN {{database}}.v_person_markets AS m ON m.profile_id = if(a.profile_id = d.profile_id, a.profile_id_now, d.profile_id)
COMMENT 'Why each message was or was not sent, one row for each decision.';

CREATE OR REPLACE VIEW {{database}}.v_spend {{on_cluster}}
(
    date Date COMMENT 'The day that the money was spent for',
    channel LowCardinality(String) COMMENT 'Marketing channel, as attribution names it',
    source LowCardinality(String) COMMENT 'Where it was spent, such as google',
    campaign LowCardinality(String) COMMENT 'Campaign name, as the events have it',
    creative LowCardinality(String) COMMENT 'Advertisement, as the events have it',
    original_spend Decimal(18, 4) COMMENT 'Money spent, in units of currency',
    currency LowCardinality(String) COMMENT 'ISO 4217',
    spend Nullable(Decimal(38, 4)) COMMENT 'Money spent in the currency of reports, at the rate of its day; NULL: there is no rate',
    impressions UInt64 COMMENT 'How often it was shown; 0 when that is not known',
    clicks UInt64 COMMENT 'How often it was clicked; 0 when that is not known',
    country LowCardinality(String) COMMENT 'Country that it was spent for, ISO 3166; empty: not stated',
    market LowCardinality(String) COMMENT 'The market of that country, else the stated one, see v_markets; empty: of no market'
)
AS
WITH
    (SELECT currency FROM {{database}}.v_report_settings) AS wanted,
    assumeNotNull((SELECT lookup FROM {{database}}.v_market_lookup)) AS lookup
SELECT
    s.date AS date,
    s.channel AS channel,
    s.source AS source,
    s.campaign AS campaign,
    s.creative AS creative,
    s.spend AS original_spend,
    s.currency AS currency,
    multiIf(
        s.currency = wanted OR s.spend = 0, toDecimal128(s.spend, 4),
        r.rate > 0, toDecimal128(toString(round(toFloat64(s.spend) * r.rate, 4)), 4),
        NULL) AS spend,
    s.impressions AS impressions,
    s.clicks AS clicks,
    s.country AS country,
    multiIf(
        s.country != '', transform(toString(s.country), lookup.countries, lookup.markets, lookup.default_market),
        has(lookup.markets, toString(s.market)), toString(s.market),
        '') AS market
FROM (SELECT * FROM {{database}}.spend FINAL) AS s
LEFT JOIN {{database}}.v_rates AS r ON r.currency = s.currency AND r.date = s.date
COMMENT 'Money spent in the currency of reports, one row for each day, channel, source, campaign, creative, country and market.';
