"""A history of marketing, generated inside ClickHouse: no row crosses the wire, a seed always gives the same one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_CHANNELS = (
    "['Direct', 'Email', 'Paid Search', 'Organic Search', 'Paid Social', 'Organic Social', 'Display', 'Referral',"
    " 'Affiliates', 'App Push', 'SMS', 'In-Store']"
)


@dataclass(frozen=True, slots=True)
class History:
    """How much of it.

    Attributes:
        touches: Three in ten are events of visits, three a visit, without a campaign and mostly without a session id;
            the rest are touches by themselves.
        conversions: Orders.
        people: Persons before merges.
        merges: Persons who turned out to be somebody else.
        days: From the first touch to the last; the first thirty days have no orders.
        seed: Another one gives another history.
        named_visits: Percent of visits that have a session id.
        letters: E-mails besides, each reported as sent and as delivered. Of 50 of them, a filter opens three links of
            one a second after its delivery, one is clicked after three seconds, and four are clicked minutes later.
        crawls: Bots besides that see 60 pages in six seconds. Half of them say that they are bots.
    """

    touches: int = 10_000_000
    conversions: int = 200_000
    people: int = 1_000_000
    merges: int = 100_000
    days: int = 180
    seed: int = 7
    named_visits: int = 20
    letters: int = 2_000_000
    crawls: int = 2_000


def generate(client: Any, history: History) -> None:
    """Write the history into the tables of the client's database."""
    parameters = {
        "touches": history.touches,
        "conversions": history.conversions,
        "people": history.people,
        "merges": history.merges,
        "span": history.days * 86_400_000,
        "seed": history.seed,
        "named": history.named_visits,
        "letters": history.letters,
        "crawls": history.crawls,
    }
    settings = {"max_partitions_per_insert_block": 0, "max_insert_block_size": 1_000_000}
    person = "reinterpretAsUUID(sipHash128('person', who))"
    client.command(
        f"""
        INSERT INTO touchpoints (event_id, event, channel, source, occurred_at, received_at, anchor, profile_id,
            identity_version, touch, marketing_channel, campaign, creative, product_id, session_id, identifiers)
        WITH
            number % 10 < 3 AS visit,
            sipHash64({{seed:UInt64}}, if(visit, intDiv(number, 10) * 10, number)) AS dice,
            toUInt64(pow(dice % 1000003 / 1000003, 1.5) * {{people:UInt64}}) AS who,
            {_CHANNELS}[1 + intDiv(dice, 7) % 12] AS marketing
        SELECT
            lower(hex(sipHash128({{seed:UInt64}}, number))) AS event_id,
            if(visit, 'Page Viewed', 'Ad Clicked') AS event,
            if(visit, 'web', 'ads') AS channel,
            'generated' AS source,
            toDateTime64('2026-01-01 00:00:00', 3, 'UTC')
                + toIntervalMillisecond(intDiv(number * {{span:UInt64}}, {{touches:UInt64}}) + intDiv(dice, 31) % 60000)
                + toIntervalMinute(if(visit, number % 10, 0)) AS occurred_at,
            occurred_at + toIntervalSecond(1) AS received_at,
            {person} AS anchor,
            {person} AS profile_id,
            1 AS identity_version,
            if(visit, 'session', 'rule') AS touch,
            marketing AS marketing_channel,
            if(visit, '', concat(marketing, ' ', toString(intDiv(dice, 97) % 5))) AS campaign,
            if(visit, '', concat('creative ', toString(intDiv(dice, 193) % 20))) AS creative,
            if(intDiv(dice, 389) % 4 = 0, concat('product ', toString(intDiv(dice, 769) % 200)), '') AS product_id,
            if(visit AND intDiv(dice, 1009) % 100 < {{named:UInt64}}, toString(intDiv(number, 10)), '') AS session_id,
            if(visit, concat('[{{"type":"anonymous_id","value":"browser ', toString(who), ' ',
                toString(intDiv(dice, 53) % 2), '"}}]'), '') AS identifiers
        FROM numbers({{touches:UInt64}})
        """,
        parameters=parameters,
        settings=settings,
    )
    client.command(
        f"""
        INSERT INTO touchpoints (event_id, event, channel, source, occurred_at, received_at, anchor, profile_id,
            identity_version, touch, marketing_channel, campaign, properties)
        WITH
            sipHash64({{seed:UInt64}} + 2, number) AS dice,
            toUInt64(pow(dice % 1000003 / 1000003, 1.5) * {{people:UInt64}}) AS who,
            arrayJoin(arrayConcat([('Email Sent', 0, 0), ('Email Delivered', 1, 0)], multiIf(
                number % 50 = 0, arrayMap(link -> ('Email Link Clicked', 2, link), [1, 2, 3]),
                number % 50 = 1, [('Email Link Clicked', 4, 1)],
                number % 50 < 6, [('Email Link Clicked', 60 + dice % 7200, 1)],
                []))) AS step
        SELECT
            concat('letter ', toString(number), ' ', step.1, ' ', toString(step.3)) AS event_id,
            step.1 AS event,
            'email' AS channel,
            'generated' AS source,
            toDateTime64('2026-01-01 00:00:00', 3, 'UTC')
                + toIntervalMillisecond(intDiv(number * {{span:UInt64}}, greatest({{letters:UInt64}}, 1)))
                + toIntervalSecond(step.2) AS occurred_at,
            occurred_at + toIntervalSecond(1) AS received_at,
            {person} AS anchor,
            {person} AS profile_id,
            1 AS identity_version,
            if(step.3 = 0, '', 'rule') AS touch,
            if(step.3 = 0, '', 'Email') AS marketing_channel,
            concat('letter ', toString(intDiv(number, 100000))) AS campaign,
            concat('{{"message_id":"', lower(hex(sipHash128('letter', number))), '"',
                if(step.3 = 0, '', concat(',"link_url":"https://shop.example/', toString(step.3), '"')), '}}')
                AS properties
        FROM numbers({{letters:UInt64}})
        """,
        parameters=parameters,
        settings=settings,
    )
    client.command(
        f"""
        INSERT INTO touchpoints (event_id, event, channel, source, occurred_at, received_at, anchor, profile_id,
            identity_version, touch, marketing_channel, identifiers, enrichment)
        WITH intDiv(number, 60) AS crawl, concat('crawler ', toString(crawl)) AS who
        SELECT
            concat('crawl ', toString(number)) AS event_id,
            'Page Viewed' AS event,
            'web' AS channel,
            'generated' AS source,
            toDateTime64('2026-01-01 00:00:00', 3, 'UTC')
                + toIntervalMillisecond(
                    intDiv(crawl * {{span:UInt64}}, greatest({{crawls:UInt64}}, 1)) + number % 60 * 100) AS occurred_at,
            occurred_at + toIntervalSecond(1) AS received_at,
            {person} AS anchor,
            {person} AS profile_id,
            1 AS identity_version,
            'session' AS touch,
            'Direct' AS marketing_channel,
            concat('[{{"type":"anonymous_id","value":"', who, '"}}]') AS identifiers,
            if(crawl % 2 = 0, '', '{{"bot":"crawler"}}') AS enrichment
        FROM numbers({{crawls:UInt64}} * 60)
        """,
        parameters=parameters,
        settings=settings,
    )
    client.command(
        f"""
        INSERT INTO conversions (conversion_id, conversion_type, converted_at, event_id, channel, source, anchor,
            profile_id, identity_version, revenue, currency, received_at)
        WITH
            sipHash64({{seed:UInt64}} + 1, number) AS dice,
            toUInt64(pow(dice % 1000003 / 1000003, 1.5) * {{people:UInt64}}) AS who
        SELECT
            concat('order ', toString(number)) AS conversion_id,
            'purchase' AS conversion_type,
            toDateTime64('2026-01-31 00:00:00', 3, 'UTC')
                + toIntervalMillisecond(intDiv(number * ({{span:UInt64}} - 2592000000), {{conversions:UInt64}}))
                AS converted_at,
            concat('event of order ', toString(number)) AS event_id,
            'web' AS channel,
            'generated' AS source,
            {person} AS anchor,
            {person} AS profile_id,
            1 AS identity_version,
            toDecimal64(intDiv(dice, 41) % 20000 / 100, 4) AS revenue,
            'EUR' AS currency,
            converted_at + toIntervalSecond(1) AS received_at
        FROM numbers({{conversions:UInt64}})
        """,
        parameters=parameters,
        settings=settings,
    )
    client.command(
        """
        INSERT INTO identity_overrides (anchor, profile_id, version)
        SELECT
            reinterpretAsUUID(sipHash128('person', number * 7 % {people:UInt64})) AS anchor,
            reinterpretAsUUID(sipHash128('person', (number * 7 + 3) % {people:UInt64})) AS profile_id,
            number + 2 AS version
        FROM numbers({merges:UInt64})
        """,
        parameters=parameters,
    )
    # As the settings of the table do to a month in which nothing was stored for three days; the last one is as written.
    months = client.query(
        "SELECT DISTINCT partition_id FROM system.parts"
        " WHERE database = currentDatabase() AND table = 'touchpoints' AND active ORDER BY partition_id"
    ).result_rows
    for (month,) in months[:-1]:
        client.command(f"OPTIMIZE TABLE touchpoints PARTITION ID '{month}' FINAL")
