"""Finds what a replay is about: events of a time and of sources, and the people whose they are, in a fixed order."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from schemas.identity.resolution import NIL_UUID

_PERSON = "if(o.version > t.identity_version, o.profile_id, t.profile_id)"
_EVENTS = f"""
    SELECT toString({_PERSON}) AS person, count() AS events
    FROM touchpoints AS t FINAL
    LEFT JOIN (SELECT * FROM identity_overrides FINAL) AS o ON o.anchor = t.anchor
    WHERE t.occurred_at >= {{start:DateTime64(3, 'UTC')}} AND t.occurred_at < {{stop:DateTime64(3, 'UTC')}}
        AND (empty({{sources:Array(String)}}) OR has({{sources:Array(String)}}, t.source))
    GROUP BY person
"""  # noqa: S608 - fixed texts


class ReplayedEvents(NamedTuple):
    """What a replay is about.

    Attributes:
        events: Events of people.
        people: Whose they are, as known now.
        unowned: Events that are of nobody.
    """

    events: int
    people: int
    unowned: int


def count_replayed(client: Any, start: datetime, stop: datetime, sources: Sequence[str]) -> ReplayedEvents:
    """Count the stored events from `start` to before `stop`, of some sources; none: of all."""
    row = client.query(
        f"SELECT sumIf(events, person != '{NIL_UUID}'), countIf(person != '{NIL_UUID}'),"  # noqa: S608
        f" sumIf(events, person = '{NIL_UUID}') FROM ({_EVENTS})",
        {"start": start, "stop": stop, "sources": list(sources)},
    ).first_row
    return ReplayedEvents(*map(int, row))


def people_after(
    client: Any, start: datetime, stop: datetime, sources: Sequence[str], after: str, limit: int
) -> dict[str, int]:
    """Return the next people by id, and how many of the events are theirs.

    Args:
        client: Of the deployment's database.
        start: As of `count_replayed`.
        stop: Likewise.
        sources: Likewise.
        after: The last one that is done; empty: none is.
        limit: The most people.
    """
    rows = client.query(
        f"SELECT person, events FROM ({_EVENTS}) WHERE person > {{after:String}} AND person != '{NIL_UUID}'"  # noqa: S608
        " ORDER BY person LIMIT {limit:UInt32}",
        {"start": start, "stop": stop, "sources": list(sources), "after": after, "limit": limit},
    ).result_rows
    return {str(person): int(events) for person, events in rows}
