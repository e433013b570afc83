"""Context of a step: the event or timer of one person, and what is emitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import orjson

from processors.journeys.compiled import CompiledJourney, CompiledStep, Trigger
from processors.journeys.events import journey_event
from processors.journeys.matching import Event, Matcher, concerns
from processors.journeys.runs import Run, Section, keep
from schemas.decisions.decision import Decision, Emit, HeldBack, MessageRequest
from schemas.identity.resolution import uuid_of
from schemas.journeys.control import Controls, JourneyControl
from schemas.journeys.definitions import MessageNode
from schemas.profiles.person import Person
from schemas.segments.conditions import SegmentChange
from schemas.time import text_of_ms
from schemas.topics import DECISIONS

MAX_EVENT_BYTES = 4000
"""Maximum size of event properties that a run keeps for templates; of larger ones only scalar values are kept."""
MAX_HEARD_BYTES = 1000
"""The same for an event that is remembered for a wait that may begin later: most are never asked for."""


class Resolver(Protocol):
    """The part of the message resolver that journeys use."""

    def decide(self, person: Person, request: MessageRequest, now_ms: int) -> Decision:
        """Decide whether a message is sent."""
        ...

    def regret(self, person: Person, key: str, reason: str, now_ms: int, event_id: str = "") -> dict[str, Any] | None:
        """Return the ledger row of a message that, as a late event shows, should not have been sent."""
        ...

    def withdraw(self, person: Person, key: str) -> None:
        """Withdraw a postponed message."""
        ...

    def withdrawn(self, person: Person, request: MessageRequest, reason: str, now_ms: int) -> dict[str, Any]:
        """Return the last ledger row of a withdrawn message."""
        ...

    def after_open_hours(self, person: Person, channels: Sequence[str], at_ms: int, open_ms: int) -> int:
        """Return the time at which, since a time, so long outside the person's quiet hours has passed."""
        ...

    def held_back(
        self, person: Person, request: MessageRequest, outcome: HeldBack, control: JourneyControl, now_ms: int
    ) -> dict[str, Any]:
        """Return the ledger row of a message of a journey that is paused or stopped."""
        ...


class StepContext:
    """The context in which steps of one person are processed.

    Attributes:
        person: The person.
        section: `state["journeys"]` of the person.
        now_ms: Logical time.
        event: The event; None if a timer or a segment is the cause.
        happened_ms: Event time.
        changes: Segments entered or left.
        resolver: Decides about messages.
        journeys: Journeys by version.
        controls: States of journeys by name.
        out: Records to emit.
    """

    __slots__ = (
        "changes",
        "controls",
        "event",
        "happened_ms",
        "journeys",
        "now_ms",
        "out",
        "person",
        "resolver",
        "section",
    )

    def __init__(
        self,
        person: Person,
        section: Section,
        now_ms: int,
        event: Event | None,
        happened_ms: int,
        changes: Sequence[SegmentChange],
        resolver: Resolver,
        journeys: Mapping[str, CompiledJourney],
        controls: Controls,
    ) -> None:
        self.person = person
        self.section = section
        self.now_ms = now_ms
        self.event = event
        self.happened_ms = happened_ms
        self.changes = changes
        self.resolver = resolver
        self.journeys = journeys
        self.controls = controls
        self.out: list[Emit] = []

    @property
    def event_id(self) -> str:
        """The id of the event; empty without an event."""
        return self.event["event_id"] if self.event is not None else ""

    def stopped(self, run: Run) -> bool:
        """Return whether the journey of a run was stopped after it began."""
        control = self.controls.get(run["journey"])
        return control is not None and control.ends(run["at"])

    def matches(self, trigger: Trigger, since: int, key: str) -> bool:
        """Return whether the event, or a segment change, is the trigger of a run with that key, since a time."""
        if isinstance(trigger, Matcher):
            return (
                self.event is not None
                and self.happened_ms >= since
                and trigger.matches(self.event)
                and concerns(trigger.keys(self.event), key)
            )
        return any(
            change.segment == trigger.segment and change.entered == (trigger.when == "entered")
            for change in self.changes
        )

    def record(self, kind: str, run_id: str, run: Run, step: str = "", **detail: Any) -> None:
        """Emit a journey event about a run."""
        self.out.append(
            journey_event(
                kind, self.now_ms, self.person.profile_id, run_id, run, step=step, detail=detail, event_id=self.event_id
            )
        )

    def mark_regretted(self, run: Run) -> None:
        """Emit ledger rows for messages of a run that would not have been sent if this event had arrived in time."""
        if self.event is None:
            return
        sent: list[Any] = run.get("sent", [])
        for one in [one for one in sent if one[0] > self.happened_ms]:
            sent.remove(one)
            why = f"{self.event['event']} had happened before, at {text_of_ms(self.happened_ms)}, and was reported late"
            if row := self.resolver.regret(self.person, one[1], why, self.now_ms, self.event_id):
                self.out.append(Emit(DECISIONS, row))

    def end(self, run_id: str, run: Run, reason: str, until: int) -> None:
        """End a run; its messages and goals are kept until a time."""
        runs = self.section["runs"]
        del runs[run_id]
        self._withdraw(run_id, run, reason)
        self.record("exited", run_id, run, run["step"], reason=reason)
        if until > self.now_ms:
            kept: Run = {
                name: run[name] for name in ("journey", "version", "key", "since", "at", "sent", "goals") if name in run
            }
            keep(self.section, run_id, {**kept, "until": until})

    def reject_entry(self, kind: str, journey: CompiledJourney, key: str, cause: str, **detail: Any) -> None:
        """Emit a journey event about why a person does not enter a journey."""
        run = {"journey": journey.definition.name, "version": journey.version, "key": key}
        self.record(kind, uuid_of(kind, journey.version, self.person.profile_id, key, cause), run, **detail)

    def _withdraw(self, run_id: str, run: Run, reason: str) -> None:
        """Withdraw the postponed message of a run, so that `postponed` is not its last ledger row."""
        if (pending := run.get("pending")) is None:
            return
        self.resolver.withdraw(self.person, pending)
        journey = self.journeys.get(run["version"])
        step = journey.steps.get(run["step"]) if journey else None
        if journey is None or step is None or not isinstance(step.node, MessageNode):
            return
        request = self.request(run_id, run, journey, step)
        self.out.append(Emit(DECISIONS, self.resolver.withdrawn(self.person, request, reason, self.now_ms)))

    def request(self, run_id: str, run: Run, journey: CompiledJourney, step: CompiledStep) -> MessageRequest:
        """Return the request of a message step, without what a template needs."""
        node, variant = journey.message_of(step, self.person.profile_id, run.get("arm", ""))
        return MessageRequest(
            journey=run["journey"],
            journey_version=run["version"],
            run_id=run_id,
            step=step.id,
            message=node,
            requested_ms=run["begun"],
            attempt=run.get("attempt", 0),
            trigger_event_id=self.event_id,
            holdout_share=journey.definition.holdout,
            variant=variant,
        )

    def record_collapsed(self) -> None:
        """Emit journey events about runs that a merge has ended."""
        collapsed: dict[str, Run] = self.section.pop("collapsed", {})
        for run_id in sorted(collapsed):
            run = collapsed[run_id]
            self._withdraw(run_id, run, "joined into another run")
            into = [
                other_id
                for other_id, other in self.section.get("runs", {}).items()
                if other["journey"] == run["journey"] and other["key"] == run["key"]
            ]
            self.out.append(
                journey_event(
                    "collapsed",
                    run["begun"],
                    self.person.profile_id,
                    run_id,
                    run,
                    step=run["step"],
                    detail={"into": min(into)} if into else {"reason": "already_over"},
                )
            )


def event_data(event: Event, max_bytes: int = MAX_EVENT_BYTES) -> dict[str, Any]:
    """Return the part of an event that templates and dates use."""
    properties = event.get("properties") or {}
    if len(orjson.dumps(properties)) > max_bytes:
        short = {
            name: value
            for name, value in properties.items()
            if not isinstance(value, dict | list) and len(str(value)) <= MAX_EVENT_BYTES // 20
        }
        properties = dict(list(short.items())[:20])
    kept = {name: event[name] for name in ("event_id", "event", "channel", "occurred_at")}
    return {**kept, "properties": properties}
