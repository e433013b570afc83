"""Receipts of messages: they commit or release caps, and update response rates and active hours.

A receipt names its message by `message_id`, the idempotency key. Receipts may come in any order and more than once, so
they have an order of their own: what only a receiver can do (open, click, answer, unsubscribe, complain) goes before a
bounce, since many mail servers accept a message first and return it later; a bounce goes before `delivered`; and that
before a failure or a transient bounce, after which a provider tries again. A message that has arrived counts for caps,
a failed one does not, a first click counts once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from processors.decisions import labels, ledger, sends
from processors.decisions.gates import caps
from processors.decisions.sends import ANSWERED, ARRIVED, BOUNCED, CLICKED, COUNTED, FAILED, REGRETTED, LogEntry
from processors.profiles.joins import bounded_text
from processors.profiles.time_zone import zone_of
from schemas.channels import event_prefix, message_channel
from schemas.events.bounces import BounceClass, bounce_class
from schemas.events.messages import STEPS, Step
from schemas.profiles.person import Person
from schemas.territory import ONE_TERRITORY, Territory
from schemas.time import ms_of_text, text_of_ms, time_of_ms

Event = dict[str, Any]
Row = dict[str, Any]
Handler = Callable[[Person, Event, int], list[Row]]

_FAILURES = frozenset({"bounced", "failed"})
_ARRIVALS = frozenset({"delivered", "opened", "clicked", "replied", "unsubscribed", "complained"})
_ENGAGED = frozenset({"clicked", "replied"})
_ANSWERS = frozenset({BounceClass.UNSUBSCRIBE, BounceClass.SPAM_REPORT})
_FINAL_BOUNCES = frozenset({BounceClass.PERMANENT, BounceClass.UNKNOWN})
_STEPS = [(name.removeprefix("Email "), step) for name, (_, step) in STEPS.items() if name.startswith("Email ")]
"""The part of an event's name that stands for a step: `Delivered`, `Link Clicked`, …."""


class Receipts:
    """Handles receipts and visits."""

    def __init__(
        self,
        channels: Iterable[str],
        visits: frozenset[str],
        territory: Territory = ONE_TERRITORY,
    ) -> None:
        """Prepare the handlers, by name of event.

        Args:
            channels: The channels of the policy; the receipts of a channel without events of its own begin with its
                name, such as `Direct Mail Failed`.
            visits: Events that show the person at their device.
            territory: Of the deployment.
        """
        self._territory = territory
        prefixes = {
            prefix: name for name in channels for prefix in (name.replace("_", " ").title(), event_prefix(name))
        }
        own = {f"{prefix} {said}": (name, step) for prefix, name in prefixes.items() for said, step in _STEPS}
        reports: dict[str, tuple[str, Step]] = {**own, **STEPS}
        self.handlers: dict[str, Handler] = dict.fromkeys(visits, self._visit)
        self.handlers |= {name: self._report(*report) for name, report in reports.items() if report[1] != "sent"}

    def _report(self, kind: str, step: Step) -> Handler:
        failure, arrival, engaged = step in _FAILURES, step in _ARRIVALS, step in _ENGAGED
        further = 0 if step == "delivered" else ANSWERED | CLICKED if engaged else ANSWERED

        def handle(person: Person, event: Event, now_ms: int) -> list[Row]:
            properties = event.get("properties") or {}
            key = str(properties.get("message_id") or "")
            sent = sends.entry(person.state, key) if key else None
            channel = sent.channel if sent else message_channel(kind, event["channel"])
            if engaged:
                self._present(person, event)
                if not (sent and sent.flags & CLICKED):
                    sends.count_responses(person.state, channel, clicked=1)
            if sent is None:
                if step == "delivered":  # sent by another system: the ledger has no entry of it
                    sends.count_responses(person.state, channel, sent=1)
                return []
            bounce = bounce_class(properties) if step == "bounced" else None
            if arrival or bounce in _ANSWERS:
                _arrived(person, key, sent, further)
            elif bounce in _FINAL_BOUNCES:
                return _bounced(person, key, sent, event, properties, now_ms)
            elif failure and bounce is not BounceClass.NO_BOUNCE and not sent.flags & ARRIVED:
                return _failed(person, key, sent, step, event, properties, now_ms)
            return []

        return handle

    def _visit(self, person: Person, event: Event, now_ms: int) -> list[Row]:
        self._present(person, event)
        return []

    def _present(self, person: Person, event: Event) -> None:
        zone = zone_of(person.document, self._territory)
        sends.count_active_hour(person.state, time_of_ms(ms_of_text(event["occurred_at"]), zone).hour)


def regret(person: Person, key: str, reason: str, now_ms: int, event_id: str) -> Row | None:
    """Mark a message as sent in error, as a late event shows.

    Args:
        person: The person.
        key: The message's idempotency key.
        reason: Why, as a sentence without its full stop: "the order had been placed before".
        now_ms: Logical time.
        event_id: The event that shows it.

    Returns:
        The row; None if the message is unknown, has failed, or is regretted already.
    """
    sent = sends.entry(person.state, key)
    if sent is None or sent.flags & (FAILED | REGRETTED):
        return None
    sends.flag(person.state, key, sent.flags | REGRETTED)
    said = f"Regretted: {reason}."
    gate_input = {"sent_at": text_of_ms(sent.at)}
    return ledger.result_row(
        person.profile_id, key, sent, "regretted", "late_event", said, gate_input, now_ms, event_id
    )


def _arrived(person: Person, key: str, sent: LogEntry, further: int) -> None:
    flags = sent.flags | ARRIVED | further
    if flags & BOUNCED and not flags & ANSWERED:
        sends.flag(person.state, key, flags)
        return
    if sent.flags & FAILED:
        sends.count_responses(person.state, sent.channel, sent=1)
    sends.flag(person.state, key, flags & ~FAILED)
    if sent.flags & COUNTED:
        caps.commit(person.state, key, sent.at, sent.channel, sent.tags)


def _bounced(
    person: Person, key: str, sent: LogEntry, event: Event, properties: dict[str, Any], now_ms: int
) -> list[Row]:
    sent = sent._replace(flags=sent.flags | BOUNCED)
    sends.flag(person.state, key, sent.flags)
    return [] if sent.flags & ANSWERED else _failed(person, key, sent, "bounced", event, properties, now_ms)


def _failed(
    person: Person, key: str, sent: LogEntry, step: Step, event: Event, properties: dict[str, Any], now_ms: int
) -> list[Row]:
    if sent.flags & FAILED:
        return []
    sends.flag(person.state, key, sent.flags | FAILED)
    sends.count_responses(person.state, sent.channel, sent=-1)
    caps.release(person.state, key)
    kind, why = bounded_text(properties.get("bounce_type")), bounded_text(properties.get("reason"))
    what = f"bounced{f' ({kind})' if kind else ''}" if step == "bounced" else "could not be delivered"
    said = f"Not delivered: the {labels.message_label(sent.channel)} {what}{f': {why}' if why else ''}."
    gate_input = {"report": event["event"], "bounce_type": kind, "reason": why}
    return [
        ledger.result_row(
            person.profile_id, key, sent, "failed", "delivery", said, gate_input, now_ms, event["event_id"]
        )
    ]
