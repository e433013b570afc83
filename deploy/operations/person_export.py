"""Reads all that is known of one person: the page of the profile, and the export of all data."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from deploy.operations.deployment import Deployment
from deploy.operations.erasure import expired_before
from deploy.operations.person_lookup import PersonStores, UnknownPersonError
from deploy.operations.person_page import read_person_page
from deploy.settings import Settings
from schemas.time import clock_ms, text_of_ms
from sinks.clickhouse.history import read_events
from sinks.clickhouse.identity_log import read_changes


async def read_person(stores: PersonStores, settings: Settings, profile_id: str, tables: Any = None) -> dict[str, Any]:
    """Describe a person: the page of `person_page.py`, `identifiers` (number by type) and `version`.

    Args:
        stores: Open.
        settings: Of the deployment.
        profile_id: The live profile.
        tables: A client of the deployment's database; None: one is opened.

    Raises:
        UnknownPersonError: The person was erased.
    """
    stored = await stores.profiles.get(profile_id)
    if stored is None:
        raise UnknownPersonError(f"{profile_id}: this person was erased", erased=True)
    kinds = Counter(kind for _, kind in await stores.identities.members(profile_id))
    page = await read_person_page(stored, settings, clock_ms(), tables)
    return {**page, "identifiers": dict(kinds), "version": stored.version}


async def export_person(deployment: Deployment, profile_id: str) -> dict[str, Any]:
    """Return all data of a person as JSON values: profile, identifiers, identity changes, every event.

    `expired` has the events of anonymous people who expired and whose devices are this person's now: reports do not
    take them for the same person, but nobody else can ask for them.

    Raises:
        UnknownPersonError: The person was erased.
    """
    members = await deployment.identities.members(profile_id)
    changes = await asyncio.to_thread(read_changes, deployment.tables, profile_id, [anchor for anchor, _ in members])
    return {
        "profile": await read_person(deployment, deployment.settings, profile_id, deployment.tables),
        "identifiers": [{"anchor": anchor, "type": kind} for anchor, kind in members],
        "identity_changes": [{**change, "occurred_at": text_of_ms(change.pop("occurred_ms"))} for change in changes],
        "events": await asyncio.to_thread(read_events, deployment.tables, profile_id),
        "expired": [
            {
                "profile_id": one.profile_id,
                "expired_at": text_of_ms(one.at_ms),
                "events": await asyncio.to_thread(read_events, deployment.tables, one.profile_id),
            }
            for one in await expired_before(deployment, profile_id)
        ],
    }
