"""The touchpoint event: every known event with the shape of its properties, and the way in and out.

`parse` reads what a producer sent, `canonical` writes what every later stage gets, `read` does both at once. An event
whose name is not in `EVENT_NAMES` is a custom one: free inside, within the limits of `schemas/events/limits.py`.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, TypeAdapter, ValidationError, create_model
from pydantic_core import InitErrorDetails

from schemas.events import commerce, engagement, messages
from schemas.events import limits as bounds
from schemas.events.envelope import Touchpoint
from schemas.events.one_pass import one_pass_validator
from schemas.events.properties import TIDY, Properties, surely_tidy

__all__ = ["EVENT_NAMES", "MODELS", "CustomTouchpoint", "Touchpoint", "adapter", "canonical", "parse", "read"]


Event = dict[str, Any]
"""An event in its canonical form: JSON values only."""


class CustomTouchpoint(Touchpoint):
    """An event of the retailer's own; `revenue` and `currency` in its properties are money, as everywhere."""


def _touchpoint(shape: type[Properties], names: tuple[str, ...]) -> type[Touchpoint]:
    """Make the model of the events that share a shape of properties."""
    needed = any(field.is_required() for field in shape.model_fields.values())
    return create_model(
        f"{shape.__name__}Touchpoint",
        __base__=Touchpoint,
        __doc__=f"{', '.join(names[:3])}{', …' if len(names) > 3 else ''}: {shape.__doc__}",
        __module__=__name__,
        event=(Literal[names], ...),  # type: ignore[arg-type]
        properties=(shape, ... if needed else Field(default_factory=cache(shape))),
    )


_SHAPES = {**commerce.EVENTS, **engagement.EVENTS, **messages.EVENTS}

MODELS: dict[str, type[Touchpoint]] = {
    name: model
    for model, names in [(_touchpoint(shape, names), names) for shape, names in _SHAPES.items()]
    for name in names
}
"""The model of every known event, by the event's name."""

EVENT_NAMES: frozenset[str] = frozenset(MODELS)


def parse(event: Any) -> Touchpoint:
    """Read one event as a producer sends it: a parsed JSON object.

    Raises:
        ValidationError: It breaks the contract; `errors()` names each field, the value and the rule.
    """
    _check_bounds(event)
    return _model(event).model_validate(event)


def read(event: Any, raw: bytes | None = None) -> Event:
    """Do what `canonical(parse(event))` does, in half the time.

    Args:
        event: A parsed JSON object.
        raw: The bytes that it was parsed from, if they are at hand: nobody looks in the object for what they rule out.

    Raises:
        ValidationError: As `parse`.
    """
    if raw is None or not bounds.surely_within(raw):
        _check_bounds(event)
    model = _model(event)
    validator = _one_pass(model, TIDY if raw is not None and surely_tidy(raw) else "")
    try:
        return _without_empty(validator.validate_python(event))
    except ValidationError:
        return canonical(model.model_validate(event))  # its words, and what the one pass does not know


def _check_bounds(event: Any) -> None:
    try:
        bounds.check(event)
    except bounds.OutOfBoundsError as error:
        details = InitErrorDetails(type=error.rule, loc=error.path, input=error.value)
        raise ValidationError.from_exception_data("Touchpoint", [details]) from None


def _model(event: Any) -> type[Touchpoint]:
    name = event.get("event") if isinstance(event, dict) else None
    return MODELS.get(name, CustomTouchpoint) if isinstance(name, str) else CustomTouchpoint


_one_pass = cache(one_pass_validator)


def canonical(event: Touchpoint) -> Event:
    """Write an event the one way that later stages read: JSON values, times in UTC, money as decimal strings.

    Absent and empty parts are left out, but `source` and `identifiers` are always there. Parsing the result gives the
    same event.
    """
    return _without_empty(event.__pydantic_serializer__.to_python(event, mode="json", exclude_none=True))


def _without_empty(out: Event) -> Event:
    for part in ("campaign", "context", "properties", "traits", "consent"):
        if part in out and not out[part]:
            del out[part]
    return out


def _kind(event: Any) -> str:
    name = event.get("event") if isinstance(event, dict) else event.event
    return MODELS[name].__name__ if isinstance(name, str) and name in MODELS else CustomTouchpoint.__name__


def adapter() -> TypeAdapter[Touchpoint]:
    """The discriminated union of all events: for the JSON Schema and for tools that want one type."""
    models: list[type[Touchpoint]] = [*dict.fromkeys(MODELS.values()), CustomTouchpoint]
    union: Any = Annotated[models[0], Tag(models[0].__name__)]
    for model in models[1:]:
        union |= Annotated[model, Tag(model.__name__)]
    return TypeAdapter(Annotated[union, Discriminator(_kind)])
