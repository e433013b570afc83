"""The final result of a message: settled or tried again, and the receipt that says so."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import orjson

from processors.delivery.actions import Action, derived_event_id, identifiers_of
from schemas.channels import WEBHOOK_CHANNEL, event_prefix
from schemas.delivery.outbound import Retries, SendResult
from schemas.identity.resolution import OWN_SOURCE
from schemas.records import Outgoing
from schemas.time import text_of_ms
from schemas.topics import touchpoint_topic


class Settlement(NamedTuple):
    """The final result of a message.

    Attributes:
        step: `Sent`, `Failed` or `Bounced`; empty: no receipt is published.
        reason: Why it was not sent; empty if it was.
        at_ms: When, milliseconds since 1970.
        language: The language of the rendered text.
    """

    step: str
    reason: str
    at_ms: int
    language: str = ""


class Retry(NamedTuple):
    """The message is sent again at `due_ms`, milliseconds since 1970."""

    due_ms: int


def pause_ms(retries: Retries, key: str, attempt: int) -> int:
    """Return the pause after an attempt, in milliseconds: exponential backoff with jitter.

    It doubles with each attempt up to `longest_pause`; a hash of the message takes up to half of it away, so that
    messages that failed together are not retried together.
    """
    whole = min(retries.longest_pause, retries.first_pause << min(attempt - 1, 40))
    drawn = int.from_bytes(hashlib.blake2b(f"{key}\x1f{attempt}".encode(), digest_size=8).digest())
    return whole - int(whole * (drawn / 2**64) / 2)


def settle_or_retry(
    result: SendResult,
    *,
    key: str,
    attempt: int,
    now_ms: int,
    expires_ms: int | None,
    retries: Retries,
    language: str = "",
) -> Settlement | Retry:
    """Decide what follows from the result of an attempt.

    Args:
        result: What the adapter returned.
        key: The message's idempotency key.
        attempt: The number of the attempt, from 1.
        now_ms: When the attempt ended, milliseconds since 1970.
        expires_ms: When the message expires; None: never.
        retries: How many attempts, and the pauses between them.
        language: The language of the rendered text.
    """
    match result.status:
        case "sent":
            return Settlement("Sent", "", now_ms, language)
        case "bounced":
            return Settlement("Bounced", result.detail, now_ms)
        case "refused":
            return Settlement("Failed", result.detail, now_ms)
        case "unknown":
            reason = f"not known whether it arrived, and not sent again for that: {result.detail}"
            return Settlement("Failed", reason, now_ms)
    if attempt >= retries.tries:
        return Settlement("Failed", f"given up after {attempt} attempts: {result.detail}", now_ms)
    due = now_ms + max(pause_ms(retries, key, attempt), min(result.retry_after_ms, retries.longest_pause))
    if expires_ms is not None and due >= expires_ms:
        return Settlement("Failed", f"it expires before the next attempt: {result.detail}", now_ms)
    return Retry(due)


def receipt(action: Action, settled: Settlement) -> Outgoing | None:
    """Write the receipt of a message as a touchpoint; None for a message without one: erased, or a webhook step."""
    channel, key = action["channel"], action["idempotency_key"]
    if not settled.step or channel == WEBHOOK_CHANNEL:
        return None
    campaign = {name: value for name, value in (action.get("campaign") or {}).items() if value}
    properties = {
        "message_id": key,
        "journey_id": action.get("journey"),
        "template_id": action.get("template"),
        "campaign_id": campaign.get("id"),
        "campaign_name": campaign.get("name"),
        "variant_id": action.get("variant"),
        "reason": settled.reason[:200],
        "bounce_type": "hard" if settled.step == "Bounced" else None,
    }
    event = {
        "event_id": derived_event_id("receipt", key, settled.step),
        "event": f"{event_prefix(channel)} {settled.step}",
        "channel": channel,
        "source": OWN_SOURCE,
        "occurred_at": text_of_ms(settled.at_ms),
        "identifiers": identifiers_of(action),
        "properties": {name: value for name, value in properties.items() if value},
    }
    return Outgoing(touchpoint_topic(channel), action["profile_id"].encode(), orjson.dumps(event))
