-- Who could have been written to on each day, and why not. It follows `processors/profile_contact.py`: an explicit answer goes
-- before one that rides along, then the last counts, then the stricter; marketing = false closes every channel.

ALTER TABLE {{database}}.touchpoints {{on_cluster}}
    ADD COLUMN IF NOT EXISTS address_types Array(LowCardinality(String)) MATERIALIZED arrayDistinct(arrayFilter(
        type -> type IN ('email', 'phone', 'whatsapp_id', 'messenger_id', 'telegram_id', 'push_token'),
        JSONExtract(identifiers, 'Array(Tuple(type String))').type))
    COMMENT 'Types of the addresses that it names, without the addresses';

-- One row for each fact about a person on a channel. Answers are (explicit, at, refused), so the greatest is the one that counts.
CREATE VIEW IF NOT EXISTS {{database}}.contact_facts {{on_cluster}}
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
        (SELECT groupArray((channel, address_type)) FROM {{database}}.message_channels) AS channels,
        JSONExtractKeysAndValuesRaw(t.consent, 'channels') AS answers
    SELECT
        if(o.version > t.identity_version, o.profile_id, t.profile_id) AS profile_id,
        t.occurred_at AS occurred_at,
        toUInt64(toUnixTimestamp64Milli(t.occurred_at)) AS at,
        arrayConcat(
            arrayMap(c -> (c.1, 'address', 0, 0), arrayFilter(
                c -> has(t.address_types, c.2) AND (c.2 != 'push_token' OR (c.1 = 'web_push') = (t.channel IN ('web', 'web_push'))), channels)),
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
    FROM {{database}}.message_events
    WHERE step IN ('delivered', 'opened', 'clicked', 'replied', 'unsubscribed', 'complained') OR (step = 'bounced' AND NOT is_soft)
)
ARRAY JOIN facts AS fact
WHERE profile_id != nobody
COMMENT 'What is known of how people can and may be reached, one row for each fact. Internal: feeds contact_states.';

CREATE VIEW IF NOT EXISTS {{database}}.contact_states {{on_cluster}}
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
                    WHERE profile_id != toUUID('00000000-0000-0000-0000-000000000000')
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

CREATE VIEW IF NOT EXISTS {{database}}.v_channel_reachability {{on_cluster}}
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
    SELECT segment, channel, state, change.1 AS day, change.2 AS delta
    FROM
    (
        SELECT '(all)' AS segment, channel, state, since AS from_day, until AS to_day FROM {{database}}.contact_states
        UNION ALL
        SELECT toString(m.segment), s.channel, s.state, greatest(s.since, toDate(toTimeZone(m.since, zone))), least(s.until, toDate(toTimeZone(m.until, zone)))
        FROM {{database}}.contact_states AS s
        INNER JOIN {{database}}.v_segment_memberships AS m ON m.profile_id = s.profile_id
    )
    ARRAY JOIN [(from_day, 1), (to_day, -1)] AS change
    WHERE from_day < to_day AND change.1 <= newest
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
COMMENT 'How many people could be written to, one row for each segment, channel and day.';
