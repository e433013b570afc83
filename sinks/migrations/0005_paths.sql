-- Paths to a conversion, and paths that led to none.

-- A path is the keys (by `dimension`: channel, campaign, creative or product) of a journey's touches. Journeys are the
-- conversions of `goal` (empty: the one of the settings; all: of any) with start_ms <= converted_at < stop_ms, and null
-- journeys: people without any such conversion ever whose last touch is in the period, with what they saw within the
-- lookback before it.
-- This reads the touches of everybody, once. So what it keeps of a touch is one number: its time (48 bits), the first 22
-- bytes of its event id and the number of its key (32 bits). Touches of one millisecond are in the order of their event
-- ids; ids that begin with the same 22 bytes, in that of their keys.
CREATE VIEW IF NOT EXISTS {{database}}.attribution_paths {{on_cluster}}
AS
WITH
    (SELECT arraySort(groupUniqArray(toString(multiIf({dimension:String} = 'channel', marketing_channel, {dimension:String} = 'campaign', campaign, {dimension:String} = 'creative', creative, product_id)))) FROM {{database}}.touchpoints) AS names
SELECT
    arrayMap(code -> names[code], codes) AS path,
    conversions,
    revenue,
    squares,
    null_journeys
FROM
(
    SELECT
        codes,
        countIf(converted) AS conversions,
        sum(worth) AS revenue,
        sum(toFloat64(worth) * toFloat64(worth)) AS squares,
        countIf(NOT converted) AS null_journeys
    FROM
    (
        WITH
            c.conversion_id != '' AS is_conversion,
            if(is_conversion, toUnixTimestamp64Milli(c.opens_at), greatest(newest_ms - {lookback_ms:Int64}, 0)) AS opens_ms,
            if(is_conversion, toUnixTimestamp64Milli(c.converted_at), newest_ms) AS closes_ms,
            bitShiftLeft(toUInt256(opens_ms), 208) AS opens,
            bitShiftLeft(toUInt256(closes_ms + 1), 208) AS closes,
            arrayFilter(touch -> touch.2 = c.conversion_id, own).1 AS not_its_touches,
            arraySort(arrayFilter(place -> place >= opens AND place < closes AND NOT has(not_its_touches, place), places)) AS ordered,
            arrayMap(place -> toUInt32(place), ordered) AS every
        SELECT
            if({repeats:String} = 'collapse', arrayCompact(every), every) AS codes,
            is_conversion AS converted,
            c.revenue AS worth
        FROM
        (
            WITH
                bitShiftLeft(toUInt256(toUnixTimestamp64Milli(touched_at)), 208)
                    + bitShiftLeft(reinterpretAsUInt256(reverse(toFixedString(substring(event_id, 1, 22), 22))), 32)
                    + transform(multiIf({dimension:String} = 'channel', channel, {dimension:String} = 'campaign', campaign, {dimension:String} = 'creative', creative, product_id), names, arrayEnumerate(names), 0) AS place
            SELECT
                profile_id,
                groupArray(place) AS places,
                groupArrayIf((place, conversion_id), conversion_id != '') AS own,
                toUnixTimestamp64Milli(max(touched_at)) AS newest_ms
            FROM {{database}}.touches(
                start_ms = greatest({start_ms:Int64} - {lookback_ms:Int64}, 0), stop_ms = {stop_ms:Int64} - 1,
                contacts = {contacts:String}, only = {only:Array(String)}, without = {without:Array(String)})
            GROUP BY profile_id
        ) AS t
        FULL JOIN
        (
            SELECT *
            FROM {{database}}.attribution_conversions(
                start_ms = {start_ms:Int64}, stop_ms = {stop_ms:Int64}, lookback_ms = {lookback_ms:Int64},
                goal = if({goal:String} = 'all', '', {goal:String}), scope = {scope:String}, milestone = '')
            WHERE {goal:String} = 'all' OR conversion_type = if({goal:String} = '', (SELECT goal FROM {{database}}.v_attribution_settings), {goal:String})
        ) AS c ON c.profile_id = t.profile_id
        WHERE c.conversion_id != '' OR (newest_ms >= {start_ms:Int64} AND t.profile_id NOT IN
        (
            SELECT profile_id
            FROM {{database}}.v_conversions
            WHERE {goal:String} = 'all' OR conversion_type = if({goal:String} = '', (SELECT goal FROM {{database}}.v_attribution_settings), {goal:String})
        ))
    )
    GROUP BY codes
)
COMMENT 'Ways to a conversion and to none, one row for each distinct path of keys. Internal: feeds v_paths and the models that learn from all journeys.';

CREATE VIEW IF NOT EXISTS {{database}}.v_paths {{on_cluster}}
(
    path Array(String) COMMENT 'Marketing channels of the touches in order; empty: a conversion without a touch',
    conversions UInt64 COMMENT 'Conversions of the settings'' goal with exactly this path',
    revenue Decimal(38, 4) COMMENT 'Their revenue',
    null_journeys UInt64 COMMENT 'People with this path who never converted'
)
AS SELECT path, conversions, revenue, null_journeys
FROM {{database}}.attribution_paths(
    start_ms = 0, stop_ms = 4133980800000, lookback_ms = 2592000000, goal = '', scope = 'all', repeats = 'keep',
    dimension = 'channel', contacts = 'all', only = [], without = [])
COMMENT 'Ways to a conversion, one row for each distinct path: lookback 30 days.';
