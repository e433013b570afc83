-- A shop's server tells steps of a checkout, and the order, without naming the browser. They are no events of a visit, and they are steps of
-- the person: who comes back from a site of no known kind within half an hour of one (or in the minute before an order) goes on with the
-- visit before, if that browser's last event is no older than a pause and half an hour: another browser of the person was not at the checkout.
-- A till and a call centre sell without a browser, so their orders are no such steps; nor is what happened at a doubtful time. Of a step
-- that came twice both rows are read, which comes to the same.
CREATE OR REPLACE VIEW {{database}}.checkouts_of_servers {{on_cluster}}
AS
SELECT
    if(o.version > t.identity_version, o.profile_id, t.profile_id) AS person,
    groupUniqArray((toUnixTimestamp64Milli(t.occurred_at), bitTest(t.visit_role, 4))) AS steps
FROM
(
    SELECT profile_id, anchor, identity_version, occurred_at, visit_role
    FROM {{database}}.touchpoints
    PREWHERE visit_role >= 8
    WHERE occurred_at BETWEEN fromUnixTimestamp64Milli({start_ms:Int64}, 'UTC') AND fromUnixTimestamp64Milli({stop_ms:Int64}, 'UTC')
        AND profile_id != toUUID('00000000-0000-0000-0000-000000000000')
        AND channel IN ('web', 'app', 'api') AND NOT time_doubtful
        AND (bitAnd(visit_role, 7) = 0 OR device_hash = cityHash64(anchor))
) AS t
LEFT JOIN (SELECT * FROM {{database}}.identity_overrides FINAL) AS o ON o.anchor = t.anchor
GROUP BY person
COMMENT 'Steps of checkouts between two times, milliseconds since 1970, that name no browser: their times, and whether they are the order; one row for each person. Internal: feeds device_visits and attribution_journeys.';

-- `from_bank` are the times of events of the device that are near such a step; everything else is as in 0027_visits.sql and 0042_bots_at_size.sql.
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
    arrayFilter(at -> arrayExists(s -> at - s.1 BETWEEN 0 AND 1800000 OR (s.2 AND s.1 - at BETWEEN 0 AND 60000), steps),
        arrayFilter((at, r) -> bitAnd(r, 7) = 3, ms, roles)) AS from_bank,
    arrayMap((p, r, at, checkout, order) -> p <= 86400000 AND (r = 4 OR (r = 3 AND (at - checkout <= 1800000 OR (order - at BETWEEN 0 AND 60000) OR (p <= pause_ms + 1800000 AND has(from_bank, at))))),
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
    SELECT
        d.person AS person, d.visitor AS visitor, d.events.1 AS ms, d.events.2 AS event_hash, d.events.3 AS session, d.events.4 AS roles,
        d.events.5 AS campaign_key, d.events.6 AS click_key, c.steps AS steps
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
                AND NOT is_bot AND event_hash NOT IN (SELECT event_hash FROM {{database}}.bot_events_between(start_ms = {start_ms:Int64} - 86400000, stop_ms = {stop_ms:Int64} + 60000))
        ) AS t
        LEFT JOIN (SELECT * FROM {{database}}.identity_overrides FINAL) AS o ON o.anchor = t.anchor
        GROUP BY person, visitor
    ) AS d
    LEFT JOIN {{database}}.checkouts_of_servers(start_ms = {start_ms:Int64} - 86400000, stop_ms = {stop_ms:Int64} + 60000) AS c ON c.person = d.person
)
COMMENT 'Events of visits from start_ms to stop_ms with the number of their visit, one row for each person and device. Internal: feeds touches and v_sessions.';

CREATE OR REPLACE VIEW {{database}}.attribution_journeys {{on_cluster}}
AS
WITH
    arraySort(touch -> (touch.touched_at, touch.event_id), arrayConcat(others,
        arrayMap(e -> e.8, arrayFilter((e, yes) -> yes AND e.9, of_visits, is_touch)))) AS ordered,
    arrayFilter((touch, previous, position) -> position = 1 OR touch.channel != previous,
        ordered, arrayPopBack(arrayPushFront(ordered.channel, '')), arrayEnumerate(ordered)) AS collapsed
SELECT
    conversion_id,
    conversion_type,
    profile_id,
    converted_at,
    revenue,
    net_revenue,
    currency,
    is_first,
    milestone_at,
    if({repeats:String} = 'collapse', collapsed, ordered) AS path
FROM
(
    WITH
        assumeNotNull((SELECT toInt64(visit_pause_minutes) * 60000 FROM {{database}}.v_visit_settings)) AS pause_ms,
        of_visits.1 AS visitors,
        of_visits.2 AS ms,
        of_visits.4 AS session,
        of_visits.5 AS roles,
        of_visits.6 AS campaign_key,
        of_visits.7 AS click_key,
        arrayMap((p, v, before) -> if(v = before, p, 31536000000000), arrayDifference(ms), visitors, arrayPopBack(arrayPushFront(visitors, 0))) AS pause,
        arrayCumSum(p -> p > 86400000, pause) AS activity,
        arrayEnumerateUniq(activity, session) AS use_of_session,
        arrayFill(at -> at != 0, arrayMap((at, r, p) -> multiIf(bitTest(r, 3), at, p > 86400000, -31536000000000, 0), ms, roles, pause)) AS checkout_at,
        arrayReverseFill(at -> at != 0, arrayMap((at, r, p) -> multiIf(bitTest(r, 4), at, p > 86400000, 31536000000000, 0),
            ms, roles, arrayPopFront(arrayPushBack(pause, 31536000000000)))) AS order_at,
        arrayMap(r -> bitAnd(r, 7), roles) AS role,
        arrayFilter(at -> arrayExists(s -> at - s.1 BETWEEN 0 AND 1800000 OR (s.2 AND s.1 - at BETWEEN 0 AND 60000), steps),
            arrayFilter((at, r) -> bitAnd(r, 7) = 3, ms, roles)) AS from_bank,
        arrayMap((p, r, at, checkout, order) -> p <= 86400000 AND (r = 4 OR (r = 3 AND (at - checkout <= 1800000 OR (order - at BETWEEN 0 AND 60000) OR (p <= pause_ms + 1800000 AND has(from_bank, at))))),
            pause, role, ms, checkout_at, order_at) AS goes_on,
        arrayFill(m -> m > 0, arrayMap((p, s, g) -> multiIf(s != 0, 1, p >= pause_ms AND NOT g, 2, 0), pause, session, goes_on)) AS named,
        arrayPopBack(arrayPushFront(named, 0)) AS name_known,
        arrayMap((p, s, u, g, k) -> p > 86400000 OR (NOT g AND if(s = 0, p >= pause_ms, u = 1 AND (k = 1 OR p >= pause_ms))),
            pause, session, use_of_session, goes_on, name_known) AS begins,
        arrayCumSum(begins) AS visit
    SELECT
        *,
        arrayMap((r, first, s, c, c_visit, c_session, k, k_visit, k_session) -> multiIf(
                r = 5, (c != 0 AND c_visit = 1 AND (s = 0 OR c_session = 1)) OR (k != 0 AND k_visit = 1 AND (s = 0 OR k_session = 1)),
                r IN (2, 3), first = 1, 0),
            role, arrayEnumerateUniq(visit, arrayMap(r -> r > 1, role)), session,
            campaign_key, arrayEnumerateUniq(visit, campaign_key), arrayEnumerateUniq(activity, session, campaign_key),
            click_key, arrayEnumerateUniq(visit, click_key), arrayEnumerateUniq(activity, session, click_key)) AS is_touch
    FROM
    (
        SELECT g.*, s.steps AS steps
        FROM
        (
            WITH
                CAST((t.touched_at, t.event_id, t.channel, t.campaign, t.creative, t.product_id),
                    'Tuple(touched_at DateTime64(3, \'UTC\'), event_id String, channel String, campaign String, creative String, product_id String)') AS touch,
                t.touched_at >= c.opens_at AND t.touched_at <= c.converted_at AND t.conversion_id != c.conversion_id AS counts
            SELECT
                c.conversion_id AS conversion_id,
                c.conversion_type AS conversion_type,
                any(c.profile_id) AS profile_id,
                any(c.converted_at) AS converted_at,
                any(c.revenue) AS revenue,
                any(c.net_revenue) AS net_revenue,
                any(c.currency) AS currency,
                any(c.is_first) AS is_first,
                any(c.milestone_at) AS milestone_at,
                groupArrayIf(touch, t.event_id != '' AND t.visitor = 0 AND counts) AS others,
                arraySort(e -> (e.1, e.2, e.3), groupArrayIf(
                    (t.visitor, toUnixTimestamp64Milli(t.touched_at), t.event_hash, t.session, t.visit_role, t.campaign_key,
                        if(bitAnd(t.visit_role, 7) = 5 AND t.click_id != '', cityHash64(t.click_id), 0), touch, t.is_wanted AND counts),
                    t.visitor != 0 AND t.touched_at >= c.opens_at - toIntervalDay(1) AND t.touched_at <= c.converted_at + toIntervalMinute(1))) AS of_visits
            FROM {{database}}.touch_candidates(
                start_ms = {start_ms:Int64}, stop_ms = {stop_ms:Int64}, lookback_ms = {lookback_ms:Int64}, goal = {goal:String},
                contacts = {contacts:String}, only = {only:Array(String)}, without = {without:Array(String)}) AS t
            RIGHT JOIN {{database}}.attribution_conversions(
                start_ms = {start_ms:Int64}, stop_ms = {stop_ms:Int64}, lookback_ms = {lookback_ms:Int64},
                goal = {goal:String}, scope = {scope:String}, milestone = {milestone:String}) AS c ON c.profile_id = t.profile_id
            GROUP BY c.conversion_id, c.conversion_type
        ) AS g
        LEFT JOIN {{database}}.checkouts_of_servers(
            start_ms = greatest({start_ms:Int64} - {lookback_ms:Int64}, 0) - 86400000, stop_ms = {stop_ms:Int64} + 60000) AS s ON s.person = g.profile_id
    )
)
COMMENT 'Conversions with the touches that may be credited for them, one row for each. Internal: feeds attribution_credits.';

-- Of an order that several payments pay, each is a part: the order is worth their sum, of each the report that counts, and so are the running
-- totals of what was given back. Profiles do the same (`processors/profiles/orders.py`).
ALTER TABLE {{database}}.order_events {{on_cluster}}
    ADD COLUMN IF NOT EXISTS part_id String DEFAULT '' COMMENT 'The part of the order, such as a payment, that the amount or the running total is of; mostly empty: all of it';

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
    language LowCardinality(String) COMMENT 'Likewise'
)
AS
WITH
    arrayFilter((part, next) -> part.1 != next, parts, arrayPopFront(arrayPushBack(parts.1, ''))) AS latest,
    arrayMax(latest.2) AS newest,
    (newest.1, newest.2, CAST(arraySum(arrayMap(part -> if(part.2.4 = newest.4, part.2.3, toDecimal64(0, 4)), latest)), 'Decimal(18, 4)'), newest.4,
        toUInt8(arrayExists(part -> part.2.4 = newest.4 AND part.2.5 = 1, latest)), toUInt8(0), newest.7, newest.8) AS together,
    if(notEmpty(latest) AND newest = best, together, best) AS counts
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
    if(counts.4 = 'XXX', '', counts.4) AS currency,
    counts.6 AS is_return,
    counts.7 AS amount_source,
    counts.8 AS amount_event_id,
    lines AS products,
    n AS reports,
    first.1 AS time_doubtful,
    places.1 AS country,
    places.2 AS store_id,
    places.3 AS language
FROM
(
    WITH
        (SELECT names FROM {{database}}.v_market_lookup) AS lookup_names,
        (SELECT codes FROM {{database}}.v_market_lookup) AS lookup_codes,
        (SELECT stores FROM {{database}}.v_market_lookup) AS lookup_stores,
        (SELECT store_countries FROM {{database}}.v_market_lookup) AS lookup_store_countries,
        multiIf(transform(toString(e.store_id), lookup_stores, lookup_store_countries, '') != '', transform(toString(e.store_id), lookup_stores, lookup_store_countries, ''), transform(lowerUTF8(trimBoth(toString(e.country))), lookup_names, lookup_codes, toString(e.country))) AS place,
        (e.authority, e.occurred_at, ifNull(e.amount, toDecimal64(0, 4)), if(e.currency = '', 'XXX', toString(e.currency)), e.discounted, e.is_return, toString(e.source), e.event_id) AS rank
    SELECT
        e.conversion_id AS id,
        any(e.order_namespace) AS space,
        any(e.order_id) AS number,
        arraySort(groupUniqArrayArray(e.goals)) AS reached,
        min((e.time_doubtful, e.occurred_at, toString(e.channel), toString(e.source), e.event_id)) AS first,
        max(rank) AS best,
        arraySort(groupUniqArrayIf((e.part_id, rank), e.part_id != '')) AS parts,
        argMaxIf((e.anchor, e.profile_id, e.identity_version), rank, e.profile_id != toUUID('00000000-0000-0000-0000-000000000000')) AS person,
        argMaxIf(e.products, rank, e.products != '') AS lines,
        (argMaxIf(place, rank, place != ''), argMaxIf(toString(e.store_id), rank, e.store_id != ''), argMaxIf(toString(e.language), rank, e.language != '')) AS places,
        count() AS n
    FROM {{database}}.order_events AS e FINAL
    WHERE e.kind IN ('order', 'receipt')
    GROUP BY id
)
WHERE best.1 > 1 OR id NOT IN (SELECT claims FROM {{database}}.order_events FINAL WHERE claims != '')
COMMENT 'Orders with the report that counts, one row for each; receipts that belong to an order are left out. Internal: feeds order_sales.';

CREATE OR REPLACE VIEW {{database}}.order_refunds {{on_cluster}}
(
    order_id String COMMENT 'The order among those of all name spaces, as v_conversions.conversion_id',
    currency LowCardinality(String) COMMENT 'ISO 4217; empty: the refund names none',
    amount Decimal(18, 4) COMMENT 'The sum of its refunds in this currency, or their running total if that is more: the greatest, of parts the sum of those of each',
    wholly UInt8 COMMENT '1: it was cancelled, or refunded without saying how much',
    last_at DateTime64(3, 'UTC') COMMENT 'When the last of them happened'
)
AS SELECT
    conversion_id AS order_id,
    currency,
    greatest(sum(r.single), maxIf(r.total, r.part_id = ''), sumIf(r.total, r.part_id != '')) AS amount,
    max(r.wholly) AS wholly,
    max(r.last_at) AS last_at
FROM
(
    SELECT
        e.conversion_id AS conversion_id,
        e.currency AS currency,
        e.part_id AS part_id,
        ifNull(sum(e.amount), 0) AS single,
        ifNull(max(e.refunded_total), 0) AS total,
        max(e.kind = 'cancellation' OR (e.amount IS NULL AND e.refunded_total IS NULL)) AS wholly,
        max(e.occurred_at) AS last_at
    FROM {{database}}.order_events AS e FINAL
    WHERE e.kind IN ('refund', 'cancellation')
    GROUP BY conversion_id, currency, part_id
) AS r
GROUP BY conversion_id, currency
COMMENT 'What was given back of orders, one row for each order and currency. Internal: feeds refund_values.';

-- Bounces of every channel: a failure that says the address is no good is a bounce, a person can block a sender of Telegram or Viber, and
-- channels of the message policy that the product does not know have events of their own name, such as Viber Bounced.
CREATE OR REPLACE VIEW {{database}}.bounce_types {{on_cluster}}
(
    name String COMMENT 'Word in lower case without spaces and punctuation, or code; 5.7. stands for all status codes that begin so',
    class UInt8 COMMENT '1 permanent, 2 transient, 3 not about the address, 4 no bounce, 5 unsubscription, 6 spam complaint; the greatest of a report counts'
)
AS SELECT arrayJoin(splitByChar(' ', entry.2)) AS name, toUInt8(entry.1) AS class
FROM
(
    SELECT arrayJoin([
        (1, 'hard hardbounce permanent permanentfail permanentfailure bounce invalid invalidemail invalidaddress bademailaddress badmailbox baddomain invaliddomain invalidrecipient unknownuser usernotfound nosuchuser noemail mailboxdoesnotexist addressdoesnotexist suppressed onaccountsuppressionlist suppressbounce bouncedaddress manuallydeactivated 550 551 553 521 556 605 5.1. 5.1.1 5.1.2 5.1.3 5.1.6 5.1.10 5.2.1 21211 21614 21635 30005 30006 63003 63024 unregistered notregistered invalidregistration devicenotregistered baddevicetoken registrationtokennotregistered messagingregistrationtokennotregistered expiredtoken 410 botwasblockedbytheuser forbiddenbotwasblockedbytheuser blockedbyuser userisdeactivated forbiddenuserisdeactivated chatnotfound badrequestchatnotfound receivernotregistered receivernotsubscribed'),
        (2, 'soft softbounce transient temporary temporaryfail temporaryfailure deferred deferral delayed greylisted old expired mailboxfull mailboxunavailable customtimeoutexceeded technical technicalfailure dnserror 421 450 451 452 552 4. 5.2.2 5.3. 5.4. 30003'),
        (3, 'blocked block undetermined unknown messagetoolarge contentrejected attachmentrejected content reputation frequencyorvolumetoohigh frequencyvolume frequency volume spamnotification virusnotification unconfirmed smtpapierror inbounderror dmarcpolicy templaterenderingfailed espblock policy spam 554 571 4.7. 5.1.7 5.1.8 5.2.3 5.3.4 5.6. 5.7. 21408 30001 30002 30004 30007 30008 30009 30410 63016 131026 131047 131049'),
        (4, 'autoresponder autoreply autoreplied outofoffice vacation challenge challengeresponse challengeverification addresschange openrelaytest subscribe'),
        (5, 'unsubscribe unsubscribed unsubscribedaddress unsubscribedrecipient suppressunsubscribe 606 21610 131050'),
        (6, 'complaint complained spamcomplaint spamreport spamreportingaddress abuse suppresscomplaint 607')]) AS entry
)
COMMENT 'What the bounces of message providers mean, one row for each word and code.';

CREATE OR REPLACE VIEW {{database}}.message_steps {{on_cluster}}
(
    event String COMMENT 'Name of an event about a message',
    kind String COMMENT 'email, sms, push, whatsapp, messenger, telegram, or a channel of the message policy that the product does not know',
    step String COMMENT 'What the message has reached, such as delivered',
    channel String COMMENT 'It means that on this channel only; empty: on any'
)
AS SELECT entry.1 AS event, entry.2 AS kind, entry.3 AS step, entry.4 AS channel
FROM
(
    SELECT (concat(noun.1, ' ', verb.1), noun.2, verb.2, noun.3) AS entry
    FROM
    (
        SELECT arrayJoin([
            ('Email', 'email', ''), ('SMS', 'sms', ''), ('Push', 'push', ''), ('WhatsApp', 'whatsapp', ''), ('WhatsApp Message', 'whatsapp', ''),
            ('Messenger Message', 'messenger', ''), ('Telegram Message', 'telegram', ''), ('SMS Message', 'sms', 'sms'), ('Messenger', 'messenger', 'messenger'),
            ('Telegram', 'telegram', 'telegram'), ('Web Push', 'push', 'web_push'), ('Web Push Message', 'push', 'web_push'), ('App Push', 'push', 'app_push'),
            ('App Push Message', 'push', 'app_push')]) AS noun
        UNION ALL
        SELECT (concat(arrayJoin([initcap(words), upper(words)]), arrayJoin(['', ' Message'])), own, '') AS noun
        FROM (SELECT arrayJoin(argMax(channels, changed_at)).1 AS own, replaceAll(own, '_', ' ') AS words FROM {{database}}.policy_channels)
    ) AS nouns
    CROSS JOIN
    (
        SELECT arrayJoin([
            ('Sent', 'sent'), ('Delivered', 'delivered'), ('Opened', 'opened'), ('Link Clicked', 'clicked'), ('Replied', 'replied'),
            ('Bounced', 'bounced'), ('Failed', 'failed'), ('Unsubscribed', 'unsubscribed'), ('Marked as Spam', 'complained')]) AS verb
    ) AS verbs
    UNION ALL
    SELECT arrayJoin([
        ('Unsubscribed', 'email', 'unsubscribed', ''), ('Push Notification Received', 'push', 'delivered', ''),
        ('Push Notification Tapped', 'push', 'clicked', ''), ('Push Notification Bounced', 'push', 'bounced', '')]) AS entry
)
COMMENT 'What each message event means, one row for each name: the table of schemas/events/messages.py.';

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
        if(s.step = 'failed' AND found = 1, 'bounced', s.step) AS reported,
        if(JSONHas(t.properties, 'message_id'), JSONExtractString(t.properties, 'message_id'), t.event_id) AS message_id,
        toString(t.campaign) AS campaign,
        if(s.step IN ('bounced', 'failed'), arrayMap(field -> JSONExtractRaw(t.properties, field), fields), []) AS stated,
        arrayMap(value -> extract(value, '(?:^|[^0-9.])([45]\\.[0-9]{1,3}\\.[0-9]{1,3})(?:$|[^0-9.]|\\.(?:$|[^0-9]))'), stated) AS statuses,
        arrayMax(arrayMap((value, status) -> arrayFirst(class -> class > 0, [
            classes[lower(replaceRegexpAll(value, '[^A-Za-z0-9.]', ''))], classes[status],
            classes[extract(status, '^[45]\\.[0-9]+\\.')], classes[substring(status, 1, 2)]]), stated, statuses)) AS found,
        toUInt8(multiIf(s.step = 'failed', toUInt8(found = 1), s.step != 'bounced', 0, found > 0, found, stated[1] NOT IN ('', 'null', '""', '0', 'false', '[]', '{}'), 3, 1)) AS bounce_class
    FROM {{database}}.v_touchpoints AS t
    INNER JOIN {{database}}.message_steps AS s ON s.event = t.event
    WHERE t.event IN (SELECT event FROM {{database}}.message_steps) AND s.channel IN ('', t.channel)
        AND NOT (s.step IN ('opened', 'clicked', 'unsubscribed') AND t.is_bot)
        AND t.profile_id != toUUID('00000000-0000-0000-0000-000000000000')
)
WHERE bounce_class != 4
COMMENT 'What happened to messages, one row for each event. Internal: feeds the views about messages.';
