"""Draws a journey as a flow: boxes for the steps, lines for the ways, people who wait, went on and left at each step.

The picture is SVG with classes; the page that has it gives the colours. `standalone_page` is a page by itself.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple, Protocol
from zoneinfo import ZoneInfo

from processors.journeys.compiled import CompiledJourney
from processors.journeys.drawing import branches, described, described_trigger
from schemas.durations import duration_text
from schemas.journeys.definitions import (
    AnyStep,
    Delay,
    Exit,
    If,
    Journey,
    MessageNode,
    RandomSplit,
    Sending,
    Until,
    WaitFor,
)

_BOX, _GAP, _LINE = 216, 26, 15
_TEXT_CHARACTERS = 32
_MAX_LINES = 4

STYLE = """
.flow text { font: 12px system-ui, sans-serif; fill: var(--ink); }
.flow .small { font-size: 10.5px; fill: var(--muted); }
.flow .box { fill: var(--paper); stroke: var(--edge); }
.flow .message .box { stroke: var(--accent); stroke-width: 1.6; }
.flow .split .box { stroke-dasharray: 5 3; }
.flow .exit .box { fill: var(--box); }
.flow .entry .box { fill: var(--accent); stroke: var(--accent); } .flow .entry text { fill: var(--on-accent); }
.flow path { fill: none; stroke: var(--muted); }
.flow .waiting { fill: var(--warn); font-weight: 600; } .flow .here .box { stroke: var(--warn); stroke-width: 2; }
"""
"""Rules for a page that has the variables of colours."""


class Counts(Protocol):
    """Runs at one step: `sinks.clickhouse.journeys.StepCounts`."""

    @property
    def waiting(self) -> int:
        """Runs that are there now."""

    @property
    def passed(self) -> int:
        """Runs that have gone on."""

    @property
    def ended(self) -> int:
        """Runs that ended there."""

    @property
    def sent(self) -> int:
        """Messages sent."""

    @property
    def suppressed(self) -> int:
        """Messages that a gate held back."""


class _Way(NamedTuple):
    """Where a line comes from, and what it says."""

    x: float
    y: float
    label: str = ""


class _Flow:
    """Draws the steps, from top to bottom, branches side by side."""

    def __init__(self, journey: Journey, counts: Mapping[str, Counts], links: Mapping[str, str]) -> None:
        compiled = CompiledJourney(journey, ZoneInfo("UTC"))
        self._names = {id(step.node): step.id for step in compiled.steps.values()}
        self._counts, self._links = counts, links
        self.drawn: list[str] = []
        self.lines: list[str] = []

    def width(self, steps: Sequence[AnyStep]) -> float:
        """Return how wide a list of steps is."""
        return max((self._step_width(step) for step in steps), default=_BOX * 0.55)

    def _step_width(self, step: AnyStep) -> float:
        widths = [self.width(theirs) for _, theirs in branches(step)]
        return max(_BOX, sum(widths) + _GAP * (len(widths) - 1)) if widths else _BOX

    def steps(self, steps: Sequence[AnyStep], x: float, y: float, ways: list[_Way]) -> tuple[float, list[_Way]]:
        """Draw steps below one another, around a middle; return where they end, and the ways that go on."""
        for step in steps:
            name = self._names[id(step)]
            bottom = self.box(_kind(step), described(step), name, x, y, ways)
            found = branches(step)
            y = bottom + _GAP
            if isinstance(step, Exit):
                return bottom, []
            if not found:
                ways = [_Way(x, bottom)]
                continue
            left, ways, lowest = x - self._step_width(step) / 2, [], y
            for label, theirs in found:
                width = self.width(theirs)
                middle = left + width / 2
                end, open_ways = self.steps(theirs, middle, y + _GAP, [_Way(x, bottom, label)])
                if not theirs:  # the way goes past what the other branches have
                    self.line(_Way(x, bottom, label), middle, y + _GAP)
                    open_ways = [_Way(middle, y + _GAP)]
                ways += open_ways
                lowest = max(lowest, end)
                left += width + _GAP
            ways = [self._down(way, lowest) for way in ways]
            y = lowest + _GAP
        return y - _GAP, ways

    def _down(self, way: _Way, y: float) -> _Way:
        """Lead a way past the branches beside it."""
        if way.y < y:
            self.lines.append(f'<path d="M{way.x:.1f} {way.y:.1f} V{y:.1f}"/>')
        return way._replace(y=max(way.y, y))

    def box(self, kind: str, text: str, name: str, x: float, y: float, ways: list[_Way]) -> float:
        """Draw a box with the lines that lead to it; return its lower edge."""
        for way in ways:
            self.line(way, x, y)
        lines = textwrap.wrap(text, _TEXT_CHARACTERS)
        if len(lines) > _MAX_LINES:
            lines = [*lines[: _MAX_LINES - 1], lines[_MAX_LINES - 1][: _TEXT_CHARACTERS - 1] + "…"]
        said = self._said(name)
        height = 14 + _LINE * (len(lines) + (1 if said else 0))
        left = x - _BOX / 2
        here = " here" if said and (counts := self._counts.get(name)) and counts.waiting else ""
        parts = [
            f'<g class="step {kind}{here}"><title>{escape(name)}: {escape(text)}</title>'
            f'<rect class="box" x="{left:.1f}" y="{y:.1f}" width="{_BOX}" height="{height}" rx="8"/>'
        ]
        for number, line in enumerate(lines):
            parts.append(f'<text x="{left + 12:.1f}" y="{y + 18 + _LINE * number:.1f}">{escape(line)}</text>')
        if said:
            below = y + 18 + _LINE * len(lines)
            parts.append(f'<text class="small" x="{left + 12:.1f}" y="{below:.1f}">{said}</text>')
        parts.append("</g>")
        drawn = "".join(parts)
        self.drawn.append(f'<a href="{escape(self._links[name])}">{drawn}</a>' if name in self._links else drawn)
        return y + height

    def line(self, way: _Way, x: float, y: float) -> None:
        """Draw a line from a way's end to a place below."""
        bend = (way.y + y) / 2
        self.lines.append(
            f'<path d="M{way.x:.1f} {way.y:.1f} C{way.x:.1f} {bend:.1f} {x:.1f} {bend:.1f} {x:.1f} {y:.1f}"/>'
        )
        if way.label:
            self.lines.append(f'<text class="small" x="{x + 6:.1f}" y="{y - 5:.1f}">{escape(way.label)}</text>')

    def _said(self, name: str) -> str:
        counts = self._counts.get(name)
        if counts is None or name == "":
            return ""
        parts = []
        if counts.waiting:
            parts.append(f'<tspan class="waiting">{counts.waiting:,} here</tspan>')
        parts += [f"{counts.passed:,} went on"] if counts.passed else []
        parts += [f"{counts.ended:,} left"] if counts.ended else []
        parts += [f"{counts.sent:,} sent"] if counts.sent else []
        parts += [f"{counts.suppressed:,} not sent"] if counts.suppressed else []
        return " · ".join(parts)


def journey_svg(journey: Journey, counts: Mapping[str, Counts], links: Mapping[str, str] | None = None) -> str:
    """Draw a journey.

    Args:
        journey: The journey.
        counts: Runs by the id of the step.
        links: Where a step leads to, by its id.

    Returns:
        An `<svg>` element, with texts escaped.
    """
    flow = _Flow(journey, counts, links or {})
    width = max(flow.width(journey.steps), _BOX) + 2 * _GAP
    entered = sum(one.ended + one.passed + one.waiting for name, one in counts.items() if name == "")
    entry = described_trigger(journey.entry)
    bottom = flow.box("entry", f"enter: {entry}", "", width / 2, _GAP / 2, [])
    end, ways = flow.steps(journey.steps, width / 2, bottom + _GAP, [_Way(width / 2, bottom)])
    if ways:
        end = flow.box("exit", "the end", "", width / 2, end + _GAP, ways)
    said = escape(f"Journey {journey.name}: {journey.description}. {entered:,} runs" if entered else journey.name)
    return (
        f'<svg class="flow" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {end + _GAP / 2:.0f}" '
        f'width="{width:.0f}" height="{end + _GAP / 2:.0f}" role="img" aria-label="{said}">'
        f"{''.join(flow.lines)}{''.join(flow.drawn)}</svg>"
    )


def standalone_page(journey: Journey, counts: Mapping[str, Counts], state: str) -> str:
    """Return a page with the picture, its terms and nothing else: no script, no network."""
    goals = "".join(
        f"<li>goal {escape(goal.name)}: {escape(described_trigger(goal))} within {duration_text(goal.within)}</li>"
        for goal in journey.goals
    )
    leave = "".join(f"<li>leaves by: {escape(described_trigger(match))}</li>" for match in journey.exit_when)
    holdout = f"<li>{journey.holdout:.0%} of people are held out</li>" if journey.holdout else ""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Journey {escape(journey.name)}</title><style>"
        ":root { color-scheme: light dark; --ink: light-dark(#1b1f24, #e6edf3); --muted: light-dark(#545d68, #a3adb8);"
        " --paper: light-dark(#fff, #12161c); --box: light-dark(#f6f8fa, #1b2129); --edge: light-dark(#d4dae1, #345);"
        " --accent: light-dark(#0b5cad, #79b8ff); --on-accent: light-dark(#fff, #0c1420);"
        " --warn: light-dark(#8a5300, #f0b849); }"
        " body { font: 1rem/1.5 system-ui, sans-serif; background: var(--paper); color: var(--ink); margin: 1.5rem; }"
        f" .picture {{ overflow-x: auto; }}{STYLE}</style></head><body><h1>{escape(journey.name)}</h1>"
        f"<p>{escape(journey.description)}</p><p>{escape(state)}</p><ul>{leave}{goals}{holdout}</ul>"
        f'<div class="picture">{journey_svg(journey, counts)}</div></body></html>\n'
    )


def _kind(step: AnyStep) -> str:
    if isinstance(step, MessageNode):
        return "message"
    if isinstance(step, If | RandomSplit):
        return "split"
    if isinstance(step, Delay | Until | WaitFor | Sending):
        return "wait"
    return "exit" if isinstance(step, Exit) else "act"
