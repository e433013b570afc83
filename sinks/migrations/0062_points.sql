-- The ledger of loyalty points, by the rule of profiles (`schemas/profiles/document.py`, `Loyalty`): the balance is the one
-- that the programme reported last, else what was earned less what was redeemed. It is never below 0; what is missing for
-- it is overdrawn: points of before that were never sent.

CREATE VIEW IF NOT EXISTS {{database}}.v_points {{on_cluster}}
(
    profile_id UUID COMMENT 'The person as known now',
    occurred_at DateTime64(3, 'UTC') COMMENT 'When the points were earned or redeemed',
    channel String COMMENT 'Where, such as store',
    points Int64 COMMENT 'How many; below 0: redeemed',
    reason String COMMENT 'Why, as the programme says; mostly empty',
    order_id String COMMENT 'The order; empty: none',
    reported_balance Nullable(Int64) COMMENT 'What is left, as the programme says; NULL: it does not say',
    balance Int64 COMMENT 'What was left after it, as far as is known; never below 0',
    overdrawn Int64 COMMENT 'Points redeemed up to then beyond those that are known; 0: the balance is exact',
    is_last UInt8 COMMENT '1: the last row of the person, with the balance now',
    source String COMMENT 'Which producer said so',
    event_id String COMMENT 'The producer''s id of the event'
)
AS SELECT
    m.person AS profile_id,
    m.at AS occurred_at,
    m.place AS channel,
    m.moved AS points,
    m.why AS reason,
    m.number AS order_id,
    m.stated AS reported_balance,
    greatest(m.difference, 0) AS balance,
    greatest(-m.difference, 0) AS overdrawn,
    m.following = 0 AS is_last,
    m.producer AS source,
    m.id AS event_id
FROM
(
    SELECT
        *,
        ifNull(anyLast(stated) OVER past, sum(moved) OVER past) AS difference,
        count() OVER (PARTITION BY person ORDER BY at, ifNull(stated, -9223372036854775807), producer, id
            ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING) AS following
    FROM
    (
        SELECT
            t.profile_id AS person,
            t.occurred_at AS at,
            toString(t.channel) AS place,
            toInt64(least(abs(trunc(JSONExtractFloat(t.properties, 'points'))), 1000000000))
                * if(t.event = 'Loyalty Points Earned', 1, -1) AS moved,
            JSONExtractString(t.properties, 'reason') AS why,
            JSONExtractString(t.properties, 'order_id') AS number,
            toInt64OrNull(toString(trunc(JSONExtract(t.properties, 'balance', 'Nullable(Float64)')))) AS stated,
            toString(t.source) AS producer,
            t.event_id AS id
        FROM {{database}}.v_touchpoints AS t
        WHERE t.event IN ('Loyalty Points Earned', 'Loyalty Points Redeemed')
            AND t.profile_id != toUUID('00000000-0000-0000-0000-000000000000')
    )
    WINDOW past AS (PARTITION BY person ORDER BY at, ifNull(stated, -9223372036854775807), producer, id ROWS UNBOUNDED PRECEDING)
) AS m
COMMENT 'Loyalty points, one row for each time that a known person earned or redeemed some; is_last has the balance now.';
