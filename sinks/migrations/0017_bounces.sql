-- What a bounce says about the address, by the words and codes of the providers: the table of schemas/events/bounces.py. Events that
-- are stored already are read by it too.

CREATE VIEW IF NOT EXISTS {{database}}.bounce_types {{on_cluster}}
(
    name String COMMENT 'Word in lower case without spaces and punctuation, or code; 5.7. stands for all status codes that begin so',
    class UInt8 COMMENT '1 permanent, 2 transient, 3 not about the address, 4 no bounce, 5 unsubscription, 6 spam complaint; the greatest of a report counts'
)
AS SELECT arrayJoin(splitByChar(' ', entry.2)) AS name, toUInt8(entry.1) AS class
FROM
(
    SELECT arrayJoin([
        (1, 'hard hardbounce permanent permanentfail permanentfailure bounce invalid invalidemail invalidaddress bademailaddress badmailbox baddomain invaliddomain invalidrecipient unknownuser usernotfound nosuchuser noemail mailboxdoesnotexist addressdoesnotexist suppressed onaccountsuppressionlist suppressbounce bouncedaddress manuallydeactivated 550 551 553 521 556 605 5.1. 5.1.1 5.1.2 5.1.3 5.1.6 5.1.10 5.2.1 21211 21614 30005 30006 63003 63024 unregistered notregistered invalidregistration devicenotregistered baddevicetoken'),
        (2, 'soft softbounce transient temporary temporaryfail temporaryfailure deferred deferral delayed greylisted old mailboxfull mailboxunavailable customtimeoutexceeded technical dnserror 421 450 451 452 552 4. 5.2.2 5.3. 5.4. 30001 30003 30009 30410'),
        (3, 'blocked block undetermined unknown messagetoolarge contentrejected attachmentrejected content reputation frequencyorvolumetoohigh frequency volume spamnotification virusnotification unconfirmed smtpapierror inbounderror dmarcpolicy templaterenderingfailed espblock policy spam 554 571 4.7. 5.1.7 5.1.8 5.2.3 5.3.4 5.6. 5.7. 21408 30002 30004 30007 30008 63016 131026 131047 131049'),
        (4, 'autoresponder autoreply autoreplied outofoffice vacation challenge challengeresponse challengeverification addresschange openrelaytest subscribe'),
        (5, 'unsubscribe unsubscribed unsubscribedaddress unsubscribedrecipient suppressunsubscribe 606 21610 131050'),
        (6, 'complaint complained spamcomplaint spamreport spamreportingaddress abuse suppresscomplaint 607')]) AS entry
)
COMMENT 'What the bounces of message providers mean, one row for each word and code.';

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
    WHERE t.event IN (SELECT event FROM {{database}}.message_steps) AND t.profile_id != toUUID('00000000-0000-0000-0000-000000000000')
)
WHERE bounce_class != 4
COMMENT 'What happened to messages, one row for each event. Internal: feeds the views about messages.';

-- Seven transient bounces in a row are as good as a permanent one.
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
