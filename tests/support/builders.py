"""Events with sensible defaults; a test overrides what it is about."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

DAY_ONE = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
_numbers = count(1)


def at(**delta: float) -> str:
    """A time after DAY_ONE, as producers write it: `at(days=1, hours=2)`."""
    return (DAY_ONE + timedelta(**delta)).isoformat(timespec="milliseconds")


def touchpoint(event: str = "Page Viewed", channel: str = "web", **fields: Any) -> dict[str, Any]:
    """One event; `identifiers` may be the shorthand map."""
    return {
        "event_id": f"e{next(_numbers)}",
        "event": event,
        "channel": channel,
        "source": "test",
        "occurred_at": at(),
        "identifiers": {"anonymous_id": "browser-1"},
        **fields,
    }


def visit(marketing_channel: str, **fields: Any) -> dict[str, Any]:
    """A touch: a page view that a campaign of `marketing_channel` brought."""
    return touchpoint("Page Viewed", campaign={"channel": marketing_channel, "name": "autumn"}, **fields)


def order(order_id: str, revenue: str = "100.00", **fields: Any) -> dict[str, Any]:
    """A completed order."""
    properties = {
        "order_id": order_id,
        "revenue": revenue,
        "currency": "EUR",
        "products": [{"product_id": "p1", "price": revenue, "quantity": 1}],
    }
    return touchpoint("Order Completed", properties=properties, **fields)
