-- Exports of conversions to destinations: the ledger, and how many people networks can recognise.

CREATE TABLE IF NOT EXISTS {{database}}.conversion_exports {{on_cluster}}
(
    destination LowCardinality(String) COMMENT 'The destination',
    conversion_type LowCardinality(String) COMMENT 'The goal, such as purchase',
    conversion_id String COMMENT 'The conversion, as v_conversions has it',
    kind LowCardinality(String) COMMENT 'conversion; value: a change of its value; match: its person is better known, as after a merge',
    number UInt32 COMMENT 'The changes of a value are counted from 1; else 0',
    event_id String COMMENT 'What names it to the destination, the same in each attempt',
    adjusts String COMMENT 'event_id of the conversion that it adjusts; empty: it is a conversion',
    profile_id UUID COMMENT 'The person as known then; nil: nobody',
    state LowCardinality(String) COMMENT 'sent, refused or withheld',
    reason LowCardinality(String) COMMENT 'Why it was withheld or refused; empty: it was sent',
    answer String COMMENT 'What the destination said; empty: it was not asked',
    match_keys Array(LowCardinality(String)) COMMENT 'What the person could be recognised by: email, phone, and names of click ids',
    value Nullable(Decimal(18, 4)) COMMENT 'What it told as the value, after an adjustment the new one; NULL: nothing',
    currency LowCardinality(String) COMMENT 'Of value, ISO 4217',
    revenue Decimal(18, 4) COMMENT 'Revenue of the conversion as known then, before refunds',
    refunded Decimal(18, 4) COMMENT 'What of it was given back by then',
    attempt UInt32 COMMENT 'How many times it was tried; 0: never',
    converted_at DateTime64(3, 'UTC') COMMENT 'When the conversion happened',
    exported_at DateTime64(3, 'UTC') COMMENT 'When this became so'
)
ENGINE = {{replicated}}ReplacingMergeTree(exported_at)
ORDER BY (destination, conversion_type, conversion_id, kind, number)
COMMENT 'What became of each export of a conversion, one row for each. Read v_conversion_exports.';

CREATE VIEW IF NOT EXISTS {{database}}.v_conversion_exports {{on_cluster}}
(
    destination LowCardinality(String) COMMENT 'The destination',
    conversion_type LowCardinality(String) COMMENT 'The goal, such as purchase',
    conversion_id String COMMENT 'The conversion, as v_conversions has it',
    kind LowCardinality(String) COMMENT 'conversion; value: a change of its value, as by a refund; match: its person is better known, as after a merge',
    number UInt32 COMMENT 'The changes of a value are counted from 1; else 0',
    event_id String COMMENT 'What names it to the destination, the same in each attempt',
    adjusts String COMMENT 'event_id of the conversion that it adjusts; empty: it is a conversion',
    profile_id UUID COMMENT 'The person as known then; nil: nobody',
    state LowCardinality(String) COMMENT 'sent, refused or withheld',
    reason LowCardinality(String) COMMENT 'Why it was not sent: no_person, no_consent, too_old, no_match_keys, no_value, refunded, not_adjustable, not_yet (tried again each hour) or refused; empty: it was',
    answer String COMMENT 'What the destination said; empty: it was not asked',
    match_keys Array(LowCardinality(String)) COMMENT 'What the person could be recognised by: email, phone, and names of click ids',
    value Nullable(Decimal(18, 4)) COMMENT 'What it told as the value, after an adjustment the new one; NULL: nothing',
    currency LowCardinality(String) COMMENT 'Of value, ISO 4217',
    revenue Decimal(18, 4) COMMENT 'Revenue of the conversion as known then, before refunds',
    refunded Decimal(18, 4) COMMENT 'What of it was given back by then',
    attempt UInt32 COMMENT 'How many times it was tried; 0: never',
    converted_at DateTime64(3, 'UTC') COMMENT 'When the conversion happened',
    exported_at DateTime64(3, 'UTC') COMMENT 'When this became so'
)
AS SELECT
    destination, conversion_type, conversion_id, kind, number, event_id, adjusts, profile_id, state, reason, answer,
    match_keys, value, currency, revenue, refunded, attempt, converted_at, exported_at
FROM {{database}}.conversion_exports FINAL
COMMENT 'What became of each export of a conversion to a destination: sent, refused or withheld, and why; one row for each.';

CREATE VIEW IF NOT EXISTS {{database}}.v_conversion_match_rates {{on_cluster}}
(
    day Date COMMENT 'Day of the conversions, in the time zone of reports',
    destination LowCardinality(String) COMMENT 'The destination',
    conversion_type LowCardinality(String) COMMENT 'The goal, such as purchase',
    conversions UInt64 COMMENT 'Conversions that the destination was to learn of',
    sent UInt64 COMMENT 'Those that it has learned of',
    refused UInt64 COMMENT 'Those that it has refused',
    withheld UInt64 COMMENT 'Those that were not sent',
    no_consent UInt64 COMMENT 'Those of withheld whose person has not agreed to marketing, or objected to advertising',
    with_email UInt64 COMMENT 'Those of sent with a hashed e-mail address',
    with_phone UInt64 COMMENT 'Those of sent with a hashed telephone number',
    with_click_id UInt64 COMMENT 'Those of sent with a click id of the network',
    match_rate Nullable(Float64) COMMENT 'Share of people who agreed that could be recognised by anything: sent / (sent + without match keys); NULL: there is none'
)
AS
WITH (SELECT any(timezone) FROM {{database}}.v_attribution_settings) AS zone
SELECT
    toDate(toTimeZone(converted_at, assumeNotNull(zone))) AS day,
    destination,
    conversion_type,
    count() AS conversions,
    countIf(state = 'sent') AS sent,
    countIf(state = 'refused') AS refused,
    countIf(state = 'withheld') AS withheld,
    countIf(reason = 'no_consent') AS no_consent,
    countIf(state = 'sent' AND has(match_keys, 'email')) AS with_email,
    countIf(state = 'sent' AND has(match_keys, 'phone')) AS with_phone,
    countIf(state = 'sent' AND arrayExists(key -> key NOT IN ('email', 'phone'), match_keys)) AS with_click_id,
    if(sent + countIf(reason = 'no_match_keys') = 0, NULL, countIf(state = 'sent' AND notEmpty(match_keys)) / (sent + countIf(reason = 'no_match_keys'))) AS match_rate
FROM {{database}}.v_conversion_exports
WHERE kind = 'conversion'
GROUP BY day, destination, conversion_type
COMMENT 'How many conversions each destination has learned of, and by what it can recognise their people; one row for each day, destination and goal.';
