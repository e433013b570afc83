"""Who may publish over HTTP: each source has a name, a channel, and write keys that are kept elsewhere."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

SourceName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,99}$")]
ANY_ORIGIN = "*"
PAGES_OWN = frozenset({"user_id", "anonymous_id", "device_id", "push_token"})
"""Identifier types that a page's or an app's call may join people by, whatever the source says."""


class Source(BaseModel):
    """One producer that the collector knows.

    Attributes:
        channel: Where its events happen; a server's event may name another channel of the deployment.
        kind: `browser` if its write key can be read by everybody who opens the page or takes the app apart: such a key
            counts for its own channel only, says nothing about products, and notes the address and the browser of the
            connection where an event has none. `server` if the key is a secret.
        origins: Pages that may send from a browser, as `https://shop.example`; `*` is any. A server has none.
        join_by: Identifier types that a browser's calls join people by, besides those that are `PAGES_OWN`. An e-mail
            address in a form that anybody can fill in is not one, unless it is named here.
        verified: Identifier types of which a server has checked that they are the person's.
        currency: Of amounts that come without one, ISO 4217.
        consent: Which answer a category of a consent banner (`context.consent.categoryPreferences`) is, as
            `{C0002: analytics}`. Nothing is assumed: a banner asks about cookies, not about letters.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    channel: str = Field(min_length=1, max_length=100)
    kind: Literal["browser", "server"] = "server"
    origins: tuple[str, ...] = ()
    join_by: frozenset[str] = frozenset()
    verified: frozenset[str] = frozenset()
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")] | None = None
    consent: dict[str, Literal["marketing", "analytics"]] = {}

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        if self.kind == "server" and (self.origins or self.join_by):
            raise ValueError("a server's key is a secret: origins and join_by are a browser's")
        if self.kind == "browser" and self.verified:
            raise ValueError("what a browser says is not verified: that is for a server to say")
        if any(one != ANY_ORIGIN and not _is_origin(one) for one in self.origins):
            raise ValueError("an origin is written as https://shop.example, without a path")
        return self

    def allows(self, origin: str) -> bool:
        """Tell whether a page of this origin may send with this source's key."""
        return ANY_ORIGIN in self.origins or origin in self.origins

    def joins_by(self, identifier_type: str) -> bool:
        """Tell whether its calls join people by identifiers of a type."""
        return self.kind == "server" or identifier_type in PAGES_OWN or identifier_type in self.join_by


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
