"""Compiler of conditions: each becomes a function that returns whether it holds, and until when.

A condition on one value knows the exact time at which its result changes. Conditions combined by `all` or `any` may
only know a time before which the result cannot change; `next_change` then evaluates them at that time, and at the next,
until the result changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from hashlib import blake2b
from typing import Any
from zoneinfo import ZoneInfo

from processors.segments import product_conditions, profile_attributes
from processors.segments.attribute_catalogue import Catalogue
from processors.segments.comparison import change_times, milliseconds_of, predicate, thresholds
from processors.segments.evaluation import NEVER, CompiledCondition, Evaluation, EvaluationContext
from processors.segments.event_aggregates import Aggregate, aggregate
from processors.segments.event_filters import matching, values_at
from processors.segments.reachability import can_reach
from processors.segments.reader import Read, Reader
from processors.segments.series import Series, key_of, steps, times
from schemas.channels import ADDRESSED_CHANNELS
from schemas.events.touchpoint import EVENT_NAMES
from schemas.segments.conditions import Comparison, Condition
from schemas.segments.definitions import SegmentDefinitions

MAX_LOOKAHEADS = 64
"""How many times `next_change` evaluates ahead; then it returns the time at which to evaluate again."""

NO_TRIGGERS: frozenset[str] = frozenset()
FIRST_EVENT: frozenset[str] = frozenset({"first_event"})
ANY_EVENT: frozenset[str] = frozenset({"any"})


class Compiler:
    """Compiles the conditions of one set of definitions.

    Args:
        definitions: What conditions may refer to.
        zone: Time zone in which dates begin, and of people whose own is not known.

    Attributes:
        catalogue: The readers of attributes.
        series: The series that everything compiled so far needs, by key.
    """

    def __init__(self, definitions: SegmentDefinitions, zone: ZoneInfo) -> None:
        self.catalogue = Catalogue(definitions, zone)
        self.series: dict[str, Series] = {}
        self._zone = zone
        self._segments = {segment.name: segment.when for segment in definitions.segments}
        self._compiled: dict[str, CompiledCondition] = {}
        self._operators: dict[str, Callable[[Condition], CompiledCondition]] = {
            "all": lambda condition: _all([self.compile(one) for one in condition.inner]),
            "any": lambda condition: _any([self.compile(one) for one in condition.inner]),
            "not": lambda condition: _not(self.compile(condition.inner[0])),
            "attribute": self._attribute,
            "performed": self._performed,
            "not_performed": self._not_performed,
            "sequence": self._sequence,
            "aggregate": self._aggregate,
            "engaged": self._engaged,
            "can_reach": self._can_reach,
            "consent": self._consent,
            "stage": lambda condition: self._among("lifecycle.stage", condition.stage),
            "rfm": lambda condition: self._among("rfm.class", condition.rfm),
            "segment": lambda condition: self.segment(condition.segment or ""),
            "bucket": self._bucket,
            "product": self._product,
        }

    def compile(self, condition: Condition) -> CompiledCondition:
        """Compile a condition, and add the series that it needs to `series`."""
        return self._operators[condition.operator](condition)

    def segment(self, name: str) -> CompiledCondition:
        """Compile a segment's condition, once.

        Raises:
            LookupError: There is no segment of this name.
        """
        if name not in self._compiled:
            if name not in self._segments:
                raise LookupError(f"there is no segment {name!r}")
            self._compiled[name] = self.compile(self._segments[name])
        return self._compiled[name]

    def _require(self, series: Iterable[Series]) -> None:
        for one in series:
            known = self.series.get(one.key)
            if known is None or known.keep < one.keep:
                self.series[one.key] = one

    def _attribute(self, condition: Condition) -> CompiledCondition:
        attribute, reader = self.catalogue.find(condition.attribute or "")
        is_trait = (condition.attribute or "").startswith("traits.")
        return self._compare(reader, condition, recorded=attribute.type == "time", is_trait=is_trait)

    def _among(self, name: str, wanted: tuple[str, ...] | None) -> CompiledCondition:
        return self._compare(self.catalogue.find(name)[1], Comparison(in_=wanted), recorded=False)

    def _compare(
        self, reader: Reader, comparison: Comparison, *, recorded: bool, is_trait: bool = False
    ) -> CompiledCondition:
        self._require(reader.series)
        plain = Comparison.model_construct(**{name: getattr(comparison, name) for name in Comparison.model_fields})
        test = predicate(plain, self._zone, recorded=recorded, is_trait=is_trait)
        if reader.timeline is not None:
            return CompiledCondition(_compare_timeline(reader.timeline, test), reader.triggers)
        if plain.within or plain.within_next or plain.older_than:
            time_of = partial(milliseconds_of, zone=self._zone, is_trait=is_trait)
            return CompiledCondition(_compare_time(reader.read, test, plain, time_of), reader.triggers)
        if reader.change_times is None:
            read = reader.read
            return CompiledCondition(lambda context: (test(read(context), context.now_ms), NEVER), reader.triggers)
        return CompiledCondition(_compare_at_changes(reader, test, thresholds(plain)), reader.triggers)

    def _performed(self, condition: Condition) -> CompiledCondition:
        least, most = condition.at_least, condition.at_most
        if condition.exactly is not None:
            least = most = condition.exactly
        if least is None:
            least = 1 if most is None else 0
        return self._times(condition, condition.performed or (), least, most)

    def _not_performed(self, condition: Condition) -> CompiledCondition:
        return self._times(condition, condition.not_performed or (), 0, 0)

    def _times(self, condition: Condition, names: tuple[str, ...], least: int, most: int | None) -> CompiledCondition:
        events, within = frozenset(names), condition.within
        triggers = frozenset(f"event:{name}" for name in events)
        # An event adds to the count: with no upper bound it cannot end the condition, with no lower one not begin it.
        entry_triggers, exit_triggers = triggers if least else NO_TRIGGERS, NO_TRIGGERS if most is None else triggers
        plain = not condition.where and condition.after is None and condition.before is None and events <= EVENT_NAMES
        if plain and within is None:
            return CompiledCondition(_total_count(events, least, most), entry_triggers, exit_triggers)
        keep = max(least, 0 if most is None else most + 1)
        if plain and keep == 1:
            return CompiledCondition(
                _count_in_window(_latest_occurrence(events), least, most, within or 0), entry_triggers, exit_triggers
            )
        between = (
            milliseconds_of(condition.after, self._zone) or 0 if condition.after else 0,
            milliseconds_of(condition.before, self._zone) or 0 if condition.before else NEVER,
        )
        key = key_of("t", sorted(events), sorted(condition.where.items()), between)
        self._require([times(key, events, matching(condition.where, self._zone), between, max(keep, 1))])
        return CompiledCondition(
            _count_in_window(lambda context: context.features.get(key, ()), least, most, within),
            entry_triggers,
            exit_triggers,
        )

    def _sequence(self, condition: Condition) -> CompiledCondition:
        found = condition.sequence or ()
        tests = [(frozenset(step.event), matching(step.where, self._zone)) for step in found]
        key = key_of("s", [(sorted(step.event), sorted(step.where.items())) for step in found], condition.same)
        self._require([steps(key, tests, values_at(condition.same) if condition.same else None)])
        spans = [step.within for step in found]

        cache_key = f"{key} {spans}"

        def last(context: EvaluationContext) -> int | None:
            rows = context.features.get(key)
            if rows is None:
                return None
            if cache_key not in context.cache:
                context.cache[cache_key] = _latest_completion(rows, spans)
            found: int | None = context.cache[cache_key]
            return found

        names = frozenset[str]().union(*(events for events, _ in tests))
        return CompiledCondition(
            _count_in_window(_as_list(last), 1, None, condition.within), frozenset(f"event:{name}" for name in names)
        )

    def _aggregate(self, condition: Condition) -> CompiledCondition:
        events = frozenset(condition.event or ())
        reader = aggregate(
            Aggregate(condition.aggregate or "count", events, condition.of, condition.where, condition.within),
            self._zone,
        )
        # The window belongs to the function, so it is no comparison of the result.
        return self._compare(reader, condition.model_copy(update={"within": None}), recorded=False)

    def _engaged(self, condition: Condition) -> CompiledCondition:
        channels = condition.engaged or ()
        read = profile_attributes.last_engaged_on(channels, opens=condition.opens)
        triggers = frozenset(
            f"answered:{name}" if name in ADDRESSED_CHANNELS else f"channel:{name}" for name in channels
        )
        return CompiledCondition(_count_in_window(_as_list(read), 1, None, condition.within), triggers, NO_TRIGGERS)

    def _can_reach(self, condition: Condition) -> CompiledCondition:
        channels = condition.can_reach or ()
        return CompiledCondition(
            lambda context: (
                any(can_reach(context.document, channel, context.address_types) for channel in channels),
                NEVER,
            ),
            profile_attributes.REACH,
        )

    def _consent(self, condition: Condition) -> CompiledCondition:
        head, _, channel = (condition.consent or "").partition(".")
        part, name = ("channels", channel) if head == "channels" and channel else ("purposes", condition.consent or "")
        read, wanted = profile_attributes.consent_reader(part, name).read, condition.granted
        return CompiledCondition(lambda context: (read(context) is wanted, NEVER), profile_attributes.CONSENT)

    def _product(self, condition: Condition) -> CompiledCondition:
        self._require([product_conditions.products()])
        # Where a person buys, and in which market, follows from any event; who watches nothing costs one look.
        times_of = product_conditions.times_of(condition)
        return CompiledCondition(_count_in_window(times_of, 1, None, condition.within), ANY_EVENT)

    def _bucket(self, condition: Condition) -> CompiledCondition:
        salt = condition.bucket or ""
        low, high = condition.from_, condition.to
        return CompiledCondition(lambda context: (low <= bucket(context.profile_id, salt) < high, NEVER), FIRST_EVENT)


def bucket(profile_id: str, salt: str) -> float:
    """Return a number from 0 up to 100 by hash of the person and a salt, unrelated between salts."""
    digest = blake2b(f"{salt}\0{profile_id}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / (1 << 53) * 100


def next_change(condition: CompiledCondition, context: EvaluationContext) -> Evaluation:
    """Evaluate a condition, and find the time of its next change without an event.

    Returns:
        Whether it holds at `context.now_ms`, and the time in milliseconds at which that changes; `NEVER` if it does
        not. After `MAX_LOOKAHEADS` evaluations without a change: the time until which there is none.
    """
    context.exact = True
    holds, until = condition.evaluate(context)
    if context.exact or until >= NEVER:
        return holds, until
    now = context.now_ms
    try:
        for _ in range(MAX_LOOKAHEADS):
            context.now_ms = until
            later, after = condition.evaluate(context)
            if later is not holds:
                return holds, until
            until = after
            if until >= NEVER:
                return holds, NEVER
    finally:
        context.now_ms = now
    return holds, until


def _all(conditions: list[CompiledCondition]) -> CompiledCondition:
    """All hold. While several do not, the result cannot change before the last of them does."""
    return _combined(conditions, True)


def _any(conditions: list[CompiledCondition]) -> CompiledCondition:
    """One holds. While several do, the result cannot change before the last of them ends."""
    return _combined(conditions, False)


def _combined(conditions: list[CompiledCondition], every: bool) -> CompiledCondition:
    """All of some conditions (`every`), or any of them: the same with True and False exchanged."""
    evaluations = [condition.evaluate for condition in conditions]

    def evaluate(context: EvaluationContext) -> Evaluation:
        until, deciding, last = NEVER, 0, 0
        for one in evaluations:
            holds, changes = one(context)
            if holds is every:
                if changes < until:
                    until = changes
            elif changes >= NEVER:
                return holds, NEVER
            else:
                deciding += 1
                if changes > last:
                    last = changes
        if not deciding:
            return every, until
        # When the last of these changes, another one may have changed back.
        if deciding > 1 or until <= last:
            context.exact = False
        return not every, last

    return CompiledCondition(
        evaluate,
        NO_TRIGGERS.union(*(condition.entry_triggers for condition in conditions)),
        NO_TRIGGERS.union(*(condition.exit_triggers for condition in conditions)),
    )


def _not(condition: CompiledCondition) -> CompiledCondition:
    evaluate = condition.evaluate

    def negated(context: EvaluationContext) -> Evaluation:
        holds, until = evaluate(context)
        return not holds, until

    return CompiledCondition(negated, condition.exit_triggers, condition.entry_triggers)


def _total_count(events: frozenset[str], least: int, most: int | None) -> Callable[[EvaluationContext], Evaluation]:
    """Compare how often events have ever happened, which the profile counts."""

    def evaluate(context: EvaluationContext) -> Evaluation:
        counters = context.document.get("events", {})
        count = sum(counters[name][0] for name in events if name in counters)
        return least <= count and (most is None or count <= most), NEVER

    return evaluate


def _latest_occurrence(events: frozenset[str]) -> Callable[[EvaluationContext], list[int]]:
    """Read the last time that any of some events happened, which the profile keeps."""

    def read(context: EvaluationContext) -> list[int]:
        counters = context.document.get("events", {})
        return sorted(counters[name][2] for name in events if name in counters)[-1:]

    return read


def _count_in_window(
    read: Callable[[EvaluationContext], Any], least: int, most: int | None, within: int | None
) -> Callable[[EvaluationContext], Evaluation]:
    """Compare how many of some ascending times are in the window; without an event they only become fewer."""

    def evaluate(context: EvaluationContext) -> Evaluation:
        found = read(context)
        if within is None:
            return least <= len(found) and (most is None or len(found) <= most), NEVER
        count = _count_after(found, context.now_ms - within)
        if count < least:
            return False, NEVER
        if most is None or count <= most:
            return True, found[-least] + within if least else NEVER
        leaves: int = found[-most - 1]
        # Several may leave the window at once, and then fewer than `least` are left.
        return False, leaves + within if _count_after(found, leaves) >= least else NEVER

    return evaluate


def _as_list(read: Callable[[EvaluationContext], int | None]) -> Callable[[EvaluationContext], Sequence[int]]:
    """Turn a time, or None, into a list of one time, or none."""

    def times(context: EvaluationContext) -> Sequence[int]:
        at = read(context)
        return () if at is None else (at,)

    return times


def _count_after(found: Any, since: int) -> int:
    count = 0
    for at in reversed(found):
        if at <= since:
            break
        count += 1
    return count


def _latest_completion(rows: list[list[list[Any]]], spans: list[int | None]) -> int | None:
    """Return the latest time at which the sequence was complete; each step is strictly later than the one before."""
    reached: list[list[Any]] = rows[0]
    for found, span in zip(rows[1:], spans[1:], strict=True):
        latest: dict[str, int] = {}
        position = 0
        complete = []
        for at, tie in found:
            while position < len(reached) and reached[position][0] < at:
                latest[reached[position][1]] = reached[position][0]
                position += 1
            before = latest.get(tie)
            if before is not None and (span is None or at - before <= span):
                complete.append([at, tie])
        reached = complete
    return reached[-1][0] if reached else None


def _compare_timeline(
    timeline: Callable[[EvaluationContext], Iterator[tuple[int, Any]]], test: Any
) -> Callable[[EvaluationContext], Evaluation]:
    """Compare a value whose later changes are listed."""

    def evaluate(context: EvaluationContext) -> Evaluation:
        future = timeline(context)
        now, value = next(future)
        holds = test(value, now)
        for at, later in future:
            if test(later, at) is not holds:
                return holds, at
        return holds, NEVER

    return evaluate


def _compare_time(
    read: Read, test: Any, comparison: Comparison, time_of: Callable[[Any], int | None]
) -> Callable[[EvaluationContext], Evaluation]:
    """Compare a time with the time of the evaluation."""

    def evaluate(context: EvaluationContext) -> Evaluation:
        value, now = read(context), context.now_ms
        holds = test(value, now)
        at = time_of(value)
        for later in sorted(change_times(comparison, at)) if at is not None else ():
            if later > now and test(value, later) is not holds:
                return holds, later
        return holds, NEVER

    return evaluate


def _compare_at_changes(reader: Reader, test: Any, limits: list[float]) -> Callable[[EvaluationContext], Evaluation]:
    """Compare a value that may change at known times."""
    read, change_times, open_ended = reader.read, reader.change_times, reader.open_ended
    assert change_times is not None

    def evaluate(context: EvaluationContext) -> Evaluation:
        now = context.now_ms
        holds = test(read(context), now)
        ahead = sorted({at for at in change_times(context, limits) if at > now})
        try:
            for context.now_ms in ahead:
                if test(read(context), context.now_ms) is not holds:
                    return holds, context.now_ms
        finally:
            context.now_ms = now
        if not open_ended or not ahead:
            return holds, NEVER
        context.exact = False
        return holds, ahead[-1]

    return evaluate
