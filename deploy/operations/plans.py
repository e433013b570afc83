"""Loads the tracking plan of a deployment, lints it, and checks events against it before it is put in force."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from deploy.operations.definition_files import DefinitionError, Position, load, position_of, yaml_files
from deploy.settings import Settings
from processors.intake.decode import decode
from processors.intake.tracking_plan import TrackingPlan
from schemas.events.touchpoint import EVENT_NAMES
from schemas.intake.plan import ANY_SOURCE, PlanDefinitions
from schemas.outcomes import Reject
from schemas.spelling import known_names, nearest_names

_MAX_EXAMPLES = 3


class Hint(NamedTuple):
    """Something in a valid plan that is probably a mistake."""

    file: Path
    position: Position
    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.position}: {self.path}: {self.message}"


@dataclass(slots=True)
class PlanCheck:
    """The result of checking events against a plan.

    Attributes:
        events: How many were checked.
        broken: How many events break a rule, by event, source, field and rule.
        examples: Ids of the first events of each.
        unreadable: How many events were refused before the plan was asked.
        costs: How many events would become dead letters.
    """

    events: int = 0
    broken: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)
    examples: dict[tuple[str, str, str, str], list[str]] = field(default_factory=dict)
    unreadable: int = 0
    costs: int = 0

    def rows(self) -> list[dict[str, Any]]:
        """Return the broken rules, the most frequent first."""
        names = ("event", "source", "field", "rule")
        return [
            {**dict(zip(names, key, strict=True)), "events": count, "examples": self.examples[key]}
            for key, count in self.broken.most_common()
        ]


def plan_files(settings: Settings) -> list[Path]:
    """List the files of the plan in force."""
    return yaml_files(settings.definitions_dir / "plan")


def load_plan(paths: Iterable[Path]) -> PlanDefinitions:
    """Read the files of a plan and merge them.

    Raises:
        DefinitionError: A file is not valid, or an event or a source's mode is in two files.
    """
    merged: dict[str, dict[str, Any]] = {"events": {}, "unplanned": {}}
    origins: dict[tuple[str, str], Path] = {}
    for path in paths:
        part = load(path, PlanDefinitions)
        for section, found in (("events", part.events), ("unplanned", part.unplanned)):
            for name in found:
                if other := origins.get((section, name)):
                    position = position_of(path, (section, name))
                    raise DefinitionError(f"{path}:{position}: {section}.{name}: {other} has it already")
                origins[section, name] = path
            merged[section].update(found)
    return PlanDefinitions(**merged)


def plan_in_force(settings: Settings) -> TrackingPlan | None:
    """Return the plan of a deployment; None where no plan changes or refuses an event.

    Raises:
        DefinitionError: A file is not valid.
    """
    plan = TrackingPlan(load_plan(plan_files(settings)))
    return plan if plan.digest else None


def lint_plan(paths: Sequence[Path], sources: Iterable[str]) -> list[Hint]:
    """Find names in a valid plan that are probably misspelt.

    Args:
        paths: Its files.
        sources: The sources that the deployment knows; others may publish over Kafka.

    Raises:
        DefinitionError: As `load_plan`.
    """
    load_plan(paths)
    known, hints = sorted(sources), []
    for path in paths:
        part = load(path, PlanDefinitions)
        for name, event in part.events.items():
            at = ("events", name)
            near = nearest_names(name, EVENT_NAMES, 0.85)
            if near and name not in EVENT_NAMES:
                hints.append(Hint(path, position_of(path, at), ".".join(at), f"the known event is {near[0]}"))
            for source in event.sources:
                hints += _source_hint(path, (*at, "sources", source), known)
        for source in part.unplanned:
            if source != ANY_SOURCE:
                hints += _source_hint(path, ("unplanned", source), known)
    return hints


def _source_hint(path: Path, at: tuple[str, ...], known: Sequence[str]) -> list[Hint]:
    if at[-1] in known:
        return []
    near = nearest_names(at[-1], known)
    also = f"; did you mean {near[0]}?" if near else ", which is right if it publishes over Kafka"
    also += known_names(at[-1], known)
    return [Hint(path, position_of(path, at), ".".join(at), f"no source of that name may publish over HTTP{also}")]


def check_events(definitions: PlanDefinitions, lines: Iterable[bytes], settings: Settings) -> PlanCheck:
    """Check events against a plan, whatever its modes.

    Args:
        definitions: The plan.
        lines: Events as JSON, one each; empty lines are skipped.
        settings: The channels and limits of the deployment.
    """
    plan, found, channels = TrackingPlan(definitions), PlanCheck(), frozenset(settings.channels)
    for line in lines:
        if not line.strip():
            continue
        found.events += 1
        event = decode(line, channels=channels, max_bytes=settings.max_event_bytes)
        if isinstance(event, Reject):
            found.unreadable += 1
            continue
        for one in plan.violations(event):
            key = event["event"], event["source"], one.field, one.rule
            found.broken[key] += 1
            examples = found.examples.setdefault(key, [])
            if len(examples) < _MAX_EXAMPLES:
                examples.append(event["event_id"])
        found.costs += plan.apply(event) is not None
    return found


def plan_rows(definitions: PlanDefinitions) -> list[dict[str, Any]]:
    """Return the rows of a plan for `sinks.clickhouse.catalogue.publish_plan`: one for each event and source."""
    rows = []
    for name, event in sorted(definitions.events.items()):
        for source in ("", *sorted(event.sources)):
            properties = [
                {"name": key, "type": one.type.value, "required": one.required, "meaning": one.meaning}
                for key, one in event.properties_of(source).items()
            ]
            row = {"event": name, "source": source, "owner": event.owner, "meaning": event.meaning}
            since = event.since.isoformat() if event.since else ""
            rows.append({**row, "mode": event.mode_of(source), "since": since, "properties": properties})
    return rows
