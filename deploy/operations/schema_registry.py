"""The schema registry of a deployment: its client, and our JSON Schema registered in it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from deploy.operations.definition_files import DefinitionError
from deploy.settings import Settings
from schemas.events.json_schema import text
from schemas.topics import touchpoint_topic
from sinks.kafka.schema_registry import SchemaRegistryClient

_NEEDED = ("fastavro", "google.protobuf")


def registry_client(settings: Settings) -> SchemaRegistryClient:
    """Return the client of the registry that is set.

    Raises:
        DefinitionError: None is set, or the packages that read its schemas are missing.
    """
    if not settings.schema_registry_url:
        raise DefinitionError("no schema registry is set: set THROUGHLINE_SCHEMA_REGISTRY_URL")
    if missing := [name for name in _NEEDED if not _is_installed(name)]:
        raise DefinitionError(
            f"THROUGHLINE_SCHEMA_REGISTRY_URL needs {' and '.join(missing)}: install throughline[registry]"
        )
    return SchemaRegistryClient(settings.schema_registry_url, settings.schema_registry_auth.get_secret_value())


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # a package around it is missing
        return False


async def register_touchpoint_schema(settings: Settings, channels: Sequence[str]) -> dict[str, int]:
    """Register the JSON Schema of touchpoints as the value of the topics of some channels; return ids by subject.

    Raises:
        DefinitionError: No registry is set.
        RegistryDown: It does not answer, or refuses the schema.
    """
    client = registry_client(settings)
    try:
        subjects = [f"{settings.topic_prefix}{touchpoint_topic(channel)}-value" for channel in channels]
        schema = text()
        return {subject: await client.register(subject, schema) for subject in subjects}
    finally:
        await client.close()


async def count_subjects(settings: Settings) -> int:
    """Return how many subjects the registry has.

    Raises:
        DefinitionError: No registry is set, or packages are missing.
        RegistryDown: It does not answer.
    """
    client = registry_client(settings)
    try:
        return await client.subjects()
    finally:
        await client.close()
