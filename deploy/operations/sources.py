"""Loads the sources that may publish over HTTP, and builds the `Collect` of a deployment."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from deploy.operations.definition_files import DefinitionError, load
from deploy.operations.plans import plan_in_force
from deploy.settings import Settings
from processors.intake.collect import Collect
from processors.intake.routing import routing_key
from processors.intake.validation_mark import ValidationMark
from schemas.intake.sources import Source, SourceDefinitions


def load_sources(settings: Settings) -> Mapping[str, Source]:
    """Read the sources of a deployment, by name.

    Raises:
        DefinitionError: The file is not valid, or a source's channel is not one of the deployment.
    """
    sources = load(settings.sources_file, SourceDefinitions).sources
    for name, source in sources.items():
        if source.channel not in settings.channels:
            raise DefinitionError(
                f"{settings.sources_file}: sources.{name}.channel: {source.channel!r} is not in THROUGHLINE_CHANNELS"
            )
    return sources


def collect_for(settings: Settings) -> Collect:
    """Return the `Collect` of this deployment, which turns events of requests into records.

    Raises:
        DefinitionError: The tracking plan is not valid.
    """
    secret = settings.identity_secret.get_secret_value().encode()
    plan = plan_in_force(settings)
    return Collect(
        channels=frozenset(settings.channels),
        max_event_bytes=settings.max_event_bytes,
        key=partial(routing_key, secret=secret),
        topic_prefix=settings.topic_prefix,
        mark=ValidationMark(secret, plan=plan.digest if plan else b""),
        plan=plan,
    )
