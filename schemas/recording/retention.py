"""Classes of data in ClickHouse by how long they are kept, and what the longest look back needs of them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, NamedTuple, get_args

RetentionClass = Literal["payloads", "events", "reports"]
RETENTION_CLASSES: tuple[RetentionClass, ...] = get_args(RetentionClass)
"""`payloads`: identifiers, traits, context and properties of events, and dead letters. `events`: their rows, and what
is derived of each. `reports`: orders, messages, decisions, runs of journeys and credits. What says who is who, who was
erased, who is in which segment, who withdrew consent and who did what has no end."""

SHORTEST_DAYS = 35
"""Nothing is kept less long: so long messages are known as sent, and events as seen, after a loss of Redis."""


class KeptClass(NamedTuple):
    """How long a class is kept.

    Attributes:
        name: The class.
        days: How many days; 0: for ever.
        complete_since: Everything later is there; None: everything is.
    """

    name: RetentionClass
    days: int
    complete_since: datetime | None


def kept_text(days: int) -> str:
    """Write how long something is kept: `400 days`, `for ever`."""
    return f"{days:,} days" if days else "for ever"
