-- Views that need nothing of `v_touchpoints` but the person as known now read the table: ClickHouse plans them in half of the time, and copies no
-- properties to leave addresses out of them. What a bounce says is found in the text as it came. The rows are as before.

CREATE OR REPLACE VIEW {{database}}.message_events {{on_cluster}}
(
    event_id String COMMENT 'The event',
    profile_id UUID COMMENT 'The receiver as known now',
    occurred_at DateTime64(3, 'UTC') COMMENT 'When it happened',
    channel String COMMENT 'Channel of the message',
    step String COMMENT 'What the message has reached',
    message_id String COMMENT 'The sender''s id of the message, else the event''s',
    campaign String COMMENT 'Campaign name',
    is_soft UInt8 COMMENT '1: a bounce that may pass, or says nothing about the address',
    bounce_class UInt8 COMMENT 'What a bounce says, see bounce_types; 0: no bounce was reported'
)
AS SELECT
    event_id,
    profile_id,
    occurred_at,
    channel,
    multiIf(bounce_class = 5, 'unsubscribed', bounce_class = 6, 'complained', reported) AS step,
    message_id,
    campaign,
    bounce_class IN (2, 3) AS is_soft,
    bounce_class
FROM
(
    WITH
        (SELECT mapFromArrays(groupArray(name), groupArray(class)) FROM {{database}}.bounce_types) AS classes,
        ['bounce_type', 'bounce_subtype', 'bounce_classification', 'type', 'severity', 'code', 'error_code', 'status', 'smtp_code', 'reason', 'diagnostic_code'] AS fields
    SELECT
        t.event_id AS event_id,
        if(o.version > t.identity_version, o.profile_id, t.profile_id) AS profile_id,
        t.occurred_at AS occurred_at,
        multiIf(s.kind != 'push', s.kind, t.channel = 'web_push', 'web_push', 'app_push') AS channel,
        if(s.step = 'failed' AND found = 1, 'bounced', s.step) AS reported,
        if(JSONHas(t.properties, 'message_id'), JSONExtractString(t.properties, 'message_id'), t.event_id) AS message_id,
        toString(t.campaign) AS campaign,
        if(s.step IN ('bounced', 'failed'), arrayMap(field -> JSONExtractRaw(t.properties, field), fields), []) AS stated,
        arrayMap(value -> extract(value, '(?:^|[^0-9.])([45]\\.[0-9]{1,3}\\.[0-9]{1,3})(?:$|[^0-9.]|\\.(?:$|[^0-9]))'), stated) AS statuses,
        arrayMax(arrayMap((value, status) -> arrayFirst(class -> class > 0, [
            classes[lower(replaceRegexpAll(value, '[^A-Za-z0-9.]', ''))], classes[status],
            classes[extract(status, '^[45]\\.[0-9]+\\.')], classes[substring(status, 1, 2)]]), stated, statuses)) AS found,
        toUInt8(multiIf(s.step = 'failed', toUInt8(found = 1), s.step != 'bounced', 0, found > 0, found, stated[1] NOT IN ('', 'null', '""', '0', 'false', '[]', '{}'), 3, 1)) AS bounce_class
    FROM
    (
        SELECT event_id, event_hash, profile_id, anchor, identity_version, occurred_at, toString(channel) AS channel, toString(event) AS event, campaign, properties, is_bot
        FROM {{database}}.touchpoints FINAL
        WHERE event IN (SELECT event FROM {{database}}.message_steps)
    ) AS t
    INNER JOIN {{database}}.message_steps AS s ON s.event = t.event
    LEFT JOIN (SELECT * FROM {{database}}.identity_overrides FINAL) AS o ON o.anchor = t.anchor
    WHERE s.channel IN ('', t.channel)
        AND NOT (s.step IN ('opened', 'clicked', 'unsubscribed') AND (t.is_bot OR t.event_hash IN (SELECT event_hash FROM {{database}}.bot_events)))
        AND profile_id != toUUID('00000000-0000-0000-0000-000000000000')
)
WHERE bounce_class != 4
COMMENT 'What happened to messages, one row for each event. Internal: feeds the views about messages.';

CREATE OR REPLACE VIEW {{database}}.funnel_people {{on_cluster}}
AS SELECT
    profile_id,
    times,
    fromUnixTimestamp64Milli(times[1], 'UTC') AS entered_at,
    arrayFirst(step -> step.1 = times[1] AND has(step.2, 1), events).4 AS channel
FROM
(
    SELECT
        profile_id,
        events,
        arrayLast(way -> notEmpty(way), arrayFold(
            (ways, step) -> arrayMap(
                (way, before, place) -> multiIf(
                    NOT has(step.2, place), way,
                    place = 1, [step.1],
                    notEmpty(before) AND step.1 - before[1] <= {window_ms:Int64} AND (place < length({steps:Array(String)}) OR empty(way)), arrayPushBack(before, step.1),
                    way),
                ways, arrayPushFront(arrayPopBack(ways), CAST([], 'Array(Int64)')), arrayEnumerate(ways)),
            events,
            CAST(arrayMap(step -> [], {steps:Array(String)}), 'Array(Array(Int64))'))) AS times
    FROM
    (
        SELECT
            if(o.version > t.identity_version, o.profile_id, t.profile_id) AS profile_id,
            arraySort(step -> (step.1, step.2, step.3), groupUniqArray((t.at, t.matches, t.event_id, toString(t.channel)))) AS events
        FROM
        (
            SELECT
                profile_id,
                anchor,
                identity_version,
                toUnixTimestamp64Milli(occurred_at) AS at,
                event_id,
                channel,
                arrayFilter((place, step) -> step IN (toString(event), concat(event, '@', channel)), arrayEnumerate({steps:Array(String)}), {steps:Array(String)}) AS matches
            FROM {{database}}.touchpoints FINAL
            WHERE occurred_at >= fromUnixTimestamp64Milli({start_ms:Int64}, 'UTC') AND occurred_at < fromUnixTimestamp64Milli({stop_ms:Int64}, 'UTC')
                AND has(arrayMap(step -> splitByChar('@', step)[1], {steps:Array(String)}), event)
                AND notEmpty(matches)
                AND NOT is_bot AND event_hash NOT IN (SELECT event_hash FROM {{database}}.bot_events)
        ) AS t
        LEFT JOIN (SELECT * FROM {{database}}.identity_overrides FINAL) AS o ON o.anchor = t.anchor
        WHERE profile_id != toUUID('00000000-0000-0000-0000-000000000000')
            AND (empty({markets:Array(String)}) OR profile_id IN (SELECT profile_id FROM {{database}}.v_person_markets WHERE notEmpty({markets:Array(String)}) AND has({markets:Array(String)}, toString(market))))
        GROUP BY profile_id
    )
)
WHERE notEmpty(times)
COMMENT 'How far people get through the steps from start_ms to stop_ms, one row for each person who takes the first. Internal: feeds funnel.';

CREATE OR REPLACE VIEW {{database}}.v_product_performance {{on_cluster}}
(
    product_id String COMMENT 'The product; empty: orders that do not name their products',
    name String COMMENT 'Its name as last ordered',
    category String COMMENT 'Its category as last ordered',
    viewers UInt64 COMMENT 'People who saw its page',
    adders UInt64 COMMENT 'People who put it into a cart',
    buyers UInt64 COMMENT 'People who ordered it',
    orders UInt64 COMMENT 'Orders with it, also those of nobody known',
    quantity Float64 COMMENT 'Pieces ordered, or what its unit is; those that came back are not taken off',
    revenue Float64 COMMENT 'Their share of the orders'' revenue, less that of what came back, in the currency of reports',
    margin Float64 COMMENT 'What of it is margin',
    view_to_cart Nullable(Float64) COMMENT 'adders / viewers',
    view_to_order Nullable(Float64) COMMENT 'buyers / viewers; above 1 where it sells without its page, as in a store',
    returned Float64 COMMENT 'Pieces that came back as lines of a receipt; refunds do not name products'
)
AS SELECT
    key AS product_id,
    argMaxIf(label, at, ordered) AS name,
    argMaxIf(sort, at, ordered) AS category,
    uniqExactIf(person, event = 'Product Viewed' AND known) AS viewers,
    uniqExactIf(person, event = 'Product Added' AND known) AS adders,
    uniqExactIf(person, ordered AND known AND pieces > 0) AS buyers,
    uniqExactIf(order_key, ordered AND pieces > 0) AS orders,
    sumIf(pieces, pieces > 0) AS quantity,
    sum(worth) AS revenue,
    sum(gain) AS margin,
    adders / nullIf(viewers, 0) AS view_to_cart,
    buyers / nullIf(viewers, 0) AS view_to_order,
    -sumIf(pieces, pieces < 0) AS returned
FROM
(
    SELECT
        product_id AS key, name AS label, category AS sort, ordered_at AS at, true AS ordered, 'Order' AS event,
        profile_id AS person, profile_id != toUUID('00000000-0000-0000-0000-000000000000') AS known, order_id AS order_key,
        quantity AS pieces, ifNull(i.revenue, 0) AS worth, worth * margin_rate AS gain
    FROM {{database}}.v_order_items AS i
    UNION ALL
    SELECT
        toString(t.product_id), '', '', t.occurred_at, false, toString(t.event),
        if(o.version > t.identity_version, o.profile_id, t.profile_id) AS viewer, viewer != toUUID('00000000-0000-0000-0000-000000000000'), '', 0., 0., 0.
    FROM
    (
        SELECT profile_id, anchor, identity_version, product_id, occurred_at, event
        FROM {{database}}.touchpoints FINAL
        WHERE event IN ('Product Viewed', 'Product Added') AND product_id != ''
            AND NOT is_bot AND event_hash NOT IN (SELECT event_hash FROM {{database}}.bot_events)
    ) AS t
    LEFT JOIN (SELECT * FROM {{database}}.identity_overrides FINAL) AS o ON o.anchor = t.anchor
)
GROUP BY product_id
COMMENT 'How products do from page to order, one row for each product.';
