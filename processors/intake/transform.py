"""Applies the transforms of sources to events that are not judged yet. Pure; the event that it gets is left alone.

A step that cannot be taken, such as a cast of a value that is no number, changes nothing: the event is judged as it is
then. An event that was changed says by what, in `context.transformed`, and is not transformed by the same once more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from hashlib import blake2b
from types import MappingProxyType
from typing import Any

from processors.intake.casts import CastError, cast
from schemas.events.mending import with_shared_symbol_read
from schemas.intake.expressions import ExpressionError
from schemas.intake.mappings import ValueMapping
from schemas.intake.transforms import Transform, TransformStep, lists_of
from schemas.minor_units import in_units_of
from schemas.money import MINOR_UNITS

TRANSFORMED = "transformed"
"""The key of an event's `context` that lists the transforms that have changed it, as `name@version`."""

_ABSENT: Any = object()
_EACH = "[]"

Steps = tuple[str, ...]
Change = Callable[[Any], Any]


class Transforms:
    """The transforms in force.

    Args:
        by_source: The transform of each source that has one.
        secret: Key of hashes; its first 64 bytes count.
        last: A transform that is applied to the events of all sources, after their own.
        minor_units: Decimal places by currency of each source that declares them: its amounts in minor units are
            converted after all else.
        currencies: The currency of each source that declares one: a symbol that several share means it.

    Attributes:
        digest: Identifies them: part of the mark of validated records. Empty if there are none.
    """

    def __init__(
        self,
        by_source: Mapping[str, Transform],
        secret: bytes,
        last: Transform | None = None,
        minor_units: Mapping[str, Mapping[str, int]] = MappingProxyType({}),
        currencies: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._by_source = {name: _Compiled(one, secret) for name, one in by_source.items()}
        self._last = _Compiled(last, secret) if last else None
        self._minor_units = minor_units
        self._currencies = currencies
        whole = "\n".join(
            [
                *(f"{name} {one.model_dump_json()}" for name, one in sorted(by_source.items())),
                *(f"{name} {sorted(places.items())}" for name, places in sorted(minor_units.items())),
                *(f"{name} {currency}" for name, currency in sorted(currencies.items())),
            ]
        )
        self.digest = blake2b(whole.encode(), digest_size=8).digest() if whole else b""

    def __call__(self, event: Any) -> Any:
        """Return the transformed event; the same object if nothing has changed."""
        if type(event) is not dict:
            return event
        source = event.get("source")
        own = self._by_source.get(source) if type(source) is str else None
        if own is not None:
            event = own(event)
        if self._last is not None:
            event = self._last(event)
        currency = self._currencies.get(source) if type(source) is str else None
        if currency is not None:
            event = with_shared_symbol_read(event, currency)
        places = self._minor_units.get(source) if type(source) is str else None
        return in_units_of(event, places) if places else event


class _Compiled:
    """One transform, its paths split into steps."""

    def __init__(self, transform: Transform, secret: bytes) -> None:
        self._label = transform.label
        key = blake2b(digest_size=32, key=secret[: blake2b.MAX_KEY_SIZE], person=b"transforms").digest()
        self._steps = [_CompiledStep(step, key) for step in transform.steps]

    def __call__(self, event: dict[str, Any]) -> dict[str, Any]:
        context = event.get("context")
        known = context.get(TRANSFORMED) if isinstance(context, dict) else None
        labels = known if isinstance(known, list) else []
        if self._label in labels:
            return event
        changed = event
        for step in self._steps:
            changed = step(changed)
        if changed is event:
            return event
        context = changed.get("context")
        if context is None or isinstance(context, dict):
            changed = {**changed, "context": {**(context or {}), TRANSFORMED: [*labels, self._label][-20:]}}
        return changed


class _CompiledStep:
    """One step."""

    def __init__(self, step: TransformStep, key: bytes) -> None:
        self._step = step
        self._rename = [_split_rename(old, new) for old, new in step.rename.items()]
        self._set = [(_split(path), how) for path, how in step.values.items()]
        self._changes: list[tuple[Steps, Change, bool]] = [
            *((_split(path), _default(value), True) for path, value in step.default.items()),
            *((_split(path), _cast(how), False) for path, how in step.cast.items()),
            *((_split(path), _hashed(key), False) for path in step.hash),
            *((_split(path), _dropped, False) for path in step.drop),
        ]

    def __call__(self, event: dict[str, Any]) -> dict[str, Any]:
        if self._step.when is not None:
            try:
                if not self._step.when.holds(event):
                    return event
            except ExpressionError:
                return event
        changed: Any = event
        for prefix, old, new in self._rename:
            changed = _update(changed, prefix, partial(_moved, old=old, new=new), create=False)
        for path, how in self._set:
            value = _evaluated(how, changed)
            if value is not None:
                changed = _update(changed, path, partial(_constant, value), create=True)
        for path, change, create in self._changes:
            changed = _update(changed, path, change, create=create)
        return changed if isinstance(changed, dict) else event


def _split(path: str) -> Steps:
    """Split `a.b[].c` into `a`, `b`, `[]`, `c`."""
    return tuple(step for part in path.split(".") for step in ([part[:-2], _EACH] if part.endswith(_EACH) else [part]))


def _split_rename(old: str, new: str) -> tuple[Steps, Steps, Steps]:
    """Split a rename into the element that it happens in, and the two paths inside of that."""
    prefix = lists_of(old)
    rest = len(prefix) + 1 if prefix else 0
    return (_split(prefix) if prefix else ()), _split(old[rest:]), _split(new[rest:])


def _update(part: Any, steps: Steps, change: Change, *, create: bool) -> Any:
    """Return a part with the value at a path changed: what lies on the path is copied, and nothing else.

    Args:
        part: A JSON value; `_ABSENT` if there is none.
        steps: The path.
        change: Takes the value, or `_ABSENT`; returns the new one, or `_ABSENT` for none.
        create: Make objects that the path needs.
    """
    if not steps:
        return change(part)
    step, rest = steps[0], steps[1:]
    if step == _EACH:
        if type(part) is not list:
            return part
        elements = [_update(one, rest, change, create=create) for one in part]
        same = all(new is old for new, old in zip(elements, part, strict=True))
        return part if same else [one for one in elements if one is not _ABSENT]
    if part is _ABSENT or part is None:
        if not create:
            return part
        part = {}
    if type(part) is not dict:
        return part
    old = part.get(step, _ABSENT)
    new = _update(old, rest, change, create=create)
    if new is old:
        return part
    if new is _ABSENT:
        return {name: value for name, value in part.items() if name != step}
    return {**part, step: new}


def _moved(part: Any, old: Steps, new: Steps) -> Any:
    """Move a value within a part, unless its new place has one."""
    value = _at(part, old)
    if value is _ABSENT or value is None or _at(part, new) not in (_ABSENT, None):
        return part
    return _update(_update(part, old, _dropped, create=False), new, partial(_constant, value), create=True)


def _at(part: Any, steps: Steps) -> Any:
    for step in steps:
        part = part.get(step, _ABSENT) if type(part) is dict else _ABSENT
    return part


def _evaluated(how: ValueMapping, event: dict[str, Any]) -> Any:
    """Return the value of an expression of the event, or a constant; None: there is none, or it cannot be read."""
    if how.get is None:
        return how.value
    try:
        found = how.get(event)
        return how.default if found is None else _read(found, how)
    except (ExpressionError, CastError):
        return None


def _read(found: Any, how: ValueMapping) -> Any:
    if how.lookup is not None:
        found = how.lookup.get(found if isinstance(found, str) else str(found), how.default)
    return found if found is None else cast(found, how, None, MINOR_UNITS["iso_4217"])


def _constant(value: Any, _: Any) -> Any:
    return value


def _default(value: Any) -> Change:
    return lambda found: value if found is _ABSENT or found is None else found


def _cast(how: ValueMapping) -> Change:
    def change(found: Any) -> Any:
        if found is _ABSENT or found is None:
            return found
        try:
            new = _read(found, how)
        except CastError:
            return found
        return found if new is None or (type(new) is type(found) and new == found) else new

    return change


def _hashed(key: bytes) -> Change:
    def change(found: Any) -> Any:
        if isinstance(found, bool) or not isinstance(found, str | int | float):
            return found
        text = str(found).encode("utf-8", "surrogatepass")
        return blake2b(text, digest_size=16, key=key).hexdigest()

    return change


def _dropped(_: Any) -> Any:
    return _ABSENT
