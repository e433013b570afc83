"""The rows of the ledger and the orders to deliver: their ids, their fields, their sentences.

Ids are hashes of what the row is about, so that a replay writes the same rows again and a store keeps one of each.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

from processors.decisions import labels as words
from processors.decisions.gates.candidate import Case
from processors.decisions.sends import LogEntry
from schemas.decisions.decision import Gate, LedgerOutcome
from schemas.identity.resolution import uuid_text
from schemas.time import text_of_ms

Row = dict[str, Any]

_SECTION: dict[str, Any] = {}


def idempotency_key(journey: str, version: str, run_id: str, step: str) -> str:
    """Name a message: whatever is retried or replayed, it is delivered at most once under this name."""
    return _hash(("message", journey, version, run_id, step))


def decision_id(key: str, mark: str) -> str:
    """Name a row about a message: by the attempt, or by what became of it (`failed`, `regretted`)."""
    return _hash(("decision", key, mark))


def _hash(parts: Iterable[str]) -> str:
    return uuid_text(blake2b("\0".join(parts).encode(), digest_size=16).digest())


def row(
    case: Case, outcome: LedgerOutcome, gate: Gate | None, reason: str, gates: list[Row], until_ms: int | None = None
) -> Row:
    """Write the row of a decision."""
    request, message = case.request, case.message
    return {
        "decision_id": decision_id(case.key, str(request.attempt)),
        "decided_at": text_of_ms(case.now_ms),
        "profile_id": case.person.profile_id,
        "journey": request.journey,
        "journey_version": request.journey_version,
        "run_id": request.run_id,
        "step": request.step,
        "message": message.template,
        "channel": case.channel,
        "purpose": message.purpose,
        "tags": list(message.tags),
        "campaign": message.campaign.get("name", ""),
        "outcome": outcome,
        "gate": gate or "",
        "reason": reason,
        "until": None if until_ms is None else text_of_ms(until_ms),
        "idempotency_key": case.key,
        "variant": request.variant,
        "holdout": case.holdout,
        "propensity": case.propensity,
        "gates": gates,
        "event_id": request.trigger_event_id,
    }


def later_row(
    profile_id: str,
    key: str,
    sent: LogEntry,
    outcome: LedgerOutcome,
    gate: Gate,
    reason: str,
    given: Row,
    now_ms: int,
    event_id: str,
) -> Row:
    """Write a row about what became of a message that was sent."""
    return {
        "decision_id": decision_id(key, outcome),
        "decided_at": text_of_ms(now_ms),
        "profile_id": profile_id,
        "journey": sent.journey,
        "journey_version": sent.version,
        "run_id": sent.run_id,
        "step": sent.step,
        "message": sent.template,
        "channel": sent.channel,
        "purpose": sent.purpose,
        "tags": sent.tags,
        "campaign": sent.campaign,
        "outcome": outcome,
        "gate": gate,
        "reason": reason,
        "until": None,
        "idempotency_key": key,
        "variant": sent.variant,
        "holdout": "",
        "propensity": None,
        "gates": [{"gate": gate, "passed": False, "input": given}],
        "event_id": event_id,
    }


def action(case: Case, decided: Row) -> Row:
    """Write the order to deliver a message, given the row of its decision.

    `identifiers` say who it is for, so that reports about it find the person: the address, or, on a channel without
    one, every address of the person.
    """
    request, message, document = case.request, case.message, case.document
    identifiers = [case.address] if case.address else _identifiers(document)
    return {
        "idempotency_key": case.key,
        "decision_id": decided["decision_id"],
        "profile_id": case.person.profile_id,
        "journey": request.journey,
        "run_id": request.run_id,
        "step": request.step,
        "channel": case.channel,
        "address": case.address,
        "template": message.template,
        "purpose": message.purpose,
        "language": _language(document),
        "context": dict(request.context),
        "tags": list(message.tags),
        "campaign": dict(message.campaign),
        "variant": request.variant,
        "expires_at": text_of_ms(case.expires_ms),
        "identifiers": identifiers,
    }


def _identifiers(document: dict[str, Any]) -> list[dict[str, str]]:
    found = document.get("addresses", _SECTION)
    return [{"type": kind, "value": value} for kind in sorted(found) for value in sorted(found[kind])]


def _language(document: dict[str, Any]) -> str:
    """The language that the person states, else the one of their device; empty if neither is known."""
    for section, name in (("traits", "language"), ("traits", "locale"), ("known", "locale")):
        stated = document.get(section, _SECTION).get(name)
        if stated and isinstance(stated[0], str):
            return stated[0]
    return ""


def sentence(case: Case, outcome: LedgerOutcome, why: str) -> str:
    """Say what was decided, in one sentence."""
    by = words.medium(case.channel) if case.channel else ""
    if outcome == "sent":
        kind = "it belongs to a service" if case.message.transactional else "nothing speaks against it"
        return f"Sent by {by}: {kind}."
    if outcome == "ghost":
        return f"Not sent: {why}; it would have gone out now by {by}."
    return f"{'Postponed' if outcome == 'postponed' else 'Not sent'}: {why}."
