"""The file format of a destination: a place outside that learns of conversions, and which it learns of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from schemas.durations import DAY_MS, Duration, duration_text

Through = Literal["meta", "google", "tiktok", "microsoft", "webhook", "topic"]
"""What a destination is: an advertising network, a system with a webhook, or a topic of Kafka."""
NETWORKS: tuple[Through, ...] = get_args(Through)
Basis = Literal["revenue", "margin", "predicted", "none"]
"""What the value of a conversion is: its revenue; its revenue times the margin of its products; what the lifetime value
model expects of the person; or nothing."""


class Limits(NamedTuple):
    """What a network takes.

    Attributes:
        max_age_ms: How old a conversion may be.
        store_age_ms: How old one of a store may be.
        adjust_ms: How long after a conversion its value can still be changed.
        clicks: The click ids that it knows, the best first.
        restates: The value of a conversion can be changed there; elsewhere a refund is an event of its own.
        enhances: What identifies the person can be added later.
    """

    max_age_ms: int
    store_age_ms: int
    adjust_ms: int
    clicks: tuple[str, ...]
    restates: bool = False
    enhances: bool = False


LIMITS: Mapping[Through, Limits] = {
    "meta": Limits(7 * DAY_MS, 62 * DAY_MS, 7 * DAY_MS, ("fbclid",)),
    "google": Limits(90 * DAY_MS, 90 * DAY_MS, 55 * DAY_MS, ("gclid", "gbraid", "wbraid"), True, True),
    "tiktok": Limits(7 * DAY_MS, 28 * DAY_MS, 28 * DAY_MS, ("ttclid",)),
    "microsoft": Limits(7 * DAY_MS, 7 * DAY_MS, 7 * DAY_MS, ("msclkid",)),
    "webhook": Limits(3660 * DAY_MS, 3660 * DAY_MS, 3660 * DAY_MS, (), True, True),
    "topic": Limits(3660 * DAY_MS, 3660 * DAY_MS, 3660 * DAY_MS, (), True, True),
}
"""The limits by network; one without click ids takes all."""

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
Text = Annotated[str, StringConstraints(pattern=r"^[^\s/?#&]+$", max_length=200)]
Digits = Annotated[str, StringConstraints(pattern=r"^\d+$", max_length=30)]
Label = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"\S")]
EventName = Annotated[str, StringConstraints(min_length=1, max_length=50, pattern=r"^\S(.*\S)?$")]


ApiUrl = Annotated[str, StringConstraints(pattern=r"^(https://|http://(127\.0\.0\.1|localhost|\[::1\])[:/])[^\s@]*$")]
"""Where an API is, in place of the network's own address: a proxy, or a server of a test on this machine."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, coerce_numbers_to_str=True)


class Meta(_Part):
    """Meta's Conversions API.

    Attributes:
        pixel_id: The data set, which is also the pixel's id.
        version: Of the API.
        test_event_code: Shows events in the test tool instead of counting them.
        refund_event: The name of the event that tells of a refund; `""`: none does.
        api: Another address of the API.
    """

    pixel_id: Digits
    version: Annotated[str, StringConstraints(pattern=r"^v\d+\.\d$")] = "v24.0"
    test_event_code: Text | None = None
    refund_event: str = Field("Refund", max_length=50)
    api: ApiUrl = "https://graph.facebook.com"


class Google(_Part):
    """Google's Data Manager API for conversions; with a developer token as the secret, the Google Ads API adjusts.

    Attributes:
        customer_id: The Google Ads account, without hyphens; the `event` of a conversion is the number of its
            conversion action there.
        login_customer_id: The manager account through which it is reached.
        service_account_file: The key file of a service account that may write to the account.
        version: Of the Google Ads API.
        api, ads_api: Other addresses of the two APIs.
    """

    customer_id: Digits
    login_customer_id: Digits | None = None
    service_account_file: Path
    version: Annotated[str, StringConstraints(pattern=r"^v\d+$")] = "v22"
    api: ApiUrl = "https://datamanager.googleapis.com"
    ads_api: ApiUrl = "https://googleads.googleapis.com"


class TikTok(_Part):
    """TikTok's Events API 2.0; `pixel_code` is the event source. The others as of Meta."""

    pixel_code: Text
    test_event_code: Text | None = None
    refund_event: str = Field("Refund", max_length=50)
    api: ApiUrl = "https://business-api.tiktok.com"


class Microsoft(_Part):
    """Microsoft's UET Conversions API; `tag_id` is the UET tag. The others as of Meta."""

    tag_id: Digits
    refund_event: str = Field("refund", max_length=50)
    api: ApiUrl = "https://capi.uet.microsoft.com"


class Webhook(_Part):
    """A system that takes signed webhooks; its host is one of `THROUGHLINE_WEBHOOK_HOSTS`.

    It has to drop a second request with the same `webhook-id`, as the convention asks for.
    """

    url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s@]+$", max_length=2000)]
    timeout: Duration = 10_000


class Topic(_Part):
    """A topic of Kafka, with the deployment's prefix; it is to exist. The key of a record is the conversion's id."""

    topic: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]+$", max_length=200)]


class ConversionRule(_Part):
    """One goal that a destination learns of.

    Attributes:
        goal: A goal of `touches.yaml`, such as `purchase`.
        event: What it is called there: `Purchase`; of Google, the number of the conversion action.
        value: What it is worth, see `Basis`. Refunds are taken off.
    """

    goal: Name
    event: EventName
    value: Basis = "revenue"


class Destination(_Part):
    """One destination.

    Attributes:
        name: Of its consumer group and in all reports.
        description: What it is, in one line for people.
        enabled: Whether `throughline worker export` serves it.
        through: Which network or system it is; the section of that name says what it needs.
        conversions: The goals that it learns of.
        channels: Only conversions that happened there, such as `[web, app]`; empty: everywhere.
        markets: Only conversions of these markets; empty: of all.
        consent: Purposes that a person must have agreed to besides `marketing`.
        max_age: The oldest conversion that is sent; at most what the network takes, which is the default.
        lookback: How long before the conversion a click counts.
        event_id: What names a conversion there, so that the same one of a pixel counts once: the order's id, or the id
            of the event that reported it. What is no order has the id of its event.
        start: Where a new destination begins: with what happens from `now` on, or with all that the topic still has.
    """

    name: Name = Field(alias="destination")
    description: Label
    enabled: bool = True
    through: Through
    conversions: Annotated[tuple[ConversionRule, ...], Field(min_length=1)]
    channels: tuple[Name, ...] = ()
    markets: tuple[str, ...] = ()
    consent: tuple[Name, ...] = ()
    max_age: Duration | None = None
    lookback: Duration = 28 * DAY_MS
    event_id: Literal["order_id", "event_id"] = "order_id"
    start: Literal["now", "earliest"] = "now"
    meta: Meta | None = None
    google: Google | None = None
    tiktok: TikTok | None = None
    microsoft: Microsoft | None = None
    webhook: Webhook | None = None
    topic: Topic | None = None

    @property
    def limits(self) -> Limits:
        """Return what its network takes."""
        return LIMITS[self.through]

    @property
    def refund_event(self) -> str:
        """Return the name of the event that tells of a refund; empty: there is none."""
        section = self.meta or self.tiktok or self.microsoft
        return section.refund_event if section is not None else ""

    def rule(self, goal: str) -> ConversionRule | None:
        """Return the rule of a goal; None: it does not learn of it."""
        return next((one for one in self.conversions if one.goal == goal), None)

    def oldest_ms(self, channel: str) -> int:
        """Return how old a conversion of a channel may be, milliseconds."""
        limit = self.limits.store_age_ms if channel == "store" else self.limits.max_age_ms
        return limit if self.max_age is None else min(limit, self.max_age)

    @model_validator(mode="before")
    @classmethod
    def _one_section(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("through") in NETWORKS:
            through = value["through"]
            if through not in value:
                raise ValueError(f"through: {through} needs its section, such as `{through}: {_EXAMPLES[through]}`")
            if others := [one for one in NETWORKS if one in value and one != through]:
                raise ValueError(f"{others[0]}: belongs to another destination; this one goes through {through}")
        return value

    @model_validator(mode="after")
    def _possible(self) -> Self:
        goals = [one.goal for one in self.conversions]
        if twice := next((goal for goal in goals if goals.count(goal) > 1), None):
            raise ValueError(f"conversions: the goal {twice} is there twice")
        most = max(self.limits.max_age_ms, self.limits.store_age_ms)
        if self.max_age is not None and self.max_age > most:
            raise ValueError(f"max_age: {self.through} takes conversions of the last {duration_text(most)} at most")
        if self.through == "google" and (wrong := next((c for c in self.conversions if not c.event.isdigit()), None)):
            raise ValueError(
                f"conversions: {wrong.event}: of Google, `event` is the number of the conversion action (ctId in the"
                " address of its page), such as `event: 987654321`"
            )
        return self


_EXAMPLES: Mapping[str, str] = {
    "meta": '{pixel_id: "1234567890"}',
    "google": '{customer_id: "1234567890", service_account_file: /run/secrets/google.json}',
    "tiktok": "{pixel_code: C4ABCDEFGHIJ}",
    "microsoft": '{tag_id: "12345678"}',
    "webhook": "{url: https://warehouse.example/conversions}",
    "topic": "{topic: conversion-exports}",
}
