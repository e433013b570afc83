"""A journey as a tree of text, with the number of runs at each step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from zoneinfo import ZoneInfo

import orjson
from pydantic import BaseModel

from processors.decisions.labels import alternatives, channel_label
from processors.journeys.compiled import CompiledJourney
from schemas.durations import duration_text
from schemas.journeys.broadcast_parts import SendTime
from schemas.journeys.definitions import (
    AnyStep,
    BroadcastEntry,
    Delay,
    EventMatch,
    Exit,
    If,
    Journey,
    LocalTime,
    MessageNode,
    RandomSplit,
    SegmentMatch,
    Sending,
    SetTrait,
    Until,
    WaitFor,
    Webhook,
)

_CONDITION_CHARACTERS = 100
_Branch = tuple[str, Sequence[AnyStep]]
"""Its name, and its steps."""
_Names = Mapping[int, str]
"""By Python's id of a step's definition: the id of the step."""


def tree(journey: Journey, runs: Mapping[str, int] | None = None) -> list[str]:
    """Draw a journey.

    Args:
        journey: The journey.
        runs: Runs under way, by the id of the step at which they are.

    Returns:
        Lines: who enters, the steps with their ids and branches, who leaves, and the goals.
    """
    entry = journey.entry
    repeated = {
        "once": "once in a life",
        "after_exit": "one run at a time",
        "restart": "one run at a time, which begins anew until its first message",
        "always": "each time",
    }[journey.re_entry]
    lines = [f"enter   {described_trigger(entry)}, {repeated}"]
    if entry.condition is not None:
        lines.append(f"        if {_shortened(entry.condition)}")
    compiled = CompiledJourney(journey, ZoneInfo("UTC"))
    names = {id(step.node): step.id for step in compiled.steps.values()}
    lines += _steps(journey.steps, names, "", runs or {})
    lines += [f"leave   {described_trigger(match)}" for match in journey.exit_when]
    lines += [
        f"goal    {goal.name}: {described_trigger(goal)} within {duration_text(goal.within)}" for goal in journey.goals
    ]
    if journey.holdout:
        lines.append(f"holdout {journey.holdout:.0%} of people get none of its messages")
    return lines


def _steps(steps: Sequence[AnyStep], names: _Names, indent: str, runs: Mapping[str, int]) -> Iterator[str]:
    for number, step in enumerate(steps, 1):
        here, last = names[id(step)], number == len(steps)
        count = f"   [{runs[here]:,} here]" if runs.get(here) else ""
        yield f"{indent}{'└─' if last else '├─'} {here}  {described(step)}{count}"
        below = indent + ("   " if last else "│  ")
        found = branches(step)
        for index, (name, theirs) in enumerate(found):
            end = index == len(found) - 1
            yield f"{below}{'└─' if end else '├─'} {name}{'' if theirs else ': go on'}"
            yield from _steps(theirs, names, below + ("   " if end else "│  "), runs)


def branches(step: AnyStep) -> list[_Branch]:
    """Return the branches of a step: name and steps; none: it does not split."""
    if isinstance(step, WaitFor | If):
        found: list[_Branch] = [("then", step.then), ("else", step.otherwise)]
        return found if step.then or step.otherwise else []
    if isinstance(step, RandomSplit):
        if step.winner is not None:
            return [(arm.name, arm.steps) for arm in step.random]
        whole = sum(arm.weight for arm in step.random) or 1
        return [(f"{arm.name} ({arm.weight / whole:.0%})", arm.steps) for arm in step.random]
    return []


def described(step: AnyStep) -> str:
    """Describe a step in one line."""
    match step:
        case Delay():
            return f"wait {duration_text(step.delay)}"
        case Until():
            return f"wait until {_local_time(step.until)}"
        case WaitFor():
            longest = f", at most {duration_text(step.timeout)}" if step.timeout else ""
            return f"wait for {described_trigger(step.wait_for)}{longest}"
        case If():
            return f"if {_shortened(step.condition)}"
        case RandomSplit():
            return (
                "split at random" if step.winner is None else f"the variant that wins on {step.winner.at:%d %b %H:%M}"
            )
        case Sending():
            return f"send {_send_time(step.send)}"
        case MessageNode():
            by = f" by {alternatives(map(channel_label, step.channels))}" if step.channels else ""
            variants = ", ".join(variant.name for variant in step.variants)
            return f"message {step.template}{by}{f', variants {variants}' if variants else ''}"
        case SetTrait():
            return f"set {', '.join(f'{name} = {value}' for name, value in step.set_trait.items())}"
        case Webhook():
            return f"post to {step.webhook}"
        case Exit():
            return f"exit: {step.exit}"


def described_trigger(match: EventMatch | SegmentMatch) -> str:
    """Describe an event or a segment that a journey listens to."""
    if isinstance(match, BroadcastEntry):
        return f"members of segment {match.segment}{' while it runs' if match.members == 'live' else ''}"
    if isinstance(match, SegmentMatch):
        return f"{'enters' if match.when == 'entered' else 'leaves'} segment {match.segment}"
    where = f" where {_shortened(match.where)}" if match.where else ""
    return f"{alternatives(match.names)}{where}{f', each {match.key}' if match.key else ''}"


def _send_time(send: SendTime) -> str:
    when = "at once"
    if send.at is not None:
        clock = "each person's clock" if send.zone == "person" else f"the clock of {send.zone}"
        when = f"{send.at:%d %b %Y %H:%M} on {clock}"
    best = f", at the best hour within {duration_text(send.best_within)}" if send.best_within else ""
    return when + best + (f", {send.rate_per_hour:,} people an hour" if send.rate_per_hour else "")


def _local_time(until: LocalTime) -> str:
    on = f" on {', '.join(until.weekdays)}" if until.weekdays else ""
    if until.date is None:
        return f"{until.time}{on}"
    length = duration_text(abs(until.offset))
    offset = f"{length} {'before' if until.offset < 0 else 'after'} " if until.offset else ""
    at = f" at {until.time}" if until.time else ""
    return f"{offset}{until.date}{at}{', each year' if until.every_year else ''}"


def _shortened(value: object) -> str:
    text = orjson.dumps(_readable(_plain(value)), default=lambda part: _readable(_plain(part)))
    found = text.decode().replace('"', "").replace(",", ", ").replace(":", ": ")
    return found if len(found) <= _CONDITION_CHARACTERS else f"{found[:_CONDITION_CHARACTERS]}…"


def _plain(value: object) -> object:
    return value.model_dump(by_alias=True, exclude_unset=True) if isinstance(value, BaseModel) else value


def _readable(value: object) -> object:
    """Write durations with their units, and lists of one as that one."""
    if isinstance(value, Mapping):
        return {
            str(name): duration_text(part) if name == "within" and isinstance(part, int) else _readable(part)
            for name, part in value.items()
        }
    if isinstance(value, tuple | list):
        return _readable(value[0]) if len(value) == 1 else [_readable(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
