"""Resolves what an order event's source decides: the name space of the order's id, and the kind of the source.

The rules are those of `sources.yaml` and go by the event's `source`, whichever way it came in. They are applied once,
in the stage `identify`, so that profiles, tables and rebuilds agree; replaying the producers' topics restates them.
"""

from __future__ import annotations

from collections.abc import Mapping

from schemas.events.touchpoint import Event
from schemas.intake.sources import OWN, OrdersBy, Source
from schemas.orders import KINDS, SEPARATOR


def note_order(event: Event, sources: Mapping[str, Source]) -> None:
    """Write `order` into an event about an order whose source is defined; `schemas.orders` reads it.

    Args:
        event: An event in its canonical form; changed in place.
        sources: The defined sources, by name.
    """
    source = sources.get(event["source"])
    if source is None:
        return
    is_about_order = event["event"] in KINDS
    if not is_about_order and (source.orders is None or "order_id" not in (event.get("properties") or {})):
        return
    order: dict[str, str] = {"source_kind": source.kind} if is_about_order else {}
    if source.orders is not None:
        order["namespace"] = _namespace(event, source)
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
