"""A dry run of a destination over history: what it would have learned, what not, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from deploy.connections.clickhouse import clickhouse_client
from processors.export.decisions import Decision, Person, decide
from schemas.durations import MINUTE_MS
from schemas.export.destinations import Destination
from schemas.export.exports import Conversion
from schemas.time import text_of_ms

if TYPE_CHECKING:
    from deploy.settings import Settings


def preview(
    settings: Settings, destination: Destination, start: datetime, stop: datetime, *, payloads: int, can_adjust: bool
) -> dict[str, Any]:
    """Decide about the conversions of a time as if the destination had been there; nothing is sent or stored.

    Each is looked at as of when it happened, with the consent and the addresses of its person as last stored.

    Args:
        settings: Of the deployment.
        destination: The destination.
        start: From this time on.
        stop: Before this time.
        payloads: How many of the exports are shown as they would be sent.
        can_adjust: Whether its credentials allow adjustments.

    Returns:
        `conversions`; `outcomes`: `sent`, or the reason, → how many; `match_keys` of those to send → how many; and
        `payloads`.
    """
    outcomes: Counter[str] = Counter()
    keys: Counter[str] = Counter()
    shown: list[dict[str, Any]] = []
    for decision in _decisions(settings, destination, start, stop, can_adjust):
        entry = decision.entry
        outcomes[entry.reason or "sent"] += 1
        if decision.item is None:
            continue
        keys.update(entry.match_keys)
        if len(shown) < payloads:
            shown.append({"conversion_id": entry.conversion_id, "body": decision.item.body})
    return {
        "destination": destination.name,
        "conversions": outcomes.total(),
        "outcomes": dict(outcomes.most_common()),
        "match_keys": dict(keys.most_common()),
        "payloads": shown,
    }


def _decisions(
    settings: Settings, destination: Destination, start: datetime, stop: datetime, can_adjust: bool
) -> Iterator[Decision]:
    from sinks.clickhouse import exports

    client = clickhouse_client(settings)
    goals = [rule.goal for rule in destination.conversions]
    bases = {rule.value for rule in destination.conversions}
    for part in exports.read_conversions_between(client, start, stop, goals, margins="margin" in bases):
        people = sorted({one.profile_id for one in part if one.profile_id})
        since_ms = min(one.converted_ms for one in part) - destination.lookback
        documents = exports.read_documents(client, people)
        clicks = exports.read_clicks(client, people, destination.limits.clicks, since_ms)
        predicted, currency = exports.read_predicted(client, people) if "predicted" in bases else ({}, "")
        for one in part:
            person = Person(
                documents.get(one.profile_id), clicks.get(one.profile_id, ()), predicted.get(one.profile_id), currency
            )
            yield from decide(destination, one, (), person, _shortly_after(one), adjusts=can_adjust)


def _shortly_after(conversion: Conversion) -> int:
    return conversion.converted_ms + MINUTE_MS


def describe(settings: Settings, destinations: list[Destination], since: datetime) -> list[dict[str, Any]]:
    """Describe destinations, with what became of their exports since a time; without ClickHouse, without that."""
    from clickhouse_connect.driver.exceptions import ClickHouseError

    from deploy.operations.destinations import destination_secrets, missing_secret
    from schemas.time import ms_of_time
    from sinks.clickhouse.client import StoreDown
    from sinks.clickhouse.exports import export_summary

    try:
        summary = export_summary(clickhouse_client(settings, timeout_s=10), since)
    except (StoreDown, ClickHouseError, OSError):
        summary = None
    secrets = destination_secrets(settings, destinations)
    rows = []
    for one in destinations:
        row: dict[str, Any] = {
            "destination": one.name,
            "through": one.through,
            "enabled": one.enabled,
            "conversions": {rule.goal: rule.event for rule in one.conversions},
            "lacks": missing_secret(one, secrets, settings),
        }
        if summary is not None:
            found = summary.get(one.name, {})
            last = found.get("last_sent_at")
            row |= {state: int(found.get(state, 0)) for state in ("sent", "refused", "withheld")}
            row["last_sent_at"] = text_of_ms(ms_of_time(last)) if last is not None and last.year > 1970 else None
        rows.append(row)
    return rows
