"""Renders pages from templates: escaped text, times of the deployment's zone, numbers with their units."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import lru_cache
from hashlib import sha256
from importlib.resources import files
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from deploy.console import charts
from deploy.console.access import Right
from deploy.console.panels import Panel
from deploy.console.sessions import Session
from deploy.settings import Settings
from schemas.time import clock_ms, ms_of_text, readable_text, time_of_ms, utc


class Link(NamedTuple):
    """One entry of the navigation.

    Attributes:
        path: Of its page.
        name: What the reader sees.
        right: Who may see it.
        key: A letter: `g` and then this letter opens it.
    """

    path: str
    name: str
    right: Right
    key: str


NAVIGATION = (
    Link("/", "Overview", "view-numbers", "o"),
    Link("/live", "Live", "view-people", "l"),
    Link("/people", "People", "view-people", "p"),
    Link("/segments", "Segments", "view-numbers", "s"),
    Link("/journeys", "Journeys", "view-numbers", "j"),
    Link("/campaigns", "Campaigns", "view-numbers", "c"),
    Link("/attribution", "Attribution", "view-numbers", "a"),
    Link("/audience", "Audience", "view-numbers", "u"),
    Link("/data", "Data", "view-numbers", "d"),
    Link("/system", "System", "view-numbers", "y"),
)


class Viewer(NamedTuple):
    """Who looks at a page.

    Attributes:
        session: The sign-in; None: nobody has signed in.
        rights: What they may do.
        form_token: Of their forms.
        theme: `light`, `dark`, or empty: that of the system.
    """

    session: Session | None = None
    rights: frozenset[Right] = frozenset()
    form_token: str = ""
    theme: str = ""

    @property
    def user(self) -> str:
        """The name; empty: nobody."""
        return self.session.user if self.session else ""


class Renderer:
    """Renders templates.

    Args:
        settings: Of the deployment: the time zone.
    """

    def __init__(self, settings: Settings) -> None:
        self._zone = ZoneInfo(settings.timezone)
        self._environment = Environment(
            loader=PackageLoader("deploy.console"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters.update(
            when=self.when, ago=ago, number=number, money=money, percent=percent, words=words, duration=duration
        )
        self._environment.globals.update(
            charts=charts,
            navigation=NAVIGATION,
            zone=settings.timezone,
            asset=asset,
            database=settings.clickhouse_database,
        )

    def text(self, template: str, viewer: Viewer, path: str, **values: Any) -> str:
        """Render a template."""
        waits = any(isinstance(one, Panel) and one.waits for one in values.values())
        found = self._environment.get_template(template)
        return found.render(viewer=viewer, path=path, now_ms=clock_ms(), waits=waits, **values)

    def page(self, template: str, viewer: Viewer, path: str, status: int = 200, **values: Any) -> web.Response:
        """Answer with a page."""
        return web.Response(
            text=self.text(template, viewer, path, **values), status=status, content_type="text/html", charset="utf-8"
        )

    def when(self, time: object, *, seconds: bool = False) -> str:
        """Write a time, as datetime, RFC 3339 or milliseconds, in the zone of the deployment."""
        if time in (None, "", 0):
            return "–"
        if isinstance(time, int | float):
            found = time_of_ms(int(time))
        else:
            found = utc(time) if isinstance(time, datetime) else time_of_ms(ms_of_text(str(time)))
        return readable_text(found.astimezone(self._zone))[: 19 if seconds else 16]


@lru_cache
def asset(name: str) -> str:
    """Return the address of a static file, with a hash of its content: a browser may keep it for ever."""
    content = files("deploy.console").joinpath("static", name).read_bytes()
    return f"/static/{sha256(content).hexdigest()[:12]}/{name}"


def ago(at_ms: int, now_ms: int) -> str:
    """Write how long ago a time was."""
    return f"{duration(max(0, now_ms - at_ms) / 1000)} ago" if at_ms else "never"


def duration(seconds: float | None) -> str:
    """Write a length of time in the largest unit that fits."""
    if seconds is None:
        return "–"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    for length, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def number(value: float | Decimal | None, digits: int = 0) -> str:
    """Write a number with separators; `–`: there is none."""
    return "–" if value is None or value != value else f"{value:,.{digits}f}"


def money(value: float | Decimal | None, currency: str = "") -> str:
    """Write an amount."""
    return number(value, 2) + (f" {currency}" if currency and value is not None else "")


def percent(value: float | None, digits: int = 1) -> str:
    """Write a share."""
    return "–" if value is None or value != value else f"{value:.{digits}%}"


def words(value: object) -> str:
    """Write a code as words."""
    return str(value).replace("_", " ")


def iso(value: date | datetime) -> str:
    """Write a day or a time as RFC 3339, for `datetime` of `<time>`."""
    return value.replace(tzinfo=UTC).isoformat() if isinstance(value, datetime) else value.isoformat()


def safe(text: str) -> Markup:
    """Mark text as HTML that was made here."""
    return Markup(text)  # noqa: S704 - callers escape what is not theirs


def values_of(query: Mapping[str, str], *names: str) -> dict[str, str]:
    """Return parameters of an address, without white space around; those that are missing are empty."""
    return {name: query.get(name, "").strip() for name in names}
