"""The touchpoint event: every known event with the shape of its properties, and the way in.

`read` validates what a producer sent and gives the canonical form, which every later stage gets. An event whose name is
not in `EVENT_NAMES` is a custom one: free inside, within the limits of `schemas/events/limits.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from types import new_class
from typing import Annotated, Any, Literal, Required

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, TypeAdapter, ValidationError
from pydantic_core import InitErrorDetails

from schemas.events import commerce, engagement, messages
from schemas.events import limits as bounds
from schemas.events.envelope import Touchpoint
from schemas.events.fast_path import FastPath
from schemas.events.mending import in_whole_currency, read_mended, with_notes, with_unknown_currencies
from schemas.events.properties import WITHOUT_NULLS, Properties, has_defaults, in_major_units

__all__ = [
    "EVENT_NAMES",
    "SHAPES",
    "CustomTouchpoint",
    "Event",
    "Touchpoint",
    "adapter",
    "as_known_event",
    "read",
    "read_exact",
]


Event = dict[str, Any]
"""An event in its canonical form: JSON values only."""


def _touchpoint(name: str, shape: type[Any], **fields: Any) -> type[Any]:
    """Make the shape of the events that share a shape of properties."""
    properties: Any = Annotated[shape, BeforeValidator(in_major_units(shape))]
    if shape.__required_keys__:
        properties = Required[properties]
    elif has_defaults(shape):
        properties = Annotated[properties, Field(default_factory=dict, validate_default=True)]
    body = {"__annotations__": {**fields, "properties": properties}, "__module__": __name__}
    return new_class(name, (Touchpoint,), {"total": False}, lambda namespace: namespace.update(body))


PROPERTIES = {**commerce.EVENTS, **engagement.EVENTS, **messages.EVENTS}

CustomTouchpoint = _touchpoint("CustomTouchpoint", Properties)
"""An event of the retailer's own; `revenue` and `currency` in its properties are money, as everywhere."""

SHAPES: dict[str, type[Any]] = {
    name: touchpoint
    for touchpoint, names in [
        (_touchpoint(f"{shape.__name__}Touchpoint", shape, event=Required[Literal[names]]), names)
        for shape, names in PROPERTIES.items()
    ]
    for name in names
}
"""The shape of every known event, by the event's name."""

EVENT_NAMES: frozenset[str] = frozenset(SHAPES)

_NAMES_WITHOUT_CASE = {name.casefold(): name for name in SHAPES}


def read(event: Any, raw: bytes | None = None) -> Event:
    """Validate one event as a producer sends it, and write it the one way that later stages read.

    A value that breaks a rule but has one meaning is mended, and noted in `context.mended` (`schemas.events.mending`).
    Reading the canonical form changes nothing.

    Args:
        event: A parsed JSON object; it is left alone.
        raw: The bytes that it was parsed from, as `read_exact` takes them; with them, most events take the fast path.

    Raises:
        ValidationError: It breaks the contract; `errors()` names each field, the value and the rule.
    """
    if isinstance(event, dict) and (known := _known_name(event.get("event"))):
        return with_notes(read({**event, "event": known}), [{"field": "event", "rule": "event_name", "count": 1}])
    if raw is not None and isinstance(event, dict):
        written = _fast_path(_shape(event))(event, raw)
        if written is not None:
            return written
    try:
        written = read_exact(event, raw)
    except ValidationError as error:
        if not isinstance(event, dict):
            raise
        written = read_mended(event, error, read_exact)
    return with_unknown_currencies(in_whole_currency(written))


def as_known_event(name: object) -> object:
    """Return the known event that a name is but for case and blanks, as in ` order  completed`; else the name."""
    return _known_name(name) or name


def _known_name(name: object) -> str | None:
    return _respelled(name) if isinstance(name, str) and name not in SHAPES else None


@lru_cache(maxsize=4096)  # a retailer's own events have few names
def _respelled(name: str) -> str | None:
    return _NAMES_WITHOUT_CASE.get(" ".join(name.split()).casefold())


def read_exact(event: Any, raw: bytes | None = None) -> Event:
    """Validate one event and mend nothing.

    In the canonical form all is JSON: times in UTC, money as decimal strings. Absent and empty parts are left out, but
    `source` and `identifiers` are always there.

    Args:
        event: A parsed JSON object.
        raw: The bytes that it was parsed from, if they are at hand: most events are small enough that their bytes alone
            rule out that a limit is broken.

    Raises:
        ValidationError: It breaks the contract; `errors()` names each field, the value and the rule.
    """
    if raw is None or not bounds.fits_by_size(raw):
        _check_bounds(event)
    return _validate(_shape(event))(event)


def _check_bounds(event: Any) -> None:
    try:
        bounds.check(event)
    except bounds.OutOfBoundsError as error:
        details = InitErrorDetails(type=error.rule, loc=error.path, input=error.value)
        raise ValidationError.from_exception_data("Touchpoint", [details]) from None


def _shape(event: Any) -> Any:
    name = event.get("event") if isinstance(event, dict) else None
    return SHAPES.get(name, CustomTouchpoint) if isinstance(name, str) else CustomTouchpoint


def _without_empty_parts(event: Event) -> Event:
    for part in ("campaign", "context", "properties", "traits", "consent"):
        if part in event and not event[part]:
            del event[part]
    return event


_fast_path = cache(FastPath)
"""The fast path of a shape, made when its first event comes."""

_WHOLE = (WITHOUT_NULLS, AfterValidator(_without_empty_parts))


@cache
def _validate(shape: Any) -> Callable[[object], Event]:
    """Make the validator of a shape, when its first event comes: making all of them takes longer than starting up."""
    whole: Any = Annotated[shape, *_WHOLE]
    return TypeAdapter(whole).validator.validate_python


def adapter() -> TypeAdapter[Any]:
    """The discriminated union of all events: for the JSON Schema and for tools that want one type."""
    shapes = [*dict.fromkeys(SHAPES.values()), CustomTouchpoint]
    union: Any = Annotated[shapes[0], Tag(shapes[0].__name__)]
    for shape in shapes[1:]:
        union |= Annotated[shape, Tag(shape.__name__)]
    return TypeAdapter(Annotated[union, Discriminator(lambda event: _shape(event).__name__), *_WHOLE])
