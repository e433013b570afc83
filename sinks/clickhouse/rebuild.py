"""Reads what a lost Redis is made of again: the log of identities, seen events, snapshots of profiles."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

import orjson

from schemas.identity.resolution import NIL_UUID

_PART_OF_PROFILES = "cityHash64(toString(profile_id)) % {parts:UInt64} = {part:UInt64}"
# An event that merged profiles does not lower when the winner was first seen.
_OWN_EVENTS = f"""
    FROM touchpoints
    WHERE profile_id != '{NIL_UUID}'
        AND (profile_id, event_id) NOT IN (SELECT profile_id, event_id FROM identity_log WHERE kind = 'merge')
"""  # noqa: S608 - fixed texts
_COMPLETE = {"max_execution_time": 0}


class LoggedRow(NamedTuple):
    """A row of `identity_log`.

    Attributes:
        version: Order of the changes.
        kind: What happened.
        profile_id: The profile after it; the nil UUID: none.
        from_profile_id: The profile before it, likewise.
        anchors: (anchor, type) of the identifiers concerned.
        event_id: The evidence.
        occurred_ms: Time of the evidence, milliseconds since 1970.
        rule: Why.
    """

    version: int
    kind: str
    profile_id: str
    from_profile_id: str
    anchors: list[tuple[str, str]]
    event_id: str
    occurred_ms: int
    rule: str


class SeenRow(NamedTuple):
    """An event that was accepted.

    Attributes:
        source: Which producer sent it.
        event_id: Its id.
        event: Its name.
        order_id: `order_id` of its properties, if that is a text.
        received_ms: When the broker got it, milliseconds since 1970.
        topic: Where it came from.
        partition: Its partition.
        offset: Its offset.
        has_person: Whether it is of a person.
    """

    source: str
    event_id: str
    event: str
    order_id: str
    received_ms: int
    topic: str
    partition: int
    offset: int
    has_person: bool


class Snapshot(NamedTuple):
    """The latest snapshot of a profile.

    Attributes:
        version: Its version.
        document: The profile, JSON.
        state: What the decider remembers, JSON; empty: nothing.
    """

    version: int
    document: bytes
    state: bytes


def has_people(client: Any) -> bool:
    """Return whether any change of identity is stored."""
    return bool(client.query("SELECT 1 FROM identity_log LIMIT 1").result_rows)


def count_changes(client: Any, after: int) -> int:
    """Count the changes of identity after a version."""
    query = "SELECT uniqExact(version) FROM identity_log WHERE version > {after:UInt64}"
    return int(client.query(query, {"after": after}).first_row[0])


def read_log(client: Any, after: int) -> Iterator[LoggedRow]:
    """Read the changes of identity after a version, in order."""
    query = """
        SELECT version, kind, toString(profile_id), toString(from_profile_id),
            arrayMap(one -> (toString(one.1), one.2), anchors), event_id, toUnixTimestamp64Milli(occurred_at), rule
        FROM identity_log FINAL WHERE version > {after:UInt64} ORDER BY version
    """
    with client.query_rows_stream(query, {"after": after}, settings=_COMPLETE) as rows:
        for row in rows:
            yield LoggedRow(*row)


def erased_profiles(client: Any) -> set[str]:
    """Return every profile that was erased, and those that had been merged into one."""
    rows = client.query("SELECT DISTINCT toString(profile_id) FROM identity_log WHERE kind = 'erase'").result_rows
    return {row[0] for row in rows}


def split_profiles(client: Any) -> set[str]:
    """Return every profile that a split has made or divided."""
    query = "SELECT toString(profile_id), toString(from_profile_id) FROM identity_log WHERE kind = 'split'"
    return {one for row in client.query(query).result_rows for one in row}


def first_seen_before(client: Any, profile_id: str, version: int) -> int:
    """Return when a profile was first seen by events before a change of identity, ms since 1970; 0: by none."""
    query = f"""
        SELECT toUnixTimestamp64Milli(min(occurred_at)), count() {_OWN_EVENTS}
            AND profile_id = {{profile:UUID}} AND identity_version < {{version:UInt64}}
    """
    first, events = client.query(query, {"profile": profile_id, "version": version}).first_row
    return int(first) if events else 0


def read_first_seen(client: Any) -> Iterator[tuple[str, int]]:
    """Read when each profile was first seen itself: profile id and milliseconds since 1970."""
    query = f"SELECT toString(profile_id), toUnixTimestamp64Milli(min(occurred_at)) {_OWN_EVENTS} GROUP BY profile_id"
    with client.query_rows_stream(query, settings=_COMPLETE) as rows:
        yield from rows


def read_seen(client: Any, since: datetime) -> Iterator[SeenRow]:
    """Read the events that were received since a time, each as it was received first."""
    query = f"""
        SELECT source, event_id, event,
            if(JSONType(properties, 'order_id') = 'String', JSONExtractString(properties, 'order_id'), ''),
            toUnixTimestamp64Milli(received_at), origin_topic, origin_partition, origin_offset,
            profile_id != '{NIL_UUID}'
        FROM touchpoints FINAL WHERE received_at >= {{since:DateTime64(3, 'UTC')}}
    """  # noqa: S608 - fixed texts
    with client.query_rows_stream(query, {"since": since}, settings=_COMPLETE) as rows:
        for row in rows:
            yield SeenRow._make(row)


def identifiers_under(client: Any, anchor: str) -> list[tuple[str, str, str]]:
    """Return the identifiers that events under an anchor name: source, type and value, in clear."""
    rows = client.query(
        "SELECT DISTINCT source, identifiers FROM touchpoints WHERE anchor = {anchor:UUID} LIMIT 100",
        {"anchor": anchor},
    ).result_rows
    return [(source, one["type"], one["value"]) for source, written in rows if written for one in orjson.loads(written)]


def count_profiles(client: Any) -> int:
    """Count the profiles of which there is a snapshot."""
    return int(client.query("SELECT count() FROM profiles FINAL").first_row[0])


def read_snapshots(client: Any, part: int, parts: int) -> dict[str, Snapshot]:
    """Read the snapshots of a part of the profiles, by id."""
    query = f"""
        SELECT toString(profile_id), version, document, state FROM profiles FINAL WHERE {_PART_OF_PROFILES}
    """  # noqa: S608 - fixed texts
    rows = client.query(query, {"part": part, "parts": parts}, settings=_COMPLETE).result_rows
    return {row[0]: Snapshot(int(row[1]), row[2].encode(), row[3].encode()) for row in rows}


def read_last_versions(client: Any, part: int, parts: int) -> dict[str, int]:
    """Read the last version of each profile of a part, also of those that are gone: a later one has to be higher."""
    query = f"""
        SELECT toString(profile_id), max(version) FROM profiles WHERE {_PART_OF_PROFILES} GROUP BY profile_id
    """  # noqa: S608 - fixed texts
    rows = client.query(query, {"part": part, "parts": parts}, settings=_COMPLETE).result_rows
    return {row[0]: int(row[1]) for row in rows}


def read_delivered(client: Any, since: datetime) -> Iterator[str]:
    """Read the idempotency keys of messages, decided since a time, of which an outcome is known."""
    query = """
        SELECT DISTINCT d.idempotency_key FROM decisions AS d
        WHERE d.decided_at >= {since:DateTime64(3, 'UTC')} AND d.idempotency_key != ''
            AND d.idempotency_key IN (SELECT message_id FROM messages)
    """
    with client.query_rows_stream(query, {"since": since}, settings=_COMPLETE) as rows:
        for row in rows:
            yield row[0]


def read_watchers(
    client: Any, names: list[str], lists: list[str], most: int, since: datetime
) -> Iterator[tuple[str, str, int]]:
    """Read who looked at which product since a time: product, person as known now, ms when it was last received.

    Args:
        client: Of the deployment's database.
        names: Events about a product.
        lists: Those among them that list products instead, of which the first `most` count.
        most: See `lists`.
        since: When the first of these events was received.
    """
    query = f"""
        WITH
            t.event IN {{lists:Array(String)}} AS is_list,
            if(is_list, JSONExtractArrayRaw(t.properties, 'products'), [t.properties]) AS listed,
            arrayFilter(one -> one != '', arrayMap(one -> JSONExtractString(one, 'product_id'), listed)) AS named
        SELECT arrayJoin(arraySlice(arrayDistinct(named), 1, {{most:UInt32}})) AS product,
            toString(if(o.version > t.identity_version, o.profile_id, t.profile_id)) AS person,
            toUnixTimestamp64Milli(max(t.received_at))
        FROM touchpoints AS t FINAL LEFT JOIN (SELECT * FROM identity_overrides FINAL) AS o ON o.anchor = t.anchor
        WHERE t.received_at >= {{since:DateTime64(3, 'UTC')}} AND t.event IN {{names:Array(String)}}
            AND NOT JSONHas(t.enrichment, 'bot')
            AND person != '{NIL_UUID}'
        GROUP BY product, person
    """  # noqa: S608 - fixed texts
    asked = {"names": names, "lists": lists, "most": most, "since": since}
    with client.query_rows_stream(query, asked, settings=_COMPLETE) as rows:
        yield from rows
