"""Resolves what the source of an event of commerce decides: the name space of an order's id, the kind of the source.

The kind matters for an order, of which a server's report counts more than a page's, and for visits: what a server tells
of a checkout or a customer without naming the browser is nobody's presence on the site (`recording/touch_rules.py`).

The rules are those of `sources.yaml` and go by the event's `source`, whichever way it came in. They are applied once,
in the stage `identify`, so that profiles, tables and rebuilds agree; replaying the producers' topics restates them.
"""

from __future__ import annotations

from collections.abc import Mapping

from schemas.events.commerce import EVENTS
from schemas.events.touchpoint import Event
from schemas.intake.sources import OWN, OrdersBy, Source
from schemas.orders import KINDS, SEPARATOR

_COMMERCE = frozenset(name for names in EVENTS.values() for name in names)


def note_order(event: Event, sources: Mapping[str, Source]) -> None:
    """Write `order` into an event about an order, or told by a server, whose source is defined.

    Args:
        event: An event in its canonical form; changed in place.
        sources: The defined sources, by name.
    """
    source = sources.get(event["source"])
    if source is None:
        return
    is_about_order = event["event"] in KINDS
    order: dict[str, str] = {}
    if is_about_order or (source.kind == "server" and (source.hook or event["event"] in _COMMERCE)):
        order["source_kind"] = source.kind
    if source.orders is not None and (is_about_order or "order_id" in (event.get("properties") or {})):
        order["namespace"] = _namespace(event, source)
    if order:
        event["order"] = order


def _namespace(event: Event, source: Source) -> str:
    declared = source.orders
    if isinstance(declared, OrdersBy):
        store = (event.get("properties") or {}).get("store_id") or (event.get("context") or {}).get("store_id")
        name = store if isinstance(store, str) and store else event["source"]
    else:
        name = event["source"] if declared == OWN else str(declared)
    # The separator must not occur in a name space, or two orders could have one key.
    return name.replace("%", "%25").replace(SEPARATOR[0], "%3A")
