-- Orders whose own time cannot be believed keep their amount, on the day of their arrival, and start nothing: no cohort, no
-- first order, no recency. An order is dated as soon as one of its reports has a time of its own.

ALTER TABLE {{database}}.order_events {{on_cluster}}
    ADD COLUMN IF NOT EXISTS time_doubtful UInt8 DEFAULT 0
    COMMENT '1: the producer''s time cannot be believed, occurred_at is the time of arrival';

ALTER TABLE {{database}}.conversions {{on_cluster}}
    ADD COLUMN IF NOT EXISTS time_doubtful UInt8 DEFAULT 0
    COMMENT '1: the producer''s time cannot be believed, converted_at is the time of arrival';

-- What is stored already. Of two rows of one event that were received at the same time, the one inserted last stays.
INSERT INTO {{database}}.order_events
(
    event_id, source, kind, conversion_id, order_namespace, order_id, claims, goals, occurred_at, channel, store_id, anchor,
    profile_id, identity_version, authority, amount, refunded_total, currency, discounted, is_return, products, received_at,
    time_doubtful
)
SELECT
    event_id, source, kind, conversion_id, order_namespace, order_id, claims, goals, occurred_at, channel, store_id, anchor,
    profile_id, identity_version, authority, amount, refunded_total, currency, discounted, is_return, products, received_at,
    1
FROM {{database}}.order_events FINAL
WHERE NOT time_doubtful AND (source, event_id) IN (SELECT source, event_id FROM {{database}}.touchpoints WHERE time_doubtful);

INSERT INTO {{database}}.conversions
(
    conversion_id, conversion_type, converted_at, event_id, channel, source, anchor, profile_id, identity_version, revenue,
    currency, received_at, time_doubtful
)
SELECT
    conversion_id, conversion_type, converted_at, event_id, channel, source, anchor, profile_id, identity_version, revenue,
    currency, received_at, 1
FROM {{database}}.conversions FINAL
WHERE NOT time_doubtful AND (source, event_id) IN (SELECT source, event_id FROM {{database}}.touchpoints WHERE time_doubtful);

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
    time_doubtful UInt8 COMMENT '1: when it happened is not known, it is dated by its arrival'
)
AS SELECT
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
    best.3 AS revenue,
    if(best.4 = 'XXX', '', best.4) AS currency,
    best.6 AS is_return,
    best.7 AS amount_source,
    best.8 AS amount_event_id,
    lines AS products,
    n AS reports,
    first.1 AS time_doubtful
FROM
(
    WITH (e.authority, e.occurred_at, ifNull(e.amount, toDecimal64(0, 4)), if(e.currency = '', 'XXX', toString(e.currency)), e.discounted, e.is_return, toString(e.source), e.event_id) AS rank
    SELECT
        e.conversion_id AS id,
        any(e.order_namespace) AS space,
        any(e.order_id) AS number,
        arraySort(groupUniqArrayArray(e.goals)) AS reached,
        min((e.time_doubtful, e.occurred_at, toString(e.channel), toString(e.source), e.event_id)) AS first,
        max(rank) AS best,
        argMaxIf((e.anchor, e.profile_id, e.identity_version), rank, e.profile_id != toUUID('00000000-0000-0000-0000-000000000000')) AS person,
        argMaxIf(e.products, rank, e.products != '') AS lines,
        count() AS n
    FROM {{database}}.order_events AS e FINAL
    WHERE e.kind IN ('order', 'receipt')
    GROUP BY id
)
WHERE best.1 > 1 OR id NOT IN (SELECT claims FROM {{database}}.order_events FINAL WHERE claims != '')
COMMENT 'Orders with the report that counts, one row for each; receipts that belong to an order are left out. Internal: feeds order_sales.';

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
    time_doubtful UInt8 COMMENT '1: when it happened is not known, it is dated by its arrival'
)
AS SELECT
    s.conversion_id AS conversion_id,
    s.order_namespace AS order_namespace,
    s.order_id AS order_id,
    s.goals AS goals,
    if(o.version > s.identity_version, o.profile_id, s.profile_id) AS profile_id,
    s.converted_at AS converted_at,
    s.revenue AS revenue,
    CAST(if(r.wholly, s.revenue, least(greatest(s.revenue, 0), r.amount)), 'Decimal(18, 4)') AS refunded,
    CAST(s.revenue - refunded, 'Decimal(18, 4)') AS net_revenue,
    s.currency AS currency,
    s.channel AS channel,
    s.source AS source,
    s.event_id AS event_id,
    s.is_return AS is_return,
    s.reports AS reports,
    s.amount_source AS amount_source,
    s.amount_event_id AS amount_event_id,
    r.not_converted AS refunds_not_converted,
    s.products AS products,
    s.time_doubtful AS time_doubtful
FROM {{database}}.order_reports AS s
LEFT JOIN (SELECT * FROM {{database}}.identity_overrides FINAL) AS o ON o.anchor = s.anchor
LEFT JOIN
(
    SELECT order_id, max(v.wholly) AS wholly, sum(ifNull(v.amount, 0)) AS amount, countIf(v.amount IS NULL AND NOT v.wholly) AS not_converted
    FROM {{database}}.refund_values AS v
    GROUP BY order_id
) AS r ON r.order_id = s.conversion_id
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
    time_doubtful UInt8 COMMENT '1: when it happened is not known, it is dated by its arrival'
)
AS SELECT
    conversion_id, CAST(goal, 'LowCardinality(String)') AS conversion_type, profile_id, converted_at, revenue, refunded, net_revenue,
    currency, channel, source, event_id, order_namespace, order_id, reports, amount_source, amount_event_id,
    refunds_not_converted, is_return, products, time_doubtful
FROM {{database}}.order_sales
ARRAY JOIN goals AS goal
UNION ALL
SELECT
    c.conversion_id, c.conversion_type, if(o.version > c.identity_version, o.profile_id, c.profile_id), c.converted_at, c.revenue,
    toDecimal64(0, 4), c.revenue, c.currency, c.channel, c.source, c.event_id, '', '', 1, c.source, c.event_id, 0, 0, '', c.time_doubtful
FROM {{database}}.conversions AS c FINAL
LEFT JOIN (SELECT * FROM {{database}}.identity_overrides FINAL) AS o ON o.anchor = c.anchor
WHERE (c.event_id, c.source) NOT IN (SELECT event_id, source FROM {{database}}.order_events WHERE kind IN ('order', 'receipt'))
COMMENT 'Conversions, and returns of goods without a sale, one row for each goal and conversion id. Internal: feeds v_conversions and sale_amounts.';

CREATE OR REPLACE VIEW {{database}}.v_conversions {{on_cluster}}
(
    conversion_id String COMMENT 'The order''s id, in a name space of its own name_space::order_id; else the event''s',
    conversion_type LowCardinality(String) COMMENT 'The goal, such as purchase',
    profile_id UUID COMMENT 'The person as known now; nil: nobody. Of an order: of the report that its amount is from, else of the best one that names a person',
    converted_at DateTime64(3, 'UTC') COMMENT 'When it happened; of an order: the time of its first report that has one that can be believed',
    revenue Decimal(18, 4) COMMENT 'What it is worth before refunds, in units of currency; of an order: by the report that counts',
    refunded Decimal(18, 4) COMMENT 'What was given back since, by refunds or by a cancellation; never more than revenue',
    net_revenue Decimal(18, 4) COMMENT 'revenue - refunded',
    currency LowCardinality(String) COMMENT 'ISO 4217',
    channel LowCardinality(String) COMMENT 'Where it happened, such as web: by the first report',
    source LowCardinality(String) COMMENT 'Which producer reported it first',
    event_id String COMMENT 'The event that reported it first',
    order_namespace LowCardinality(String) COMMENT 'Name space of order_id, as sources.yaml declares it; empty: the one that sources share',
    order_id String COMMENT 'The order''s id, else that of its receipt; empty: it is no order',
    reports UInt64 COMMENT 'How many reports of it there are: pages, webhooks, updates, receipts',
    amount_source LowCardinality(String) COMMENT 'Which producer its amount is from',
    amount_event_id String COMMENT 'The event that its amount is from',
    refunds_not_converted UInt64 COMMENT 'Currencies of refunds that are not in refunded: there is no rate, see v_missing_rates',
    time_doubtful UInt8 COMMENT '1: when it happened is not known, it is dated by its arrival'
)
AS SELECT
    conversion_id, conversion_type, profile_id, converted_at, revenue, refunded, net_revenue, currency, channel, source,
    event_id, order_namespace, order_id, reports, amount_source, amount_event_id, refunds_not_converted, time_doubtful
FROM {{database}}.conversions_and_returns
WHERE NOT is_return
COMMENT 'Every conversion with the person as known now, one row for each goal and conversion id. An order is one, however often it is reported.';

CREATE OR REPLACE VIEW {{database}}.undated_conversions {{on_cluster}}
(
    conversion_type LowCardinality(String) COMMENT 'The goal, such as purchase',
    conversion_id String COMMENT 'The order''s id, else the event''s'
)
AS SELECT conversion_type, conversion_id
FROM {{database}}.v_conversions
WHERE time_doubtful
COMMENT 'Conversions whose time cannot be believed, one row for each goal and conversion id. Internal: such a one starts no cohort and looks back at no touch.';
