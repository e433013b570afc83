"""The profile of a person is the join of the profiles of their events.

`profile_of_event` is the profile of a person with one event; `join` puts two profiles together. So applying an event is
a join, and merging two people is the same join. It is commutative and associative, from which follow the laws
(`tests/property/test_profile_laws.py`):

1. Any order of the same events gives the same profile.
2. `combine(fold(A), fold(B))` is `fold(A and B)`: after a merge it looks as if it had always been one person.
3. `combine` is commutative, but for the `profile_id` and for sections of a newer version, and associative.

It is not idempotent, since counts add: the store sees to it that an event is applied once (`stage.py`).
The laws hold within the bounds of `schemas/profiles/document.py`. Counters, traits, lists of products and times keep
them beyond those too; orders, cart operations and addresses beyond the bounds are dropped oldest first, on arrival.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import orjson

from processors.intake.event_time import TIME_DOUBTFUL
from processors.profiles import cart, contact, orders
from processors.profiles.joins import (
    Section,
    bounded_text,
    canonical_json,
    first_by_name,
    join_counters,
    join_rows,
    join_tallies,
    join_times,
    join_values,
    most_recent,
    nested_join,
)
from schemas.events.messages import STEPS
from schemas.events.touchpoint import EVENT_NAMES
from schemas.profiles.document import (
    EVENT_NAMES_KEPT,
    ITEMS_KEPT,
    TEXT_KEPT,
    TRAIT_BYTES,
    TRAITS_KEPT,
    StoredProfile,
)
from schemas.time import ms_of_text

Document = dict[str, Any]
Event = dict[str, Any]

_MAX_POINTS = 1_000_000_000


def new_profile(profile_id: str) -> Document:
    """Return the profile of a person without events."""
    return {"profile_id": profile_id, "event_count": 0}


def apply(profile: Document, event: Event) -> None:
    """Add one event to a profile.

    Args:
        profile: The document; changed in place, so it must be the caller's own.
        event: A resolved touchpoint of this person that the profile does not hold yet. It is not changed.
    """
    join(profile, profile_of_event(event))


def combine(winner: Document, loser: Document) -> Document:
    """Return the profile of one person from two profiles that a merge has joined.

    Args:
        winner: The profile whose id stays.
        loser: The profile that ends here.

    Returns:
        A new document; both arguments are left as they are.
    """
    combined: Document = orjson.loads(orjson.dumps(winner))
    other: Document = orjson.loads(orjson.dumps(loser))
    other.pop("profile_id", None)
    join(combined, other)
    return combined


def read_profile(stored: StoredProfile) -> Document:
    """Decode a stored profile as it will be after its next write: combined with the profiles that it is to absorb.

    Raises:
        ValueError, TypeError, LookupError, AttributeError: What is stored is no profile.
    """
    document: Document = orjson.loads(stored.document) if stored.document else new_profile(stored.profile_id)
    for loser in stored.absorbed:
        if loser.document:
            document = combine(document, orjson.loads(loser.document))
    return document


def encode(profile: Document) -> bytes:
    """Encode a profile as JSON, so that equal profiles are equal bytes."""
    return canonical_json(profile)


def join(mine: Document, other: Document) -> None:
    """Join `other`, which has no `profile_id` and must not be used afterwards, into `mine`.

    A newer version may have stored a section that this one does not know: it is kept, and of two that of `mine`.
    """
    for section, theirs in other.items():
        known = mine.get(section)
        if known is None:
            mine[section] = theirs
        elif join_section := _JOINS.get(section):
            mine[section] = join_section(known, theirs)


def profile_of_event(event: Event) -> Document:
    """Return the profile of a person with this one event; it has no `profile_id`."""
    at = ms_of_text(event["occurred_at"])
    enriched = event.get("enriched")
    if enriched is not None and "bot" in enriched:
        return {"event_count": 1, "bots": {enriched["bot"]: [1, at]}}
    name, channel = event["event"], event["channel"]
    context = event.get("context")
    is_dated = _is_dated(context)
    addition: Document = {
        "event_count": 1,
        **({"first_seen": at} if is_dated else {}),
        "last_seen": at,
        "channels": {channel: [1, at, at, name]},
        "events": {name: [1, at, at]},
    }
    properties = event.get("properties") or {}
    if identifiers := event.get("identifiers"):
        contact.addresses(addition, identifiers, at)
    if context:
        _note_context(addition, context, enriched, at)
    if "store_id" in properties and (store := bounded_text(properties["store_id"])):
        addition.setdefault("stores", {})[store] = at
    if traits := event.get("traits"):
        _note_traits(addition, traits, at)
    if "consent" in event:
        contact.consent(addition, event, at)
    if is_dated and "campaign" in event and STEPS.get(name, ("", "clicked"))[1] == "clicked":
        _note_touch(addition, event, at)
    if add_sections := _SECTIONS_BY_EVENT.get(name):
        add_sections(addition, event, properties, at)
    elif name not in EVENT_NAMES:
        contact.own_message(addition, event, properties, at)
    return addition


def _is_dated(context: dict[str, Any] | None) -> bool:
    """Whether an event has a time of its own.

    Dated by its arrival, it may be of any time before: it says when the person was last heard of, not since when.
    """
    return not context or context.get(TIME_DOUBTFUL) is not True


def _note_context(addition: Document, context: dict[str, Any], enriched: dict[str, str] | None, at: int) -> None:
    """Add the event's context: place, device, language, store; what it does not say, as it was found out."""
    known: dict[str, Any] = {}
    for name in ("timezone", "locale"):
        if name in context and (value := bounded_text(context[name])):
            known[name] = [value, at]
    for name, part, field in _CIRCUMSTANCES:
        if part in context and (value := bounded_text(context[part].get(field))):
            known[name] = [value, at]
        elif enriched is not None and name in enriched:
            known[name] = [bounded_text(enriched[name]), at]
    if known:
        addition["known"] = known
    if "store_id" in context and (store := bounded_text(context["store_id"])):
        addition["stores"] = {store: at}


_CIRCUMSTANCES = (
    ("country", "geo", "country"),
    ("city", "geo", "city"),
    ("device", "device", "type"),
    ("os", "os", "name"),
)


def _note_traits(addition: Document, traits: dict[str, Any], at: int) -> None:
    kept = {
        name: [value, at]
        for name, value in traits.items()
        if len(name) <= TEXT_KEPT and (type(value) is bool or len(canonical_json(value)) <= TRAIT_BYTES)
    }
    addition["traits"] = first_by_name(kept, TRAITS_KEPT)


def _note_touch(addition: Document, event: Event, at: int) -> None:
    """Add an event that names a campaign as a touch; of message events only clicks are touches."""
    campaign = {
        name: kept for name, value in event["campaign"].items() if name in _CAMPAIGN and (kept := bounded_text(value))
    }
    touch = {"at": at, "channel": campaign.pop("channel", event["channel"]), "campaign": campaign}
    addition["first_touch"] = addition["last_touch"] = touch


_CAMPAIGN = frozenset({"channel", "source", "medium", "name", "id", "creative"})


def _note_points(addition: Document, event: Event, properties: dict[str, Any], at: int) -> None:
    points = min(abs(_whole(properties.get("points"))), _MAX_POINTS)
    loyalty: dict[str, Any] = {"earned" if event["event"] == "Loyalty Points Earned" else "redeemed": points}
    if "balance" in properties:
        loyalty["reported"] = [_whole(properties["balance"]), at]
    addition["loyalty"] = loyalty


def _whole(value: object) -> int:
    return int(value) if isinstance(value, int | float) else 0


def _sold(addition: Document, event: Event, properties: dict[str, Any], at: int) -> None:
    addition["orders"] = orders.section(event, at, is_dated=_is_dated(event.get("context")))
    if event["event"] == "Order Completed" or (event["event"] == "Receipt Issued" and properties.get("products")):
        cart.buy(addition, properties, at, event["channel"])


def _paid_back(addition: Document, event: Event, properties: dict[str, Any], at: int) -> None:
    addition["orders"] = orders.section(event, at)


def _note_seen_price(addition: Document, properties: dict[str, Any], at: int) -> None:
    """Add the price that the person saw, of which a lower one is a drop to them."""
    if seen := _seen_prices([properties], at):
        addition["seen"] = seen


def _seen_prices(products: Iterable[Any], at: int, **said: Any) -> dict[str, list[Any]]:
    """Return product → when, price, currency, market, name; `said` has what an event says of all its products."""
    found = {}
    for one in products:
        if not isinstance(one, dict):
            continue
        product, price = bounded_text(one.get("product_id")), bounded_text(one.get("price"))
        if product and price:
            about = [bounded_text(one.get(name) or said.get(name)) for name in ("currency", "market", "name")]
            found[product] = [at, price, *about]
    return found


def _in_cart(addition: Document, event: Event, properties: dict[str, Any], at: int) -> None:
    cart.snapshot(addition, properties, at)
    listed = properties.get("products")
    said = {name: properties.get(name) for name in ("currency", "market")}
    if seen := _seen_prices(listed if isinstance(listed, list) else (), at, **said):
        addition["seen"] = most_recent(seen, ITEMS_KEPT, lambda entry: entry[0])


def _viewed(addition: Document, event: Event, properties: dict[str, Any], at: int) -> None:
    cart.view(addition, properties, at)
    _note_seen_price(addition, properties, at)


def _added(addition: Document, event: Event, properties: dict[str, Any], at: int) -> None:
    cart.add(addition, properties, at)
    _note_seen_price(addition, properties, at)


def _wished(addition: Document, event: Event, properties: dict[str, Any], at: int) -> None:
    _note_seen_price(addition, properties, at)


def _cart_section(
    add: Callable[[Document, dict[str, Any], int], None],
) -> Callable[[Document, Event, dict[str, Any], int], None]:
    return lambda addition, event, properties, at: add(addition, properties, at)


_SECTIONS_BY_EVENT: dict[str, Callable[[Document, Event, dict[str, Any], int], None]] = {
    "Product Viewed": _viewed,
    "Product Added": _added,
    "Product Added to Wishlist": _wished,
    "Wishlist Product Added to Cart": _added,
    "Product Removed": _cart_section(cart.remove),
    "Cart Viewed": _in_cart,
    "Checkout Started": _in_cart,
    "Order Completed": _sold,
    "Order Updated": _sold,
    "Receipt Issued": _sold,
    "Order Refunded": _paid_back,
    "Order Cancelled": _paid_back,
    "Loyalty Points Earned": _note_points,
    "Loyalty Points Redeemed": _note_points,
    **dict.fromkeys(STEPS, contact.message),
}
"""By event name: the function that adds sections beyond those of every event."""


def _join_channels(mine: Section, other: Section) -> Section:
    for name, theirs in other.items():
        known = mine.get(name)
        if known is None:
            mine[name] = theirs
            continue
        known[0] += theirs[0]
        known[1] = min(known[1], theirs[1])
        known[2:] = max(known[2:], theirs[2:])
    return mine


def _join_loyalty(mine: Section, other: Section) -> Section:
    for name in ("earned", "redeemed"):
        if name in other:
            mine[name] = mine.get(name, 0) + other[name]
    if "reported" in other and other["reported"][::-1] > mine.get("reported", [0, -1])[::-1]:
        mine["reported"] = other["reported"]
    return mine


def _order_of_touch(touch: dict[str, Any]) -> tuple[int, str, bytes]:
    return touch["at"], touch["channel"], canonical_json(touch["campaign"])


_JOINS: dict[str, Callable[[Any, Any], Any]] = {
    "event_count": int.__add__,
    "first_seen": min,
    "last_seen": max,
    "channels": _join_channels,
    "events": lambda mine, other: first_by_name(join_counters(mine, other), EVENT_NAMES_KEPT, EVENT_NAMES),
    "first_touch": lambda mine, other: min(mine, other, key=_order_of_touch),
    "last_touch": lambda mine, other: max(mine, other, key=_order_of_touch),
    "traits": lambda mine, other: first_by_name(join_values(mine, other), TRAITS_KEPT),
    "known": join_values,
    "viewed": lambda mine, other: most_recent(join_times(mine, other), ITEMS_KEPT),
    "seen": lambda mine, other: most_recent(join_rows(mine, other), ITEMS_KEPT, lambda entry: entry[0]),
    "bought": lambda mine, other: most_recent(join_times(mine, other), ITEMS_KEPT),
    "carted": lambda mine, other: most_recent(join_rows(mine, other), ITEMS_KEPT, lambda entry: entry[0]),
    "settled": max,
    "cart": cart.join_cart,
    "orders": orders.join_orders,
    "messages": nested_join(join_tallies),
    "bots": join_tallies,
    "loyalty": _join_loyalty,
    "consent": contact.join_consent,
    "addresses": contact.join_addresses,
    "soft_bounces": nested_join(contact.join_soft_bounces),
    "stores": lambda mine, other: most_recent(join_times(mine, other), ITEMS_KEPT),
}
"""The join of each section of two profiles."""
