"""Loads segments, journeys, the message policy and templates, and builds the engines that run them.

An error names file, line and path. `lint_all` checks the references between files, such as a journey that names a
template that does not exist.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import ValidationError

from deploy.operations.definition_files import (
    DefinitionError,
    Position,
    each_loaded,
    load,
    load_territory,
    position_of,
    yaml_files,
)
from deploy.operations.template_files import load_templates, text_place
from deploy.settings import Settings
from processors.decisions.engine import DecisionEngine
from processors.decisions.slot_lint import lint_slots
from processors.decisions.slots import SlotDecider
from processors.delivery.templates import Templates
from processors.journeys.broadcast_lint import Surroundings, lint_broadcasts
from processors.journeys.lint import Problem, lint, misspelt_events
from processors.journeys.planned_properties import unplanned_of_journeys, unplanned_of_segments
from schemas.channels import DELIVERABLE_CHANNELS
from schemas.decisions.policy import MessagePolicy
from schemas.decisions.slots import Slot
from schemas.delivery.outbound import DeliveryDefinitions
from schemas.intake.plan import PlanDefinitions
from schemas.journeys.broadcasts import Broadcast
from schemas.journeys.definitions import Journey, MessageNode
from schemas.segments.definitions import SegmentDefinitions
from schemas.territory import ONE_TERRITORY, Territory
from schemas.topics import deliver_topic, touchpoint_topic

Place = tuple[str | int, ...]
Named = TypeVar("Named", Journey, Broadcast, Slot)


class Finding(NamedTuple):
    """A finding of the linter.

    Attributes:
        file: The file.
        line: The line, from 1.
        column: The column, from 1.
        path: The place in the file, such as `steps.2.message`.
        message: What is wrong, and what would be right.
        serious: The journey cannot work; otherwise it is a hint.
    """

    file: str
    line: int
    column: int
    path: str
    message: str
    serious: bool

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.path or '(file)'}: {self.message}"


@dataclass(frozen=True)
class Definitions:
    """All definitions of a deployment that decide about messages.

    Attributes:
        segments: Segments and computed traits.
        journeys: Journeys.
        policy: The message policy.
        templates: The texts of messages.
        delivery: The routes by which messages leave.
        files: The file of each journey, by name.
        places: The file and place of each segment and trait.
        templates_dir: The folder of the templates.
        territory: The markets, and the time zone of the deployment.
        broadcasts: Broadcasts; one does nothing until it is started.
        broadcast_files: The file of each broadcast, by name.
        slots: Slots of the site, the app and the till.
        slot_files: The file of each slot, by name.
    """

    segments: SegmentDefinitions
    journeys: tuple[Journey, ...]
    policy: MessagePolicy
    templates: Templates
    delivery: DeliveryDefinitions
    files: Mapping[str, Path] = field(default_factory=dict)
    places: Mapping[str, tuple[Path, Place]] = field(default_factory=dict)
    templates_dir: Path = Path()
    territory: Territory = ONE_TERRITORY
    broadcasts: tuple[Broadcast, ...] = ()
    broadcast_files: Mapping[str, Path] = field(default_factory=dict)
    slots: tuple[Slot, ...] = ()
    slot_files: Mapping[str, Path] = field(default_factory=dict)

    def archived(self) -> dict[str, bytes]:
        """Return every journey, those of broadcasts among them, as JSON by version, for the runs that enter with it."""
        journeys = (*self.journeys, *(one.as_journey() for one in self.broadcasts))
        return {journey.version: journey.archived() for journey in journeys}

    def decider(
        self,
        journeys: Iterable[Journey] | None = None,
        archive: Mapping[str, Journey] | None = None,
    ) -> DecisionEngine:
        """Build the decision engine.

        Args:
            journeys: Journeys in place of the deployment's own.
            archive: Former versions of journeys by version, for runs that entered with them.
        """
        chosen = self.journeys if journeys is None else tuple(journeys)
        chosen = (*chosen, *(one.as_journey() for one in self.broadcasts))
        return DecisionEngine(
            self.segments, chosen, self.policy, territory=self.territory, archive=archive,
            conditions=[condition for one in self.slots for _, condition in one.conditions()],
        )  # fmt: skip

    def slot_decider(self, decider: DecisionEngine) -> SlotDecider:
        """Build what decides the requests of slots, beside the decision engine of `decider`."""
        return SlotDecider(
            self.slots, self.journeys, self.broadcasts, self.policy,
            segments=decider.segments, territory=self.territory,
        )  # fmt: skip


def load_definitions(settings: Settings, *, without_journeys: bool = False) -> Definitions:
    """Read all files.

    Args:
        settings: Of the deployment.
        without_journeys: Leave the journeys out, to check others in their place.

    Raises:
        DefinitionError: A file is not valid; the message names file, line and path.
    """
    found = [] if without_journeys else yaml_files(settings.definitions_dir / "journeys")
    parts: list[Any] = each_loaded(
        (
            lambda: load_journeys(found),
            lambda: _segments(settings),
            lambda: _delivery_and_policy(settings),
            lambda: load_templates(settings.definitions_dir / "templates"),
            lambda: load_territory(settings),
            lambda: load_broadcasts([] if without_journeys else yaml_files(settings.definitions_dir / "broadcasts")),
            lambda: load_slots([] if without_journeys else yaml_files(settings.definitions_dir / "slots")),
        )
    )
    (journeys, files), (segments, places), (delivery, policy), templates, territory, (broadcasts, sources), slots = (
        parts
    )
    _check_segments(segments, places, policy.address_types)
    return Definitions(
        segments=segments,
        journeys=journeys,
        policy=policy,
        templates=templates,
        delivery=delivery,
        files=files,
        places=places,
        templates_dir=settings.definitions_dir / "templates",
        territory=territory,
        broadcasts=broadcasts,
        broadcast_files=sources,
        slots=slots[0],
        slot_files=slots[1],
    )


def _delivery_and_policy(settings: Settings) -> tuple[DeliveryDefinitions, MessagePolicy]:
    delivery = load(settings.delivery_file, DeliveryDefinitions)
    return delivery, load_policy(settings, delivery)


def load_message_policy(settings: Settings) -> MessagePolicy:
    """Read the message policy, with the delivery routes that it is checked against; see `load_policy`."""
    return _delivery_and_policy(settings)[1]


def load_policy(settings: Settings, delivery: DeliveryDefinitions) -> MessagePolicy:
    """Read the message policy.

    Args:
        settings: Where the file is, and the channels of the deployment.
        delivery: Which channels have an adapter.

    Raises:
        DefinitionError: The file is wrong, or a channel has no way out: neither a topic `deliver.<channel>` nor an
            adapter.
    """
    policy = load(settings.policy_file, MessagePolicy)
    problems = []
    for channel in policy.channels:
        if problem := _undeliverable(channel, settings, delivery):
            position = position_of(settings.policy_file, ("channels", channel))
            problems.append(f"{settings.policy_file}:{position}: channels.{channel}: {problem}")
    if problems:
        raise DefinitionError("\n".join(problems))
    return policy


def _undeliverable(channel: str, settings: Settings, delivery: DeliveryDefinitions) -> str:
    """Return the reason why messages on a channel cannot be delivered; empty: they can."""
    if channel in DELIVERABLE_CHANNELS:
        return ""
    if not delivery.has_adapter(channel):
        return (
            f"there is no topic {deliver_topic(channel)} that its messages could go to: send them through a webhook "
            f"in {settings.delivery_file}, or use a channel that has a topic: {', '.join(DELIVERABLE_CHANNELS)}"
        )
    if channel not in settings.channels:
        return f"its receipts need the topic {touchpoint_topic(channel)}: add {channel} to THROUGHLINE_CHANNELS"
    return ""


def load_sound_definitions(settings: Settings) -> Definitions:
    """Read all files, as workers do.

    Raises:
        DefinitionError: A file is not valid, or the linter has a serious finding about a journey.
    """
    definitions = load_definitions(settings)
    serious = [finding for finding in lint_journeys(definitions) if finding.serious]
    if serious:
        raise DefinitionError("\n".join(map(str, serious)))
    return definitions


def load_decision_engine(settings: Settings) -> DecisionEngine:
    """Read all files and build a decision engine without former journeys.

    Raises:
        DefinitionError: As of `load_sound_definitions`.
    """
    return load_sound_definitions(settings).decider()


def former_journeys(archived: Mapping[str, bytes]) -> dict[str, Journey]:
    """Parse archived journeys; one that this release cannot parse is left out, and its runs end."""
    found = {}
    for version, journey in archived.items():
        with suppress(ValidationError):
            found[version] = Journey.model_validate_json(journey)
    return found


def load_segments(settings: Settings) -> SegmentDefinitions:
    """Read the files of `segments/` and merge them.

    Raises:
        DefinitionError: A file is not valid, a part that may exist once is in two files, or a segment names an unknown
            one.
    """
    segments, places = _segments(settings)
    _check_segments(segments, places, load_address_types(settings))
    return segments


def load_address_types(settings: Settings) -> dict[str, tuple[str, ...]]:
    """Return the identifier types that messages of each channel are sent to, those of the message policy among them.

    Raises:
        DefinitionError: The policy is wrong.
    """
    return load(settings.policy_file, MessagePolicy).address_types


def _segments(settings: Settings) -> tuple[SegmentDefinitions, dict[str, tuple[Path, Place]]]:
    """Read segments, and the file and place of each part."""
    merged: dict[str, Any] = {}
    origin: dict[str, tuple[Path, Place]] = {}
    paths = yaml_files(settings.definitions_dir / "segments")
    parts = each_loaded(partial(load, path, SegmentDefinitions) for path in paths)
    for path, part in zip(paths, parts, strict=True):
        for name in sorted(part.model_fields_set):
            value = getattr(part, name)
            if isinstance(value, tuple):
                merged[name] = merged.get(name, ()) + value
                origin.update({one.name: (path, (name, index)) for index, one in enumerate(value)})
            elif name in merged:
                other = origin[name][0]
                raise DefinitionError(f"{path}:{position_of(path, (name,))}: {name}: it is in {other} already")
            else:
                merged[name] = value
                origin[name] = path, (name,)
    return SegmentDefinitions(**merged), origin


def _check_segments(
    segments: SegmentDefinitions, places: Mapping[str, tuple[Path, Place]], channels: Collection[str]
) -> None:
    """Raise `DefinitionError` for what segments name and what does not exist."""
    messages = []
    for name, problem in segments.problems(channels):
        path, place = places[name]
        messages.append(f"{path}:{position_of(path, place)}: {name}: {problem}")
    if messages:
        raise DefinitionError("\n".join(messages))


def load_journeys(paths: Iterable[Path]) -> tuple[tuple[Journey, ...], dict[str, Path]]:
    """Read journeys, one a file.

    Returns:
        The journeys, and the file of each by name.

    Raises:
        DefinitionError: A file is not valid, or two journeys have one name.
    """
    return _load_named(paths, Journey, "journey")


def load_broadcasts(paths: Iterable[Path]) -> tuple[tuple[Broadcast, ...], dict[str, Path]]:
    """Read broadcasts, one a file, as `load_journeys` does."""
    return _load_named(paths, Broadcast, "broadcast")


def load_slots(paths: Iterable[Path]) -> tuple[tuple[Slot, ...], dict[str, Path]]:
    """Read slots, one a file, as `load_journeys` does."""
    return _load_named(paths, Slot, "slot")


def _load_named(paths: Iterable[Path], model: type[Named], what: str) -> tuple[tuple[Named, ...], dict[str, Path]]:
    files: dict[str, Path] = {}
    found = []
    paths = list(paths)
    loaded = each_loaded(partial(load, path, model) for path in paths)
    for path, one in zip(paths, loaded, strict=True):
        if one.name in files:
            position = position_of(path, ("name",))
            raise DefinitionError(f"{path}:{position}: name: {files[one.name]} has a {what} {one.name} already")
        files[one.name] = path
        found.append(one)
    return tuple(found), files


def lint_all(definitions: Definitions, plan: PlanDefinitions | None = None) -> list[Finding]:
    """Check journeys against the segments, templates and channels that they refer to, and the names in the texts.

    Args:
        definitions: What is checked.
        plan: The tracking plan, which the properties in segments and journeys are checked against; None: they are not.
    """
    findings = [*lint_journeys(definitions), *(_lint_properties(definitions, plan) if plan else ())]
    for error in definitions.templates.unknown_names:
        path, position, where, message = text_place(definitions.templates_dir, error)
        findings.append(Finding(str(path), *position, ".".join(where), message, True))
    return findings


def lint_what_loads(settings: Settings, plan: PlanDefinitions | None = None) -> list[Finding]:
    """Check the journeys whose files are valid, where those of others are not: one error is not to hide another.

    Args:
        settings: Of the deployment.
        plan: As of `lint_all`.

    Returns:
        The findings; none where segments, policy, delivery or templates are not valid.
    """
    journeys, files = _what_loads(settings.definitions_dir / "journeys", Journey)
    broadcasts, sources = _what_loads(settings.definitions_dir / "broadcasts", Broadcast)
    slots, places = _what_loads(settings.definitions_dir / "slots", Slot)
    try:
        definitions = load_definitions(settings, without_journeys=True)
    except DefinitionError:
        return []
    found = replace(
        definitions, journeys=journeys, files=files, broadcasts=broadcasts, broadcast_files=sources,
        slots=slots, slot_files=places,
    )  # fmt: skip
    return lint_all(found, plan)


def _what_loads(folder: Path, model: type[Named]) -> tuple[tuple[Named, ...], dict[str, Path]]:
    """Read the files of a folder that are valid."""
    found: list[Named] = []
    files: dict[str, Path] = {}
    for path in yaml_files(folder):
        with suppress(DefinitionError):
            found.append(load(path, model))
            files.setdefault(found[-1].name, path)
    return tuple(found), files


def lint_journeys(definitions: Definitions) -> list[Finding]:
    """Check journeys against the segments, templates and channels that they refer to.

    A deployment with a serious finding does not start. A wrong name in a text costs the messages of that text alone.
    """
    policy, templates = definitions.policy, definitions.templates
    findings = []
    for name, message in misspelt_events(definitions.journeys, definitions.segments):
        file, place = definitions.places[name]
        findings.append(Finding(str(file), *position_of(file, place), name, message, False))
    problems = lint(
        definitions.journeys,
        definitions.segments,
        templates.names(),
        channels=tuple(policy.channels),
        addressed=policy.address_types,
    )
    for problem in problems:
        findings.append(_finding(definitions, problem.journey, problem.path, problem.message, problem.serious))
    for journey in definitions.journeys:
        for path, step in journey.walk():
            if isinstance(step, MessageNode):
                for where, message, serious in _text_findings(step, templates):
                    findings.append(_finding(definitions, journey.name, (*path, where), message, serious))
    return [*findings, *_lint_broadcasts(definitions), *_lint_slots(definitions)]


def _lint_broadcasts(definitions: Definitions) -> Iterator[Finding]:
    around = Surroundings(
        definitions.segments,
        definitions.policy,
        definitions.templates.names(),
        [journey.name for journey in definitions.journeys],
        definitions.territory.zone,
    )
    problems = lint_broadcasts(definitions.broadcasts, around)
    for one in definitions.broadcasts:
        # A text is looked at as the message of the journey has it; what is said of it is said of the file once.
        steps = [step for _, step in one.as_journey().walk() if isinstance(step, MessageNode)]
        said = [found for step in steps for found in _text_findings(step, definitions.templates)]
        problems += [Problem(one.name, (where,), message, serious) for where, message, serious in dict.fromkeys(said)]
    for problem in problems:
        file = definitions.broadcast_files.get(problem.journey)
        position = position_of(file, problem.path) if file else Position(1, 1)
        where = ".".join(map(str, problem.path))
        yield Finding(str(file or problem.journey), *position, where, problem.message, problem.serious)


def _lint_slots(definitions: Definitions) -> Iterator[Finding]:
    for problem in lint_slots(
        definitions.slots, definitions.journeys, definitions.broadcasts, definitions.segments, definitions.templates,
        addressed=definitions.policy.address_types,
    ):  # fmt: skip
        file = definitions.slot_files.get(problem.journey)
        position = position_of(file, problem.path) if file else Position(1, 1)
        where = ".".join(map(str, problem.path))
        yield Finding(str(file or problem.journey), *position, where, problem.message, problem.serious)


def _lint_properties(definitions: Definitions, plan: PlanDefinitions) -> Iterator[Finding]:
    """Yield hints about properties that the tracking plan does not have, in segments, traits and journeys."""
    for name, path, message in unplanned_of_segments(definitions.segments, plan):
        file, place = definitions.places[name]
        where = (*place, *path)
        yield Finding(str(file), *position_of(file, where), ".".join((name, *map(str, path))), message, False)
    for name, path, message in unplanned_of_journeys(definitions.journeys, plan):
        yield _finding(definitions, name, path, message, False)


def _text_findings(step: MessageNode, templates: Templates) -> Iterator[tuple[str, str, bool]]:
    """Find texts that a message needs and that do not exist, and values that no text uses."""
    names = {step.template, *(variant.template for variant in step.variants if variant.template)} & {*templates.names()}
    used: set[str] = set()
    for name in sorted(names):
        if missing := [one for one in step.channels if one not in templates.channels(name)]:
            yield "message", f"template {name} has no text for {', '.join(missing)}", True
        asked = {one for channel in step.channels or templates.channels(name) for one in templates.data(name, channel)}
        if unknown := sorted(asked - set(step.data)):
            yield "message", f"template {name} asks for run.data.{unknown[0]}, which `data` does not give", False
        used |= asked
        says_coupon = any(templates.uses(name, one, "coupon") for one in step.channels or templates.channels(name))
        if says_coupon and step.coupon is None:
            yield "message", f"template {name} says coupon, which the step does not have: `coupon: POOL`", True
        if step.coupon is not None and not says_coupon:
            yield "coupon", f"no text of template {name} says the coupon: {{{{ coupon.code }}}}", True
    if names and (unused := sorted(set(step.data) - used)):
        yield "data", f"no text asks for run.data.{unused[0]}", False


def _finding(definitions: Definitions, journey: str, path: Place, message: str, serious: bool) -> Finding:
    file = definitions.files.get(journey)
    position = position_of(file, path) if file else Position(1, 1)
    return Finding(str(file or journey), *position, ".".join(map(str, path)), message, serious)
