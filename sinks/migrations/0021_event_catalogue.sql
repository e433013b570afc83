-- What events there are, what they hold, and what the tracking plan says of them. The plan is published as one row, so that a
-- view never sees half of one.

CREATE TABLE IF NOT EXISTS {{database}}.tracking_plan {{on_cluster}}
(
    id UInt8 COMMENT 'Always 0: there is one row',
    plan String COMMENT 'The plan as JSON: a list of events by source, with their properties',
    known_events Array(String) COMMENT 'Events that the product knows, which need no plan',
    changed_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When it was published; a later row replaces it'
)
ENGINE = {{replicated}}ReplacingMergeTree(changed_at)
ORDER BY id
COMMENT 'The tracking plan in force, one row; throughline migrate writes it. Read v_tracking_plan.';

CREATE VIEW IF NOT EXISTS {{database}}.v_tracking_plan {{on_cluster}}
(
    event String COMMENT 'The event',
    source String COMMENT 'The source that this is for; empty: every source that has no row of its own',
    owner String COMMENT 'Who answers questions about it',
    meaning String COMMENT 'When it is sent',
    mode String COMMENT 'What happens to an event that breaks the plan: observe, warn or refuse',
    since String COMMENT 'The day from which it is sent; empty: not said',
    properties Array(Tuple(name String, type String, required Bool, meaning String)) COMMENT 'Its properties'
)
AS SELECT
    JSONExtractString(row, 'event') AS event,
    JSONExtractString(row, 'source') AS source,
    JSONExtractString(row, 'owner') AS owner,
    JSONExtractString(row, 'meaning') AS meaning,
    JSONExtractString(row, 'mode') AS mode,
    JSONExtractString(row, 'since') AS since,
    JSONExtract(row, 'properties', 'Array(Tuple(name String, type String, required Bool, meaning String))') AS properties
FROM (SELECT arrayJoin(JSONExtractArrayRaw(plan)) AS row FROM (SELECT argMax(plan, changed_at) AS plan FROM {{database}}.tracking_plan))
COMMENT 'The tracking plan in force, one row for each event and source that differs.';

CREATE VIEW IF NOT EXISTS {{database}}.v_event_volume {{on_cluster}}
(
    day Date COMMENT 'Day in the time zone of reports',
    event LowCardinality(String) COMMENT 'What happened',
    source LowCardinality(String) COMMENT 'Which producer reported it',
    events UInt64 COMMENT 'How many'
)
AS WITH assumeNotNull((SELECT timezone FROM {{database}}.v_attribution_settings)) AS zone
SELECT
    toDate(toTimeZone(occurred_at, zone)) AS day,
    event,
    source,
    count() AS events
FROM (SELECT event, source, occurred_at FROM {{database}}.touchpoints FINAL)
GROUP BY day, event, source
COMMENT 'Events, one row for each day, event and producer.';

CREATE VIEW IF NOT EXISTS {{database}}.v_event_catalogue {{on_cluster}}
(
    event String COMMENT 'What happened',
    source String COMMENT 'Which producer reported it; empty with no events: planned, for any',
    status String COMMENT 'planned; known to the product, so that it needs no plan; or never planned',
    first_seen Nullable(DateTime64(3, 'UTC')) COMMENT 'The earliest time at which it happened; NULL: never',
    last_seen Nullable(DateTime64(3, 'UTC')) COMMENT 'The latest; NULL: never',
    events UInt64 COMMENT 'How many in all',
    events_last_day UInt64 COMMENT 'How many were received in the last 24 hours',
    events_last_week UInt64 COMMENT 'How many were received in the last 7 days',
    against_plan UInt64 COMMENT 'How many have a note of a broken rule of the plan',
    mode String COMMENT 'What happens to one that breaks the plan; empty: not planned',
    owner String COMMENT 'Who answers questions about it',
    meaning String COMMENT 'When it is sent'
)
AS WITH
    (SELECT groupUniqArray(event) FROM {{database}}.v_tracking_plan) AS planned,
    (SELECT argMax(known_events, changed_at) FROM {{database}}.tracking_plan) AS known,
    (SELECT groupArray((event, source)) FROM {{database}}.v_tracking_plan) AS places
SELECT
    seen.event AS event,
    seen.source AS source,
    multiIf(has(planned, seen.event), 'planned', has(known, seen.event), 'known', 'never planned') AS status,
    if(seen.events = 0, NULL, seen.first_at) AS first_seen,
    if(seen.events = 0, NULL, seen.last_at) AS last_seen,
    seen.events AS events,
    seen.last_day AS events_last_day,
    seen.last_week AS events_last_week,
    seen.noted AS against_plan,
    p.mode AS mode,
    p.owner AS owner,
    p.meaning AS meaning
FROM
(
    SELECT event, source, first_at, last_at, events, last_day, last_week, noted, if(has(places, (event, source)), source, '') AS plan_source
    FROM
    (
        SELECT
            toString(event) AS event,
            toString(source) AS source,
            min(occurred_at) AS first_at,
            max(occurred_at) AS last_at,
            count() AS events,
            countIf(received_at > now() - INTERVAL 1 DAY) AS last_day,
            countIf(received_at > now() - INTERVAL 7 DAY) AS last_week,
            countIf(JSONHas(context, 'against_plan')) AS noted
        FROM (SELECT event, source, occurred_at, received_at, context FROM {{database}}.touchpoints FINAL)
        GROUP BY event, source
        UNION ALL
        SELECT event, source, toDateTime64(0, 3, 'UTC'), toDateTime64(0, 3, 'UTC'), 0, 0, 0, 0
        FROM {{database}}.v_tracking_plan
        WHERE event NOT IN (SELECT DISTINCT toString(event) FROM {{database}}.touchpoints)
    )
) AS seen
LEFT JOIN {{database}}.v_tracking_plan AS p ON p.event = seen.event AND p.source = seen.plan_source
COMMENT 'Every event that was seen or planned, one row for each producer of it.';

CREATE VIEW IF NOT EXISTS {{database}}.v_event_properties {{on_cluster}}
(
    event String COMMENT 'What happened',
    source String COMMENT 'Which producer reported it',
    property String COMMENT 'The property, without those inside of objects and lists',
    status String COMMENT 'required or optional by the tracking plan; never planned; or not planned, as the event',
    planned_type String COMMENT 'Its type by the plan; empty: not planned',
    types Array(String) COMMENT 'The types of its values, the most frequent first: text, number, boolean, list, object',
    events UInt64 COMMENT 'Events with the property',
    fill_rate Float64 COMMENT 'Share of the events of this name and producer that have it'
)
AS WITH
    (SELECT groupArray((event, source)) FROM {{database}}.v_tracking_plan) AS places,
    totals AS
    (
        SELECT
            toString(event) AS event,
            toString(source) AS source,
            count() AS total,
            if(has(places, (event, source)), source, '') AS plan_source
        FROM (SELECT event, source FROM {{database}}.touchpoints FINAL)
        GROUP BY event, source
    ),
    indexOf(p.properties.1, f.property) AS planned_at
SELECT
    f.event AS event,
    f.source AS source,
    f.property AS property,
    multiIf(p.event = '', 'not planned', planned_at = 0, 'never planned', p.properties.3[planned_at], 'required', 'optional') AS status,
    if(planned_at = 0, '', p.properties.2[planned_at]) AS planned_type,
    arrayMap(one -> one.2, arraySort(one -> (-toInt64(one.1), one.2), f.kinds)) AS types,
    f.events AS events,
    f.events / t.total AS fill_rate
FROM
(
    SELECT event, source, property, sum(n) AS events, groupArrayIf((n, kind), n > 0) AS kinds
    FROM
    (
        SELECT
            toString(event) AS event,
            toString(source) AS source,
            pair.1 AS property,
            transform(substring(pair.2, 1, 1), ['"', '{', '[', 't', 'f'], ['text', 'object', 'list', 'boolean', 'boolean'], 'number') AS kind,
            count() AS n
        FROM (SELECT event, source, arrayJoin(JSONExtractKeysAndValuesRaw(properties)) AS pair FROM {{database}}.touchpoints FINAL)
        GROUP BY event, source, property, kind
        UNION ALL
        SELECT t.event, t.source, arrayJoin(p.properties.1), '', toUInt64(0)
        FROM totals AS t
        INNER JOIN {{database}}.v_tracking_plan AS p ON p.event = t.event AND p.source = t.plan_source
    )
    GROUP BY event, source, property
) AS f
INNER JOIN totals AS t ON t.event = f.event AND t.source = f.source
LEFT JOIN {{database}}.v_tracking_plan AS p ON p.event = t.event AND p.source = t.plan_source
COMMENT 'Fill rate of properties, one row for each event, producer and property, those that are planned and never came included. It holds no value.';

CREATE VIEW IF NOT EXISTS {{database}}.v_plan_violations {{on_cluster}}
(
    day Date COMMENT 'Day in the time zone of reports',
    event LowCardinality(String) COMMENT 'What happened',
    source LowCardinality(String) COMMENT 'Which producer reported it',
    field String COMMENT 'The field at fault, as properties.tier',
    rule String COMMENT 'The rule of the plan: required, type, values, pattern, min, max, closed, only_sources or unplanned',
    events UInt64 COMMENT 'Events that break it',
    example_event_id String COMMENT 'The first of them'
)
AS WITH assumeNotNull((SELECT timezone FROM {{database}}.v_attribution_settings)) AS zone
SELECT
    toDate(toTimeZone(occurred_at, zone)) AS day,
    event,
    source,
    note.1 AS field,
    note.2 AS rule,
    uniqExact(event_id) AS events,
    argMin(event_id, (occurred_at, event_id)) AS example_event_id
FROM
(
    SELECT
        event_id, event, source, occurred_at,
        arrayJoin(JSONExtract(context, 'against_plan', 'Array(Tuple(field String, rule String))')) AS note
    FROM {{database}}.touchpoints FINAL
    WHERE position(context, '"against_plan"') > 0
)
GROUP BY day, event, source, field, rule
COMMENT 'Events that were kept although they break the tracking plan (mode warn), one row for each day, event, producer, field and rule.';
