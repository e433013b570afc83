"""Checks events against the tracking plan: notes what breaks it on the event, or refuses the event.

Each event of the plan is compiled, for each source that differs, into one validator of `pydantic_core`: an event that
is not planned costs a look into a dict, a planned one about a microsecond. Patterns are matched in linear time.

| mode | an event that breaks the plan |
| --- | --- |
| `observe` | goes on as it is; `throughline plan check --history` finds it |
| `warn` | goes on, with a note for each broken rule in `context.against_plan`, which `v_plan_violations` counts |
| `refuse` | becomes a dead letter, `against_plan` or `unplanned_event` |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import PydanticCustomError, SchemaValidator, core_schema

from processors.intake.decode import shown
from schemas.dead_letters import Reason
from schemas.events.touchpoint import EVENT_NAMES, Event
from schemas.intake.plan import ANY_SOURCE, Kind, Mode, PlanDefinitions, PlannedEvent, PlannedProperty
from schemas.outcomes import Reject
from schemas.time import parse_time
from schemas.validation_messages import broken_rule

AGAINST_PLAN = "against_plan"
"""The key of an event's `context` that lists the rules of the plan that the event breaks, as `field` and `rule`."""

MAX_NOTES = 20

_NOTHING: Mapping[str, Any] = {}
_RULES = {
    "missing": "required",
    "literal_error": "values",
    "string_pattern_mismatch": "pattern",
    "greater_than_equal": "min",
    "less_than_equal": "max",
    "extra_forbidden": "closed",
}
_EXPECTED = {
    "required": "is missing, and the tracking plan requires it",
    "closed": "is no property of the tracking plan: check its spelling",
}
_DAYS = r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$"
_AMOUNT = r"^-?[0-9]{1,15}(\.[0-9]{1,4})?$"


class Violation(NamedTuple):
    """One rule of the plan that an event breaks.

    Attributes:
        field: As `properties.tier`; `event` or `source` where the whole event is at fault.
        rule: `required`, `type`, `values`, `pattern`, `min`, `max`, `closed`, `only_sources` or `unplanned`.
        message: The field, its value and the rule, in words; without a value that may identify a person.
    """

    field: str
    rule: str
    message: str


class _Check(NamedTuple):
    """The compiled plan of an event of a source; without a validator, the source may not send the event."""

    mode: Mode
    validator: SchemaValidator | None


class TrackingPlan:
    """A tracking plan that is in force.

    Args:
        definitions: The plan.

    Attributes:
        digest: Identifies the plan: part of the mark of validated records, so that a worker with another plan checks
            them again. Empty for a plan that changes no event.
    """

    def __init__(self, definitions: PlanDefinitions) -> None:
        self._checks = {name: _compiled(event) for name, event in definitions.events.items()}
        self._unplanned = dict(definitions.unplanned)
        modes = {check.mode for checks in self._checks.values() for check in checks.values()}
        acts = (modes | set(self._unplanned.values())) - {"observe"}
        self.digest = blake2b(definitions.model_dump_json().encode(), digest_size=8).digest() if acts else b""

    def apply(self, event: Event) -> Reject | None:
        """Note on a valid event which rules it breaks, or return why it is refused.

        Args:
            event: The event in its canonical form; notes are written into its context.
        """
        mode = self._mode_if_broken(event)
        if mode is None or mode == "observe":
            return None
        violations = self.violations(event)
        if mode == "refuse":
            first, more = violations[0], len(violations) - 1
            reason = Reason.UNPLANNED_EVENT if first.rule == "unplanned" else Reason.AGAINST_PLAN
            also = f" So do {more} more rules." if more else ""
            return Reject(reason, first.field, f"{first.message}{also}")
        notes = [{"field": one.field, "rule": one.rule} for one in violations[:MAX_NOTES]]
        event["context"] = {**(event.get("context") or {}), AGAINST_PLAN: notes}
        return None

    def violations(self, event: Event) -> Sequence[Violation]:
        """Return the rules that a valid event breaks, whatever the mode."""
        name, source = event["event"], event.get("source", "")
        checks = self._checks.get(name)
        if checks is None:
            if self._mode_of_unplanned(name, source) is None:
                return ()
            message = (
                f"event is {shown(name, ('event',))}, which the tracking plan does not have: plan it, or rename it."
            )
            return (Violation("event", "unplanned", message),)
        validator = _of(checks, source).validator
        if validator is None:
            message = f"source is {shown(source, ('source',))}: by the tracking plan it does not send {name}."
            return (Violation("source", "only_sources", message),)
        try:
            validator.validate_python(_parts(event))
        except ValidationError as error:
            return [_violation(name, one) for one in error.errors(include_url=False)]
        return ()

    def _mode_if_broken(self, event: Event) -> Mode | None:
        """Return the mode that applies if the event breaks the plan; None: it keeps to it. The hot path."""
        name = event["event"]
        checks = self._checks.get(name)
        if checks is None:
            return self._mode_of_unplanned(name, event.get("source", "")) if self._unplanned else None
        check = _of(checks, event.get("source", ""))
        if check.mode == "observe":
            return None
        kept = check.validator is not None and check.validator.isinstance_python(_parts(event))
        return None if kept else check.mode

    def _mode_of_unplanned(self, name: str, source: str) -> Mode | None:
        if name in EVENT_NAMES:
            return None
        return self._unplanned.get(source) or self._unplanned.get(ANY_SOURCE)


def _parts(event: Event) -> dict[str, Any]:
    return {"properties": event.get("properties") or _NOTHING}


def _of(checks: Mapping[str, _Check], source: str) -> _Check:
    return checks.get(source) or checks[ANY_SOURCE]


def _compiled(event: PlannedEvent) -> dict[str, _Check]:
    """Compile an event for each source that is named, and for all others."""
    checks = {source: _Check(event.mode_of(source), _validator(event, source)) for source in event.sources}
    others = None if event.only_sources else _validator(event, ANY_SOURCE)
    return {**checks, ANY_SOURCE: _Check(event.mode, others)}


def _validator(event: PlannedEvent, source: str) -> SchemaValidator:
    properties = _object(event.properties_of(source), closed=event.is_closed(source))
    part = core_schema.typed_dict_field(properties, required=True)
    return SchemaValidator(core_schema.typed_dict_schema({"properties": part}, extra_behavior="ignore"))


def _object(properties: Mapping[str, PlannedProperty], *, closed: bool = False) -> core_schema.CoreSchema:
    fields = {
        name: core_schema.typed_dict_field(_schema(one), required=one.required) for name, one in properties.items()
    }
    return core_schema.typed_dict_schema(fields, extra_behavior="forbid" if closed else "ignore")


def _schema(planned: PlannedProperty) -> core_schema.CoreSchema:
    typed = _typed(planned)
    if planned.values:
        typed = core_schema.chain_schema([typed, core_schema.literal_schema([*planned.values])])
    return typed if planned.required else core_schema.nullable_schema(typed)  # null is absent


def _typed(planned: PlannedProperty) -> core_schema.CoreSchema:
    kind, low, high = planned.type, planned.min, planned.max
    if kind is Kind.TEXT:
        return core_schema.str_schema(strict=True, pattern=planned.pattern)
    if kind is Kind.BOOLEAN:
        return core_schema.bool_schema(strict=True)
    if kind is Kind.LIST:
        return core_schema.list_schema(_schema(planned.of) if planned.of else None, strict=True)
    if kind is Kind.OBJECT:
        return _object(planned.properties)
    if kind is Kind.DATE:
        return _worded(core_schema.str_schema(strict=True, pattern=_DAYS), "date", "a date such as 2026-11-22")
    if kind is Kind.TIME:
        return core_schema.no_info_plain_validator_function(_time)
    number = core_schema.float_schema(strict=True, ge=low, le=high)
    if kind is Kind.NUMBER:
        return number
    if kind is Kind.INTEGER:
        whole = core_schema.int_schema(strict=True)
        return whole if low is None and high is None else core_schema.chain_schema([whole, number])
    amount = core_schema.str_schema(strict=True, pattern=_AMOUNT)
    either = core_schema.union_schema([amount, core_schema.float_schema(strict=True)])
    money = _worded(either, "money", 'an amount, such as "24.95" or 24.95')
    bounded = core_schema.float_schema(ge=low, le=high)
    return money if low is None and high is None else core_schema.chain_schema([money, bounded])


def _worded(schema: core_schema.CoreSchema, kind: str, expected: str) -> core_schema.CoreSchema:
    return core_schema.custom_error_schema(schema, kind, custom_error_message=f"Input should be {expected}")


def _time(value: object) -> object:
    try:
        return parse_time(value)
    except ValueError:
        raise PydanticCustomError("time", "Input should be a time such as 2026-11-22T10:15:30Z") from None


def _violation(name: str, error: Any) -> Violation:
    kind, path = error["type"], error["loc"]
    rule, field = _RULES.get(kind, "type"), ".".join(map(str, path))
    broken = _EXPECTED.get(rule) or (
        f"is {shown(error['input'], path)}, and by the tracking plan it {broken_rule(kind, error['msg'])}"
    )
    return Violation(field, rule, f"{field} of {name} {broken} (rule {rule}).")
