"""A derived event that does not concern the person is applied, and nothing is decided about it."""

from __future__ import annotations

from typing import Any

import pytest

from processors.profiles.cache import OpenProfile
from processors.profiles.document import encode
from processors.profiles.fold import FoldedProfile, PendingEvent, fold_events
from processors.profiles.isolation import fold_events_isolated
from processors.profiles.product_news import PRICE_DROPPED
from schemas.decisions.decision import Emit
from schemas.markets import ONE_MARKET
from schemas.profiles.document import ProfileRequest, StoredProfile
from schemas.profiles.person import Person
from tests.support.builders import at
from tests.support.profiles import resolved, told


class Deciding:
    """Notes what it is asked to decide about."""

    markets = ONE_MARKET

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def on_event(self, person: Person, event: dict[str, Any], now_ms: int) -> list[Emit]:
        self.events.append(event)
        return []

    def on_time(self, person: Person, now_ms: int) -> list[Emit]:
        return []

    def due(self, person: Person) -> int | None:
        return None

    def combine(self, winner: dict[str, Any], loser: dict[str, Any]) -> None:
        winner.update(loser)


def fold(way: str, price: str, decider: Deciding) -> FoldedProfile:
    seen = resolved("Product Viewed", properties={"product_id": "lamp", "price": "100", "currency": "EUR"})
    stored = StoredProfile("p1", 1, encode(told(seen)))
    about = {"product_id": "lamp", "price": price, "currency": "EUR"}
    changed = resolved("Price Changed", "api", occurred_at=at(hours=1), properties=about)
    event = {**changed, "event": PRICE_DROPPED, "derived": True}
    pending = [PendingEvent(ProfileRequest("p1", b"0" * 16, 1), event)]
    if way == "isolated":
        return fold_events_isolated(stored, pending, decider)
    return fold_events(OpenProfile(stored), pending, decider)


@pytest.mark.parametrize("way", ["together", "isolated"])
@pytest.mark.parametrize(("price", "old_prices"), [("80", ["100"]), ("100", []), ("120", [])])
def test_only_a_price_below_the_one_seen_is_decided_about(way: str, price: str, old_prices: list[str]) -> None:
    decider = Deciding()
    folded = fold(way, price, decider)

    assert old_prices == [event["properties"]["old_price"] for event in decider.events]
    assert (1, ()) == (len(folded.applied), tuple(folded.rejected))
