"""Lint of slots: unknown names, texts that are missing, and candidates that are never shown."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple, Protocol

from processors.journeys.lint import Path, Problem
from schemas.channels import TOUCHPOINT_CHANNELS
from schemas.decisions.slots import Candidate, Slot
from schemas.journeys.broadcasts import Broadcast
from schemas.journeys.definitions import Journey, MessageNode
from schemas.segments.attributes import find_attribute
from schemas.segments.definitions import SegmentDefinitions, unknown_channels, unknown_names
from schemas.spelling import known_names, nearest_names

Problems = Iterator[tuple[Path, str, bool]]


class Texts(Protocol):
    """The texts of messages; `processors.delivery.templates.Templates`."""

    def names(self) -> list[str]:
        """Return the templates."""

    def channels(self, name: str) -> list[str]:
        """Return the channels on which a template has a text."""

    def data(self, name: str, channel: str) -> set[str]:
        """Return the names of the fixed values that it asks for."""

    def uses(self, name: str, channel: str, root: str) -> bool:
        """Return whether it asks for a value."""


class _Around(NamedTuple):
    journeys: dict[str, Journey]
    broadcasts: dict[str, Broadcast]
    segments: SegmentDefinitions
    templates: Texts
    addressed: Collection[str]


def lint_slots(
    slots: Iterable[Slot], journeys: Iterable[Journey], broadcasts: Iterable[Broadcast],
    segments: SegmentDefinitions, templates: Texts, *, addressed: Collection[str],
) -> list[Problem]:  # fmt: skip
    """Check slots against the definitions that they refer to; all problems, in the order of the slots.

    Args:
        slots: All slots.
        journeys: All journeys.
        broadcasts: All broadcasts.
        segments: The segments and computed traits.
        templates: The texts.
        addressed: Names of the channels on which messages go to an address of the person.
    """
    around = _Around(
        {one.name: one for one in journeys}, {one.name: one for one in broadcasts}, segments, templates, addressed
    )
    return [
        Problem(slot.name, path, message, serious)
        for slot in slots
        for path, message, serious in (*_whole(slot, around), *_candidates(slot, around))
    ]


def _whole(slot: Slot, around: _Around) -> Problems:
    for what, known in (("journey", around.journeys), ("broadcast", around.broadcasts)):
        if slot.name in known:
            yield ("name",), f"a {what} has this name: say where it is, such as `{slot.name}_banner`", True
    if slot.channel not in TOUCHPOINT_CHANNELS and (near := nearest_names(slot.channel, TOUCHPOINT_CHANNELS, 0.75)):
        message = f"no channel that comes with the product is called {slot.channel!r} (did you mean {near[0]!r}?)"
        yield ("channel",), message, False
    if slot.choose == "first":
        always = next((index for index, one in enumerate(slot.candidates[:-1]) if _for_everybody(one)), None)
        if always is not None:
            message = f"{slot.candidates[always].name} before it is for everybody at any time, so this is hardly shown"
            yield ("candidates", always + 1), message, False


def _for_everybody(one: Candidate) -> bool:
    return not (one.condition or one.offer or one.starts or one.ends or one.caps or one.purpose or one.tags)


def _candidates(slot: Slot, around: _Around) -> Problems:
    names = [segment.name for segment in around.segments.segments]
    traits = [trait.name for trait in around.segments.traits]
    for path, condition in slot.conditions():
        for problem in (
            *unknown_names(condition, names, traits),
            *around.segments.unknown_classes(condition),
            *unknown_channels(condition, around.addressed),
        ):
            yield path, problem, True
    for index, one in enumerate(slot.candidates):
        here: Path = ("candidates", index)
        if slot.choose == "first" and "score" in one.model_fields_set:
            yield (*here, "score"), "the slot shows the first: `choose: best` goes by the score", False
        name = one.score.attribute
        if name is not None and find_attribute(name) is None:
            message = f"there is no attribute {name!r}: see `throughline segments attributes`"
            yield (*here, "score", "attribute"), message, True
        if one.offer is not None and one.offer not in around.broadcasts and one.offer not in around.journeys:
            known = [*around.broadcasts, *around.journeys]
            message = f"there is no broadcast and no journey {one.offer!r}{_nearest(one.offer, known)}"
            yield (*here, "offer"), message, True
        elif (journey := around.journeys.get(one.offer or "")) is not None and not _messages(journey):
            yield (*here, "offer"), f"the journey {journey.name} sends no message, so there is no offer", True
        else:
            yield from _texts(slot, one, here, around)


def _texts(slot: Slot, one: Candidate, here: Path, around: _Around) -> Problems:
    """Yield texts that a candidate needs and that do not exist, and values that they lack."""
    where, wanted = (*here, "message"), [one.template] if one.template else []
    coupon, data = one.coupon, set(one.data)
    if one.offer is not None:
        broadcast, journey = around.broadcasts.get(one.offer), around.journeys.get(one.offer)
        if broadcast is not None:
            offered, coupon, given = list(broadcast.templates), broadcast.coupon, set(broadcast.data)
        else:
            steps = _messages(journey) if journey else []
            offered, coupon, given = [steps[0].template], steps[0].coupon, set(steps[0].data)
        data |= given
        if not wanted:
            where, wanted = (*here, "offer"), offered
    for name in wanted:
        if name not in around.templates.names():
            yield where, f"there is no template {name!r}{_nearest(name, around.templates.names())}", True
            continue
        if slot.channel not in around.templates.channels(name):
            message = f"template {name} has no text for {slot.channel}: give it one below `channels: {slot.channel}:`"
            yield where, message, True
            continue
        if unknown := sorted(around.templates.data(name, slot.channel) - data):
            yield where, f"template {name} asks for run.data.{unknown[0]}, which `data` does not give", False
        says = around.templates.uses(name, slot.channel, "coupon")
        if says and coupon is None:
            yield where, f"template {name} says coupon, which the candidate does not have: `coupon: POOL`", True
        if one.coupon is not None and not says:
            yield (*here, "coupon"), f"no text of template {name} says the coupon: {{{{ coupon.code }}}}", True


def _messages(journey: Journey) -> list[MessageNode]:
    return [step for _, step in journey.walk() if isinstance(step, MessageNode)]


def _nearest(name: str, names: Iterable[str]) -> str:
    known = list(names)
    near = nearest_names(name, known, 0.75)
    return f"{f' (did you mean {near[0]!r}?)' if near else ''}{known_names(name, known)}"
