"""Laws of conditions on products: exact at every time, in any order of events, and across merges."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import orjson
from hypothesis import example, given, settings
from hypothesis import strategies as st

from processors.profiles.catalogue_history import CatalogueHistory
from processors.profiles.document import join, new_profile
from processors.profiles.fold import addition_of_event
from processors.profiles.product_news import FACTS_CHANGED, news_for
from processors.segments.engine import SegmentEngine
from processors.segments.preview import history_of
from schemas.profiles.person import Person
from schemas.segments.conditions import Condition
from schemas.time import ms_of_text
from tests.oracles.segment_history import HOUR, START, engine_for, merged
from tests.support.builders import at
from tests.support.profiles import resolved

Event = dict[str, Any]
laws = settings(max_examples=150, deadline=None)
ABOUT = ("Price Changed", "Stock Changed")
NAMES = (
    "Product Viewed",
    "Product Added",
    "Cart Viewed",
    "Product Added to Wishlist",
    "Product Removed from Wishlist",
    *ABOUT,
)
_steps = st.tuples(st.integers(1, 3), st.sampled_from(NAMES), st.sampled_from("ab"), st.integers(0, 3))
histories = st.lists(_steps, max_size=14)
written = (
    st.fixed_dictionaries(
        {
            "product": st.lists(st.sampled_from(["viewed", "cart", "wishlist"]), min_size=1, max_size=2, unique=True),
            "in_stock": st.sampled_from([None, True, False]),
            "cheaper": st.sampled_from([None, True, False]),
            "cheaper_by": st.sampled_from([None, 30]),
            "price_below": st.sampled_from([None, 3]),
            "price_from": st.sampled_from([None, 2]),
            "within": st.sampled_from([None, "2h", "5h"]),
        }
    )
    .map(lambda found: {key: value for key, value in found.items() if value is not None})
    .map(lambda found: {**found, "currency": "EUR"} if {"price_below", "price_from"} & found.keys() else found)
    .filter(lambda found: {"in_stock", "cheaper", "cheaper_by", "currency"} & found.keys())
    .filter(lambda found: not ("cheaper_by" in found and found.get("cheaper") is False))
)


def events_of(steps: list[tuple[int, str, str, int]]) -> list[Event]:
    """One event after the other, each some hours later: of the person, or about a product."""
    found, hour = [], 0
    for pause, name, product, number in steps:
        hour += pause
        properties: Event = {"product_id": product}
        if name == "Stock Changed":
            properties["quantity"] = number
        elif name != "Product Removed from Wishlist":
            properties |= {"price": str(number + 1), "currency": "EUR"}
        if name == "Cart Viewed":
            properties = {"products": [{"product_id": product, "price": properties["price"]}], "currency": "EUR"}
        channel = "api" if name in ABOUT else "web"
        when = at(hours=hour)
        event = resolved(name, channel, event_id=f"e{hour}", occurred_at=when, properties=properties)
        found.append({**event, "received_at": when})
    return found


def divided(events: list[Event]) -> tuple[list[Event], CatalogueHistory]:
    """The person's events, and the catalogue."""
    theirs = [one for one in events if one["event"] not in ABOUT]
    return theirs, CatalogueHistory(one for one in events if one["event"] in ABOUT)


def holds(condition: Condition, events: list[Event], now: int) -> bool:
    """Evaluate a condition by reading all events."""
    past = [one for one in events if ms_of_text(one["occurred_at"]) <= now]
    return any(_fits(condition, past, product, now) for product in "ab")


def _fits(condition: Condition, past: list[Event], product: str, now: int) -> bool:
    named = [(one, one["properties"].get("products", [one["properties"]])[0]) for one in past]
    about = [{**one, "properties": line} for one, line in named if line["product_id"] == product]
    last = {one["event"]: ms_of_text(one["occurred_at"]) for one in about}
    carted = [last[name] for name in ("Product Added", "Cart Viewed") if name in last]
    put = {"viewed": last.get("Product Viewed"), "cart": max(carted, default=None), "wishlist": None}
    if last.get("Product Added to Wishlist", -1) > last.get("Product Removed from Wishlist", -1):
        put["wishlist"] = last["Product Added to Wishlist"]
    listed = [when for name in condition.product or () if (when := put[name]) is not None]
    if not listed or (condition.within and max(listed) + condition.within <= now):
        return False
    stock = [one["properties"]["quantity"] for one in about if one["event"] == "Stock Changed"]
    if condition.in_stock is not None and (not stock or (stock[-1] > 0) is not condition.in_stock):
        return False
    prices = [one["properties"]["price"] for one in about if one["event"] == "Price Changed"]
    if condition.currency is not None and not (
        prices and (condition.price_from or 0) <= Decimal(prices[-1]) < (condition.price_below or 9)
    ):
        return False
    if condition.cheaper is None and condition.cheaper_by is None:
        return True
    seen = [one["properties"]["price"] for one in about if one["event"] not in ABOUT and "price" in one["properties"]]
    if not prices or not seen:
        return False
    price, before = Decimal(prices[-1]), Decimal(seen[-1])
    if condition.cheaper is not None and (price < before) is not condition.cheaper:
        return False
    return condition.cheaper_by is None or price <= before * Decimal("0.7")


def observe(engine: SegmentEngine, person: Person, event: Event) -> Event:
    join(person.document, addition_of_event(event))
    news = news_for(person.document, event)
    assert news is not None
    engine.observe(person, news)
    return news


def person_of(engine: SegmentEngine, events: list[Event]) -> Person:
    person = Person("p1", new_profile("p1"), {})
    for event in events:
        observe(engine, person, event)
    return person


@laws
@given(st.lists(written, min_size=1, max_size=3), histories)
@example(
    [{"product": ["viewed"], "cheaper": True, "in_stock": True}],
    [
        (1, "Stock Changed", "a", 1),
        (1, "Product Viewed", "a", 2),
        (1, "Price Changed", "a", 1),
        (1, "Stock Changed", "a", 0),
    ],
)
def test_every_membership_is_found_by_following_events_and_due_times_alone(
    conditions: list[Event], steps: list[tuple[int, str, str, int]]
) -> None:
    engine, events = engine_for(*conditions), events_of(steps)
    theirs, catalogue = divided(events)
    coming = catalogue.around("p1", theirs)
    person, wrong, began = Person("p1", new_profile("p1"), {}), [], False
    for hour in range(3 * len(steps) + 7):
        now = START + hour * HOUR
        if (due := engine.due(person)) is not None and due <= now:
            engine.evaluate(person, due, None)
        while coming and ms_of_text(coming[0]["occurred_at"]) == now:
            news = observe(engine, person, coming.pop(0))
            engine.evaluate(person, now, news)
            began = True
        expected = {
            f"s{number}" for number, one in enumerate(conditions) if holds(Condition.model_validate(one), events, now)
        }
        if began and expected != engine.members(person):
            wrong.append((hour, expected, engine.members(person)))

    assert [] == wrong


@laws
@given(written, histories, st.data())
def test_the_series_does_not_depend_on_the_order_of_events_nor_on_a_merge(
    condition: Event, steps: list[tuple[int, str, str, int]], data: st.DataObject
) -> None:
    engine = engine_for(condition)
    theirs, catalogue = divided(events_of(steps))
    events = catalogue.around("p1", theirs)
    shuffled = data.draw(st.permutations(events))
    half = data.draw(st.integers(0, len(events)))
    persons = [
        person_of(engine, events),
        person_of(engine, shuffled),
        merged(engine, person_of(engine, shuffled[:half]), person_of(engine, shuffled[half:])),
    ]

    stored = {orjson.dumps(one.state.get("features", {}), option=orjson.OPT_SORT_KEYS) for one in persons}
    assert 1 == len(stored)


@laws
@given(written, histories)
def test_history_dates_a_membership_as_it_was_live(condition: Event, steps: list[tuple[int, str, str, int]]) -> None:
    engine, events = engine_for(condition), events_of(steps)
    theirs, catalogue = divided(events)
    until = START + (3 * len(steps) + 7) * HOUR
    changes = history_of(engine, "p1", catalogue.around("p1", theirs, "occurred_at"), until)
    parsed = Condition.model_validate(condition)
    wrong = [
        one
        for one in changes
        if holds(parsed, events, one.at_ms) is not one.entered or holds(parsed, events, one.at_ms - 1) is one.entered
    ]

    assert [] == wrong
    assert (holds(parsed, events, until) if theirs else False) is (bool(changes) and changes[-1].entered)


def test_a_cart_that_comes_as_a_list_watches_each_product_and_a_price_counts_in_its_currency_alone() -> None:
    engine = engine_for(
        {"product": "cart", "in_stock": False},
        {"product": "cart", "price_below": 20, "currency": "EUR"},
        {"product": "cart", "price_below": 20, "currency": "USD"},
    )
    listed = [{"product_id": "a", "price": "30"}, {"product_id": "b"}, {"sku": "c"}]
    viewed = resolved("Cart Viewed", occurred_at=at(hours=1), properties={"products": listed, "currency": "EUR"})
    about: list[tuple[int, str, Event]] = [
        (0, "Stock Changed", {"product_id": "b", "quantity": 0}),
        (2, "Price Changed", {"product_id": "a", "price": "20", "currency": "EUR"}),
        (3, "Price Changed", {"product_id": "a", "price": "19.99", "currency": "EUR"}),
    ]
    stated = [
        {
            **resolved(name, "api", event_id=f"s{hour}", occurred_at=at(hours=hour), properties=said),
            "received_at": at(hours=hour),
        }
        for hour, name, said in about
    ]
    coming = CatalogueHistory(stated).around("p1", [{**viewed, "received_at": at(hours=1)}])
    person, members = Person("p1", new_profile("p1"), {}), []
    for event in coming:
        engine.evaluate(person, ms_of_text(event["occurred_at"]), observe(engine, person, event))
        members.append(engine.members(person))

    assert [{"s0"}, {"s0"}, {"s0", "s1"}] == members
    assert {"a": ["30", "EUR"]} == {product: one[1:3] for product, one in person.document["seen"].items()}


def test_a_producer_cannot_state_facts_by_an_event_of_that_name() -> None:
    engine = engine_for({"product": "viewed", "in_stock": True})
    fact = ["stock", "", "", "", 1, "e", "5"]
    forged = resolved(FACTS_CHANGED, occurred_at=at(hours=2), properties={"product_id": "a", "fact": fact})
    person = person_of(engine, [resolved("Product Viewed", properties={"product_id": "a"}), forged])
    engine.evaluate(person, START + 3 * HOUR, None)

    assert set() == engine.members(person)
