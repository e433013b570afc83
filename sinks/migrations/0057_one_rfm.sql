-- One definition of RFM: scores by the thresholds of traits.yaml, of the same orders that segments see. Quintiles, which
-- made other champions, are a view of their own that shows where the thresholds should be.

CREATE TABLE IF NOT EXISTS {{database}}.rfm_settings {{on_cluster}}
(
    id UInt8 COMMENT 'Always 0: there is one row',
    recency_ms Array(Int64) COMMENT 'Four spans since the last order, milliseconds, ascending: shorter than the first scores 5, than the second 4, and so on',
    frequency Array(Float64) COMMENT 'Four numbers of orders, ascending: at least the first scores 2, the second 3, and so on',
    monetary Array(Decimal(38, 4)) COMMENT 'Four amounts of net revenue, read the same way',
    monetary_by_currency Map(String, Array(Decimal(38, 4))) COMMENT 'Those amounts where the person''s main currency is one of these',
    classes Array(Tuple(name String, recency Array(UInt8), frequency Array(UInt8), monetary Array(UInt8))) COMMENT 'Classes from the top, with the lowest and the highest of each score: the first that fits counts',
    changed_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When it was set; a later row replaces it'
)
ENGINE = {{replicated}}ReplacingMergeTree(changed_at)
ORDER BY id
COMMENT 'The rules of RFM, as deploy/definitions/segments/traits.yaml has them: `throughline migrate` and `throughline segments backfill` write them. Read v_rfm.';

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
    class LowCardinality(String) COMMENT 'The first class of traits.yaml that fits the scores, such as champions; as rfm.class'
)
AS
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
    FROM (SELECT profile_id, JSONExtractRaw(document, 'orders') AS section FROM {{database}}.profiles FINAL)
    WHERE section != '' AND orders > 0 AND last_known IS NOT NULL AND main.1 != ''
)
COMMENT 'Recency, frequency and money of customers by the rules of traits.yaml, one row for each person with an order whose time is known: the classes that segments have.';

CREATE VIEW IF NOT EXISTS {{database}}.v_rfm_quintiles {{on_cluster}}
(
    measure LowCardinality(String) COMMENT 'recency_days, frequency or monetary',
    currency LowCardinality(String) COMMENT 'Main currency of the customers; empty: all of them',
    customers UInt64 COMMENT 'Customers',
    quintiles Array(Float64) COMMENT 'The four values between the fifths of these customers, ascending: a place for the thresholds of traits.yaml'
)
AS SELECT 'recency_days' AS measure, '' AS currency, count() AS customers, quantilesExact(0.2, 0.4, 0.6, 0.8)(toFloat64(recency_days)) AS quintiles FROM {{database}}.v_rfm
UNION ALL
SELECT 'frequency', '', count(), quantilesExact(0.2, 0.4, 0.6, 0.8)(toFloat64(frequency)) FROM {{database}}.v_rfm
UNION ALL
SELECT 'monetary', currency, count(), quantilesExact(0.2, 0.4, 0.6, 0.8)(monetary) FROM {{database}}.v_rfm GROUP BY currency
COMMENT 'Where the thresholds of RFM would make fifths of the customers, one row for each measure, and for each currency of money.';
