"""The candidate message that passes the gates, and the result of a gate."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from schemas.decisions.decision import Message, MessageRequest
from schemas.profiles.person import Person

Address = dict[str, str]
"""`type` and `value`."""


class Check(NamedTuple):
    """The result of one gate.

    Attributes:
        passed: Whether the message passes.
        input: The values that the gate has compared, for the ledger.
        reason: Why it does not pass, as the rest of a sentence that starts with "Not sent: ".
        until_ms: When it will pass, milliseconds since 1970; None: never, or not known.
    """

    passed: bool
    input: dict[str, Any]
    reason: str = ""
    until_ms: int | None = None


@dataclass(slots=True)
class Candidate:
    """One message for one person, while the gates decide about it.

    Attributes:
        person: The person.
        request: The request of the journey.
        key: The message's idempotency key.
        now_ms: Logical time, milliseconds since 1970.
        zone: The person's time zone.
        expires_ms: When the message expires.
        channels: The channels still possible, in declared order; gates remove from them.
        members: The person's segments.
        holdout: `global` or `journey` if the person is held out, else empty.
        channel: The chosen channel.
        address: The address on that channel; None where it needs none.
        propensity: The probability with which the channel was chosen.
    """

    person: Person
    request: MessageRequest
    key: str
    now_ms: int
    zone: ZoneInfo
    expires_ms: int
    channels: list[str]
    members: AbstractSet[str]
    holdout: str = ""
    channel: str = ""
    address: Address | None = None
    propensity: float | None = None
    message: Message = field(init=False)
    document: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.message = self.request.message
        self.document = self.person.document
