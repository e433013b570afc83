-- Reports of a period and of markets: the same views, asked with parameters.

CREATE OR REPLACE VIEW {{database}}.marketing_returns {{on_cluster}}
AS
WITH toFloat64(spend) AS cost
SELECT
    day,
    model,
    channel,
    campaign,
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
        AND (empty({markets:Array(String)}) OR has({markets:Array(String)}, toString(v.market)))
    UNION ALL
    SELECT date, models.model, channel, campaign, 0., 0., 0., 0., 0., toDecimal128(ifNull(spend, toDecimal128(0, 4)), 4), spend IS NULL
    FROM {{database}}.v_spend
    CROSS JOIN {{database}}.v_attribution_models AS models
    WHERE empty({markets:Array(String)})
)
GROUP BY day, model, channel, campaign
COMMENT 'As v_marketing_returns, of conversions of these markets; with a market there is no spend, which is of none. Internal: feeds v_marketing_returns and `throughline report`.';

CREATE OR REPLACE VIEW {{database}}.v_marketing_returns {{on_cluster}}
(
    day Date COMMENT 'Day of the conversion, and of the spend',
    model String COMMENT 'The model, see v_attribution_models',
    channel String COMMENT 'Marketing channel, or (unattributed)',
    campaign String COMMENT 'Campaign, or (unattributed); empty: the touch had none',
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
AS SELECT * FROM {{database}}.marketing_returns(markets = [])
COMMENT 'Credit, margin and spend, one row for each day, model, channel and campaign: lookback 30 days, half-life 7 days. Add up rows of one model only, and rates not at all.';

CREATE OR REPLACE VIEW {{database}}.path_links {{on_cluster}}
AS SELECT
    toUInt32(link.1) AS step,
    link.2 AS source,
    link.3 AS target,
    sum(conversions) AS conversions,
    sum(revenue) AS revenue,
    sum(null_journeys) AS null_journeys
FROM
(
    WITH arrayPushFront(path, '(start)') AS sources
    SELECT arrayZip(range(length(sources)), sources, arrayPushBack(path, '(conversion)')) AS links, conversions, revenue, toUInt64(0) AS null_journeys
    FROM {{database}}.attribution_paths(
        start_ms = {start_ms:Int64}, stop_ms = {stop_ms:Int64}, lookback_ms = 2592000000, goal = '', scope = 'all', repeats = 'keep',
        dimension = 'channel', contacts = 'all', only = [], without = [], markets = {markets:Array(String)})
    WHERE conversions > 0
    UNION ALL
    WITH arrayPushFront(path, '(start)') AS sources
    SELECT arrayZip(range(length(sources)), sources, arrayPushBack(path, '(no conversion)')), toUInt64(0), toDecimal128(0, 4), null_journeys
    FROM {{database}}.attribution_paths(
        start_ms = {start_ms:Int64}, stop_ms = {stop_ms:Int64}, lookback_ms = 2592000000, goal = '', scope = 'all', repeats = 'keep',
        dimension = 'channel', contacts = 'all', only = [], without = [], markets = {markets:Array(String)})
    WHERE null_journeys > 0
)
ARRAY JOIN links AS link
GROUP BY step, source, target
COMMENT 'As v_path_links, of conversions from start_ms to stop_ms and of these markets. Internal: feeds v_path_links and `throughline report`.';

CREATE OR REPLACE VIEW {{database}}.v_path_links {{on_cluster}}
(
    step UInt32 COMMENT 'Place of source in the path; 0: the start',
    source String COMMENT 'Marketing channel, or (start)',
    target String COMMENT 'Marketing channel of the next touch, or (conversion) or (no conversion)',
    conversions UInt64 COMMENT 'Conversions whose path takes this link at this step',
    revenue Decimal(38, 4) COMMENT 'Their revenue',
    null_journeys UInt64 COMMENT 'People who never converted and took it'
)
AS SELECT * FROM {{database}}.path_links(start_ms = 0, stop_ms = 4133980800000, markets = [])
COMMENT 'How people get from channel to channel, for Sankey diagrams, one row for each step, source and target: lookback 30 days.';

CREATE OR REPLACE VIEW {{database}}.channel_reachability {{on_cluster}}
AS
WITH assumeNotNull((SELECT timezone FROM {{database}}.v_attribution_settings)) AS zone
SELECT
    segment,
    channel,
    day,
    toUInt64(sum(sum(delta)) OVER so_far) AS people,
    toUInt64(sum(sumIf(delta, state = 'reachable')) OVER so_far) AS reachable,
    toUInt64(sum(sumIf(delta, state = 'opted_out')) OVER so_far) AS opted_out,
    toUInt64(sum(sumIf(delta, state = 'no_address')) OVER so_far) AS no_address,
    toUInt64(sum(sumIf(delta, state = 'bounced')) OVER so_far) AS bounced,
    toUInt64(sum(sumIf(delta, state = 'not_asked')) OVER so_far) AS not_asked,
    toUInt64(sum(sumIf(delta, state = 'stale')) OVER so_far) AS stale,
    if(people = 0, 0, reachable / people) AS reachable_share
FROM
(
    WITH (SELECT toDate(toTimeZone(max(occurred_at), zone)) FROM {{database}}.touchpoints) AS newest
    SELECT entry.1 AS segment, channel, state, change.1 AS day, change.2 AS delta
    FROM {{database}}.contact_states AS s
    LEFT JOIN
    (
        SELECT profile_id, groupArray((toString(segment), toDate(toTimeZone(since, zone)), toDate(toTimeZone(until, zone)))) AS memberships
        FROM {{database}}.v_segment_memberships
        GROUP BY profile_id
    ) AS m ON m.profile_id = s.profile_id
    ARRAY JOIN arrayPushFront(memberships, ('(all)', toDate(0), toDate('2100-01-01'))) AS entry
    ARRAY JOIN [(greatest(since, entry.2), 1), (least(until, entry.3), -1)] AS change
    WHERE (empty({markets:Array(String)}) OR s.profile_id IN (SELECT profile_id FROM {{database}}.v_person_markets WHERE notEmpty({markets:Array(String)}) AND has({markets:Array(String)}, toString(market))))
        AND greatest(since, entry.2) < least(until, entry.3) AND change.1 <= newest
    UNION ALL -- days on which nothing changes
    SELECT segment, channel, '' AS state, first_day + arrayJoin(range(toUInt32(greatest(newest - first_day + 1, 0)))) AS day, 0 AS delta
    FROM
    (
        SELECT segment, first_day FROM (SELECT '(all)' AS segment, toDate(toTimeZone(min(occurred_at), zone)) AS first_day FROM {{database}}.v_touchpoints WHERE profile_id != toUUID('00000000-0000-0000-0000-000000000000') HAVING count() > 0)
        UNION ALL
        SELECT toString(segment), toDate(toTimeZone(min(since), zone)) FROM {{database}}.v_segment_memberships GROUP BY segment
    ) AS s
    CROSS JOIN {{database}}.message_channels AS c
)
GROUP BY segment, channel, day
WINDOW so_far AS (PARTITION BY segment, channel ORDER BY day ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
COMMENT 'As v_channel_reachability, of people of these markets. Internal: feeds v_channel_reachability, `throughline reachability` and `throughline report`.';

CREATE OR REPLACE VIEW {{database}}.v_channel_reachability {{on_cluster}}
(
    segment String COMMENT 'Segment at the end of the day, or (all)',
    channel String COMMENT 'Channel of messages, see message_channels',
    day Date COMMENT 'The day, in the time zone of reports; the state is that of its end',
    people UInt64 COMMENT 'People known: the sum of the six below',
    reachable UInt64 COMMENT 'People who can and may be written to',
    opted_out UInt64 COMMENT 'Those who said no to the channel or to marketing, unsubscribed or complained',
    no_address UInt64 COMMENT 'Those without an address for it',
    bounced UInt64 COMMENT 'Those to whom the last delivery failed for good',
    not_asked UInt64 COMMENT 'Those who never answered whether they want it: silence is not a yes',
    stale UInt64 COMMENT 'Those without a sign of life for longer than message_channels says',
    reachable_share Float64 COMMENT 'reachable / people'
)
AS SELECT * FROM {{database}}.channel_reachability(markets = [])
COMMENT 'How many people could be written to, one row for each segment, channel and day.';
