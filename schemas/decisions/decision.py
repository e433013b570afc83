"""The decision of each message: what is asked, what is answered, what is published.

One request gives one decision, and one decision is one row of the ledger, whether the message goes out or not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Protocol

Outcome = Literal["sent", "postponed", "suppressed", "ghost"]
"""What a decision can be: it goes out now, is asked again at `until_ms`, does not go out, or would have gone out to a
person who is held out."""

LedgerOutcome = Literal["sent", "postponed", "suppressed", "ghost", "failed", "regretted"]
"""What a row of the ledger can say: a decision, or what became of one that was `sent`."""

Choice = Literal["declared", "preferred", "next_best"]
"""How the channel is chosen among those that reach the person: the first as listed, the one the person prefers, or the
one that promises most."""

Gate = Literal[
    "transactional", "consent", "suppression", "holdout", "channel", "quiet_hours", "send_time", "caps", "priority",
    "expiry", "withdrawn", "delivery", "late_event",
]  # fmt: skip
"""What a message passes, in order; `withdrawn` is a postponed one whose run has ended meanwhile, and `delivery` and
`late_event` stand in rows about what became of one that was sent."""


class Message(Protocol):
    """What the resolver reads of a message node; `schemas.journeys.definitions.MessageNode` has these fields.

    Attributes:
        template: The template's name.
        channels: Channels that it may go out on, in the order of the author; empty: all channels of the policy.
        choose: How one of them is chosen.
        purpose: The purpose that the person must have agreed to.
        transactional: It is part of a contract (a receipt, a payment notice): gates named in the policy are passed.
        tags: For caps and reports.
        campaign: `name`, `source`, `medium`, `id`, … as in a touchpoint.
        priority: Higher goes first.
        best_within_ms: Wait for the person's best hour, at most so long; None: do not wait.
        expires_after_ms: It is pointless so long after it was first asked for; None: the policy's default.
        margin: What a click on it is worth, in the policy's money; None: the policy's default.
    """

    @property
    def template(self) -> str: ...  # noqa: D102
    @property
    def channels(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def choose(self) -> Choice: ...  # noqa: D102
    @property
    def purpose(self) -> str: ...  # noqa: D102
    @property
    def transactional(self) -> bool: ...  # noqa: D102
    @property
    def tags(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def campaign(self) -> Mapping[str, str]: ...  # noqa: D102
    @property
    def priority(self) -> int: ...  # noqa: D102
    @property
    def best_within_ms(self) -> int | None: ...  # noqa: D102
    @property
    def expires_after_ms(self) -> int | None: ...  # noqa: D102
    @property
    def margin(self) -> float | None: ...  # noqa: D102


class MessageRequest(NamedTuple):
    """One message that a journey wants to send to one person.

    Attributes:
        journey: The journey's name.
        journey_version: The version that the run entered with.
        run_id: The run.
        step: The node.
        message: The node's message.
        asked_ms: When the step was first reached; the same in every attempt.
        attempt: 0, then one more each time that it was postponed.
        trigger_event_id: The event that led here; empty for a timer.
        context: Values for the template; given away to the decision's action.
        expires_ms: It is pointless from then on; None: only the message's own expiry counts.
        holdout_share: Share of people whom the journey holds out, 0 to 1.
        variant: The branch of a random split that led here.
    """

    journey: str
    journey_version: str
    run_id: str
    step: str
    message: Message
    asked_ms: int
    attempt: int = 0
    trigger_event_id: str = ""
    context: Mapping[str, Any] = {}
    expires_ms: int | None = None
    holdout_share: float = 0.0
    variant: str = ""


class Decision(NamedTuple):
    """What is to become of a message.

    Attributes:
        row: The row of the ledger, for topic `decisions`.
        outcome: What was decided.
        until_ms: When to ask again, if `postponed`.
        action: The order to deliver, for topic `actions`, if `sent`.
    """

    row: dict[str, Any]
    outcome: Outcome
    until_ms: int | None = None
    action: dict[str, Any] | None = None


class Emit(NamedTuple):
    """One record to publish, keyed by its `profile_id`.

    Attributes:
        topic: Name of the topic, of `schemas.topics`.
        value: JSON values.
    """

    topic: str
    value: dict[str, Any]
