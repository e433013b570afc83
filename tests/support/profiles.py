"""Resolved touchpoints, as the identify stage writes them, and the profiles that they tell."""

from __future__ import annotations

from typing import Any

from processors.profiles.document import apply, new_profile
from processors.profiles.view import view
from schemas.events.touchpoint import read
from tests.support.builders import at, touchpoint


def resolved(event: str = "Page Viewed", channel: str = "web", *, person: str = "p1", **fields: Any) -> dict[str, Any]:
    """One event of `person`; `fields` are the producer's, such as `occurred_at` and `properties`."""
    written = read(touchpoint(event, channel, **fields))
    return {**written, "profile_id": person, "anchor": None, "received_at": at(days=30)[:-6] + "Z", "origin": {}}


def told(*events: dict[str, Any]) -> dict[str, Any]:
    """The profile of the person who did all this, told in this order."""
    profile = new_profile("p1")
    for event in events:
        apply(profile, event)
    return profile


def seen(*events: dict[str, Any]) -> dict[str, Any]:
    """The same, as it is shown."""
    return view(told(*events))


def added(
    product: str, hour: int, *, cart: str | None = None, quantity: int = 1, channel: str = "web"
) -> dict[str, Any]:
    properties = {"product_id": product, "quantity": quantity, "cart_id": cart, "price": "10.00", "currency": "EUR"}
    return resolved("Product Added", channel, occurred_at=at(hours=hour), properties=properties)


def ordered(
    order_id: str, hour: int, *products: str, event: str = "Order Completed", channel: str = "web", **properties: Any
) -> dict[str, Any]:
    listed = [{"product_id": product} for product in products]
    about = {"order_id": order_id, "currency": "EUR", **({"products": listed} if listed else {}), **properties}
    return resolved(event, channel, occurred_at=at(hours=hour), properties=about)
