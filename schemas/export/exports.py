"""What is known of a conversion when it is exported, what is sent of it, and the rows of the ledger."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal, NamedTuple, Protocol

ExportKind = Literal["conversion", "value", "match"]
"""A conversion; a change of its value, as by a refund; or what identifies its person better, after a merge."""
ExportState = Literal["sent", "refused", "withheld"]
"""What became of an export: the other side has taken it, or refused it for good, or it was not sent."""
Reason = Literal[
    "no_person", "no_consent", "too_old", "no_match_keys", "no_value", "refunded", "not_adjustable", "not_yet",
    "refused",
]  # fmt: skip
"""Why an export was not sent: nobody is known; no yes to marketing and advertising; older than the network takes;
nothing that the network could recognise the person by; no prediction, or no currency; given back before it was sent;
the network has no such adjustment; the network has not processed the conversion yet, so that it is tried again each
hour; or the network refused it."""


class Conversion(NamedTuple):
    """A conversion as `v_conversions` has it now.

    Attributes:
        conversion_id: Its id among all of its goal.
        goal: The goal.
        profile_id: The person as known now; empty: nobody.
        converted_ms: When it happened, milliseconds since 1970.
        revenue: What it is worth before refunds.
        refunded: What was given back.
        currency: ISO 4217; empty: none.
        channel: Where it happened.
        market: Of its country.
        order_id: The order's id; empty: it is no order.
        event_id: The event that reported it first.
        source: Which producer did.
        margin_rate: The share of its revenue that is margin.
        context: The context of that event.
    """

    conversion_id: str
    goal: str
    profile_id: str
    converted_ms: int
    revenue: Decimal
    refunded: Decimal
    currency: str
    channel: str
    market: str = ""
    order_id: str = ""
    event_id: str = ""
    source: str = ""
    margin_rate: Decimal = Decimal(1)
    context: dict[str, Any] = {}  # noqa: RUF012 - a default that nobody writes to


class Click(NamedTuple):
    """The click id of a stored touch: its name, such as `gclid`, its value, and when, milliseconds since 1970."""

    name: str
    value: str
    at_ms: int


class ExportEntry(NamedTuple):
    """A row of the ledger: one export, and what became of it.

    Attributes:
        destination: The destination.
        goal, conversion_id: The conversion.
        kind: What was exported.
        number: The changes of a value are counted from 1; else 0.
        event_id: What names it to the other side, the same in each attempt.
        adjusts: The `event_id` of the conversion that it adjusts; empty: it is one.
        profile_id: The person, as known then.
        state: What became of it.
        reason: Why it was withheld or refused.
        answer: What the other side said.
        match_keys: What the person could be recognised by, such as `email`, `gclid`.
        value: What it told as the value; None: nothing.
        currency: Of the value.
        revenue, refunded: Of the conversion, as known then.
        attempt: How many times it was tried.
        converted_ms: When the conversion happened.
        at_ms: When this was so.
    """

    destination: str
    goal: str
    conversion_id: str
    kind: ExportKind
    number: int
    event_id: str
    adjusts: str
    profile_id: str
    state: ExportState
    reason: Reason | Literal[""]
    answer: str
    match_keys: tuple[str, ...]
    value: Decimal | None
    currency: str
    revenue: Decimal
    refunded: Decimal
    attempt: int
    converted_ms: int
    at_ms: int


class ExportItem(NamedTuple):
    """One export as an adapter gets it.

    Attributes:
        event_id: Names it, the same in each attempt.
        kind: What it is.
        body: What the network takes for one event.
    """

    event_id: str
    kind: ExportKind
    body: dict[str, Any]


class ExportAnswer(NamedTuple):
    """What became of one export.

    Attributes:
        outcome: `sent`; `refused` for good; `not_yet`: the network has to process the conversion first; `later`: it
            cannot take it now; `unauthorised`: it takes nothing at all with these credentials.
        detail: The network's words.
        retry_after_ms: The pause that it asks for, milliseconds.
    """

    outcome: Literal["sent", "refused", "not_yet", "later", "unauthorised"]
    detail: str = ""
    retry_after_ms: int = 0


class ExportAdapter(Protocol):
    """Sends exports to one destination.

    Attributes:
        most: How many exports one call may have.
    """

    most: int

    async def send(self, items: list[ExportItem], now_ms: int) -> list[ExportAnswer]:
        """Send exports; answers in their order. An error of the network is an answer, never an exception."""

    async def close(self) -> None:
        """Close the connections."""
