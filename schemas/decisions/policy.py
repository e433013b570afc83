"""The message policy: the people who may get messages, on which channels, when and how often.

Invariant: `MessagePolicy()` equals the shipped `deploy/definitions/policy.yaml`, so a partial policy overrides what it
names and nothing else.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, model_validator

from schemas.channels import ADDRESS_TYPES_OF, NO_ADDRESS_TYPES
from schemas.durations import DAY_MS, HOUR_MS, WEEK_MS, Duration
from schemas.journeys.values import Clock

WILDCARD = "*"
"""The key for every channel, or country, that has no entry of its own."""

Share = Annotated[float, Field(ge=0, le=1)]
Calendar = Literal["day", "week", "month"]
_Sorted = PlainSerializer(sorted, return_type=list[str], when_used="json")
"""Sorts a set when it is written, so that equal policies have equal hashes in every process."""
Names = Annotated[frozenset[str], _Sorted]

_CALENDAR_MS: dict[Calendar, int] = {"day": DAY_MS, "week": WEEK_MS, "month": 31 * DAY_MS}


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Prior(_Part):
    """The click rate that is assumed for a person on a channel before they have had any messages.

    Attributes:
        rate: Share of messages that are clicked.
        strength: The weight of the assumption, in messages: after so many, the person's own clicks outweigh it.
    """

    rate: float = Field(gt=0, lt=1)
    strength: float = Field(gt=0, le=10_000)


class ChannelRule(_Part):
    """One channel that messages go out on.

    Attributes:
        address: The type of identifier that it sends to; None: it needs no address (a banner on the site).
        also: Further types to look for when the person has none of the first.
        verified_only: Send only to an address that a source has reported as verified.
        fresh_for: An address that was last seen longer ago is not used; None: addresses do not age.
        cost: Cost of one message, in the currency of `margin`.
        prior: The assumed click rate.
        segments: The assumed click rate of members of a segment, instead of `prior`; the first segment that fits is
            used.
    """

    address: str | None
    also: tuple[str, ...] = ()
    verified_only: bool = False
    fresh_for: Duration | None = None
    cost: float = Field(0.0, ge=0)
    prior: Prior = Prior(rate=0.03, strength=30)
    segments: dict[str, Prior] = Field(default_factory=dict)


class OptOutRegime(_Part):
    """The channels and countries where a missing answer counts as a yes. A no is never overruled.

    Attributes:
        channels: The channels; `*` is every channel.
        countries: The countries of the people, ISO 3166; `*` is every country, and an unknown one too.
        unknown: The missing answers that count as a yes: about the `purpose`, about the `channel`.
    """

    channels: Names = frozenset({WILDCARD})
    countries: Names = frozenset({WILDCARD})
    unknown: Annotated[frozenset[Literal["purpose", "channel"]], _Sorted] = frozenset({"purpose", "channel"})


class ConsentRules(_Part):
    """The rules of consent: a missing answer is a no, except under an opt-out regime."""

    opt_out: tuple[OptOutRegime, ...] = ()


class SuppressionRules(_Part):
    """The people who get no messages, not even transactional ones, in spite of their consent.

    Attributes:
        traits: Suppress people for whom one of these traits is true.
        segments: Suppress the members of these segments.
        bounced: Suppress addresses whose last delivery bounced permanently.
        complained: Suppress channels on which the person marked a message as spam, until they agree to the channel
            anew.
    """

    traits: tuple[str, ...] = ("suppressed", "do_not_contact")
    segments: tuple[str, ...] = ()
    bounced: bool = True
    complained: bool = True


BypassableGate = Literal["consent", "holdout", "quiet_hours", "send_time", "caps", "priority"]


class TransactionalRules(_Part):
    """The rules of messages that a contract requires, such as an order confirmation or a payment notice.

    Attributes:
        bypass: The gates that do not apply to them.
        counted: They count towards the caps of other messages.
    """

    bypass: Annotated[frozenset[BypassableGate], _Sorted] = frozenset(
        {"consent", "holdout", "quiet_hours", "send_time", "caps", "priority"}
    )
    counted: bool = False


class HoldoutRules(_Part):
    """The control group: people who get no messages, so that the effect of all messages can be measured.

    Attributes:
        share: The share of all people, 0 to 1.
        renew: How often a new control group is drawn.
        salt: Salt of the draw: another text draws another group.
    """

    share: Share = 0.05
    renew: Literal["never", "year", "quarter", "month"] = "quarter"
    salt: str = "everybody"


class ChoiceRules(_Part):
    """How the channel is chosen.

    Attributes:
        preferred_trait: The trait that names the channel which the person prefers.
        margin: Average margin of a click.
        remembered: The most messages of a person that count, so that old behaviour loses its weight.
    """

    preferred_trait: str = "preferred_channel"
    margin: float = Field(1.0, gt=0)
    remembered: int = Field(200, ge=1, le=10_000)


class QuietHours(_Part):
    """A part of the day, in the person's time zone, in which nothing is sent; it may span midnight."""

    start: Clock
    end: Clock

    @model_validator(mode="after")
    def _leaves_time(self) -> Self:
        if self.start == self.end:
            raise ValueError("quiet hours that start and end at the same time leave no time to send")
        return self


_DAILY_RHYTHM = (1, 1, 1, 1, 1, 1, 2, 3, 4, 5, 6, 6, 7, 6, 5, 5, 6, 7, 9, 10, 9, 7, 4, 2)


class SendTimeRules(_Part):
    """The rules for finding a person's best hour.

    Attributes:
        rhythm: Clicks of all people in each of the 24 local hours; only the proportions count.
        strength: The weight of the rhythm, in clicks: after so many, the person's own clicks outweigh it.
        visits: Events that show the person at their device. Clicks and replies always count. Opens never count, since
            mail programs fetch pictures by themselves.
    """

    rhythm: tuple[Annotated[float, Field(gt=0)], ...] = Field(_DAILY_RHYTHM, min_length=24, max_length=24)
    strength: float = Field(10.0, gt=0)
    visits: Names = frozenset({"Signed In", "Application Opened", "Checkout Started"})


class CapRule(_Part):
    """A frequency cap: a maximum number of messages in a period.

    Attributes:
        limit: The most messages.
        channel: On this channel; None: on all channels together.
        tag: Of messages with this tag; None: of all.
        within: Length of a rolling window, such as `7d`.
        calendar: A day, week (from Monday) or month of the person's calendar.
    """

    limit: int = Field(ge=0, le=1000)
    channel: str | None = None
    tag: str | None = None
    within: Duration | None = Field(None, gt=0, le=366 * DAY_MS)
    calendar: Calendar | None = None

    @model_validator(mode="after")
    def _one_period(self) -> Self:
        if (self.within is None) == (self.calendar is None):
            raise ValueError("say either within (such as 7d) or calendar (day, week, month)")
        return self

    @property
    def longest_ms(self) -> int:
        """Return the longest time for which a message can count, milliseconds."""
        return self.within if self.calendar is None and self.within else _CALENDAR_MS[self.calendar or "day"] + HOUR_MS


class PriorityRules(_Part):
    """The window in which a message waits for another one of higher priority that is due."""

    window: Duration = 4 * HOUR_MS


class ReceiptRules(_Part):
    """The rules for a sent message without a delivery report.

    Attributes:
        within: Longest wait for a report.
        without: Without a report, the message counts as sent (`commit`, which exceeds no cap) or as not sent
            (`release`).
    """

    within: Duration = DAY_MS
    without: Literal["commit", "release"] = "commit"


def _channel(name: str, *, rate: float, cost: float = 0.0, fresh_for: Duration | None = None) -> ChannelRule:
    address, *also = ADDRESS_TYPES_OF[name]
    return ChannelRule(
        address=address, also=tuple(also), fresh_for=fresh_for, cost=cost, prior=Prior(rate=rate, strength=30)
    )


_CHANNELS = {
    "email": _channel("email", cost=0.001, rate=0.03),
    "app_push": _channel("app_push", fresh_for=270 * DAY_MS, rate=0.04),
    "web_push": _channel("web_push", fresh_for=270 * DAY_MS, rate=0.02),
    "whatsapp": _channel("whatsapp", cost=0.06, rate=0.12),
    "sms": _channel("sms", cost=0.05, rate=0.06),
    "messenger": _channel("messenger", cost=0.01, rate=0.08),
    "telegram": _channel("telegram", rate=0.06),
}
"""The channels of the shipped policy, in the order in which they are tried."""

_CAPS = (
    CapRule(limit=3, channel="email", within=WEEK_MS),
    CapRule(limit=1, channel="sms", within=WEEK_MS),
    CapRule(limit=2, channel="whatsapp", within=WEEK_MS),
    CapRule(limit=2, calendar="day"),
    CapRule(limit=10, within=30 * DAY_MS),
    CapRule(limit=2, tag="promotion", calendar="week"),
)


class SlotRules(_Part):
    """The rules of slots on the site, in the app and at the till, where nobody is written to.

    Attributes:
        consent: `unless_refused`: a no to the purpose, the channel or a topic counts, a missing answer is a yes;
            `asked`: a yes is needed, as for messages.
    """

    consent: Literal["unless_refused", "asked"] = "unless_refused"


class MessagePolicy(_Part):
    """Who may get messages, on which channels, when and how often: one policy for all journeys.

    Attributes:
        channels: All channels of the deployment, in the order in which they are tried when nothing else decides. What
            is not listed is not used, and the caps and quiet hours below that are left out speak of listed ones only.
        consent: The rules of consent.
        suppression: The people who get no messages.
        transactional: The gates that transactional messages bypass.
        holdout: The control group.
        choice: How the channel is chosen.
        quiet_hours: Quiet hours by channel; `*` is every channel without an entry; null: no quiet hours.
        send_time: The rules for finding the best hour, for messages that use it.
        caps: Frequency caps; all of them apply.
        when_capped: A message that would exceed a cap is not sent (`suppress`), or waits until it is possible
            (`postpone`).
        priority: How long a message waits for one of higher priority.
        expires_after: Life time of a message from its first request on.
        receipts: The rules for a sent message without a delivery report.
        slots: The rules of slots.
    """

    channels: dict[str, ChannelRule] = Field(default_factory=lambda: dict(_CHANNELS))
    consent: ConsentRules = ConsentRules()
    suppression: SuppressionRules = SuppressionRules()
    transactional: TransactionalRules = TransactionalRules()
    holdout: HoldoutRules = HoldoutRules()
    choice: ChoiceRules = ChoiceRules()
    quiet_hours: dict[str, QuietHours | None] = Field(
        default_factory=lambda given: {
            WILDCARD: QuietHours(start="21:00", end="09:00"),
            **({"email": None} if "email" in given.get("channels", ()) else {}),
        }
    )
    send_time: SendTimeRules = SendTimeRules()
    caps: tuple[CapRule, ...] = Field(
        default_factory=lambda given: tuple(
            rule for rule in _CAPS if rule.channel is None or rule.channel in given.get("channels", ())
        )
    )
    when_capped: Literal["suppress", "postpone"] = "suppress"
    priority: PriorityRules = PriorityRules()
    expires_after: Duration = 3 * DAY_MS
    receipts: ReceiptRules = ReceiptRules()
    slots: SlotRules = SlotRules()

    @model_validator(mode="after")
    def _known_channels(self) -> Self:
        for place, named in (("caps", {rule.channel for rule in self.caps}), ("quiet_hours", {*self.quiet_hours})):
            if unknown := sorted(str(name) for name in named - {None, WILDCARD, *self.channels}):
                raise ValueError(
                    f"{place} speaks of {', '.join(unknown)}, which is not among `channels` "
                    f"({', '.join(self.channels)}): add `{unknown[0]}: {{address: …}}` there, or remove it from {place}"
                )
        return self

    @model_validator(mode="after")
    def _addresses(self) -> Self:
        for name, rule in self.channels.items():
            if wrong := sorted(NO_ADDRESS_TYPES.intersection((rule.address or "", *rule.also))):
                raise ValueError(
                    f"channels.{name} sends to {wrong[0]}, which says who somebody is and is no address: name the "
                    "identifier type that its messages go to, or write `address: null` if they need none"
                )
        return self

    @cached_property
    def address_types(self) -> dict[str, tuple[str, ...]]:
        """Return the identifier types that messages of each channel are sent to: known channels, then further ones."""
        own = {
            name: (rule.address, *rule.also)
            for name, rule in self.channels.items()
            if rule.address is not None and name not in ADDRESS_TYPES_OF
        }
        return {**ADDRESS_TYPES_OF, **own}

    @cached_property
    def remembered_ms(self) -> int:
        """Return how long a sent message is kept, ms: the longest window of a cap, or the wait for a report."""
        return max((self.receipts.within, *(rule.longest_ms for rule in self.caps)))
