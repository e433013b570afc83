"""Steps of a run: what each kind of step does when a run reaches it."""

from __future__ import annotations

from typing import Any, cast

import orjson

from processors.journeys import broadcasts, timers
from processors.journeys.compiled import END, CompiledJourney, CompiledStep, comparison, draw, draw_detail
from processors.journeys.matching import Matcher
from processors.journeys.runs import Run
from processors.journeys.step_context import StepContext, event_data
from processors.profiles.joins import first_by_name
from processors.profiles.time_zone import zone_of
from processors.segments.event_filters import values_at
from processors.segments.port import Segments
from schemas.decisions.decision import Emit
from schemas.durations import SECOND_MS
from schemas.identity.resolution import uuid_of
from schemas.journeys.broadcast_parts import WinnerChoice
from schemas.journeys.definitions import (
    Delay,
    Exit,
    If,
    MessageNode,
    RandomSplit,
    SegmentMatch,
    Sending,
    SetTrait,
    Until,
    WaitFor,
    Webhook,
)
from schemas.profiles.document import TRAIT_BYTES, TRAITS_KEPT
from schemas.profiles.person import Person
from schemas.territory import Territory
from schemas.time import text_of_ms
from schemas.topics import ACTIONS, DECISIONS

MAX_ATTEMPTS = 100
"""A message that was postponed so many times expires."""
STOP = None
"""Result of a step at which a run waits or ends."""


class StepRunner:
    """Takes runs from step to step.

    Args:
        segments: Evaluates conditions.
        territory: Of the deployment.
    """

    def __init__(self, segments: Segments, territory: Territory) -> None:
        self._segments = segments
        self._territory = territory
        self._enter = {
            Delay: self._delay,
            Until: self._until,
            WaitFor: self._wait_for,
            If: self._if,
            Sending: self._sending,
            RandomSplit: self._random,
            MessageNode: self._message,
            SetTrait: self._set_trait,
            Webhook: self._webhook,
            Exit: self._exit,
        }

    def begin(self, context: StepContext, journey: CompiledJourney, key: str, cause: str, since: int) -> None:
        """Start a run, and take it to its first wait.

        Args:
            context: The event or segment change that starts it.
            journey: The journey.
            key: Key of the run, such as a cart id; empty: the run is about the person.
            cause: Source and id of the event, or the segment change; the same one starts the same run.
            since: Its event time.
        """
        name = journey.definition.name
        run_id = uuid_of("run", name, journey.version, context.person.profile_id, key, cause)
        runs = context.section.setdefault("runs", {})
        if run_id in runs:
            return
        run: Run = {
            "journey": name,
            "version": journey.version,
            "key": key,
            "at": context.now_ms,
            "since": since,
            "passed": 0,
        }
        if context.event is not None:
            run["event"] = event_data(context.event)
        run["step"] = ""
        runs[run_id] = run
        declared = "experiment" in journey.definition.model_fields_set
        detail: dict[str, Any] = {"experiment": comparison(journey.definition)} if declared else {}
        context.record("journey_entered", run_id, run, **detail)
        self._run_from(context, run_id, run, journey, journey.first)

    def resume(self, context: StepContext, run_id: str, run: Run, journey: CompiledJourney) -> None:
        """Continue a run that is due, or that a pause has held."""
        run.pop("due", None)
        step = journey.steps[run["step"]]
        run.pop("behind", None)
        if run.pop("held", None) is not None:
            following = self._enter[type(step.node)](context, run_id, run, journey, step)
            if following is not STOP:
                self._run_from(context, run_id, run, journey, following)
        elif isinstance(step.node, WaitFor):
            context.record("step", run_id, run, step.id, happened=False)
            self._run_from(context, run_id, run, journey, step.branches[1])
        elif isinstance(step.node, MessageNode) or (isinstance(step.node, RandomSplit) and step.node.winner):
            following = self._enter[type(step.node)](context, run_id, run, journey, step)
            if following is not STOP:
                self._run_from(context, run_id, run, journey, following)
        else:
            self._run_from(context, run_id, run, journey, step.next)

    def stop(self, context: StepContext, run_id: str, run: Run, journey: CompiledJourney) -> None:
        """End a run of a journey that was stopped, with a ledger row about the message that it would have come to."""
        if step := journey.next_message(run["step"]):
            control, request = context.controls[run["journey"]], context.request(run_id, run, journey, step)
            row = context.resolver.held_back(context.person, request, "suppressed", control, context.now_ms)
            context.out.append(Emit(DECISIONS, row))
        if pending := run.pop("pending", None):
            context.resolver.withdraw(context.person, pending)
        context.end(run_id, run, "stopped", journey.retained_until(run, context.now_ms))

    def _held(self, context: StepContext, run_id: str, run: Run, journey: CompiledJourney, step: CompiledStep) -> bool:
        """Hold a run at a step that has effects outside, if its journey is paused; end it, if it is stopped."""
        control = context.controls.get(run["journey"])
        if control is None:
            return False
        if control.ends(run["at"]):
            self.stop(context, run_id, run, journey)
            return True
        if control.state != "paused":
            return False
        run["held"] = context.now_ms
        if "paced" in run:
            run["behind"] = max(0, context.now_ms - control.since_ms)
        if isinstance(step.node, MessageNode):
            request = context.request(run_id, run, journey, step)
            row = context.resolver.held_back(context.person, request, "postponed", control, context.now_ms)
            context.out.append(Emit(DECISIONS, row))
            run["attempt"], run["pending"] = request.attempt, row["idempotency_key"]
        context.record("held", run_id, run, step.id, by=control.by)
        return True

    def continue_after_event(
        self, context: StepContext, run_id: str, run: Run, journey: CompiledJourney, step: CompiledStep
    ) -> None:
        """Continue a run that waited for this event or segment change."""
        run.pop("due", None)
        if context.event is not None and isinstance(step.trigger, Matcher):
            run["last"] = event_data(context.event)
        context.record("step", run_id, run, step.id, happened=True)
        self._run_from(context, run_id, run, journey, step.branches[0])

    def _run_from(self, context: StepContext, run_id: str, run: Run, journey: CompiledJourney, step_id: str) -> None:
        """Process steps until one waits, or the run ends."""
        while step_id != END:
            step = journey.steps[step_id]
            run["passed"] += 1
            run["step"], run["begun"] = step.id, context.now_ms
            following = self._enter[type(step.node)](context, run_id, run, journey, step)
            if following is STOP:
                return
            step_id = following
        context.end(run_id, run, "completed", journey.retained_until(run, context.now_ms))

    # Each returns the id of the following step, or STOP.

    def _delay(
        self, context: StepContext, run_id: str, run: Run, journey: CompiledJourney, step: CompiledStep
    ) -> str | None:
        node = cast(Delay, step.node)
        return self._wait(context, run_id, run, step, context.now_ms + node.delay)

    def _until(
        self, context: StepContext, run_id: str, run: Run, journey: CompiledJourney, step: CompiledStep
    ) -> str | None:
        wanted = cast(Until, step.node).until
        zone = zone_of(context.person.document, self._territory)
        stated = _date_value(wanted.date, run, context.person) if wanted.date else None
        due = timers.due_time(wanted, stated, context.now_ms, zone)
        if due is not None:
            return self._wait(context, run_id, run, step, due)
        ahead = wanted.if_missed == "continue_if_ahead" and timers.is_ahead(wanted, stated, context.now_ms, zone)
        if ahead or wanted.if_missed == "continue":
            return step.next
        context.end(run_id, run, f"no such moment: {wanted.date}", journey.retained_until(run, context.now_ms))
        return STOP

    def _sending(
        self, context: StepContext, run_id: str, run: Run, journey: CompiledJourney, step: CompiledStep
    ) -> str | None:
        node, control = cast(Sending, step.node), context.controls.get(run["journey"])
        zone = zone_of(context.person.document, self._territory)
        wanted = broadcasts.send_time(node.send, zone)
        due = wanted if wanted is not None else control.started_ms if control else context.now_ms
        if wanted is not None and due < context.now_ms and node.send.if_missed == "skip":
            context.end(run_id, run, "its hour had passed", 0)
            return STOP
        due = self._paced(context, run, journey, step, due)
        if context.now_ms - due > node.expires_after:
            context.end(run_id, run, "too late", 0)
            return STOP
        return step.next if due <= context.now_ms else self._wait(context, run_id, run, step, due)

    def _paced(self, context: StepContext, run: Run, journey: CompiledJourney, step: CompiledStep, due_ms: int) -> int:
        """Return when it is the person's turn in a broadcast with a rate; without one `due_ms`."""
        control = context.controls.get(run["journey"])
        offset_ms = broadcasts.place_ms(journey.definition, control, context.person.profile_id)
        if control is None or not offset_ms:
            return due_ms
        run["paced"] = control.paused_ms
        message = journey.next_message(step.id)
        channels = cast(MessageNode, message.node).channels if message else ()
        return context.resolver.after_open_hours(context.person, channels, due_ms, offset_ms)

    def _wait_for(
        self, context: StepContext, run_id: str, run: Run, journey: CompiledJourney, step: CompiledStep
    ) -> str | None:
        node, trigger = cast(WaitFor, step.node), step.trigger
        # From the event time of what led here, so that later events count even if they arrive late.
        run["from"] = max(run["since"], context.happened_ms)
        if isinstance(trigger, SegmentMatch):
            inside = trigger.segment in self._segments.members(context.person)
            already = inside == (trigger.when == "entered")
        else:
            assert trigger is not None
            # A later event may have arrived before; this event itself is not remembered yet.
            heard = context.section.get("heard", {})
            already = trigger.happened_since(heard, run["key"], run["from"])
            if already:
                run.pop("last", None)
                if event := trigger.heard_event(heard, context.section.get("heard_events", {}), run["key"]):
                    run["last"] = event
        if already:
            context.record("step", run_id, run, step.id, happened=True)
            return step.branches[0]
        due = context.now_ms + node.timeout if node.timeout is not None else None
        return self._wait(context, run_id, run, step, due)

    def _wait(self, context: StepContext, run_id: str, run: Run, step: CompiledStep, due: int | None) -> str | None:
        if due is not None:
            run["due"] = due
        context.record("waiting", run_id, run, step.id, until=text_of_ms(due) if due is not None else None)
        return STOP

    def _if(
        self, context: StepContext, run_id: str, run: Run, journey: CompiledJourney, step: CompiledStep
    ) -> str | None:
        holds = self._segments.holds(cast(If, step.node).condition, context.person, context.now_ms)
        context.record("step", run_id, run, step.id, holds=holds)
        return step.branches[0 if holds else 1]

    def _random(
        self, context: StepContext, run_id: str, run: Run, journey: CompiledJourney, step: CompiledStep
    ) -> str | None:
        arms = cast(RandomSplit, step.node).random
        if cast(RandomSplit, step.node).winner is not None:
            return self._winner(context, run_id, run, journey, step)
        chosen = draw([arm.weight for arm in arms], context.person.profile_id, journey.definition.name, step.id)
        run["arm"] = arms[chosen].name
        context.record("step", run_id, run, step.id, **draw_detail(journey.definition, arms, run["arm"]))
        return step.branches[chosen]

    def _winner(
        self, context: StepContext, run_id: str, run: Run, journey: CompiledJourney, step: CompiledStep
    ) -> str | None:
        node, control = cast(RandomSplit, step.node), context.controls.get(run["journey"])
        zone = zone_of(context.person.document, self._territory)
        due = broadcasts.winner_time(cast(WinnerChoice, node.winner), zone, self._territory.zone)
        due = self._paced(context, run, journey, step, max(due, run["begun"]))
        if context.now_ms < due:
            return self._wait(context, run_id, run, step, due)
        names = [arm.name for arm in node.random]
        if control is not None and control.winner in names:
            run["arm"] = control.winner
            context.record("step", run_id, run, step.id, winner=control.winner)
            return step.branches[names.index(control.winner)]
        if context.now_ms - due > node.expires_after:
            context.end(run_id, run, "no winner was chosen", 0)
            return STOP
        run.pop("paced", None)
        run["due"] = context.now_ms + broadcasts.RETRY_MS
        return STOP

    def _set_trait(
        self, context: StepContext, run_id: str, run: Run, journey: CompiledJourney, step: CompiledStep
    ) -> str | None:
        if self._held(context, run_id, run, journey, step):
            return STOP
        document = context.person.document
        known = document.get("traits", {})
        # The trait of the journey is later than any known one, even of this millisecond.
        traits = {
            name: [value, max(context.now_ms, known[name][1] + 1) if name in known else context.now_ms]
            for name, value in cast(SetTrait, step.node).set_trait.items()
            if len(orjson.dumps(value)) <= TRAIT_BYTES
        }
        document["traits"] = first_by_name({**known, **traits}, TRAITS_KEPT)
        context.record("trait_updated", run_id, run, step.id, traits=cast(SetTrait, step.node).set_trait)
        return step.next

    def _webhook(
        self, context: StepContext, run_id: str, run: Run, journey: CompiledJourney, step: CompiledStep
    ) -> str | None:
        if self._held(context, run_id, run, journey, step):
            return STOP
        node = cast(Webhook, step.node)
        key = uuid_of("webhook", run_id, step.id)
        context.out.append(
            Emit(
                ACTIONS,
                {
                    "idempotency_key": key,
                    "decision_id": "",
                    "profile_id": context.person.profile_id,
                    "journey": run["journey"],
                    "run_id": run_id,
                    "step": step.id,
                    "channel": "webhook",
                    "address": {"type": "webhook", "value": node.webhook},
                    "webhook": node.webhook,
                    "context": _template_context(run, node.data),
                    "identifiers": [],
                },
            )
        )
        context.record("step", run_id, run, step.id, webhook=node.webhook)
        return step.next

    def _exit(
        self, context: StepContext, run_id: str, run: Run, journey: CompiledJourney, step: CompiledStep
    ) -> str | None:
        context.end(run_id, run, cast(Exit, step.node).exit, journey.retained_until(run, context.now_ms))
        return STOP

    def _message(
        self, context: StepContext, run_id: str, run: Run, journey: CompiledJourney, step: CompiledStep
    ) -> str | None:
        if self._held(context, run_id, run, journey, step):
            return STOP
        request = context.request(run_id, run, journey, step)
        attempt = request.attempt
        if step.variants and not attempt:
            choices = cast(MessageNode, step.node).variants
            context.record("step", run_id, run, step.id, **draw_detail(journey.definition, choices, request.variant))
        request = request._replace(
            context=_template_context(run, cast(MessageNode, request.message).data),
            expires_ms=context.now_ms if attempt >= MAX_ATTEMPTS else None,
        )
        run.pop("paced", None)
        decision = context.resolver.decide(context.person, request, context.now_ms)
        context.out.append(Emit(DECISIONS, decision.row))
        if decision.outcome == "postponed":
            assert decision.until_ms is not None
            run["attempt"], run["pending"] = attempt + 1, decision.row["idempotency_key"]
            run["due"] = max(decision.until_ms, context.now_ms + SECOND_MS)
            return STOP
        run.pop("attempt", None)
        run.pop("pending", None)
        if decision.action is not None:
            context.out.append(Emit(ACTIONS, decision.action))
            run.setdefault("sent", []).append([context.now_ms, decision.row["idempotency_key"]])
        elif decision.outcome == "ghost":
            run["ghost"] = True
        return step.next


def _template_context(run: Run, data: dict[str, Any]) -> dict[str, Any]:
    run_data = {"key": run["key"], "entered_at": text_of_ms(run["at"]), "data": data}
    if "last" in run:
        run_data["last"] = run["last"]
    return {"event": run.get("event", {}), "run": run_data}


def _date_value(path: str, run: Run, person: Person) -> Any:
    """Return the value of the date that a step waits for."""
    source, _, name = path.partition(".")
    if source == "trait":
        return person.document.get("traits", {}).get(name, (None,))[0]
    event = run.get(source)
    found = values_at(f"properties.{name.removeprefix('properties.')}")(event) if event else []
    return found[0] if found else None
