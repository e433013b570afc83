-- A code that was given keeps the end that its message said: a later import of its pool changed it in v_coupons.

CREATE OR REPLACE VIEW {{database}}.v_coupons {{on_cluster}}
(
    pool String COMMENT 'The pool; empty: a code that was given by a message and is of no pool any more',
    code String COMMENT 'The code',
    state String COMMENT 'free (or given to somebody who was erased), issued, redeemed or expired',
    profile_id UUID COMMENT 'To whom it was given, as known now; nil: to nobody',
    channel String COMMENT 'The channel of the message that gave it; empty: none did',
    journey String COMMENT 'The journey of that message; empty: none',
    message_id String COMMENT 'That message, as in v_messages; empty: none',
    issued_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When it was given; NULL: it was not',
    expires_at Nullable(DateTime64(3, 'UTC')) COMMENT 'Until when it may be used, as its message said, else as its import; NULL: for ever',
    redeemed_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When it was used first; NULL: it was not',
    redeemed_channel String COMMENT 'The channel of that use, such as store; empty: none',
    redeemed_by UUID COMMENT 'Who used it, as known now; nil: nobody known',
    order_id String COMMENT 'The order with it; empty: none is known',
    redemptions UInt64 COMMENT 'Orders with it; above 1: it was used more than once',
    by_another UInt8 COMMENT '1: a known person used it who is not the one to whom it was given',
    too_late UInt8 COMMENT '1: it was used after its end, by the time of the use, whenever that was reported',
    elsewhere UInt8 COMMENT '1: it was used in a channel in which it may not be used'
)
AS SELECT
    g.pool AS pool,
    g.code AS code,
    multiIf(g.is_used, 'redeemed', ifNull(g.ends_at <= now64(3), false), 'expired', g.is_given, 'issued', 'free') AS state,
    g.receiver AS profile_id,
    g.given_in AS channel,
    g.given_journey AS journey,
    g.given_message AS message_id,
    if(g.is_given, toNullable(g.given_at), NULL) AS issued_at,
    g.ends_at AS expires_at,
    if(g.is_used, toNullable(g.used_at), NULL) AS redeemed_at,
    if(g.is_used, g.used_in, '') AS redeemed_channel,
    if(g.is_used, g.user, toUUID('00000000-0000-0000-0000-000000000000')) AS redeemed_by,
    if(g.is_used, g.used_order, '') AS order_id,
    g.times AS redemptions,
    g.is_used AND g.is_given AND g.user != toUUID('00000000-0000-0000-0000-000000000000') AND g.user != g.receiver AS by_another,
    g.is_used AND ifNull(g.used_at > g.ends_at, false) AS too_late,
    g.is_used AND notEmpty(g.valid_in) AND NOT has(g.valid_in, g.used_in) AS elsewhere
FROM
(
    SELECT
        key,
        maxIf(pool_name, kind IN ('code', 'issued')) AS pool,
        if(countIf(kind = 'code') > 0, anyIf(written, kind = 'code'), argMinIf(written, at, kind = 'issued')) AS code,
        anyIf(channels, kind = 'code') AS valid_in,
        coalesce(minIf(ends, kind = 'issued'), minIf(ends, kind = 'code')) AS ends_at,
        countIf(kind = 'issued') > 0 AS is_given,
        minIf(at, kind = 'issued') AS given_at,
        argMinIf(person, at, kind = 'issued') AS receiver,
        argMinIf(place, at, kind = 'issued') AS given_in,
        argMinIf(journey_id, at, kind = 'issued') AS given_journey,
        argMinIf(message, at, kind = 'issued') AS given_message,
        countIf(kind = 'order') > 0 AS is_ordered,
        is_ordered OR (countIf(kind = 'applied') > 0 AND maxIf(at, kind = 'applied') >= maxIf(at, kind = 'removed')) AS is_used,
        if(is_ordered, minIf(at, kind = 'order'), minIf(at, kind = 'applied')) AS used_at,
        if(is_ordered, argMinIf(place, at, kind = 'order'), argMinIf(place, at, kind = 'applied')) AS used_in,
        if(is_ordered, argMinIf(person, at, kind = 'order'), argMinIf(person, at, kind = 'applied')) AS user,
        if(is_ordered, argMinIf(if(number != '', number, receipt), at, kind = 'order'), argMinIf(number, at, kind = 'applied')) AS used_order,
        groupUniqArrayIf(receipt, kind = 'order' AND number != '') AS claimed,
        uniqExactIf(number, kind = 'order' AND number != '')
            + length(arrayFilter(one -> NOT has(claimed, one), groupUniqArrayIf(receipt, kind = 'order' AND number = ''))) AS times
    FROM
    (
        SELECT
            upper(trimBoth(c.code)) AS key, 'code' AS kind, c.code AS written, toString(c.pool) AS pool_name, c.channels AS channels,
            c.expires_at AS ends, toDateTime64(0, 3, 'UTC') AS at, toUUID('00000000-0000-0000-0000-000000000000') AS person,
            '' AS place, '' AS journey_id, '' AS message, '' AS number, '' AS receipt
        FROM {{database}}.coupon_codes AS c FINAL
        UNION ALL
        SELECT
            upper(trimBoth(named)), multiIf(t.event = 'Coupon Issued', 'issued', t.event = 'Coupon Applied', 'applied', t.event = 'Coupon Removed', 'removed', 'order'),
            named, JSONExtractString(t.properties, 'pool'), [],
            parseDateTime64BestEffortOrNull(JSONExtractString(t.properties, 'expires_at'), 3, 'UTC'), t.occurred_at, t.profile_id,
            toString(t.channel), JSONExtractString(t.properties, 'journey_id'), JSONExtractString(t.properties, 'message_id'),
            JSONExtractString(t.properties, 'order_id'), JSONExtractString(t.properties, 'receipt_id')
        FROM {{database}}.v_touchpoints AS t
        ARRAY JOIN arrayDistinct(arrayFilter(one -> one != '', if(startsWith(t.event, 'Coupon'),
            [JSONExtractString(t.properties, 'coupon_id'), JSONExtractString(t.properties, 'coupon_name')],
            arrayMap(one -> trimBoth(one), splitByChar(',', JSONExtractString(t.properties, 'coupon')))))) AS named
        WHERE t.event IN ('Coupon Issued', 'Coupon Applied', 'Coupon Removed', 'Order Completed', 'Order Updated', 'Receipt Issued')
    )
    GROUP BY key
    HAVING countIf(kind IN ('code', 'issued')) > 0
) AS g
COMMENT 'Coupons of pools and what became of them, one row for each code.';
