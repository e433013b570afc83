"""Describes and tries webhook sources, and lints their mappings: what `throughline hooks` shows, without a server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from deploy.operations.definition_files import DefinitionError, position_of
from deploy.operations.hooks import load_hooks, load_mapping, mapping_files
from deploy.operations.sources import collect_for, load_sources
from deploy.settings import Settings
from processors.intake.mapping import CompiledMapping, Payload, form_fields
from processors.intake.segment_calls import Arrival
from schemas.events.touchpoint import EVENT_NAMES
from schemas.intake.mappings import SCOPE, ValueMapping
from schemas.intake.sources import Source
from schemas.outcomes import Reject
from schemas.spelling import known_names, nearest_names
from schemas.topics import DEAD_LETTERS


class PayloadError(Exception):
    """What should be a payload is neither JSON nor a form."""


class Trial(NamedTuple):
    """What comes of a payload.

    Attributes:
        touchpoints: Valid events in their canonical form.
        ignored: How many records are ignored, by reason.
        refused: Refusals, as the collector's answer names them.
        missing_headers: Headers that the mapping reads and that are not given.
    """

    touchpoints: list[dict[str, Any]]
    ignored: dict[str, int]
    refused: list[dict[str, Any]]
    missing_headers: list[str]


def describe_hooks(settings: Settings) -> list[dict[str, Any]]:
    """Describe each webhook source.

    Raises:
        DefinitionError: A definition or the setting of the secrets is not valid.
    """
    hooks = load_hooks(settings, load_sources(settings))
    rows = []
    for name, hook in hooks.items():
        definition = hook.mapping.definition
        rows.append(
            {
                "source": name,
                "mapping": hook.source.hook,
                "channel": hook.source.channel,
                "signature": definition.signature.scheme if definition.signature else "",
                "secrets": sum(map(len, hook.secrets.values())),
                "path": f"/v1/hooks/{name}",
                "events": sorted({event for rule in definition.events for event in _constants(rule.event)}),
            }
        )
    return rows


def try_payload(
    settings: Settings, name: str, raw: bytes, headers: Mapping[str, str], query: Mapping[str, str]
) -> Trial:
    """Map a payload and validate what comes of it, as the collector does; publish nothing.

    Args:
        settings: The deployment.
        name: A webhook source, the name of a mapping, or the path of one.
        raw: The payload.
        headers: Headers of the request, in any spelling.
        query: Parameters of its address.

    Raises:
        DefinitionError: There is no such mapping, or it is not valid.
        PayloadError: The payload is neither JSON nor a form.
    """
    source_name, source, mapping = _mapping_of(settings, name)
    lower = {header.lower(): value for header, value in headers.items()}
    now = datetime.now(UTC)
    payload = Payload(_parsed(raw), now, lower, query)
    records, collect = mapping.records(payload), collect_for(settings)
    if isinstance(records, Reject):
        collected = collect.unmapped(source_name, source, mapping, payload, records, Arrival(now, None, "try"))
    else:
        arrivals = [Arrival(now, None, f"try-{number}") for number in range(len(records))]
        collected = collect.records(source_name, source, mapping, records, arrivals)
        if not records:
            collected.ignored["it holds no record"] += 1
    touchpoints = [orjson.loads(one.value) for one in collected.outgoing if one.topic != DEAD_LETTERS]
    refused = [refusal.as_json() for refusal in collected.refusals]
    return Trial(touchpoints, dict(collected.ignored), refused, sorted(mapping.headers - lower.keys()))


def lint_mappings(settings: Settings, paths: Sequence[Path] | None = None) -> tuple[int, list[str]]:
    """Check mappings.

    Args:
        settings: The deployment.
        paths: Files; None: all of the deployment, with the sources that use them.

    Returns:
        How many there are, and what is probably misspelt: file, line, place and what may be meant.

    Raises:
        DefinitionError: One is not valid.
    """
    if paths is None:
        load_hooks(settings, load_sources(settings))
        paths = list(mapping_files(settings).values())
    hints = [hint for path in paths for hint in _hints(path, load_mapping(path), settings.channels)]
    return len(paths), hints


def _mapping_of(settings: Settings, name: str) -> tuple[str, Source, CompiledMapping]:
    sources, files = load_sources(settings), mapping_files(settings)
    source = sources.get(name)
    if source is not None and source.hook in files:
        return name, source, load_mapping(files[source.hook])
    path = files.get(name) or Path(name)
    if not path.is_file():
        known = ", ".join(one for one, source in sources.items() if source.hook)
        raise DefinitionError(f"{name}: there is no such webhook source, mapping or file; sources: {known or 'none'}")
    mapping = load_mapping(path)
    definition = mapping.definition
    return definition.source, Source(channel=definition.channel or "api"), mapping


def _parsed(raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        text = raw.strip()
        if b"=" not in text or text.startswith((b"{", b"[")) or b"\n" in text:
            raise PayloadError(
                f"the payload is neither JSON ({error.msg}, line {error.lineno}, column {error.colno}) "
                "nor a form (a=b&c=d)"
            ) from None
        return form_fields(text)


def _hints(path: Path, mapping: CompiledMapping, channels: Sequence[str]) -> Iterator[str]:
    definition = mapping.definition
    for name in sorted(mapping.names):
        near = nearest_names(name, SCOPE, 0.75)
        if name.startswith("_") and name not in SCOPE and near:
            yield f"{path}: an expression reads {name}; did you mean {near[0]}?"
    for number, rule in enumerate(definition.events):
        place: tuple[str | int, ...] = ("events", number)
        for event in _constants(rule.event):
            near = nearest_names(event, EVENT_NAMES, 0.85)
            if event not in EVENT_NAMES and near:
                yield _hint(path, (*place, "event"), f"{event} is no known event; did you mean {near[0]}?")
        if rule.channel is not None:
            for channel in _constants(rule.channel):
                if channel not in channels:
                    yield _hint(
                        path,
                        (*place, "channel"),
                        f"the deployment has no channel {channel}{known_names(channel, channels)}",
                    )


def _hint(path: Path, place: tuple[str | int, ...], message: str) -> str:
    return f"{path}:{position_of(path, place)}: {'.'.join(map(str, place))}: {message}"


def _constants(how: ValueMapping) -> list[str]:
    """The names that a value may give, as far as its definition says."""
    found = [how.value] if how.value is not None else [*(how.lookup or {}).values(), how.default]
    return [one for one in found if isinstance(one, str)]
