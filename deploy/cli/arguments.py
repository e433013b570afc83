"""Arguments and options that several commands share: their types, and how their values are read."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta, tzinfo
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import typer

from deploy.operations.person_lookup import identifier

DAY_FORMATS = ["%Y-%m-%d"]

Who = Annotated[
    str,
    typer.Argument(
        metavar="WHO",
        help="A profile id, an identifier such as email:a@b.example or user_id:42, or a value of any type.",
    ),
]
Source = Annotated[str, typer.Option(help="The producer, where the policy gives its identifiers a name space.")]
FirstDay = Annotated[
    datetime | None, typer.Option("--from", formats=DAY_FORMATS, help="First day; else the beginning.")
]
LastDay = Annotated[datetime | None, typer.Option("--to", formats=DAY_FORMATS, help="Last day; else the end.")]
By = Annotated[Literal["channel", "campaign", "creative", "product"], typer.Option(help="What gets the credit.")]
Markets = Annotated[
    list[str] | None, typer.Option("--market", help="Only this market; may be repeated: `throughline markets list`.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Yes = Annotated[bool, typer.Option("--yes", help="Execute it; without this, only show what would happen.")]
TimeoutS = Annotated[float, typer.Option(min=1, help="Longest wait for the workers, seconds.")]
OutFile = Annotated[Path | None, typer.Option(help="Write to this file instead of standard output.")]


def instant(text: str, zone: tzinfo, option: str, *, through: bool = False) -> datetime:
    """Read a day (its beginning; with `through` its end) or a time with an offset.

    Args:
        text: The argument.
        zone: Time zone of days.
        option: Name of the option, for the error.
        through: Return the end of the day, which is the beginning of the next.

    Raises:
        BadParameter: The text is neither.
    """
    from schemas.time import lenient_time

    try:
        day = date.fromisoformat(text)
    except ValueError:
        pass
    else:
        return datetime.combine(day + timedelta(days=through), time(), zone)
    try:
        return lenient_time(text, None)
    except ValueError:
        raise typer.BadParameter(f"{text!r}: expected 2026-11-22 or 2026-11-22T10:15:30Z", param_hint=option) from None


def required_identifier(text: str) -> tuple[str, str]:
    """Read `TYPE:VALUE` as (type, value).

    Raises:
        BadParameter: The text has another form.
    """
    found = identifier(text)
    if found is None:
        raise typer.BadParameter(f"{text!r}: write TYPE:VALUE, such as email:a@b.example")
    return found


def asked_markets(client: Any, names: list[str] | None) -> tuple[str, ...]:
    """Return the markets of `--market`.

    Raises:
        BadParameter: One of them is no market.
    """
    from sinks.clickhouse.markets import UnknownMarketError, known_markets

    try:
        return known_markets(client, names or ())
    except UnknownMarketError as error:
        raise typer.BadParameter(str(error), param_hint="--market") from None


def period(first: datetime | None, last: datetime | None) -> tuple[datetime, datetime]:
    """Return the period from the beginning of `first` to the end of `last`, in the time zone of reports.

    Without one of them the period is open on that side.
    """
    from deploy.settings import settings
    from sinks.clickhouse.reports import FIRST, LAST

    zone = ZoneInfo(settings().timezone)
    start = first.replace(tzinfo=zone) if first else FIRST
    stop = (last + timedelta(days=1)).replace(tzinfo=zone) if last else LAST
    return start, stop
