"""The envelope of every touchpoint event: who, when, where, from which campaign and with whose consent.

Rules for all parts: `null` is the same as absent; `campaign`, `context` and `properties` take further keys, which are
kept; the envelope itself and `consent` do not, so that a misspelt name is an error and not a silent loss.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from schemas.events.one_pass import AtOnce
from schemas.events.properties import Open, Properties, without_nulls
from schemas.text import Id, Name, Text
from schemas.time import parse_text, parse_time, text_of_time

MAX_IDENTIFIERS = 50

Time = Annotated[
    AwareDatetime,
    BeforeValidator(parse_time),
    PlainSerializer(text_of_time, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
    AtOnce(parse_text),
]


IdentifierType = Annotated[str, StringConstraints(strict=True, pattern=r"^[a-z][a-z0-9_.]{0,49}$")]


class Identifier(BaseModel):
    """One name by which a source knows a person.

    Attributes:
        type: `user_id`, `email`, `phone`, … or the operator's own.
        value: As the source has it; an integer is kept as its digits. Normalised later, by type.
        verified: The source has proved that the person owns it (a confirmed e-mail, a login).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: IdentifierType
    value: Name
    verified: Annotated[bool, Field(strict=True)] = False


def _expand(value: object) -> object:
    """Turn the shorthand `{"user_id": "7", "email": ["a@b.example", …]}` into a list of identifiers."""
    if not isinstance(value, dict):
        return value
    expanded: list[object] = []
    for kind, values in value.items():
        for one in values if isinstance(values, list) else [values]:
            if isinstance(one, bool) or not (one is None or isinstance(one, str | int)):
                raise PydanticCustomError(
                    "identifier",
                    "it should be a text, an integer, or a list of them",
                    {"at": kind, "value": one},
                )
            if one is not None:
                expanded.append({"type": kind, "value": one})
    return expanded


Identifiers = Annotated[
    tuple[Identifier, ...],
    Field(max_length=MAX_IDENTIFIERS),
    BeforeValidator(
        _expand,
        json_schema_input_type=Annotated[list[Identifier], Field(max_length=MAX_IDENTIFIERS)]
        | dict[IdentifierType, Name | list[Name] | None],
    ),
]


class Campaign(Open):
    """Where the marketing that led to the event came from: the UTM parameters, plus ours.

    Attributes:
        channel: The marketing channel outright, such as `Paid Search`; makes the event a touch.
        source: `utm_source`.
        medium: `utm_medium`.
        name: `utm_campaign`.
        term: `utm_term`.
        content: `utm_content`.
        id: `utm_id`, the advertising system's number of the campaign.
        creative: The advertisement or message variant.
        click_id: `gclid`, `fbclid`, `msclkid`, …
    """

    channel: Name | None = None
    source: Name | None = None
    medium: Name | None = None
    name: Name | None = None
    term: Name | None = None
    content: Name | None = None
    id: Name | None = None
    creative: Name | None = None
    click_id: Name | None = None


class Page(Open):
    """The page, as Segment names its parts."""

    url: Text | None = None
    path: Text | None = None
    referrer: Text | None = None
    search: Text | None = None
    title: Text | None = None


class Context(Open):
    """Circumstances of the event: language, device, place, page, session.

    `device` (`id`, `type`, `manufacturer`, `model`), `os` (`name`, `version`) and `geo` (`country`, `region`, `city`)
    are free objects.
    """

    locale: Name | None = None
    timezone: Name | None = None
    ip: Name | None = None
    user_agent: Text | None = None
    device: dict[str, Any] | None = None
    os: dict[str, Any] | None = None
    geo: dict[str, Any] | None = None
    page: Page | None = None
    store_id: Id | None = None
    session_id: Id | None = None


Answer = Annotated[bool, Field(strict=True)]


class Consent(BaseModel):
    """What the person has agreed to. Absent is not a yes: consent fails closed.

    Attributes:
        marketing: May be sent marketing at all.
        analytics: May be measured.
        channels: Marketing by channel, `{"email": true, "sms": false}`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    marketing: Answer | None = None
    analytics: Answer | None = None
    channels: (
        Annotated[dict[Annotated[str, StringConstraints(max_length=50)], Answer], Field(max_length=100)] | None
    ) = None


def _ignore(value: object) -> None:
    """A client's `received_at` is never trusted, so it is not even kept."""


class Touchpoint(BaseModel):
    """One event at one touchpoint, as a producer sends it.

    Attributes:
        event_id: The producer's id, the key for de-duplication.
        event: What happened, Segment's grammar: object and verb in the past tense.
        channel: Where it happened.
        source: Which producer.
        occurred_at: When it happened; UTC, whole milliseconds.
        identifiers: Who it was; none when the event is about no person.
        campaign: The marketing it came from.
        context: Its circumstances.
        properties: What it was about; each known event has its own shape.
        traits: What is now known of the person.
        consent: What the person now agrees to.
        received_at: Accepted and ignored; the broker's time counts.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    event_id: Annotated[str, StringConstraints(strict=True, min_length=1, max_length=100, pattern=r"\S")]
    event: Annotated[str, StringConstraints(strict=True, min_length=1, max_length=100, pattern=r"\S")]
    channel: Annotated[str, StringConstraints(strict=True, min_length=1, max_length=100)]
    source: Annotated[str, StringConstraints(strict=True, max_length=100)] = ""
    occurred_at: Time
    identifiers: Identifiers = ()
    campaign: Campaign | None = None
    context: Context | None = None
    properties: Properties = Field(default_factory=Properties)
    traits: dict[str, Any] = Field(default_factory=dict)
    consent: Consent | None = None
    received_at: Annotated[None, BeforeValidator(_ignore, json_schema_input_type=Any)] = Field(
        default=None, exclude=True
    )

    @model_validator(mode="before")
    @classmethod
    def _tidy(cls, value: object) -> object:
        return without_nulls(value)
