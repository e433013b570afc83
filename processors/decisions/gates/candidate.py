"""One message before the gates: what they read, what they settle, what each of them answers."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol
from zoneinfo import ZoneInfo

from schemas.decisions.decision import Message, MessageRequest
from schemas.profiles.person import Person

Address = dict[str, str]
"""`type` and `value`."""


class Segments(Protocol):
    """The one thing that gates ask of the segment engine."""

    def members(self, person: Person) -> AbstractSet[str]:
        """The segments that a person is in."""
        ...


class Check(NamedTuple):
    """One gate's answer.

    Attributes:
        passed: The message may go on.
        input: What the answer rests on, for the ledger.
        reason: Why not, as the rest of a sentence that starts with "Not sent: ".
        until_ms: When it would pass; None: not to be known, or never.
    """

    passed: bool
    input: dict[str, Any]
    reason: str = ""
    until_ms: int | None = None


@dataclass(slots=True)
class Case:
    """One message and one person, now.

    Attributes:
        person: The person.
        request: What is asked for.
        key: The message's idempotency key.
        now_ms: Logical time.
        zone: The person's time zone.
        expires_ms: When the message becomes pointless.
        channels: The channels still possible, best first as declared; gates take from them.
        members: The person's segments.
        holdout: `global` or `journey` if the person is held out, else empty.
        channel: The channel chosen.
        address: Where it goes on that channel; None where it needs no address.
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
