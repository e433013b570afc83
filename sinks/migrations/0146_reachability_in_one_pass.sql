-- Reachability reads every event once. A person without an address for a channel, which is most people on most channels,
-- is one period and no row of a window; what is known of the others is sorted in arrays, one for each person and channel.

CREATE OR REPLACE VIEW {{database}}.contact_periods {{on_cluster}}
(
    profile_id UUID COMMENT 'The person as known now',
    known_at DateTime64(3, 'UTC') COMMENT 'The person''s first event, a bot''s too',
    channels Array(String) COMMENT 'Channels of messages that the periods are of',
    periods Array(Tuple(since Date, until Date, state String)) COMMENT 'Runs of days from since to the day before until: reachable, opted_out, no_address, bounced, not_asked or stale'
)
AS
WITH
    assumeNotNull((SELECT timezone FROM {{database}}.v_attribution_settings)) AS zone,
    (SELECT arraySort(groupArray((channel, arrayPushFront(further_address_types, address_type), stale_after_days, needs_consent))) FROM {{database}}.message_channels) AS every,
    -- In the order of time. A transient bounce counts from the seventh in a row on.
    arraySort(facts) AS known,
    arrayMap(fact -> bitAnd(fact, 15), known) AS known_kinds,
    arrayCumSum(kind -> kind = 2, known_kinds) AS transient,
    arrayPopFront(arrayFill((n, kind) -> kind = 0, arrayPushFront(transient, 0), arrayPushFront(known_kinds, 0))) AS transient_before,
    arrayFilter((fact, kind, n, before) -> kind != 2 OR n - before >= 7, known, known_kinds, transient, transient_before) AS counted,
    arrayMap(fact -> if(bitAnd(fact, 15) = 2, 1, bitAnd(fact, 15)), counted) AS kinds,
    arrayMap(fact -> toDate(toTimeZone(fromUnixTimestamp64Milli(intDiv(fact, 4096), 'UTC'), zone)), counted) AS days,
    arrayPopFront(arrayPushBack(days, toDate('2100-01-01'))) AS next_days,
    arrayPopFront(arrayPushBack(arrayReverseFill(day -> day != 0, arrayMap((day, kind) -> if(kind < 2, toUInt16(day), 0), days, kinds)), toUInt16(0))) AS next_deliveries,
    -- An address, and the last delivery of a day if it did not bounce.
    arrayPopFront(arrayFill(day -> day != 0, arrayPushFront(arrayMap((day, kind, next) -> if(kind = 3 OR (kind = 0 AND next != toUInt16(day)), toUInt16(day), 0), days, kinds, next_deliveries), 0))) AS signs,
    arrayPopFront(arrayFill(kind -> kind < 2, arrayPushFront(kinds, 0))) AS deliveries,
    arrayPopFront(arrayFill(kind -> kind IN (4, 5), arrayPushFront(kinds, 0))) AS answers,
    arrayPopFront(arrayFill(kind -> kind IN (7, 8), arrayPushFront(kinds, 0))) AS purposes,
    arrayMap(
        (addresses, any_answer, delivery, answer, purpose) -> multiIf(
            addresses = 0, 'no_address',
            answer = 5 OR purpose = 8, 'opted_out',
            delivery = 1, 'bounced',
            any_answer = 0 AND purpose = 0 AND every[place].4, 'not_asked',
            'reachable'),
        arrayCumSum(kind -> kind = 3, kinds), arrayCumSum(kind -> kind IN (4, 5, 6), kinds), deliveries, answers, purposes) AS states,
    arrayFlatten(arrayMap(
        (day, next, state, stale) -> arrayFilter(period -> period.1 < period.2, if(state != 'reachable' OR stale >= next, [(day, next, state)], [(day, greatest(day, stale), state), (greatest(day, stale), next, 'stale')])),
        days, next_days, states, arrayMap(sign -> toDate(sign) + every[place].3 + 1, signs))) AS by_facts
SELECT
    profile_id,
    known_at,
    arrayMap(one -> every[one].1, places) AS channels,
    CAST(multiIf(
        place = 0 OR empty(counted), if(lives, [(first_day, toDate('2100-01-01'), 'no_address')], []),
        lives AND first_day < days[1], arrayPushFront(by_facts, (first_day, days[1], 'no_address')),
        by_facts), 'Array(Tuple(since Date, until Date, state String))') AS periods
FROM
(
    WITH
        -- Who has facts that are older than the first event of a person has them counted on every channel that they are about.
        (notEmpty(all_facts) AND (NOT lives OR intDiv(arrayMin(all_facts), 4096) < toUnixTimestamp64Milli(alive_at))) AS is_early,
        arrayDistinct(arrayMap(fact -> bitAnd(bitShiftRight(fact, 4), 255), if(is_early, all_facts, arrayFilter(fact -> bitAnd(fact, 15) = 3, all_facts)))) AS about,
        if(has(about, 255), arrayEnumerate(every), about) AS own_places
    SELECT
        profile_id,
        known_at,
        lives,
        toDate(toTimeZone(alive_at, zone)) AS first_day,
        entry.1 AS places,
        if(length(entry.2) = 0, 0, entry.2[1]) AS place,
        if(place = 0, [], arrayFilter(fact -> bitAnd(bitShiftRight(fact, 4), 255) IN (place, 255), all_facts)) AS facts
    FROM
    (
        SELECT
            if(o.version > g.identity_version, o.profile_id, g.profile_id) AS profile_id,
            min(g.at) AS known_at,
            max(g.alive) AS lives,
            minIf(g.at, g.alive) AS alive_at,
            arrayConcat(groupArrayIf(g.arrival, g.arrival != 0), groupArrayArray(g.facts)) AS all_facts
        FROM
        (
            -- A fact is a time in ms, the place of a channel in eight bits, 255 for all of them, and a kind in four: 0 delivery,
            -- 1 bounce, 2 transient bounce, 3 address, 4 yes and 5 no to the channel, 6 yes in passing, 7 yes and 8 no to marketing.
            WITH
                (SELECT groupUniqArray((event, kind, step, channel)) FROM {{database}}.message_steps WHERE step IN ('delivered', 'opened', 'clicked', 'replied', 'unsubscribed', 'complained')) AS steps,
                arrayMap(s -> toUInt16(indexOf(every.1, if(s.2 = 'push', 'app_push', s.2)) * 16 + if(s.3 IN ('unsubscribed', 'complained'), 5, 0)
                    + 4096 * (s.3 IN ('opened', 'clicked', 'unsubscribed')) + 8192 * (s.2 = 'push')), steps) AS meanings,
                transform(event, arrayPushFront(steps.1, ''), arrayPushFront(meanings, toUInt16(0)), toUInt16(0)) AS meaning,
                transform(event, arrayPushFront(steps.1, ''), arrayPushFront(steps.4, ''), '') AS only_on,
                toUnixTimestamp64Milli(occurred_at) * 4096 AS begins,
                event IN ('Consent Updated', 'Identify', 'Signed Up', 'Account Created') AS stated_here
            SELECT
                anchor,
                profile_id,
                identity_version,
                occurred_at AS at,
                NOT is_bot AND event_hash NOT IN (SELECT event_hash FROM {{database}}.bot_events) AS alive,
                if(meaning = 0 OR only_on NOT IN ('', channel) OR (bitAnd(meaning, 4096) != 0 AND NOT alive), 0,
                    begins + if(bitAnd(meaning, 8192) != 0 AND channel = 'web_push', indexOf(every.1, 'web_push') * 16 + bitAnd(meaning, 15), bitAnd(meaning, 4095))) AS arrival,
                if(NOT is_bot AND (notEmpty(address_types) OR consent != ''), arrayConcat(
                    arrayMap(c -> begins + indexOf(every.1, c.1) * 16 + 3, arrayFilter(
                        c -> hasAny(address_types, c.2) AND (NOT has(c.2, 'push_token') OR (c.1 = 'web_push') = (channel IN ('web', 'web_push'))), every)),
                    arrayMap(a -> begins + indexOf(every.1, a.1) * 16 + multiIf(a.2 = 'false', 5, stated_here, 4, 6), arrayFilter(a -> has(every.1, a.1), JSONExtractKeysAndValuesRaw(consent, 'channels'))),
                    if(JSONHas(consent, 'marketing'), [begins + 4080 + if(JSONExtractBool(consent, 'marketing'), 7, 8)], [])), []) AS facts
            FROM {{database}}.touchpoints FINAL
            UNION ALL
            SELECT toUUID('00000000-0000-0000-0000-000000000000'), profile_id, 0, occurred_at, 0, 0, [toUnixTimestamp64Milli(occurred_at) * 4096 + indexOf(every.1, channel) * 16 + if(bounce_class > 2, 5, bounce_class)]
            FROM {{database}}.message_events
            WHERE bounce_class IN (1, 2, 5, 6)
                AND event_id IN (SELECT event_id FROM {{database}}.touchpoints WHERE event IN (SELECT event FROM {{database}}.message_steps WHERE step IN ('bounced', 'failed')))
            SETTINGS optimize_move_to_prewhere_if_final = 1
        ) AS g
        LEFT JOIN (SELECT * FROM {{database}}.identity_overrides FINAL) AS o ON o.anchor = g.anchor
        WHERE profile_id != toUUID('00000000-0000-0000-0000-000000000000')
        GROUP BY profile_id
    )
    ARRAY JOIN arrayPushFront(arrayMap(one -> ([one], [one]), own_places), (arrayFilter(one -> NOT has(own_places, one), arrayEnumerate(every)), [])) AS entry
)
COMMENT 'Whether each person can be reached, one row for each person and channel with an address, and one for all other channels of the person. Internal: feeds contact_states and channel_reachability.';

CREATE OR REPLACE VIEW {{database}}.contact_states {{on_cluster}}
(
    profile_id UUID COMMENT 'The person as known now',
    channel String COMMENT 'Channel of messages',
    since Date COMMENT 'First day of the state',
    until Date COMMENT 'The day after the last',
    state String COMMENT 'reachable, opted_out, no_address, bounced, not_asked or stale'
)
AS SELECT profile_id, arrayJoin(channels) AS channel, period.since AS since, period.until AS until, period.state AS state
FROM {{database}}.contact_periods
ARRAY JOIN periods AS period
COMMENT 'Whether each person can be reached, one row for each channel and run of days from since to the day before until.';

DROP VIEW IF EXISTS {{database}}.contact_facts {{on_cluster}};

CREATE OR REPLACE VIEW {{database}}.channel_reachability {{on_cluster}}
AS
WITH
    assumeNotNull((SELECT timezone FROM {{database}}.v_attribution_settings)) AS zone,
    assumeNotNull((SELECT toDate(toTimeZone(max(occurred_at), zone)) FROM {{database}}.touchpoints)) AS newest
SELECT
    segment,
    channel,
    first + n AS day,
    people,
    reachable,
    opted_out,
    no_address,
    bounced,
    not_asked,
    stale,
    if(people = 0, 0, reachable / people) AS reachable_share
FROM
(
    SELECT
        segment,
        channel,
        day AS first,
        toUInt64(sum(sums[1]) OVER so_far) AS people,
        toUInt64(sum(sums[2]) OVER so_far) AS reachable,
        toUInt64(sum(sums[3]) OVER so_far) AS opted_out,
        toUInt64(sum(sums[4]) OVER so_far) AS no_address,
        toUInt64(sum(sums[5]) OVER so_far) AS bounced,
        toUInt64(sum(sums[6]) OVER so_far) AS not_asked,
        toUInt64(sum(sums[7]) OVER so_far) AS stale,
        leadInFrame(day, 1, newest + 1) OVER (PARTITION BY segment, channel ORDER BY day ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS next
    FROM
    (
        SELECT segment, channel, day, sumForEach(g.sums) AS sums
        FROM
        (
            SELECT
                change.1 AS segment,
                change.2 AS channels,
                change.3 AS day,
                [sum(change.4), sumIf(change.4, change.5 = 'reachable'), sumIf(change.4, change.5 = 'opted_out'), sumIf(change.4, change.5 = 'no_address'),
                    sumIf(change.4, change.5 = 'bounced'), sumIf(change.4, change.5 = 'not_asked'), sumIf(change.4, change.5 = 'stale')] AS sums
            FROM
            (
                WITH
                    empty({markets:Array(String)}) OR s.profile_id IN (SELECT profile_id FROM {{database}}.v_person_markets WHERE notEmpty({markets:Array(String)}) AND has({markets:Array(String)}, toString(market))) AS is_wanted
                SELECT
                    arrayPushFront(
                        if(is_wanted, arrayFlatten(arrayMap(stay -> arrayFlatten(arrayMap(period -> if(greatest(period.since, stay.2) < least(period.until, stay.3),
                            [(stay.1, s.channels, greatest(period.since, stay.2), 1, period.state), (stay.1, s.channels, least(period.until, stay.3), -1, period.state)], []), s.periods)),
                            arrayPushFront(m.stays, ('(all)', toDate(0), toDate('2100-01-01'))))), []),
                        ('(all)', [''], toDate(toTimeZone(s.known_at, zone)), 0, '')) AS changes
                FROM {{database}}.contact_periods AS s
                LEFT JOIN
                (
                    SELECT profile_id, groupArray((toString(segment), toDate(toTimeZone(since, zone)), toDate(toTimeZone(until, zone)))) AS stays
                    FROM {{database}}.v_segment_memberships
                    GROUP BY profile_id
                ) AS m ON m.profile_id = s.profile_id
            )
            ARRAY JOIN changes AS change
            WHERE day <= newest
            GROUP BY segment, channels, day
            UNION ALL
            SELECT toString(segment), [''], toDate(toTimeZone(min(since), zone)) AS day, [0, 0, 0, 0, 0, 0, 0] FROM {{database}}.v_segment_memberships GROUP BY segment HAVING day <= newest
        ) AS g
        -- No channel: the first day of a segment, which every channel has.
        ARRAY JOIN if(channels = [''], (SELECT groupArray(channel) FROM {{database}}.message_channels), channels) AS channel
        GROUP BY segment, channel, day
    )
    WINDOW so_far AS (PARTITION BY segment, channel ORDER BY day ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
)
ARRAY JOIN range(toUInt32(next - first)) AS n -- days on which nothing changes
COMMENT 'As v_channel_reachability, of people of these markets. Internal: feeds v_channel_reachability, `throughline reachability` and `throughline report`.';
