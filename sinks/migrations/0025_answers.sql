-- An answer or a STOP that names no message of ours is no message: it was counted as one that was sent.

CREATE OR REPLACE VIEW {{database}}.v_messages {{on_cluster}}
(
    channel String COMMENT 'email, sms, whatsapp, messenger, telegram, web_push or app_push',
    message_id String COMMENT 'The sender''s id of the message; one id may have several receivers',
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
    e.profile_id AS profile_id,
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
GROUP BY channel, message_id, profile_id
HAVING countIf(step != 'replied' AND (step NOT IN ('unsubscribed', 'complained') OR e.message_id != event_id)) > 0
COMMENT 'Messages to known people and what became of them, one row for each channel, message id and receiver.';
