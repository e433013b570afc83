"""What the journeys of one person leave in their state: runs under way, runs that are over, and what was heard.

    {"runs": {run id: run}, "past": {run id: run}, "entered": {journey: {key: ms}}, "heard": {signature: {key: ms}},
     "collapsed": {run id: run}}

A run:

| field | meaning |
| --- | --- |
| `journey`, `version`, `key` | which definition, and which cart (empty: the person as a whole) |
| `at` | logical time of its entry |
| `since` | when the event that let the person in happened: only what happened later concerns the run |
| `event`, `last` | that event, and the last one that was waited for, for templates and dates |
| `step`, `begun` | where the run is, and when it got there |
| `from` | of a wait: it counts what happened from here on |
| `due` | when time alone moves it on; absent in a wait without a timeout |
| `attempt` | how often the message of this step was postponed |
| `pending` | idempotency key of that message |
| `passed` | steps behind it |
| `arm` | of the last random split |
| `sent` | messages that went out: `[ms, idempotency key]` |
| `ghost` | a message would have gone out, were the person not held out |
| `goals` | reached ones |
| `until` | of a run that is over: until when goals and late events still concern it |

Sections without content are absent. Every section is bounded.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

Run = dict[str, Any]
Section = dict[str, Any]

RUNS_KEPT = 50
"""Runs under way at a time; nobody enters beyond."""
PAST_KEPT = 50
"""Runs that are over but may still reach a goal: the last ones to be so."""
ENTERED_KEPT = 200
"""Keys of a journey of which it is known that they had their run: the most recent ones."""
HEARD_KEPT = 20
"""Keys of one kind of event that are remembered in case that what it ends is yet to be heard of."""


def earliest(section: Section) -> int | None:
    """Tell when time alone will do something."""
    runs, collapsed = section.get("runs"), section.get("collapsed")
    times = [run["due"] for run in runs.values() if "due" in run] if runs else []
    if collapsed:
        times += [run["begun"] for run in collapsed.values()]
    return min(times) if times else None


def in_order(runs: dict[str, Run]) -> list[tuple[str, Run]]:
    """List runs in the order in which they were entered."""
    return sorted(runs.items(), key=lambda item: (item[1]["at"], item[0]))


def active(section: Section, journey: str, key: str) -> list[tuple[str, Run]]:
    """List the runs of this journey and key that are under way."""
    runs = section.get("runs", {}).items()
    return [(run_id, run) for run_id, run in runs if run["key"] == key and run["journey"] == journey]


def newest(times: dict[str, int], limit: int) -> None:
    """Forget the oldest entries beyond a limit."""
    if len(times) > limit:
        for key in sorted(times, key=lambda key: (times[key], key))[:-limit]:
            del times[key]


def keep(section: Section, run_id: str, run: Run) -> None:
    """Remember a run that is over, if need be instead of the one that would be forgotten first."""
    past: dict[str, Run] = section.setdefault("past", {})
    past[run_id] = run
    if len(past) > PAST_KEPT:
        del past[min(past, key=lambda one: (past[one]["until"], one))]


def forget(section: Section, now_ms: int, lateness: int) -> None:
    """Drop what no longer concerns anything.

    Args:
        section: A person's journeys.
        now_ms: Logical time.
        lateness: How late an event may begin a run: what was heard before that ends none.
    """
    if past := section.get("past"):
        for run_id in [run_id for run_id, run in past.items() if run["until"] < now_ms]:
            del past[run_id]
    if heard := section.get("heard"):
        for signature, times in list(heard.items()):
            for key in [key for key, at in times.items() if at < now_ms - lateness]:
                del times[key]
            if not times:
                del heard[signature]


def tidy(state: dict[str, Any], section: Section) -> None:
    """Drop empty sections."""
    for name in [name for name, content in section.items() if not content]:
        del section[name]
    if not section:
        state.pop("journeys", None)


def combine(mine: Section, other: Section, exclusive: Collection[str], once: Collection[str]) -> None:
    """Join the journeys of two people who turned out to be one; the order of the two does not matter.

    Runs of the same journey and key become one: the one that is further, else the one that was entered first. What the
    other had sent counts as sent by it.

    Args:
        mine: Receives the result.
        other: Not to be used any more.
        exclusive: Journeys of which a person has one run a key at a time.
        once: Journeys that a person has once in their life.
    """
    had = [_had(mine, once), _had(other, once)]
    runs: dict[str, Run] = {}
    collapsed: dict[str, Run] = {**mine.get("collapsed", {}), **other.get("collapsed", {})}
    best: dict[tuple[str, str], str] = {}
    candidates = {**mine.get("runs", {}), **other.get("runs", {})}
    for run_id in sorted(
        candidates, key=lambda run_id: (-candidates[run_id]["passed"], candidates[run_id]["at"], run_id)
    ):
        run = candidates[run_id]
        place = (run["journey"], run["key"])
        theirs = had[1] if run_id in mine.get("runs", {}) else had[0]
        if run.pop("over", False):
            collapsed[run_id] = run
        elif run["journey"] in exclusive and place in best:
            _give(run, runs[best[place]])
            collapsed[run_id] = run
        elif place in theirs:
            collapsed[run_id] = run
        else:
            best[place] = run_id
            runs[run_id] = run
    joined = {
        "runs": runs,
        "past": {**mine.get("past", {}), **other.get("past", {})},
        "collapsed": collapsed,
        "entered": _latest(mine.get("entered", {}), other.get("entered", {}), ENTERED_KEPT),
        "heard": _latest(mine.get("heard", {}), other.get("heard", {}), HEARD_KEPT),
    }
    mine.clear()
    mine.update({name: content for name, content in joined.items() if content})


def _had(section: Section, once: Collection[str]) -> set[tuple[str, str]]:
    """List the runs that a person has had and may not have again."""
    under_way = {(run["journey"], run["key"]) for run in section.get("runs", {}).values()}
    entered: Iterator[tuple[str, str]] = (
        (journey, key) for journey, keys in section.get("entered", {}).items() if journey in once for key in keys
    )
    return {place for place in entered if place not in under_way}


def _give(run: Run, to: Run) -> None:
    """Let one run answer for the messages and goals of another."""
    if sent := run.pop("sent", None):
        to["sent"] = sorted([*to.get("sent", []), *sent])
    if run.pop("ghost", False):
        to["ghost"] = True
    if goals := run.pop("goals", None):
        to["goals"] = sorted({*to.get("goals", []), *goals})
    to["since"] = min(to["since"], run["since"])


def _latest(mine: dict[str, Any], other: dict[str, Any], limit: int) -> dict[str, Any]:
    joined: dict[str, dict[str, int]] = {}
    for times in (mine, other):
        for name, keys in times.items():
            into = joined.setdefault(name, {})
            for key, at in keys.items():
                into[key] = max(at, into.get(key, at))
    for keys in joined.values():
        newest(keys, limit)
    return joined
