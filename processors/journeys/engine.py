"""Journey engine: entries, runs and exits of one person at a time.

Pure and deterministic: the result depends on the state and on the event or time alone, so a replay into an empty state
repeats it, and processing the same time again changes nothing. Every step of a run is reached at most once, since steps
only lead forwards.

**Time.** `now_ms` is logical time: `received_at` of an event, or the time of a timer. Delays count from it. Whether an
event concerns a run depends on event time: only events that happened after the entry event do, in any order of arrival.

**Order.** An event first ends or continues runs, in the order of their entry, and then starts new ones. Exits are
evaluated before waits.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from processors.intake.event_time import TIME_DOUBTFUL
from processors.journeys import runs as state
from processors.journeys.broadcasts import is_broadcast, is_over
from processors.journeys.compiled import CompiledJourney
from processors.journeys.matching import Event, Matcher
from processors.journeys.runs import Run, Section
from processors.journeys.step_context import MAX_HEARD_BYTES, Resolver, StepContext, event_data
from processors.journeys.steps import StepRunner
from processors.segments.port import Segments
from schemas.decisions.decision import Emit
from schemas.durations import DAY_MS
from schemas.events.envelope import is_historical
from schemas.journeys.control import Controls, JourneyControl
from schemas.journeys.definitions import BroadcastEntry, EventEntry, Journey, SegmentEntry, SegmentMatch, SetTrait
from schemas.profiles.person import Person
from schemas.segments.conditions import SegmentChange
from schemas.territory import ONE_TERRITORY, Territory
from schemas.time import ms_of_text, text_of_ms

MAX_KEYS = 20
"""Maximum number of keys of one event, as in a list of products; further keys are ignored."""
REPORTED_LATENESS_MS = DAY_MS
"""An event that is too late for an entry is reported if it is at most so much later: older events are imported history,
and a row for each of them would have no use."""


class JourneyEngine:
    """Runs journeys, one person at a time.

    Args:
        journeys: The current definitions.
        segments: Evaluates conditions and knows memberships.
        resolver: Decides about messages.
        territory: Of the deployment.
        archive: Former definitions by version, for runs that entered with them. A run without a definition ends with
            the reason `definition_removed`.

    Attributes:
        traits_set: Names of the traits that steps of any version set.
        controls: Journeys that were paused or stopped.
    """

    def __init__(
        self,
        journeys: Iterable[Journey],
        segments: Segments,
        resolver: Resolver,
        *,
        territory: Territory = ONE_TERRITORY,
        archive: Mapping[str, Journey] | None = None,
    ) -> None:
        self._segments = segments
        current = [CompiledJourney(journey, territory.zone) for journey in journeys]
        former = [CompiledJourney(journey, territory.zone) for journey in (archive or {}).values()]
        self._journeys = {journey.version: journey for journey in (*former, *current)}
        self._by_event: dict[str, list[CompiledJourney]] = {}
        self._by_segment: dict[str, list[CompiledJourney]] = {}
        for journey in current:
            if journey.definition.enabled and not is_broadcast(journey.definition):
                entry = journey.entry
                index = self._by_event if isinstance(entry, Matcher) else self._by_segment
                for name in entry.names if isinstance(entry, Matcher) else (entry.segment,):
                    index.setdefault(name, []).append(journey)
        self._awaited = _by_name(self._journeys.values())
        self._lateness = max((late for found in self._awaited.values() for _, late in found), default=0)
        self._waits = frozenset[str]().union(*(journey.waits for journey in self._journeys.values()))
        self._relevant_events = frozenset(self._by_event).union(
            *(journey.event_names for journey in self._journeys.values())
        )
        self._broadcasts = {one.version: one for one in self._journeys.values() if is_broadcast(one.definition)}
        known = [*current, *self._broadcasts.values()]  # a broadcast goes on, and is once, when its file is gone
        self._exclusive = frozenset(one.definition.name for one in known if one.definition.re_entry != "always")
        self._once = frozenset(one.definition.name for one in known if one.definition.re_entry == "once")
        self.traits_set = frozenset(
            name
            for journey in self._journeys.values()
            for _, step in journey.definition.walk()
            if isinstance(step, SetTrait)
            for name in step.set_trait
        )
        self._runner = StepRunner(segments, territory)
        self._resolver = resolver
        self.controls: Controls = {}

    def under(self, controls: Controls) -> JourneyEngine:
        """Return this engine with journeys that are paused or stopped; all that is compiled is shared."""
        controlled = copy.copy(self)
        controlled.controls = controls
        return controlled

    def on_event(
        self, person: Person, event: Event | None, changes: Sequence[SegmentChange], now_ms: int
    ) -> list[Emit]:
        """Process an event, and the segments that the person entered or left.

        Args:
            person: Its state is changed.
            event: A resolved touchpoint; None if only segments have changed.
            changes: Segments entered and left.
            now_ms: Logical time, not before that of the last call.

        Returns:
            Journey events, ledger rows and actions, in order.
        """
        section: Section | None = person.state.get("journeys")
        if not changes and (event is None or event["event"] not in self._relevant_events):
            return self._record_collapsed(person, section, now_ms) if section and "collapsed" in section else []
        happened = now_ms if event is None else min(ms_of_text(event["occurred_at"]), now_ms)
        if section is None:
            section = {}
        context = StepContext(
            person, section, now_ms, event, happened, changes, self._resolver, self._journeys, self.controls
        )
        if section:
            person.state["journeys"] = section
            context.record_collapsed()
            for run_id, run in state.in_order(section.get("runs", {})):
                self._apply_event(context, run_id, run)
            for run_id, run in state.in_order(section.get("past", {})):
                self._apply_late_event(context, run_id, run)
        self._enter(context)
        if event is not None:
            self._remember_event(context, event)
        if section:
            person.state["journeys"] = section
            state.forget(section, now_ms, self._lateness)
            state.tidy(person.state, section)
        return context.out

    def on_time(self, person: Person, now_ms: int) -> list[Emit]:
        """Process everything that is due, each at its own time; the result does not depend on when it is called."""
        section: Section | None = person.state.get("journeys")
        if section is None:
            return []
        out = self._record_collapsed(person, section, now_ms) if "collapsed" in section else []
        runs: dict[str, Run] = section.get("runs", {})
        while waiting := [
            (at, run_id)
            for run_id, run in runs.items()
            if (at := state.due(run, self.controls.get(run["journey"]))) is not None and at <= now_ms
        ]:
            due, run_id = min(waiting)
            context = StepContext(person, section, due, None, due, (), self._resolver, self._journeys, self.controls)
            run = runs[run_id]
            journey = self._journeys.get(run["version"])
            if journey is None:
                context.end(run_id, run, "definition_removed", 0)
            elif context.stopped(run):
                self._runner.stop(context, run_id, run, journey)
            else:
                self._runner.resume(context, run_id, run, journey)
            out += context.out
        state.tidy(person.state, section)
        return out

    def enter_members(self, person: Person, names: Collection[str], now_ms: int) -> list[Emit]:
        """Let a member of a segment enter the journeys among `names` that take in existing members."""
        section: Section = person.state.get("journeys") or {}
        context = StepContext(person, section, now_ms, None, now_ms, (), self._resolver, self._journeys, self.controls)
        members = self._segments.members(person)
        for journey in (one for found in self._by_segment.values() for one in found if one.definition.name in names):
            entry = journey.definition.entry
            assert isinstance(entry, SegmentEntry)
            if entry.existing and entry.segment in members and self._admits(context, journey):
                self._begin(context, journey, "", f"{entry.segment}@{now_ms}", now_ms)
        if section:
            person.state["journeys"] = section
            state.tidy(person.state, section)
        return context.out

    def broadcasts(self, now_ms: int) -> list[tuple[str, JourneyControl]]:
        """Return the broadcasts under way: started, not cancelled and not over, with a definition that is known."""
        return [
            (name, control)
            for name, control in self.controls.items()
            if control.version in self._broadcasts
            and control.state != "stopped"
            and not is_over(self._broadcasts[control.version].definition, control, now_ms)
        ]

    def enter_broadcast(self, person: Person, name: str, now_ms: int) -> list[Emit]:
        """Let a person enter a broadcast that was started, once in a life."""
        section: Section = person.state.get("journeys") or {}
        context = StepContext(person, section, now_ms, None, now_ms, (), self._resolver, self._journeys, self.controls)
        self._begin_broadcast(context, name)
        if section:
            person.state["journeys"] = section
            state.tidy(person.state, section)
        return context.out

    def _begin_broadcast(self, context: StepContext, name: str) -> None:
        under_way = dict(self.broadcasts(context.now_ms))
        if (control := under_way.get(name)) is None:
            return
        entered = context.section.get("entered", {})
        for other in [one for one in entered if self._is_done(one, context.now_ms)]:
            del entered[other]  # nobody can enter it any more, so nobody has to be kept from it
        # The same cause for whoever enters it: a second start is the same run.
        journey, cause = self._broadcasts[control.version], f"broadcast {name}@{control.started_ms}"
        self._begin(context, journey, "", cause, context.now_ms)

    def _is_done(self, name: str, now_ms: int) -> bool:
        """Return whether this is a broadcast that was cancelled, or that is over."""
        control = self.controls.get(name)
        if control is None or (journey := self._broadcasts.get(control.version)) is None:
            return False
        return control.state == "stopped" or is_over(journey.definition, control, now_ms)

    def due(self, person: Person) -> int | None:
        """Return the time of the next step without an event, in milliseconds; None: there is none."""
        section = person.state.get("journeys")
        return state.earliest(section, self.controls) if section else None

    def combine(self, mine: dict[str, Any], other: dict[str, Any]) -> None:
        """Merge the journeys of `other` into `mine`, for two profiles of one person."""
        theirs: Section = other.get("journeys") or {}
        section: Section = mine.get("journeys") or {}
        for one, heard in ((section, theirs.get("heard")), (theirs, section.get("heard"))):
            for run in one.get("runs", {}).values():
                journey = self._journeys.get(run["version"])
                if heard and journey and journey.exit_happened(heard, run["key"], run["since"]):
                    run["over"] = True
        state.combine(section, theirs, self._exclusive, self._once)
        if section:
            mine["journeys"] = section

    # Events and active runs

    def _apply_event(self, context: StepContext, run_id: str, run: Run) -> None:
        journey = self._journeys.get(run["version"])
        if journey is None:
            context.end(run_id, run, "definition_removed", 0)
            return
        if context.event is not None:
            _reach_goals(context, journey, run_id, run)
        for one in journey.exits:
            if context.matches(one, run["since"], run["key"]):
                context.mark_regretted(run)
                what = f"segment {one.segment}" if isinstance(one, SegmentMatch) else (context.event or {}).get("event")
                context.end(run_id, run, f"exit_when: {what}", journey.retained_until(run, context.now_ms))
                return
        step = journey.steps.get(run["step"])
        if step is not None and step.trigger is not None and context.matches(step.trigger, run["from"], run["key"]):
            self._runner.continue_after_event(context, run_id, run, journey, step)

    def _apply_late_event(self, context: StepContext, run_id: str, run: Run) -> None:
        """Apply an event to an ended run: it may reach a goal, or show that a message should not have been sent."""
        journey = self._journeys.get(run["version"])
        if journey is None or context.event is None or run["until"] < context.now_ms:
            return
        _reach_goals(context, journey, run_id, run)
        if any(isinstance(one, Matcher) and context.matches(one, run["since"], run["key"]) for one in journey.exits):
            context.mark_regretted(run)

    # Entries

    def _enter(self, context: StepContext) -> None:
        if context.event is not None and is_historical(context.event):
            return  # nor by a segment that it changes: an import of old orders must not win anybody back
        if context.event is not None:
            for journey in self._by_event.get(context.event["event"], ()):
                assert isinstance(journey.entry, Matcher)
                if journey.entry.matches(context.event):
                    self._enter_by_event(context, journey, context.event, journey.entry)
        for change in context.changes:
            for journey in self._by_segment.get(change.segment, ()):
                wanted = journey.definition.entry
                assert isinstance(wanted, SegmentEntry)
                if change.entered == (wanted.when == "entered") and self._admits(context, journey):
                    self._begin(context, journey, "", f"{change.segment}@{change.at_ms}", change.at_ms)
        entered = {change.segment for change in context.changes if change.entered}
        for name, control in self.broadcasts(context.now_ms) if entered else ():
            entry = self._broadcasts[control.version].definition.entry
            if isinstance(entry, BroadcastEntry) and entry.members == "live" and entry.segment in entered:
                self._begin_broadcast(context, name)

    def _enter_by_event(self, context: StepContext, journey: CompiledJourney, event: Event, entry: Matcher) -> None:
        wanted = journey.definition.entry
        assert isinstance(wanted, EventEntry)
        keys = entry.keys(event)[:MAX_KEYS] or [""]
        cause = f"{event['source']} {event['event_id']}"
        if (event.get("context") or {}).get(
            TIME_DOUBTFUL
        ) is True:  # it may be of any time: a run can not count from it
            for key in keys:
                context.reject_entry("too_late", journey, key, cause, time="doubtful")
        elif (late := context.now_ms - context.happened_ms) > wanted.max_lateness:
            for key in keys if late <= wanted.max_lateness + REPORTED_LATENESS_MS else ():
                context.reject_entry("too_late", journey, key, cause, happened=text_of_ms(context.happened_ms))
        elif self._admits(context, journey):
            for key in keys:
                self._begin(context, journey, key, cause, context.happened_ms)

    def _admits(self, context: StepContext, journey: CompiledJourney) -> bool:
        condition = journey.definition.entry.condition
        return condition is None or self._segments.holds(condition, context.person, context.now_ms)

    def _begin(self, context: StepContext, journey: CompiledJourney, key: str, cause: str, since: int) -> None:
        definition, section = journey.definition, context.section
        entered: dict[str, int] = section.get("entered", {}).get(definition.name, {})
        if definition.re_entry == "once" and key in entered:
            return
        active = state.active(section, definition.name, key) if definition.re_entry != "always" else []
        restarts = definition.re_entry == "restart" and not any(
            "sent" in run or "ghost" in run or run["since"] > since for _, run in active
        )
        if active and not restarts:
            return
        if not active and key in entered and context.now_ms - entered[key] < definition.re_entry_after:
            return
        control = self.controls.get(definition.name)
        if control is not None and control.state == "stopped":
            context.reject_entry("stopped", journey, key, cause, by=control.by)
            return
        if journey.exit_happened(section.get("heard", {}), key, since):
            context.reject_entry("already_over", journey, key, cause)
            return
        if len(section.get("runs", {})) - len(active) >= state.RUNS_KEPT:
            context.reject_entry("too_many_runs", journey, key, cause)
            return
        for run_id, run in active:
            context.end(run_id, run, "restarted", 0)
        if definition.re_entry == "once" or definition.re_entry_after:
            keys = section.setdefault("entered", {}).setdefault(definition.name, {})
            keys[key] = context.now_ms
            state.newest(keys, state.ENTERED_KEPT)
        self._runner.begin(context, journey, key, cause, since)

    def _remember_event(self, context: StepContext, event: Event) -> None:
        """Remember an event that ends runs, as an event that starts one may arrive later."""
        for matcher, lateness in self._awaited.get(event["event"], ()):
            if context.now_ms - context.happened_ms <= lateness and matcher.matches(event):
                heard = context.section.setdefault("heard", {}).setdefault(matcher.signature, {})
                keys = matcher.keys(event)[:MAX_KEYS] or [""]
                for key in keys:
                    heard[key] = max(context.happened_ms, heard.get(key, 0))
                state.newest(heard, state.HEARD_KEPT)
                if matcher.signature in self._waits:
                    events = context.section.setdefault("heard_events", {}).setdefault(matcher.signature, {})
                    kept = event_data(event, MAX_HEARD_BYTES)
                    for key in keys:
                        events[key] = state.later_event(events.get(key), kept)
                    state.forget_events(context.section)

    def _record_collapsed(self, person: Person, section: Section, now_ms: int) -> list[Emit]:
        context = StepContext(person, section, now_ms, None, now_ms, (), self._resolver, self._journeys, self.controls)
        context.record_collapsed()
        state.tidy(person.state, section)
        return context.out


def _by_name(journeys: Iterable[CompiledJourney]) -> dict[str, list[tuple[Matcher, int]]]:
    """Return matchers of exits and waits by event name, each with the maximum lateness of an entry event."""
    found: dict[str, dict[str, tuple[Matcher, int]]] = {}
    for journey in journeys:
        if isinstance(journey.definition.entry, EventEntry):
            for matcher in journey.awaited:
                for name in matcher.names:
                    known = found.setdefault(name, {}).get(matcher.signature, (matcher, 0))
                    lateness = max(known[1], journey.definition.entry.max_lateness)
                    found[name][matcher.signature] = (matcher, lateness)
    return {name: list(matchers.values()) for name, matchers in found.items()}


def _reach_goals(context: StepContext, journey: CompiledJourney, run_id: str, run: Run) -> None:
    for goal, matcher in journey.goals:
        reached: list[str] = run.get("goals", [])
        if (
            goal.name not in reached
            and context.happened_ms <= run["since"] + goal.within
            and context.event is not None
            and context.matches(matcher, run["since"], run["key"])
        ):
            run["goals"] = sorted([*reached, goal.name])
            properties = context.event.get("properties") or {}
            order = {
                name: properties[name] for name in ("order_id", "revenue", "total", "currency") if name in properties
            }
            context.record("goal", run_id, run, goal=goal.name, event=context.event["event"], **order)
