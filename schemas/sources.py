"""Who may publish over HTTP: each source has a name, a channel, and write keys that are kept elsewhere."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

SourceName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,99}$")]
ANY_ORIGIN = "*"


class Source(BaseModel):
    """One producer that the collector knows.

    Attributes:
        channel: Where its events happen, unless an event names another channel of the deployment.
        kind: `browser` if its write key can be read by everybody who opens the page or the app: then no identifier
            counts as verified because an event says so, and address and browser of the connection are noted where the
            event has none. `server` if the key is a secret.
        origins: Pages that may send from a browser, as `https://shop.example`; `*` is any. A server has none.
        currency: Of amounts that come without one, ISO 4217.
        consent: Which answer a category of a consent banner (`context.consent.categoryPreferences`) is, as
            `{C0002: analytics}`. Nothing is assumed: a banner asks about cookies, not about letters.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    channel: str = Field(min_length=1, max_length=100)
    kind: Literal["browser", "server"] = "server"
    origins: tuple[str, ...] = ()
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")] | None = None
    consent: dict[str, Literal["marketing", "analytics"]] = {}

    @model_validator(mode="after")
    def _browsers_have_origins(self) -> Self:
        if self.origins and self.kind == "server":
            raise ValueError("a server's key is a secret: only a browser has origins")
        wrong = [one for one in self.origins if one != ANY_ORIGIN and not one.startswith(("http://", "https://"))]
        if wrong or any(one.rstrip("/") != one for one in self.origins):
            raise ValueError("an origin is written as https://shop.example, without a path")
        return self

    def allows(self, origin: str) -> bool:
        """Tell whether a page of this origin may send with this source's key."""
        return ANY_ORIGIN in self.origins or origin in self.origins


class SourceDefinitions(BaseModel):
    """The file `sources.yaml`.

    Attributes:
        sources: By name; the name becomes the event's `source`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sources: dict[SourceName, Source] = {}
