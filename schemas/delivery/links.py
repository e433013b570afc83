"""Links of our own messages: which are followed, and what the token in an address of the collector says."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from schemas.delivery.templates import Language

LinkKind = Literal["click", "open", "unsubscribe", "preferences"]
"""What an address in a message is for."""

LINK_PATHS: dict[LinkKind, str] = {"click": "/c/", "open": "/o/", "unsubscribe": "/u/", "preferences": "/p/"}
"""The collector's path of each kind of address, before the token."""

Host = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+(\.[a-z0-9-]+)*$", max_length=253)]


Slug = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
Label = Annotated[str, StringConstraints(min_length=1, max_length=100)]


class LinkRules(BaseModel):
    """The section `links` of `delivery.yaml`: messages carry addresses of the collector, which sees who follows them.

    Attributes:
        hosts: Links to these hosts and to hosts below them are followed; any other link stays as it is.
        channels: Channels whose links are followed. A link of an app has to be the app's own to open it, and the parts
            of an SMS are paid for by length: both are left out unless they are named.
        opens: E-mails have an image of one pixel that tells when they are opened.
        utm_source: `utm_source` of followed links, beside `utm_medium` (the channel), `utm_campaign` and
            `utm_content`; parameters that a link has already stay. Empty: links get no parameters. Messenger and
            Telegram are their own source, since no medium is common for them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    hosts: Annotated[tuple[Host, ...], Field(min_length=1, max_length=100)]
    channels: frozenset[str] = frozenset({"email", "web_push", "whatsapp", "messenger", "telegram"})
    opens: bool = True
    utm_source: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{0,50}$")] = "throughline"


class PreferenceRules(BaseModel):
    """The section `preferences` of `delivery.yaml`: what people are asked about on the page of their preferences.

    Attributes:
        topics: The topics: a tag of messages, with what it is called in each language; the first language is for people
            in whose language there is no name. A message with a tag that somebody has said no to is not sent to them.
        channels: What channels are called, by channel and language, where the page's own name does not fit; also the
            channels of the deployment's own.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    topics: Annotated[dict[Slug, Annotated[dict[Language, Label], Field(min_length=1)]], Field(max_length=30)] = Field(
        default_factory=dict
    )
    channels: dict[str, Annotated[dict[Language, Label], Field(min_length=1)]] = Field(default_factory=dict)


class MessageLink(NamedTuple):
    """What the token of an address says: the message, and its person by the hash of an identifier. No personal data.

    Attributes:
        kind: What the address is for.
        message_id: The message's idempotency key.
        channel: The channel that it was sent on.
        identifier_type: Type of the identifier by which its events are the person's.
        identifier_hash: The identifier's hash, 16 bytes.
        sent_s: When it was written, seconds since 1970.
        language: The language of its text; empty: not known.
        journey: The journey that has sent it.
        template: Its template.
        variant: Its variant of an experiment.
        campaign_id: Its campaign's number.
        campaign_name: Its campaign.
        target: Where a click leads.
    """

    kind: LinkKind
    message_id: str
    channel: str
    identifier_type: str
    identifier_hash: bytes
    sent_s: int
    language: str = ""
    journey: str = ""
    template: str = ""
    variant: str = ""
    campaign_id: str = ""
    campaign_name: str = ""
    target: str = ""
