-- v_rfm read the whole profiles, which an analyst may not: their orders are a column of its own now.

ALTER TABLE {{database}}.profiles {{on_cluster}}
    ADD COLUMN IF NOT EXISTS orders String MATERIALIZED JSONExtractRaw(document, 'orders') CODEC(ZSTD(3))
        COMMENT 'The section orders of the profile, JSON: the sums by currency, and the latest orders';

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
    if(m.market = '', assumeNotNull((SELECT default_market FROM {{database}}.v_market_lookup)), m.market) AS market
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
