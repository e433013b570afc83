"""Reads a person's events from ClickHouse, as they were published.

The person is the one known now: merges and splits apply to the past too, as in the views.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from itertools import groupby
from typing import Any

import orjson
from clickhouse_connect.driver.external import ExternalData

from schemas.identity.resolution import NIL_UUID
from schemas.profiles.verdicts import VERDICT
from schemas.time import text_of_time

_COLUMNS = (
    "event_id", "event", "channel", "source", "occurred_at", "received_at", "anchor", "profile_id", "identity_version",
    "identifiers", "campaign_fields", "context", "properties", "traits", "consent", "enrichment", "origin_topic",
    "origin_partition", "origin_offset", "order_namespace", "order_source_kind",
)  # fmt: skip
_PARTS = {
    "campaign": "campaign_fields",
    "enriched": "enrichment",
    **{name: name for name in ("context", "properties", "traits", "consent")},
}

_EVENT_COLUMNS = (*_COLUMNS, "verdict")  # of a click, by `click_verdicts`

# As `processors.profiles.rebuild.arrival` sorts: events of one millisecond in the order of their partition, in which
# workers got them too.
_ARRIVAL = "t.received_at, t.origin_topic, t.origin_partition, t.origin_offset, t.event_id"

CLASSIFICATION = (
    "touch", "marketing_channel", "conflicting_network", "click_id", "click_id_name", "session_id", "is_checkout",
    "campaign", "campaign_id", "campaign_source", "campaign_medium", "campaign_term", "campaign_content", "creative",
)  # fmt: skip
"""Columns of `touchpoints` that follow from an event by the rules for touches."""

EXPIRED = "SELECT toString(profile_id) FROM identity_log WHERE kind = 'expire'"
"""The ids of anonymous people who expired: their events stay, and they are nobody's profile any more."""

# The person as v_touchpoints computes it.
_PERSON = "if(o.version > t.identity_version, o.profile_id, t.profile_id)"
_OWNERS = "LEFT JOIN (SELECT * FROM identity_overrides FINAL) AS o ON o.anchor = t.anchor"

# The last condition is the person. The one before lets indexes skip other people's rows.
_ONE_PERSON = f"""
    WHERE (t.profile_id = {{person:UUID}} OR t.anchor IN (
        SELECT anchor FROM identity_overrides FINAL WHERE profile_id = {{person:UUID}}
    )) AND {_PERSON} = {{person:UUID}}
"""  # noqa: S608 - fixed texts
_ASKED_PEOPLE = f"""
    WHERE (t.profile_id IN asked OR t.anchor IN (
        SELECT anchor FROM identity_overrides FINAL WHERE profile_id IN asked
    )) AND toString({_PERSON}) IN (SELECT toString(profile_id) FROM asked)
"""  # noqa: S608 - fixed texts
_PART_OF_PEOPLE = f"""
    WHERE cityHash64(toString({_PERSON})) < {{share:Float64}} * 18446744073709551616.
        AND cityHash64(toString({_PERSON})) % {{parts:UInt64}} = {{part:UInt64}}
"""
_PERSON_FILTER = f"FROM touchpoints AS t FINAL {_OWNERS} {_ONE_PERSON}"


def read_events(client: Any, profile_id: str) -> list[dict[str, Any]]:
    """Read every event of a person.

    Args:
        client: Of the deployment's database, as `sinks.clickhouse.client.connect` opens it.
        profile_id: The live profile.

    Returns:
        Resolved touchpoints equal to those that were published (values of the topic `resolved-touchpoints`; their
        `profile_id` is the one of that time), in the order in which the broker received them. A click that a profile
        has judged has its `verdict` too.
    """
    rows = client.query(_events_query(_ONE_PERSON), {"person": profile_id}).result_rows
    return [event for _, events in _by_person(rows) for event in events]


def read_people(
    client: Any, stop: datetime, share: float = 1.0, part: tuple[int, int] = (0, 1)
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Read the events of all people, person by person.

    Args:
        client: As for `read_events`.
        stop: Events that the broker received at this time or later are left out.
        share: Share of people to read, from 0 to 1; the same people for the same share.
        part: Which of how many parts of the people to read, from 0.

    Yields:
        A person as known now, and their events as `read_events` returns them; not of anonymous people who expired.
    """
    query = _events_query(
        _PART_OF_PEOPLE,
        f"AND t.received_at < {{stop:DateTime64(3, 'UTC')}} AND person != '{NIL_UUID}' AND person NOT IN ({EXPIRED})",
    )
    parameters = {"stop": stop, "share": share, "part": part[0], "parts": part[1]}
    with client.query_rows_stream(query, parameters) as rows:
        yield from _by_person(rows)


def read_events_of(client: Any, profile_ids: Sequence[str]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Read all events of some people, as `read_people` does. The ids may be any number: a parameter may not."""
    query = _events_query(_ASKED_PEOPLE)
    lines = b"\n".join(orjson.dumps([profile_id]) for profile_id in profile_ids)
    asked = ExternalData(file_name="asked", data=lines, fmt="JSONCompactEachRow", structure=["profile_id UUID"])
    with client.query_rows_stream(query, external_data=asked) as rows:
        yield from _by_person(rows)


def _events_query(people: str, condition: str = "") -> str:
    """Return the query of the events of some people: the person, then `_EVENT_COLUMNS`; person by person, as received.

    Args:
        people: The condition on them, for a table `t` and the owners `o` of its anchors.
        condition: A further one on `touchpoints`.
    """
    return f"""
        SELECT toString({_PERSON}) AS person, t.{", t.".join(_COLUMNS)}, v.verdict AS verdict
        FROM touchpoints AS t FINAL {_OWNERS}
        LEFT JOIN (
            SELECT t.source AS source, t.event_id AS event_id, t.verdict AS verdict
            FROM click_verdicts AS t FINAL {_OWNERS} {people}
        ) AS v ON v.source = t.source AND v.event_id = t.event_id
        {people} {condition}
        ORDER BY person, {_ARRIVAL}
    """  # noqa: S608 - fixed texts


def _by_person(rows: Iterable[Sequence[Any]]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Put the rows of each person, which begin with the id, together as events."""
    for person, theirs in groupby(rows, key=lambda row: row[0]):
        yield str(person), [_event(dict(zip(_EVENT_COLUMNS, row[1:], strict=True))) for row in theirs]


def read_events_named(client: Any, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Read all events with one of some names, as `read_events` returns them, in order of receipt."""
    query = f"""
        SELECT t.{", t.".join(_COLUMNS)} FROM touchpoints AS t FINAL
        WHERE t.event IN {{names:Array(String)}} ORDER BY {_ARRIVAL}
    """  # noqa: S608 - our own column names
    with client.query_rows_stream(query, {"names": list(names)}) as rows:
        for row in rows:
            yield _event(dict(zip(_COLUMNS, row, strict=True)))


def read_product_names(client: Any, product_ids: Iterable[str]) -> dict[str, str]:
    """Return the names of products by id, as far as they are known now: of the catalogue, else as people saw them."""
    lines = b"\n".join(orjson.dumps([product_id]) for product_id in product_ids)
    asked = ExternalData(file_name="asked", data=lines, fmt="JSONCompactEachRow", structure=["product_id String"])
    query = "SELECT product_id, name FROM v_products WHERE name != '' AND product_id IN (SELECT product_id FROM asked)"
    return {str(row[0]): str(row[1]) for row in client.query(query, external_data=asked).result_rows}


def events_by_day(client: Any, start: datetime, stop: datetime) -> list[tuple[date, int]]:
    """Count the stored events of each day, UTC, that occurred from `start` to before `stop`; in order of time."""
    rows = client.query(
        "SELECT toDate(occurred_at) AS day, uniqExact(source, event_id) FROM touchpoints"
        " WHERE occurred_at >= {start:DateTime64(3, 'UTC')} AND occurred_at < {stop:DateTime64(3, 'UTC')}"
        " GROUP BY day ORDER BY day",
        {"start": start, "stop": stop},
    ).result_rows
    return [(day, int(events)) for day, events in rows]


def read_classified(
    client: Any, day: date, start: datetime, stop: datetime
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Read the events of one day from `start` to before `stop`: each as it was published, and its `CLASSIFICATION`."""
    query = f"""
        SELECT {", ".join((*_COLUMNS, *CLASSIFICATION))}
        FROM touchpoints FINAL
        WHERE toDate(occurred_at) = {{day:Date}}
            AND occurred_at >= {{start:DateTime64(3, 'UTC')}} AND occurred_at < {{stop:DateTime64(3, 'UTC')}}
    """  # noqa: S608 - our own column names
    with client.query_rows_stream(query, {"day": day, "start": start, "stop": stop}) as rows:
        for row in rows:
            event = _event(dict(zip(_COLUMNS, row, strict=False)))
            yield event, dict(zip(CLASSIFICATION, row[len(_COLUMNS) :], strict=True))


def count_affected(client: Any, anchors: Sequence[str], profile_id: str) -> dict[str, int]:
    """Count the events that a split of these identifiers would move.

    Returns:
        `events`, and `orders`: the number of distinct order ids among them.
    """
    counts = "SELECT count(), uniqExactIf(t.order_id, t.order_id != '')"
    parameters = {"person": profile_id, "anchors": sorted(anchors)}
    row = client.query(f"{counts} {_PERSON_FILTER} AND t.anchor IN {{anchors:Array(UUID)}}", parameters).first_row
    return {"events": int(row[0]), "orders": int(row[1])}


def _event(row: dict[str, Any]) -> dict[str, Any]:
    event = {name: row[name] for name in ("event_id", "event", "channel", "source")}
    event |= {"occurred_at": text_of_time(row["occurred_at"]), "received_at": text_of_time(row["received_at"])}
    event["identifiers"] = orjson.loads(row["identifiers"]) if row["identifiers"] else []
    event |= {name: orjson.loads(row[column]) for name, column in _PARTS.items() if row[column]}
    for name in ("profile_id", "anchor"):
        found = str(row[name])
        event[name] = None if found == NIL_UUID else found
    event["identity_version"] = row["identity_version"]
    if row["order_namespace"] or row["order_source_kind"]:
        event["order"] = {"namespace": row["order_namespace"], "source_kind": row["order_source_kind"]}
    names = ("topic", "partition", "offset")
    event["origin"] = {name: row[f"origin_{name}"] for name in names}
    if row.get("verdict"):
        event[VERDICT] = row["verdict"]
    return event


def stored_event_ids(client: Any, source: str, event_ids: Sequence[str]) -> set[str]:
    """Return which events of a source are stored, whenever that was. The ids may be any number: a parameter may not."""
    query = """
        SELECT DISTINCT event_id FROM touchpoints
        WHERE source = {source:String} AND event_id IN (SELECT event_id FROM asked)
    """
    lines = b"\n".join(orjson.dumps([event_id]) for event_id in event_ids)
    asked = ExternalData(file_name="asked", data=lines, fmt="JSONCompactEachRow", structure=["event_id String"])
    return {str(row[0]) for row in client.query(query, {"source": source}, external_data=asked).result_rows}
