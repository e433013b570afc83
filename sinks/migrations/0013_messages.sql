-- How often people are written to and what comes of it, and who could be written to at all. Everything is read from the
-- events, so a merge, a split or a late receipt restates it.

CREATE VIEW IF NOT EXISTS {{database}}.message_steps {{on_cluster}}
(
    event String COMMENT 'Name of an event about a message',
    kind String COMMENT 'email, sms, push, whatsapp, messenger or telegram',
    step String COMMENT 'What the message has reached, such as delivered'
)
AS SELECT entry.1 AS event, entry.2 AS kind, entry.3 AS step
FROM
(
    SELECT (concat(noun.1, ' ', verb.1), noun.2, verb.2) AS entry
    FROM
    (
        SELECT arrayJoin([
            ('Email', 'email'), ('SMS', 'sms'), ('Push', 'push'), ('WhatsApp', 'whatsapp'), ('WhatsApp Message', 'whatsapp'),
            ('Messenger Message', 'messenger'), ('Telegram Message', 'telegram')]) AS noun
    ) AS nouns
    CROSS JOIN
    (
        SELECT arrayJoin([
            ('Sent', 'sent'), ('Delivered', 'delivered'), ('Opened', 'opened'), ('Link Clicked', 'clicked'), ('Replied', 'replied'),
            ('Bounced', 'bounced'), ('Failed', 'failed'), ('Unsubscribed', 'unsubscribed'), ('Marked as Spam', 'complained')]) AS verb
    ) AS verbs
    UNION ALL
    SELECT arrayJoin([
        ('Unsubscribed', 'email', 'unsubscribed'), ('Push Notification Received', 'push', 'delivered'),
        ('Push Notification Tapped', 'push', 'clicked'), ('Push Notification Bounced', 'push', 'bounced')]) AS entry
)
COMMENT 'What each message event means, one row for each name: the table of schemas/messages.py.';

CREATE VIEW IF NOT EXISTS {{database}}.message_channels {{on_cluster}}
(
    channel String COMMENT 'Channel of messages',
    address_type String COMMENT 'Type of the identifier that it needs',
    stale_after_days UInt16 COMMENT 'Days without a sign of life after which an address is taken to be given up',
    needs_consent UInt8 COMMENT '1: silence is not a yes; 0: the device has asked when it gave out the token'
)
AS SELECT entry.1 AS channel, entry.2 AS address_type, entry.3 AS stale_after_days, entry.4 AS needs_consent
FROM
(
    SELECT arrayJoin([
        ('email', 'email', 365, 1), ('sms', 'phone', 365, 1), ('whatsapp', 'whatsapp_id', 365, 1), ('messenger', 'messenger_id', 365, 1),
        ('telegram', 'telegram_id', 365, 1), ('web_push', 'push_token', 60, 0), ('app_push', 'push_token', 60, 0)]) AS entry
)
COMMENT 'What it takes to reach people on each channel of messages, one row for each.';

CREATE VIEW IF NOT EXISTS {{database}}.message_events {{on_cluster}}
(
    event_id String COMMENT 'The event',
    profile_id UUID COMMENT 'The receiver as known now',
    occurred_at DateTime64(3, 'UTC') COMMENT 'When it happened',
    channel String COMMENT 'Channel of the message',
    step String COMMENT 'What the message has reached',
    message_id String COMMENT 'The sender''s id of the message, else the event''s',
    campaign String COMMENT 'Campaign name',
    is_soft UInt8 COMMENT '1: a bounce that may pass'
)
AS SELECT
    t.event_id AS event_id,
    t.profile_id AS profile_id,
    t.occurred_at AS occurred_at,
    multiIf(s.kind != 'push', s.kind, t.channel = 'web_push', 'web_push', 'app_push') AS channel,
    s.step AS step,
    if(JSONHas(t.properties, 'message_id'), JSONExtractString(t.properties, 'message_id'), t.event_id) AS message_id,
    toString(t.campaign) AS campaign,
    lower(JSONExtractString(t.properties, 'bounce_type')) IN ('soft', 'transient', 'temporary', 'blocked', 'undetermined') AS is_soft
FROM {{database}}.v_touchpoints AS t
INNER JOIN {{database}}.message_steps AS s ON s.event = t.event
WHERE t.event IN (SELECT event FROM {{database}}.message_steps) AND t.profile_id != toUUID('00000000-0000-0000-0000-000000000000')
COMMENT 'What happened to messages, one row for each event. Internal: feeds the views about messages.';

CREATE VIEW IF NOT EXISTS {{database}}.v_messages {{on_cluster}}
(
    channel String COMMENT 'email, sms, whatsapp, messenger, telegram, web_push or app_push',
    message_id String COMMENT 'The sender''s id of the message',
    profile_id UUID COMMENT 'The receiver as known now',
    campaign String COMMENT 'Campaign name',
    sent_at DateTime64(3, 'UTC') COMMENT 'When it was sent; where that is not reported, its first event',
    day Date COMMENT 'That day in the time zone of reports',
    delivered UInt8 COMMENT '1: delivered, or opened, clicked or answered',
    opened UInt8 COMMENT '1: opened, as far as that is reported; mail programs open unseen mail too',
    responded UInt8 COMMENT '1: clicked or answered',
    bounced UInt8 COMMENT '1: bounced',
    failed UInt8 COMMENT '1: sending it failed',
    unsubscribed UInt8 COMMENT '1: the receiver unsubscribed through it or marked it as spam'
)
AS
WITH assumeNotNull((SELECT timezone FROM {{database}}.v_attribution_settings)) AS zone
SELECT
    e.channel AS channel,
    e.message_id AS message_id,
    argMax(e.profile_id, e.occurred_at) AS profile_id,
    max(e.campaign) AS campaign,
    if(countIf(step = 'sent') > 0, minIf(occurred_at, step = 'sent'), min(occurred_at)) AS sent_at,
    toDate(toTimeZone(sent_at, zone)) AS day,
    countIf(step IN ('delivered', 'opened', 'clicked', 'replied')) > 0 AS delivered,
    countIf(step = 'opened') > 0 AS opened,
    countIf(step IN ('clicked', 'replied')) > 0 AS responded,
    countIf(step = 'bounced') > 0 AS bounced,
    countIf(step = 'failed') > 0 AS failed,
    countIf(step IN ('unsubscribed', 'complained')) > 0 AS unsubscribed
FROM {{database}}.message_events AS e
GROUP BY channel, message_id
COMMENT 'Messages to known people and what became of them, one row for each channel and message id.';

CREATE VIEW IF NOT EXISTS {{database}}.v_message_engagement {{on_cluster}}
(
    day Date COMMENT 'Day that the messages were sent',
    channel String COMMENT 'Channel of the messages',
    campaign String COMMENT 'Campaign name; empty: none',
    sent UInt64 COMMENT 'Messages sent',
    delivered UInt64 COMMENT 'Those delivered',
    opened UInt64 COMMENT 'Those opened',
    responded UInt64 COMMENT 'Those clicked or answered',
    bounced UInt64 COMMENT 'Those that bounced',
    failed UInt64 COMMENT 'Those that failed',
    unsubscribed UInt64 COMMENT 'Those that made the receiver unsubscribe or complain',
    open_rate Nullable(Float64) COMMENT 'opened / delivered',
    response_rate Nullable(Float64) COMMENT 'responded / delivered',
    bounce_rate Nullable(Float64) COMMENT 'bounced / sent',
    unsubscribe_rate Nullable(Float64) COMMENT 'unsubscribed / delivered'
)
AS SELECT
    day,
    channel,
    campaign,
    count() AS sent,
    countIf(m.delivered) AS delivered,
    countIf(m.opened) AS opened,
    countIf(m.responded) AS responded,
    countIf(m.bounced) AS bounced,
    countIf(m.failed) AS failed,
    countIf(m.unsubscribed) AS unsubscribed,
    opened / nullIf(delivered, 0) AS open_rate,
    responded / nullIf(delivered, 0) AS response_rate,
    bounced / nullIf(sent, 0) AS bounce_rate,
    unsubscribed / nullIf(delivered, 0) AS unsubscribe_rate
FROM {{database}}.v_messages AS m
GROUP BY day, channel, campaign
COMMENT 'What became of messages, one row for each day, channel and campaign.';

-- Messages count for the channel and for (all). Weeks begin on Monday.
CREATE VIEW IF NOT EXISTS {{database}}.message_weeks {{on_cluster}}
AS SELECT
    profile_id,
    arrayJoin([channel, '(all)']) AS channel,
    toStartOfWeek(day, 1) AS week,
    count() AS messages,
    sum(responded) AS responses,
    sum(unsubscribed) AS unsubscribes
FROM {{database}}.v_messages
WHERE sent_at >= fromUnixTimestamp64Milli({start_ms:Int64}, 'UTC') AND sent_at < fromUnixTimestamp64Milli({stop_ms:Int64}, 'UTC')
GROUP BY profile_id, channel, week
COMMENT 'Weeks with messages from start_ms to stop_ms, one row for each person, channel and week. Internal: feeds message_frequency.';

-- A person's weeks on a channel go from the first message to the newest week of any message, or to the one in which the
-- person unsubscribed, so weeks without a message count too. A person is in the segments of the week's beginning:
-- what a week brings does not decide where it counts. `groups` parts people by a hash, for resampling.
CREATE VIEW IF NOT EXISTS {{database}}.message_frequency {{on_cluster}}
AS SELECT
    segment,
    channel,
    messages,
    cityHash64(profile_id) % {groups:UInt32} AS people_group,
    uniqExact(profile_id) AS people,
    count() AS person_weeks,
    sum(responses) AS responses,
    sum(orders) AS conversions,
    sum(revenue) AS revenue,
    sum(margin) AS margin,
    sum(unsubscribes) AS unsubscribes
FROM
(
    SELECT
        p.profile_id AS profile_id,
        p.channel AS channel,
        s.messages AS messages,
        s.responses AS responses,
        s.unsubscribes AS unsubscribes,
        o.orders AS orders,
        o.revenue AS revenue,
        o.margin AS margin,
        arrayPushFront(arrayDistinct(arrayMap(stay -> stay.1, arrayFilter(stay -> stay.2 < p.week AND stay.3 >= p.week, m.stays))), '(all)') AS segments
    FROM
    (
        SELECT profile_id, channel, arrayJoin(arrayMap(n -> first_week + 7 * n, range(toUInt32(1 + intDiv(last_week - first_week, 7))))) AS week
        FROM
        (
            SELECT
                profile_id,
                channel,
                min(week) AS first_week,
                max(max(week)) OVER () AS newest_week,
                if(countIf(unsubscribes > 0) > 0 AND channel != '(all)', maxIf(week, unsubscribes > 0), newest_week) AS last_week
            FROM {{database}}.message_weeks(start_ms = {start_ms:Int64}, stop_ms = {stop_ms:Int64})
            GROUP BY profile_id, channel
        )
    ) AS p
    LEFT JOIN {{database}}.message_weeks(start_ms = {start_ms:Int64}, stop_ms = {stop_ms:Int64}) AS s
        ON s.profile_id = p.profile_id AND s.channel = p.channel AND s.week = p.week
    LEFT JOIN
    (
        SELECT profile_id, toStartOfWeek(day, 1) AS week, count() AS orders, sum(c.revenue) AS revenue, sum(c.revenue * c.margin_rate) AS margin
        FROM {{database}}.customer_orders AS c
        GROUP BY profile_id, week
    ) AS o ON o.profile_id = p.profile_id AND o.week = p.week
    LEFT JOIN
    (
        WITH assumeNotNull((SELECT timezone FROM {{database}}.v_attribution_settings)) AS zone
        SELECT profile_id, groupArray((toString(segment), toDate(toTimeZone(since, zone)), toDate(toTimeZone(until, zone)))) AS stays
        FROM {{database}}.v_segment_memberships
        GROUP BY profile_id
    ) AS m ON m.profile_id = p.profile_id
)
ARRAY JOIN segments AS segment
GROUP BY segment, channel, messages, people_group
COMMENT 'What weeks with so many messages bring, one row for each segment, channel, number and group of people. Internal: feeds v_message_frequency and `throughline frequency`.';

CREATE VIEW IF NOT EXISTS {{database}}.v_message_frequency {{on_cluster}}
(
    segment String COMMENT 'Segment at the beginning of the week, or (all)',
    channel String COMMENT 'Channel of the messages, or (all)',
    messages UInt64 COMMENT 'Messages that a person got in a week',
    people UInt64 COMMENT 'People with such a week; not to be added up',
    person_weeks UInt64 COMMENT 'How many such weeks there are: of each person from the first message to the newest week, or to unsubscribing',
    responses UInt64 COMMENT 'Messages of these weeks that were clicked or answered',
    conversions UInt64 COMMENT 'Orders of these people in these weeks, whatever led to them',
    revenue Float64 COMMENT 'Their revenue after refunds, in the currency of reports',
    margin Float64 COMMENT 'What of it is margin',
    unsubscribes UInt64 COMMENT 'Messages of these weeks that made people unsubscribe or complain',
    response_rate Nullable(Float64) COMMENT 'responses / messages sent; NULL: none were',
    conversion_rate Float64 COMMENT 'conversions / person_weeks',
    revenue_per_person_week Float64 COMMENT 'revenue / person_weeks',
    unsubscribe_rate Float64 COMMENT 'unsubscribes / person_weeks'
)
AS SELECT
    f.segment AS segment,
    f.channel AS channel,
    f.messages AS messages,
    f.people AS people,
    f.person_weeks AS person_weeks,
    f.responses AS responses,
    f.conversions AS conversions,
    f.revenue AS revenue,
    f.margin AS margin,
    f.unsubscribes AS unsubscribes,
    responses / nullIf(messages * person_weeks, 0) AS response_rate,
    conversions / person_weeks AS conversion_rate,
    revenue / person_weeks AS revenue_per_person_week,
    unsubscribes / person_weeks AS unsubscribe_rate
FROM {{database}}.message_frequency(start_ms = 0, stop_ms = 4133980800000, groups = 1) AS f
COMMENT 'What comes of so many messages a week, one row for each segment, channel and number. Who gets many messages is not who gets few: a holdout tells cause from choice.';
