"""What a profile has found out about a click of a message: of a person, or of a mail filter that opens links.

A profile judges a click when it comes, by what has come before. Events of several partitions come in another order each
time they are read, and those of two people who turn out to be one came to two profiles. So a verdict is published and
stored, and whoever reads history takes it as it was: no order could give it back for certain.
"""

from __future__ import annotations

from typing import Any, Literal

Verdict = Literal["counted", "held", "scan"]
"""A person's click; one that counts if a visit follows, so it may become one of the others; the click of a filter."""

VERDICT = "verdict"
"""Field of an event of history, and of one that a profile holds: its verdict."""

JUDGED = "click_judged"
"""Kind of the record of topic `journey-events` that tells a verdict."""


def without_verdict(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event as it was published."""
    return {name: value for name, value in event.items() if name != VERDICT} if VERDICT in event else event
