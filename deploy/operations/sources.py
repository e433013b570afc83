"""Loads the sources that may publish over HTTP, and builds the `Collect` of a deployment."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from deploy.operations.definition_files import DefinitionError, load
from deploy.operations.plans import plan_in_force
from deploy.operations.transforms import transforms_in_force
from deploy.settings import Settings
from processors.intake.collect import Collect
from processors.intake.routing import routing_key
from processors.intake.validation_mark import ValidationMark
from schemas.intake.sources import Source, SourceDefinitions
from schemas.intake.transforms import Transform


def load_sources(settings: Settings) -> Mapping[str, Source]:
    """Read the sources of a deployment, by name.

    Raises:
        DefinitionError: The file is not valid, or the channel of a source that may send is not one of the deployment.
    """
    sources = load(settings.sources_file, SourceDefinitions).sources
    # A source without a key or secret sends nothing over HTTP: those that are shipped must not stop a deployment that
    # has fewer channels.
    given = f"{settings.write_keys.get_secret_value()},{settings.hook_secrets.get_secret_value()}".split(",")
    senders = {part.partition("=")[0].partition(":")[0].strip() for part in given}
    for name, source in sources.items():
        if name in senders and source.channel not in settings.channels:
            raise DefinitionError(
                f"{settings.sources_file}: sources.{name}.channel: {source.channel!r} is not in THROUGHLINE_CHANNELS"
            )
    return sources


def collect_for(settings: Settings, last: Transform | None = None) -> Collect:
    """Return the `Collect` of this deployment, which turns events of requests into records.

    Args:
        settings: Of the deployment.
        last: A transform for the events of all sources, after their own.

    Raises:
        DefinitionError: The tracking plan or a transform is not valid.
    """
    secret = settings.identity_secret.get_secret_value().encode()
    plan, transforms = plan_in_force(settings), transforms_in_force(settings, load_sources(settings), last)
    rules = (plan.digest if plan else b"") + (transforms.digest if transforms else b"")
    return Collect(
        channels=frozenset(settings.channels),
        max_event_bytes=settings.max_event_bytes,
        key=partial(routing_key, secret=secret),
        topic_prefix=settings.topic_prefix,
        mark=ValidationMark(secret, rules=rules),
        plan=plan,
        transforms=transforms,
    )
