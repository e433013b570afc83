"""The coupon of a message: a code is taken from its pool before the message is rendered, and reported as an event.

A message has one code, however often it is tried: the pool answers the same idempotency key with the same code. It is
reported with the time at which it was taken, so that a repeated report is a duplicate.
"""

from __future__ import annotations

from typing import Any, Protocol

import orjson

from processors.delivery.actions import Action, derived_event_id, identifiers_of
from schemas.coupons import COUPON_ISSUED, TakenCoupon
from schemas.identity.resolution import OWN_SOURCE
from schemas.records import Outgoing
from schemas.time import text_of_ms
from schemas.topics import touchpoint_topic


class CouponPoolEmptyError(Exception):
    """The pool of a message has no code left, and the message does not go without."""


class CouponPools(Protocol):
    """Keeps pools of single-use codes."""

    async def take(self, key: str, pool: str, now_ms: int, valid_ms: int) -> TakenCoupon | None:
        """Take a code for a message, the same one again for the same key; None: the pool has none left."""

    async def taken(self, key: str) -> TakenCoupon | None:
        """Return the code that a message has taken; None: none."""


async def take_coupon(pools: CouponPools, action: Action, now_ms: int) -> TakenCoupon | None:
    """Take the code of a message.

    Args:
        pools: The pools.
        action: The message; with a coupon in its step it has `coupon`: `pool`, `valid_ms` and `if_empty`.
        now_ms: The time, milliseconds since 1970.

    Returns:
        The code; None: the message has no coupon, or goes without one.

    Raises:
        CouponPoolEmptyError: There is none left.
    """
    wanted = action.get("coupon")
    if not wanted:
        return None
    found = await pools.take(action["idempotency_key"], wanted["pool"], now_ms, wanted.get("valid_ms") or 0)
    if found is None and wanted.get("if_empty") != "send":
        raise CouponPoolEmptyError(
            f"the coupon pool {wanted['pool']} has no code left: add some by `throughline coupons import"
            f" {wanted['pool']} FILE`, or let the message go without (`if_empty: send`)"
        )
    return found


def coupon_values(action: Action, coupon: TakenCoupon) -> dict[str, Any]:
    """Return what a template has under `coupon`."""
    ends_at = {} if coupon.ends_ms is None else {"expires_at": text_of_ms(coupon.ends_ms)}
    return {"code": coupon.code, "pool": action["coupon"]["pool"], **ends_at}


def coupon_event(action: Action, coupon: TakenCoupon) -> Outgoing:
    """Write the event that reports the code of a message as a touchpoint of its person.

    Args:
        action: The message.
        coupon: Its code.
    """
    channel, key = action["channel"], action["idempotency_key"]
    values = coupon_values(action, coupon)
    properties = {
        "coupon_id": coupon.code,
        "pool": values["pool"],
        "message_id": key,
        "expires_at": values.get("expires_at"),
        "journey_id": action.get("journey"),
        "campaign_name": (action.get("campaign") or {}).get("name"),
    }
    event = {
        "event_id": derived_event_id("coupon", key),
        "event": COUPON_ISSUED,
        "channel": channel,
        "source": OWN_SOURCE,
        "occurred_at": text_of_ms(coupon.taken_ms),
        "identifiers": identifiers_of(action),
        "properties": {name: value for name, value in properties.items() if value},
    }
    return Outgoing(touchpoint_topic(channel), action["profile_id"].encode(), orjson.dumps(event))
