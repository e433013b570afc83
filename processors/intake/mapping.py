"""Applies a mapping: a payload or a row becomes touchpoints, or a reason why not. Pure; `received_at` is an argument.

Nothing is validated here: what comes out is held to the rules of events by `collect.py`. A detail that cannot be read
is set aside as in calls of SDKs (`odd_details.py`); where what cannot be read is the head of the event (who, when,
which order, how much), there is no event but a refusal that names the expression and the value.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from processors.intake.casts import CastError, cast
from processors.intake.decode import shown
from processors.intake.odd_details import OddDetail, is_in, note_details, set_aside
from schemas.dead_letters import Reason
from schemas.intake import mappings
from schemas.intake.expressions import Expression, ExpressionError
from schemas.intake.mappings import SCOPE, EventParts, EventRule, IdentifierMapping, ValueMapping
from schemas.money import EXPONENTS, MINOR_UNITS
from schemas.outcomes import Reject
from schemas.time import text_of_time

MAX_RECORDS = 5_000
"""The most records of a payload."""
MAX_ELEMENTS = 5_000
"""The most objects of a list that a value makes."""
MAX_FORM_FIELDS = 1_000
MAX_EVENT_ID_CHARS = 100

_ITSELF = Expression("@")

_FREE_PARTS = ("campaign", "context", "properties", "traits")


class Payload(NamedTuple):
    """What came in.

    Attributes:
        body: The parsed body of a request, or a row: a JSON value.
        received_at: When it came in, UTC.
        headers: The headers of the request, their names in small letters.
        query: The parameters of its address.
    """

    body: Any
    received_at: datetime
    headers: Mapping[str, str] = {}
    query: Mapping[str, str] = {}


def form_fields(raw: bytes) -> dict[str, Any]:
    """Read the body of a form as a record; a field that comes several times is a list.

    Raises:
        ValueError: It has more than `MAX_FORM_FIELDS` fields.
    """
    form: dict[str, Any] = {}
    for name, value in parse_qsl(raw.decode("utf-8", "replace"), True, max_num_fields=MAX_FORM_FIELDS):
        former = form.get(name)
        form[name] = value if name not in form else [*former, value] if isinstance(former, list) else [former, value]
    return form


class _Headers(dict[str, str]):
    """Headers by their names in small letters, found in any spelling."""

    def get(self, name: str, default: Any = None) -> Any:
        """Return a header as expressions read it; None if there is none."""
        return super().get(name.lower(), default)


class MappedRecord(NamedTuple):
    """One record of a payload, and what its mapping reads beside it.

    Attributes:
        value: The record.
        scope: The values of the names in `schemas.intake.mappings.SCOPE`.
    """

    value: Any
    scope: dict[str, Any]


class MappedEvent(NamedTuple):
    """A touchpoint that is not validated yet.

    Attributes:
        event: As a producer would send it.
        expressions: The expression of each of its fields that one reads, for messages.
    """

    event: dict[str, Any]
    expressions: dict[str, str]


@dataclass(slots=True)
class RecordResult:
    """What came of one record.

    Attributes:
        events: Touchpoints.
        refusals: Why a rule that applies gave none; with the id of the event where that is known.
        ignored: Why no rule applies; empty if one does.
    """

    events: list[MappedEvent] = field(default_factory=list)
    refusals: list[tuple[str, Reject]] = field(default_factory=list)
    ignored: str = ""


class _UnreadableError(Exception):
    """A value of the head cannot be read."""

    def __init__(self, rejected: Reject) -> None:
        super().__init__(rejected.message)
        self.rejected = rejected


class CompiledMapping:
    """A mapping, ready to be applied.

    Args:
        mapping: The definition.

    Attributes:
        definition: The same.
        headers: The headers that its expressions read; others need not be kept.
        query: The parameters of the address that they read.
        reads_body: They read `_body`.
        names: The names that they read from the top of a record, or of an element of one of its lists.
    """

    def __init__(self, mapping: mappings.Mapping) -> None:
        self.definition = mapping
        paths = {path for one in _expressions(mapping) for path in one.fields}
        self.headers = frozenset(path[1].lower() for path in paths if path[0] == "_headers" and len(path) > 1)
        self.query = frozenset(path[1] for path in paths if path[0] == "_query" and len(path) > 1)
        self.reads_body = any(path[0] == "_body" for path in paths)
        self.names = frozenset(path[0] for path in paths)
        units = mapping.minor_units
        self._exponents = MINOR_UNITS[units] if isinstance(units, str) else {**EXPONENTS, **units}

    def scope(self, payload: Payload) -> dict[str, Any]:
        """Return what the expressions of this mapping read beside a record of a payload."""
        scope: dict[str, Any] = {
            "_headers": {name: value for name, value in payload.headers.items() if name in self.headers},
            "_query": {name: value for name, value in payload.query.items() if name in self.query},
            "_received_at": text_of_time(payload.received_at),
        }
        if self.reads_body:
            scope["_body"] = payload.body
        return scope

    def records(self, payload: Payload) -> list[MappedRecord] | Reject:
        """Split a payload into its records.

        Returns:
            The records, each with what is read beside it; or why it cannot be split.
        """
        body, scope = payload.body, self.scope(payload)
        records = [MappedRecord(body, scope)]
        for number, expression in enumerate(self.definition.each or (_ITSELF,)):
            try:
                records = [
                    MappedRecord(one, {**record.scope, "_record": record.value} if number else scope)
                    for record in records
                    for one in _elements(expression(record.value))
                ]
            except ExpressionError as error:
                return Reject(Reason.INVALID_FIELD, "each", f"each cannot be evaluated: `{expression}`: {error}.")
            if len(records) > MAX_RECORDS:
                found = f"{len(records):,} records: at most {MAX_RECORDS:,} are accepted"
                return Reject(Reason.TOO_LARGE, "", f"The payload has {found}.")
        return records

    def apply(self, record: MappedRecord) -> RecordResult:
        """Make the touchpoints of one record.

        Returns:
            The events and refusals of all rules that apply. It never raises because of the record.
        """
        result, scope = RecordResult(), _scope(record.value, record.scope)
        scope["_headers"] = _Headers(scope.get("_headers") or {})
        for ignore in self.definition.ignore:
            if isinstance(applies := _holds(ignore.when, scope), Reject):
                result.refusals.append(("", applies))
                return result
            if applies:
                result.ignored = ignore.reason
                return result
        for rule in self.definition.events:
            for inner in _inner_scopes(rule.each, scope, result) if rule.each else (scope,):
                applies = _holds(rule.when, inner) if rule.when else True
                if isinstance(applies, Reject):
                    result.refusals.append(("", applies))
                elif applies:
                    self._event(rule, inner, result)
        if not result.events and not result.refusals:
            result.ignored = "no rule applies"
        return result

    def _event(self, rule: EventRule, scope: dict[str, Any], result: RecordResult) -> None:
        event_id = ""
        try:
            event_id = _event_id(rule.event_id, scope)
            result.events.append(_EventReader(rule, self.definition.common, scope, self._exponents).read(event_id))
        except _UnreadableError as error:
            result.refusals.append((event_id, error.rejected))


class _EventReader:
    """Makes the touchpoint of one rule and one record."""

    def __init__(
        self, rule: EventRule, common: EventParts, scope: dict[str, Any], exponents: Mapping[str, int]
    ) -> None:
        self._rule, self._common, self._scope, self._exponents = rule, common, scope, exponents
        self._expressions: dict[str, str] = {}
        self._unreadable: list[Reject] = []

    def read(self, event_id: str) -> MappedEvent:
        """Make the touchpoint.

        Raises:
            _UnreadableError: A value of its head cannot be read.
        """
        rule, common = self._rule, self._common
        event: dict[str, Any] = {"event_id": event_id, "event": self._value(rule.event, ("event",), self._scope)}
        if channel := rule.channel or common.channel:
            event["channel"] = self._value(channel, ("channel",), self._scope)
        event["occurred_at"] = self._occurred_at(rule.occurred_at or common.occurred_at)
        event["identifiers"] = self._identifiers({**common.identifiers, **rule.identifiers})
        for part in _FREE_PARTS:
            event[part] = self._object({**getattr(common, part), **getattr(rule, part)}, (part,), self._scope)
        event["consent"] = self._consent()
        event = {name: value for name, value in event.items() if value not in (None, {}, [])}
        details: list[OddDetail] = []
        for rejected in self._unreadable:
            if is_in(event, rejected.field):  # what is set aside in one line of a list may be so in all
                found = set_aside(event, rejected)
                if not found:
                    raise _UnreadableError(rejected)
                details += found
        if details:
            note_details(event, details)
        return MappedEvent(event, self._expressions)

    def _occurred_at(self, how: ValueMapping | None) -> Any:
        received_at = self._scope["_received_at"]
        if how is None:
            return received_at
        if how.get is not None and how.read_as is None:
            how = how.model_copy(update={"read_as": "time"})
        found = self._value(how, ("occurred_at",), self._scope)
        return received_at if found is None else found

    def _identifiers(self, types: Mapping[str, tuple[IdentifierMapping, ...]]) -> list[dict[str, Any]]:
        identifiers: list[dict[str, Any]] = []
        for kind, ways in types.items():
            for how in ways:
                number = len(identifiers)
                found = self._value(how, ("identifiers", number, "value"), self._scope)
                verified = how.verified is not None and self._holds(how.verified, ("identifiers", number, "verified"))
                for value in found if isinstance(found, list) else [found]:
                    if value is None or value is False or (isinstance(value, str) and not value.strip()):
                        continue
                    one: dict[str, Any] = {"type": kind, "value": value}
                    if verified:
                        one["verified"] = True
                    if one not in identifiers:
                        identifiers.append(one)
        return identifiers

    def _consent(self) -> dict[str, Any]:
        own, common = self._rule.consent, self._common.consent
        answers = {name: getattr(own, name) or getattr(common, name) for name in ("marketing", "analytics")}
        consent = {name: self._answer(how, ("consent", name)) for name, how in answers.items() if how is not None}
        channels = {
            name: self._answer(how, ("consent", "channels", name))
            for name, how in {**common.channels, **own.channels}.items()
        }
        consent["channels"] = {name: answer for name, answer in channels.items() if answer is not None}
        return {name: answer for name, answer in consent.items() if answer not in (None, {})}

    def _answer(self, how: ValueMapping, path: tuple[str, ...]) -> Any:
        if how.get is not None and how.read_as is None:
            how = how.model_copy(update={"read_as": "boolean"})
        return self._value(how, path, self._scope)

    def _object(self, fields: Mapping[str, ValueMapping], path: tuple[str | int, ...], scope: Any) -> dict[str, Any]:
        found = {name: self._value(how, (*path, name), scope) for name, how in fields.items()}
        return {name: value for name, value in found.items() if value is not None}

    def _value(self, how: ValueMapping, path: tuple[str | int, ...], scope: dict[str, Any]) -> Any:
        """Make one value; None: it is not given. One that cannot be read is noted, and given as it is."""
        if how.value is not None:
            return how.value
        if how.fields is not None:
            return self._fields(how, how.fields, path, scope)
        expression = how.get
        assert expression is not None
        self._expressions[_dotted(path)] = expression.text
        found = None
        try:
            found = expression(scope)
            if how.lookup is not None and found is not None:
                found = how.lookup.get(_word(found))
            if found is None or (found == "" and how.read_as is not None):
                return how.default
            currency = how.currency(scope) if how.currency else None
            return cast(found, how, currency, self._exponents)
        except ExpressionError as error:
            self._note(path, f"{_dotted(path)} cannot be read: `{expression}`: {error}.")
        except CastError as error:
            self._note(path, f"{_dotted(path)} is {shown(found, path)}, which is `{expression}`: {error}.")
        return found if found is not None else ""

    def _fields(
        self, how: ValueMapping, fields: Mapping[str, ValueMapping], path: tuple[str | int, ...], scope: dict[str, Any]
    ) -> Any:
        """Make an object, or a list of objects of the elements that `each` gives."""
        if how.each is None:
            return self._object(fields, path, scope) or None
        try:
            elements = how.each(scope)
        except ExpressionError as error:
            self._note(path, f"{_dotted(path)} cannot be read: `{how.each}`: {error}.")
            return ""
        if elements is None:
            return None
        if not isinstance(elements, list):
            elements = [elements]
        outer = _outer(scope)
        objects: list[dict[str, Any]] = []
        for element in elements[:MAX_ELEMENTS]:
            if element is not None and (one := self._object(fields, (*path, len(objects)), _scope(element, outer))):
                objects.append(one)
        return objects or None

    def _holds(self, expression: Expression, path: tuple[str | int, ...]) -> bool:
        try:
            return expression.holds(self._scope)
        except ExpressionError as error:
            self._note(path, f"{_dotted(path)} cannot be read: `{expression}`: {error}.")
            return False

    def _note(self, path: tuple[str | int, ...], message: str) -> None:
        self._unreadable.append(Reject(Reason.INVALID_FIELD, _dotted(path), message))


def _elements(found: Any) -> list[Any]:
    """The records of what `each` gives: a list, one, or none."""
    return [one for one in found if one is not None] if isinstance(found, list) else [] if found is None else [found]


def _event_id(parts: Iterable[Expression], scope: dict[str, Any]) -> str:
    """Join the parts of an event's id; one that is too long ends in a hash of the whole."""
    texts = []
    for expression in parts:
        try:
            found = expression(scope)
        except ExpressionError as error:
            raise _UnreadableError(
                Reject(Reason.INVALID_FIELD, "event_id", f"event_id cannot be read: `{expression}`: {error}.")
            ) from None
        if found is None or found == "" or not isinstance(found, str | int | float) or isinstance(found, bool):
            problem = "is missing" if found is None or found == "" else "is no text and no number"
            raise _UnreadableError(
                Reject(
                    Reason.MISSING_FIELD,
                    "event_id",
                    f"event_id cannot be made: `{expression}`, a part of it, {problem}: send it, or map another field.",
                )
            )
        texts.append(_word(found))
    whole = ":".join(texts)
    if len(whole) <= MAX_EVENT_ID_CHARS:
        return whole
    digest = sha256(whole.encode("utf-8", "replace")).hexdigest()[:32]
    return f"{whole[: MAX_EVENT_ID_CHARS - 33]}:{digest}"


def _word(value: Any) -> str:
    """A value as the text of an id, or of a key of `lookup`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, str) else str(value)


def _inner_scopes(each: Expression, scope: dict[str, Any], result: RecordResult) -> list[dict[str, Any]]:
    """The scopes of the elements of a list in a record; none, and a refusal, if the list cannot be read."""
    try:
        return [_scope(element, _outer(scope)) for element in _elements(each(scope))[:MAX_ELEMENTS]]
    except ExpressionError as error:
        message = f"each cannot be evaluated: `{each}`: {error}."
        result.refusals.append(("", Reject(Reason.INVALID_FIELD, "each", message)))
        return []


def _outer(scope: dict[str, Any]) -> dict[str, Any]:
    """What is read beside an element of a list in a record."""
    return {name: scope[name] for name in SCOPE if name in scope} | {"_record": scope}


def _scope(value: Any, more: Mapping[str, Any]) -> dict[str, Any]:
    return {**value, **more} if isinstance(value, dict) else {"_value": value, **more}


def _holds(condition: Expression, scope: dict[str, Any]) -> bool | Reject:
    try:
        return condition.holds(scope)
    except ExpressionError as error:
        return Reject(Reason.INVALID_FIELD, "when", f"when cannot be evaluated: `{condition}`: {error}.")


def _dotted(path: tuple[str | int, ...]) -> str:
    return ".".join(map(str, path))


def _expressions(part: Any) -> Iterator[Expression]:
    """List every expression of a definition."""
    if isinstance(part, Expression):
        yield part
    elif isinstance(part, dict):
        for inner in part.values():
            yield from _expressions(inner)
    elif isinstance(part, tuple | list):
        for inner in part:
            yield from _expressions(inner)
    elif hasattr(type(part), "model_fields"):
        for name in type(part).model_fields:
            yield from _expressions(getattr(part, name))
