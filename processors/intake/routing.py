"""The record key of a touchpoint: a keyed hash of its strongest identifier.

Kafka puts records of one key into one partition, in order, so the events of a person who is known by one identifier
are read in the order in which they were published.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

IDENTIFIER_STRENGTH = (
    "user_id", "crm_id", "loyalty_id", "email", "phone", "whatsapp_id", "messenger_id", "telegram_id", "push_token",
    "device_id", "anonymous_id",
)  # fmt: skip
"""Identifier types, strongest first. Fixed, whatever `identity.yaml` says: a key that changed with the policy
would move people to other partitions."""

_RANK = {kind: rank for rank, kind in enumerate(IDENTIFIER_STRENGTH)}
_WEAKEST = len(IDENTIFIER_STRENGTH)
_MAX_EVENT_ID = 100


def routing_key(event: dict[str, Any], secret: bytes) -> bytes | None:
    """Make the record key of an event.

    Args:
        event: A parsed touchpoint, valid or not, in a producer's form or the canonical one.
        secret: Key of the hash, so that no raw address stands in a record key; its first 64 bytes count.

    Returns:
        32 hexadecimal digits for the strongest identifier; the event's id if it has no identifier; None without either.
    """
    identifiers = event.get("identifiers")
    if type(identifiers) is dict:
        identifiers = _expanded(identifiers)
    strongest, strength = None, _WEAKEST + 1
    strongest_value: str | int = ""
    for one in identifiers if type(identifiers) is list else ():
        value = one.get("value") if type(one) is dict else None
        if type(value) is str or type(value) is int:  # an integer counts as its digits, as in the canonical form
            rank = _RANK.get(str(one.get("type")), _WEAKEST)
            if rank < strength:
                strongest, strength, strongest_value = one, rank, value
    if strongest is None:
        event_id = event.get("event_id")
        return event_id[:_MAX_EVENT_ID].encode("utf-8", "replace") if type(event_id) is str else None
    text = f"{strongest.get('type')}:{str(strongest_value).strip().lower()}"
    key = secret[: blake2b.MAX_KEY_SIZE]
    return blake2b(text.encode("utf-8", "replace"), digest_size=16, key=key).hexdigest().encode()


def _expanded(shorthand: dict[str, Any]) -> list[dict[str, Any]]:
    """Write the shorthand `{"email": "a@b.example", "phone": ["1", "2"]}` as a list of identifiers."""
    return [
        {"type": kind, "value": value}
        for kind, values in shorthand.items()
        for value in (values if type(values) is list else [values])
    ]
