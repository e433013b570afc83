-- Country, market, store and language in the views of touches, visits, sales and cohorts.

CREATE OR REPLACE VIEW {{database}}.sale_amounts {{on_cluster}}
(
    conversion_id String COMMENT 'As v_conversions has it',
    conversion_type LowCardinality(String) COMMENT 'The goal, such as purchase',
    profile_id UUID COMMENT 'The person as known now; nil: nobody',
    converted_at DateTime64(3, 'UTC') COMMENT 'When it was first reported to have happened',
    day Date COMMENT 'That day in the time zone of reports',
    channel LowCardinality(String) COMMENT 'Where it happened, such as web',
    event_id String COMMENT 'The event that reported it first',
    original_revenue Decimal(18, 4) COMMENT 'What it is worth, in units of currency',
    currency LowCardinality(String) COMMENT 'ISO 4217',
    revenue Nullable(Decimal(38, 4)) COMMENT 'The same in the currency of reports; NULL: there is no rate',
    net_revenue Nullable(Decimal(38, 4)) COMMENT 'The same after refunds',
    rate Nullable(Float64) COMMENT 'Worth of one unit of currency in the currency of reports; NULL: not known',
    is_first UInt8 COMMENT '1: the person''s first of this goal, of those whose time is known',
    is_return UInt8 COMMENT '1: goods came back and nothing was bought',
    order_namespace LowCardinality(String) COMMENT 'Name space of order_id; empty: the one that sources share',
    source LowCardinality(String) COMMENT 'Which producer reported it first',
    products String COMMENT 'Its lines, a JSON list; empty: it names none',
    time_doubtful UInt8 COMMENT '1: when it happened is not known, it is dated by its arrival',
    country LowCardinality(String) COMMENT 'Country, ISO 3166; empty: not known',
    market LowCardinality(String) COMMENT 'The market of that country, see v_markets',
    store_id LowCardinality(String) COMMENT 'The store; empty: none',
    language LowCardinality(String) COMMENT 'Language, ISO 639; empty: not known'
)
AS
WITH
    (SELECT currency FROM {{database}}.v_report_settings) AS wanted,
    assumeNotNull((SELECT timezone FROM {{database}}.v_attribution_settings)) AS zone
SELECT
    c.conversion_id AS conversion_id,
    c.conversion_type AS conversion_type,
    c.profile_id AS profile_id,
    c.converted_at AS converted_at,
    c.day AS day,
    c.channel AS channel,
    c.event_id AS event_id,
    c.original_revenue AS original_revenue,
    c.currency AS currency,
    -- Exact where nothing is to be converted.
    multiIf(
        c.currency = wanted OR c.original_revenue = 0, toDecimal128(c.original_revenue, 4),
        r.rate > 0, toDecimal128(toString(round(toFloat64(c.original_revenue) * r.rate, 4)), 4),
        NULL) AS revenue,
    multiIf(
        c.currency = wanted OR c.original_revenue = 0, toDecimal128(c.original_net, 4),
        r.rate > 0, toDecimal128(toString(round(toFloat64(c.original_net) * r.rate, 4)), 4),
        NULL) AS net_revenue,
    multiIf(c.currency = wanted, 1., r.rate > 0, r.rate, c.original_revenue = 0, 0., NULL) AS rate,
    c.profile_id != toUUID('00000000-0000-0000-0000-000000000000') AND c.ordinal = 1 AND NOT c.is_return AND NOT c.time_doubtful AS is_first,
    c.is_return AS is_return,
    c.order_namespace AS order_namespace,
    c.source AS source,
    c.products AS products,
    c.time_doubtful AS time_doubtful,
    c.country AS country,
    c.market AS market,
    c.store_id AS store_id,
    c.language AS language
FROM
(
    SELECT
        conversion_id, conversion_type, profile_id, converted_at, channel, source, event_id, currency, is_return, order_namespace, products, time_doubtful, country, market, store_id, language,
        revenue AS original_revenue,
        net_revenue AS original_net,
        toDate(toTimeZone(converted_at, zone)) AS day,
        row_number() OVER (PARTITION BY profile_id, conversion_type, is_return ORDER BY time_doubtful, converted_at, conversion_id) AS ordinal
    FROM {{database}}.conversions_and_returns
) AS c
LEFT JOIN {{database}}.v_rates AS r ON r.currency = c.currency AND r.date = c.day
COMMENT 'Conversions and returns in the currency of reports, one row for each. Internal: feeds conversion_amounts, v_order_items and sale_values.';

CREATE OR REPLACE VIEW {{database}}.sale_values {{on_cluster}}
(
    conversion_id String COMMENT 'As v_conversions has it',
    conversion_type LowCardinality(String) COMMENT 'The goal, such as purchase',
    profile_id UUID COMMENT 'The person as known now; nil: nobody',
    converted_at DateTime64(3, 'UTC') COMMENT 'When it was first reported to have happened',
    day Date COMMENT 'That day in the time zone of reports',
    channel LowCardinality(String) COMMENT 'Where it happened, such as web',
    original_revenue Decimal(18, 4) COMMENT 'What it is worth, in units of currency',
    currency LowCardinality(String) COMMENT 'ISO 4217',
    revenue Nullable(Decimal(38, 4)) COMMENT 'The same in the currency of reports; NULL: there is no rate',
    net_revenue Nullable(Decimal(38, 4)) COMMENT 'The same after refunds',
    margin_rate Float64 COMMENT 'Share of it that is margin, by its products',
    is_first UInt8 COMMENT '1: the person''s first of this goal',
    is_return UInt8 COMMENT '1: goods came back and nothing was bought',
    time_doubtful UInt8 COMMENT '1: when it happened is not known, it is dated by its arrival',
    country LowCardinality(String) COMMENT 'Country, ISO 3166; empty: not known',
    market LowCardinality(String) COMMENT 'The market of that country, see v_markets',
    store_id LowCardinality(String) COMMENT 'The store; empty: none',
    language LowCardinality(String) COMMENT 'Language, ISO 639; empty: not known'
)
AS SELECT
    c.conversion_id AS conversion_id,
    c.conversion_type AS conversion_type,
    c.profile_id AS profile_id,
    c.converted_at AS converted_at,
    c.day AS day,
    c.channel AS channel,
    c.original_revenue AS original_revenue,
    c.currency AS currency,
    c.revenue AS revenue,
    c.net_revenue AS net_revenue,
    if(i.order_id = '', assumeNotNull((SELECT margin FROM {{database}}.v_attribution_settings)), assumeNotNull(i.margin_rate)) AS margin_rate,
    c.is_first AS is_first,
    c.is_return AS is_return,
    c.time_doubtful AS time_doubtful,
    c.country AS country,
    c.market AS market,
    c.store_id AS store_id,
    c.language AS language
FROM {{database}}.sale_amounts AS c
LEFT JOIN
(
    -- Weighted by what lines are worth, those that came back too.
    SELECT order_id, (SELECT goal FROM {{database}}.v_attribution_settings) AS goal, if(sum(abs(revenue)) > 0, sum(abs(revenue) * margin_rate) / sum(abs(revenue)), avg(margin_rate)) AS margin_rate
    FROM {{database}}.v_order_items
    GROUP BY order_id
) AS i ON i.order_id = c.conversion_id AND i.goal = c.conversion_type
COMMENT 'Conversions and returns with their margin, one row for each. Internal: feeds v_conversion_values and customer_sales.';

CREATE OR REPLACE VIEW {{database}}.v_conversion_values {{on_cluster}}
(
    conversion_id String COMMENT 'As v_conversions has it',
    conversion_type LowCardinality(String) COMMENT 'The goal, such as purchase',
    profile_id UUID COMMENT 'The person as known now; nil: nobody',
    converted_at DateTime64(3, 'UTC') COMMENT 'When it happened',
    day Date COMMENT 'That day in the time zone of reports',
    channel LowCardinality(String) COMMENT 'Where it happened, such as web',
    original_revenue Decimal(18, 4) COMMENT 'What it is worth, in units of currency',
    currency LowCardinality(String) COMMENT 'ISO 4217',
    revenue Nullable(Decimal(38, 4)) COMMENT 'What it is worth in the currency of reports, at the rate of its day; NULL: there is no rate',
    net_revenue Nullable(Decimal(38, 4)) COMMENT 'The same after refunds',
    margin_rate Float64 COMMENT 'Share of it that is margin, by its products',
    is_first UInt8 COMMENT '1: the person''s first of this goal, of those whose time is known',
    time_doubtful UInt8 COMMENT '1: when it happened is not known, it is dated by its arrival',
    country LowCardinality(String) COMMENT 'Country, ISO 3166; empty: not known',
    market LowCardinality(String) COMMENT 'The market of that country, see v_markets',
    store_id LowCardinality(String) COMMENT 'The store; empty: none',
    language LowCardinality(String) COMMENT 'Language, ISO 639; empty: not known'
)
AS SELECT
    conversion_id, conversion_type, profile_id, converted_at, day, channel, original_revenue, currency, revenue, net_revenue, margin_rate, is_first, time_doubtful,
    country, market, store_id, language
FROM {{database}}.sale_values
WHERE NOT is_return
COMMENT 'Conversions in the currency of reports with their margin, one row for each goal and conversion id.';

CREATE OR REPLACE VIEW {{database}}.v_sales {{on_cluster}}
(
    month Date COMMENT 'First day of the month',
    orders UInt64 COMMENT 'Conversions of the settings'' goal, also those of nobody known',
    revenue Float64 COMMENT 'Their revenue in the currency of reports',
    refunded Float64 COMMENT 'What of it was given back since, and what was paid back in this month for goods returned without an order',
    margin Float64 COMMENT 'What of revenue is margin',
    customers UInt64 COMMENT 'People who ordered; not to be added up over months, and over markets only if nobody ordered in two',
    new_customers UInt64 COMMENT 'Those who did for the first time',
    active_people UInt64 COMMENT 'People with any event there, likewise; bots are none',
    aov Float64 COMMENT 'Average order value: revenue / orders',
    arpu Nullable(Float64) COMMENT 'Average revenue per user: revenue / active_people',
    arppu Nullable(Float64) COMMENT 'Average revenue per paying user: revenue / customers',
    orders_per_customer Nullable(Float64) COMMENT 'orders of known people / customers',
    repeat_rate Nullable(Float64) COMMENT 'Share of customers who had ordered before, in this month or earlier, by orders whose time is known',
    market LowCardinality(String) COMMENT 'The market that was sold in, see v_markets'
)
AS
WITH assumeNotNull((SELECT timezone FROM {{database}}.v_attribution_settings)) AS zone
SELECT
    o.month AS month,
    o.orders AS orders,
    o.revenue AS revenue,
    o.refunded AS refunded,
    o.margin AS margin,
    o.customers AS customers,
    o.new_customers AS new_customers,
    a.active_people AS active_people,
    ifNull(o.revenue / nullIf(o.orders, 0), 0) AS aov,
    o.revenue / nullIf(a.active_people, 0) AS arpu,
    o.revenue / nullIf(o.customers, 0) AS arppu,
    o.known_orders / nullIf(o.customers, 0) AS orders_per_customer,
    o.repeaters / nullIf(o.customers, 0) AS repeat_rate,
    o.market AS market
FROM
(
    SELECT
        toStartOfMonth(day) AS month,
        v.market AS market,
        countIf(NOT is_return) AS orders,
        sumIf(toFloat64(ifNull(v.revenue, 0)), NOT is_return) AS revenue,
        revenue - sum(toFloat64(ifNull(v.net_revenue, 0))) AS refunded,
        sumIf(toFloat64(ifNull(v.revenue, 0)) * margin_rate, NOT is_return) AS margin,
        countIf(NOT is_return AND profile_id != toUUID('00000000-0000-0000-0000-000000000000')) AS known_orders,
        uniqExactIf(profile_id, NOT is_return AND profile_id != toUUID('00000000-0000-0000-0000-000000000000')) AS customers,
        countIf(is_first) AS new_customers,
        uniqExactIf(profile_id, NOT is_return AND NOT is_first AND NOT time_doubtful AND profile_id != toUUID('00000000-0000-0000-0000-000000000000')) AS repeaters
    FROM {{database}}.sale_values AS v
    WHERE conversion_type = (SELECT goal FROM {{database}}.v_attribution_settings)
    GROUP BY month, market
) AS o
LEFT JOIN
(
    SELECT toStartOfMonth(toDate(toTimeZone(occurred_at, zone))) AS month, market, uniqExact(profile_id) AS active_people
    FROM {{database}}.v_touchpoints
    WHERE profile_id != toUUID('00000000-0000-0000-0000-000000000000') AND NOT is_bot
    GROUP BY month, market
) AS a ON a.month = o.month AND a.market = o.market
COMMENT 'Orders, customers and what they spend on average, one row for each month and market with an order or a return.';

CREATE OR REPLACE VIEW {{database}}.v_sessions {{on_cluster}}
(
    source LowCardinality(String) COMMENT 'Which producer reported its first event',
    session_id String COMMENT 'The producer''s id of the visit; where it gives none, an id made of device and start',
    profile_id UUID COMMENT 'The person as known now; nil: nobody',
    channel LowCardinality(String) COMMENT 'Where it was, such as web',
    marketing_channel LowCardinality(String) COMMENT 'What brought it: of its first touch; Unassigned: it has none, such as one that begins with a return',
    campaign LowCardinality(String) COMMENT 'Campaign of that touch',
    started_at DateTime64(3, 'UTC') COMMENT 'Its first event',
    day Date COMMENT 'That day in the time zone of reports',
    seconds Float64 COMMENT 'From its first event to its last',
    events UInt64 COMMENT 'How many events it has',
    pages UInt64 COMMENT 'Pages and screens seen',
    conversions UInt64 COMMENT 'Conversions of the settings'' goal in it; an order is in the visit that reported it first',
    revenue Float64 COMMENT 'Their revenue in the currency of reports',
    engaged UInt8 COMMENT '1: longer than 10 s, or two pages, or a conversion, as in Google Analytics 4; the others bounced',
    device_hash UInt64 COMMENT 'Hash of the browser or device; 0: not known',
    touches UInt64 COMMENT 'Touches of attribution in it: what brought it, and further campaigns and click ids',
    continuations UInt64 COMMENT 'How often it went on after paying or signing in elsewhere',
    landing_page String COMMENT 'Address of its first page, without parameters; empty: not known',
    country LowCardinality(String) COMMENT 'Country, ISO 3166: the first that an event of it has; empty: not known',
    market LowCardinality(String) COMMENT 'The market of that country, see v_markets',
    language LowCardinality(String) COMMENT 'Language, ISO 639: likewise'
)
AS
WITH
    (SELECT countries FROM {{database}}.v_market_lookup) AS lookup_countries,
    (SELECT markets FROM {{database}}.v_market_lookup) AS lookup_markets,
    assumeNotNull((SELECT default_market FROM {{database}}.v_market_lookup)) AS lookup_default_market,
    assumeNotNull((SELECT timezone FROM {{database}}.v_attribution_settings)) AS zone,
    (SELECT goal FROM {{database}}.v_attribution_settings) AS goal
SELECT
    argMin(t.source, (t.occurred_at, t.event_id)) AS source,
    if(countIf(t.session_id != '') > 0, argMinIf(t.session_id, (t.occurred_at, t.event_id), t.session_id != ''),
        lower(hex(cityHash64(v.visitor, min(t.occurred_at))))) AS session_id,
    v.person AS profile_id,
    argMin(t.channel, t.occurred_at) AS channel,
    if(touches = 0, 'Unassigned', argMinIf(t.marketing_channel, (t.occurred_at, t.event_id), v.is_touch)) AS marketing_channel,
    argMinIf(t.campaign, (t.occurred_at, t.event_id), v.is_touch) AS campaign,
    min(t.occurred_at) AS started_at,
    toDate(toTimeZone(started_at, zone)) AS day,
    dateDiff('millisecond', started_at, max(t.occurred_at)) / 1000 AS seconds,
    count() AS events,
    countIf(t.event IN ('Page Viewed', 'Screen Viewed')) AS pages,
    sum(c.conversions) AS conversions,
    sum(c.revenue) AS revenue,
    seconds > 10 OR pages > 1 OR conversions > 0 AS engaged,
    max(t.device_hash) AS device_hash,
    countIf(v.is_touch) AS touches,
    countIf(v.continues) AS continuations,
    argMinIf(cutQueryStringAndFragment(t.url), (t.occurred_at, t.event_id), t.url != '') AS landing_page,
    argMinIf(t.country, (t.occurred_at, t.event_id), t.country != '') AS country,
    transform(toString(country), lookup_countries, lookup_markets, lookup_default_market) AS market,
    argMinIf(t.language, (t.occurred_at, t.event_id), t.language != '') AS language
FROM
(
    SELECT *, cityHash64(source, event_id) AS event_hash, JSONExtractString(context, 'page', 'url') AS url FROM {{database}}.v_touchpoints
) AS t
INNER JOIN
(
    SELECT person, visitor, one.1 AS event_hash, one.2 AS visit, one.3 AS is_touch, one.4 AS continues
    FROM
    (
        SELECT
            person, visitor,
            arrayJoin(arrayZip(event_hash, visit, is_touch,
                arrayMap((now, before, s, s_before) -> now AND NOT (before AND s = s_before),
                    goes_on, arrayPopBack(arrayPushFront(goes_on, 0)), session, arrayPopBack(arrayPushFront(session, 0))))) AS one
        FROM {{database}}.device_visits(start_ms = 86400000, stop_ms = 4133980800000)
    )
) AS v ON v.event_hash = t.event_hash
LEFT JOIN
(
    WITH reports AS
    (
        SELECT conversion_id, cityHash64(source, event_id) AS event_hash, occurred_at AS at FROM {{database}}.order_events FINAL WHERE kind IN ('order', 'receipt')
        UNION ALL
        SELECT conversion_id, cityHash64(source, event_id), converted_at FROM {{database}}.conversions FINAL WHERE conversion_type = goal
    )
    SELECT r.event_hash AS event_hash, count() AS conversions, sum(toFloat64(ifNull(a.revenue, 0))) AS revenue
    FROM
    (
        SELECT conversion_id, argMin(reports.event_hash, (at, reports.event_hash)) AS event_hash
        FROM reports
        WHERE reports.event_hash IN
        (
            SELECT event_hash FROM {{database}}.touchpoints FINAL
            WHERE bitAnd(visit_role, 7) != 0 AND event_hash IN (SELECT event_hash FROM reports)
        )
        GROUP BY conversion_id
    ) AS r
    INNER JOIN (SELECT conversion_id, revenue FROM {{database}}.conversion_amounts WHERE conversion_type = goal) AS a ON a.conversion_id = r.conversion_id
    GROUP BY event_hash
) AS c ON c.event_hash = v.event_hash
GROUP BY v.person, v.visitor, v.visit
COMMENT 'Visits of the site and the app, one row for each.';

CREATE OR REPLACE VIEW {{database}}.v_traffic {{on_cluster}}
(
    day Date COMMENT 'Day that the visits began',
    channel LowCardinality(String) COMMENT 'Marketing channel that brought them: the default channel groups',
    sessions UInt64 COMMENT 'Visits',
    people UInt64 COMMENT 'Visitors; not to be added up over days or markets',
    new_people UInt64 COMMENT 'Of whom it was the first visit',
    engaged_sessions UInt64 COMMENT 'Visits of more than 10 s, or two pages, or with a conversion',
    bounce_rate Float64 COMMENT 'Share of visits that were not engaged',
    pages_per_session Float64 COMMENT 'Pages and screens a visit',
    seconds_per_session Float64 COMMENT 'Seconds from the first to the last event, on average',
    conversions UInt64 COMMENT 'Conversions during these visits',
    revenue Float64 COMMENT 'Their revenue in the currency of reports',
    market LowCardinality(String) COMMENT 'The market of the visits, see v_markets'
)
AS SELECT
    day,
    marketing_channel AS channel,
    count() AS sessions,
    uniqExact(profile_id) AS people,
    countIf(ordinal = 1) AS new_people,
    countIf(engaged) AS engaged_sessions,
    1 - engaged_sessions / sessions AS bounce_rate,
    sum(pages) / sessions AS pages_per_session,
    avg(seconds) AS seconds_per_session,
    sum(conversions) AS conversions,
    sum(revenue) AS revenue,
    market
FROM (SELECT *, row_number() OVER (PARTITION BY profile_id ORDER BY started_at, source, session_id, device_hash) AS ordinal FROM {{database}}.v_sessions)
GROUP BY day, channel, market
COMMENT 'Visits by what brought them, one row for each day, marketing channel and market.';

CREATE OR REPLACE VIEW {{database}}.v_touches {{on_cluster}}
(
    profile_id UUID COMMENT 'The person as known now',
    touched_at DateTime64(3, 'UTC') COMMENT 'When it happened',
    channel LowCardinality(String) COMMENT 'The marketing channel that is credited',
    campaign LowCardinality(String) COMMENT 'Campaign name',
    creative LowCardinality(String) COMMENT 'Advertisement or message variant',
    product_id LowCardinality(String) COMMENT 'The product that it is about',
    source LowCardinality(String) COMMENT 'Which producer reported it',
    event_id String COMMENT 'The event',
    country LowCardinality(String) COMMENT 'Country of the event, ISO 3166; empty: not known',
    market LowCardinality(String) COMMENT 'The market of that country, see v_markets',
    store_id LowCardinality(String) COMMENT 'The store; empty: none',
    language LowCardinality(String) COMMENT 'Language, ISO 639; empty: not known'
)
AS
WITH
    (SELECT names FROM {{database}}.v_market_lookup) AS lookup_names,
    (SELECT codes FROM {{database}}.v_market_lookup) AS lookup_codes,
    (SELECT countries FROM {{database}}.v_market_lookup) AS lookup_countries,
    (SELECT markets FROM {{database}}.v_market_lookup) AS lookup_markets,
    (SELECT stores FROM {{database}}.v_market_lookup) AS lookup_stores,
    (SELECT store_countries FROM {{database}}.v_market_lookup) AS lookup_store_countries,
    assumeNotNull((SELECT default_market FROM {{database}}.v_market_lookup)) AS lookup_default_market
SELECT
    t.profile_id AS profile_id, t.touched_at AS touched_at, t.channel AS channel, t.campaign AS campaign, t.creative AS creative,
    t.product_id AS product_id, t.source AS source, t.event_id AS event_id, g.country AS country,
    transform(country, lookup_countries, lookup_markets, lookup_default_market) AS market, g.store_id AS store_id, g.language AS language
FROM {{database}}.touches(start_ms = 86400000, stop_ms = 4133980800000, contacts = 'all', only = [], without = []) AS t
LEFT JOIN
(
    SELECT event_hash, multiIf(transform(toString(store_id), lookup_stores, lookup_store_countries, '') != '', transform(toString(store_id), lookup_stores, lookup_store_countries, ''), order_country != '', transform(lowerUTF8(trimBoth(toString(order_country))), lookup_names, lookup_codes, toString(order_country)), transform(lowerUTF8(trimBoth(toString(touchpoints.country))), lookup_names, lookup_codes, toString(touchpoints.country))) AS country, store_id, language FROM {{database}}.touchpoints FINAL WHERE touch != '' OR visit_role != 0
) AS g ON g.event_hash = cityHash64(t.source, t.event_id)
COMMENT 'Events that attribution may credit, one row for each.';

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
        (SELECT max(day) FROM {{database}}.conversion_amounts) AS newest,
        groupArray((number, active, orders, revenue)) AS seen,
        range(toUInt32(dateDiff({unit:String}, cohort, assumeNotNull(newest)) + 1)) AS numbers
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
            sum(toFloat64(ifNull(revenue, 0))) AS revenue
        FROM
        (
            SELECT
                c.profile_id AS profile_id,
                if(m.market = '', assumeNotNull((SELECT default_market FROM {{database}}.v_market_lookup)), m.market) AS market,
                day,
                revenue,
                toDate(dateTrunc({unit:String}, min(day) OVER (PARTITION BY c.profile_id))) AS cohort
            FROM {{database}}.conversion_amounts AS c
            LEFT JOIN {{database}}.v_person_markets AS m ON m.profile_id = c.profile_id
            WHERE conversion_type = (SELECT goal FROM {{database}}.v_attribution_settings)
                AND c.profile_id != toUUID('00000000-0000-0000-0000-000000000000')
                AND (conversion_type, conversion_id) NOT IN (SELECT conversion_type, conversion_id FROM {{database}}.undated_conversions)
        )
        GROUP BY market, cohort, number
    )
    GROUP BY market, cohort
)
ARRAY JOIN entries AS entry, sums AS so_far
COMMENT 'Who bought again, one row for each market, cohort and unit since. Internal: feeds v_cohorts and v_cohorts_weekly.';

CREATE OR REPLACE VIEW {{database}}.v_cohorts {{on_cluster}}
(
    cohort Date COMMENT 'Month of the first order, by its first day',
    number UInt32 COMMENT 'Months since then, from 0',
    people UInt64 COMMENT 'People of the cohort',
    active UInt64 COMMENT 'Those who ordered in this month',
    retention Float64 COMMENT 'active / people',
    orders UInt64 COMMENT 'Their orders in this month',
    revenue Float64 COMMENT 'Revenue of these in the currency of reports',
    revenue_per_person Float64 COMMENT 'Revenue of the cohort up to the end of this month / people',
    market LowCardinality(String) COMMENT 'The market of the people, see v_person_markets'
)
AS SELECT * FROM {{database}}.cohorts(unit = 'month')
COMMENT 'Who bought again, one row for each market, month of first order and month since; the newest month may not be over.';

CREATE OR REPLACE VIEW {{database}}.v_cohorts_weekly {{on_cluster}}
(
    cohort Date COMMENT 'Week of the first order, by its Monday',
    number UInt32 COMMENT 'Weeks since then, from 0',
    people UInt64 COMMENT 'People of the cohort',
    active UInt64 COMMENT 'Those who ordered in this week',
    retention Float64 COMMENT 'active / people',
    orders UInt64 COMMENT 'Their orders in this week',
    revenue Float64 COMMENT 'Revenue of these in the currency of reports',
    revenue_per_person Float64 COMMENT 'Revenue of the cohort up to the end of this week / people',
    market LowCardinality(String) COMMENT 'The market of the people, see v_person_markets'
)
AS SELECT * FROM {{database}}.cohorts(unit = 'week')
COMMENT 'Who bought again, one row for each market, week of first order and week since; the newest week may not be over.';
