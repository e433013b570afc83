-- Channels of the message policy beyond the known ones, such as Viber, are reachable by the identifier types that the policy names; bots
-- are no people who could be reached.

CREATE TABLE IF NOT EXISTS {{database}}.policy_channels {{on_cluster}}
(
    id UInt8 COMMENT 'Always 0: there is one row',
    channels Array(Tuple(String, Array(String), UInt16)) COMMENT 'Channels, the types of identifiers that their messages are sent to, and the days without a sign of life after which an address is taken to be given up',
    changed_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When it was written; a later row replaces it'
)
ENGINE = {{replicated}}ReplacingMergeTree(changed_at)
ORDER BY id
COMMENT 'The channels of the message policy that the product does not know by itself, one row; throughline migrate writes it. Read message_channels.';

ALTER TABLE {{database}}.touchpoints {{on_cluster}}
    MODIFY COLUMN address_types Array(LowCardinality(String)) MATERIALIZED arrayDistinct(arrayFilter(
        type -> type NOT IN ('user_id', 'crm_id', 'loyalty_id', 'device_id', 'anonymous_id'),
        JSONExtract(identifiers, 'Array(Tuple(type String))').type))
    COMMENT 'Types of its identifiers that messages can be sent to, without the addresses';

ALTER TABLE {{database}}.touchpoints {{on_cluster}} MATERIALIZE COLUMN address_types;

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
UNION ALL
SELECT own.1 AS channel, own.2[1] AS address_type, own.3 AS stale_after_days, 1 AS needs_consent, arrayPopFront(own.2) AS further_address_types
FROM (SELECT arrayJoin(argMax(channels, changed_at)) AS own FROM {{database}}.policy_channels)
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
    FROM (SELECT event, channel, occurred_at, profile_id, anchor, identity_version, consent, address_types FROM {{database}}.touchpoints FINAL WHERE NOT is_bot AND (notEmpty(address_types) OR consent != '')) AS t
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

CREATE OR REPLACE VIEW {{database}}.contact_states {{on_cluster}}
(
    profile_id UUID COMMENT 'The person as known now',
    channel String COMMENT 'Channel of messages',
    since Date COMMENT 'First day of the state',
    until Date COMMENT 'The day after the last',
    state String COMMENT 'reachable, opted_out, no_address, bounced, not_asked or stale'
)
AS SELECT
    profile_id,
    channel,
    period.1 AS since,
    period.2 AS until,
    period.3 AS state
FROM
(
    SELECT
        f.profile_id AS profile_id,
        f.channel AS channel,
        multiIf(
            NOT has_address, 'no_address',
            refused, 'opted_out',
            bounced, 'bounced',
            NOT agreed AND c.needs_consent, 'not_asked',
            'reachable') AS state,
        last_sign + c.stale_after_days + 1 AS stale_at,
        if(state != 'reachable' OR stale_at >= next_day, [(f.day, next_day, state)],
            arrayFilter(period -> period.1 < period.2, [(f.day, greatest(f.day, stale_at), state), (greatest(f.day, stale_at), next_day, 'stale')])) AS periods
    FROM
    (
        SELECT
            profile_id,
            channel,
            day,
            max(addressed) OVER so_far AS has_address,
            max(sign) OVER so_far AS last_sign,
            max(answered) OVER so_far AS last_answer,
            max(agreement) OVER so_far AS last_purpose,
            (max(receipt) OVER so_far).2 AS bounced,
            last_answer.3 OR last_purpose.2 AS refused,
            last_answer.2 > 0 OR last_purpose.1 > 0 AS agreed,
            leadInFrame(day, 1, toDate('2100-01-01')) OVER (PARTITION BY profile_id, channel ORDER BY day ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS next_day
        FROM
        (
            SELECT
                profile_id,
                channel,
                day,
                max(has_address) AS addressed,
                max(if(has_address OR (delivery.1 > 0 AND NOT delivery.2), day, toDate(0))) AS sign,
                max(answer) AS answered,
                max(purpose) AS agreement,
                max(delivery) AS receipt
            FROM
            (
                SELECT profile_id, channel, day, has_address, answer, purpose, delivery FROM {{database}}.contact_facts
                UNION ALL -- whoever is known is known on every channel, if only for having no address
                SELECT p.profile_id, c.channel, p.day, 0, (0, 0, 0), (0, 0), (0, 0)
                FROM
                (
                    WITH assumeNotNull((SELECT timezone FROM {{database}}.v_attribution_settings)) AS zone
                    SELECT profile_id, toDate(toTimeZone(min(occurred_at), zone)) AS day
                    FROM {{database}}.v_touchpoints
                    WHERE profile_id != toUUID('00000000-0000-0000-0000-000000000000') AND NOT is_bot
                    GROUP BY profile_id
                ) AS p
                CROSS JOIN {{database}}.message_channels AS c
            )
            GROUP BY profile_id, channel, day
        )
        WINDOW so_far AS (PARTITION BY profile_id, channel ORDER BY day ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
    ) AS f
    INNER JOIN {{database}}.message_channels AS c ON c.channel = f.channel
)
ARRAY JOIN periods AS period
COMMENT 'Whether each person can be reached, one row for each channel and run of days from since to the day before until. Internal: feeds v_channel_reachability.';
