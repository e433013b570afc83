-- A WhatsApp user id reaches a person who hides the number: it is an address of WhatsApp, beside whatsapp_id.

ALTER TABLE {{database}}.touchpoints {{on_cluster}}
    MODIFY COLUMN address_types Array(LowCardinality(String)) MATERIALIZED arrayDistinct(arrayFilter(
        type -> type IN ('email', 'phone', 'whatsapp_id', 'whatsapp_user_id', 'messenger_id', 'telegram_id', 'push_token'),
        JSONExtract(identifiers, 'Array(Tuple(type String))').type))
    COMMENT 'Types of the addresses that it names, without the addresses';

CREATE OR REPLACE VIEW {{database}}.message_channels {{on_cluster}}
(
    channel String COMMENT 'Channel of messages',
    address_type String COMMENT 'Type of the identifier that it needs',
    stale_after_days UInt16 COMMENT 'Days without a sign of life after which an address is taken to be given up',
    needs_consent UInt8 COMMENT '1: silence is not a yes; 0: the device has asked when it gave out the token',
    further_address_types Array(String) COMMENT 'Types of identifiers that serve as well'
)
AS SELECT entry.1 AS channel, entry.2 AS address_type, entry.3 AS stale_after_days, entry.4 AS needs_consent, if(channel = 'whatsapp', ['whatsapp_user_id'], []) AS further_address_types
FROM
(
    SELECT arrayJoin([
        ('email', 'email', 365, 1), ('sms', 'phone', 365, 1), ('whatsapp', 'whatsapp_id', 365, 1), ('messenger', 'messenger_id', 365, 1),
        ('telegram', 'telegram_id', 365, 1), ('web_push', 'push_token', 60, 0), ('app_push', 'push_token', 60, 0)]) AS entry
)
COMMENT 'What it takes to reach people on each channel of messages, one row for each.';

CREATE OR REPLACE VIEW {{database}}.contact_facts {{on_cluster}}
(
    profile_id UUID COMMENT 'The person as known now',
    channel String COMMENT 'Channel of messages',
    day Date COMMENT 'Day of the fact in the time zone of reports',
    has_address UInt8 COMMENT '1: an event names an address for the channel',
    answer Tuple(UInt8, UInt64, UInt8) COMMENT 'Answer about the channel: explicit, time in ms, refused; zeros: none',
    purpose Tuple(UInt64, UInt8) COMMENT 'Answer about marketing: time in ms, refused; zeros: none',
    delivery Tuple(UInt64, UInt8) COMMENT 'Delivery: time in ms, bounced for good; zeros: none'
)
AS
WITH
    toUUID('00000000-0000-0000-0000-000000000000') AS nobody,
    assumeNotNull((SELECT timezone FROM {{database}}.v_attribution_settings)) AS zone
SELECT
    profile_id,
    fact.1 AS channel,
    toDate(toTimeZone(occurred_at, zone)) AS day,
    toUInt8(fact.2 = 'address') AS has_address,
    if(fact.2 = 'channel', (fact.3, at, fact.4), (0, 0, 0)) AS answer,
    if(fact.2 = 'purpose', (at, fact.4), (0, 0)) AS purpose,
    if(fact.2 = 'delivery', (at, fact.4), (0, 0)) AS delivery
FROM
(
    WITH
        t.event IN ('Consent Updated', 'Identify', 'Signed Up', 'Account Created') AS stated,
        (SELECT groupArray((channel, arrayPushFront(further_address_types, address_type))) FROM {{database}}.message_channels) AS channels,
        JSONExtractKeysAndValuesRaw(t.consent, 'channels') AS answers
    SELECT
        if(o.version > t.identity_version, o.profile_id, t.profile_id) AS profile_id,
        t.occurred_at AS occurred_at,
        toUInt64(toUnixTimestamp64Milli(t.occurred_at)) AS at,
        arrayConcat(
            arrayMap(c -> (c.1, 'address', 0, 0), arrayFilter(
                c -> hasAny(t.address_types, c.2) AND (NOT has(c.2, 'push_token') OR (c.1 = 'web_push') = (t.channel IN ('web', 'web_push'))), channels)),
            arrayMap(a -> (a.1, 'channel', toUInt8(stated OR a.2 = 'false'), toUInt8(a.2 = 'false')), answers),
            if(JSONHas(t.consent, 'marketing'), arrayMap(c -> (c.1, 'purpose', 1, toUInt8(NOT JSONExtractBool(t.consent, 'marketing'))), channels), [])) AS facts
    FROM (SELECT event, channel, occurred_at, profile_id, anchor, identity_version, consent, address_types FROM {{database}}.touchpoints FINAL WHERE notEmpty(address_types) OR consent != '') AS t
    LEFT JOIN (SELECT * FROM {{database}}.identity_overrides FINAL) AS o ON o.anchor = t.anchor
    UNION ALL
    SELECT
        profile_id,
        occurred_at,
        toUInt64(toUnixTimestamp64Milli(occurred_at)) AS at,
        [if(step IN ('unsubscribed', 'complained'), (channel, 'channel', 1, 1), (channel, 'delivery', 0, toUInt8(step = 'bounced')))] AS facts
    FROM
    (
        SELECT
            profile_id, occurred_at, channel, step, bounce_class,
            countIf(bounce_class = 2) OVER (PARTITION BY profile_id, channel, arrivals ORDER BY occurred_at ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS transient_in_a_row
        FROM
        (
            SELECT
                profile_id, occurred_at, channel, step, bounce_class,
                countIf(step IN ('delivered', 'opened', 'clicked', 'replied')) OVER (PARTITION BY profile_id, channel ORDER BY occurred_at ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS arrivals
            FROM {{database}}.message_events
            WHERE step IN ('delivered', 'opened', 'clicked', 'replied', 'unsubscribed', 'complained', 'bounced')
        )
    )
    WHERE step != 'bounced' OR bounce_class = 1 OR (bounce_class = 2 AND transient_in_a_row >= 7)
)
ARRAY JOIN facts AS fact
WHERE profile_id != nobody
COMMENT 'What is known of how people can and may be reached, one row for each fact. Internal: feeds contact_states.';
