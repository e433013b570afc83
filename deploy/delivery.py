"""Puts the stage `deliver` together: its ledger, its templates, its adapters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from deploy.configuration import DefinitionError, load
from deploy.journeys import load_templates
from deploy.settings import Settings
from processors.delivery import Adapter, Deliver, DeliveryLedger
from processors.ports import Publisher
from processors.profile_update import load as read_profile
from processors.recommend import Recommender, Related
from schemas.delivery import DeliveryDefinitions
from schemas.profile import StoredProfile
from sinks.smtp import SmtpAdapter
from sinks.webhook import Destinations, WebhookAdapter


class Profiles(Protocol):
    """The profile store."""

    async def get(self, profile_id: str) -> StoredProfile | None:
        """A person's live profile; None when they were erased."""


class _People:
    """Profiles as documents."""

    def __init__(self, profiles: Profiles) -> None:
        self._profiles = profiles

    async def document(self, profile_id: str) -> dict[str, Any] | None:
        stored = await self._profiles.get(profile_id)
        return None if stored is None else read_profile(stored)


def build_deliver(
    settings: Settings, *, ledger: DeliveryLedger, publisher: Publisher, profiles: Profiles, related: Related,
    clock: Callable[[], int], at: Callable[[str], None],
) -> Deliver:  # fmt: skip
    """Read the definitions and make the stage.

    Raises:
        DefinitionError: A file is wrong, or names what the settings do not have.
    """
    definitions = load(settings.delivery_file, DeliveryDefinitions)
    return Deliver(
        ledger,
        publisher,
        people=_People(profiles),
        recommendations=Recommender(related),
        templates=load_templates(settings.definitions_dir / "templates"),
        definitions=definitions,
        adapters=adapters(settings, definitions),
        clock=clock,
        timezone=settings.timezone,
        at=at,
    )


def adapters(settings: Settings, definitions: DeliveryDefinitions) -> dict[str, Adapter]:
    """Make an adapter for each way out that is in use.

    Raises:
        DefinitionError: A setting that it needs is missing or wrong.
    """
    found: dict[str, Adapter] = {}
    try:
        if any(route.through == "smtp" for route in definitions.channels.values()):
            url = settings.smtp_url.get_secret_value()
            found["smtp"] = SmtpAdapter(url, definitions.sender, reply_to=definitions.reply_to or "")
        destinations = Destinations(settings.webhook_hosts, settings.webhook_networks)
        secrets = [one.strip() for one in settings.webhook_secret.get_secret_value().split(",")]
        for name, target in definitions.webhooks.items():
            found[f"webhook:{name}"] = WebhookAdapter(target, secrets, destinations)
    except ValueError as error:
        raise DefinitionError(f"{settings.delivery_file}: {error}") from error
    return found
