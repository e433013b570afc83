-- Clicks of one message that come by the thousand, such as those of people without an id under a sender's campaign number, are compared in
-- one pass over their times, not each with each: 20,000 needed 10 GB of memory and ended every report.

-- The clicks and unsubscriptions between two times, milliseconds since 1970, both included, that a mail filter may have made: several
-- links of one message within 2 s, or a click within 10 s of its delivery (of its sending, where no delivery was reported). Arrays of a
-- message and receiver are parallel, in order of time; only clicks that name their link show a scan:
--   link_until, click_until   the last click up to an act, and its time; link_since, click_since: the first from it on
--   other_until               time of the last click before that one with another link; other_since: of the first after it
CREATE OR REPLACE VIEW {{database}}.suspected_acts {{on_cluster}}
AS
WITH
    toInt64(-4611686018427387904) AS never,
    acts.2 AS ms,
    arrayMap((click, link) -> if(click, link, 0), acts.3, acts.4) AS links,
    arrayFill(link -> link != 0, links) AS link_until,
    arrayFill(at -> at != never, arrayMap((at, link) -> if(link = 0, never, at), ms, links)) AS click_until,
    arrayMap((link, last) -> link != 0 AND link != last, links, arrayPopBack(arrayPushFront(link_until, 0))) AS is_other_than_before,
    arrayFill((at, turn) -> turn, arrayPopBack(arrayPushFront(click_until, never)), is_other_than_before) AS other_until,
    arrayReverseFill(link -> link != 0, links) AS link_since,
    arrayReverseFill(at -> at != never, arrayMap((at, link) -> if(link = 0, never, at), ms, links)) AS click_since,
    arrayMap((link, next) -> link != 0 AND link != next, links, arrayPopFront(arrayPushBack(link_since, 0))) AS is_other_than_after,
    arrayReverseFill((at, turn) -> turn, arrayPopFront(arrayPushBack(click_since, never)), is_other_than_after) AS other_since
SELECT
    s.act.1 AS event_hash,
    if(o.version > s.act.7, o.profile_id, s.act.6) AS profile_id,
    s.act.2 AS at,
    s.is_scan AS is_scan,
    s.act.3 AS is_click
FROM
(
    SELECT c.anchor AS anchor, act, is_scan
    FROM
    (
        SELECT
            message, anchor,
            arraySort(act -> act.2, groupArray((event_hash, toUnixTimestamp64Milli(occurred_at), is_click, link, is_get, profile_id, identity_version))) AS acts,
            if(length(acts) = 1, [0], arrayMap((act, l_until, t_until, o_until, l_since, t_since, o_since) -> (NOT act.3 OR act.4 != 0) AND
                ((o_until != never AND act.2 - o_until <= 2000) OR (o_since != never AND o_since - act.2 <= 2000)
                    OR (l_until != l_since AND t_until != never AND act.2 - t_until <= 2000 AND t_since != never AND t_since - act.2 <= 2000)),
                acts, link_until, click_until, other_until, link_since, click_since, other_since)) AS scans
        FROM {{database}}.message_clicks FINAL
        WHERE occurred_at BETWEEN fromUnixTimestamp64Milli({start_ms:Int64} - 2000, 'UTC') AND fromUnixTimestamp64Milli({stop_ms:Int64} + 2000, 'UTC')
        GROUP BY message, anchor
    ) AS c
    LEFT JOIN
    (
        SELECT message, anchor, if(min(delivered_ms) < 9223372036854775807, min(delivered_ms), min(sent_ms)) AS reached_ms
        FROM {{database}}.message_arrivals
        WHERE message IN
        (
            SELECT message FROM {{database}}.message_clicks
            WHERE occurred_at BETWEEN fromUnixTimestamp64Milli({start_ms:Int64}, 'UTC') AND fromUnixTimestamp64Milli({stop_ms:Int64}, 'UTC')
        )
        GROUP BY message, anchor
    ) AS a ON a.message = c.message AND a.anchor = c.anchor
    ARRAY JOIN c.acts AS act, c.scans AS is_scan
    WHERE act.2 BETWEEN {start_ms:Int64} AND {stop_ms:Int64}
        AND (is_scan OR (a.reached_ms > 0 AND act.2 < a.reached_ms + 10000 AND (act.3 OR act.5)))
) AS s
LEFT JOIN (SELECT * FROM {{database}}.identity_overrides FINAL) AS o ON o.anchor = s.anchor
COMMENT 'Clicks and unsubscriptions that a mail filter may have made, one row for each. Internal: feeds bot_events_between.';
