"""Loads the mappings of webhooks, `hooks/` of the definitions, and finds the secrets of the sources that use them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from deploy.operations.definition_errors import definition_errors
from deploy.operations.definition_files import DefinitionError, load, position_of, yaml_files
from deploy.settings import DEFINITIONS, Settings
from processors.intake.mapping import CompiledMapping
from processors.intake.webhook_signatures import SCHEMES, Secrets, SignatureScheme
from schemas.intake import mappings
from schemas.intake.sources import Source
from schemas.spelling import suggestion


class Hook(NamedTuple):
    """A source whose webhooks are read.

    Attributes:
        name: The source's name.
        source: The source.
        mapping: Makes touchpoints of its payloads.
        scheme: Checks their signatures.
        options: What the scheme is told.
        secrets: The secrets of the source; empty: it can send nothing.
    """

    name: str
    source: Source
    mapping: CompiledMapping
    scheme: SignatureScheme
    options: Any
    secrets: Secrets


def load_mapping(path: Path) -> CompiledMapping:
    """Read one mapping.

    Raises:
        DefinitionError: The file is not valid.
    """
    mapping = CompiledMapping(load(path, mappings.Mapping))
    if mapping.definition.signature is not None:
        _scheme(path, mapping.definition.signature)
    return mapping


def mapping_files(settings: Settings) -> dict[str, Path]:
    """Return the files of the mappings, by name: the shipped ones, and those of the deployment in their place."""
    folders = (DEFINITIONS / "hooks", settings.definitions_dir / "hooks")
    return {path.stem: path for folder in folders for path in yaml_files(folder)}


def load_hooks(settings: Settings, sources: Mapping[str, Source]) -> dict[str, Hook]:
    """Read the webhook sources of a deployment, by name.

    Args:
        settings: Of the deployment.
        sources: Its sources; those with a `hook` are webhook sources.

    Raises:
        DefinitionError: A mapping or the setting of the secrets is not valid, or a source names a mapping that does not
            exist.
    """
    found = {name: source for name, source in sources.items() if source.hook}
    secrets = hook_secrets(settings.hook_secrets.get_secret_value(), found)
    if not found:
        return {}
    files = mapping_files(settings)
    hooks = {}
    for name, source in found.items():
        path = files.get(source.hook or "")
        if path is None:
            position = position_of(settings.sources_file, ("sources", name, "hook"))
            raise DefinitionError(
                f"{settings.sources_file}:{position}: sources.{name}.hook: there is no mapping {source.hook} in "
                f"{settings.definitions_dir / 'hooks'}: {', '.join(files) or 'it has no file'}"
            )
        mapping = load_mapping(path)
        signature = mapping.definition.signature
        if signature is None:
            raise DefinitionError(
                f"{path}:1: signature: is missing: anybody could send in the name of {name}. Where a vendor signs "
                "nothing, use {scheme: basic_auth}, or {scheme: header, header: X-Token}"
            )
        scheme, options = _scheme(path, signature)
        hooks[name] = Hook(name, source, mapping, scheme, options, secrets.get(name, {}))
    return hooks


def hook_secrets(setting: str, hooks: Mapping[str, Source]) -> dict[str, dict[str, tuple[str, ...]]]:
    """Read `THROUGHLINE_HOOK_SECRETS`: `source=secret` or `source:part=secret`, comma-separated.

    Returns:
        By source, the secrets of each part; the part is empty where none is named.

    Raises:
        DefinitionError: A part of the setting has no secret, or its source is no webhook source.
    """
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for number, text in enumerate(filter(None, (text.strip() for text in setting.split(","))), start=1):
        place, _, secret = text.partition("=")
        name, _, part = place.partition(":")
        if name not in hooks or not secret:
            known = ", ".join(hooks) or "none"
            # The text itself is not shown: it may be a secret.
            raise DefinitionError(
                f"THROUGHLINE_HOOK_SECRETS: part {number} should be source=secret, with one of the sources that have "
                f"a hook: {known}"
            )
        parts = found.setdefault(name, {})
        parts[part] = (*parts.get(part, ()), secret)
    return found


def _scheme(path: Path, signature: mappings.SignatureCheck) -> tuple[SignatureScheme, Any]:
    """Return the scheme of a mapping and its options, checked."""
    scheme = SCHEMES.get(signature.scheme)
    if scheme is None:
        position = position_of(path, ("signature", "scheme"))
        raise DefinitionError(
            f"{path}:{position}: signature.scheme: there is no scheme {signature.scheme}"
            f"{suggestion(signature.scheme, SCHEMES)}"
        )
    try:
        return scheme, scheme.options.model_validate(signature.options)
    except ValidationError as invalid:
        found = definition_errors(invalid, signature.options, scheme.options)
        places = [(("signature", *where), message) for where, message in found]
        raise DefinitionError(
            "\n".join(
                f"{path}:{position_of(path, place)}: {'.'.join(map(str, place))}: {text}" for place, text in places
            )
        ) from invalid
