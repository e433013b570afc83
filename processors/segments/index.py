"""Index from what an event contains to the segments whose membership it can change."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

from processors.profiles.contact import STATEMENTS, has_bounced
from processors.segments.evaluation import CompiledCondition
from schemas.channels import CHANNELS_OF_KIND
from schemas.events.messages import STEPS, Step, named_step
from schemas.time import ms_of_text

_MAX_CACHED_KEYS = 20_000
"""Kinds of events in the cache before it is emptied: custom events can have any number of names."""

_CART_EVENTS = ("Product Added", "Wishlist Product Added to Cart", "Product Removed", "Cart Viewed", "Checkout Started")
_SALE_EVENTS = ("Order Completed", "Order Updated", "Receipt Issued")


def _message_triggers() -> dict[str, tuple[str, ...]]:
    """Return the triggers of message events: an answer counts as engagement, unsubscribing withdraws consent."""
    return {name: _triggers_of_step(CHANNELS_OF_KIND[kind], step) for name, (kind, step) in STEPS.items()}


def _triggers_of_step(channels: tuple[str, ...], step: Step) -> tuple[str, ...]:
    triggers = ["messages", *(f"messages:{channel}" for channel in channels)]
    if step in ("clicked", "replied", "opened"):
        triggers += [f"answered:{channel}" for channel in channels]
    if step in ("unsubscribed", "complained", "bounced"):  # a bounce may be one of the two
        triggers.append("consent")
    return tuple(triggers)


def _triggers_of_name(name: str) -> tuple[str, ...]:
    """Return the triggers of an event's name; on channels of their own, messages have events of that name."""
    if name in _EVENT_TRIGGERS:
        return _EVENT_TRIGGERS[name]
    found = named_step(name)
    return () if found is None else _triggers_of_step((found[0],), found[1])


_EVENT_TRIGGERS: dict[str, tuple[str, ...]] = {
    "Product Viewed": ("viewed",),
    **dict.fromkeys(_CART_EVENTS, ("cart",)),
    **dict.fromkeys(_SALE_EVENTS, ("orders", "cart")),
    "Order Refunded": ("orders",),
    "Order Cancelled": ("orders",),
    "Loyalty Points Earned": ("loyalty",),
    "Loyalty Points Redeemed": ("loyalty",),
    **_message_triggers(),
    **dict.fromkeys(STATEMENTS, ("consent",)),
}


class SegmentIndex:
    """Finds the segments whose membership an event can change.

    A trigger is a text that names what an event contains or changes:

    * `any`: every event; `event:<name>`; `channel:<name>`.
    * `first_event`: the first event received of the person; `earliest_event`: the earliest by event time.
    * `context`, `traits`, `consent`, `campaign`, `store`: the event has this part.
    * `viewed`, `cart`, `orders`, `loyalty`, `messages`, `messages:<channel>`, `answered:<channel>`, `consent`: what
      events of this name change in the profile.
    * `addresses`: the person's addresses have changed, see `address_checksum`.

    Args:
        conditions: The compiled conditions by segment, in the order of the definitions.
    """

    def __init__(self, conditions: Mapping[str, CompiledCondition]) -> None:
        self._conditions = conditions
        # By what an event contains: the segments, and whether only members (True) or only others (False) are concerned.
        self._cache: dict[tuple[Any, ...], list[tuple[str, bool | None]]] = {}
        self._uses_earliest_event = any("earliest_event" in one.triggers for one in conditions.values())

    def affected(
        self,
        event: dict[str, Any],
        document: dict[str, Any],
        members: Container[str],
        *,
        addresses_changed: bool,
        first_event: bool = False,
    ) -> list[str]:
        """Return the segments whose membership the event can change, in the order of the definitions.

        Args:
            event: The event.
            document: The profile, with the event applied.
            members: The segments that the person is in.
            addresses_changed: Whether `address_checksum` has changed.
            first_event: Whether nothing was known of the person before.
        """
        properties = event.get("properties")
        key = (
            event["event"],
            event["channel"],
            addresses_changed,
            self._uses_earliest_event and ms_of_text(event["occurred_at"]) == document.get("first_seen"),
            "context" in event,
            "traits" in event,
            "consent" in event,
            "campaign" in event,
            properties is not None and "store_id" in properties,
            first_event,
        )
        known = self._cache.get(key)
        if known is None:
            if len(self._cache) >= _MAX_CACHED_KEYS:
                self._cache.clear()
            known = self._cache[key] = self._triggered(*key)
        return [name for name, members_only in known if members_only is None or members_only is (name in members)]

    def _triggered(self, name: str, channel: str, *present: bool) -> list[tuple[str, bool | None]]:
        """Return the segments that are triggered: by members only (True), by others only (False) or by both (None)."""
        triggers = {"any", f"event:{name}", f"channel:{channel}", *_triggers_of_name(name)}
        parts = ("addresses", "earliest_event", "context", "traits", "consent", "campaign", "store", "first_event")
        triggers |= {part for part, there in zip(parts, present, strict=True) if there}
        found: list[tuple[str, bool | None]] = []
        for segment, condition in self._conditions.items():
            enters = not condition.entry_triggers.isdisjoint(triggers)
            leaves = not condition.exit_triggers.isdisjoint(triggers)
            if enters or leaves:
                found.append((segment, None if enters and leaves else leaves))
        return found


def address_checksum(document: dict[str, Any]) -> int:
    """Return a number that changes when addresses are added or removed, or one is verified, bounces or works again."""
    checksum = 0
    soft_bounces = "soft_bounces" in document
    for kind, found in document.get("addresses", {}).items():
        if soft_bounces:
            checksum += 1_000_000 * sum(has_bounced(document, kind, *one) for one in found.items() if not one[1][3])
        for _, verified, _, bounced in found.values():
            checksum += 1 + 1_000 * verified + 1_000_000 * bounced
    return checksum
