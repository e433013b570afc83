"""Who is on which journey, and what happens to them next.

Pure and exact: what is done follows from the state and from the event or the time alone, so a replay into an empty
state does the same again, and asking twice does nothing twice. Every step of a run is reached at most once, since steps
only lead forwards.

**Time.** `now_ms` is the time of the log: an event's `received_at`, or the time that a timer was set to. Delays count
from it. Whether an event concerns a run is told by when it *happened*: only what happened after the event that let the
person in does, in whatever order the two arrive.

**Order.** An event first ends runs or lets them go on, in the order in which they were entered, and then lets people
in. What ends a run goes before what the run waits for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from processors.decisions import calendar
from processors.journeys import runs as state
from processors.journeys.compiled import Program
from processors.journeys.matching import Event, Matcher
from processors.journeys.runs import Run, Section
from processors.journeys.steps import Steps
from processors.journeys.turn import Segments, Sender, Turn
from schemas.decisions.decision import Emit
from schemas.durations import DAY_MS
from schemas.journeys.definitions import EventEntry, Journey, SegmentEntry, SegmentMatch
from schemas.profiles.person import Person
from schemas.segments.conditions import SegmentChange
from schemas.time import ms_of_text, text_of_ms

MOST_KEYS = 20
"""Runs that one event can begin, or answer: keys in a list of products beyond are not looked at."""
TOLD_MS = DAY_MS
"""An event that came too late to let anybody in is reported if it was no later than that; what is older is no news
that was late, but history that is imported, and a row for each event of it would say nothing."""


class JourneyEngine:
    """Runs journeys, one person at a time.

    Args:
        journeys: The definitions in force.
        segments: Answers conditions, and who is in a segment.
        resolver: Decides about messages.
        timezone: Time zone of a person whose own is not known.
        archive: Former definitions by version, for runs that entered with them. A run whose definition is in neither
            ends with the reason `definition_removed`.
    """

    def __init__(
        self,
        journeys: Iterable[Journey],
        segments: Segments,
        resolver: Sender,
        *,
        timezone: str = "UTC",
        archive: Mapping[str, Journey] | None = None,
    ) -> None:
        zone = calendar.zone_named(timezone) or ZoneInfo("UTC")
        self._segments = segments
        current = [Program(journey, zone) for journey in journeys]
        former = [Program(journey, zone) for journey in (archive or {}).values()]
        self._programs = {program.version: program for program in (*former, *current)}
        self._by_event: dict[str, list[Program]] = {}
        self._by_segment: dict[str, list[Program]] = {}
        for program in current:
            if program.journey.enabled:
                entry = program.entry
                index = self._by_event if isinstance(entry, Matcher) else self._by_segment
                for name in entry.names if isinstance(entry, Matcher) else (entry.segment,):
                    index.setdefault(name, []).append(program)
        self._settling = _by_name(self._programs.values())
        self._lateness = max((late for found in self._settling.values() for _, late in found), default=0)
        self._interesting = frozenset(self._by_event).union(*(program.heard for program in self._programs.values()))
        self._exclusive = frozenset(one.journey.name for one in current if one.journey.re_entry != "always")
        self._once = frozenset(one.journey.name for one in current if one.journey.re_entry == "once")
        self._steps = Steps(segments, zone)
        self._resolver = resolver

    def on_event(
        self, person: Person, event: Event | None, changes: Sequence[SegmentChange], now_ms: int
    ) -> list[Emit]:
        """Do what follows from an event, and from the segments that the person entered or left.

        Args:
            person: Their state is changed.
            event: A resolved touchpoint; None when only segments have changed.
            changes: What the segment engine said about it.
            now_ms: Logical time, not before the last call's.

        Returns:
            Journey events, ledger rows and orders to deliver, in the order in which they came about.
        """
        section: Section | None = person.state.get("journeys")
        if not changes and (event is None or event["event"] not in self._interesting):
            return self._settle(person, section, now_ms) if section and "collapsed" in section else []
        happened = now_ms if event is None else min(ms_of_text(event["occurred_at"]), now_ms)
        if section is None:
            section = {}
        turn = Turn(person, section, now_ms, event, happened, changes, self._resolver, self._programs)
        if section:
            person.state["journeys"] = section
            turn.settle_collapsed()
            for run_id, run in state.in_order(section.get("runs", {})):
                self._answer(turn, run_id, run)
            for run_id, run in state.in_order(section.get("past", {})):
                self._answer_late(turn, run_id, run)
        self._enter(turn)
        if event is not None:
            self._remember(turn, event)
        if section:
            person.state["journeys"] = section
            state.forget(section, now_ms, self._lateness)
            state.tidy(person.state, section)
        return turn.out

    def on_time(self, person: Person, now_ms: int) -> list[Emit]:
        """Do everything that is due, each at its own time; calling it more often, or later, does the same."""
        section: Section | None = person.state.get("journeys")
        if section is None:
            return []
        out = self._settle(person, section, now_ms) if "collapsed" in section else []
        runs: dict[str, Run] = section.get("runs", {})
        while waiting := [(run["due"], run_id) for run_id, run in runs.items() if run.get("due", now_ms + 1) <= now_ms]:
            due, run_id = min(waiting)
            turn = Turn(person, section, due, None, due, (), self._resolver, self._programs)
            run = runs[run_id]
            program = self._programs.get(run["version"])
            if program is None:
                turn.end(run_id, run, "definition_removed", 0)
            else:
                self._steps.resume(turn, run_id, run, program)
            out += turn.out
        state.tidy(person.state, section)
        return out

    def due(self, person: Person) -> int | None:
        """Tell when time alone will do something; None: never."""
        section = person.state.get("journeys")
        return state.earliest(section) if section else None

    def combine(self, mine: dict[str, Any], other: dict[str, Any]) -> None:
        """Join the states of two people who turned out to be one: `other`'s journeys go into `mine`."""
        theirs: Section = other.get("journeys") or {}
        section: Section = mine.get("journeys") or {}
        for one, heard in ((section, theirs.get("heard")), (theirs, section.get("heard"))):
            for run in one.get("runs", {}).values():
                program = self._programs.get(run["version"])
                if heard and program and program.over(heard, run["key"], run["since"]):
                    run["over"] = True
        state.combine(section, theirs, self._exclusive, self._once)
        if section:
            mine["journeys"] = section

    # An event and the runs under way

    def _answer(self, turn: Turn, run_id: str, run: Run) -> None:
        program = self._programs.get(run["version"])
        if program is None:
            turn.end(run_id, run, "definition_removed", 0)
            return
        if turn.event is not None:
            _reach_goals(turn, program, run_id, run)
        for one in program.exits:
            if turn.meets(one, run["since"], run["key"]):
                turn.regret(run)
                what = f"segment {one.segment}" if isinstance(one, SegmentMatch) else (turn.event or {}).get("event")
                turn.end(run_id, run, f"exit_when: {what}", program.remembered_until(run, turn.now))
                return
        op = program.ops.get(run["step"])
        if op is not None and op.trigger is not None and turn.meets(op.trigger, run["from"], run["key"]):
            self._steps.happened(turn, run_id, run, program, op)

    def _answer_late(self, turn: Turn, run_id: str, run: Run) -> None:
        """See whether an event still concerns a run that is over: it is its success, or its message was a mistake."""
        program = self._programs.get(run["version"])
        if program is None or turn.event is None or run["until"] < turn.now:
            return
        _reach_goals(turn, program, run_id, run)
        if any(isinstance(one, Matcher) and turn.meets(one, run["since"], run["key"]) for one in program.exits):
            turn.regret(run)

    # Ways in

    def _enter(self, turn: Turn) -> None:
        if turn.event is not None:
            for program in self._by_event.get(turn.event["event"], ()):
                assert isinstance(program.entry, Matcher)
                if program.entry.matches(turn.event):
                    self._enter_by_event(turn, program, turn.event, program.entry)
        for change in turn.changes:
            for program in self._by_segment.get(change.segment, ()):
                wanted = program.journey.entry
                assert isinstance(wanted, SegmentEntry)
                if change.entered == (wanted.when == "entered") and self._admits(turn, program):
                    self._begin(turn, program, "", f"{change.segment}@{change.at_ms}", change.at_ms)

    def _enter_by_event(self, turn: Turn, program: Program, event: Event, entry: Matcher) -> None:
        wanted = program.journey.entry
        assert isinstance(wanted, EventEntry)
        keys = entry.keys(event)[:MOST_KEYS] or [""]
        if (late := turn.now - turn.happened) > wanted.max_lateness:
            for key in keys if late <= wanted.max_lateness + TOLD_MS else ():
                turn.turn_away("too_late", program, key, event["event_id"], happened=text_of_ms(turn.happened))
        elif self._admits(turn, program):
            for key in keys:
                self._begin(turn, program, key, event["event_id"], turn.happened)

    def _admits(self, turn: Turn, program: Program) -> bool:
        condition = program.journey.entry.condition
        return condition is None or self._segments.holds(condition, turn.person, turn.now)

    def _begin(self, turn: Turn, program: Program, key: str, cause: str, since: int) -> None:
        journey, section = program.journey, turn.section
        entered: dict[str, int] = section.get("entered", {}).get(journey.name, {})
        if journey.re_entry == "once" and key in entered:
            return
        under_way = state.active(section, journey.name, key) if journey.re_entry != "always" else []
        restarts = journey.re_entry == "restart" and not any(
            "sent" in run or "ghost" in run or run["since"] > since for _, run in under_way
        )
        if under_way and not restarts:
            return
        if not under_way and key in entered and turn.now - entered[key] < journey.re_entry_after:
            return
        if program.over(section.get("heard", {}), key, since):
            turn.turn_away("already_over", program, key, cause)
            return
        if len(section.get("runs", {})) - len(under_way) >= state.RUNS_KEPT:
            turn.turn_away("too_many_runs", program, key, cause)
            return
        for run_id, run in under_way:
            turn.end(run_id, run, "restarted", 0)
        if journey.re_entry == "once" or journey.re_entry_after:
            keys = section.setdefault("entered", {}).setdefault(journey.name, {})
            keys[key] = turn.now
            state.newest(keys, state.ENTERED_KEPT)
        self._steps.begin(turn, program, key, cause, since)

    def _remember(self, turn: Turn, event: Event) -> None:
        """Note an event that ends runs, in case that the event which begins one comes after it."""
        for matcher, lateness in self._settling.get(event["event"], ()):
            if turn.now - turn.happened <= lateness and matcher.matches(event):
                heard = turn.section.setdefault("heard", {}).setdefault(matcher.signature, {})
                for key in matcher.keys(event)[:MOST_KEYS] or [""]:
                    heard[key] = max(turn.happened, heard.get(key, 0))
                state.newest(heard, state.HEARD_KEPT)

    def _settle(self, person: Person, section: Section, now_ms: int) -> list[Emit]:
        turn = Turn(person, section, now_ms, None, now_ms, (), self._resolver, self._programs)
        turn.settle_collapsed()
        state.tidy(person.state, section)
        return turn.out


def _by_name(programs: Iterable[Program]) -> dict[str, list[tuple[Matcher, int]]]:
    """Index what ends runs that an event begins, by event, with how late such an event may come to begin one."""
    found: dict[str, dict[str, tuple[Matcher, int]]] = {}
    for program in programs:
        if isinstance(program.journey.entry, EventEntry):
            for matcher in program.settling:
                for name in matcher.names:
                    known = found.setdefault(name, {}).get(matcher.signature, (matcher, 0))
                    lateness = max(known[1], program.journey.entry.max_lateness)
                    found[name][matcher.signature] = (matcher, lateness)
    return {name: list(matchers.values()) for name, matchers in found.items()}


def _reach_goals(turn: Turn, program: Program, run_id: str, run: Run) -> None:
    for goal, matcher in program.goals:
        reached: list[str] = run.get("goals", [])
        if (
            goal.name not in reached
            and turn.happened <= run["since"] + goal.within
            and turn.event is not None
            and turn.meets(matcher, run["since"], run["key"])
        ):
            run["goals"] = sorted([*reached, goal.name])
            properties = turn.event.get("properties") or {}
            worth = {
                name: properties[name] for name in ("order_id", "revenue", "total", "currency") if name in properties
            }
            turn.say("goal", run_id, run, goal=goal.name, event=turn.event["event"], **worth)
