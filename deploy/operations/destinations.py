"""Loads the destinations of conversions, `destinations/` of the definitions, and builds what sends to them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.operations.definition_files import DefinitionError, each_loaded, load, position_of, touch_rules, yaml_files
from schemas.export.destinations import Destination
from schemas.spelling import suggestion

if TYPE_CHECKING:
    from deploy.settings import Settings
    from schemas.export.exports import ExportAdapter

FOLDER = "destinations"
_SECRETS: Mapping[str, str] = {
    "meta": "its access token",
    "tiktok": "its access token",
    "microsoft": "the token of the Conversions API",
}
"""What each network needs as its secret; the others need none."""


def load_destinations(settings: Settings, files: list[Path] | None = None) -> list[Destination]:
    """Read the destinations of a deployment, enabled or not, by name.

    Args:
        settings: Of the deployment.
        files: These files; None: those of the definitions.

    Raises:
        DefinitionError: A file is not valid, two have one name, or one names a goal that does not exist.
    """
    paths = yaml_files(settings.definitions_dir / FOLDER) if files is None else files
    goals = [goal.name for goal in touch_rules(settings).definitions.goals]
    found = each_loaded([lambda path=path: _load(path, goals) for path in paths])  # type: ignore[misc]
    by_name: dict[str, Path] = {}
    for path, destination in zip(paths, found, strict=True):
        if (other := by_name.setdefault(destination.name, path)) is not path:
            raise DefinitionError(f"{path}:1:1: destination: {destination.name} is the name of {other} too")
    return sorted(found, key=lambda one: one.name)


def enabled_destinations(settings: Settings) -> list[Destination]:
    """Read the destinations that are served.

    Raises:
        DefinitionError: As of `load_destinations`.
    """
    return [one for one in load_destinations(settings) if one.enabled]


def missing_secret(destination: Destination, secrets: Mapping[str, str], settings: Settings) -> str:
    """Say which secret a destination lacks; empty: none."""
    if (what := _SECRETS.get(destination.through)) and not secrets.get(destination.name):
        return f"THROUGHLINE_DESTINATION_SECRETS lacks {destination.name}=…, {what}"
    if destination.through == "webhook" and not settings.webhook_secret.get_secret_value():
        return "webhooks are signed: set THROUGHLINE_WEBHOOK_SECRET"
    return ""


def destination_secrets(settings: Settings, destinations: list[Destination]) -> dict[str, str]:
    """Read `THROUGHLINE_DESTINATION_SECRETS`, by destination.

    Raises:
        DefinitionError: A part of it has no secret, or names no destination.
    """
    found: dict[str, str] = {}
    names = [one.name for one in destinations]
    text = settings.destination_secrets.get_secret_value()
    for number, part in enumerate(filter(None, (part.strip() for part in text.split(","))), start=1):
        name, _, secret = part.partition("=")
        if name not in names or not secret:
            # The part itself is not shown: it may be a secret.
            raise DefinitionError(
                f"THROUGHLINE_DESTINATION_SECRETS: part {number} should be destination=secret, with one of"
                f" {', '.join(names) or 'no destination'}"
            )
        found[name] = secret
    return found


def adapter_of(destination: Destination, secrets: Mapping[str, str], settings: Settings) -> ExportAdapter | None:
    """Build what sends to a destination; None: it goes to a topic of Kafka, which the worker writes itself.

    Raises:
        DefinitionError: A secret is missing, or a file that it needs is wrong.
    """
    from sinks.channels.conversion_apis import MetaConversions, MicrosoftConversions, TikTokConversions
    from sinks.channels.conversion_webhook import ConversionWebhook
    from sinks.channels.google_conversions import GoogleConversions
    from sinks.channels.webhook import Destinations

    if missing := missing_secret(destination, secrets, settings):
        raise DefinitionError(f"{destination.name}: {missing}")
    secret = secrets.get(destination.name, "")
    try:
        if destination.meta is not None:
            return MetaConversions(destination.meta, secret)
        if destination.tiktok is not None:
            return TikTokConversions(destination.tiktok, secret)
        if destination.microsoft is not None:
            return MicrosoftConversions(destination.microsoft, secret)
        if destination.google is not None:
            return GoogleConversions(destination.google, secret)
        if destination.webhook is not None:
            signing = [one.strip() for one in settings.webhook_secret.get_secret_value().split(",")]
            allowed = Destinations(settings.webhook_hosts, settings.webhook_networks)
            return ConversionWebhook(destination.webhook, signing, allowed)
    except ValueError as error:
        raise DefinitionError(f"{destination.name}: {error}") from error
    return None


def adjusts(destination: Destination, secrets: Mapping[str, str]) -> bool:
    """Return whether a destination can be told adjustments: Google takes them with a developer token alone."""
    return destination.through != "google" or bool(secrets.get(destination.name))


def _load(path: Path, goals: list[str]) -> Destination:
    destination = load(path, Destination)
    for place, rule in enumerate(destination.conversions):
        if rule.goal not in goals:
            at = position_of(path, ("conversions", place, "goal"))
            hint = suggestion(rule.goal, goals)
            raise DefinitionError(f"{path}:{at}: conversions.{place}.goal: touches.yaml has no goal {rule.goal}{hint}")
    return destination
