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
    """

    touches: int = 10_000_000
    conversions: int = 200_000
    people: int = 1_000_000
    merges: int = 100_000
    days: int = 180
    seed: int = 7
    named_visits: int = 20


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
