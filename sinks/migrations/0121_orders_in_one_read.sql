-- Reads the events of orders, the rates and the lines of orders once for each report: ClickHouse analyses a query anew for every
-- table, view and subquery in it, however few rows there are.

CREATE OR REPLACE VIEW {{database}}.rates_of_days {{on_cluster}}
(
    date Date COMMENT 'A day on which the rates hold',
    rates Array(Tuple(currency String, rate Float64)) COMMENT 'Worth of one unit of each currency in the base currency'
)
AS SELECT date, groupArray((toString(currency), r.rate)) AS rates
FROM {{database}}.rates_by_day AS r
GROUP BY date
COMMENT 'The newest rates of the last seven days, one row for each day. Internal: feeds v_rates and order_reports.';

CREATE OR REPLACE VIEW {{database}}.v_rates {{on_cluster}}
(
    date Date COMMENT 'A day on which the rate holds',
    currency LowCardinality(String) COMMENT 'ISO 4217; the currency of reports itself is left out',
    rate Float64 COMMENT 'Worth of one unit of currency in the currency of reports'
)
AS
WITH
    (SELECT currency FROM {{database}}.v_report_settings) AS wanted,
    (SELECT groupUniqArray(toString(currency)) FROM {{database}}.rates) AS rated
SELECT date, one.1 AS currency, if(has(rated, wanted), one.2 / base, one.2) AS rate
FROM (SELECT date, rates, arrayFirst(r -> r.1 = wanted, rates).2 AS base FROM {{database}}.rates_of_days)
ARRAY JOIN rates AS one
WHERE one.1 != wanted AND (NOT has(rated, wanted) OR base > 0)
COMMENT 'Exchange rates to the currency of reports, one row for each day and other currency.';

CREATE OR REPLACE VIEW {{database}}.order_reports {{on_cluster}}
(
    conversion_id String COMMENT 'The order among those of all name spaces',
    order_namespace LowCardinality(String) COMMENT 'Name space of order_id; empty: the one that sources share',
    order_id String COMMENT 'The order''s id, else the receipt''s, else the event''s',
    goals Array(LowCardinality(String)) COMMENT 'Goals that it reaches',
    converted_at DateTime64(3, 'UTC') COMMENT 'When it was first reported to have happened, by reports with a time of their own; else its arrival',
    channel LowCardinality(String) COMMENT 'Where: of the first report',
    source LowCardinality(String) COMMENT 'Which producer: of the first report',
    event_id String COMMENT 'The first report',
    anchor UUID COMMENT 'Of the report that counts, else of the best one that names a person',
    profile_id UUID COMMENT 'The person as known when that was stored',
    identity_version UInt64 COMMENT 'Changes of identity up to this version are in profile_id',
    revenue Decimal(18, 4) COMMENT 'What it is worth, in units of currency: of the report that counts',
    currency LowCardinality(String) COMMENT 'ISO 4217: likewise',
    is_return UInt8 COMMENT '1: goods came back and nothing was bought: likewise',
    amount_source LowCardinality(String) COMMENT 'Producer of the report that counts',
    amount_event_id String COMMENT 'The report that counts',
    products String COMMENT 'Its lines, JSON; where it names none, those of the best report that does',
    reports UInt64 COMMENT 'How many reports it has',
    time_doubtful UInt8 COMMENT '1: when it happened is not known, it is dated by its arrival',
    country LowCardinality(String) COMMENT 'Of the best report that names one, ISO 3166',
    store_id LowCardinality(String) COMMENT 'Likewise',
    language LowCardinality(String) COMMENT 'Likewise',
    wholly UInt8 COMMENT '1: it was cancelled, or refunded without saying how much',
    refunds Array(Tuple(currency String, day Date, original_amount Decimal(18, 4), amount Nullable(Decimal(18, 4))))
        COMMENT 'What was given back in each currency: the sum of its refunds, or their running total if that is more, of parts the sum of those of each; with the day of the last, and the amount in the currency of the order. NULL: there is no rate'
)
AS
-- Each step is a subquery: an alias that uses aliases is copied at every use when the query is analysed.
SELECT
    id AS conversion_id,
    space AS order_namespace,
    number AS order_id,
    reached AS goals,
    first.2 AS converted_at,
    first.3 AS channel,
    first.4 AS source,
    first.5 AS event_id,
    person.1 AS anchor,
    person.2 AS profile_id,
    person.3 AS identity_version,
    counts.3 AS revenue,
    order_currency AS currency,
    counts.6 AS is_return,
    counts.7 AS amount_source,
    counts.8 AS amount_event_id,
    lines AS products,
    n AS reports,
    first.1 AS time_doubtful,
    places.1 AS country,
    places.2 AS store_id,
    places.3 AS language,
    is_wholly AS wholly,
    arrayMap(
        (code, day, amount, worth, base) ->
            (code, day, amount, multiIf(
                amount = 0 OR code IN ('', order_currency) OR order_currency = '', toNullable(amount),
                worth > 0 AND base > 0, toDecimal64(toString(round(toFloat64(amount) * worth / base, 4)), 4),
                NULL)),
        codes, days, amounts, worths, bases) AS refunds
FROM
(
    WITH
        (SELECT currency FROM {{database}}.v_report_settings) AS wanted,
        (SELECT groupUniqArray(toString(currency)) FROM {{database}}.rates) AS rated
    SELECT
        *,
        arrayMap(one -> one.day, last) AS days,
        -- The sum of refunds, the greatest running total of the order, and those of its parts.
        arrayMap(
            code -> CAST(greatest(
                arraySum(one -> if(one.currency = code, one.amount, toDecimal64(0, 4)), given),
                arrayMax(one -> if(one.currency = code AND one.part_id = '', one.total, toDecimal64(0, 4)), given),
                arraySum(
                    part -> arrayMax(one -> if(one.currency = code AND one.part_id = part, one.total, toDecimal64(0, 4)), given),
                    refunded_parts)), 'Decimal(18, 4)'),
            codes) AS amounts,
        -- The base currency of the table of rates has no rates of its own, if it is that of reports.
        arrayMap((code, one) -> if(has(one.rates.currency, code), arrayFirst(rate -> rate.currency = code, one.rates).rate, toFloat64(code = wanted AND NOT has(rated, wanted))), codes, last) AS worths,
        arrayMap(one -> if(has(one.rates.currency, order_currency), arrayFirst(rate -> rate.currency = order_currency, one.rates).rate, toFloat64(order_currency = wanted AND NOT has(rated, wanted))), last) AS bases
    FROM
    (
        SELECT
            *,
            if(counts.4 = 'XXX', '', counts.4) AS order_currency,
            arrayMap(code -> arrayLast(one -> one.currency = code, given), codes) AS last,
            arrayFilter(part -> part != '', arrayDistinct(given.part_id)) AS refunded_parts
        FROM
        (
            SELECT
                *,
                if(notEmpty(latest) AND newest = best, (newest.1, newest.2, CAST(arraySum(arrayMap(part -> if(part.2.4 = newest.4, part.2.3, toDecimal64(0, 4)), latest)), 'Decimal(18, 4)'), newest.4,
                    toUInt8(arrayExists(part -> part.2.4 = newest.4 AND part.2.5 = 1, latest)), toUInt8(0), newest.7, newest.8), best) AS counts,
                arrayDistinct(given.currency) AS codes
            FROM
            (
                SELECT *, arrayMax(latest.2) AS newest
                FROM
                (
                    SELECT
                        e.conversion_id AS id,
                        anyIf(e.order_namespace, is_report) AS space,
                        anyIf(e.order_id, is_report) AS number,
                        arraySort(groupUniqArrayArrayIf(e.goals, is_report)) AS reached,
                        minIf((e.time_doubtful, e.occurred_at, toString(e.channel), toString(e.source), e.event_id), is_report) AS first,
                        maxIf(rank, is_report) AS best,
                        arraySort(groupUniqArrayIf((e.part_id, rank), is_report AND e.part_id != '')) AS parts,
                        arrayFilter((part, next) -> part.1 != next, parts, arrayPopFront(arrayPushBack(parts.1, ''))) AS latest,
                        argMaxIf((e.anchor, e.profile_id, e.identity_version), rank, is_report AND e.profile_id != toUUID('00000000-0000-0000-0000-000000000000')) AS person,
                        argMaxIf(e.products, rank, is_report AND e.products != '') AS lines,
                        (argMaxIf(place, rank, is_report AND place != ''), argMaxIf(toString(e.store_id), rank, is_report AND e.store_id != ''), argMaxIf(toString(e.language), rank, is_report AND e.language != '')) AS places,
                        countIf(is_report) AS n,
                        arraySort(one -> (one.at, one.currency), groupArrayIf(
                            CAST((toString(e.currency), e.part_id, ifNull(e.amount, toDecimal64(0, 4)), ifNull(e.refunded_total, toDecimal64(0, 4)), e.occurred_at, e.day, d.rates),
                                'Tuple(currency String, part_id String, amount Decimal(18, 4), total Decimal(18, 4), at DateTime64(3, \'UTC\'), day Date, rates Array(Tuple(currency String, rate Float64)))'),
                            NOT is_report)) AS given,
                        maxIf(e.kind = 'cancellation' OR (e.amount IS NULL AND e.refunded_total IS NULL), NOT is_report) AS is_wholly
                    FROM
                    (
                        WITH
                            assumeNotNull((SELECT lookup FROM {{database}}.v_market_lookup)) AS lookup,
                            assumeNotNull((SELECT timezone FROM {{database}}.v_attribution_settings)) AS zone
                        SELECT
                            *,
                            kind IN ('order', 'receipt') AS is_report,
                            (authority, occurred_at, ifNull(amount, toDecimal64(0, 4)), if(currency = '', 'XXX', toString(currency)), discounted, is_return, toString(source), event_id) AS rank,
                            if(country_of_store != '', country_of_store, transform(lowerUTF8(trimBoth(toString(country))), lookup.names, lookup.codes, toString(country))) AS place,
                            if(is_report, toDate(0), toDate(toTimeZone(occurred_at, zone))) AS day
                        FROM
                        (
                            SELECT *, transform(toString(store_id), lookup.stores, lookup.store_countries, '') AS country_of_store
                            FROM {{database}}.order_events FINAL
                            WHERE kind IN ('order', 'receipt', 'refund', 'cancellation')
                        )
                    ) AS e
                    LEFT JOIN {{database}}.rates_of_days AS d ON d.date = e.day
                    GROUP BY id
                    HAVING n > 0
                )
            )
        )
    )
)
WHERE best.1 > 1 OR id NOT IN (SELECT claims FROM {{database}}.order_events FINAL WHERE claims != '')
COMMENT 'Orders with the report that counts and what was refunded, one row for each; receipts that belong to an order are left out. Internal: feeds order_sales.';

CREATE OR REPLACE VIEW {{database}}.refund_values {{on_cluster}}
(
    order_id String COMMENT 'The order, as v_conversions.conversion_id',
    wholly UInt8 COMMENT '1: all of it',
    day Date COMMENT 'Day of the last of its refunds, in the time zone of reports',
    original_amount Decimal(18, 4) COMMENT 'What was given back, in units of currency',
    currency LowCardinality(String) COMMENT 'ISO 4217',
    amount Nullable(Decimal(18, 4)) COMMENT 'The same in the order''s currency; NULL: there is no rate'
)
AS SELECT
    conversion_id AS order_id,
    wholly,
    refund.day AS day,
    refund.original_amount AS original_amount,
    refund.currency AS currency,
    refund.amount AS amount
FROM {{database}}.order_reports
ARRAY JOIN refunds AS refund
COMMENT 'What was given back of orders, in their currencies, one row for each order and currency. Internal: feeds v_missing_rates.';

DROP VIEW IF EXISTS {{database}}.order_refunds {{on_cluster}};

CREATE OR REPLACE VIEW {{database}}.order_sales {{on_cluster}}
(
    conversion_id String COMMENT 'As v_conversions has it',
    order_namespace LowCardinality(String) COMMENT 'Name space of order_id; empty: the one that sources share',
    order_id String COMMENT 'The order''s id, else the receipt''s, else the event''s; empty: it is no order',
    goals Array(LowCardinality(String)) COMMENT 'Goals that it reaches',
    profile_id UUID COMMENT 'The person as known now; nil: nobody',
    converted_at DateTime64(3, 'UTC') COMMENT 'When it was first reported to have happened',
    revenue Decimal(18, 4) COMMENT 'What it is worth before refunds, in units of currency',
    refunded Decimal(18, 4) COMMENT 'What was given back since',
    net_revenue Decimal(18, 4) COMMENT 'revenue - refunded',
    currency LowCardinality(String) COMMENT 'ISO 4217',
    channel LowCardinality(String) COMMENT 'Where it happened, such as web',
    source LowCardinality(String) COMMENT 'Which producer reported it first',
    event_id String COMMENT 'The event that reported it first',
    is_return UInt8 COMMENT '1: goods came back and nothing was bought',
    reports UInt64 COMMENT 'How many reports of it there are',
    amount_source LowCardinality(String) COMMENT 'Which producer its amount is from',
    amount_event_id String COMMENT 'The event that its amount is from',
    refunds_not_converted UInt64 COMMENT 'Currencies of refunds that are not in refunded: there is no rate',
    products String COMMENT 'Its lines, a JSON list; empty: it names none',
    time_doubtful UInt8 COMMENT '1: when it happened is not known, it is dated by its arrival',
    country LowCardinality(String) COMMENT 'Country, ISO 3166, as its reports say; empty: none does',
    store_id LowCardinality(String) COMMENT 'The store; empty: none',
    language LowCardinality(String) COMMENT 'Language, ISO 639; empty: not known'
)
AS SELECT
    s.conversion_id AS conversion_id,
    s.order_namespace AS order_namespace,
    s.order_id AS order_id,
    s.goals AS goals,
    if(o.version > s.identity_version, o.profile_id, s.profile_id) AS profile_id,
    s.converted_at AS converted_at,
    s.revenue AS revenue,
    CAST(if(s.wholly, s.revenue, least(greatest(s.revenue, 0), arraySum(arrayMap(one -> ifNull(one.amount, toDecimal64(0, 4)), s.refunds)))), 'Decimal(18, 4)') AS refunded,
    CAST(s.revenue - refunded, 'Decimal(18, 4)') AS net_revenue,
    s.currency AS currency,
    s.channel AS channel,
    s.source AS source,
    s.event_id AS event_id,
    s.is_return AS is_return,
    s.reports AS reports,
    s.amount_source AS amount_source,
    s.amount_event_id AS amount_event_id,
    if(s.wholly, 0, arrayCount(one -> one.amount IS NULL, s.refunds)) AS refunds_not_converted,
    s.products AS products,
    s.time_doubtful AS time_doubtful,
    s.country AS country,
    s.store_id AS store_id,
    s.language AS language
FROM {{database}}.order_reports AS s
LEFT JOIN (SELECT * FROM {{database}}.identity_overrides FINAL) AS o ON o.anchor = s.anchor
COMMENT 'Orders and returns with what was refunded and the person as known now, one row for each. Internal: feeds conversions_and_returns.';

CREATE OR REPLACE VIEW {{database}}.conversions_and_returns {{on_cluster}}
(
    conversion_id String COMMENT 'As v_conversions has it',
    conversion_type LowCardinality(String) COMMENT 'The goal, such as purchase',
    profile_id UUID COMMENT 'The person as known now; nil: nobody',
    converted_at DateTime64(3, 'UTC') COMMENT 'When it was first reported to have happened',
    revenue Decimal(18, 4) COMMENT 'What it is worth before refunds, in units of currency',
    refunded Decimal(18, 4) COMMENT 'What was given back since',
    net_revenue Decimal(18, 4) COMMENT 'revenue - refunded',
    currency LowCardinality(String) COMMENT 'ISO 4217',
    channel LowCardinality(String) COMMENT 'Where it happened, such as web',
    source LowCardinality(String) COMMENT 'Which producer reported it first',
    event_id String COMMENT 'The event that reported it first',
    order_namespace LowCardinality(String) COMMENT 'Name space of order_id; empty: the one that sources share',
    order_id String COMMENT 'The order''s id, else the receipt''s, else the event''s; empty: it is no order',
    reports UInt64 COMMENT 'How many reports of it there are',
    amount_source LowCardinality(String) COMMENT 'Which producer its amount is from',
    amount_event_id String COMMENT 'The event that its amount is from',
    refunds_not_converted UInt64 COMMENT 'Currencies of refunds that are not in refunded: there is no rate',
    is_return UInt8 COMMENT '1: goods came back and nothing was bought',
    products String COMMENT 'Its lines, a JSON list; empty: it names none',
    time_doubtful UInt8 COMMENT '1: when it happened is not known, it is dated by its arrival',
    country LowCardinality(String) COMMENT 'Country, ISO 3166, by the rule of schemas/markets.py; empty: not known',
    market LowCardinality(String) COMMENT 'The market of that country',
    store_id LowCardinality(String) COMMENT 'The store; empty: none',
    language LowCardinality(String) COMMENT 'Language, ISO 639; empty: not known'
)
AS
WITH
    assumeNotNull((SELECT lookup FROM {{database}}.v_market_lookup)) AS lookup
SELECT
    u.* EXCEPT (country, store_id, language),
    if(u.country != '', toString(u.country), transform(lowerUTF8(trimBoth(toString(p.declared_country))), lookup.names, lookup.codes, toString(p.declared_country))) AS country,
    transform(country, lookup.countries, lookup.markets, lookup.default_market) AS market,
    u.store_id AS store_id,
    u.language AS language
FROM
(
    SELECT
        conversion_id, CAST(goal, 'LowCardinality(String)') AS conversion_type, profile_id, converted_at, revenue, refunded, net_revenue,
        currency, channel, source, event_id, order_namespace, order_id, reports, amount_source, amount_event_id,
        refunds_not_converted, is_return, products, time_doubtful, country, store_id, language
    FROM {{database}}.order_sales
    ARRAY JOIN goals AS goal
    UNION ALL
    SELECT
        c.conversion_id, c.conversion_type, if(o.version > c.identity_version, o.profile_id, c.profile_id), c.converted_at, c.revenue,
        toDecimal64(0, 4), c.revenue, c.currency, c.channel, c.source, c.event_id, '', '', 1, c.source, c.event_id, 0, 0, '', c.time_doubtful,
        if(c.country_of_store != '', c.country_of_store, transform(lowerUTF8(trimBoth(toString(c.country))), lookup.names, lookup.codes, toString(c.country))), c.store_id, c.language
    FROM (SELECT *, transform(toString(store_id), lookup.stores, lookup.store_countries, '') AS country_of_store FROM {{database}}.conversions FINAL) AS c
    LEFT JOIN (SELECT * FROM {{database}}.identity_overrides FINAL) AS o ON o.anchor = c.anchor
    WHERE NOT (c.conversion_id = c.event_id AND (c.conversion_type, c.source, c.event_id) IN (
            SELECT conversion_type, source, event_id FROM {{database}}.conversions WHERE startsWith(conversion_id, ':') AND NOT startsWith(conversion_id, '::')))
        AND (c.event_id, c.source) NOT IN (SELECT event_id, source FROM {{database}}.order_events WHERE kind IN ('order', 'receipt'))
) AS u
LEFT JOIN
(
    SELECT profile_id, toString(declared_country) AS declared_country FROM {{database}}.profiles FINAL WHERE declared_country != ''
) AS p ON p.profile_id = u.profile_id
COMMENT 'Conversions, and returns of goods without a sale, one row for each goal and conversion id. Internal: feeds v_conversions and sale_amounts.';
