"""Reads the members of segments, with their profiles, and the predictions of the lifetime value model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime
from typing import Any

import orjson

from schemas.identity.resolution import NIL_UUID
from sinks.clickhouse.history import EXPIRED

_MEMBERS = (
    "SELECT profile_id FROM v_segment_memberships"
    " WHERE segment = {segment:String} AND since <= {at:DateTime64(3)} AND until > {at:DateTime64(3)}"
)
_MEMBERS_SINCE = (
    "SELECT profile_id FROM v_segment_memberships WHERE segment = {segment:String} AND until > {at:DateTime64(3)}"
)


def read_members(client: Any, segment: str, at: datetime) -> Iterator[tuple[str, dict[str, Any]]]:
    """Read the members of a segment at a time.

    Args:
        client: Of the deployment's database, as `sinks.clickhouse.client.connect` opens it.
        segment: Name of the segment.
        at: The time.

    Yields:
        Profile id and profile document as last stored; people whose profile was erased are left out.
    """
    yield from _profiles(client, _MEMBERS, segment, at)


def read_members_since(client: Any, segment: str, since: datetime) -> Iterator[tuple[str, dict[str, Any]]]:
    """Read the people who were members at a time or became members later, as `read_members` does."""
    yield from _profiles(client, _MEMBERS_SINCE, segment, since)


def member_ids(client: Any, segment: str, at: datetime) -> set[str]:
    """Return the profile ids of the members of a segment at a time."""
    return {str(row[0]) for row in client.query(_MEMBERS, {"segment": segment, "at": at}).result_rows}


def count_members(client: Any, at: datetime, markets: Sequence[str] = ()) -> dict[str, int]:
    """Count the members of each segment at a time; segments without members are left out.

    Args:
        client: Of the deployment's database.
        at: The time.
        markets: Only people of these markets; empty: all.
    """
    query = (
        "SELECT segment, uniqExact(profile_id) FROM v_segment_memberships"
        " WHERE since <= {at:DateTime64(3)} AND until > {at:DateTime64(3)}"
        " AND (empty({markets:Array(String)}) OR profile_id IN ("
        "SELECT profile_id FROM v_person_markets WHERE has({markets:Array(String)}, toString(market))))"
        " GROUP BY segment"
    )
    rows = client.query(query, {"at": at, "markets": list(markets)}).result_rows
    return {str(segment): int(count) for segment, count in rows}


def segment_days(client: Any, segment: str, days: int = 90) -> list[tuple[date, int, int, int]]:
    """List the days on which somebody entered or left a segment: day, entered, left, members at its end."""
    query = (
        "SELECT day, entered, left, members FROM v_segment_sizes"
        " WHERE segment = {segment:String} AND day > today() - {days:UInt16} ORDER BY day"
    )
    rows = client.query(query, {"segment": segment, "days": days}).result_rows
    return [(day, int(entered), int(left), int(members)) for day, entered, left, members in rows]


def overlaps(client: Any, segment: str, at: datetime) -> dict[str, int]:
    """Count the members of a segment that are members of each other segment, too."""
    query = (
        "SELECT segment, uniqExact(profile_id) AS both FROM v_segment_memberships"  # noqa: S608 - fixed texts
        " WHERE since <= {at:DateTime64(3)} AND until > {at:DateTime64(3)} AND segment != {segment:String}"
        f" AND profile_id IN ({_MEMBERS}) GROUP BY segment ORDER BY both DESC, segment"
    )
    rows = client.query(query, {"segment": segment, "at": at}).result_rows
    return {str(name): int(both) for name, both in rows}


def members_by_person(client: Any, at: datetime) -> dict[str, set[str]]:
    """Return the segments of each person at a time, by profile id; people who are in none are left out."""
    query = (
        "SELECT toString(profile_id), groupUniqArray(toString(segment)) FROM v_segment_memberships"
        " WHERE since <= {at:DateTime64(3)} AND until > {at:DateTime64(3)} GROUP BY profile_id"
    )
    return {profile_id: set(names) for profile_id, names in client.query(query, {"at": at}).result_rows}


def count_people(client: Any) -> int:
    """Count the live profiles, as last stored."""
    return int(client.query("SELECT count() FROM profiles FINAL").first_row[0])


def people_of_part(client: Any, part: tuple[int, int]) -> list[str]:
    """Return the ids of the live profiles of a part of the people, as `history.read_people` divides them."""
    query = (
        "SELECT toString(profile_id) AS person FROM profiles FINAL"
        " WHERE cityHash64(person) % {parts:UInt64} = {part:UInt64} ORDER BY person"
    )
    rows = client.query(query, {"part": part[0], "parts": part[1]}).result_rows
    return [str(row[0]) for row in rows]


def late_people_of_part(client: Any, part: tuple[int, int], since: datetime) -> list[str]:
    """Return those of `people_of_part` who have a late event that was received at a time or after it.

    An event is late if it arrived more than a day after it happened.
    """
    query = f"""
        SELECT DISTINCT toString(if(o.version > t.identity_version, o.profile_id, t.profile_id)) AS person
        FROM touchpoints AS t
        LEFT JOIN (SELECT * FROM identity_overrides FINAL) AS o ON o.anchor = t.anchor
        WHERE t.received_at > t.occurred_at + toIntervalDay(1) AND t.received_at >= {{since:DateTime64(3, 'UTC')}}
            AND cityHash64(person) % {{parts:UInt64}} = {{part:UInt64}} AND person != {{nobody:String}}
            AND person NOT IN ({EXPIRED})
        ORDER BY person
    """  # noqa: S608 - fixed texts
    parameters = {"part": part[0], "parts": part[1], "nobody": NIL_UUID, "since": since}
    return [str(row[0]) for row in client.query(query, parameters).result_rows]


def late_arrivals(client: Any, since: datetime) -> tuple[datetime, datetime] | None:
    """Return when the first and the last late event since a time was received; None: there is none."""
    query = """
        SELECT count(), min(received_at), max(received_at) FROM touchpoints
        WHERE received_at > occurred_at + toIntervalDay(1) AND received_at >= {since:DateTime64(3, 'UTC')}
            AND profile_id != {nobody:UUID}
    """
    events, first, last = client.query(query, {"since": since, "nobody": NIL_UUID}).first_row
    return (first, last) if events else None


def segments_on_record(client: Any, segments: Sequence[str], part: tuple[int, int]) -> dict[str, frozenset[str]]:
    """Return those of some segments that people of a part ever entered, by their profile id of then."""
    query = (
        "SELECT toString(profile_id) AS person, groupUniqArray(toString(segment)) FROM segment_changes"
        " WHERE segment IN {segments:Array(String)} AND cityHash64(person) % {parts:UInt64} = {part:UInt64}"
        " GROUP BY person"
    )
    rows = client.query(query, {"segments": list(segments), "part": part[0], "parts": part[1]}).result_rows
    return {str(person): frozenset(names) for person, names in rows}


def read_predictions(client: Any) -> dict[str, tuple[float, float, float]]:
    """Read the predictions of the newest fit: profile id → probability of being alive, orders, revenue."""
    query = (
        "SELECT toString(profile_id), probability_alive, predicted_orders, predicted_revenue"
        " FROM v_ltv WHERE isFinite(probability_alive) AND isFinite(predicted_orders) AND isFinite(predicted_revenue)"
    )
    return {str(row[0]): (float(row[1]), float(row[2]), float(row[3])) for row in client.query(query).result_rows}


def _profiles(client: Any, members: str, segment: str, at: datetime) -> Iterator[tuple[str, dict[str, Any]]]:
    query = (
        "SELECT toString(profile_id), document FROM profiles FINAL"  # noqa: S608 - the parts are constants
        f" WHERE profile_id IN ({members}) ORDER BY profile_id"
    )
    with client.query_rows_stream(query, {"segment": segment, "at": at}) as rows:
        for profile_id, document in rows:
            if document:
                yield str(profile_id), orjson.loads(document)
