"""Conditions on the stock and price of products: a change moves people in and out, and history comes to the same."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from deploy.operations.catalogue_history import read_catalogue
from deploy.operations.segment_check import check_segments
from deploy.settings import Settings
from processors.decisions.engine import DecisionEngine
from processors.profiles.fold import read_state
from processors.profiles.product_news import ProductNews
from processors.profiles.rebuild import refill
from processors.profiles.stage import ConstantRules, DecisionRules, ProfileUpdate
from processors.recording.decision_rows import journey_event_rows
from processors.segments.preview import history_of
from schemas.decisions.policy import MessagePolicy
from schemas.outcomes import Ok
from schemas.segments.conditions import SegmentHistory
from schemas.segments.definitions import SegmentDefinitions
from schemas.time import time_of_ms
from schemas.topics import JOURNEY_EVENTS
from sinks.clickhouse.audiences import members_by_person
from sinks.clickhouse.history import read_people
from sinks.redis.outbox import RedisProfileOutbox
from sinks.redis.products import RedisProducts
from tests.support.builders import at, touchpoint
from tests.support.in_process_pipeline import RECEIVED_MS, Arrived, Town, town

pytestmark = pytest.mark.integration

ANN, BEN, CAT = ({"email": f"{name}@shop.example"} for name in ("ann", "ben", "cat"))
NOW_MS = RECEIVED_MS + 3_600_000
DECIDER = DecisionEngine(
    SegmentDefinitions.model_validate(
        {
            "segments": [
                {
                    "name": "bargain",
                    "description": "Looked at a product that is in stock, and cheaper now.",
                    "when": {"product": ["viewed", "wishlist"], "in_stock": True, "cheaper": True},
                },
                {
                    "name": "sold_out",
                    "description": "A product in the cart is sold out.",
                    "when": {"product": "cart", "in_stock": False},
                },
            ]
        }
    ),
    [],
    MessagePolicy(),
)


class Shop:
    """A shop whose workers keep the catalogue, and who is in which segment."""

    def __init__(self, place: Town) -> None:
        self.town = place
        self._hour = 0
        products = RedisProducts(place.redis, place.namespace)
        rules = ConstantRules(DecisionRules(DECIDER, None, DECIDER.segments.reads_catalogue))
        place._update = ProfileUpdate(place.profiles, rules=rules, catalogue=products)
        self._news = ProductNews(products)

    async def happens(self, name: str, who: dict[str, str] | None = None, /, **properties: Any) -> None:
        """Let an event come, then the events that follow from it, twice as after a restart."""
        self._hour += 1
        event = touchpoint(name, "web" if who else "api", identifiers=who, occurred_at=at(hours=self._hour))
        if who is None:
            event.pop("identifiers", None)
        resolved = await self.town.live({**event, "properties": {"product_id": "lamp", **properties}})
        for _ in range(2):
            derived = []
            async for _, outcome in self._news([(Arrived(0, 0, b""), Ok(one)) for one in resolved]):
                assert isinstance(outcome, Ok)
                derived += [orjson.loads(one.value) for one in outcome.value]
            await self.town._update(derived)

    async def costs(self, price: str) -> None:
        await self.happens("Price Changed", price=price, currency="EUR")

    async def has(self, quantity: int, store_id: str = "") -> None:
        await self.happens("Stock Changed", quantity=quantity, **({"store_id": store_id} if store_id else {}))

    async def views(self, who: dict[str, str], price: str) -> None:
        await self.happens("Product Viewed", who, price=price, currency="EUR")

    async def members(self, segment: str) -> set[str]:
        found = set()
        for name, who in (("ann", ANN), ("ben", BEN), ("cat", CAT)):
            try:
                stored = await self.town.profiles.get(await self.town.owner("email", who["email"]))
            except AssertionError:
                continue  # not met yet
            if stored and segment in read_state(stored.state).get("segments", {}).get("in", {}):
                found.add(name)
        return found


@pytest.fixture
async def shop(stack: Settings) -> AsyncIterator[Shop]:
    async with town(stack) as found:
        yield Shop(found)


async def eventful(shop: Shop) -> list[set[str]]:
    """Let prices and stock change under three people; return who had a bargain after each of the changes."""
    found = []
    await shop.has(5)
    await shop.views(ANN, "100")
    await shop.costs("100")
    found.append(await shop.members("bargain"))
    await shop.costs("80")
    await shop.views(BEN, "80")
    await shop.happens("Product Added to Wishlist", CAT, price="90", currency="EUR")
    found.append(await shop.members("bargain"))
    await shop.has(0)
    found.append(await shop.members("bargain"))
    await shop.has(2, store_id="berlin")  # where none of them buys
    found.append(await shop.members("bargain"))
    await shop.has(1)
    await shop.costs("85")
    found.append(await shop.members("bargain"))
    await shop.costs("95")
    found.append(await shop.members("bargain"))
    await shop.happens("Product Removed from Wishlist", CAT)
    await shop.costs("70")
    found.append(await shop.members("bargain"))
    return found


async def test_a_change_of_price_or_stock_moves_those_who_watch_in_and_out(shop: Shop) -> None:
    assert [
        set(),  # as seen
        {"ann", "cat"},  # below what they saw; what was known before came with Cat's first event
        set(),
        set(),
        {"ann", "cat"},
        {"ann"},
        {"ann", "ben"},
    ] == await eventful(shop)


async def test_a_product_in_the_cart_is_sold_out_until_it_is_back_or_removed(shop: Shop) -> None:
    await shop.has(0)
    await shop.happens("Product Added", ANN, cart_id="c1", price="10", currency="EUR")
    await shop.happens("Product Added", BEN, cart_id="c2", price="10", currency="EUR")
    sold_out = [await shop.members("sold_out")]
    await shop.happens("Product Removed", BEN, cart_id="c2")
    sold_out.append(await shop.members("sold_out"))
    await shop.has(4)
    sold_out.append(await shop.members("sold_out"))
    await shop.has(0)
    sold_out.append(await shop.members("sold_out"))

    assert [{"ann", "ben"}, {"ann"}, set(), {"ann"}] == sold_out


async def test_history_the_tables_and_a_backfill_have_the_members_and_series_of_the_profiles(shop: Shop) -> None:
    await eventful(shop)
    await shop.has(0)
    await shop.happens("Product Added", BEN, price="70", currency="EUR")
    place, engine, moment = shop.town, DECIDER.segments, time_of_ms(NOW_MS)
    outbox = RedisProfileOutbox(place.redis, place.namespace)
    emitted = [one.value for _, one in await outbox.pending(1_000) if one.topic == JOURNEY_EVENTS]
    rows = [row for value in emitted for table, row in journey_event_rows(orjson.loads(value))]
    await place.insert("segment_changes", *rows)
    client = place.tables.client
    catalogue = read_catalogue(client, engine)
    tables = members_by_person(client, moment)
    people = list(read_people(client, moment))

    result = await check_segments(place.profiles, engine, tables, people, NOW_MS, catalogue)
    without = await check_segments(place.profiles, engine, tables, people, NOW_MS)

    assert (3, []) == (result.people, result.differences)
    assert {"sold_out"} == {one.segment for one in without.differences}  # the check does see a difference
    for profile_id, events in people:
        stored = await place.profiles.get(profile_id)
        assert stored is not None
        live = read_state(stored.state)
        changes = history_of(engine, profile_id, catalogue.around(profile_id, events, "occurred_at"), NOW_MS)
        history = SegmentHistory(engine.names, changes)
        filled = refill(stored, catalogue.around(profile_id, events), DECIDER, NOW_MS, history)
        assert filled is not None
        assert (live["features"], live["segments"]["in"].keys()) == (
            filled.state["features"],
            filled.state["segments"]["in"].keys(),
        )
