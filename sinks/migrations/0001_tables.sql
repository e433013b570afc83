-- What the pipeline writes. Nothing expires: how long data is kept is the operator's decision.
--
-- Rows arrive at least once, so every table replaces rows by an id, and no column of a sorting key ever changes for that
-- id: `profile_id` is in none, since a replay after a merge would then leave a duplicate for ever.
-- `delivery` makes the first delivery of an id win, whatever is delivered under it later. A replay of that very
-- delivery wins over what it wrote before, so running the pipeline again with new rules restates history.
-- A nil UUID means: nobody.

CREATE TABLE IF NOT EXISTS {{database}}.touchpoints {{on_cluster}}
(
    event_id String COMMENT 'The producer''s id of the event: one row for each',
    event LowCardinality(String) COMMENT 'What happened, such as Product Added',
    channel LowCardinality(String) COMMENT 'Where it happened, such as web',
    source LowCardinality(String) COMMENT 'Which producer reported it',
    occurred_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'When it happened, by the producer',
    received_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'When the broker got it',
    stored_at DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(Delta, ZSTD(1)) COMMENT 'When this row was written',
    delivery UInt64 MATERIALIZED bitNot(toUInt64(toUnixTimestamp64Milli(received_at))) COMMENT 'Which of two rows of an event stays: the higher, that is the one received first',
    anchor UUID COMMENT 'Keyed hash of the strongest identifier it was resolved by; nil: nobody',
    profile_id UUID COMMENT 'The person as known when it was stored; v_touchpoints has the person as known now',
    identity_version UInt64 COMMENT 'Changes of identity up to this version are in profile_id; 0: not known, so all later ones apply',
    touch LowCardinality(String) COMMENT 'rule: a touch; session: a touch if it is the first event of its session; empty: none',
    marketing_channel LowCardinality(String) COMMENT 'What attribution credits if it is a touch',
    campaign LowCardinality(String) COMMENT 'Campaign name',
    campaign_id LowCardinality(String) COMMENT 'The advertising system''s number of the campaign',
    campaign_source LowCardinality(String) COMMENT 'utm_source',
    campaign_medium LowCardinality(String) COMMENT 'utm_medium',
    campaign_term LowCardinality(String) COMMENT 'utm_term',
    campaign_content LowCardinality(String) COMMENT 'utm_content',
    creative LowCardinality(String) COMMENT 'Advertisement or message variant',
    click_id String COMMENT 'gclid, fbclid, …',
    product_id LowCardinality(String) COMMENT 'The product that it is about',
    order_id String COMMENT 'The order that it is about',
    conversion_id String COMMENT 'If it is a conversion: the id of that conversion, whose touch it can not be',
    revenue Decimal(18, 4) COMMENT 'What it is worth, in units of currency; 0 when that is not known',
    currency LowCardinality(String) COMMENT 'ISO 4217',
    session_id String COMMENT 'The producer''s id of the visit',
    session UInt64 MATERIALIZED if(session_id = '', 0, cityHash64(source, session_id)) COMMENT 'The visit among all sources'' visits',
    place UInt128 ALIAS bitOr(bitShiftLeft(toUInt128(toUnixTimestamp64Milli(occurred_at)), 64), cityHash64(event_id)) COMMENT 'Orders events by time, and those of one millisecond by a hash of event_id',
    properties String CODEC(ZSTD(3)) COMMENT 'The event''s properties, JSON',
    context String CODEC(ZSTD(3)) COMMENT 'The event''s context, JSON',
    consent String COMMENT 'What the person agreed to with this event, JSON',
    identifiers String CODEC(ZSTD(3)) COMMENT 'Who it was, normalised and in clear, JSON; no view shows it',
    traits String CODEC(ZSTD(3)) COMMENT 'What was said of the person, JSON; no view shows it',
    campaign_fields String CODEC(ZSTD(3)) COMMENT 'The event''s campaign as it was sent, JSON',
    origin_topic LowCardinality(String) COMMENT 'Kafka topic that the producer wrote to',
    origin_partition Int32 COMMENT 'Its partition',
    origin_offset Int64 COMMENT 'Its offset',
    INDEX by_profile profile_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_anchor anchor TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = {{replicated}}ReplacingMergeTree(delivery)
PARTITION BY toYYYYMM(occurred_at)
ORDER BY (toDate(occurred_at), event_id)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Every event of a person or about a product, one row for each event. Read v_touchpoints.';

CREATE TABLE IF NOT EXISTS {{database}}.conversions {{on_cluster}}
(
    conversion_id String COMMENT 'The order''s id, else the event''s',
    conversion_type LowCardinality(String) COMMENT 'The goal, such as purchase',
    converted_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'When it happened',
    event_id String COMMENT 'The event that reported it',
    channel LowCardinality(String) COMMENT 'Where it happened, such as web',
    source LowCardinality(String) COMMENT 'Which producer reported it',
    anchor UUID COMMENT 'Keyed hash of the strongest identifier it was resolved by; nil: nobody',
    profile_id UUID COMMENT 'The person as known when it was stored; v_conversions has the person as known now',
    identity_version UInt64 COMMENT 'Changes of identity up to this version are in profile_id; 0: not known, so all later ones apply',
    revenue Decimal(18, 4) COMMENT 'What it is worth, in units of currency',
    currency LowCardinality(String) COMMENT 'ISO 4217',
    received_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'When the broker got it',
    stored_at DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(Delta, ZSTD(1)) COMMENT 'When this row was written',
    delivery UInt64 MATERIALIZED bitNot(toUInt64(toUnixTimestamp64Milli(received_at))) COMMENT 'Which of two rows of a conversion stays: the higher, that is the one received first'
)
ENGINE = {{replicated}}ReplacingMergeTree(delivery)
ORDER BY (conversion_type, conversion_id)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Every conversion, one row for each goal and id. Read v_conversions.';

CREATE TABLE IF NOT EXISTS {{database}}.sessions {{on_cluster}}
(
    day Date COMMENT 'The day, UTC, on which an event may start the session',
    session UInt64 COMMENT 'touchpoints.session',
    first SimpleAggregateFunction(min, UInt128) COMMENT 'touchpoints.place of the earliest event of this day and the day before'
)
ENGINE = {{replicated}}AggregatingMergeTree
ORDER BY (day, session)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Which event starts a session, one row for each day and session. An event starts it when it is the earliest of its day''s row: a session that crosses midnight starts once, an id that comes back after a day of silence starts anew.';

-- An event counts for its own day and, as something that came before, for the next. Only a minimum is kept, so a
-- repeated batch changes nothing and a late event corrects it.
CREATE MATERIALIZED VIEW IF NOT EXISTS {{database}}.touchpoints_to_sessions {{on_cluster}} TO {{database}}.sessions
AS SELECT
    arrayJoin([toDate(occurred_at), toDate(occurred_at) + 1]) AS day,
    session,
    min(place) AS first
FROM {{database}}.touchpoints
WHERE session != 0
GROUP BY day, session;

CREATE TABLE IF NOT EXISTS {{database}}.messages {{on_cluster}}
(
    message_id String COMMENT 'The sender''s id of the message',
    kind LowCardinality(String) COMMENT 'email, sms, push, whatsapp, messenger or telegram',
    anchor SimpleAggregateFunction(max, UUID) COMMENT 'Keyed hash of an identifier of the receiver; nil: nobody',
    profile_id SimpleAggregateFunction(max, UUID) COMMENT 'The receiver as known when a row was stored',
    campaign SimpleAggregateFunction(max, String) COMMENT 'Campaign name',
    creative SimpleAggregateFunction(max, String) COMMENT 'Message variant',
    journey_id SimpleAggregateFunction(max, String) COMMENT 'The journey that sent it',
    sent_at SimpleAggregateFunction(min, Nullable(DateTime64(3, 'UTC'))) COMMENT 'When it was sent',
    delivered_at SimpleAggregateFunction(min, Nullable(DateTime64(3, 'UTC'))) COMMENT 'When it was delivered',
    opened_at SimpleAggregateFunction(min, Nullable(DateTime64(3, 'UTC'))) COMMENT 'When it was first opened; mail programs open unseen mail too',
    clicked_at SimpleAggregateFunction(min, Nullable(DateTime64(3, 'UTC'))) COMMENT 'When a link in it was first clicked',
    replied_at SimpleAggregateFunction(min, Nullable(DateTime64(3, 'UTC'))) COMMENT 'When it was first answered',
    bounced_at SimpleAggregateFunction(min, Nullable(DateTime64(3, 'UTC'))) COMMENT 'When it bounced',
    failed_at SimpleAggregateFunction(min, Nullable(DateTime64(3, 'UTC'))) COMMENT 'When sending it failed',
    unsubscribed_at SimpleAggregateFunction(min, Nullable(DateTime64(3, 'UTC'))) COMMENT 'When its receiver unsubscribed through it',
    complained_at SimpleAggregateFunction(min, Nullable(DateTime64(3, 'UTC'))) COMMENT 'When it was marked as spam'
)
ENGINE = {{replicated}}AggregatingMergeTree
ORDER BY (kind, message_id)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'What became of each message, one row for each. Read with FINAL.';

CREATE TABLE IF NOT EXISTS {{database}}.spend {{on_cluster}}
(
    date Date COMMENT 'The day that the money was spent for',
    channel LowCardinality(String) COMMENT 'Marketing channel, as attribution names it',
    source LowCardinality(String) COMMENT 'Where it was spent, such as google',
    campaign LowCardinality(String) COMMENT 'Campaign name, as the events have it',
    creative LowCardinality(String) COMMENT 'Advertisement, as the events have it',
    spend Decimal(18, 4) COMMENT 'Money spent, in units of currency',
    currency LowCardinality(String) COMMENT 'ISO 4217',
    impressions UInt64 COMMENT 'How often it was shown; 0 when that is not known',
    clicks UInt64 COMMENT 'How often it was clicked; 0 when that is not known',
    imported_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When this row was imported; a later import of the same key replaces it'
)
ENGINE = {{replicated}}ReplacingMergeTree(imported_at)
ORDER BY (date, channel, source, campaign, creative)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Money spent on marketing, one row for each day, channel, source, campaign and creative. Read with FINAL.';

CREATE TABLE IF NOT EXISTS {{database}}.identity_overrides {{on_cluster}}
(
    anchor UUID COMMENT 'Keyed hash of an identifier',
    profile_id UUID COMMENT 'The person whom events with this anchor belong to now',
    version UInt64 COMMENT 'The change that said so; a higher one replaces it'
)
ENGINE = {{replicated}}ReplacingMergeTree(version)
ORDER BY anchor
SETTINGS non_replicated_deduplication_window = 1000, index_granularity = 512
COMMENT 'Where merges and splits moved the history of an identifier, one row for each that was ever moved. Read with FINAL.';

CREATE TABLE IF NOT EXISTS {{database}}.identity_log {{on_cluster}}
(
    version UInt64 COMMENT 'Order of the changes, strictly increasing',
    kind LowCardinality(String) COMMENT 'bind, merge, split, transfer, erase or refuse',
    profile_id UUID COMMENT 'The profile after the change; of a merge: the one that stays',
    from_profile_id UUID COMMENT 'The profile before the change; of a merge: the one that ended; nil: none',
    anchors Array(Tuple(anchor UUID, type String)) COMMENT 'The identifiers concerned: keyed hash and type',
    event_id String COMMENT 'The evidence: the event that caused it; empty: an operator''s command',
    occurred_at DateTime64(3, 'UTC') COMMENT 'When that event happened',
    rule LowCardinality(String) COMMENT 'Why, in a word'
)
ENGINE = {{replicated}}ReplacingMergeTree
ORDER BY version
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Every change of who is who, one row for each. Read with FINAL.';

CREATE TABLE IF NOT EXISTS {{database}}.profiles {{on_cluster}}
(
    profile_id UUID COMMENT 'The person',
    version UInt64 COMMENT 'Version of the profile; a higher one replaces it',
    document String CODEC(ZSTD(3)) COMMENT 'The profile, JSON',
    is_deleted UInt8 COMMENT '1: merged into another profile, or erased; FINAL leaves it out',
    stored_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When this row was written'
)
ENGINE = {{replicated}}ReplacingMergeTree(version, is_deleted)
ORDER BY profile_id
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'The latest snapshot of each profile, one row for each. Read with FINAL.';

CREATE TABLE IF NOT EXISTS {{database}}.dead_letters {{on_cluster}}
(
    topic LowCardinality(String) COMMENT 'Kafka topic that the record came from',
    partition Int32 COMMENT 'Its partition',
    offset Int64 COMMENT 'Its offset',
    received_at DateTime64(3, 'UTC') COMMENT 'When the broker got it',
    stage LowCardinality(String) COMMENT 'The agent that refused it',
    reason LowCardinality(String) COMMENT 'The code of the reason',
    field String COMMENT 'Path of the offending field; empty: the whole record',
    message String COMMENT 'What was found and which rule it breaks',
    key_base64 String COMMENT 'The original key, base64',
    value_base64 String CODEC(ZSTD(3)) COMMENT 'The original value, base64',
    source LowCardinality(String) DEFAULT JSONExtractString(tryBase64Decode(value_base64), 'source') COMMENT 'Which producer wrote it, as far as it can be read',
    stored_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When this row was written'
)
ENGINE = {{replicated}}ReplacingMergeTree
ORDER BY (topic, partition, offset, received_at) -- a broker that lost its log gives the same offsets again
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Records that could not be processed, one row for each. Read with FINAL.';

CREATE TABLE IF NOT EXISTS {{database}}.dropped_touchpoints {{on_cluster}}
(
    event_id String COMMENT 'The producer''s id of the event',
    reason LowCardinality(String) COMMENT 'duplicate: another delivery of the event was accepted before; else why it was suppressed',
    source LowCardinality(String) COMMENT 'Which producer reported it',
    channel LowCardinality(String) COMMENT 'Where it happened, such as web',
    topic LowCardinality(String) COMMENT 'Kafka topic that it came from',
    partition Int32 COMMENT 'Its partition',
    offset Int64 COMMENT 'Its offset',
    received_at DateTime64(3, 'UTC') COMMENT 'When the broker got it',
    stored_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When this row was written'
)
ENGINE = {{replicated}}ReplacingMergeTree
ORDER BY (topic, partition, offset, received_at) -- a broker that lost its log gives the same offsets again
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Valid events that were left out on purpose, one row for each delivery. Read with FINAL.';

CREATE TABLE IF NOT EXISTS {{database}}.attribution_settings {{on_cluster}}
(
    id UInt8 COMMENT 'Always 0: there is one row',
    goal String COMMENT 'The conversion type that the views v_attribution_by_… and v_paths are about',
    direct_channels Array(String) COMMENT 'Marketing channels that last_non_direct passes over',
    margin Float64 COMMENT 'Share of revenue that is margin, for romi',
    timezone String COMMENT 'Time zone of the days in reports, IANA name',
    milestone String DEFAULT 'signup' COMMENT 'The conversion type that w_shaped gives a role of its own',
    changed_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When it was set; a later row replaces it'
)
ENGINE = {{replicated}}ReplacingMergeTree(changed_at)
ORDER BY id
COMMENT 'What the attribution views need to know, one row; without it: purchase, Direct, 1, UTC, signup. Read v_attribution_settings.';
