"""Loads the transforms of sources, `transforms/` of the definitions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from deploy.operations.definition_files import DefinitionError, load, position_of, yaml_files
from deploy.settings import Settings
from processors.intake.transform import Transforms
from schemas.intake.sources import Source
from schemas.intake.transforms import Transform
from schemas.spelling import suggestion


def load_transform(path: Path) -> Transform:
    """Read one transform.

    Raises:
        DefinitionError: The file is not valid.
    """
    return load(path, Transform)


def load_transforms(settings: Settings, sources: Mapping[str, Source]) -> dict[str, Transform]:
    """Read the transforms that sources name, by source.

    Raises:
        DefinitionError: A file is not valid or does not exist, or the transform of a source with a public key gives
            that key more rights.
    """
    files = {path.stem: path for path in yaml_files(settings.definitions_dir / "transforms")}
    found = {}
    for name, source in sources.items():
        if source.transform is None:
            continue
        where = f"{settings.sources_file}:{position_of(settings.sources_file, ('sources', name, 'transform'))}"
        path = files.get(source.transform)
        if path is None:
            meant = suggestion(source.transform, files)
            folder = settings.definitions_dir / "transforms"
            raise DefinitionError(f"{where}: sources.{name}.transform: {folder} has no {source.transform}.yaml{meant}")
        found[name] = transform = load_transform(path)
        if source.kind == "browser":
            _check_rights(f"{where}: sources.{name}.transform: {path}", transform)
    return found


def _check_rights(where: str, transform: Transform) -> None:
    """Refuse a transform by which a browser's source gets more rights than its key has.

    Raises:
        DefinitionError: It writes identifiers, consent or the channel, or takes an event's name from the event.
    """
    if forbidden := transform.roots() & {"identifiers", "channel", "consent"}:
        raise DefinitionError(
            f"{where} writes {min(forbidden)}: anybody has the key of a browser's source, and could be anybody by it"
        )
    if any(step.names_freely() for step in transform.steps):
        raise DefinitionError(
            f"{where} takes the event's name from the event: anybody has the key of a browser's source, and could send "
            "what only a server may; write a constant, or a lookup"
        )


def transforms_in_force(
    settings: Settings, sources: Mapping[str, Source], last: Transform | None = None
) -> Transforms | None:
    """Return the transforms of a deployment, minor units of sources included; None where there are none.

    Args:
        settings: Of the deployment.
        sources: Its sources.
        last: A transform for the events of all sources, after their own.

    Raises:
        DefinitionError: As `load_transforms`.
    """
    found = load_transforms(settings, sources)
    secret = settings.identity_secret.get_secret_value().encode()
    units = {name: places for name, source in sources.items() if (places := source.minor_unit_places)}
    currencies = {name: source.currency for name, source in sources.items() if source.currency}
    if not (found or last or units or currencies):
        return None
    return Transforms(found, secret, last, units, currencies)
