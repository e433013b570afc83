"""Sets aside a detail of a call that breaks a rule: who, what, when and how much are worth more than a coupon's form.

SDKs read no answers and Segment takes any value, so a call that is refused for a detail is an order that is lost. What
is set aside is noted in `context.mended` with the rule `set_aside`, and kept as JSON in `context.set_aside`; a text
that is too long is cut, with the rule `cut`. Never set aside: identifiers, consent, and of the properties ids, amounts,
quantities and what an event needs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

from schemas.dead_letters import Reason
from schemas.events.mending import MAX_NOTES, MENDED
from schemas.events.touchpoint import Event
from schemas.outcomes import Reject
from schemas.text import MAX_TEXT

SET_ASIDE = "set_aside"
MAX_DETAILS = 10
"""Odd fields of one event; an event with more of them is not what its name says."""
_MAX_KEPT_CHARS = 500

_DETAILED_PARTS = frozenset({"campaign", "context", "properties", "traits"})
_KEPT_PARTS = frozenset({"campaign", "properties"})  # of others only the note is kept: they may name a person
_HEAD = frozenset(
    {
        "revenue", "total", "subtotal", "value", "price", "amount", "discount", "shipping", "tax", "currency",
        "quantity", "sku", "id",
    }
)  # fmt: skip
_HEAD_ENDINGS = ("_id", "_minor", "_total", "_price", "_amount", "_value", "_quantity")


class OddDetail(NamedTuple):
    """A detail that was set aside.

    Attributes:
        field: Where it was, without positions in lists.
        rule: `set_aside`, or `cut` if the first part of a text stays.
        kept: Its value as JSON; empty if it may name a person, or stays in part.
    """

    field: str
    rule: str
    kept: str = ""


def set_aside(event: Any, rejected: Reject) -> list[OddDetail]:
    """Take the detail that a rejection names out of an event.

    A shop that sends a list for one product's category sends one for each, so the same field of the other objects of a
    list is set aside too, where its value is of the same type and no text or number.

    Args:
        event: The event, parsed JSON; it is changed.
        rejected: Why it is refused.

    Returns:
        What was set aside; empty if what is wrong is no detail, and then the event is as it was.
    """
    *above, name = rejected.field.split(".")
    if rejected.reason is not Reason.INVALID_FIELD or not above or above[0] not in _DETAILED_PARTS:
        return []
    if name.isdecimal() or (above[0] == "properties" and (name in _HEAD or name.endswith(_HEAD_ENDINGS))):
        return []
    found = _inside(event, above)
    if not isinstance(found, dict) or name not in found:
        return []
    field = ".".join(step for step in (*above, name) if not step.isdecimal())
    value = found[name]
    if isinstance(value, str) and len(value) > MAX_TEXT:
        found[name] = value[:MAX_TEXT]
        return [OddDetail(field, "cut")]
    others = _inside(event, above[:-1]) if above[-1].isdecimal() and isinstance(value, list | dict | bool) else [found]
    alike = [one for one in others if isinstance(one, dict) and type(one.get(name)) is type(value)]
    for one in alike:
        del one[name]
    kept = _json_text(value) if above[0] in _KEPT_PARTS else ""
    return [OddDetail(field, SET_ASIDE, kept)] * len(alike)


def note_details(event: Event, details: list[OddDetail]) -> None:
    """Note in the context of a valid event what was set aside of it."""
    context = event.get("context") or {}
    notes = context.get(MENDED)
    fields: dict[tuple[str, str], int] = {}
    for one in details:
        fields[one.field, one.rule] = fields.get((one.field, one.rule), 0) + 1
    more = [{"field": field, "rule": rule, "count": count} for (field, rule), count in fields.items()]
    context = {**context, MENDED: [*(notes if isinstance(notes, list) else ()), *more][:MAX_NOTES]}
    if kept := {one.field: one.kept for one in reversed(details) if one.kept}:
        context[SET_ASIDE] = kept
    event["context"] = context


def is_in(event: Any, field: str) -> bool:
    """Return whether an event has a field, such as `properties.products.0.price`."""
    *above, name = field.split(".")
    found = _inside(event, above)
    return name in found if isinstance(found, dict) else found is not None


def _inside(event: Any, path: list[str]) -> Any:
    """The value at a path of an event; None if there is none."""
    for step in path:
        if isinstance(event, list) and step.isdecimal() and int(step) < len(event):
            event = event[int(step)]
        elif isinstance(event, dict):
            event = event.get(step)
        else:
            return None
    return event


def _json_text(value: object) -> str:
    try:
        return orjson.dumps(value).decode()[:_MAX_KEPT_CHARS].replace("\\u0000", "")
    except orjson.JSONEncodeError:
        return ""
