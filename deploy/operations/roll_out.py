"""Rolls out the winner of an experiment: a new version of the journey's file that draws the winner for everybody.

Only weights change, the winner's to 100 and the others' to 0, so comments and the order of the file stay, and so do the
ids of steps, under which reports and runs under way know them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import yaml

from deploy.operations.definition_files import load
from processors.journeys.compiled import CompiledJourney
from schemas.journeys.definitions import Journey, MessageNode, RandomSplit

Edit = tuple[int, int, str]
"""Beginning and end of a part of the text, and what takes its place."""


class RollOutError(ValueError):
    """The winner cannot be rolled out; the message says why and what to do."""


def with_winners(file: Path, winners: Mapping[str, str], timezone: str) -> str:
    """Return the text of a journey's file in which every named split draws its winner for all people.

    Args:
        file: The file of the journey in force.
        winners: By split (id of the step): the variant that won.
        timezone: As the journey is compiled with.

    Raises:
        DefinitionError: The file is no valid journey.
        RollOutError: It has no such split or variant, or everybody gets it already.
    """
    journey, text = load(file, Journey), file.read_text("utf-8")
    edits: list[Edit] = []
    document: Any = yaml.compose(text, Loader=yaml.SafeLoader)  # its nodes have no types that help
    steps = CompiledJourney(journey, ZoneInfo(timezone)).steps
    for step_id, winner in winners.items():
        node = steps[step_id].node if step_id in steps else None
        choices = (
            node.random if isinstance(node, RandomSplit) else node.variants if isinstance(node, MessageNode) else ()
        )
        weights = {one.name: one.weight for one in choices}
        if winner not in weights:
            known = ", ".join(weights) or "no split with variants"
            raise RollOutError(
                f"{file}: step {step_id} of {journey.name} has {known}, and not {winner!r}: the file is another version"
                " than the experiment; set the weights by hand"
            )
        if not any(weight for name, weight in weights.items() if name != winner):
            raise RollOutError(f"{file}: step {step_id} of {journey.name} draws {winner!r} for everybody already")
        place = next(path for path, one in journey.walk() if one is node)
        written = document
        for part in (*place, "random" if isinstance(node, RandomSplit) else "variants"):
            written = _child(written, part)
        edits += [_weight(text, item, 100 if _child(item, "name").value == winner else 0) for item in written.value]
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def _child(node: Any, part: str | int) -> Any:
    if isinstance(part, int):
        return node.value[part]
    return next(value for key, value in node.value if key.value == part)


def _weight(text: str, arm: Any, weight: int) -> Edit:
    """Return the edit that gives an arm a weight: in place of its own, else after its name."""
    for key, value in arm.value:
        if key.value == "weight":
            return value.start_mark.index, value.end_mark.index, str(weight)
    key, name = next((key, value) for key, value in arm.value if key.value == "name")
    if arm.flow_style:
        return name.end_mark.index, name.end_mark.index, f", weight: {weight}"
    line_end = text.find("\n", name.end_mark.index)
    at = len(text) if line_end < 0 else line_end  # behind a comment that the name has
    return at, at, f"\n{' ' * key.start_mark.column}weight: {weight}"
