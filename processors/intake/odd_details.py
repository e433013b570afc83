"""Sets aside a detail of a call that breaks a rule: who, what, when and how much are worth more than a coupon's form.

SDKs read no answers and Segment takes any value, so a call that is refused for a detail is an order that is lost. What
is set aside is noted in `context.mended` with the rule `set_aside`, and kept as JSON in `context.set_aside`; a name
that is too long is cut, with the rule `cut`. Never set aside: consent, the last identifier, ids, and what the event's
worth is read from: its revenue (without one, its total, tax and shipping), what was refunded, and their currency.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import orjson

from processors.intake.json_text import is_of_json
from schemas.dead_letters import Reason
from schemas.events.limits import MAX_DEPTH
from schemas.events.mending import CUT, MAX_NOTES, MENDED, is_id_field
from schemas.events.touchpoint import EVENT_NAMES, Event, as_known_event
from schemas.minor_units import MINOR
from schemas.outcomes import Reject

SET_ASIDE = "set_aside"
MAX_DETAILS = 10
"""Odd fields of one event; an event with more of them is not what its name says."""
_MAX_KEPT_CHARS = 500

_DETAILED_PARTS = frozenset({"campaign", "context", "properties", "traits"})
_KEPT_PARTS = frozenset({"campaign", "event", "properties"})  # of others only the note is kept: they may name a person
_LINES = ["properties", "products"]
_WORTH = frozenset({"revenue", "refunded_total"})
_WORTH_WITHOUT_REVENUE = frozenset({"total", "tax", "shipping"})
_MONEY = frozenset({"discount", "price", "subtotal", "value", *_WORTH, *_WORTH_WITHOUT_REVENUE})
_CONTACTS = frozenset({"email", "phone"})
_MAX_EVENT_CHARS = 100
_NUMBERS_OF_LINES = _MONEY | {"position", "quantity"}
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?", re.ASCII)


class OddDetail(NamedTuple):
    """A detail that was set aside.

    Attributes:
        field: Where it was, without positions in lists.
        rule: `set_aside`, or `cut` if the first part of a name stays.
        kept: Its value as JSON; empty if it may name a person, or stays in part.
    """

    field: str
    rule: str
    kept: str = ""


def set_aside(event: Any, rejected: Reject, *, of_call: bool = False) -> list[OddDetail]:
    """Take the detail that a rejection names out of an event.

    A shop that sends a list for one product's category sends one for each, so the same field of the other objects of a
    list is set aside too, where its value is as odd: of the same type, and if that is a text, no number either.

    Args:
        event: The event, parsed JSON; it is changed.
        rejected: Why it is refused.
        of_call: It is a call of an SDK, of which amounts that say nothing of its worth are details as well. What a
            mapping reads is refused with them: the mapping can be mended, and the record replayed.

    Returns:
        What was set aside; empty if what is wrong is no detail, and then the event is as it was.
    """
    if rejected.reason is not Reason.INVALID_FIELD or not isinstance(event, dict):
        return []
    *above, name = rejected.field.split(".")
    if above[:1] == ["identifiers"]:
        return _without_contact(event, above)
    if rejected.field in ("event", "campaign"):
        return _cut_name(event) if name == "event" else _without_campaign(event)
    if not above or above[0] not in _DETAILED_PARTS:
        return []
    if "[" in name and above[1:]:  # the name of a type that the value might have had
        *above, name = above
    found = _inside(event, above)
    field = ".".join(step for step in (*above, name) if not step.isdecimal())
    value = _inside(found, [name])
    if name.isdecimal() and above == _LINES:
        return _without_lines(event, found)
    if not isinstance(found, dict) or name not in found or _is_head(event, above, name, of_call=of_call):
        return []
    others = _inside(event, above[:-1]) if above[-1].isdecimal() else [found]
    alike = [
        one for one in others if one is found or (isinstance(one, dict) and _is_as_odd(name, one.get(name), value))
    ]
    for one in alike:
        del one[name]
    kept = _json_text(value) if above[0] in _KEPT_PARTS else ""
    return [OddDetail(field, SET_ASIDE, kept)] * len(alike)


def without_foreign_numbers(event: Any, *, of_call: bool) -> tuple[Any, list[OddDetail]]:
    """Copy an event without the numbers of its details that JSON cannot hold, such as the NaN of a Python client.

    `null` takes their place, as in what a browser writes for them. A number that the event is about stays, so that the
    event is refused.

    Args:
        event: The event; it stays as it is.
        of_call: As of `set_aside`.

    Returns:
        The copy, and what was set aside of it.
    """
    details: list[OddDetail] = []

    def copied(value: object, path: tuple[str, ...]) -> object:
        if len(path) > MAX_DEPTH:
            return value
        if isinstance(value, dict):
            return {key: copied(inner, (*path, str(key))) for key, inner in value.items()}
        if isinstance(value, list):
            return [copied(inner, (*path, str(place))) for place, inner in enumerate(value)]
        if is_of_json(value) or path[0] not in _DETAILED_PARTS or not path[1:]:
            return value
        above, name = list(path[:-1]), path[-1]
        if not name.isdecimal() and _is_head(event, above, name, of_call=of_call):
            return value
        field = ".".join(step for step in path if not step.isdecimal())
        details.append(OddDetail(field, SET_ASIDE, _json_text(str(value)) if above[0] in _KEPT_PARTS else ""))
        return None

    return copied(event, ()), details


def _is_head(event: dict[str, Any], above: list[str], name: str, *, of_call: bool) -> bool:
    """Whether a field of an event is more than a detail."""
    if above[0] != "properties":
        return False
    if not of_call and (name == "currency" or name.removesuffix(MINOR) in _NUMBERS_OF_LINES - {"position"}):
        return True
    if name == "currency":
        known = as_known_event(event.get("event")) in EVENT_NAMES
        return _has_amounts(event["properties"], _MONEY if known else _WORTH | _WORTH_WITHOUT_REVENUE)
    if is_id_field(name):
        return True
    if above[:2] == _LINES:
        return False
    own, amount = event["properties"], name.removesuffix(MINOR)
    return amount in _WORTH or (
        amount in _WORTH_WITHOUT_REVENUE and own.get("revenue") is None and own.get("revenue" + MINOR) is None
    )


def _has_amounts(properties: dict[str, Any], amounts: frozenset[str]) -> bool:
    """Whether properties hold an amount of money, and so need to say of which."""
    lines = properties.get("products")
    parts = [properties, *(one for one in (lines if isinstance(lines, list) else ()) if isinstance(one, dict))]
    return any(name.removesuffix(MINOR) in amounts for part in parts for name in part)


def _is_as_odd(name: str, value: object, odd: object) -> bool:
    """Whether a value is as little what a field takes as one that was refused there."""
    if isinstance(odd, str):
        return isinstance(value, str) and name in _NUMBERS_OF_LINES and not _NUMBER.fullmatch(value)
    return isinstance(odd, list | dict | bool) and type(value) is type(odd)


def _without_lines(event: dict[str, Any], lines: list[Any]) -> list[OddDetail]:
    """Set aside the products that are no objects, such as a list of names: what was bought costs no order."""
    odd = [line for line in lines if not isinstance(line, dict)]
    event["properties"]["products"] = [line for line in lines if isinstance(line, dict)]
    if not event["properties"]["products"]:
        del event["properties"]["products"]
    return [OddDetail(".".join(_LINES), SET_ASIDE, _json_text(odd))] * len(odd)


def _without_contact(event: dict[str, Any], above: list[str]) -> list[OddDetail]:
    """Set aside an address of another form, such as a list, of a person who has another identifier."""
    identifiers = event["identifiers"]
    one = _inside(event, above)
    if len(identifiers) < 2 or not isinstance(one, dict) or one.get("type") not in _CONTACTS:
        return []
    if not isinstance(one.get("value"), list | dict | bool):
        return []
    event["identifiers"] = [other for other in identifiers if other is not one]
    return [OddDetail(f"identifiers.{one['type']}", SET_ASIDE)]


def _without_campaign(event: dict[str, Any]) -> list[OddDetail]:
    campaign = event.pop("campaign", None)
    return [OddDetail("campaign", SET_ASIDE, _json_text(campaign))]


def _cut_name(event: dict[str, Any]) -> list[OddDetail]:
    """Cut an event's name that is too long; the whole of it is kept."""
    name = event["event"]
    if not isinstance(name, str) or len(name) <= _MAX_EVENT_CHARS or not name[:_MAX_EVENT_CHARS].strip():
        return []
    event["event"] = name[:_MAX_EVENT_CHARS].rstrip()
    return [OddDetail("event", CUT, _json_text(name))]


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
