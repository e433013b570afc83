"""Cuts the last products of an event that is larger than the deployment takes: who, which order and how much are kept.

An order of the largest shops has lines with long texts. Without it the order, its amount and its person would be lost.
"""

from __future__ import annotations

from typing import Any

import orjson

from schemas.events.limits import MAX_PRODUCTS
from schemas.events.mending import LINES_CUT, with_notes

MAX_READ_BYTES = 4 * 1024 * 1024
"""The largest event that is read in order to be cut; brokers and the collector take none that is larger, as shipped."""

_BYTES_OF_NOTE = 512


def cut_to_size(event: Any, max_bytes: int) -> dict[str, Any] | None:
    """Keep as many of the first products as fit, and note in the context how many were cut.

    Args:
        event: A parsed event that is not validated yet; it is left alone.
        max_bytes: How long its JSON may be.

    Returns:
        A changed copy whose JSON is not too long, or the very event if only blanks around its values made it so; None
        if it has no products, or is too long without them.
    """
    properties = event.get("properties") if isinstance(event, dict) else None
    if not isinstance(properties, dict):
        return None
    lines, context = properties.get("products"), event.get("context")
    if not isinstance(lines, list) or not lines or not (context is None or isinstance(context, dict)):
        return None
    try:
        size, sizes = len(orjson.dumps(event)), [len(orjson.dumps(line)) + 1 for line in lines]
    except orjson.JSONEncodeError:  # nested too deep
        return None
    if size <= max_bytes:
        return event  # type: ignore[no-any-return]
    left = max_bytes - _BYTES_OF_NOTE - (size - sum(sizes))
    kept = 0
    while kept < min(len(lines), MAX_PRODUCTS) and (left := left - sizes[kept]) >= 0:
        kept += 1
    if not kept:
        return None
    changed = {**event, "properties": {**properties, "products": lines[:kept]}, "context": dict(context or {})}
    note = {"field": "properties.products", "rule": LINES_CUT, "count": len(lines) - kept}
    return with_notes(changed, [note])
