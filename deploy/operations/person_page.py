"""The page of one person: the profile, and a summary by the definitions in force and by all stored events."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from clickhouse_connect.driver.exceptions import ClickHouseError

from deploy.connections.clickhouse import clickhouse_client
from deploy.connections.redis import async_redis_client
from deploy.operations.definition_files import DefinitionError, load_territory
from deploy.operations.engines import load_message_policy, load_segments
from deploy.operations.publication import settings_in_force, state_in_force
from deploy.settings import Settings
from processors.decisions.reach import obstacles
from processors.profiles.view import view
from processors.segments.summary import Summarizer, coupons, product_ids, product_names
from schemas.decisions.policy import MessagePolicy
from schemas.profiles.document import StoredProfile
from schemas.segments.definitions import SegmentDefinitions
from schemas.territory import ONE_TERRITORY
from sinks.clickhouse.client import StoreDown
from sinks.clickhouse.history import read_events, read_product_names
from sinks.redis.definitions import RedisDefinitions


async def read_person_page(
    stored: StoredProfile, settings: Settings, now_ms: int, tables: Any = None
) -> dict[str, Any]:
    """Describe a person by the definitions in force, all stored events and the catalogue; see `person_page`.

    Without ClickHouse the page has what Redis has.

    Args:
        stored: The live profile.
        settings: Of the deployment.
        now_ms: The time.
        tables: A client of the deployment's database; None: one is opened.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    events, catalogue = await asyncio.to_thread(_history, stored.profile_id, settings, tables)
    incomplete = ""
    async with async_redis_client(settings, timeout_s=10) as client:
        definitions = RedisDefinitions(client, settings.redis_namespace)
        try:
            settings = await settings_in_force(settings, definitions, await state_in_force(settings, definitions))
        except (DefinitionError, StoreDown, ClickHouseError) as error:
            reason = str(error).strip().partition("\n")[0]
            incomplete = f"segments and policy are those of the files here; which are in force is not known: {reason}"
    page = await asyncio.to_thread(person_page, stored, events, settings, now_ms, catalogue)
    if incomplete:
        page["summary"]["incomplete"].append(incomplete)
    return page


def _history(profile_id: str, settings: Settings, tables: Any) -> tuple[list[dict[str, Any]] | None, dict[str, str]]:
    """Read a person's events and the names of their products; None while ClickHouse is down or has no tables yet."""
    try:
        client = tables or clickhouse_client(settings)
        try:
            events = read_events(client, profile_id)
            return events, read_product_names(client, product_ids(events))
        finally:
            if tables is None:
                client.close()
    except (StoreDown, ClickHouseError):
        return None, {}


def person_page(
    stored: StoredProfile,
    events: Sequence[dict[str, Any]] | None,
    settings: Settings,
    now_ms: int,
    catalogue: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Describe a person.

    Args:
        stored: The live profile.
        events: All events of the person; None: they cannot be read now.
        settings: Of the deployment, or those by which the definitions in force are read.
        now_ms: The time.
        catalogue: Names of products, which go before those of the events.

    Returns:
        The sections of `processors.profiles.view.view`, and `summary`: that of `Summarizer`, `reach` (why not, by
        channel; empty: reachable), `coupons`, `product_names`, and `incomplete`: what is missing of it, and why.
    """
    incomplete = []
    try:
        definitions, policy, territory = (
            load_segments(settings),
            load_message_policy(settings),
            load_territory(settings),
        )
    except DefinitionError as error:
        definitions, policy, territory = SegmentDefinitions(), MessagePolicy(), ONE_TERRITORY
        incomplete.append(
            f"segments, policy and markets are not those of the deployment, whose files have errors: {error}"
        )
    if events is None:
        incomplete.append("names of products, interests, hours and coupons: ClickHouse, which has the events, is down")
    summarizer = Summarizer(definitions, territory)
    person = summarizer.person(stored)
    segments = frozenset(person.state.get("segments", {}).get("in", {}))
    return {
        **view(person.document),
        "summary": {
            **summarizer.summarize(person, events or (), now_ms),
            "reach": obstacles(policy, person, segments, now_ms),
            "coupons": coupons(events or ()),
            "product_names": {**product_names(events or ()), **(catalogue or {})},
            "incomplete": incomplete,
        },
    }
