-- A conversion without an order's id is known by its source and event: `:crm::e-1`. By the event's id alone, two sources'
-- equal ids were one conversion. Rows that are stored by it stay as they are; stored once more, they give way.

ALTER TABLE {{database}}.conversions {{on_cluster}}
    COMMENT COLUMN conversion_id 'The order''s id, in a name space of its own name_space::order_id; else :source::event_id; older rows: event_id';

ALTER TABLE {{database}}.order_events {{on_cluster}}
    COMMENT COLUMN conversion_id 'The order among those of all name spaces: order_id, in a name space of its own name_space::order_id; without any id :source::event_id';

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
WHERE NOT (c.conversion_id = c.event_id AND (c.conversion_type, c.source, c.event_id) IN (
        SELECT conversion_type, source, event_id FROM {{database}}.conversions WHERE startsWith(conversion_id, ':') AND NOT startsWith(conversion_id, '::')))
    AND (c.event_id, c.source) NOT IN (SELECT event_id, source FROM {{database}}.order_events WHERE kind IN ('order', 'receipt'))
COMMENT 'Conversions, and returns of goods without a sale, one row for each goal and conversion id. Internal: feeds v_conversions and sale_amounts.';

CREATE OR REPLACE VIEW {{database}}.v_conversions {{on_cluster}}
(
    conversion_id String COMMENT 'The order''s id, in a name space of its own name_space::order_id; else its event, :source::event_id; of older rows event_id',
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
