"""What a destination is still to learn of a conversion, by what the ledger says that it has learned.

So it does not matter how often, or by which event, a conversion comes up again: a second report, a refund, a merge, a
record that Kafka gives a second time. What was sent is not sent again; what has changed since is sent as an adjustment.
Consent is that of the person as known now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from processors.export.identifiers import MatchKeys, match_keys
from processors.export.payloads import Statement, body_of
from processors.segments.audiences import may_be_targeted
from schemas.export.destinations import ConversionRule, Destination
from schemas.export.exports import Click, Conversion, ExportEntry, ExportItem, ExportKind, Reason

_ASKED_AGAIN = frozenset({"", "not_yet", "no_consent"})
"""Reasons of adjustments that may hold no more."""
_ZERO = Decimal(0)


class Person(NamedTuple):
    """A person as known now.

    Attributes:
        document: The profile; None: nobody, or erased.
        clicks: Click ids of the person's touches.
        predicted: What the lifetime value model expects of the person; None: nothing.
        predicted_currency: Of that.
    """

    document: Mapping[str, Any] | None
    clicks: Sequence[Click] = ()
    predicted: Decimal | None = None
    predicted_currency: str = ""


class Decision(NamedTuple):
    """What is to happen with one export.

    Attributes:
        entry: Its row of the ledger: withheld, or what it will be if it is sent.
        item: What to send; None: it is withheld.
    """

    entry: ExportEntry
    item: ExportItem | None


def decide(
    destination: Destination,
    conversion: Conversion,
    entries: Sequence[ExportEntry],
    person: Person,
    now_ms: int,
    *,
    adjusts: bool = True,
) -> list[Decision]:
    """Decide what a destination is to learn of a conversion now.

    Args:
        destination: The destination.
        conversion: The conversion as known now.
        entries: The ledger's rows of this conversion and destination.
        person: The person as known now.
        now_ms: The time.
        adjusts: Whether the destination's credentials allow adjustments.

    Returns:
        The exports; empty: it is not meant for it, the person was erased, or nothing is new.
    """
    rule = destination.rule(conversion.goal)
    if rule is None or not _concerns(destination, conversion):
        return []
    if conversion.profile_id and person.document is None:
        return []  # erased: no row is to remain, either
    case = _Case(destination, rule, conversion, entries, person, now_ms, adjusts)
    first = case.entry("conversion")
    if first is None or first.state == "withheld":
        return [case.first()]
    if first.state == "refused":
        return []
    return [one for one in (case.value_changed(first), case.better_known(first)) if one is not None]


def _concerns(destination: Destination, conversion: Conversion) -> bool:
    channels, markets = destination.channels, destination.markets
    return (not channels or conversion.channel in channels) and (not markets or conversion.market in markets)


class _Case:
    """One conversion before one destination."""

    def __init__(
        self,
        destination: Destination,
        rule: ConversionRule,
        conversion: Conversion,
        entries: Sequence[ExportEntry],
        person: Person,
        now_ms: int,
        adjusts: bool,
    ) -> None:
        self._destination, self._rule, self._conversion = destination, rule, conversion
        self._entries = {(one.kind, one.number): one for one in entries}
        self._person, self._now_ms, self._adjusts = person, now_ms, adjusts
        document = person.document
        self._keys = (
            match_keys(destination, document, person.clicks, conversion.converted_ms) if document else MatchKeys()
        )
        by_order = destination.event_id == "order_id" and conversion.order_id
        self._event_id = conversion.conversion_id if by_order or not conversion.event_id else conversion.event_id
        self._net = conversion.revenue - conversion.refunded

    def entry(self, kind: ExportKind, number: int = 0) -> ExportEntry | None:
        """Return the ledger's row of an export."""
        return self._entries.get((kind, number))

    def first(self) -> Decision:
        """Decide about the conversion itself."""
        conversion, value, currency = self._conversion, *self._value()
        reason: Reason | None = self._person_reason()
        if conversion.refunded > 0 and self._net <= 0:
            reason = reason or "refunded"
        elif self._age_ms() > self._destination.oldest_ms(conversion.channel):
            reason = reason or "too_old"
        elif self._rule.value != "none" and (value is None or (value and not currency)):
            reason = reason or "no_value"
        return self._decided("conversion", 0, reason, self._rule.event, value, currency, conversion.converted_ms)

    def value_changed(self, first: ExportEntry) -> Decision | None:
        """Decide about a change of the value; None: it has not changed, or that was stated."""
        stated = [one for (kind, _), one in sorted(self._entries.items()) if kind == "value" and one.state == "sent"]
        last, number = (stated[-1] if stated else first), len(stated) + 1
        now = (self._conversion.revenue, self._conversion.refunded)
        if now == (last.revenue, last.refunded):
            return None
        if self._rule.value in ("none", "predicted") and self._net > 0:
            return None  # its value does not depend on what was paid
        before = self.entry("value", number)
        if before and (before.revenue, before.refunded) == now and before.reason not in _ASKED_AGAIN:
            return None
        value, currency = (_ZERO, last.currency) if self._net <= 0 else self._value()
        name, reason = self._rule.event, self._adjustment_reason()
        if self._destination.limits.restates:
            reason = reason or (None if self._adjusts else "not_adjustable")
            return self._decided("value", number, reason, name, value, currency, self._now_ms, first.event_id)
        given_back = (last.value or _ZERO) - (value or _ZERO)
        name = self._destination.refund_event
        if not name or given_back <= 0:
            reason = reason or "not_adjustable"
        decided = self._decided("value", number, reason, name, given_back, currency, self._now_ms, first.event_id)
        # The ledger has the value after it, from which the next one counts.
        return decided._replace(entry=decided.entry._replace(value=value))

    def better_known(self, first: ExportEntry) -> Decision | None:
        """Decide about match keys that were not known then, as after a merge; None: there are none, or they left."""
        gained = set(self._keys.names) - set(first.match_keys)
        before = self.entry("match")
        if not gained or (before and before.reason not in _ASKED_AGAIN) or (before and before.state == "sent"):
            return None
        reason = self._adjustment_reason()
        possible = self._destination.limits.enhances and self._adjusts
        if self._destination.through == "google" and not gained & {"email", "phone"}:
            possible = False  # an enhancement has addresses alone
        if not possible:
            reason = reason or "not_adjustable"
        value, currency = first.value, first.currency
        return self._decided("match", 0, reason, self._rule.event, value, currency, self._now_ms, first.event_id)

    def _person_reason(self) -> Reason | None:
        document = self._person.document
        if not self._conversion.profile_id or document is None:
            return "no_person"
        purposes = document.get("consent", {}).get("purposes", {})
        agreed = all(name in purposes and purposes[name][0] for name in self._destination.consent)
        if not agreed or not may_be_targeted(dict(document)):
            return "no_consent"
        # A system of one's own knows people by their profile.
        return None if self._keys.names or self._destination.through in ("webhook", "topic") else "no_match_keys"

    def _adjustment_reason(self) -> Reason | None:
        too_old = self._age_ms() > self._destination.limits.adjust_ms
        return self._person_reason() or ("too_old" if too_old else None)

    def _age_ms(self) -> int:
        return self._now_ms - self._conversion.converted_ms

    def _value(self) -> tuple[Decimal | None, str]:
        match self._rule.value:
            case "revenue":
                return self._net, self._conversion.currency
            case "margin":
                return self._net * self._conversion.margin_rate, self._conversion.currency
            case "predicted":
                return self._person.predicted, self._person.predicted_currency
        return None, ""

    def _decided(
        self,
        kind: ExportKind,
        number: int,
        reason: Reason | None,
        name: str,
        value: Decimal | None,
        currency: str,
        at_ms: int,
        adjusts: str = "",
    ) -> Decision:
        conversion, before = self._conversion, self.entry(kind, number)
        event_id = self._event_id if not adjusts else f"{adjusts}:{kind}" + (f":{number}" if number else "")
        if value is not None:
            value = round(value, 4)
        currency = currency if value is not None else ""
        entry = ExportEntry(
            self._destination.name, conversion.goal, conversion.conversion_id, kind, number, event_id, adjusts,
            conversion.profile_id, "withheld" if reason else "sent", reason or "", "", self._keys.names, value,
            currency, conversion.revenue, conversion.refunded, before.attempt if before else 0, conversion.converted_ms,
            self._now_ms,
        )  # fmt: skip
        if reason:
            return Decision(entry, None)
        stated = Statement(kind, name, event_id, adjusts, conversion, self._keys, value, currency, at_ms)
        return Decision(
            entry._replace(attempt=entry.attempt + 1), ExportItem(event_id, kind, body_of(self._destination, stated))
        )
