"""Events of visits for tests: what a browser sends, and what a shop's server tells of a checkout."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from tests.oracles.visits import VisitEvent
from tests.support.builders import DAY_ONE
from tests.support.warehouse import resolved

Event = dict[str, Any]


def seen(minutes: float, device: str = "a-1", who: int = 1, name: str = "Page Viewed", **fields: Any) -> Event:
    """One event of a browser; `url`, `referrer` and `session` are put where SDKs put them."""
    page = {"url": f"https://shop.example/{fields.pop('url', '')}", "referrer": fields.pop("referrer", "")}
    context = {"page": page, **fields.pop("context", {})}
    if session := fields.pop("session", ""):
        context["session_id"] = session
    event_id = fields.pop("event_id", f"{name} {device} {minutes}")
    identifiers = [{"type": "anonymous_id", "value": device}] if device else []
    return resolved(
        event_id, who, DAY_ONE + timedelta(minutes=minutes), event=name, context=context, identifiers=identifiers,
        **fields,
    )  # fmt: skip


def step(name: str, minutes: float, who: int = 1, **fields: Any) -> Event:
    """A step of the checkout as the shop's server tells it: of a person, without the browser."""
    fields = {"channel": "web", "source": "shopify", "order": {"source_kind": "server"}, **fields}
    identifiers = [{"type": "user_id", "value": f"u-{who}"}]
    event_id = fields.pop("event_id", f"{name} of a server {minutes}")
    return resolved(
        event_id, who, DAY_ONE + timedelta(minutes=minutes), event=name, identifiers=identifiers,
        properties={"order_id": "S-1"}, **fields,
    )  # fmt: skip


def of_server(name: str, minutes: float, who: int) -> Callable[[int, dict[int, int]], VisitEvent]:
    """A step that a server tells, as the definition sees it."""
    at = DAY_ONE + timedelta(minutes=minutes)
    return lambda tie, owner: VisitEvent(
        "", at, tie, "", checkout=True, order=name == "Order Completed", step_of=str(owner.get(who, who))
    )
