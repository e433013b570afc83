"""The steps of a run: what each of them does when it is reached."""

from __future__ import annotations

from typing import Any, cast
from zoneinfo import ZoneInfo

import orjson

from processors.decisions import calendar
from processors.journeys import timers
from processors.journeys.compiled import END, Op, Program, draw
from processors.journeys.events import identity
from processors.journeys.matching import Event, Matcher
from processors.journeys.runs import Run
from processors.journeys.turn import Segments, Turn
from processors.profiles.joins import first_by_name
from processors.segments.event_filters import values_at
from schemas.decisions.decision import Emit, MessageRequest
from schemas.durations import SECOND_MS
from schemas.journeys.definitions import (
    Delay,
    Exit,
    If,
    MessageNode,
    RandomSplit,
    SegmentMatch,
    SetTrait,
    Until,
    WaitFor,
    Webhook,
)
from schemas.profiles.document import TRAIT_BYTES, TRAITS_KEPT
from schemas.profiles.person import Person
from schemas.time import text_of_ms
from schemas.topics import ACTIONS, DECISIONS

EVENT_BYTES = 4000
"""Longest properties of an event that a run keeps for its templates; of longer ones only the single values stay."""
MOST_ATTEMPTS = 100
"""A message that was postponed more often expires."""
DONE = None


class Steps:
    """Moves runs along.

    Args:
        segments: Answers conditions.
        zone: Time zone of a person whose own is not known.
    """

    def __init__(self, segments: Segments, zone: ZoneInfo) -> None:
        self._segments = segments
        self._zone = zone
        self._enter = {
            Delay: self._delay,
            Until: self._until,
            WaitFor: self._wait_for,
            If: self._if,
            RandomSplit: self._random,
            MessageNode: self._message,
            SetTrait: self._set_trait,
            Webhook: self._webhook,
            Exit: self._exit,
        }

    def begin(self, turn: Turn, program: Program, key: str, cause: str, since: int) -> None:
        """Start a run, and take it as far as it goes at once.

        Args:
            turn: What lets the person in.
            program: The journey.
            key: Which cart; empty for the person as a whole.
            cause: Id of the event, or of the change of a segment: the same one starts the same run.
            since: When that happened.
        """
        journey = program.journey.name
        run_id = identity("run", journey, program.version, turn.person.profile_id, key, cause)
        runs = turn.section.setdefault("runs", {})
        if run_id in runs:
            return
        run: Run = {
            "journey": journey,
            "version": program.version,
            "key": key,
            "at": turn.now,
            "since": since,
            "passed": 0,
        }
        if turn.event is not None:
            run["event"] = _told(turn.event)
        run["step"] = ""
        runs[run_id] = run
        turn.say("journey_entered", run_id, run)
        self._go(turn, run_id, run, program, program.first)

    def resume(self, turn: Turn, run_id: str, run: Run, program: Program) -> None:
        """Go on with a run whose time has come."""
        del run["due"]
        op = program.ops[run["step"]]
        if isinstance(op.node, WaitFor):
            turn.say("step", run_id, run, op.id, happened=False)
            self._go(turn, run_id, run, program, op.ways[1])
        elif isinstance(op.node, MessageNode):
            following = self._message(turn, run_id, run, program, op)
            if following is not DONE:
                self._go(turn, run_id, run, program, following)
        else:
            self._go(turn, run_id, run, program, op.next)

    def happened(self, turn: Turn, run_id: str, run: Run, program: Program, op: Op) -> None:
        """Go on with a run that has waited for what happens now."""
        run.pop("due", None)
        if turn.event is not None and isinstance(op.trigger, Matcher):
            run["last"] = _told(turn.event)
        turn.say("step", run_id, run, op.id, happened=True)
        self._go(turn, run_id, run, program, op.ways[0])

    def _go(self, turn: Turn, run_id: str, run: Run, program: Program, step: str) -> None:
        """Take step after step until one has to wait."""
        while step != END:
            op = program.ops[step]
            run["passed"] += 1
            run["step"], run["begun"] = op.id, turn.now
            following = self._enter[type(op.node)](turn, run_id, run, program, op)
            if following is DONE:
                return
            step = following
        turn.end(run_id, run, "completed", program.remembered_until(run, turn.now))

    # Each answers with the step that follows, or DONE: the run waits, or is over.

    def _delay(self, turn: Turn, run_id: str, run: Run, program: Program, op: Op) -> str | None:
        node = cast(Delay, op.node)
        return self._wait(turn, run_id, run, op, turn.now + node.delay)

    def _until(self, turn: Turn, run_id: str, run: Run, program: Program, op: Op) -> str | None:
        wanted = cast(Until, op.node).until
        zone = calendar.zone_of(turn.person.document, self._zone)
        stated = _stated(wanted.date, run, turn.person) if wanted.date else None
        due = timers.moment(wanted, stated, turn.now, zone)
        if due is not None:
            return self._wait(turn, run_id, run, op, due)
        ahead = wanted.if_missed == "continue_if_ahead" and timers.ahead(wanted, stated, turn.now, zone)
        if ahead or wanted.if_missed == "continue":
            return op.next
        turn.end(run_id, run, f"no such moment: {wanted.date}", program.remembered_until(run, turn.now))
        return DONE

    def _wait_for(self, turn: Turn, run_id: str, run: Run, program: Program, op: Op) -> str | None:
        node, trigger = cast(WaitFor, op.node), op.trigger
        # What led here counts by the time at which it happened, so that what followed it counts however late it comes.
        run["from"] = max(run["since"], turn.happened)
        if isinstance(trigger, SegmentMatch):
            inside = trigger.segment in self._segments.members(turn.person)
            already = inside == (trigger.when == "entered")
        else:
            assert trigger is not None
            # What has happened since may have been heard of before; this event itself is not noted yet.
            already = trigger.heard(turn.section.get("heard", {}), run["key"], run["from"])
        if already:
            turn.say("step", run_id, run, op.id, happened=True)
            return op.ways[0]
        due = turn.now + node.timeout if node.timeout is not None else None
        return self._wait(turn, run_id, run, op, due)

    def _wait(self, turn: Turn, run_id: str, run: Run, op: Op, due: int | None) -> str | None:
        if due is not None:
            run["due"] = due
        turn.say("waiting", run_id, run, op.id, until=text_of_ms(due) if due is not None else None)
        return DONE

    def _if(self, turn: Turn, run_id: str, run: Run, program: Program, op: Op) -> str | None:
        holds = self._segments.holds(cast(If, op.node).condition, turn.person, turn.now)
        turn.say("step", run_id, run, op.id, holds=holds)
        return op.ways[0 if holds else 1]

    def _random(self, turn: Turn, run_id: str, run: Run, program: Program, op: Op) -> str | None:
        arms = cast(RandomSplit, op.node).random
        chosen = draw([arm.weight for arm in arms], turn.person.profile_id, program.journey.name, op.id)
        run["arm"] = arms[chosen].name
        turn.say("step", run_id, run, op.id, arm=run["arm"])
        return op.ways[chosen]

    def _set_trait(self, turn: Turn, run_id: str, run: Run, program: Program, op: Op) -> str | None:
        document = turn.person.document
        known = document.get("traits", {})
        # What the journey says is the last word, also over a statement of this very moment.
        traits = {
            name: [value, max(turn.now, known[name][1] + 1) if name in known else turn.now]
            for name, value in cast(SetTrait, op.node).set_trait.items()
            if len(orjson.dumps(value)) <= TRAIT_BYTES
        }
        document["traits"] = first_by_name({**known, **traits}, TRAITS_KEPT)
        turn.say("trait_updated", run_id, run, op.id, traits=cast(SetTrait, op.node).set_trait)
        return op.next

    def _webhook(self, turn: Turn, run_id: str, run: Run, program: Program, op: Op) -> str | None:
        node = cast(Webhook, op.node)
        key = identity("webhook", run_id, op.id)
        turn.out.append(
            Emit(
                ACTIONS,
                {
                    "idempotency_key": key,
                    "decision_id": "",
                    "profile_id": turn.person.profile_id,
                    "journey": run["journey"],
                    "run_id": run_id,
                    "step": op.id,
                    "channel": "webhook",
                    "address": {"type": "webhook", "value": node.webhook},
                    "webhook": node.webhook,
                    "context": _context(run, node.data),
                    "identifiers": [],
                },
            )
        )
        turn.say("step", run_id, run, op.id, webhook=node.webhook)
        return op.next

    def _exit(self, turn: Turn, run_id: str, run: Run, program: Program, op: Op) -> str | None:
        turn.end(run_id, run, cast(Exit, op.node).exit, program.remembered_until(run, turn.now))
        return DONE

    def _message(self, turn: Turn, run_id: str, run: Run, program: Program, op: Op) -> str | None:
        node, variant = program.message(op, turn.person.profile_id, run.get("arm", ""))
        attempt = run.get("attempt", 0)
        request = MessageRequest(
            journey=run["journey"],
            journey_version=run["version"],
            run_id=run_id,
            step=op.id,
            message=node,
            asked_ms=run["begun"],
            attempt=attempt,
            trigger_event_id=turn.event_id,
            context=_context(run, node.data),
            expires_ms=turn.now if attempt >= MOST_ATTEMPTS else None,
            holdout_share=program.journey.holdout,
            variant=variant,
        )
        decision = turn.sender.decide(turn.person, request, turn.now)
        turn.out.append(Emit(DECISIONS, decision.row))
        if decision.outcome == "postponed":
            assert decision.until_ms is not None
            run["attempt"], run["pending"] = attempt + 1, decision.row["idempotency_key"]
            run["due"] = max(decision.until_ms, turn.now + SECOND_MS)
            return DONE
        run.pop("attempt", None)
        run.pop("pending", None)
        if decision.action is not None:
            turn.out.append(Emit(ACTIONS, decision.action))
            run.setdefault("sent", []).append([turn.now, decision.row["idempotency_key"]])
        elif decision.outcome == "ghost":
            run["ghost"] = True
        return op.next


def _told(event: Event) -> dict[str, Any]:
    """Keep of an event what templates and dates may need of it."""
    properties = event.get("properties") or {}
    if len(orjson.dumps(properties)) > EVENT_BYTES:
        short = {
            name: value
            for name, value in properties.items()
            if not isinstance(value, dict | list) and len(str(value)) <= EVENT_BYTES // 20
        }
        properties = dict(list(short.items())[:20])
    told = {name: event[name] for name in ("event_id", "event", "channel", "occurred_at")}
    return {**told, "properties": properties}


def _context(run: Run, data: dict[str, Any]) -> dict[str, Any]:
    about = {"key": run["key"], "entered_at": text_of_ms(run["at"]), "data": data}
    if "last" in run:
        about["last"] = run["last"]
    return {"event": run.get("event", {}), "run": about}


def _stated(path: str, run: Run, person: Person) -> Any:
    """Look up the date that a step waits for."""
    source, _, name = path.partition(".")
    if source == "trait":
        return person.document.get("traits", {}).get(name, (None,))[0]
    event = run.get(source)
    found = values_at(f"properties.{name.removeprefix('properties.')}")(event) if event else []
    return found[0] if found else None
