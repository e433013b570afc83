-- Attribution, visits, engagement, messages, funnels and product views leave bots out; v_touchpoints says which they are, v_bots how many.

CREATE OR REPLACE VIEW {{database}}.v_touchpoints {{on_cluster}}
(
    event_id String COMMENT 'The producer''s id of the event',
    profile_id UUID COMMENT 'The person as known now; nil: nobody',
    occurred_at DateTime64(3, 'UTC') COMMENT 'When it happened',
    channel LowCardinality(String) COMMENT 'Where it happened, such as web',
    event LowCardinality(String) COMMENT 'What happened, such as Product Added',
    source LowCardinality(String) COMMENT 'Which producer reported it',
    touch LowCardinality(String) COMMENT 'rule: a touch by itself; campaign, session, referral, return, visit: what an event is for its visit, v_touches has those that are touches; empty: none',
    marketing_channel LowCardinality(String) COMMENT 'What attribution credits if it is a touch',
    campaign LowCardinality(String) COMMENT 'Campaign name',
    creative LowCardinality(String) COMMENT 'Advertisement or message variant',
    product_id LowCardinality(String) COMMENT 'The product that it is about',
    order_id String COMMENT 'The order that it is about',
    revenue Decimal(18, 4) COMMENT 'What it is worth, in units of currency',
    currency LowCardinality(String) COMMENT 'ISO 4217',
    session_id String COMMENT 'The producer''s id of the visit',
    anchor UUID COMMENT 'Keyed hash of the identifier it was resolved by; nil: nobody',
    received_at DateTime64(3, 'UTC') COMMENT 'When the broker got it',
    properties String COMMENT 'The event''s properties, JSON',
    context String COMMENT 'The event''s context, JSON; the network address is truncated',
    device LowCardinality(String) COMMENT 'Type of the device: mobile, tablet, desktop, tv, console, or the producer''s word',
    os LowCardinality(String) COMMENT 'Operating system, such as iOS',
    browser LowCardinality(String) COMMENT 'Browser or app, such as Mobile Safari or Instagram; of a bot its name',
    country LowCardinality(String) COMMENT 'Country, ISO 3166, as the producer says, else by the network address',
    city LowCardinality(String) COMMENT 'City, likewise',
    enriched_by LowCardinality(String) COMMENT 'Versions of the rules and of the location database',
    is_bot UInt8 COMMENT '1: a bot''s; views about people and visits leave it out',
    bot_reason LowCardinality(String) COMMENT 'Why, such as crawler, mail_scanner, provider, link_scan or speed; empty: it is not',
    device_hash UInt64 COMMENT 'Hash of the browser or device; 0: not known',
    click_id String COMMENT 'The advertising network''s id of the click that brought it',
    click_id_name LowCardinality(String) COMMENT 'Parameter of the address that click_id was in, such as gclid; empty: the producer gave click_id itself'
)
AS SELECT
    t.event_id AS event_id,
    if(o.version > t.identity_version, o.profile_id, t.profile_id) AS profile_id,
    t.occurred_at AS occurred_at,
    t.channel AS channel,
    t.event AS event,
    t.source AS source,
    t.touch AS touch,
    t.marketing_channel AS marketing_channel,
    t.campaign AS campaign,
    t.creative AS creative,
    t.product_id AS product_id,
    t.order_id AS order_id,
    t.revenue AS revenue,
    t.currency AS currency,
    t.session_id AS session_id,
    t.anchor AS anchor,
    t.received_at AS received_at,
    t.properties AS properties,
    if(position(t.context, '"ip":"') = 0, t.context,
        replaceRegexpAll(t.context, '"ip":"[^"]*"', concat('"ip":"',
            multiIf(
                toIPv4OrNull(JSONExtractString(t.context, 'ip')) IS NOT NULL,
                toString(tupleElement(IPv4CIDRToRange(toIPv4OrDefault(JSONExtractString(t.context, 'ip')), 24), 1)),
                toIPv6OrNull(JSONExtractString(t.context, 'ip')) IS NOT NULL,
                toString(tupleElement(IPv6CIDRToRange(toIPv6OrDefault(JSONExtractString(t.context, 'ip')), 48), 1)),
                ''), '"'))) AS context,
    t.device AS device,
    t.os AS os,
    t.browser AS browser,
    t.country AS country,
    t.city AS city,
    t.enriched_by AS enriched_by,
    t.is_bot OR (t.source, t.event_id) IN (SELECT source, event_id FROM {{database}}.bot_events) AS is_bot,
    multiIf(
        t.is_bot, toString(t.bot_reason),
        (t.source, t.event_id) IN (SELECT source, event_id FROM {{database}}.bot_events WHERE reason = 'link_scan'), 'link_scan',
        (t.source, t.event_id) IN (SELECT source, event_id FROM {{database}}.bot_events WHERE reason = 'instant_click'), 'instant_click',
        (t.source, t.event_id) IN (SELECT source, event_id FROM {{database}}.bot_events WHERE reason = 'speed'), 'speed',
        '') AS bot_reason,
    t.device_hash AS device_hash,
    t.click_id AS click_id,
    t.click_id_name AS click_id_name
FROM {{database}}.touchpoints AS t FINAL
LEFT JOIN (SELECT * FROM {{database}}.identity_overrides FINAL) AS o ON o.anchor = t.anchor
COMMENT 'Every event with the person as known now, one row for each event.';

CREATE OR REPLACE VIEW {{database}}.v_touchpoints_of {{on_cluster}}
AS SELECT *
FROM {{database}}.v_touchpoints
WHERE profile_id = {person:UUID} AND anchor IN
(
    SELECT anchor FROM {{database}}.touchpoints WHERE profile_id = {person:UUID}
    UNION ALL
    SELECT anchor FROM {{database}}.identity_overrides WHERE profile_id = {person:UUID}
)
COMMENT 'Every event of one person as known now, one row for each event, without reading those of others: v_touchpoints_of(person = ''…''). The columns are those of v_touchpoints.';

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
        t.profile_id AS profile_id,
        t.occurred_at AS occurred_at,
        multiIf(s.kind != 'push', s.kind, t.channel = 'web_push', 'web_push', 'app_push') AS channel,
        s.step AS reported,
        if(JSONHas(t.properties, 'message_id'), JSONExtractString(t.properties, 'message_id'), t.event_id) AS message_id,
        toString(t.campaign) AS campaign,
        if(reported = 'bounced', arrayMap(field -> JSONExtractRaw(t.properties, field), fields), []) AS stated,
        arrayMap(value -> extract(value, '(?:^|[^0-9.])([45]\\.[0-9]{1,3}\\.[0-9]{1,3})(?:$|[^0-9.]|\\.(?:$|[^0-9]))'), stated) AS statuses,
        arrayMax(arrayMap((value, status) -> arrayFirst(class -> class > 0, [
            classes[lower(replaceRegexpAll(value, '[^A-Za-z0-9.]', ''))], classes[status],
            classes[extract(status, '^[45]\\.[0-9]+\\.')], classes[substring(status, 1, 2)]]), stated, statuses)) AS found,
        toUInt8(multiIf(reported != 'bounced', 0, found > 0, found, stated[1] NOT IN ('', 'null', '""', '0', 'false', '[]', '{}'), 3, 1)) AS bounce_class
    FROM {{database}}.v_touchpoints AS t
    INNER JOIN {{database}}.message_steps AS s ON s.event = t.event
    WHERE t.event IN (SELECT event FROM {{database}}.message_steps)
        AND NOT (s.step IN ('opened', 'clicked', 'unsubscribed') AND t.is_bot)
        AND t.profile_id != toUUID('00000000-0000-0000-0000-000000000000')
)
WHERE bounce_class != 4
COMMENT 'What happened to messages, one row for each event. Internal: feeds the views about messages.';

CREATE OR REPLACE VIEW {{database}}.v_engagement {{on_cluster}}
(
    day Date COMMENT 'Day of the events',
    channel LowCardinality(String) COMMENT 'Where they happened, such as web or store',
    events UInt64 COMMENT 'Events of people',
    people UInt64 COMMENT 'People active there; not to be added up over days or channels',
    events_per_person Float64 COMMENT 'events / people',
    conversions UInt64 COMMENT 'Conversions of the settings'' goal there',
    revenue Float64 COMMENT 'Their revenue in the currency of reports'
)
AS
WITH assumeNotNull((SELECT timezone FROM {{database}}.v_attribution_settings)) AS zone
SELECT
    toDate(toTimeZone(t.occurred_at, zone)) AS day,
    t.channel AS channel,
    count() AS events,
    uniqExact(t.profile_id) AS people,
    events / people AS events_per_person,
    countIf(c.event_id != '') AS conversions,
    sum(toFloat64(ifNull(c.revenue, 0))) AS revenue
FROM {{database}}.v_touchpoints AS t
LEFT JOIN
(
    SELECT source, event_id, revenue FROM {{database}}.conversion_amounts WHERE conversion_type = (SELECT goal FROM {{database}}.v_attribution_settings)
) AS c ON c.event_id = t.event_id AND c.source = t.source
WHERE NOT t.is_bot AND t.profile_id != toUUID('00000000-0000-0000-0000-000000000000')
GROUP BY day, channel
COMMENT 'Where people are active, one row for each day and channel.';

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
        SELECT profile_id, arraySort(step -> (step.1, step.2, step.3), groupUniqArray((at, matches, event_id, toString(channel)))) AS events
        FROM
        (
            SELECT
                profile_id,
                toUnixTimestamp64Milli(occurred_at) AS at,
                event_id,
                channel,
                arrayFilter((place, step) -> step IN (toString(event), concat(event, '@', channel)), arrayEnumerate({steps:Array(String)}), {steps:Array(String)}) AS matches
            FROM {{database}}.v_touchpoints
            WHERE occurred_at >= fromUnixTimestamp64Milli({start_ms:Int64}, 'UTC') AND occurred_at < fromUnixTimestamp64Milli({stop_ms:Int64}, 'UTC')
                AND has(arrayMap(step -> splitByChar('@', step)[1], {steps:Array(String)}), event)
                AND profile_id != toUUID('00000000-0000-0000-0000-000000000000')
                AND NOT is_bot
        )
        WHERE notEmpty(matches)
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
        toString(product_id), '', '', occurred_at, false, toString(event),
        profile_id, profile_id != toUUID('00000000-0000-0000-0000-000000000000'), '', 0., 0., 0.
    FROM {{database}}.v_touchpoints
    WHERE event IN ('Product Viewed', 'Product Added') AND product_id != '' AND NOT is_bot
)
GROUP BY product_id
COMMENT 'How products do from page to order, one row for each product.';

CREATE OR REPLACE VIEW {{database}}.device_visits {{on_cluster}}
AS
WITH
    assumeNotNull((SELECT toInt64(visit_pause_minutes) * 60000 FROM {{database}}.v_visit_settings)) AS pause_ms,
    arrayPopFront(arrayDifference(arrayPushFront(ms, toInt64(-1000000000000)))) AS pause,
    arrayCumSum(p -> p > 86400000, pause) AS activity,
    arrayEnumerateUniq(activity, session) AS use_of_session,
    arrayFill(at -> at > 0, arrayMap((at, r) -> if(bitTest(r, 3), at, 0), ms, roles)) AS checkout_at,
    arrayReverseFill(at -> at > 0, arrayMap((at, r) -> if(bitTest(r, 4), at, 0), ms, roles)) AS order_at,
    arrayMap(r -> bitAnd(r, 7), roles) AS role,
    arrayMap((p, r, at, checkout, order) -> p <= 86400000 AND (r = 4 OR (r = 3 AND (at - checkout <= 1800000 OR (order - at BETWEEN 0 AND 60000)))),
        pause, role, ms, checkout_at, order_at) AS goes_on,
    arrayFill(m -> m > 0, arrayMap((p, s, g) -> multiIf(s != 0, 1, p >= pause_ms AND NOT g, 2, 0), pause, session, goes_on)) AS named,
    arrayPopBack(arrayPushFront(named, 0)) AS name_known,
    arrayMap((p, s, u, g, k) -> p > 86400000 OR (NOT g AND if(s = 0, p >= pause_ms, u = 1 AND (k = 1 OR p >= pause_ms))),
        pause, session, use_of_session, goes_on, name_known) AS begins
SELECT
    person,
    visitor,
    event_hash,
    ms,
    session,
    campaign_key,
    click_key,
    role,
    activity,
    goes_on,
    arrayCumSum(begins) AS visit,
    arrayMap((r, first, s, c, c_visit, c_session, k, k_visit, k_session) -> multiIf(
            r = 5, (c != 0 AND c_visit = 1 AND (s = 0 OR c_session = 1)) OR (k != 0 AND k_visit = 1 AND (s = 0 OR k_session = 1)),
            r IN (2, 3), first = 1, 0),
        role, arrayEnumerateUniq(visit, arrayMap(r -> r > 1, role)), session,
        campaign_key, arrayEnumerateUniq(visit, campaign_key), arrayEnumerateUniq(activity, session, campaign_key),
        click_key, arrayEnumerateUniq(visit, click_key), arrayEnumerateUniq(activity, session, click_key)) AS is_touch
FROM
(
    SELECT person, visitor, events.1 AS ms, events.2 AS event_hash, events.3 AS session, events.4 AS roles, events.5 AS campaign_key, events.6 AS click_key
    FROM
    (
        SELECT
            if(o.version > t.identity_version, o.profile_id, t.profile_id) AS person,
            if(device_hash != 0, device_hash, session) AS visitor,
            arraySort(groupArray((
                toUnixTimestamp64Milli(occurred_at), event_hash, session, visit_role, campaign_key, if(bitAnd(visit_role, 7) = 5 AND click_id != '', cityHash64(click_id), 0)))) AS events
        FROM
        (
            SELECT profile_id, anchor, identity_version, event_hash, occurred_at, visit_role, device_hash, session, campaign_key, click_id
            FROM {{database}}.touchpoints FINAL
            WHERE occurred_at BETWEEN fromUnixTimestamp64Milli({start_ms:Int64} - 86400000, 'UTC') AND fromUnixTimestamp64Milli({stop_ms:Int64} + 60000, 'UTC')
                AND bitAnd(visit_role, 7) != 0
                AND NOT is_bot AND event_hash NOT IN (SELECT cityHash64(source, event_id) FROM {{database}}.bot_events)
        ) AS t
        LEFT JOIN (SELECT * FROM {{database}}.identity_overrides FINAL) AS o ON o.anchor = t.anchor
        GROUP BY person, visitor
    )
)
COMMENT 'Events of visits from start_ms to stop_ms with the number of their visit, one row for each person and device. Internal: feeds touches and v_sessions.';

CREATE OR REPLACE VIEW {{database}}.touches {{on_cluster}}
AS SELECT
    if(o.version > t.identity_version, o.profile_id, t.profile_id) AS profile_id,
    t.occurred_at AS touched_at,
    t.event_id AS event_id,
    t.marketing_channel AS channel,
    t.campaign AS campaign,
    t.creative AS creative,
    t.product_id AS product_id,
    t.conversion_id AS conversion_id,
    t.received_at AS received_at,
    t.source AS source
FROM
(
    SELECT profile_id, anchor, identity_version, occurred_at, event_id, source, marketing_channel, campaign, creative, product_id, conversion_id, received_at
    FROM {{database}}.touchpoints FINAL
    WHERE occurred_at BETWEEN fromUnixTimestamp64Milli({start_ms:Int64}, 'UTC') AND fromUnixTimestamp64Milli({stop_ms:Int64}, 'UTC')
        AND profile_id != toUUID('00000000-0000-0000-0000-000000000000')
        AND NOT is_bot AND event_hash NOT IN (SELECT cityHash64(source, event_id) FROM {{database}}.bot_events)
        AND (touch = 'rule' OR (touch = 'campaign' AND bitAnd(visit_role, 7) = 0)
            OR (bitAnd(visit_role, 7) > 1 AND event_hash IN
            (
                SELECT arrayJoin(arrayFilter((h, yes) -> yes, event_hash, is_touch))
                FROM {{database}}.device_visits(start_ms = {start_ms:Int64}, stop_ms = {stop_ms:Int64})
            )))
        AND (empty({only:Array(String)}) OR has({only:Array(String)}, marketing_channel))
        AND NOT has({without:Array(String)}, marketing_channel)
        AND ({contacts:String} = 'all' OR ({contacts:String} = 'views') = (event IN ('Ad Impression', 'Direct Mail Sent', 'Push Notification Received')
            OR match(event, '^(Email|SMS|Push|WhatsApp|WhatsApp Message|Messenger Message|Telegram Message) (Sent|Delivered|Opened)$')))
) AS t
LEFT JOIN (SELECT * FROM {{database}}.identity_overrides FINAL) AS o ON o.anchor = t.anchor
WHERE profile_id NOT IN (SELECT profile_id FROM {{database}}.v_analytics_withdrawn)
COMMENT 'Touches from start_ms to stop_ms, one row for each. Internal: feeds attribution_journeys and attribution_paths.';
