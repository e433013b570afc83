"""Delivery: how messages leave, what is handed to an adapter, and what it answers."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from schemas.delivery.templates import Rendered
from schemas.durations import HOUR_MS, Duration

WEBHOOK_CHANNEL = "webhook"
"""The channel of an action that tells another system something, instead of writing to a person."""

Fate = Literal["sent", "bounced", "refused", "again", "unknown"]
"""What an adapter says of one attempt: accepted; there is no such receiver; refused for good; not accepted now, so it
may be tried again; or nobody can tell whether it was accepted, so it must not be."""


class Outcome(NamedTuple):
    """What came of one attempt.

    Attributes:
        fate: In a word.
        detail: In the other side's words.
        retry_after_ms: How long it asked to be left alone, milliseconds.
    """

    fate: Fate
    detail: str = ""
    retry_after_ms: int = 0


class Order(NamedTuple):
    """One message on its way.

    Attributes:
        key: Its idempotency key.
        channel: The channel.
        address: Where it goes: `type` and `value`; empty where the channel needs none.
        message: The message; None for a webhook step, which has no text.
        unsubscribe_url: Where its receiver can say no; empty: not configured.
        data: What else is known of it, JSON values: what a webhook's receiver gets.
    """

    key: str
    channel: str
    address: dict[str, str]
    message: Rendered | None
    unsubscribe_url: str
    data: dict[str, Any]


class Claim(NamedTuple):
    """The ledger's answer to a worker that wants to send.

    Attributes:
        state: `claimed`: send it now, nobody else will. `busy`: another worker has it, or it waits for its next try.
            `in_doubt`: a worker had claimed it and was not heard of again. `settled`: what became of it is known and
            still to be told. `told`: there is nothing left to do.
        attempt: The number of this attempt, from 1.
        action: The action that was claimed, as bytes, as long as it is kept.
        settlement: What was settled, as bytes; empty unless it was.
    """

    state: Literal["claimed", "busy", "in_doubt", "settled", "told"]
    attempt: int
    action: bytes = b""
    settlement: bytes = b""


class _Definition(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]


class Retries(_Definition):
    """How often, and how soon, a message that was certainly not accepted is tried again.

    The pause doubles from `first_pause` to `longest_pause`; a hash of the message takes up to half of it away, so that
    messages that failed together do not come back together.

    Attributes:
        tries: Attempts in all.
        first_pause: Before the second attempt.
        longest_pause: Between two attempts, also when the other side asks for more.
    """

    tries: int = Field(6, ge=1, le=50)
    first_pause: Duration = 5_000
    longest_pause: Duration = HOUR_MS


class Route(_Definition):
    """How messages of one channel leave.

    Attributes:
        through: `smtp`; `webhook`; or `topic`: `deliver.<channel>`, for a worker of one's own, which reports back
            itself.
        webhook: Which webhook, if it is one.
    """

    through: Literal["smtp", "webhook", "topic"] = "topic"
    webhook: Name | None = None

    @model_validator(mode="after")
    def _named(self) -> Self:
        if (self.through == "webhook") != (self.webhook is not None):
            raise ValueError("through: webhook and the name of a webhook belong together")
        return self


class WebhookTarget(_Definition):
    """Another system that is told things over HTTP, by the Standard Webhooks convention.

    Attributes:
        url: Where; its host must be one of `THROUGHLINE_WEBHOOK_HOSTS`.
        deduplicates: It drops a second request with the same `webhook-id`, as the convention asks for. Then a request
            whose fate is unknown (a time-out, a lost connection) is sent again; else it never is.
        timeout: Longest wait for an answer.
    """

    url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s@]+$", max_length=2000)]
    deduplicates: bool = False
    timeout: Duration = 10_000


class DeliveryDefinitions(_Definition):
    """How messages leave.

    Attributes:
        sender: From whom e-mails are, such as `Shop <news@shop.example>`.
        reply_to: Where answers to e-mails go; the sender when left out.
        unsubscribe_url: Where a receiver says no; `{message_id}` stands for the message. E-mail programs show a button
            for it and post to it (RFC 8058).
        retries: When to try again.
        channels: How each channel's messages leave; a channel that is left out goes to its topic.
        webhooks: Systems that are told things, by name.
    """

    sender: Annotated[str, StringConstraints(pattern=r"^[^\r\n]*@[^\r\n]+$", max_length=300)]
    reply_to: Annotated[str, StringConstraints(pattern=r"^[^\r\n]*@[^\r\n]+$", max_length=300)] | None = None
    unsubscribe_url: Annotated[str, StringConstraints(pattern=r"^https://\S*\{message_id\}\S*$")] | None = None
    retries: Retries = Retries()
    channels: dict[str, Route] = Field(default_factory=dict)
    webhooks: dict[Name, WebhookTarget] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _known_webhooks(self) -> Self:
        for channel, route in self.channels.items():
            if route.webhook is not None and route.webhook not in self.webhooks:
                raise ValueError(f"{channel}: there is no webhook {route.webhook}")
        return self
