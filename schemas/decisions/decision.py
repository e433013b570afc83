"""Message requests, decisions, and the records that the decision engine emits.

One request gives one decision, and one decision gives one row of the ledger, whether the message is sent or not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Protocol

DecisionOutcome = Literal["sent", "postponed", "suppressed", "ghost"]
"""Outcomes of a decision: sent now; decided again at `until_ms`; not sent; not sent because the person is held out."""

LedgerOutcome = Literal["sent", "postponed", "suppressed", "ghost", "failed", "regretted"]
"""Outcomes in the ledger: those of decisions, and the later results of a `sent` message."""

HeldBack = Literal["postponed", "suppressed"]
"""Outcomes of a message whose journey is paused, or was stopped."""

Choice = Literal["declared", "preferred", "next_best"]
"""The choice among the channels that reach the person: the first as declared, the preferred one, or the one with the
highest expected value."""

Gate = Literal[
    "transactional", "consent", "suppression", "holdout", "channel", "quiet_hours", "send_time", "caps", "priority",
    "expiry", "withdrawn", "delivery", "late_event", "paused", "stopped", "audience",
]  # fmt: skip
"""The gates in order. `paused` and `stopped`, states of the journey, come before all of them. `withdrawn` stands in
the row of a postponed message whose run has ended, `delivery` and `late_event` stand in rows of results of a sent
message, `audience` in the row of a slot that has nothing for the person."""


class Coupon(Protocol):
    """The coupon of a message step: a code of a pool, as `schemas.journeys.definitions.CouponChoice`."""

    @property
    def pool(self) -> str: ...  # noqa: D102
    @property
    def valid_ms(self) -> int | None: ...  # noqa: D102
    @property
    def if_empty(self) -> str: ...  # noqa: D102


class Message(Protocol):
    """The part of a message step that the resolver reads; `schemas.journeys.definitions.MessageNode` satisfies it.

    Attributes:
        template: The template's name.
        channels: Possible channels in declared order; empty: all channels of the policy.
        choose: The choice among them.
        purpose: The purpose that the person must have agreed to.
        transactional: It is part of a contract (a receipt, a payment notice): it bypasses gates named in the policy.
        tags: For caps and reports.
        campaign: `name`, `source`, `medium`, `id`, … as in a touchpoint.
        priority: Higher goes first.
        best_within_ms: Longest wait for the person's best hour, milliseconds; None: no wait.
        expires_after_ms: Life time from the first request on, milliseconds; None: the policy's default.
        margin: The value of a click, in the policy's currency; None: the policy's default.
        coupon: Its coupon; None: it has none.
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
    @property
    def coupon(self) -> Coupon | None: ...  # noqa: D102


class MessageRequest(NamedTuple):
    """A journey's request to send one message to one person.

    Attributes:
        journey: The journey's name.
        journey_version: The version that the run entered with.
        run_id: The run.
        step: The node.
        message: The node's message.
        asked_ms: When the step was first reached, milliseconds since 1970; the same in every attempt.
        attempt: 0, then one more after each postponement.
        trigger_event_id: The event that led to the step; empty for a timer.
        context: Values for the template; they become part of the action.
        expires_ms: When the request expires; None: only the message's own expiry counts.
        holdout_share: Share of people whom the journey holds out, 0 to 1.
        variant: The branch of a random split that led to the step.
    """

    journey: str
    journey_version: str
    run_id: str
    step: str
    message: Message
    requested_ms: int
    attempt: int = 0
    trigger_event_id: str = ""
    context: Mapping[str, Any] = {}
    expires_ms: int | None = None
    holdout_share: float = 0.0
    variant: str = ""


class Decision(NamedTuple):
    """The decision about one message.

    Attributes:
        row: The row of the ledger, for topic `decisions`.
        outcome: The outcome.
        until_ms: When to decide again, if `postponed`.
        action: The record of the topic `actions`, if `sent`.
    """

    row: dict[str, Any]
    outcome: DecisionOutcome
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
