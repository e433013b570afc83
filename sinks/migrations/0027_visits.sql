-- Visits in event time: which events make a visit, which of them are touches. Everything is decided when it is read, from the events
-- themselves: a late event, a replaced delivery, a merge, a split or an erasure restates visits without a row being rewritten.

ALTER TABLE {{database}}.touchpoints {{on_cluster}}
    ADD COLUMN IF NOT EXISTS click_id_name LowCardinality(String) DEFAULT ''
    COMMENT 'Parameter of the address that click_id was in, such as gclid; empty: the producer gave click_id itself';

ALTER TABLE {{database}}.touchpoints {{on_cluster}}
    ADD COLUMN IF NOT EXISTS device_hash UInt64 DEFAULT if(identifiers IN ('', '[]'), 0,
        if(notEmpty(arrayFilter(i -> i.1 IN ('anonymous_id', 'device_id'), JSONExtract(identifiers, 'Array(Tuple(type String, value String))')) AS devices),
            cityHash64(arrayMin(devices)), cityHash64(anchor)))
    COMMENT 'Hash of the browser or device: of its anonymous_id, else of its device_id, else of anchor; 0: not known';

ALTER TABLE {{database}}.touchpoints {{on_cluster}}
    ADD COLUMN IF NOT EXISTS campaign_key UInt64 MATERIALIZED multiIf(touch != 'campaign', 0,
        campaign_source != '' OR campaign_medium != '' OR campaign != '' OR campaign_id != '',
        cityHash64(marketing_channel, lowerUTF8(trimBoth(campaign_source)), lowerUTF8(trimBoth(campaign_medium)), lowerUTF8(trimBoth(campaign)), campaign_id),
        click_id = '', cityHash64(marketing_channel), 0)
    COMMENT 'Hash of the campaign that brought a visitor: by it a visit counts one campaign once; 0: none, or the click id says it';

ALTER TABLE {{database}}.touchpoints {{on_cluster}}
    ADD COLUMN IF NOT EXISTS is_checkout UInt8 DEFAULT event IN ('Checkout Started', 'Checkout Step Viewed', 'Checkout Step Completed', 'Payment Info Entered', 'Order Completed')
    COMMENT '1: a step of paying, after which a visitor may come back from the page of a bank';

-- What the views of visits read of each event, in a few bytes.
ALTER TABLE {{database}}.touchpoints {{on_cluster}}
    ADD COLUMN IF NOT EXISTS visit_role UInt8 MATERIALIZED
        multiIf(touch IN ('', 'rule') OR (device_hash = 0 AND session = 0), 0, touch = 'visit', 1, touch = 'session', 2, touch = 'referral', 3, touch = 'return', 4, 5)
        + if(is_checkout, 8, 0) + if(event = 'Order Completed', 16, 0)
    COMMENT 'Bits 0 to 2: 0 no event of a visit, 1 brings nothing, 2 from a site or nowhere, 3 from a site of no known kind, 4 back from paying or signing in, 5 a campaign; bit 3: is_checkout, bit 4: an order';

ALTER TABLE {{database}}.touchpoints {{on_cluster}}
    ADD COLUMN IF NOT EXISTS event_hash UInt64 MATERIALIZED cityHash64(source, event_id) COMMENT 'Source and event_id as a number';

-- Until these have run in the background, old rows compute the columns whenever they are read.
ALTER TABLE {{database}}.touchpoints {{on_cluster}} MATERIALIZE COLUMN device_hash;

ALTER TABLE {{database}}.touchpoints {{on_cluster}} MATERIALIZE COLUMN visit_role;

ALTER TABLE {{database}}.touchpoints {{on_cluster}} MATERIALIZE COLUMN event_hash;

ALTER TABLE {{database}}.attribution_settings {{on_cluster}}
    ADD COLUMN IF NOT EXISTS visit_pause_minutes UInt16 DEFAULT 30 COMMENT 'A pause of that long ends a visit';

CREATE VIEW IF NOT EXISTS {{database}}.v_visit_settings {{on_cluster}}
(
    visit_pause_minutes UInt16 COMMENT 'A pause of that long ends a visit'
)
AS SELECT if(count() = 0, 30, argMax(visit_pause_minutes, changed_at)) AS visit_pause_minutes
FROM {{database}}.attribution_settings
COMMENT 'What the views of visits need to know: always one row.';

-- The events of visits between two times, milliseconds since 1970, both included; those of a day before decide with them. An event
-- is known by `event_hash`. Arrays of a device are parallel, in order of time, and all steps are linear in their length:
--   role         1 brings nothing (Identify, …), 2 a site or nothing, 3 a site of no known kind, 4 back from paying or signing in, 5 a campaign
--   activity     a day of silence ends every visit: number of such pauses so far
--   goes_on      back from paying, or from an unknown site within half an hour of a checkout step or in the minute before an order
--   name_known   1: the visit that the event before belongs to has a session id, 2: it has none
--   begins       whether the event begins a visit; visit: its number
--   is_touch     of a visit, the first event that brings something, unless it goes on; a campaign or click id that neither the visit
--                nor the session has had
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
                AND NOT is_bot
        ) AS t
        LEFT JOIN (SELECT * FROM {{database}}.identity_overrides FINAL) AS o ON o.anchor = t.anchor
        GROUP BY person, visitor
    )
)
COMMENT 'Events of visits from start_ms to stop_ms with the number of their visit, one row for each person and device. Internal: feeds touches and v_sessions.';

-- Touches of people between two times, milliseconds since 1970, both included. `contacts` is all, clicks or views; `only` and `without`
-- are lists of marketing channels, `only` empty for all. An event of a visit that has neither device nor session id is alone.
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
        AND NOT is_bot
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
    bot_reason LowCardinality(String) COMMENT 'Why, such as crawler, link_preview, automation, mail_scanner or provider; empty: it is not',
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
    t.is_bot AS is_bot,
    t.bot_reason AS bot_reason,
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

CREATE VIEW IF NOT EXISTS {{database}}.v_touches {{on_cluster}}
(
    profile_id UUID COMMENT 'The person as known now',
    touched_at DateTime64(3, 'UTC') COMMENT 'When it happened',
    channel LowCardinality(String) COMMENT 'The marketing channel that is credited',
    campaign LowCardinality(String) COMMENT 'Campaign name',
    creative LowCardinality(String) COMMENT 'Advertisement or message variant',
    product_id LowCardinality(String) COMMENT 'The product that it is about',
    source LowCardinality(String) COMMENT 'Which producer reported it',
    event_id String COMMENT 'The event'
)
AS SELECT profile_id, touched_at, channel, campaign, creative, product_id, source, event_id
FROM {{database}}.touches(start_ms = 86400000, stop_ms = 4133980800000, contacts = 'all', only = [], without = [])
COMMENT 'Events that attribution may credit, one row for each.';

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
    conversions UInt64 COMMENT 'Conversions of the settings'' goal in it',
    revenue Float64 COMMENT 'Their revenue in the currency of reports',
    engaged UInt8 COMMENT '1: longer than 10 s, or two pages, or a conversion, as in Google Analytics 4; the others bounced',
    device_hash UInt64 COMMENT 'Hash of the browser or device; 0: not known',
    touches UInt64 COMMENT 'Touches of attribution in it: what brought it, and further campaigns and click ids',
    continuations UInt64 COMMENT 'How often it went on after paying or signing in elsewhere',
    landing_page String COMMENT 'Address of its first page, without parameters; empty: not known'
)
AS
WITH assumeNotNull((SELECT timezone FROM {{database}}.v_attribution_settings)) AS zone
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
    countIf(c.event_id != '') AS conversions,
    sum(toFloat64(ifNull(c.revenue, 0))) AS revenue,
    seconds > 10 OR pages > 1 OR conversions > 0 AS engaged,
    max(t.device_hash) AS device_hash,
    countIf(v.is_touch) AS touches,
    countIf(v.continues) AS continuations,
    argMinIf(cutQueryStringAndFragment(t.url), (t.occurred_at, t.event_id), t.url != '') AS landing_page
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
    SELECT source, event_id, revenue FROM {{database}}.conversion_amounts WHERE conversion_type = (SELECT goal FROM {{database}}.v_attribution_settings)
) AS c ON c.source = t.source AND c.event_id = t.event_id
GROUP BY v.person, v.visitor, v.visit
COMMENT 'Visits of the site and the app, one row for each.';

CREATE OR REPLACE VIEW {{database}}.v_traffic {{on_cluster}}
(
    day Date COMMENT 'Day that the visits began',
    channel LowCardinality(String) COMMENT 'Marketing channel that brought them: the default channel groups',
    sessions UInt64 COMMENT 'Visits',
    people UInt64 COMMENT 'Visitors; not to be added up over days',
    new_people UInt64 COMMENT 'Of whom it was the first visit',
    engaged_sessions UInt64 COMMENT 'Visits of more than 10 s, or two pages, or with a conversion',
    bounce_rate Float64 COMMENT 'Share of visits that were not engaged',
    pages_per_session Float64 COMMENT 'Pages and screens a visit',
    seconds_per_session Float64 COMMENT 'Seconds from the first to the last event, on average',
    conversions UInt64 COMMENT 'Conversions during these visits',
    revenue Float64 COMMENT 'Their revenue in the currency of reports'
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
    sum(revenue) AS revenue
FROM (SELECT *, row_number() OVER (PARTITION BY profile_id ORDER BY started_at, source, session_id, device_hash) AS ordinal FROM {{database}}.v_sessions)
GROUP BY day, channel
COMMENT 'Visits by what brought them, one row for each day and marketing channel.';

DROP TABLE IF EXISTS {{database}}.touchpoints_to_sessions {{on_cluster}};

DROP TABLE IF EXISTS {{database}}.sessions {{on_cluster}};

ALTER TABLE {{database}}.touchpoints {{on_cluster}} COMMENT COLUMN touch 'rule: a touch by itself; campaign, session, referral, return, visit: what an event is for its visit, v_touches has those that are touches; empty: none';

ALTER TABLE {{database}}.touchpoints {{on_cluster}} COMMENT COLUMN click_id 'The advertising network''s id of the click that brought it, or the producer''s own';
