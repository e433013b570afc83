"""Rows of the decision ledger, and the actions that deliver messages.

Ids are hashes of the message and the attempt, so that a replay writes the same rows and a store keeps one of each.
"""

from __future__ import annotations

from typing import Any

from processors.decisions import labels
from processors.decisions.gates.candidate import Candidate
from processors.decisions.sends import LogEntry
from schemas.decisions.decision import Gate, LedgerOutcome
from schemas.identity.resolution import uuid_of
from schemas.time import text_of_ms

Row = dict[str, Any]

_SECTION: dict[str, Any] = {}


def idempotency_key(journey: str, version: str, run_id: str, step: str) -> str:
    """Return the key under which a message is delivered at most once, in retries and replays too."""
    return uuid_of("message", journey, version, run_id, step)


def decision_id(key: str, mark: str) -> str:
    """Return the id of a ledger row: a hash of the message and its attempt, or its result (`failed`, `regretted`)."""
    return uuid_of("decision", key, mark)


def row(
    candidate: Candidate,
    outcome: LedgerOutcome,
    gate: Gate | None,
    reason: str,
    gates: list[Row],
    until_ms: int | None = None,
) -> Row:
    """Write the row of a decision."""
    request, message = candidate.request, candidate.message
    return {
        "decision_id": decision_id(candidate.key, str(request.attempt)),
        "decided_at": text_of_ms(candidate.now_ms),
        "profile_id": candidate.person.profile_id,
        "journey": request.journey,
        "journey_version": request.journey_version,
        "run_id": request.run_id,
        "step": request.step,
        "message": message.template,
        "channel": candidate.channel,
        "purpose": message.purpose,
        "tags": list(message.tags),
        "campaign": message.campaign.get("name", ""),
        "outcome": outcome,
        "gate": gate or "",
        "reason": reason,
        "until": None if until_ms is None else text_of_ms(until_ms),
        "idempotency_key": candidate.key,
        "variant": request.variant,
        "holdout": candidate.holdout,
        "propensity": candidate.propensity,
        "gates": gates,
        "event_id": request.trigger_event_id,
    }


def result_row(
    profile_id: str,
    key: str,
    sent: LogEntry,
    outcome: LedgerOutcome,
    gate: Gate,
    reason: str,
    gate_input: Row,
    now_ms: int,
    event_id: str,
) -> Row:
    """Write the row of the result of a sent message: `failed` or `regretted`."""
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
        "gates": [{"gate": gate, "passed": False, "input": gate_input}],
        "event_id": event_id,
    }


def action(candidate: Candidate, decided: Row) -> Row:
    """Write the action that delivers a message, given the row of its decision.

    Its `identifiers` lead receipts back to the person: the address, or, on a channel without one, all addresses of the
    person.
    """
    request, message, document = candidate.request, candidate.message, candidate.document
    identifiers = [candidate.address] if candidate.address else _identifiers(document)
    coupon = message.coupon
    wanted = coupon and {"pool": coupon.pool, "valid_ms": coupon.valid_ms, "if_empty": coupon.if_empty}
    return {
        "idempotency_key": candidate.key,
        "decision_id": decided["decision_id"],
        "profile_id": candidate.person.profile_id,
        "journey": request.journey,
        "run_id": request.run_id,
        "step": request.step,
        "channel": candidate.channel,
        "address": candidate.address,
        "template": message.template,
        "purpose": message.purpose,
        "language": language_of(document),
        "context": dict(request.context),
        "tags": list(message.tags),
        "campaign": dict(message.campaign),
        "variant": request.variant,
        "expires_at": text_of_ms(candidate.expires_ms),
        "identifiers": identifiers,
        **({"coupon": wanted} if wanted else {}),
    }


def _identifiers(document: dict[str, Any]) -> list[dict[str, str]]:
    found = document.get("addresses", _SECTION)
    return [{"type": kind, "value": value} for kind in sorted(found) for value in sorted(found[kind])]


def language_of(document: dict[str, Any]) -> str:
    """Return the language that the person states, else the one of their device; empty if neither is known."""
    for section, name in (("traits", "language"), ("traits", "locale"), ("known", "locale")):
        stated = document.get(section, _SECTION).get(name)
        if stated and isinstance(stated[0], str):
            return stated[0]
    return ""


def reason_sentence(candidate: Candidate, outcome: LedgerOutcome, why: str) -> str:
    """Write the reason of a decision as one sentence."""
    by = labels.channel_label(candidate.channel) if candidate.channel else ""
    if outcome == "sent":
        kind = "it belongs to a service" if candidate.message.transactional else "nothing speaks against it"
        return f"Sent by {by}: {kind}."
    if outcome == "ghost":
        return f"Not sent: {why}; it would have gone out now by {by}."
    return f"{'Postponed' if outcome == 'postponed' else 'Not sent'}: {why}."
