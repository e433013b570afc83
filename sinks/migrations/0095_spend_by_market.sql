-- Spend may name its country or market. What names none is of no market: it is in no market's share, and never divided.

ALTER TABLE {{database}}.spend {{on_cluster}}
    ADD COLUMN IF NOT EXISTS country LowCardinality(String) COMMENT 'Country that it was spent for, ISO 3166; empty: not stated',
    ADD COLUMN IF NOT EXISTS market LowCardinality(String) COMMENT 'Market that it was spent for, where no country is stated; empty: not stated',
    MODIFY ORDER BY (date, channel, source, campaign, creative, country, market);

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
    (SELECT countries FROM {{database}}.v_market_lookup) AS lookup_countries,
    (SELECT markets FROM {{database}}.v_market_lookup) AS lookup_markets,
    assumeNotNull((SELECT default_market FROM {{database}}.v_market_lookup)) AS lookup_default_market
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
        s.country != '', transform(toString(s.country), lookup_countries, lookup_markets, lookup_default_market),
        s.market IN (SELECT market FROM {{database}}.v_markets), toString(s.market),
        '') AS market
FROM (SELECT * FROM {{database}}.spend FINAL) AS s
LEFT JOIN {{database}}.v_rates AS r ON r.currency = s.currency AND r.date = s.date
COMMENT 'Money spent in the currency of reports, one row for each day, channel, source, campaign, creative, country and market.';

CREATE VIEW IF NOT EXISTS {{database}}.v_marketing_returns_by_market {{on_cluster}}
(
    day Date COMMENT 'Day of the conversion, and of the spend',
    model String COMMENT 'The model, see v_attribution_models',
    channel String COMMENT 'Marketing channel, or (unattributed)',
    campaign String COMMENT 'Campaign, or (unattributed); empty: the touch had none',
    market String COMMENT 'Market of the conversion, and of the spend, see v_markets; empty: of spend that names none',
    conversions Float64 COMMENT 'Credited conversions of the settings'' goal',
    new_customers Float64 COMMENT 'Credited conversions that were the person''s first',
    revenue Float64 COMMENT 'Credited revenue in the currency of reports',
    net_revenue Float64 COMMENT 'The same after refunds',
    margin Float64 COMMENT 'What of revenue is margin: by campaign, else by the products sold',
    spend Decimal(38, 4) COMMENT 'Money spent in the currency of reports',
    roas Nullable(Float64) COMMENT 'revenue / spend',
    romi Nullable(Float64) COMMENT '(margin - spend) / spend',
    cpa Nullable(Float64) COMMENT 'spend / conversions',
    cac Nullable(Float64) COMMENT 'spend / new_customers',
    not_converted UInt64 COMMENT 'Conversions and spend whose amounts are missing above, see v_missing_rates'
)
AS
WITH toFloat64(spend) AS cost
SELECT
    day,
    model,
    channel,
    campaign,
    market,
    sum(c) AS conversions,
    sum(n) AS new_customers,
    sum(r) AS revenue,
    sum(k) AS net_revenue,
    sum(m) AS margin,
    sum(s) AS spend,
    revenue / nullIf(cost, 0) AS roas,
    (margin - cost) / nullIf(cost, 0) AS romi,
    cost / nullIf(conversions, 0) AS cpa,
    cost / nullIf(new_customers, 0) AS cac,
    sum(missing) AS not_converted
FROM
(
    SELECT
        v.day AS day,
        a.model AS model,
        a.channel AS channel,
        a.campaign AS campaign,
        toString(v.market) AS market,
        a.credit AS c,
        a.credit * v.is_first AS n,
        a.credit * toFloat64(ifNull(v.revenue, 0)) AS r,
        a.credit * toFloat64(ifNull(v.net_revenue, 0)) AS k,
        r * if(p.key = '', v.margin_rate, p.margin) AS m,
        toDecimal128(0, 4) AS s,
        v.revenue IS NULL AS missing
    FROM {{database}}.v_attribution_default AS a
    INNER JOIN {{database}}.v_conversion_values AS v ON v.conversion_id = a.conversion_id AND v.conversion_type = a.conversion_type
    LEFT JOIN (SELECT key, margin FROM {{database}}.margins FINAL WHERE kind = 'campaign' AND key != '') AS p ON p.key = a.campaign
    WHERE a.conversion_type = (SELECT goal FROM {{database}}.v_attribution_settings)
    UNION ALL
    SELECT date, models.model, channel, campaign, toString(market), 0., 0., 0., 0., 0., toDecimal128(ifNull(spend, toDecimal128(0, 4)), 4), spend IS NULL
    FROM {{database}}.v_spend
    CROSS JOIN {{database}}.v_attribution_models AS models
)
GROUP BY day, model, channel, campaign, market
COMMENT 'Credit, margin and spend by market, one row for each day, model, channel, campaign and market: lookback 30 days, half-life 7 days. Spend that names no market is in rows without one. Add up rows of one model only, and rates not at all.';

CREATE OR REPLACE VIEW {{database}}.marketing_returns {{on_cluster}}
AS
WITH toFloat64(spend) AS cost
SELECT
    day,
    model,
    channel,
    campaign,
    sum(r.conversions) AS conversions,
    sum(r.new_customers) AS new_customers,
    sum(r.revenue) AS revenue,
    sum(r.net_revenue) AS net_revenue,
    sum(r.margin) AS margin,
    sum(r.spend) AS spend,
    revenue / nullIf(cost, 0) AS roas,
    (margin - cost) / nullIf(cost, 0) AS romi,
    cost / nullIf(conversions, 0) AS cpa,
    cost / nullIf(new_customers, 0) AS cac,
    sum(r.not_converted) AS not_converted
FROM {{database}}.v_marketing_returns_by_market AS r
WHERE empty({markets:Array(String)}) OR has({markets:Array(String)}, r.market)
GROUP BY day, model, channel, campaign
COMMENT 'As v_marketing_returns, of conversions and spend of these markets; empty: of all, and spend of no market too. Internal: feeds v_marketing_returns, `throughline report` and `throughline budget`.';
