"""Short histories of one person, conditions on them, and an oracle that evaluates a condition by reading all events."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from processors.profiles.document import apply, combine, new_profile
from processors.segments.engine import SegmentEngine
from schemas.profiles.person import Person
from schemas.segments.conditions import Condition
from schemas.segments.definitions import SegmentDefinitions
from schemas.time import ms_of_text
from tests.support.builders import at
from tests.support.profiles import resolved

HOUR = 3_600_000
START = ms_of_text(at())
EVENTS = ("Product Viewed", "Order Completed", "Bowling Played")
HOURS = 16
"""Events happen at whole hours up to this one, so that windows end and steps happen at the same time."""


def happened(event: str, hour: int, price: int = 1, product: str = "a") -> dict[str, Any]:
    """One event, `hour` hours after the start."""
    properties: dict[str, Any] = {"price": str(price), "product_id": product}
    if event == "Order Completed":
        properties = {"order_id": f"o{hour}", "products": [properties], "revenue": str(price), "currency": "EUR"}
    return resolved(event, occurred_at=at(hours=hour), properties=properties)


histories = st.lists(
    st.builds(happened, st.sampled_from(EVENTS), st.integers(0, HOURS), st.integers(1, 3), st.sampled_from("ab")),
    max_size=18,
)
_windows = st.sampled_from(["1h", "2h", "3h", "5h", "9h", None])
_names = st.sampled_from([*EVENTS, ["Product Viewed", "Bowling Played"]])


def _without_none(found: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in found.items() if value is not None}


def _written(**parts: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(parts).map(_without_none)


_filters = st.sampled_from([None, {"properties.price": 2}, {"properties.price": {"gte": 2}}])
_performed = _written(performed=_names, within=_windows, where=_filters, at_least=st.sampled_from([None, 1, 2, 3]))
_at_most = _written(performed=_names, within=_windows, at_most=st.integers(0, 2))
_exactly = _written(performed=_names, within=_windows, exactly=st.integers(0, 2), where=_filters)
_absent = _written(not_performed=_names, within=_windows, where=_filters)
_sequence = _written(
    sequence=st.tuples(_written(event=_names), _written(event=_names, within=st.sampled_from([None, "2h", "9h"]))).map(
        list
    ),
    within=_windows,
    same=st.sampled_from([None, "properties.product_id"]),
)
_sums = _written(
    aggregate=st.sampled_from(["sum", "average", "min", "max", "unique_count"]),
    of=st.just("properties.price"),
    event=_names,
    within=_windows,
    gte=st.integers(1, 4),
)
_counts = _written(aggregate=st.just("count"), event=_names, within=_windows, lt=st.integers(1, 3))
_frequent = _written(
    aggregate=st.sampled_from(["most_frequent", "first", "last", "unique"]),
    of=st.just("properties.product_id"),
    event=_names,
    within=_windows,
    eq=st.sampled_from("ab"),
)
simple_conditions = st.one_of(_performed, _at_most, _exactly, _absent, _sequence, _sums, _counts, _frequent)
_windowed = st.one_of(_performed, _exactly, _absent, _counts).filter(lambda written: "within" in written)
_combined = st.lists(_windowed, min_size=2, max_size=4)
conditions = (
    st.fixed_dictionaries({"all": _combined})
    | st.fixed_dictionaries({"any": _combined})
    | st.recursive(
        simple_conditions,
        lambda inner: st.one_of(
            st.fixed_dictionaries({"all": st.lists(inner, min_size=1, max_size=3)}),
            st.fixed_dictionaries({"any": st.lists(inner, min_size=1, max_size=3)}),
            st.fixed_dictionaries({"not": inner}),
        ),
        max_leaves=4,
    )
)


def engine_for(*written: dict[str, Any]) -> SegmentEngine:
    """Return an engine with a segment for each condition, named s0, s1 and so on."""
    segments = [{"name": f"s{number}", "description": "-", "when": when} for number, when in enumerate(written)]
    return SegmentEngine(SegmentDefinitions.model_validate({"segments": segments}))


def person_of(engine: SegmentEngine, events: list[dict[str, Any]], profile_id: str = "p1") -> Person:
    """Return a person with these events, observed in this order; nothing is evaluated yet."""
    person = Person(profile_id, new_profile(profile_id), {})
    for event in events:
        apply(person.document, event)
        engine.observe(person, event)
    return person


def merged(engine: SegmentEngine, winner: Person, loser: Person) -> Person:
    """Merge two profiles of one person."""
    engine.combine(winner.state, loser.state)
    return Person(winner.profile_id, combine(winner.document, loser.document), winner.state)


def holds(condition: Condition, events: list[dict[str, Any]], now: int) -> bool:
    """Evaluate one of the conditions above by reading all events."""
    operator = condition.operator
    if operator in ("all", "any"):
        results = [holds(one, events, now) for one in condition.inner]
        return all(results) if operator == "all" else any(results)
    if operator == "not":
        return not holds(condition.inner[0], events, now)
    since = now - condition.within if condition.within else -1
    if operator == "sequence":
        return _holds_sequence(condition, events, since)
    names = condition.performed or condition.not_performed or condition.event or ()
    found = [
        event
        for event in events
        if event["event"] in names and ms_of_text(event["occurred_at"]) > since and _passes(condition, event)
    ]
    if operator == "aggregate":
        return _holds_aggregate(condition, found)
    if operator == "not_performed":
        return not found
    if condition.exactly is not None:
        return len(found) == condition.exactly
    if condition.at_most is not None:
        return len(found) <= condition.at_most
    return len(found) >= (condition.at_least or 1)


def _passes(condition: Condition, event: dict[str, Any]) -> bool:
    wanted = condition.where.get("properties.price")
    price = event["properties"].get("price")
    if wanted is None:
        return True
    return price is not None and (price == str(wanted.eq) if wanted.eq else Decimal(price) >= Decimal(str(wanted.gte)))


def _holds_sequence(condition: Condition, events: list[dict[str, Any]], since: int) -> bool:
    first, second = condition.sequence or ()
    for one in events:
        for two in events:
            begun, ended = ms_of_text(one["occurred_at"]), ms_of_text(two["occurred_at"])
            products = one["properties"].get("product_id"), two["properties"].get("product_id")
            if (
                one["event"] in first.event
                and two["event"] in second.event
                and begun < ended
                and ended > since
                and (second.within is None or ended - begun <= second.within)
                and (condition.same is None or (products[0] is not None and products[0] == products[1]))
            ):
                return True
    return False


def _holds_aggregate(condition: Condition, events: list[dict[str, Any]]) -> bool:
    if condition.aggregate == "count":
        return condition.lt is not None and len(events) < condition.lt
    field = (condition.of or "").rpartition(".")[2]
    rows = sorted(
        (ms_of_text(event["occurred_at"]), value) for event in events if (value := event["properties"].get(field))
    )
    values = [value for _, value in rows]
    if condition.aggregate == "unique_count":
        return condition.gte is not None and len(set(values)) >= condition.gte
    if condition.aggregate == "sum":
        return condition.gte is not None and sum(map(Decimal, values)) >= condition.gte
    if not values:
        return False
    if condition.gte is not None:
        numbers = [Decimal(value) for value in values]
        result: dict[str, Any] = {"min": min(numbers), "max": max(numbers), "average": sum(numbers) / len(numbers)}
        return bool(result[condition.aggregate or ""] >= condition.gte)
    if condition.aggregate == "unique":
        return condition.eq in values
    counts = Counter(values)
    chosen = {"first": values[0], "last": values[-1], "most_frequent": min(counts, key=lambda one: (-counts[one], one))}
    return bool(chosen[condition.aggregate or ""] == condition.eq)
