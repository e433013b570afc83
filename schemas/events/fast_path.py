"""The fast path of `read`: checks in C, by msgspec, an event that needs next to nothing to be canonical.

Most events are written the way that they are stored, so nothing but the time may have to be converted: the fast path
checks the rules of the same shapes, adds the defaults and keeps every other value as it is. It takes fewer forms than
the shapes do. What it does not take, such as a number for an amount or anything invalid, the shapes read; they alone
word errors.

Invariant: what the fast path returns equals what the shapes return, but for the order of keys
(`tests/property/test_fast_path_laws.py`).
"""

from __future__ import annotations

import re
from datetime import datetime
from functools import cache, lru_cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Required, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import UNSET, Meta, UnsetType
from pydantic import StringConstraints
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError
from typing_extensions import get_original_bases, is_typeddict

from schemas.currencies import KNOWN
from schemas.events.envelope import IDENTIFIER_TYPE, MAX_IDENTIFIERS, NOT_BLANK, Time
from schemas.events.limits import fits_by_size
from schemas.events.properties import has_defaults, money_fields
from schemas.minor_units import MINOR
from schemas.money import PLAIN_AMOUNT, WHOLE_CURRENCIES, Currency, Money
from schemas.quantity import MAX_QUANTITY, Quantity
from schemas.text import MAX_NAME
from schemas.time import parse_text

Event = dict[str, Any]

_TYPE = re.compile(IDENTIFIER_TYPE)
_FIRST_TIME, _LAST_TIME = "1970", "2100"
_MAY_BE_EMPTY = frozenset({"source", "identifiers"})
"""What the canonical form has though it is empty; other empty parts are left out."""
_QUANTITY = "quantity"
_SHORTHAND: Any = Annotated[dict[str, Annotated[str, Meta(max_length=MAX_NAME)]], Meta(max_length=MAX_IDENTIFIERS)]
"""Identifiers as a map of types to values."""
_convert, _REFUSED = msgspec.convert, msgspec.ValidationError
_NEVER: Any = Literal["\0"]
"""The type of a field that the fast path does not take: no JSON with a NUL character comes so far."""
_FORMS: tuple[tuple[Any, Any], ...] = (
    (Money, Annotated[str, Meta(pattern=rf"^{PLAIN_AMOUNT}\Z")]),
    (Currency, Literal[tuple(sorted(KNOWN - WHOLE_CURRENCIES))]),  # of others amounts may be rounded, or a note made
    (Quantity, Annotated[int, Meta(ge=-MAX_QUANTITY, le=MAX_QUANTITY)]),
    (Time, Annotated[datetime, Meta(tz=True)]),
)
"""Types that convert what they read, each with the form that is canonical already."""


class FastPath:
    """The fast path of the events of a shape.

    Args:
        shape: The shape of the whole event.

    Raises:
        TypeError: The shape has a kind of field that this module does not know.
    """

    def __init__(self, shape: Any) -> None:
        properties = get_type_hints(shape)["properties"]
        self._struct = _struct(shape)
        self._has_quantity = has_defaults(properties)
        self._has_products = "products" in properties.__annotations__

    def __call__(self, event: Event, raw: bytes) -> Event | None:
        """Read an event.

        Args:
            event: The parsed event; it is left alone.
            raw: Its JSON.

        Returns:
            The canonical form, which shares parts with the event; None: the shape has to read it.
        """
        if not fits_by_size(raw):
            return None
        try:
            _convert(event, self._struct)
        except _REFUSED:
            return None
        if not _is_canonical(event):
            return None
        identifiers = _canonical_identifiers(event.get("identifiers", ()))
        time = _canonical_time(event["occurred_at"])
        if identifiers is None or time is None:
            return None
        written = {**event, "occurred_at": time, "identifiers": identifiers}
        if "source" not in event:
            written["source"] = ""
        properties = event.get("properties")
        if properties is None:
            return None if self._has_quantity else written
        if "products" in properties and not self._has_products:  # whatever they are in events that should have none
            return None
        if self._has_quantity or self._has_products:
            written["properties"] = self._with_quantities(properties)
        return written

    def _with_quantities(self, properties: Event) -> Event:
        """Add the default of `quantity` to properties and their products."""
        if self._has_quantity and _QUANTITY not in properties:
            properties = {**properties, _QUANTITY: 1}
        if self._has_products and "products" in properties:
            products = [one if _QUANTITY in one else {**one, _QUANTITY: 1} for one in properties["products"]]
            properties = {**properties, "products": products}
        return properties


def _canonical_time(time: str) -> str | None:
    """Write a time, of RFC 3339, as all records carry it; None: it is refused.

    Tills and servers write local times, and many producers no milliseconds.
    """
    # Of a text of RFC 3339 nothing but these places can differ.
    if len(time) == 24 and time[10] == "T" and time[23] == "Z" and _FIRST_TIME <= time < _LAST_TIME:
        return time
    try:
        return parse_text(time)
    except PydanticCustomError:
        return None


def _is_canonical(event: Event) -> bool:
    """Return whether an event of the right types has an id and a name, no empty part and no null."""
    # A text is not blank if its first character is not, which is so of nearly all.
    if not ("!" <= event["event_id"][0] <= "~" and "!" <= event["event"][0] <= "~"):
        return False
    if not all(event.values()) and not all(value or name in _MAY_BE_EMPTY for name, value in event.items()):
        return False
    campaign, context, properties = event.get("campaign"), event.get("context"), event.get("properties")
    return not (
        (campaign is not None and _has_null(campaign))
        or (context is not None and _has_null(context))
        or (properties is not None and _has_null(properties))
    )


def _has_null(part: Event) -> bool:
    """Return whether a part, or one in it, has a null, which the shapes leave out."""
    if None in part.values():
        return True
    page, products = part.get("page"), part.get("products")
    if type(page) is dict and None in page.values():
        return True
    return type(products) is list and any(type(one) is dict and None in one.values() for one in products)


def _canonical_identifiers(named: Any) -> list[Event] | None:
    """Write identifiers as a list, each with `verified`; None: one has a type that is no name of a type."""
    if type(named) is dict:
        named = [{"type": kind, "value": value} for kind, value in named.items()]
    written = []
    for one in named:
        if not _is_type(one["type"]):
            return None
        written.append(one if "verified" in one else {**one, "verified": False})
    return written


@lru_cache(maxsize=1024)  # events have few types
def _is_type(name: str) -> bool:
    """Return whether this is the name of an identifier type; msgspec would search the pattern for each event."""
    return _TYPE.fullmatch(name) is not None


@cache
def _struct(shape: Any) -> Any:
    """Make the msgspec type of a `TypedDict`: it checks the known fields, and refuses others where the shape does."""
    fields: list[Any] = []
    for name, hint in get_type_hints(shape, include_extras=True).items():
        if name == "received_at":
            continue  # so it is refused: an event that has one is changed
        form = _form(hint)
        if name == "identifiers":
            form = Union[form, _SHORTHAND]  # noqa: UP007
        fields.append((name, form) if name in shape.__required_keys__ else (name, Union[form, UnsetType], UNSET))  # noqa: UP007
    minor = [(name + MINOR, Union[_NEVER, UnsetType], UNSET) for name in sorted(money_fields(shape))]  # noqa: UP007
    return msgspec.defstruct(
        shape.__name__, fields + minor, kw_only=True, forbid_unknown_fields=_is_closed(shape), gc=False
    )


def _is_closed(shape: Any) -> bool:
    config = getattr(shape, "__pydantic_config__", None)
    if config is not None:
        return bool(config["extra"] == "forbid")
    return any(_is_closed(base) for base in get_original_bases(shape) if is_typeddict(base))


def _form(hint: Any) -> Any:
    """Return the msgspec type of the values that a type takes and leaves as they are."""
    if get_origin(hint) is Required:
        return _form(get_args(hint)[0])
    parts, origin = get_args(hint), get_origin(hint)
    if origin is Annotated:
        known = next((form for kind, form in _FORMS if parts[: len(get_args(kind))] == get_args(kind)), None)
        return _bounded(_form(parts[0]), parts[1:]) if known is None else known
    if origin in (Union, UnionType):
        return Union[tuple(_form(one) for one in parts if one is not NoneType)]  # noqa: UP007 - a null is left out
    if origin in (list, dict):
        return origin[tuple(map(_form, parts))]
    if is_typeddict(hint):
        return _struct(hint)
    if hint is float:
        return _NEVER  # a whole number would have to be converted
    if hint in (str, int, bool, Any) or origin is Literal:
        return hint
    raise TypeError(f"the fast path knows no {hint!r}")


def _ended(pattern: str) -> str:
    """Return a pattern of pydantic in the words of Python, where `$` is also before a line break at the end."""
    return pattern[:-1] + r"\Z" if pattern.endswith("$") else pattern


def _bounded(form: Any, notes: tuple[Any, ...]) -> Any:
    """Add the bounds that a type's annotations set, but for two patterns that the fast path checks itself."""
    if form is _NEVER:
        return form
    bounds: dict[str, Any] = {}
    for note in notes:
        for one in note.metadata if isinstance(note, FieldInfo) else [note]:
            for name in ("min_length", "max_length", "ge", "le"):
                if (bound := getattr(one, name, None)) is not None:
                    bounds[name] = bound
        if isinstance(note, StringConstraints) and note.pattern not in (None, NOT_BLANK, IDENTIFIER_TYPE):
            bounds["pattern"] = _ended(str(note.pattern))
    return Annotated[form, Meta(**bounds)] if bounds else form
