-- The funnel reads the events of people once, whatever it is divided by.

CREATE OR REPLACE VIEW {{database}}.funnel {{on_cluster}}
AS
SELECT
    key,
    place AS step,
    ({steps:Array(String)})[place] AS name,
    countIf(length(times) >= place) AS people,
    if(place < length({steps:Array(String)}), countIf(length(times) = place), 0) AS dropped,
    people / nullIf(countIf(length(times) >= greatest(place - 1, 1)), 0) AS from_previous,
    people / count() AS from_first,
    if(place = 1 OR people = 0, NULL, quantileExactIf(0.5)((times[place] - times[place - 1]) / 3600000, length(times) >= place)) AS median_hours,
    if(place = 1 OR people = 0, NULL, quantileExactIf(0.9)((times[place] - times[place - 1]) / 3600000, length(times) >= place)) AS p90_hours
FROM
(
    SELECT
        p.times AS times,
        arrayJoin(arrayPushFront(multiIf(
            {by:String} = 'channel', [toString(p.channel)],
            {by:String} = 'segment', arrayMap(stay -> stay.1, arrayFilter(stay -> p.entered_at >= stay.2 AND p.entered_at < stay.3, m.stays)),
            {by:String} = 'marketing_channel',
                [if(t.channel != '' AND p.entered_at <= t.touched_at + toIntervalDay(30), toString(t.channel), '(unattributed)')],
            CAST([], 'Array(String)')), '(all)')) AS key
    FROM {{database}}.funnel_people(markets = {markets:Array(String)}, steps = {steps:Array(String)}, window_ms = {window_ms:Int64}, start_ms = {start_ms:Int64}, stop_ms = {stop_ms:Int64}) AS p
    LEFT JOIN
    (
        SELECT profile_id, groupArray((toString(segment), since, until)) AS stays
        FROM {{database}}.v_segment_memberships
        WHERE {by:String} = 'segment'
        GROUP BY profile_id
    ) AS m ON m.profile_id = p.profile_id
    ASOF LEFT JOIN
    (
        SELECT profile_id, touched_at, channel
        FROM {{database}}.touches(start_ms = greatest({start_ms:Int64} - 2592000000, 0), stop_ms = if({by:String} = 'marketing_channel', {stop_ms:Int64}, 0),
            contacts = 'all', only = [], without = [])
    ) AS t ON t.profile_id = p.profile_id AND p.entered_at >= t.touched_at
)
ARRAY JOIN arrayEnumerate({steps:Array(String)}) AS place
GROUP BY key, place
COMMENT 'How many people reach each step, one row for each key and step. Internal: feeds v_funnel and `throughline funnel`.';
