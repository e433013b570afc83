"""Which segments an event may concern."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

from processors.profiles.contact import STATEMENTS
from processors.profiles.joins import milliseconds
from processors.segments.evaluation import Check
from schemas.events.messages import STEPS

_REMEMBERED = 20_000
"""Kinds of events kept before starting over: names of custom events are unbounded, memory is not."""

_CARTS = ("Product Added", "Wishlist Product Added to Cart", "Product Removed", "Cart Viewed", "Checkout Started")
_SALES = ("Order Completed", "Order Updated", "Receipt Issued")
_PUSH = ("web_push", "app_push")


def _told_by_messages() -> dict[str, tuple[str, ...]]:
    """What became of a message may be an answer, and may take consent back."""
    found = {}
    for name, (kind, step) in STEPS.items():
        channels = _PUSH if kind == "push" else (kind,)
        words = ["messages", *(f"messages:{channel}" for channel in channels)]
        if step in ("clicked", "replied", "opened"):
            words += [f"answered:{channel}" for channel in channels]
        if step in ("unsubscribed", "complained"):
            words.append("consent")
        found[name] = tuple(words)
    return found


_TOLD_BY: dict[str, tuple[str, ...]] = {
    "Product Viewed": ("viewed",),
    **dict.fromkeys(_CARTS, ("cart",)),
    **dict.fromkeys(_SALES, ("orders", "cart")),
    "Order Refunded": ("orders",),
    "Order Cancelled": ("orders",),
    "Loyalty Points Earned": ("loyalty",),
    "Loyalty Points Redeemed": ("loyalty",),
    **_told_by_messages(),
    **dict.fromkeys(STATEMENTS, ("consent",)),
}


class Touched:
    """Finds the segments whose answer an event may change.

    Args:
        checks: The segments' conditions, in the order of the definitions. They name what they depend on by words: `any`
            (every event), `first` (the earliest event), `event:<name>`, `channel:<name>`; the parts of an event that
            are there: `context`, `traits`, `consent`, `campaign`, `store`; what an event tells by its name: `viewed`,
            `cart`, `orders`, `loyalty`, `messages`, `messages:<channel>`, `answered:<channel>`, `consent`; and
            `addresses`: there are others than before, or one was verified, bounced or works again; and `newcomer`: it
            is the person's first event that was heard of.
    """

    def __init__(self, checks: Mapping[str, Check]) -> None:
        self._checks = checks
        self._known: dict[tuple[Any, ...], list[tuple[str, bool | None]]] = {}
        self._reads_first = any("first" in check.needs for check in checks.values())

    def by(
        self,
        event: dict[str, Any],
        document: dict[str, Any],
        members: Container[str],
        *,
        addresses: bool,
        newcomer: bool = False,
    ) -> list[str]:
        """Name the segments, in order.

        Args:
            event: The event.
            document: The profile, which holds the event.
            members: The segments that the person is in.
            addresses: Whether `address_mark` has changed.
            newcomer: Whether nothing was known of the person before.
        """
        properties = event.get("properties")
        key = (
            event["event"],
            event["channel"],
            addresses,
            self._reads_first and milliseconds(event["occurred_at"]) == document.get("first_seen"),
            "context" in event,
            "traits" in event,
            "consent" in event,
            "campaign" in event,
            properties is not None and "store_id" in properties,
            newcomer,
        )
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            known = self._known[key] = self._work_out(*key)
        return [name for name, only in known if only is None or only is (name in members)]

    def _work_out(self, name: str, channel: str, *present: bool) -> list[tuple[str, bool | None]]:
        """List the segments, with those to ask for members only (True), or for everybody else only (False)."""
        words = {"any", f"event:{name}", f"channel:{channel}", *_TOLD_BY.get(name, ())}
        parts = ("addresses", "first", "context", "traits", "consent", "campaign", "store", "newcomer")
        words |= {word for word, there in zip(parts, present, strict=True) if there}
        found: list[tuple[str, bool | None]] = []
        for segment, check in self._checks.items():
            makes, breaks = not check.makes.isdisjoint(words), not check.breaks.isdisjoint(words)
            if makes or breaks:
                found.append((segment, None if makes and breaks else breaks))
        return found


def address_mark(document: dict[str, Any]) -> int:
    """A number that changes when a person has other addresses, or one is verified, bounces or works again."""
    mark = 0
    for found in document.get("addresses", {}).values():
        for _, verified, _, bounced in found.values():
            mark += 1 + 1_000 * verified + 1_000_000 * bounced
    return mark
