"""Sends a broadcast to one's own address, as a person or a sample person would get it."""

from __future__ import annotations

from deploy.operations.broadcasts import find_broadcast
from deploy.operations.definitions_report import DefinitionsReport
from deploy.operations.deployment import Deployment
from deploy.operations.message_preview import Preview, preview_for
from deploy.operations.message_tests import NotSentError, send_test
from deploy.operations.person_lookup import find_person
from schemas.journeys.broadcasts import MESSAGE, Broadcast

SAMPLE_ID = "00000000-0000-4000-8000-000000000000"
"""Nobody has it: a person of whom nothing is known."""


async def preview_broadcast(
    deployment: Deployment, report: DefinitionsReport, broadcast: Broadcast, *, who: str = "", variant: str = ""
) -> list[Preview]:
    """Render a message of a broadcast on each of its channels.

    Args:
        deployment: Open.
        report: What is in force.
        broadcast: The broadcast.
        who: A person, as `find_person` takes it; empty: a sample person.
        variant: A variant of its split; empty: the first.

    Raises:
        NotSentError: There is no such variant.
        UnknownPersonError: There is no such person.
    """
    journey = broadcast.as_journey()
    names = [one.name for one in broadcast.split.variants] if broadcast.split else [MESSAGE]
    wanted = variant or names[0]
    if wanted not in names:
        raise NotSentError(f"there is no variant {wanted}; there are {', '.join(names)}")
    profile_id = (await find_person(deployment, who)).profile_id if who else SAMPLE_ID
    found: list[Preview] = []
    for step in broadcast.message_steps(wanted):
        previews, _ = await preview_for(deployment, report, journey, step, profile_id)
        found += previews
    return found


async def send_broadcast_test(
    deployment: Deployment, report: DefinitionsReport, name: str, address: str, *, who: str = "", variant: str = ""
) -> str:
    """Send a broadcast to an address, and return the subject.

    Raises:
        NotPublishedError: No broadcast in force has that name.
        NotSentError: It was not sent.
    """
    found = await preview_broadcast(deployment, report, find_broadcast(report, name), who=who, variant=variant)
    await send_test(deployment.settings, found, address)
    return next((one.rendered.subject for one in found if one.rendered is not None and one.rendered.subject), name)
