"""State of the journeys of one person: active runs, ended runs, and remembered events.

    {"runs": {run id: run}, "past": {run id: run}, "entered": {journey: {key: ms}}, "heard": {signature: {key: ms}},
     "heard_events": {signature: {key: event}}, "collapsed": {run id: run}}

`heard_events` has the events of `heard` that a wait may be for, so that a wait that they end at once has its event.

A run:

| field | meaning |
| --- | --- |
| `journey`, `version`, `key` | definition, and key such as a cart id (empty: the run is about the person) |
| `at` | logical time of its entry |
| `since` | event time of the entry event: only later events concern the run |
| `event`, `last` | the entry event and the last awaited event, for templates and dates |
| `step`, `begun` | id of the current step, and when the run reached it |
| `from` | of a wait: event time from which events count |
| `due` | when it continues without an event; absent in a wait without a timeout |
| `held` | since when a pause of the journey holds it at its step |
| `paced` | of a broadcast with a rate: how long it had been paused when its time was set, in ms |
| `behind` | of such a run that is held: how long after the beginning of the pause its time had come, in ms |
| `attempt` | how many times the message of this step was postponed |
| `pending` | idempotency key of that message |
| `passed` | number of steps reached |
| `arm` | arm of the last random split |
| `sent` | messages that went out: `[ms, idempotency key]` |
| `ghost` | a message was not sent because the person is held out |
| `goals` | names of the goals reached |
| `until` | of an ended run: until when it is kept for goals and late events |

Sections without content are absent. Every section is bounded.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from schemas.journeys.control import Controls, JourneyControl

Run = dict[str, Any]
Section = dict[str, Any]

RUNS_KEPT = 50
"""Maximum number of active runs of a person; further entries are rejected."""
PAST_KEPT = 50
"""Maximum number of ended runs kept for goals and late events: those with the latest `until`."""
ENTERED_KEPT = 200
"""Maximum number of keys of a journey whose entry is remembered: the latest ones."""
HEARD_KEPT = 20
"""Maximum number of keys for which an event that ends runs is remembered: the latest ones."""


def due(run: Run, control: JourneyControl | None) -> int | None:
    """Return when a run continues without an event, in milliseconds; None: it does not.

    Args:
        run: The run.
        control: The state of its journey; None: it was never paused or stopped.
    """
    at: int | None = run.get("due")
    held: int | None = run.get("held")
    if control is None:
        return held if at is None else at
    if control.ends(run["at"]):
        return max(control.stopped_ms, int(run["begun"]))
    if held is not None:
        return None if control.state == "paused" else max(control.since_ms + int(run.get("behind", 0)), held)
    return at if at is None or "paced" not in run else at + control.paused_ms - int(run["paced"])


def earliest(section: Section, controls: Controls) -> int | None:
    """Return the time of the next step without an event, in milliseconds; None: there is none."""
    runs, collapsed = section.get("runs"), section.get("collapsed")
    found = [due(run, controls.get(run["journey"])) for run in runs.values()] if runs else []
    times = [at for at in found if at is not None]
    if collapsed:
        times += [run["begun"] for run in collapsed.values()]
    return min(times) if times else None


def in_order(runs: dict[str, Run]) -> list[tuple[str, Run]]:
    """Return runs in the order of their entry."""
    return sorted(runs.items(), key=lambda item: (item[1]["at"], item[0]))


def active(section: Section, journey: str, key: str) -> list[tuple[str, Run]]:
    """Return the active runs of a journey and key."""
    runs = section.get("runs", {}).items()
    return [(run_id, run) for run_id, run in runs if run["key"] == key and run["journey"] == journey]


def newest(times: dict[str, int], limit: int) -> None:
    """Drop the oldest entries beyond a limit."""
    if len(times) > limit:
        for key in sorted(times, key=lambda key: (times[key], key))[:-limit]:
            del times[key]


def keep(section: Section, run_id: str, run: Run) -> None:
    """Keep an ended run; beyond `PAST_KEPT` the one with the earliest `until` is dropped."""
    past: dict[str, Run] = section.setdefault("past", {})
    past[run_id] = run
    if len(past) > PAST_KEPT:
        del past[min(past, key=lambda one: (past[one]["until"], one))]


def forget(section: Section, now_ms: int, lateness: int) -> None:
    """Drop expired ended runs and remembered events.

    Args:
        section: Journeys of a person.
        now_ms: Logical time.
        lateness: Maximum lateness of an entry event: older remembered events can end no new run.
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
        forget_events(section)


def forget_events(section: Section) -> None:
    """Drop the events whose time is no longer remembered."""
    if (events := section.get("heard_events")) is None:
        return
    heard = section.get("heard", {})
    for signature, by_key in list(events.items()):
        for key in by_key.keys() - heard.get(signature, {}).keys():
            del by_key[key]
        if not by_key:
            del events[signature]


def tidy(state: dict[str, Any], section: Section) -> None:
    """Drop empty sections."""
    for name in [name for name, content in section.items() if not content]:
        del section[name]
    if not section:
        state.pop("journeys", None)


def combine(mine: Section, other: Section, exclusive: Collection[str], once: Collection[str]) -> None:
    """Merge the journeys of two profiles of one person; the order of the two does not matter.

    Of runs of the same journey and key, the one with more steps is kept, else the one entered first. It takes over the
    messages of the other.

    Args:
        mine: Receives the result.
        other: Must not be used afterwards.
        exclusive: Journeys with one active run for each key.
        once: Journeys that a person enters once.
    """
    had = [_finished(mine, once), _finished(other, once)]
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
            _transfer(run, runs[best[place]])
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
        "heard_events": _latest_events(mine.get("heard_events", {}), other.get("heard_events", {})),
    }
    forget_events(joined)
    mine.clear()
    mine.update({name: content for name, content in joined.items() if content})


def _finished(section: Section, once: Collection[str]) -> set[tuple[str, str]]:
    """Return (journey, key) of the runs that a person has had and cannot have again."""
    under_way = {(run["journey"], run["key"]) for run in section.get("runs", {}).values()}
    entered: Iterator[tuple[str, str]] = (
        (journey, key) for journey, keys in section.get("entered", {}).items() if journey in once for key in keys
    )
    return {place for place in entered if place not in under_way}


def _transfer(run: Run, to: Run) -> None:
    """Move messages and goals of one run to another."""
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


def later_event(mine: dict[str, Any] | None, other: dict[str, Any]) -> dict[str, Any]:
    """Return the event that happened later; of two of one time the one with the greater id, in either order."""
    if mine is None:
        return other
    return max(mine, other, key=lambda event: (event["occurred_at"], event["event_id"]))


def _latest_events(mine: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    joined: dict[str, Any] = {signature: dict(by_key) for signature, by_key in mine.items()}
    for signature, by_key in other.items():
        into = joined.setdefault(signature, {})
        for key, event in by_key.items():
            into[key] = later_event(into.get(key), event)
    return joined
