"""Names of the pages of a time line, as options and answers of commands carry them."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from sinks.clickhouse.timeline import TimelinePosition


def page_name(position: TimelinePosition) -> str:
    """Name the page that follows an entry, in letters that need no quotes in a shell or an address."""
    from schemas.time import ms_of_time

    written = json.dumps([ms_of_time(position.at), position.rank, position.key], ensure_ascii=False)
    return urlsafe_b64encode(written.encode()).decode().rstrip("=")


def read_page_name(name: str) -> TimelinePosition:
    """Read the name of a page.

    Raises:
        BadParameter: It is no such name.
    """
    from schemas.time import time_of_ms
    from sinks.clickhouse.timeline import TimelinePosition

    try:
        at_ms, rank, key = json.loads(urlsafe_b64decode(name + "=" * (-len(name) % 4)))
        if type(at_ms) is not int or rank not in (0, 1, 2) or type(key) is not str:
            raise ValueError("other types")
        return TimelinePosition(time_of_ms(at_ms), rank, key)
    except (ValueError, TypeError, OverflowError, OSError):
        said = f"{name!r}: expected the name of a page that this command has printed, or no --page for the newest"
        raise typer.BadParameter(said, param_hint="--page") from None
