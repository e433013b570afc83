"""A free text that is too long is cut and noted; what names a person, an order or a thing is refused."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from processors.intake.decode import decode
from schemas.events.touchpoint import read
from schemas.outcomes import Reject
from tests.support.builders import touchpoint

LONG, TOO_LONG = "ä" * 600, "b" * 9_000


def decoded(event: dict[str, Any], max_bytes: int = 900_000) -> Any:
    return decode(orjson.dumps(event), channels=frozenset({"web"}), max_bytes=max_bytes)


def order(**more: Any) -> dict[str, Any]:
    properties = {"order_id": "o", "revenue": "5", "currency": "EUR", **more.pop("properties", {})}
    return touchpoint("Order Completed", "web", properties=properties, **more)


def inside(event: Any, field: str) -> Any:
    for step in field.split("."):
        event = event[int(step) if step.isdecimal() else step]
    return event


def notes(event: dict[str, Any]) -> list[tuple[str, str, int]]:
    return [(note["field"], note["rule"], note["count"]) for note in event.get("context", {}).get("mended", ())]


@pytest.mark.parametrize(
    ("more", "field", "kept"),
    [
        ({"properties": {"products": [{"product_id": "p", "name": LONG}]}}, "properties.products.0.name", LONG[:500]),
        ({"properties": {"coupon": LONG}}, "properties.coupon", LONG[:500]),
        ({"properties": {"affiliation": TOO_LONG}}, "properties.affiliation", TOO_LONG[:500]),
        ({"properties": {"note": TOO_LONG}}, "properties.note", TOO_LONG[:8192]),
        ({"properties": {"own": [{"deep": [TOO_LONG]}]}}, "properties.own.0.deep.0", TOO_LONG[:8192]),
        ({"properties": {"products": [{"url": TOO_LONG}]}}, "properties.products.0.url", TOO_LONG[:8192]),
        ({"campaign": {"name": LONG}}, "campaign.name", LONG[:500]),
        ({"campaign": {"own": TOO_LONG}}, "campaign.own", TOO_LONG[:8192]),
        ({"context": {"timezone": LONG}}, "context.timezone", LONG[:500]),
        ({"context": {"page": {"url": TOO_LONG}}}, "context.page.url", TOO_LONG[:8192]),
        ({"context": {"device": {"model": TOO_LONG}}}, "context.device.model", TOO_LONG[:8192]),
        ({"traits": {"first_name": TOO_LONG}}, "traits.first_name", TOO_LONG[:8192]),
        ({"traits": {"address": {"street": TOO_LONG}}}, "traits.address.street", TOO_LONG[:8192]),
    ],
)
def test_a_detail_over_its_bound_is_cut_and_costs_no_order(more: dict[str, Any], field: str, kept: str) -> None:
    event = decoded(order(**more))

    assert ("o", "5", kept) == (event["properties"]["order_id"], event["properties"]["revenue"], inside(event, field))
    noted = ".".join(step for step in field.split(".") if not step.isdecimal())
    assert (noted, "cut", 1) in notes(event)
    assert {"cut"} == {rule for _, rule, _ in notes(event)}
    assert event == read(event)


def test_long_names_on_all_lines_are_one_note() -> None:
    lines = [{"product_id": str(n), "name": LONG, "brand": LONG if n % 2 else "b"} for n in range(300)]
    event = decoded(order(properties={"products": lines}))

    assert {("properties.products.name", "cut", 300), ("properties.products.brand", "cut", 150)} == set(notes(event))


@pytest.mark.parametrize("chars", [499, 500])
def test_a_text_within_its_bound_is_left_as_it_is(chars: int) -> None:
    event = decoded(order(properties={"coupon": "ä" * chars, "note": "n" * 8192}))

    assert (chars, []) == (len(event["properties"]["coupon"]), notes(event))


@pytest.mark.parametrize(
    "event",
    [
        order(properties={"order_id": "o" * 201}),
        order(properties={"order_id": TOO_LONG}),
        order(properties={"products": [{"product_id": "p" * 201}]}),
        order(properties={"products": [{"sku": TOO_LONG}]}),
        order(properties={"own": {"id": TOO_LONG}}),
        order(properties={"revenue": "5" * 9_000}),
        order(properties={"TOO" * 3_000: 1}),
        order(campaign={"id": LONG}),
        order(campaign={"click_id": LONG}),
        order(context={"session_id": LONG}),
        order(identifiers={"user_id": LONG}),
        order(identifiers={"email": TOO_LONG}),
        order(identifiers=[{"type": "user_id", "value": TOO_LONG}]),
        order(traits={"email": TOO_LONG}),
        order(event_id=LONG),
        order(source=LONG),
    ],
    ids=lambda event: next(name for name in sorted(event) if name)[:20],
)
def test_of_what_names_somebody_or_something_no_part_is_the_same(event: dict[str, Any]) -> None:
    assert isinstance(decoded(event), Reject)


def test_texts_are_cut_before_lines_where_an_order_is_too_large_for_the_deployment() -> None:
    lines = [{"product_id": str(n)} for n in range(20)]
    event = decoded(order(properties={"products": lines, "terms": "c" * 200_000}, context={"own": TOO_LONG}), 30_000)

    assert (20, 8192) == (len(event["properties"]["products"]), len(event["properties"]["terms"]))
    assert {("properties.terms", "cut", 1), ("context.own", "cut", 1)} == set(notes(event))


def test_an_event_without_products_that_is_too_large_with_its_texts_cut_is_refused_by_its_size() -> None:
    refused = decoded(order(properties={f"text{n}": TOO_LONG for n in range(9)}), 30_000)

    assert isinstance(refused, Reject)
    assert "at most 30000 are accepted; shorten its texts." in refused.message
