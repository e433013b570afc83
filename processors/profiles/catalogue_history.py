"""The catalogue over time: brings what was known of products into the history of a person, for conditions of segments.

Live, a person's state gets the facts of a product with the event by which they watch it, and each later change by a
derived event (`product_news.py`), which no table has. A replay of history gets both from here, made of the events
about products, so that it comes to the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

from processors.profiles.product_news import CATALOGUE, fact_row, facts_changed, is_change, watched_products
from schemas.products import Change, Fact, FactKey, facts_of
from schemas.time import ms_of_text

Event = dict[str, Any]
Time = Literal["received_at", "occurred_at"]


class _Stated(NamedTuple):
    """A change of a fact: when, in milliseconds, and the event that stated it."""

    at_ms: int
    event: Event
    fact: Fact


class CatalogueHistory:
    """Changes of prices, and of whether products are in stock.

    Args:
        events: Events about products, in any order.
    """

    def __init__(self, events: Iterable[Event] = ()) -> None:
        unique = {(event["source"], event["event_id"]): event for event in events}
        self._stated: dict[Time, dict[str, list[_Stated]]] = {
            "received_at": _changes(unique.values(), "received_at"),
            "occurred_at": _changes(unique.values(), "occurred_at"),
        }

    def around(self, profile_id: str, events: list[Event], time: Time = "received_at") -> list[Event]:
        """Add to a person's events what was known of the products that they watch.

        Args:
            profile_id: The person.
            events: Theirs.
            time: By which time it was known: when events arrived, as it was live, or when they happened.

        Returns:
            The events, in order of that time: those by which the person watches a product with what was known of it
            then, and derived events of each later change.
        """
        stated = self._stated[time]
        if not stated:
            return events
        watched: dict[str, int] = {}
        found: list[Event] = []
        for event in events:
            known: dict[str, list[list[Any]]] = {}
            for product in watched_products(event):
                if product in stated:
                    at_ms = ms_of_text(event[time])
                    watched[product] = min(at_ms, watched.get(product, at_ms))
                    rows = {one.fact.key: fact_row(one.fact) for one in stated[product] if one.at_ms <= at_ms}
                    if rows:
                        known[product] = [*rows.values()]
            found.append({**event, CATALOGUE: known} if known else event)
        for product, since_ms in watched.items():
            found += [facts_changed(one.event, one.fact, profile_id) for one in stated[product] if one.at_ms > since_ms]
        return sorted(found, key=lambda event: (event[time], *arrival(event))) if watched else events


def arrival(event: Event) -> tuple[Any, ...]:
    """Return the key that sorts events as they arrived: of one millisecond, in the order of their partition."""
    origin = event.get("origin") or {}
    place = origin.get("topic", ""), origin.get("partition", 0), origin.get("offset", 0)
    return event["received_at"], *place, event["event_id"]


def _changes(events: Iterable[Event], time: Time) -> dict[str, list[_Stated]]:
    """Return the changes by product, in order of time; a statement that is older than a known one changes nothing."""
    known: dict[tuple[str, FactKey], Fact] = {}
    found: defaultdict[str, list[_Stated]] = defaultdict(list)
    for event in sorted(events, key=lambda event: (event[time], *arrival(event))):
        for fact in facts_of(event):
            before = known.get((fact.product_id, fact.key))
            if before is not None and (before.at_ms, before.event) > (fact.at_ms, fact.event):
                continue
            known[fact.product_id, fact.key] = fact
            if is_change(fact, Change(True, None if before is None else before.value)):
                found[fact.product_id].append(_Stated(ms_of_text(event[time]), event, fact))
    return dict(found)


NO_CATALOGUE = CatalogueHistory()
