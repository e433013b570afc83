"""Summary of a person: what follows from the profile and from all events, beyond the sections of the document."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import isfinite
from typing import Any

import orjson

from processors.enrichment.enrichment import is_bot
from processors.profiles.document import read_profile
from processors.segments.computed_attributes import interests
from processors.segments.engine import SegmentEngine
from processors.segments.evaluation import EvaluationContext
from schemas.profiles.document import StoredProfile
from schemas.profiles.person import Person
from schemas.segments.conditions import Condition
from schemas.segments.definitions import SegmentDefinitions
from schemas.territory import ONE_TERRITORY, Territory
from schemas.time import ms_of_text, text_of_ms

Event = Mapping[str, Any]

SHOWN = 5
"""Categories and brands shown."""
_OF_EVENTS = ("preferred.hour", "preferred.category", "preferred.brand")
"""Attributes of series, which are kept only where a segment needs them; here they are read from history."""
_COUPON_STEPS = {
    "Coupon Entered": "entered",
    "Coupon Applied": "applied",
    "Coupon Denied": "denied",
    "Coupon Removed": "removed",
    "Order Completed": "ordered with",
    "Receipt Issued": "ordered with",
}


class Summarizer:
    """Summarizes people.

    Args:
        definitions: Segments, and the parameters of life cycle, RFM and interests.
        territory: Of the deployment.

    Raises:
        LookupError: A condition refers to an attribute or a segment that does not exist.
    """

    def __init__(self, definitions: SegmentDefinitions, territory: Territory = ONE_TERRITORY) -> None:
        wanted = [Condition(attribute=name, exists=True) for name in _OF_EVENTS]
        self._engine = SegmentEngine(definitions, territory=territory, extra=wanted)
        self._affinity = definitions.affinity
        self._territory = territory

    def person(self, stored: StoredProfile) -> Person:
        """Return a stored person as after the next write: joined with the profiles that are to be absorbed.

        Raises:
            ValueError, TypeError, LookupError, AttributeError: What is stored is no profile.
        """
        state = orjson.loads(stored.state) if stored.state else {}
        for loser in stored.absorbed:
            if loser.state:
                self._engine.combine(state, orjson.loads(loser.state))
        return Person(stored.profile_id, read_profile(stored), state)

    def summarize(self, person: Person, events: Iterable[dict[str, Any]], now_ms: int) -> dict[str, Any]:
        """Summarize a person.

        Args:
            person: The live profile and its state; neither is changed.
            events: All events of the person; none: what follows from them is as far as the state has it.
            now_ms: The time.

        Returns:
            JSON values; what is not known is null or empty, and no number is infinite or not a number:
            `lifecycle_stage`; `rfm`, with `class` and `score`; `segments`, with the time since; `scores`, predictions
            with the time of their computation; `preferred` `channel` and `hour` (local); `affinity`, shares of all
            interest by `categories` and `brands`, and the likelihood of a `discount`.
        """
        replayed = Person(person.profile_id, person.document, {})
        for event in events:
            if not is_bot(event):
                self._engine.observe(replayed, event)
        features = {**person.state.get("features", {}), **replayed.state.get("features", {})}
        whole = Person(person.profile_id, person.document, {**person.state, "features": features})
        context = EvaluationContext(whole.profile_id, whole.document, whole.state, now_ms, self._territory)

        def read(name: str) -> Any:
            return self._engine.attribute(name, whole, now_ms)

        rfm_class = read("rfm.class")
        return {
            "lifecycle_stage": read("lifecycle.stage"),
            "rfm": {"class": rfm_class, "score": read("rfm.score")} if rfm_class else None,
            "segments": {
                name: text_of_ms(since)
                for name, since in sorted(person.state.get("segments", {}).get("in", {}).items())
                if name in self._engine.names
            },
            "scores": {
                name: {"value": value, "at": text_of_ms(at)}
                for name, (value, at) in sorted(person.state.get("scores", {}).items())
                if isinstance(value, int | float) and isfinite(value)
            },
            "preferred": {"channel": read("preferred.channel"), "hour": read("preferred.hour")},
            "affinity": {
                "categories": _shares(interests(context, "category", self._affinity)),
                "brands": _shares(interests(context, "brand", self._affinity)),
                "discount": read("affinity.discount"),
            },
        }


def product_ids(events: Iterable[Event]) -> list[str]:
    """Return the ids of the products in these events."""
    return sorted({product_id for event in events for product_id, _ in _products(event)})


def product_names(events: Iterable[Event]) -> dict[str, str]:
    """Return the name of each product that these events name, as the latest of them does."""
    named: dict[str, tuple[int, str]] = {}
    for event in events:
        for product_id, name in _products(event):
            if isinstance(name, str) and name:
                named[product_id] = max(named.get(product_id, (0, "")), (ms_of_text(event["occurred_at"]), name))
    return {product_id: name for product_id, (_, name) in sorted(named.items())}


def _products(event: Event) -> Iterator[tuple[str, Any]]:
    """Yield the id and the name of each product of an event, as it has them."""
    properties = event.get("properties") or {}
    products = properties.get("products")
    for product in (properties, *(products if isinstance(products, list) else ())):
        if isinstance(product, dict) and isinstance(product_id := product.get("product_id"), str) and product_id:
            yield product_id, product.get("name")


def coupons(events: Iterable[Event]) -> list[dict[str, Any]]:
    """Return the coupons of these events, the latest first, each with the last `step`, its time and the order."""
    last: dict[str, tuple[int, int, dict[str, Any]]] = {}
    for event in events:
        step, properties = _COUPON_STEPS.get(event["event"]), event.get("properties") or {}
        code = properties.get("coupon_id") or properties.get("coupon_name") or properties.get("coupon")
        if step is None or not isinstance(code, str) or not code:
            continue
        row = {"coupon": code, "step": step, "at": event["occurred_at"], "order_id": properties.get("order_id") or ""}
        place = ms_of_text(event["occurred_at"]), int(step == "ordered with")
        if code not in last or last[code][:2] <= place:
            last[code] = (*place, row)
    return [row for *_, row in sorted(last.values(), key=lambda one: (-one[0], one[2]["coupon"]))]


def _shares(weights: Mapping[str, int]) -> dict[str, float]:
    whole = sum(weights.values())
    most = sorted(weights.items(), key=lambda item: (-item[1], item[0]))[:SHOWN]
    return {name: round(weight / whole, 4) for name, weight in most if weight > 0}
