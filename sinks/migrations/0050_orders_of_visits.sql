-- An order belongs to the visit that reported it, also where a server has reported it before: the webhook of a shop system names no
-- browser, and the page of thanks does.

CREATE OR REPLACE VIEW {{database}}.v_sessions {{on_cluster}}
(
    source LowCardinality(String) COMMENT 'Which producer reported its first event',
    session_id String COMMENT 'The producer''s id of the visit; where it gives none, an id made of device and start',
    profile_id UUID COMMENT 'The person as known now; nil: nobody',
    channel LowCardinality(String) COMMENT 'Where it was, such as web',
    marketing_channel LowCardinality(String) COMMENT 'What brought it: of its first touch; Unassigned: it has none, such as one that begins with a return',
    campaign LowCardinality(String) COMMENT 'Campaign of that touch',
    started_at DateTime64(3, 'UTC') COMMENT 'Its first event',
    day Date COMMENT 'That day in the time zone of reports',
    seconds Float64 COMMENT 'From its first event to its last',
    events UInt64 COMMENT 'How many events it has',
    pages UInt64 COMMENT 'Pages and screens seen',
    conversions UInt64 COMMENT 'Conversions of the settings'' goal in it; an order is in the visit that reported it first',
    revenue Float64 COMMENT 'Their revenue in the currency of reports',
    engaged UInt8 COMMENT '1: longer than 10 s, or two pages, or a conversion, as in Google Analytics 4; the others bounced',
    device_hash UInt64 COMMENT 'Hash of the browser or device; 0: not known',
    touches UInt64 COMMENT 'Touches of attribution in it: what brought it, and further campaigns and click ids',
    continuations UInt64 COMMENT 'How often it went on after paying or signing in elsewhere',
    landing_page String COMMENT 'Address of its first page, without parameters; empty: not known'
)
AS
WITH
    assumeNotNull((SELECT timezone FROM {{database}}.v_attribution_settings)) AS zone,
    (SELECT goal FROM {{database}}.v_attribution_settings) AS goal
SELECT
    argMin(t.source, (t.occurred_at, t.event_id)) AS source,
    if(countIf(t.session_id != '') > 0, argMinIf(t.session_id, (t.occurred_at, t.event_id), t.session_id != ''),
        lower(hex(cityHash64(v.visitor, min(t.occurred_at))))) AS session_id,
    v.person AS profile_id,
    argMin(t.channel, t.occurred_at) AS channel,
    if(touches = 0, 'Unassigned', argMinIf(t.marketing_channel, (t.occurred_at, t.event_id), v.is_touch)) AS marketing_channel,
    argMinIf(t.campaign, (t.occurred_at, t.event_id), v.is_touch) AS campaign,
    min(t.occurred_at) AS started_at,
    toDate(toTimeZone(started_at, zone)) AS day,
    dateDiff('millisecond', started_at, max(t.occurred_at)) / 1000 AS seconds,
    count() AS events,
    countIf(t.event IN ('Page Viewed', 'Screen Viewed')) AS pages,
    sum(c.conversions) AS conversions,
    sum(c.revenue) AS revenue,
    seconds > 10 OR pages > 1 OR conversions > 0 AS engaged,
    max(t.device_hash) AS device_hash,
    countIf(v.is_touch) AS touches,
    countIf(v.continues) AS continuations,
    argMinIf(cutQueryStringAndFragment(t.url), (t.occurred_at, t.event_id), t.url != '') AS landing_page
FROM
(
    SELECT *, cityHash64(source, event_id) AS event_hash, JSONExtractString(context, 'page', 'url') AS url FROM {{database}}.v_touchpoints
) AS t
INNER JOIN
(
    SELECT person, visitor, one.1 AS event_hash, one.2 AS visit, one.3 AS is_touch, one.4 AS continues
    FROM
    (
        SELECT
            person, visitor,
            arrayJoin(arrayZip(event_hash, visit, is_touch,
                arrayMap((now, before, s, s_before) -> now AND NOT (before AND s = s_before),
                    goes_on, arrayPopBack(arrayPushFront(goes_on, 0)), session, arrayPopBack(arrayPushFront(session, 0))))) AS one
        FROM {{database}}.device_visits(start_ms = 86400000, stop_ms = 4133980800000)
    )
) AS v ON v.event_hash = t.event_hash
LEFT JOIN
(
    WITH reports AS
    (
        SELECT conversion_id, cityHash64(source, event_id) AS event_hash, occurred_at AS at FROM {{database}}.order_events FINAL WHERE kind IN ('order', 'receipt')
        UNION ALL
        SELECT conversion_id, cityHash64(source, event_id), converted_at FROM {{database}}.conversions FINAL WHERE conversion_type = goal
    )
    SELECT r.event_hash AS event_hash, count() AS conversions, sum(toFloat64(ifNull(a.revenue, 0))) AS revenue
    FROM
    (
        SELECT conversion_id, argMin(reports.event_hash, (at, reports.event_hash)) AS event_hash
        FROM reports
        WHERE reports.event_hash IN
        (
            SELECT event_hash FROM {{database}}.touchpoints FINAL
            WHERE bitAnd(visit_role, 7) != 0 AND event_hash IN (SELECT event_hash FROM reports)
        )
        GROUP BY conversion_id
    ) AS r
    INNER JOIN (SELECT conversion_id, revenue FROM {{database}}.conversion_amounts WHERE conversion_type = goal) AS a ON a.conversion_id = r.conversion_id
    GROUP BY event_hash
) AS c ON c.event_hash = v.event_hash
GROUP BY v.person, v.visitor, v.visit
COMMENT 'Visits of the site and the app, one row for each.';
