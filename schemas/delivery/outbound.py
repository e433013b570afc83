"""Delivery: the routes of messages, an adapter's input and its result, a ledger's claim."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from schemas.delivery.links import LinkRules, PreferenceRules
from schemas.delivery.providers import CHANNELS_OF, ProviderName, Providers
from schemas.delivery.templates import Rendered
from schemas.durations import HOUR_MS, Duration

"""The channel of an action for another system instead of a person."""

SendStatus = Literal["sent", "bounced", "refused", "retry", "unknown"]
"""The status of one attempt: `accepted`; no such receiver; refused permanently; refused for now, so that a retry is
safe; or `unknown`, so that a retry could send the message twice."""


class SendResult(NamedTuple):
    """The result of one attempt to send a message.

    Attributes:
        status: The kind of result.
        detail: The other side's answer, or the error.
        retry_after_ms: The pause that the other side asked for, milliseconds.
    """

    status: SendStatus
    detail: str = ""
    retry_after_ms: int = 0


class OutboundMessage(NamedTuple):
    """One rendered message for one person, as an adapter gets it.

    Attributes:
        key: Its idempotency key.
        channel: The channel.
        address: The receiver's address: `type` and `value`; empty where the channel needs none.
        rendered: The rendered text; None for a webhook step, which has none.
        unsubscribe_url: Where the receiver can unsubscribe; empty: not configured.
        data: All fields as JSON values: the body of a webhook, the record of `deliver.<channel>`.
    """

    key: str
    channel: str
    address: dict[str, str]
    rendered: Rendered | None
    unsubscribe_url: str
    data: dict[str, Any]


class DeliveryClaim(NamedTuple):
    """The ledger's answer to a worker that asks for a message.

    Attributes:
        state: `claimed`: this worker is the only one to send it. `busy`: another worker has the claim, or a retry is
            not due yet. `in_doubt`: the claim of another worker expired without a result. `settled`: the result is
            final, its receipt not yet acknowledged. `acknowledged`: nothing is left to do.
        attempt: The number of this attempt, from 1.
        action: The action, as bytes, until it is acknowledged.
        settlement: The final result, as bytes; empty before it is settled.
    """

    state: Literal["claimed", "busy", "in_doubt", "settled", "acknowledged"]
    attempt: int
    action: bytes = b""
    settlement: bytes = b""


class _Definition(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]


class Retries(_Definition):
    """Retries of a message that was certainly not accepted: exponential backoff with jitter.

    Attributes:
        tries: Attempts in all.
        first_pause: The pause before the second attempt.
        longest_pause: The longest pause between two attempts, also if the other side asks for more.
    """

    tries: int = Field(6, ge=1, le=50)
    first_pause: Duration = 5_000
    longest_pause: Duration = HOUR_MS


class Route(_Definition):
    """The way out of a channel's messages.

    Attributes:
        through: `smtp`; a provider of `providers`; `webhook`; or `topic`: `deliver.<channel>`, for a worker of the
            operator's own, which publishes the receipts itself.
        webhook: The webhook's name, if `through` is `webhook`.
    """

    through: Literal["smtp", "webhook", "topic"] | ProviderName = "topic"
    webhook: Name | None = None

    @property
    def adapter(self) -> str:
        """Return the name of the adapter that sends its messages."""
        return f"webhook:{self.webhook}" if self.through == "webhook" else self.through

    @model_validator(mode="after")
    def _named(self) -> Self:
        if (self.through == "webhook") != (self.webhook is not None):
            raise ValueError("through: webhook and the name of a webhook belong together")
        return self


class WebhookTarget(_Definition):
    """A system that receives messages over HTTP, by the Standard Webhooks convention.

    Attributes:
        url: Its address; the host must be one of `THROUGHLINE_WEBHOOK_HOSTS`.
        deduplicates: It drops a second request with the same `webhook-id`, as the convention asks for. Then a request
            with an unknown result (a time-out, a lost connection) is retried; else it never is.
        timeout: Longest wait for an answer.
    """

    url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s@]+$", max_length=2000)]
    deduplicates: bool = False
    timeout: Duration = 10_000


class DeliveryDefinitions(_Definition):
    """The file `delivery.yaml`: routes, webhooks and retries.

    Attributes:
        sender: The `From` of e-mails, such as `Shop <news@shop.example>`.
        reply_to: The `Reply-To` of e-mails; the sender if absent.
        unsubscribe_url: The unsubscribe link; `{message_id}` stands for the message. E-mail programs show a button for
            it and post to it (RFC 8058). None: the collector's own page, if there is `links`.
        links: Which links lead over the collector, so that clicks are counted; None: none does.
        preferences: What people are asked about on the page of their preferences.
        retries: Retries of refused messages.
        channels: The route of each channel; a channel without one goes to its topic.
        webhooks: Receiving systems, by name.
        providers: What the providers of `through` need besides their secrets.
    """

    sender: Annotated[str, StringConstraints(pattern=r"^[^\r\n]*@[^\r\n]+$", max_length=300)]
    reply_to: Annotated[str, StringConstraints(pattern=r"^[^\r\n]*@[^\r\n]+$", max_length=300)] | None = None
    unsubscribe_url: Annotated[str, StringConstraints(pattern=r"^https://\S*\{message_id\}\S*$")] | None = None
    links: LinkRules | None = None
    preferences: PreferenceRules = PreferenceRules()
    retries: Retries = Retries()
    channels: dict[str, Route] = Field(default_factory=dict)
    webhooks: dict[Name, WebhookTarget] = Field(default_factory=dict)
    providers: Providers = Providers()

    def has_adapter(self, channel: str) -> bool:
        """Return whether an adapter sends a channel's messages; otherwise they go to the topic `deliver.<channel>`."""
        route = self.channels.get(channel)
        return route is not None and route.through != "topic"

    @model_validator(mode="after")
    def _known_webhooks(self) -> Self:
        for channel, route in self.channels.items():
            if route.webhook is not None and route.webhook not in self.webhooks:
                raise ValueError(f"{channel}: there is no webhook {route.webhook}")
            if (able := CHANNELS_OF.get(route.through)) is not None:
                if channel not in able:
                    raise ValueError(f"{channel}: {route.through} sends {', '.join(able)}")
                if getattr(self.providers, route.through) is None:
                    raise ValueError(f"{channel}: providers has no {route.through}")
        return self
