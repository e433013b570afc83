"""What is known of conversions when they are exported, and the ledger of exports."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from itertools import islice
from typing import Any

import orjson

from schemas.export.exports import Click, Conversion, ExportEntry
from schemas.identity.resolution import NIL_UUID
from schemas.json_bytes import json_bytes
from schemas.money import plain
from schemas.time import ms_of_time, text_of_ms, time_of_ms

TABLE = "conversion_exports"
_CONVERSIONS = """
    SELECT conversion_id, toString(conversion_type), toString(profile_id), converted_at, revenue, refunded,
        toString(currency), toString(channel), toString(market), order_id, event_id, toString(source)
    FROM v_conversions
    WHERE conversion_type IN {goals:Array(String)} AND
"""
_MARGINS = """
    SELECT conversion_id, toString(conversion_type), margin_rate FROM v_conversion_values
    WHERE conversion_type IN {goals:Array(String)} AND conversion_id IN {ids:Array(String)}
"""
_CONTEXTS = """
    SELECT event_id, toString(source), context FROM touchpoints
    WHERE toDate(occurred_at) BETWEEN {first:Date} AND {last:Date} AND event_id IN {events:Array(String)}
    ORDER BY delivery DESC LIMIT 1 BY source, event_id
"""
_CLICKS = """
    SELECT toString(if(o.version > t.identity_version, o.profile_id, t.profile_id)) AS person, click_id_name, click_id,
        occurred_at
    FROM
    (
        SELECT anchor, profile_id, identity_version, toString(click_id_name) AS click_id_name, click_id, occurred_at
        FROM touchpoints
        WHERE click_id != '' AND click_id_name != '' AND occurred_at >= {since:DateTime64(3, 'UTC')}
            AND (empty({names:Array(String)}) OR click_id_name IN {names:Array(String)})
    ) AS t
    LEFT JOIN (SELECT anchor, profile_id, version FROM identity_overrides FINAL) AS o ON o.anchor = t.anchor
    WHERE person IN {people:Array(String)}
"""
_PREDICTED = (
    "SELECT toString(profile_id), predicted_revenue FROM v_ltv"
    " WHERE toString(profile_id) IN {people:Array(String)} AND isFinite(predicted_revenue)"
)
_ENTRIES = """
    SELECT toString(conversion_type), conversion_id, toString(kind), number, event_id, adjusts, toString(profile_id),
        toString(state), toString(reason), answer, match_keys, value, toString(currency), revenue, refunded, attempt,
        converted_at, exported_at
    FROM v_conversion_exports
    WHERE destination = {destination:String} AND conversion_id IN {ids:Array(String)}
"""
_WAITING = """
    SELECT DISTINCT conversion_id FROM v_conversion_exports
    WHERE destination = {destination:String} AND reason = 'not_yet'
    LIMIT 100000
"""
_PROFILES = (
    "SELECT toString(profile_id), document FROM profiles FINAL WHERE toString(profile_id) IN {people:Array(String)}"
)
_SUMMARY = """
    SELECT toString(destination) AS destination, countIf(state = 'sent') AS sent, countIf(state = 'refused') AS refused,
        countIf(state = 'withheld') AS withheld, maxIf(exported_at, state = 'sent') AS last_sent_at
    FROM v_conversion_exports WHERE exported_at >= {since:DateTime64(3, 'UTC')} GROUP BY destination
"""


def read_conversions(client: Any, ids: Collection[str], goals: Collection[str], *, margins: bool) -> list[Conversion]:
    """Read conversions by their ids, with the context of the events that reported them.

    Args:
        client: Of the deployment's database, as `sinks.clickhouse.client.connect` opens it.
        ids: Ids of conversions.
        goals: Only of these goals.
        margins: Whether their margin is asked for, which costs more than all the rest.
    """
    parameters = {"ids": sorted(ids), "goals": sorted(goals)}
    found = _read(client, "conversion_id IN {ids:Array(String)}", parameters)
    return _with_margins(client, _with_contexts(client, found), goals) if margins else _with_contexts(client, found)


def read_conversions_between(
    client: Any, start: datetime, stop: datetime, goals: Collection[str], *, margins: bool, at_once: int = 2_000
) -> Iterator[list[Conversion]]:
    """Read the conversions of a time, part by part; the other arguments as of `read_conversions`."""
    condition = "converted_at >= {start:DateTime64(3, 'UTC')} AND converted_at < {stop:DateTime64(3, 'UTC')}"
    found = iter(_read(client, condition, {"start": start, "stop": stop, "goals": sorted(goals)}))
    while part := list(islice(found, at_once)):
        part = _with_contexts(client, part)
        yield _with_margins(client, part, goals) if margins else part


def conversions_of_people(client: Any, people: Collection[str], goals: Collection[str], since_ms: int) -> list[str]:
    """Return the ids of the conversions of people since a time, milliseconds since 1970."""
    parameters = {"people": sorted(people), "since": time_of_ms(since_ms), "goals": sorted(goals)}
    condition = "profile_id IN {people:Array(UUID)} AND converted_at >= {since:DateTime64(3, 'UTC')}"
    return sorted({one.conversion_id for one in _read(client, condition, parameters)})


def read_clicks(client: Any, people: Collection[str], names: Sequence[str], since_ms: int) -> dict[str, list[Click]]:
    """Read the click ids of people's touches since a time, by profile id; no names: all click ids."""
    parameters = {"people": sorted(people), "names": list(names), "since": time_of_ms(since_ms)}
    found: dict[str, list[Click]] = {}
    for person, name, value, at in client.query(_CLICKS, parameters).result_rows:
        found.setdefault(person, []).append(Click(name, value, ms_of_time(at)))
    return found


def read_predicted(client: Any, people: Collection[str]) -> tuple[dict[str, Decimal], str]:
    """Read what the lifetime value model expects of people, by profile id; and the currency."""
    rows = client.query(_PREDICTED, {"people": sorted(people)}).result_rows
    currency = client.query("SELECT currency FROM v_report_settings").first_row
    return {person: Decimal(repr(float(value))) for person, value in rows}, str(currency[0]) if currency else ""


def read_documents(client: Any, people: Collection[str]) -> dict[str, dict[str, Any]]:
    """Read the profiles of people as last stored, by profile id."""
    rows = client.query(_PROFILES, {"people": sorted(people)}).result_rows
    return {person: orjson.loads(document) for person, document in rows if document}


def read_entries(client: Any, destination: str, ids: Collection[str]) -> list[ExportEntry]:
    """Read the ledger's rows of conversions."""
    rows = client.query(_ENTRIES, {"destination": destination, "ids": sorted(ids)}).result_rows
    return [
        ExportEntry(
            destination, goal, conversion_id, kind, number, event_id, adjusts, _person(person), state, reason, answer,
            tuple(keys), value, currency, revenue, refunded, attempt, ms_of_time(converted_at), ms_of_time(at),
        )
        for goal, conversion_id, kind, number, event_id, adjusts, person, state, reason, answer, keys, value, currency,
        revenue, refunded, attempt, converted_at, at in rows
    ]  # fmt: skip


def read_waiting(client: Any, destination: str) -> list[str]:
    """Return the ids of conversions with an export that the destination was not ready for."""
    return [row[0] for row in client.query(_WAITING, {"destination": destination}).result_rows]


def export_summary(client: Any, since: datetime) -> dict[str, Mapping[str, Any]]:
    """Count the exports of each destination since a time, by state, with when the last one was sent."""
    rows = client.query(_SUMMARY, {"since": since}).named_results()
    return {row["destination"]: row for row in rows}


def entry_row(entry: ExportEntry) -> bytes:
    """Write a row of the ledger."""
    row = {
        "destination": entry.destination,
        "conversion_type": entry.goal,
        "conversion_id": entry.conversion_id,
        "kind": entry.kind,
        "number": entry.number,
        "event_id": entry.event_id,
        "adjusts": entry.adjusts,
        "profile_id": entry.profile_id or NIL_UUID,
        "state": entry.state,
        "reason": entry.reason,
        "answer": entry.answer,
        "match_keys": list(entry.match_keys),
        "value": None if entry.value is None else plain(entry.value),
        "currency": entry.currency,
        "revenue": plain(entry.revenue),
        "refunded": plain(entry.refunded),
        "attempt": entry.attempt,
        "converted_at": text_of_ms(entry.converted_ms),
        "exported_at": text_of_ms(entry.at_ms),
    }
    return json_bytes(row)


def _read(client: Any, condition: str, parameters: Mapping[str, Any]) -> list[Conversion]:
    rows = client.query(f"{_CONVERSIONS} {condition} ORDER BY converted_at, conversion_id", parameters).result_rows
    return [
        Conversion(
            conversion_id, goal, _person(person), ms_of_time(at), revenue, refunded, currency, channel, market,
            order_id, event_id, source,
        )
        for conversion_id, goal, person, at, revenue, refunded, currency, channel, market, order_id, event_id, source
        in rows
    ]  # fmt: skip


def _with_contexts(client: Any, conversions: list[Conversion]) -> list[Conversion]:
    if not conversions:
        return []
    days = [time_of_ms(one.converted_ms).date() for one in conversions]
    events = sorted({one.event_id for one in conversions})
    rows = client.query(_CONTEXTS, {"first": min(days), "last": max(days), "events": events}).result_rows
    contexts = {(source, event_id): orjson.loads(context) for event_id, source, context in rows if context}
    return [one._replace(context=contexts.get((one.source, one.event_id), {})) for one in conversions]


def _with_margins(client: Any, conversions: list[Conversion], goals: Collection[str]) -> list[Conversion]:
    if not conversions:
        return []
    parameters = {"ids": sorted({one.conversion_id for one in conversions}), "goals": sorted(goals)}
    rows = client.query(_MARGINS, parameters).result_rows
    rates = {(conversion_id, goal): Decimal(repr(float(rate))) for conversion_id, goal, rate in rows}
    return [one._replace(margin_rate=rates.get((one.conversion_id, one.goal), Decimal(1))) for one in conversions]


def _person(profile_id: str) -> str:
    return "" if profile_id == NIL_UUID else profile_id
