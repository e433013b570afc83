-- A till numbers the events of its business day and declares at its end how many there were and what they add up to.
-- `properties.till` of an event is {"id", "day", "number", "amount"}; the declaration is the event Till Closed.

CREATE VIEW IF NOT EXISTS {{database}}.v_till_sums {{on_cluster}}
(
    source LowCardinality(String) COMMENT 'Which producer the till belongs to',
    till_id String COMMENT 'The till',
    business_day String COMMENT 'The till''s own day, such as 2026-11-20',
    currency String COMMENT 'ISO 4217; empty: the day has no amounts',
    status String COMMENT 'confirmed: declared and stored are the same; contested: they differ, or events are not stored (yet); open: the till has not declared the day. The same in all rows of a day',
    closed_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When the till declared the day last; NULL: it has not',
    declared_events UInt64 COMMENT 'Events of the day, by the till',
    stored_events UInt64 COMMENT 'Distinct numbers of stored events',
    declared_amount Decimal(38, 4) COMMENT 'Takings in this currency less refunds, by the till',
    stored_amount Decimal(38, 4) COMMENT 'The same of the stored events',
    missing Array(Tuple(first UInt64, last UInt64)) COMMENT 'Numbers that the till has given and that are not stored, as ranges'
)
AS
WITH
    arraySort(arrayDistinct(arrayConcat([0], numbers, [declared_events + 1]))) AS bounds,
    arrayFilter(gap -> gap.2 >= gap.1 AND gap.2 <= declared_events, arrayMap((low, high) -> (low + 1, high - 1), arrayPopBack(bounds), arrayPopFront(bounds))) AS gaps
SELECT
    source,
    till_id,
    business_day,
    entry.1 AS currency,
    multiIf(
        closed_at IS NULL, 'open',
        stored_events = declared_events AND empty(gaps) AND arrayAll(one -> declared[one] = stored[one], currencies), 'confirmed',
        'contested') AS status,
    closed_at,
    declared_events,
    stored_events,
    entry.2 AS declared_amount,
    entry.3 AS stored_amount,
    CAST(if(closed_at IS NULL, [], gaps), 'Array(Tuple(first UInt64, last UInt64))') AS missing
FROM
(
    SELECT
        source,
        till_id,
        business_day,
        maxIf(at, is_closing) AS last_closed_at,
        if(countIf(is_closing) = 0, NULL, last_closed_at) AS closed_at,
        argMaxIf(events, (at, event_id), is_closing) AS declared_events,
        argMaxIf(amounts, (at, event_id), is_closing) AS declared_pairs,
        groupUniqArrayIf(number, NOT is_closing) AS numbers,
        toUInt64(length(numbers)) AS stored_events,
        groupArrayIf((event_currency, amount), NOT is_closing) AS stored_pairs,
        arrayDistinct(arrayConcat(declared_pairs.1, stored_pairs.1)) AS named,
        if(empty(named), [''], named) AS currencies,
        mapFromArrays(currencies, arrayMap(one -> arraySum(arrayMap(pair -> if(pair.1 = one, pair.2, toDecimal128(0, 4)), declared_pairs)), currencies)) AS declared,
        mapFromArrays(currencies, arrayMap(one -> arraySum(arrayMap(pair -> if(pair.1 = one, pair.2, toDecimal128(0, 4)), stored_pairs)), currencies)) AS stored
    FROM
    (
        SELECT
            source,
            event_id,
            occurred_at AS at,
            event = 'Till Closed' AS is_closing,
            if(is_closing, JSONExtractString(properties, 'till_id'), JSONExtractString(properties, 'till', 'id')) AS till_id,
            if(is_closing, JSONExtractString(properties, 'business_day'), JSONExtractString(properties, 'till', 'day')) AS business_day,
            JSONExtractUInt(properties, 'events') AS events,
            arrayMap(pair -> (pair.1, toDecimal128OrZero(pair.2, 4)), JSONExtract(properties, 'amounts', 'Array(Tuple(currency String, amount String))')) AS amounts,
            JSONExtractUInt(properties, 'till', 'number') AS number,
            toString(currency) AS event_currency,
            toDecimal128OrZero(JSONExtractString(properties, 'till', 'amount'), 4) AS amount
        FROM {{database}}.touchpoints FINAL
        WHERE source IN (SELECT source FROM {{database}}.touchpoints WHERE event = 'Till Closed')
            AND (event = 'Till Closed' OR position(properties, '"till":{') > 0)
    )
    WHERE till_id != ''
    GROUP BY source, till_id, business_day
)
ARRAY JOIN arrayMap(one -> (one, declared[one], stored[one]), currencies) AS entry
COMMENT 'Business days of tills, one row for each source, till, day and currency: what the till has declared and what is stored. Of sources whose tills close their days.';
