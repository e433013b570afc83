"""People and messages for tests of the resolver; a test overrides what it is about."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from processors.decisions.resolver import MessageResolver
from schemas.decisions.decision import Choice, Coupon, Decision, MessageRequest
from schemas.decisions.policy import HoldoutRules, MessagePolicy
from schemas.profiles.person import Person
from schemas.segments.conditions import Condition

SEGMENTS_TRAIT = "segments of the test"
NO_HOLDOUT = HoldoutRules(share=0)


class Note(NamedTuple):
    """A message as the resolver sees it."""

    template: str = "cart-reminder"
    channels: tuple[str, ...] = ("email",)
    choose: Choice = "declared"
    purpose: str = "marketing"
    transactional: bool = False
    tags: tuple[str, ...] = ()
    campaign: Mapping[str, str] = {"name": "carts"}
    priority: int = 50
    best_within_ms: int | None = None
    expires_after_ms: int | None = None
    margin: float | None = None
    coupon: Coupon | None = None


class StatedSegments:
    """Segments that a test states with `person(segments=…)`."""

    def members(self, person: Person) -> set[str]:
        return set(person.document.get(SEGMENTS_TRAIT, ()))

    def holds(self, condition: Condition, person: Person, now_ms: int) -> bool:
        raise NotImplementedError("gates evaluate no conditions")


def ms(when: str) -> int:
    """A moment: `ms("2026-11-03T12:00+01:00")`; without an offset in UTC."""
    moment = datetime.fromisoformat(when)
    return round((moment if moment.tzinfo else datetime.fromisoformat(when + "+00:00")).timestamp() * 1000)


NOON = ms("2026-11-03T12:00")
"""A Tuesday in Berlin, 13:00."""

ADDRESSES: dict[str, str] = {
    "email": "ann@example.com",
    "phone": "+491701234567",
    "whatsapp_id": "491701234567",
    "push_token": "token-1",
}


def person(
    profile_id: str = "p1",
    *,
    state: dict[str, Any] | None = None,
    agrees: tuple[str, ...] = ("email", "sms", "web_push", "app_push", "whatsapp"),
    purposes: Mapping[str, bool] | None = None,
    addresses: Mapping[str, str] = ADDRESSES,
    timezone: str = "Europe/Berlin",
    segments: tuple[str, ...] = (),
    **sections: Any,
) -> Person:
    """A person who has agreed to everything and can be reached everywhere, in Berlin."""
    granted = {"marketing": True} if purposes is None else purposes
    document = {
        "profile_id": profile_id,
        "known": {"timezone": [timezone, 1]},
        "consent": {
            "purposes": {name: [answer, 1] for name, answer in granted.items()},
            "channels": {name: [True, 1, True] for name in agrees},
        },
        "addresses": {kind: {value: [NOON, True, 0, False]} for kind, value in addresses.items()},
        SEGMENTS_TRAIT: list(segments),
        **sections,
    }
    return Person(profile_id, document, {} if state is None else state)


def request(run_id: str = "r1", *, note: Note | None = None, requested_ms: int = NOON, **fields: Any) -> MessageRequest:
    """A request to send a message."""
    asked = {"journey": "cart", "journey_version": "v1", "step": "0", **fields}
    return MessageRequest(run_id=run_id, message=note or Note(), requested_ms=requested_ms, **asked)


def resolver(**policy: Any) -> MessageResolver:
    """A resolver of the default policy without control groups, and with what the test overrides."""
    return MessageResolver(MessagePolicy(**{"holdout": NO_HOLDOUT, **policy}), segments=StatedSegments())


def receipt(name: str, decision: Decision, **properties: Any) -> dict[str, Any]:
    """A report about a message."""
    key = decision.row["idempotency_key"]
    return {
        "event_id": f"{name} {key}",
        "event": name,
        "channel": decision.row["channel"],
        "occurred_at": decision.row["decided_at"],
        "properties": {"message_id": key, **properties},
    }
