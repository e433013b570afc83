"""The envelope of every touchpoint event: identifiers, time, channel, campaign, context and consent.

Rules for all parts: `null` is the same as absent; `campaign`, `context` and `properties` take further keys, which are
kept; the envelope itself and `consent` do not, so that a misspelt name is an error and not a silent loss.
"""

# No `from __future__ import annotations`: a TypedDict finds `Required` in real annotations only.

from typing import Annotated, Any, NoReturn, Required

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, PlainValidator, StringConstraints
from pydantic.config import with_config
from pydantic.json_schema import WithJsonSchema
from pydantic_core import PydanticCustomError, PydanticOmit
from typing_extensions import TypedDict

from schemas.events.properties import WITHOUT_NULLS, Open, Properties, without_nulls
from schemas.text import Id, Name, Text
from schemas.time import parse_text

MAX_IDENTIFIERS = 50

Time = Annotated[str, PlainValidator(parse_text), WithJsonSchema({"type": "string", "format": "date-time"})]
"""A time, which is written as `schemas.time` writes all times of records."""

IDENTIFIER_TYPE = r"^[a-z][a-z0-9_.]{0,49}$"
"""Pattern of the name of an identifier type."""
IdentifierType = Annotated[str, StringConstraints(strict=True, pattern=IDENTIFIER_TYPE)]

NOT_BLANK = r"\S"
"""Pattern of a text that is not blank."""


@with_config(ConfigDict(extra="forbid"))
class Identifier(TypedDict, total=False):
    """One name by which a source knows a person.

    Attributes:
        type: `user_id`, `email`, `phone`, … or the operator's own.
        value: As the source has it; an integer is kept as its digits. Normalised later, by type.
        verified: The source has proved that the person owns it (a confirmed e-mail, a login).
    """

    type: Required[IdentifierType]
    value: Required[Name]
    verified: Annotated[bool, Field(strict=True, default=False)]


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
    list[Identifier],
    Field(max_length=MAX_IDENTIFIERS),
    BeforeValidator(
        _expand,
        json_schema_input_type=Annotated[list[Identifier], Field(max_length=MAX_IDENTIFIERS)]
        | dict[IdentifierType, Name | list[Name] | None],
    ),
]


class Campaign(Open, total=False):
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

    channel: Name
    source: Name
    medium: Name
    name: Name
    term: Name
    content: Name
    id: Name
    creative: Name
    click_id: Name


class Page(Open, total=False):
    """The page, as Segment names its parts."""

    url: Text
    path: Text
    referrer: Text
    search: Text
    title: Text


class Context(Open, total=False):
    """Circumstances of the event: language, device, place, page, session.

    `device` (`id`, `type`, `manufacturer`, `model`), `os` (`name`, `version`) and `geo` (`country`, `region`, `city`)
    are free objects.
    """

    locale: Name
    timezone: Name
    ip: Name
    user_agent: Text
    device: dict[str, Any]
    os: dict[str, Any]
    geo: dict[str, Any]
    page: Annotated[Page, WITHOUT_NULLS]
    store_id: Id
    session_id: Id


ORIGINAL_TIMESTAMP = "original_timestamp"
"""The key of an event's `context` that keeps the producer's own time where ours differs from it noticeably."""

HISTORICAL = "historical"
"""The key of an event's `context` that is true where the event is told later, as of an import: it starts no journey."""


def is_historical(event: dict[str, Any]) -> bool:
    """Return whether an event, in its canonical form, is told later and so starts no journey."""
    context = event.get("context")
    return context is not None and context.get(HISTORICAL) is True


Answer = Annotated[bool, Field(strict=True)]


@with_config(ConfigDict(extra="forbid"))
class Consent(TypedDict, total=False):
    """What the person has agreed to. Absent is not a yes: consent fails closed.

    Attributes:
        marketing: May be sent marketing at all.
        analytics: May be measured.
        channels: Marketing by channel, `{"email": true, "sms": false}`.
        topics: What messages may be about, by their tags, `{"promotion": false}`; no answer is a yes.
    """

    marketing: Answer | None
    analytics: Answer | None
    channels: Annotated[dict[Annotated[str, StringConstraints(max_length=50)], Answer], Field(max_length=100)] | None
    topics: Annotated[dict[Annotated[str, StringConstraints(max_length=64)], Answer], Field(max_length=100)] | None


def _omit(_: object) -> NoReturn:
    """Drop a client's `received_at`: the broker's time is used instead."""
    raise PydanticOmit


@with_config(ConfigDict(extra="forbid"))
class Touchpoint(TypedDict, total=False):
    """One event at one touchpoint: what a producer sends, and the canonical form that validation makes of it.

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

    event_id: Required[Annotated[str, StringConstraints(strict=True, min_length=1, max_length=100, pattern=NOT_BLANK)]]
    event: Required[Annotated[str, StringConstraints(strict=True, min_length=1, max_length=100, pattern=NOT_BLANK)]]
    channel: Required[Annotated[str, StringConstraints(strict=True, min_length=1, max_length=100)]]
    source: Annotated[str, StringConstraints(strict=True, max_length=100), Field(default="")]
    occurred_at: Required[Time]
    identifiers: Annotated[Identifiers, Field(default_factory=list)]
    campaign: Annotated[Campaign, WITHOUT_NULLS]
    context: Annotated[Context, WITHOUT_NULLS]
    properties: Properties
    traits: dict[str, Any]
    consent: Annotated[Consent, AfterValidator(without_nulls)]
    received_at: Annotated[Any, PlainValidator(_omit)]
