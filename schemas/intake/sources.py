"""The sources: who may publish over HTTP, and how the events of a producer are to be read.

Rights hold for requests to the collector, whose write keys are a setting and no part of the definitions. `kind`,
`orders` and `minor_units` are about every event whose `source` is the name, whichever way it came in: a producer that
writes to Kafka is listed here too where they matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from schemas.money import EXPONENTS, MINOR_UNITS

SourceName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,99}$")]
ANY_ORIGIN = "*"
BROWSER_IDENTIFIERS = frozenset({"user_id", "anonymous_id", "device_id", "push_token"})
"""Identifier types by which the calls of every page or app resolve a person, in addition to the source's `join_by`."""

ProfileField = Literal[
    "abandoned", "addresses", "bought", "cart", "channels", "consent", "event_count", "events", "first_seen",
    "first_touch", "known", "last_seen", "last_touch", "loyalty", "messages", "orders", "segments", "stores", "traits",
    "viewed",
]  # fmt: skip
"""Parts of a profile that can be read over HTTP."""

OrderNamespace = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]
OWN = "own"


class OrdersBy(BaseModel):
    """Order name spaces by a property of the event.

    Attributes:
        by: `store_id`: each store numbers its orders by itself. The name space is the store's id, in the properties,
            else in the context; an event without one belongs to the name space of its source's name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    by: Literal["store_id"]


class Source(BaseModel):
    """One producer that the collector knows.

    Attributes:
        channel: Where its events happen; a server's event may name another channel of the deployment.
        kind: `server` if its write key is a secret. `browser` if anybody who opens the page or unpacks the app can read
            it: then its events are of its own channel only and not about products, and an event without a network
            address and User-Agent gets those of the connection.
        origins: Pages that may send from a browser, as `https://shop.example`; `*` is any. A server has none.
        join_by: Identifier types by which a browser's calls resolve a person, besides `BROWSER_IDENTIFIERS`. An e-mail
            address counts only if it is named here, since anybody can fill any address into a form.
        verified: Identifier types that a server sends only after it has checked that they are the person's.
        currency: Currency of amounts that come without one, ISO 4217; of those that share a symbol such as `$` or `kr`,
            the one that it means in the source's events, whichever way they come.
        max_delay_days: How long a call may have waited in its client, from its `timestamp` to its `sentAt`, in days. A
            call that says more gets the time of its arrival, marked doubtful. None is for a source that sends history
            by an SDK: then `timestamp` counts as it is, without a correction.
        hook: The mapping of `hooks/` that reads its webhooks, which come to `/v1/hooks/<its name>`; None: it has none.
        transform: The file of `transforms/` that corrects its events before they are judged; None: none does.
        reads: The parts of profiles that a server's key may read at `/v1/profiles`; none by default, since a till that
            may write should not read whom it likes.
        consent: The consent that a category of a consent banner (`context.consent.categoryPreferences`) gives, as
            `{C0002: analytics}`. None by default: a banner asks about cookies, not about letters.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    channel: str = Field(min_length=1, max_length=100)
    kind: Literal["browser", "server"] = "server"
    origins: tuple[str, ...] = ()
    join_by: frozenset[str] = frozenset()
    verified: frozenset[str] = frozenset()
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")] | None = None
    max_delay_days: Annotated[int, Field(ge=1, le=36_500)] | None = 30
    hook: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,99}$")] | None = None
    transform: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,99}$")] | None = None
    consent: dict[str, Literal["marketing", "analytics"]] = {}
    reads: frozenset[ProfileField] = frozenset()
    orders: OrderNamespace | OrdersBy | None = None
    minor_units: (
        Literal["iso_4217", "stripe", "adyen", "sumup"]
        | dict[Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")], Annotated[int, Field(ge=0, le=4)]]
        | None
    ) = None

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        if self.kind == "server" and (self.origins or self.join_by):
            raise ValueError("a server's key is a secret: origins and join_by are a browser's")
        if self.kind == "browser" and self.verified:
            raise ValueError("what a browser says is not verified: that is for a server to say")
        if self.kind == "browser" and self.reads:
            raise ValueError("anybody can read a browser's key: only a server's may read profiles")
        if self.kind == "browser" and self.hook:
            raise ValueError("a webhook comes from a server: its source is of the kind server")
        if any(one != ANY_ORIGIN and not _is_origin(one) for one in self.origins):
            raise ValueError("an origin is written as https://shop.example, without a path")
        return self

    @property
    def minor_unit_places(self) -> Mapping[str, int]:
        """Decimal places by currency where the source declares them; mostly none."""
        units = self.minor_units
        if units is None:
            return {}
        return MINOR_UNITS[units] if isinstance(units, str) else {**EXPONENTS, **units}

    def allows(self, origin: str) -> bool:
        """Return whether a page of this origin may send with this source's key."""
        return ANY_ORIGIN in self.origins or origin in self.origins

    def joins_by(self, identifier_type: str) -> bool:
        """Return whether its calls resolve people by identifiers of a type."""
        return self.kind == "server" or identifier_type in BROWSER_IDENTIFIERS or identifier_type in self.join_by


class SourceDefinitions(BaseModel):
    """The file `sources.yaml`.

    Attributes:
        sources: By name; the name becomes the event's `source`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sources: dict[SourceName, Source] = {}


def _is_origin(text: str) -> bool:
    scheme, _, host = text.partition("://")
    return scheme in ("http", "https") and bool(host) and "/" not in host
