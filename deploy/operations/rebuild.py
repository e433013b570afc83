"""Rebuilds live profiles from history, while events keep coming.

Why no event is lost or counted twice: the version of the profile is read first, then the recorder is waited for, so the
history that is read next contains every event of the profile. The profile is replaced only if its version is still the
same, and the replacement marks all events of the history as applied. An event that comes later is applied as usual; an
event that came meanwhile has changed the version, and the rebuild starts again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from deploy.connections.redis import async_redis_client
from deploy.operations.catalogue_history import read_catalogue
from deploy.operations.deployment import Deployment, Progress
from deploy.operations.engines import Definitions, former_journeys, load_sound_definitions
from deploy.operations.publication import settings_in_force, state_in_force
from deploy.operations.roles import Role
from deploy.settings import Settings
from processors.decisions.engine import DecisionEngine
from processors.identity.claims import all_claims
from processors.profiles.catalogue_history import NO_CATALOGUE
from processors.profiles.document import read_profile
from processors.profiles.rebuild import may_lack_events, rebuild, refill, replacement, restore, state_anew
from processors.segments.preview import history_of
from schemas.journeys.definitions import Journey
from schemas.segments.conditions import SegmentHistory
from schemas.time import clock_ms, ms_of_time
from sinks.clickhouse.history import read_events
from sinks.clickhouse.retention import whole_since
from sinks.redis.deduplication import TTL_S
from sinks.redis.definitions import RedisDefinitions

MAX_ATTEMPTS = 20

HistoryOf = Callable[[str, list[dict[str, Any]], int], SegmentHistory]
"""Returns the memberships of a person by their events, up to a time in milliseconds."""


class NotRebuiltError(Exception):
    """A profile could not be rebuilt and is unchanged; the message says why and what to do."""


async def load_rebuild_decider(settings: Settings) -> DecisionEngine:
    """Build the decision engine that the profile workers run, without pauses and stops.

    Raises:
        DefinitionError: A definition file is not valid.
        redis.RedisError: Redis does not answer.
    """
    definitions, former = await load_rebuild_definitions(settings)
    return definitions.decider(archive=former)


async def load_rebuild_definitions(settings: Settings) -> tuple[Definitions, dict[str, Journey]]:
    """Load the definitions in force, and the former versions of journeys.

    Raises:
        DefinitionError: A definition file is not valid.
        redis.RedisError: Redis does not answer.
    """
    async with async_redis_client(settings, timeout_s=30) as client:
        store = RedisDefinitions(client, settings.redis_namespace)
        at = await settings_in_force(settings, store, await state_in_force(settings, store))
        definitions = await asyncio.to_thread(load_sound_definitions, at)
        return definitions, former_journeys(await store.archived())


async def rebuild_people(
    deployment: Deployment,
    profile_ids: Iterable[str],
    *,
    timeout_s: float,
    after_version: int = 0,
    decider: DecisionEngine | None = None,
    split: bool = False,
    history: HistoryOf | None = None,
    progress: Progress = lambda _: None,
) -> dict[str, int]:
    """Rebuild profiles.

    Where events of a person may have expired, the profile stays and its segments are evaluated anew; a split has to do
    with what is left.

    Args:
        deployment: Open.
        profile_ids: The profiles to rebuild.
        timeout_s: Longest time of each wait for the workers, in seconds.
        after_version: Version of an identity change that must be in ClickHouse before history is read; 0: none.
        decider: Evaluates the segments anew; without it they stay as they are.
        split: The people were one: their journeys and messages are replayed, since their state is that of both. Else
            the decisions that were taken stay.
        history: Dates memberships by history; None: their changes are of now.
        progress: Called with the name of what is being waited for.

    Returns:
        How many events each profile was rebuilt from, by profile id; an erased person is left out.

    Raises:
        NotRebuiltError: The workers did not catch up in time, or the profile changed in every attempt.
    """
    # Identify may have resolved events before the change; once it has committed them, the recorder can be waited for.
    await wait_for(deployment, "identify", timeout_s, progress)
    if after_version and not await deployment.wait_for_version(after_version, timeout_s, progress):
        raise NotRebuiltError(
            f"the change of identity did not reach ClickHouse within {timeout_s:g} s: do the workers run?"
            " `throughline status` shows them"
        )
    return {
        found[0]: found[1]
        for profile_id in profile_ids
        if (found := await _rebuild(deployment, profile_id, timeout_s, decider, split, history, progress))
    }


async def _rebuild(
    deployment: Deployment,
    profile_id: str,
    timeout_s: float,
    decider: DecisionEngine | None,
    split: bool,
    history: HistoryOf | None,
    progress: Progress,
) -> tuple[str, int] | None:
    for _ in range(MAX_ATTEMPTS):
        stored = await deployment.profiles.get(profile_id)
        if stored is None:
            return None
        await wait_for(deployment, "record", timeout_s, progress)
        progress("history")
        events = await asyncio.to_thread(read_events, deployment.tables, stored.profile_id)
        catalogue = NO_CATALOGUE
        if decider is not None:
            catalogue = await asyncio.to_thread(read_catalogue, deployment.tables, decider.segments)
        received = catalogue.around(stored.profile_id, events)
        foreign = await separated_identifiers(deployment, stored.profile_id, events)
        now_ms = clock_ms()
        if decider is None or split:
            rebuilt = rebuild(stored.profile_id, received, foreign=foreign, decider=decider, until_ms=now_ms)
            if decider is not None:
                names = decider.segments.names
                happened = catalogue.around(stored.profile_id, events, "occurred_at")
                changes = history_of(decider.segments, stored.profile_id, happened, now_ms)
                rebuilt = state_anew(stored, rebuilt, decider, now_ms, SegmentHistory(names, changes, names))
        elif may_lack_events(read_profile(stored), await whole_since_ms(deployment)):
            dated = history(stored.profile_id, events, now_ms) if history else None
            refilled = refill(stored, received, decider, now_ms, dated, partial=True)
            assert refilled is not None  # which is for events that are all there
            rebuilt = refilled
        else:
            dated = history(stored.profile_id, events, now_ms) if history else None
            rebuilt = restore(stored, received, decider, now_ms, foreign=foreign, history=dated)
        since_ms = now_ms - TTL_S * 1000
        change = replacement(stored, rebuilt, decided=decider is not None, marked_since_ms=since_ms)
        if await deployment.profiles.replace(change):
            return stored.profile_id, rebuilt.event_count or len(events)
    raise NotRebuiltError(f"profile {profile_id} kept changing: try again when its events come less fast")


async def whole_since_ms(deployment: Deployment) -> int:
    """Return since when all events are there with all that they said, milliseconds since 1970; 0: since ever."""
    found = await asyncio.to_thread(whole_since, deployment.tables)
    return ms_of_time(found) if found else 0


async def separated_identifiers(
    deployment: Deployment, profile_id: str, events: Iterable[dict[str, Any]]
) -> set[tuple[str, str]]:
    """Return the identifiers in a person's events that belong to a profile which was separated from this one."""
    owners: dict[tuple[str, str], str] = {}
    for kind, value in {(one["type"], one["value"]) for event in events for one in event["identifiers"]}:
        for made in all_claims(kind, value, deployment.policy, deployment.secret):
            owner = await deployment.identities.owner(made.identifier_hash)
            if owner is not None:
                if owner != profile_id:
                    owners[kind, value] = owner
                break
    separated = await deployment.identities.separated(profile_id, sorted(set(owners.values())))
    return {identifier for identifier, owner in owners.items() if owner in separated}


async def wait_for(deployment: Deployment, role: Role, timeout_s: float, progress: Progress) -> None:
    """Wait until the workers of a role have handled what is published now.

    Raises:
        NotRebuiltError: They have not after `timeout_s` seconds.
    """
    left = await deployment.catch_up(role, timeout_s, progress)
    if left:
        raise NotRebuiltError(
            f"{role} still had {left:,} records to handle after {timeout_s:g} s: does it run?"
            " `throughline status` shows them"
        )
