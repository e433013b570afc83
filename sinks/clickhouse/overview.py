"""Queries for the output of the demo: outcomes of records, visits and orders, people, one person's path."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

_OUTCOMES = """
    SELECT
        (SELECT uniqExact(source, event_id) FROM touchpoints WHERE received_at >= since),
        (SELECT count() FROM dropped_touchpoints FINAL WHERE received_at >= since AND reason IN repeated),
        (SELECT count() FROM dropped_touchpoints FINAL WHERE received_at >= since AND reason NOT IN repeated),
        (SELECT count() FROM dead_letters FINAL WHERE received_at >= since AND stage = 'identify')
"""
_SINCE = "WITH fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC') AS since, ('duplicate', 'conflict') AS repeated"

_IDENTITY = """
    SELECT
        uniqExactArrayIf(anchors.anchor, kind IN ('bind', 'merge')),
        countIf(kind = 'merge'),
        countIf(kind = 'refuse'),
        (SELECT count() FROM profiles FINAL)
    FROM identity_log FINAL
"""

_MERGES = """
    SELECT event, count() AS merges
    FROM (SELECT event_id FROM identity_log FINAL WHERE kind = 'merge') AS merge
    INNER JOIN (SELECT event_id, any(event) AS event FROM touchpoints GROUP BY event_id) AS cause USING event_id
    GROUP BY event
    ORDER BY merges DESC, event
    LIMIT {most:UInt8}
"""

_TOTALS = """
    SELECT
        visits.1, visits.2, visits.3, visits.4,
        (SELECT sum(events) FROM v_bots),
        (SELECT sum(events) FROM v_mended),
        orders.1, orders.2, orders.3, orders.4,
        days.1, days.2
    FROM
    (
        SELECT
            (SELECT (count(), uniqExact(device_hash), sum(touches), sum(continuations)) FROM v_sessions) AS visits,
            (
                SELECT (count(), sum(reports), countIf(reports > 1), countIf(order_namespace != ''))
                FROM v_conversions
                WHERE order_id != '' AND conversion_type = (SELECT goal FROM v_attribution_settings)
            ) AS orders,
            (
                SELECT (uniqExact(till_id, business_day), uniqExactIf((till_id, business_day), status = 'confirmed'))
                FROM v_till_sums
            ) AS days
    )
"""

# Few events and many marketing channels: a path that fits on a page and shows every feature.
_EXAMPLE_PERSON = """
    SELECT toString(profile_id)
    FROM v_touchpoints
    WHERE profile_id IN (SELECT profile_id FROM identity_log FINAL WHERE kind = 'merge')
    GROUP BY profile_id
    HAVING uniqExactIf(marketing_channel, touch IN ('rule', 'campaign')) >= 3
        AND countIf(marketing_channel = 'In-Store') > 0
        AND countIf(event = 'Order Completed' AND channel = 'store') > 0
        AND countIf(event = 'Order Completed' AND channel != 'store') > 0
        AND countIf(touch IN ('rule', 'campaign')) BETWEEN 5 AND 18
    ORDER BY uniqExactIf(marketing_channel, touch IN ('rule', 'campaign')) DESC, count(), profile_id
    LIMIT 1
"""

_PATH = """
    WITH (SELECT groupUniqArray(event_id) FROM identity_log FINAL WHERE kind = 'merge') AS merging
    SELECT
        occurred_at, channel, event, if(touched, marketing_channel, ''), campaign, revenue, currency, joins
    FROM
    (
        SELECT
            *,
            (source, event_id) IN (
                SELECT source, event_id FROM v_touches WHERE profile_id = {profile_id:UUID}
            ) AS touched,
            has(merging, event_id) AS joins
        FROM v_touchpoints
        WHERE profile_id = {profile_id:UUID}
    )
    WHERE touched OR joins OR event = 'Order Completed'
    ORDER BY occurred_at, event_id
"""


@dataclass(frozen=True, slots=True)
class OutcomeCounts:
    """Outcomes of the producers' records.

    Attributes:
        stored: Distinct events in `touchpoints`.
        duplicate: Further deliveries of an event.
        suppressed: Not stored because of an erasure.
        dead_lettered: Refused by `identify`.
    """

    stored: int
    duplicate: int
    suppressed: int
    dead_lettered: int

    @property
    def total(self) -> int:
        """All records with an outcome."""
        return self.stored + self.duplicate + self.suppressed + self.dead_lettered


@dataclass(frozen=True, slots=True)
class IdentityTotals:
    """The identity log summed up.

    Attributes:
        identifiers: Distinct identifiers that were seen.
        people: Profiles now.
        merges: Merges of two profiles.
        refused: Links that the policy did not allow.
        causes: The events that caused most merges: name and number.
    """

    identifiers: int
    people: int
    merges: int
    refused: int
    causes: list[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class Totals:
    """What became of visits, orders and business days, whichever way they were reported.

    Attributes:
        visits: Visits of the site and the app.
        devices: Browsers and devices that made them.
        touches: Touches of attribution in the visits.
        continuations: How often a visit went on after paying or signing in elsewhere.
        bot_events: Events of bots, which reports leave out.
        mended: Values that broke a rule and had one meaning.
        orders: Orders.
        reports: Their reports, by pages, webhooks, updates and receipts.
        several_reports: Orders with more than one report.
        own_numbers: Orders of shops that number them by themselves.
        till_days: Business days of tills.
        confirmed_till_days: Those of which all is stored that the till has declared.
    """

    visits: int
    devices: int
    touches: int
    continuations: int
    bot_events: int
    mended: int
    orders: int
    reports: int
    several_reports: int
    own_numbers: int
    till_days: int
    confirmed_till_days: int


@dataclass(frozen=True, slots=True)
class Step:
    """One touch, order or merge on a person's path.

    Attributes:
        at: Time of the event.
        channel: Channel of the event.
        event: Name of the event.
        marketing_channel: The channel that the touch is credited to; empty when the event is no touch.
        campaign: Name of the campaign.
        revenue: Revenue of an order, in units of `currency`.
        currency: ISO 4217.
        joins: Whether the event merged two profiles.
    """

    at: datetime
    channel: str
    event: str
    marketing_channel: str
    campaign: str
    revenue: Decimal
    currency: str
    joins: bool


def outcomes(client: Any, since_ms: int) -> OutcomeCounts:
    """Count the outcomes of the records that the broker received since a time.

    `v_accounting` is about the whole history; this query reads the tables.

    Args:
        client: Of the deployment's database, as `sinks.clickhouse.client.connect` opens it.
        since_ms: Broker time, milliseconds since 1970.
    """
    ((stored, duplicate, suppressed, dead),) = client.query(
        _SINCE + _OUTCOMES, parameters={"since_ms": since_ms}
    ).result_rows
    return OutcomeCounts(stored, duplicate, suppressed, dead)


def identity(client: Any, causes: int = 5) -> IdentityTotals:
    """Sum up the identity log; `causes` is the number of event names in `IdentityTotals.causes`."""
    ((identifiers, merges, refused, people),) = client.query(_IDENTITY).result_rows
    found = client.query(_MERGES, parameters={"most": causes}).result_rows
    return IdentityTotals(identifiers, people, merges, refused, [(event, times) for event, times in found])


def totals(client: Any) -> Totals:
    """Count visits, orders, business days of tills, bots and mended values."""
    return Totals(*client.query(_TOTALS).first_row)


def example_person(client: Any) -> str | None:
    """Find a person to show: many marketing channels, a merge, orders in a store and elsewhere; None without one."""
    rows = client.query(_EXAMPLE_PERSON).result_rows
    return str(rows[0][0]) if rows else None


def path(client: Any, profile_id: str) -> list[Step]:
    """List a person's touches, orders and merges in order of time."""
    rows = client.query(_PATH, parameters={"profile_id": profile_id}).result_rows
    return [Step(*row) for row in rows]
