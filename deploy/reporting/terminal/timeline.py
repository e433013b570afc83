"""The output of `throughline profile timeline`: a person's events, messages and merges as lines, by day."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from typing import Any
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.table import Table
from rich.text import Text

from deploy.reporting.terminal.text import plain
from schemas.time import ms_of_text, readable_text, time_of_ms

_DETAILS = (
    "name", "title", "path", "url", "query", "order_id", "receipt_id", "store_id", "coupon", "coupon_id", "points",
    "rating", "review_body", "subject", "email_subject", "template_id", "message_id", "link_url", "reason",
)  # fmt: skip
"""Properties that say what an event is about, in this order; the first `_DETAILS_SHOWN` that it has are shown."""
_DETAILS_SHOWN = 3
_PRODUCTS_SHOWN = 3
_AMOUNTS = ("total", "revenue", "value", "price")


def show(entries: Iterable[Mapping[str, Any]], zone: ZoneInfo, console: Console) -> None:
    """Print entries, newest first, under their days.

    Args:
        entries: Of a page of `sinks.clickhouse.timeline`.
        zone: Time zone of days and times.
        console: Prints to this console.
    """
    entries = list(entries)
    width = max((len(plain(one["channel"])) for one in entries), default=0)
    written = ((readable_text(time_of_ms(ms_of_text(one["at"]), zone)), one) for one in entries)
    for day, of_day in groupby(written, key=lambda one: one[0][:10]):
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True, style="dim")
        table.add_column(no_wrap=True, min_width=width)
        table.add_column(overflow="fold")
        for time, entry in of_day:
            table.add_row(Text(time[11:]), Text(plain(entry["channel"] or "-")), Text(plain(sentence(entry, zone))))
        console.print(Text(f"\n{day}", style="bold cyan"))
        console.print(table)


def sentence(entry: Mapping[str, Any], zone: ZoneInfo) -> str:
    """Say in one line what happened.

    Args:
        entry: An entry.
        zone: Time zone of times that the line names.
    """
    return _SENTENCES[entry["kind"]](entry, zone)


def _event(entry: Mapping[str, Any], zone: ZoneInfo) -> str:
    parts = [entry["event"], *_details(entry["properties"])]
    channel, campaign = entry["marketing_channel"], entry["campaign"]
    if channel:
        parts.append(f"from {channel} {campaign}".rstrip())
    elif campaign:
        parts.append(f"campaign {campaign}")
    if entry["bot_reason"]:
        parts.append(f"not the person but a program ({entry['bot_reason'].replace('_', ' ')})")
    return " · ".join(parts)


def _details(properties: Mapping[str, Any]) -> list[str]:
    found = [f"{_LABELS.get(name, '')}{properties[name]}" for name in _DETAILS if _is_said(properties.get(name))]
    details = found[:_DETAILS_SHOWN]
    if not _is_said(properties.get("name")) and _is_said(properties.get("product_id")):
        details.insert(0, f"product {properties['product_id']}")
    products = properties.get("products")
    if isinstance(products, list) and products:
        names = [str(one.get("name") or one.get("product_id") or "?") for one in products if isinstance(one, dict)]
        more = f" and {len(names) - _PRODUCTS_SHOWN} more" if len(names) > _PRODUCTS_SHOWN else ""
        details.append(", ".join(names[:_PRODUCTS_SHOWN]) + more)
    amount = next((properties[name] for name in _AMOUNTS if _is_said(properties.get(name))), None)
    if amount is not None:
        details.append(f"{amount} {properties.get('currency', '')}".strip())
    return details


_LABELS = {
    "query": "for ",
    "order_id": "order ",
    "receipt_id": "receipt ",
    "store_id": "store ",
    "coupon": "coupon ",
    "coupon_id": "coupon ",
    "points": "points ",
    "rating": "rating ",
    "template_id": "template ",
    "message_id": "message ",
}


def _is_said(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool) and value != ""


def _decision(entry: Mapping[str, Any], zone: ZoneInfo) -> str:
    about = f"Message {entry['message']}" + (f" of journey {entry['journey']}" if entry["journey"] else "")
    until = entry["until"]
    later = f" Decided again {readable_text(time_of_ms(ms_of_text(until), zone))}." if until else ""
    return f"{about}: {entry['reason']}{later}"


def _merge(entry: Mapping[str, Any], zone: ZoneInfo) -> str:
    other = entry["from_profile_id"]
    known_by = f" by {', '.join(entry['identifier_types'])}" if entry["identifier_types"] else ""
    return f"Found to be the same person as {other}{known_by} ({entry['rule'].replace('_', ' ') or 'merged'})"


def _split(entry: Mapping[str, Any], zone: ZoneInfo) -> str:
    types = ", ".join(entry["identifier_types"]) or "identifiers"
    return f"Split: {types} of {entry['from_profile_id']} to {entry['profile_id']}"


_SENTENCES: dict[str, Callable[[Mapping[str, Any], ZoneInfo], str]] = {
    "event": _event,
    "decision": _decision,
    "merge": _merge,
    "split": _split,
}
