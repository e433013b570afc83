"""Cuts an event that is larger than the deployment takes, so that who, which order and how much are kept.

Texts that are longer than any text may be are cut first, then the last products: an order of the largest shops has
lines with long texts. Without it the order, its amount and its person would be lost.
"""

from __future__ import annotations

from typing import Any

import orjson

from schemas.events.limits import MAX_PRODUCTS
from schemas.events.mending import LINES_CUT, with_notes, with_texts_cut

MAX_READ_BYTES = 4 * 1024 * 1024
"""The largest event that is read in order to be cut; brokers and the collector take none that is larger, as shipped."""

_BYTES_OF_NOTE = 512


def cut_to_size(event: Any, max_bytes: int) -> dict[str, Any] | None:
    """Cut texts, then products, as far as the event does not fit, and note in the context what was cut.

    Args:
        event: A parsed event that is not validated yet; it is left alone.
        max_bytes: How long its JSON may be.

    Returns:
        A changed copy whose JSON is not too long, or the very event if only blanks around its values made it so; None
        if it is too long without its products and the ends of its texts.
    """
    context = event.get("context") if isinstance(event, dict) else 0
    if not (context is None or isinstance(context, dict)):
        return None
    try:
        size = len(orjson.dumps(event))
        if size <= max_bytes:
            return event  # type: ignore[no-any-return]
        shorter = with_texts_cut(event)
        size = len(orjson.dumps(shorter))
        return shorter if size <= max_bytes else _with_first_products(shorter, max_bytes - size)
    except orjson.JSONEncodeError:  # nested too deep
        return None


def _with_first_products(event: dict[str, Any], left: int) -> dict[str, Any] | None:
    """Keep as many of the first products as fit; None if none does. `left`: bytes that the event may still grow by."""
    properties = event.get("properties")
    lines = properties.get("products") if isinstance(properties, dict) else None
    if not isinstance(properties, dict) or not isinstance(lines, list) or not lines:
        return None
    sizes = [len(orjson.dumps(line)) + 1 for line in lines]
    left += sum(sizes) - _BYTES_OF_NOTE
    kept = 0
    while kept < min(len(lines), MAX_PRODUCTS) and (left := left - sizes[kept]) >= 0:
        kept += 1
    if not kept:
        return None
    changed = {
        **event,
        "properties": {**properties, "products": lines[:kept]},
        "context": dict(event.get("context") or {}),
    }
    note = {"field": "properties.products", "rule": LINES_CUT, "count": len(lines) - kept}
    return with_notes(changed, [note])
