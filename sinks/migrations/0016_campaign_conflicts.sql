-- A link that says one network by its tag and carries the click id of another: the tag wins, and what was decided is
-- counted here, so that left-over click ids and wrong tags are found and mended at their source.

ALTER TABLE {{database}}.touchpoints {{on_cluster}}
    ADD COLUMN IF NOT EXISTS conflicting_network LowCardinality(String) DEFAULT ''
    COMMENT 'Advertising network of a click id in the address that contradicts what the touch is credited to; mostly empty';

CREATE VIEW IF NOT EXISTS {{database}}.v_campaign_conflicts {{on_cluster}}
(
    day Date COMMENT 'Day in the time zone of reports',
    source LowCardinality(String) COMMENT 'Which producer reported it',
    campaign_source LowCardinality(String) COMMENT 'utm_source; empty: the referrer contradicts the click id',
    campaign_medium LowCardinality(String) COMMENT 'utm_medium',
    campaign LowCardinality(String) COMMENT 'Campaign name',
    conflicting_network LowCardinality(String) COMMENT 'Advertising network whose click id the address has',
    marketing_channel LowCardinality(String) COMMENT 'What is credited nevertheless',
    events UInt64 COMMENT 'Events with this contradiction',
    people UInt64 COMMENT 'People who had them, as known now',
    example_event_id String COMMENT 'The first of them'
)
AS
WITH assumeNotNull((SELECT timezone FROM {{database}}.v_attribution_settings)) AS zone
SELECT
    toDate(toTimeZone(t.occurred_at, zone)) AS day,
    t.source AS source,
    t.campaign_source AS campaign_source,
    t.campaign_medium AS campaign_medium,
    t.campaign AS campaign,
    t.conflicting_network AS conflicting_network,
    t.marketing_channel AS marketing_channel,
    count() AS events,
    uniqExact(if(o.version > t.identity_version, o.profile_id, t.profile_id)) AS people,
    argMin(t.event_id, (t.occurred_at, t.event_id)) AS example_event_id
FROM
(
    SELECT event_id, source, occurred_at, profile_id, anchor, identity_version, campaign_source, campaign_medium, campaign, conflicting_network, marketing_channel
    FROM {{database}}.touchpoints FINAL
    WHERE conflicting_network != ''
) AS t
LEFT JOIN (SELECT * FROM {{database}}.identity_overrides FINAL) AS o ON o.anchor = t.anchor
GROUP BY day, source, campaign_source, campaign_medium, campaign, conflicting_network, marketing_channel
COMMENT 'Links whose tag or referrer says one network and whose click id says another, one row for each day, producer, tag and network. The tag and the referrer win.';
