"""Suppresses a person: withdraws consent on every channel, by an event like any other, so that all stores follow."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import orjson

from deploy.operations.deployment import Deployment
from deploy.operations.publish import publish
from processors.identity.claims import all_claims
from schemas.time import clock_ms, text_of_ms
from sinks.clickhouse.history import read_events

SOURCE = "console"
_BEST_FIRST = ("user_id", "email", "phone")


class NotSuppressibleError(Exception):
    """The person cannot be suppressed now; the message says why."""


async def suppression_event(deployment: Deployment, profile_id: str) -> dict[str, Any]:
    """Return the event that withdraws a person's consent on every channel; nothing is published.

    Raises:
        NotSuppressibleError: No identifier of the person is known in clear, which an event needs.
    """
    named = await _identifier(deployment, profile_id)
    if named is None:
        raise NotSuppressibleError("no identifier of this person is known in clear, so no event can name them")
    channels = sorted({one for one in deployment.settings.channels if len(one) <= 50})
    return {
        "event": "Consent Updated",
        "channel": "api" if "api" in deployment.settings.channels else deployment.settings.channels[0],
        "source": SOURCE,
        "identifiers": {named[0]: named[1]},
        "consent": {"marketing": False, "channels": dict.fromkeys(channels, False)},
    }


async def suppress_person(deployment: Deployment, profile_id: str, by: str) -> str:
    """Publish the event; the person gets no marketing once the profile worker has read it.

    Args:
        deployment: Open.
        profile_id: The live profile.
        by: Who does it.

    Returns:
        The id of the event.

    Raises:
        NotSuppressibleError: As `suppression_event`, or Kafka did not take it.
    """
    event = await suppression_event(deployment, profile_id)
    whole: Mapping[str, Any] = {
        "event_id": f"console-{uuid4()}",
        "occurred_at": text_of_ms(clock_ms()),
        "properties": {"by": by},
        **event,
    }
    outcome = await asyncio.to_thread(publish, [orjson.dumps(whole)], deployment.settings)
    if not outcome.ok:
        raise NotSuppressibleError("; ".join(outcome.problems) or "Kafka did not take the event")
    return str(whole["event_id"])


async def _identifier(deployment: Deployment, profile_id: str) -> tuple[str, str] | None:
    """Return an identifier in clear that leads to the person, from the latest events."""
    events = await asyncio.to_thread(read_events, deployment.tables, profile_id)
    named = dict.fromkeys((one["type"], one["value"]) for event in reversed(events) for one in event["identifiers"])
    for kind, value in sorted(named, key=lambda one: one[0] not in _BEST_FIRST):
        for made in all_claims(kind, value, deployment.policy, deployment.secret, SOURCE):
            if await deployment.identities.owner(made.identifier_hash) == profile_id:
                return kind, value
    return None
