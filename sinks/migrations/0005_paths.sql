-- Paths to a conversion, and paths that led to none.

-- People without any conversion of `goal` (empty: the one of the settings), whose last touch t has
-- start_ms <= t < stop_ms. The path is the channel of every touch within the lookback before it. A lambda never captures
-- an array here: the server would copy it for each element.
CREATE VIEW IF NOT EXISTS {{database}}.attribution_null_journeys {{on_cluster}}
AS
WITH arrayFilter(touch -> touch.touched_at >= last_at - toIntervalMillisecond({lookback_ms:Int64}), whole).channel AS channels
SELECT
    profile_id,
    if({repeats:String} = 'collapse', arrayCompact(channels), channels) AS path
FROM
(
    WITH
        -- Only what a path of channels needs: this reads the touches of everybody.
        arraySort(touch -> (touch.event_id, touch.received_at), groupArray(
            CAST((touched_at, event_id, received_at, channel),
                'Tuple(touched_at DateTime64(3, \'UTC\'), event_id String, received_at DateTime64(3, \'UTC\'), channel String)'))) AS deliveries,
        arrayFilter((touch, previous) -> touch.event_id != previous,
            deliveries, arrayPopBack(arrayPushFront(deliveries.event_id, ''))) AS once
    SELECT
        profile_id,
        arraySort(touch -> (touch.touched_at, touch.event_id), once) AS whole,
        whole[-1].touched_at AS last_at
    FROM {{database}}.touches(
        start_ms = greatest({start_ms:Int64} - {lookback_ms:Int64}, 0), stop_ms = {stop_ms:Int64} - 1)
    WHERE profile_id NOT IN
    (
        SELECT profile_id
        FROM {{database}}.v_conversions
        WHERE conversion_type = if({goal:String} = '', (SELECT goal FROM {{database}}.v_attribution_settings), {goal:String})
    )
    GROUP BY profile_id
)
WHERE last_at >= fromUnixTimestamp64Milli({start_ms:Int64}, 'UTC')
COMMENT 'Journeys without a conversion, one row for each person. Internal: feeds v_paths.';

CREATE VIEW IF NOT EXISTS {{database}}.v_paths {{on_cluster}}
(
    path Array(String) COMMENT 'Marketing channels of the touches in order; empty: a conversion without a touch',
    conversions UInt64 COMMENT 'Conversions of the settings'' goal with exactly this path',
    revenue Decimal(38, 4) COMMENT 'Their revenue',
    null_journeys UInt64 COMMENT 'People with this path who never converted'
)
AS SELECT
    path,
    countIf(converted) AS conversions,
    sum(worth) AS revenue,
    countIf(NOT converted) AS null_journeys
FROM
(
    SELECT path.channel AS path, true AS converted, revenue AS worth
    FROM {{database}}.attribution_journeys(
        start_ms = 0, stop_ms = 4133980800000, lookback_ms = 2592000000, goal = '', scope = 'all', repeats = 'keep')
    WHERE conversion_type = (SELECT goal FROM {{database}}.v_attribution_settings)
    UNION ALL
    SELECT path, false AS converted, toDecimal64(0, 4) AS worth
    FROM {{database}}.attribution_null_journeys(
        start_ms = 0, stop_ms = 4133980800000, lookback_ms = 2592000000, goal = '', repeats = 'keep')
)
GROUP BY path
COMMENT 'Ways to a conversion, one row for each distinct path: lookback 30 days.';
