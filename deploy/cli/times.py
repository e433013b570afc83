"""How times are given to commands."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta, tzinfo

import typer


def instant(text: str, zone: tzinfo, option: str, *, through: bool = False) -> datetime:
    """Read a day (its beginning; with `through` its end) or a time with an offset.

    Args:
        text: As it was typed.
        zone: Whose days.
        option: Which option it was, for the error.
        through: The end of the day, that is the beginning of the next.
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
