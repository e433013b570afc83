"""Compiles conditions into functions of a moment; each answers whether it holds, and until when.

A condition about one thing knows the very moment at which time changes it. Several joined by `all` or `any` may only
know a moment before which nothing changes; `next_change` then looks there, and on, until something does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import Any
from zoneinfo import ZoneInfo

from processors.segments import profile_attributes as readers
from processors.segments.attribute_catalogue import Catalogue
from processors.segments.comparison import milliseconds_of, predicate, thresholds, turning_points
from processors.segments.evaluation import NEVER, Answer, Check, Moment
from processors.segments.event_aggregates import Aggregate, aggregate
from processors.segments.event_filters import matching, values_at
from processors.segments.reachability import can_reach
from processors.segments.reader import Read, Reader
from processors.segments.series import Series, key_of, steps, times
from schemas.events.touchpoint import EVENT_NAMES
from schemas.segments.attributes import MESSAGE_CHANNELS
from schemas.segments.conditions import Comparison, Condition
from schemas.segments.definitions import SegmentDefinitions

MOST_LOOKS = 64
"""How often `next_change` looks further before it says: look again then."""

NOTHING: frozenset[str] = frozenset()
NEWCOMER: frozenset[str] = frozenset({"newcomer"})


class Compiler:
    """Compiles the conditions of one set of definitions.

    Args:
        definitions: What conditions may refer to.
        zone: Where dates begin, and local time of people whose time zone is not known.

    Attributes:
        series: What has to be kept for everything compiled so far, by key.
    """

    def __init__(self, definitions: SegmentDefinitions, zone: ZoneInfo) -> None:
        self.catalogue = Catalogue(definitions, zone)
        self.series: dict[str, Series] = {}
        self._zone = zone
        self._segments = {segment.name: segment.when for segment in definitions.segments}
        self._done: dict[str, Check] = {}
        self._operators: dict[str, Callable[[Condition], Check]] = {
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
        }

    def compile(self, condition: Condition) -> Check:
        """Compile a condition and note what has to be kept for it."""
        return self._operators[condition.operator](condition)

    def segment(self, name: str) -> Check:
        """Compile a segment's condition, once.

        Raises:
            LookupError: There is no such segment.
        """
        if name not in self._done:
            if name not in self._segments:
                raise LookupError(f"there is no segment {name!r}")
            self._done[name] = self.compile(self._segments[name])
        return self._done[name]

    def _keep(self, series: Iterable[Series]) -> None:
        for one in series:
            known = self.series.get(one.key)
            if known is None or known.keep < one.keep:
                self.series[one.key] = one

    def _attribute(self, condition: Condition) -> Check:
        attribute, reader = self.catalogue.find(condition.attribute or "")
        return self._compare(reader, condition, recorded=attribute.type == "time")

    def _among(self, name: str, wanted: tuple[str, ...] | None) -> Check:
        return self._compare(self.catalogue.find(name)[1], Comparison(in_=wanted), recorded=False)

    def _compare(self, reader: Reader, comparison: Comparison, *, recorded: bool) -> Check:
        self._keep(reader.series)
        plain = Comparison.model_construct(**{name: getattr(comparison, name) for name in Comparison.model_fields})
        test = predicate(plain, self._zone, recorded=recorded)
        if reader.course is not None:
            return Check(_along(reader.course, test), reader.needs)
        if plain.within or plain.within_next or plain.older_than:
            return Check(_at_a_time(reader.read, test, plain, self._zone), reader.needs)
        if reader.turns is None:
            read = reader.read
            return Check(lambda moment: (test(read(moment), moment.now), NEVER), reader.needs)
        return Check(_at_turns(reader, test, thresholds(plain)), reader.needs)

    def _performed(self, condition: Condition) -> Check:
        least, most = condition.at_least, condition.at_most
        if condition.exactly is not None:
            least = most = condition.exactly
        if least is None:
            least = 1 if most is None else 0
        return self._times(condition, condition.performed or (), least, most)

    def _not_performed(self, condition: Condition) -> Check:
        return self._times(condition, condition.not_performed or (), 0, 0)

    def _times(self, condition: Condition, names: tuple[str, ...], least: int, most: int | None) -> Check:
        events, within = frozenset(names), condition.within
        needs = frozenset(f"event:{name}" for name in events)
        # An event adds to the count: without an upper bound it ends nothing, without a lower one it makes nothing hold.
        makes, breaks = needs if least else NOTHING, NOTHING if most is None else needs
        plain = not condition.where and condition.after is None and condition.before is None and events <= EVENT_NAMES
        if plain and within is None:
            return Check(_counted(events, least, most), makes, breaks)
        keep = max(least, 0 if most is None else most + 1)
        if plain and keep == 1:
            return Check(_in_window(_last_of(events), least, most, within or 0), makes, breaks)
        between = (
            milliseconds_of(condition.after, self._zone) or 0 if condition.after else 0,
            milliseconds_of(condition.before, self._zone) or 0 if condition.before else NEVER,
        )
        key = key_of("t", sorted(events), sorted(condition.where.items()), between)
        self._keep([times(key, events, matching(condition.where, self._zone), between, max(keep, 1))])
        return Check(_in_window(lambda moment: moment.features.get(key, ()), least, most, within), makes, breaks)

    def _sequence(self, condition: Condition) -> Check:
        found = condition.sequence or ()
        tests = [(frozenset(step.event), matching(step.where, self._zone)) for step in found]
        key = key_of("s", [(sorted(step.event), sorted(step.where.items())) for step in found], condition.same)
        self._keep([steps(key, tests, values_at(condition.same) if condition.same else None)])
        spans = [step.within for step in found]

        spell = f"{key} {spans}"

        def last(moment: Moment) -> int | None:
            rows = moment.features.get(key)
            if rows is None:
                return None
            if spell not in moment.worked_out:
                moment.worked_out[spell] = _end_of_chain(rows, spans)
            found: int | None = moment.worked_out[spell]
            return found

        names = frozenset[str]().union(*(events for events, _ in tests))
        return Check(_in_window(_alone(last), 1, None, condition.within), frozenset(f"event:{name}" for name in names))

    def _aggregate(self, condition: Condition) -> Check:
        events = frozenset(condition.event or ())
        reader = aggregate(
            Aggregate(condition.aggregate or "count", events, condition.of, condition.where, condition.within),
            self._zone,
        )
        # The window belongs to the function, so it is no comparison of the result.
        return self._compare(reader, condition.model_copy(update={"within": None}), recorded=False)

    def _engaged(self, condition: Condition) -> Check:
        channels = condition.engaged or ()
        read = readers.last_of_channels(channels, opens=condition.opens)
        needs = frozenset(f"answered:{name}" if name in MESSAGE_CHANNELS else f"channel:{name}" for name in channels)
        return Check(_in_window(_alone(read), 1, None, condition.within), needs, NOTHING)

    def _can_reach(self, condition: Condition) -> Check:
        channels = condition.can_reach or ()
        return Check(
            lambda moment: (any(can_reach(moment.document, channel) for channel in channels), NEVER), readers.REACH
        )

    def _consent(self, condition: Condition) -> Check:
        head, _, channel = (condition.consent or "").partition(".")
        part, name = ("channels", channel) if head == "channels" and channel else ("purposes", condition.consent or "")
        read, wanted = readers.of_consent(part, name).read, condition.granted
        return Check(lambda moment: (read(moment) is wanted, NEVER), readers.CONSENT)

    def _bucket(self, condition: Condition) -> Check:
        salt = condition.bucket or ""
        low, high = condition.from_, condition.to
        return Check(lambda moment: (low <= bucket(moment.profile_id, salt) < high, NEVER), NEWCOMER)


def bucket(profile_id: str, salt: str) -> float:
    """A person's place from 0 up to 100, by hash: the same for the same salt, unrelated for another."""
    digest = blake2b(f"{salt}\0{profile_id}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / (1 << 53) * 100


def next_change(check: Check, moment: Moment) -> Answer:
    """Ask a condition, and find out when time alone changes the answer next.

    Returns:
        Whether it holds at the moment, and when that changes; `NEVER` if it does not. After `MOST_LOOKS` looks without
        a change, the time until which there is none.
    """
    moment.sure = True
    holds, until = check.ask(moment)
    if moment.sure or until >= NEVER:
        return holds, until
    now = moment.now
    try:
        for _ in range(MOST_LOOKS):
            moment.now = until
            later, after = check.ask(moment)
            if later is not holds:
                return holds, until
            until = after
            if until >= NEVER:
                return holds, NEVER
    finally:
        moment.now = now
    return holds, until


def _all(checks: list[Check]) -> Check:
    """All hold. While some do not, nothing changes before the last of those does."""
    return _joined(checks, True)


def _any(checks: list[Check]) -> Check:
    """One holds. While several do, nothing changes before the last of those no longer does."""
    return _joined(checks, False)


def _joined(checks: list[Check], every: bool) -> Check:
    """All of some conditions (`every`), or any of them: the same, with yes and no exchanged."""
    asks = [check.ask for check in checks]

    def ask(moment: Moment) -> Answer:
        until, deciding, last = NEVER, 0, 0
        for one in asks:
            holds, changes = one(moment)
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
        # When the last one of these turns, others may have turned back.
        if deciding > 1 or until <= last:
            moment.sure = False
        return not every, last

    makes, breaks = ([getattr(check, words) for check in checks] for words in ("makes", "breaks"))
    return Check(ask, NOTHING.union(*makes), NOTHING.union(*breaks))


def _not(check: Check) -> Check:
    ask = check.ask

    def negated(moment: Moment) -> Answer:
        holds, until = ask(moment)
        return not holds, until

    return Check(negated, check.breaks, check.makes)


def _counted(events: frozenset[str], least: int, most: int | None) -> Callable[[Moment], Answer]:
    """How often events have ever happened: the profile counts that."""

    def ask(moment: Moment) -> Answer:
        counters = moment.document.get("events", {})
        count = sum(counters[name][0] for name in events if name in counters)
        return least <= count and (most is None or count <= most), NEVER

    return ask


def _last_of(events: frozenset[str]) -> Callable[[Moment], list[int]]:
    """The last time that one of some events happened: the profile knows that."""

    def read(moment: Moment) -> list[int]:
        counters = moment.document.get("events", {})
        return sorted(counters[name][2] for name in events if name in counters)[-1:]

    return read


def _in_window(
    read: Callable[[Moment], Any], least: int, most: int | None, within: int | None
) -> Callable[[Moment], Answer]:
    """How many of some times, in order, are later than a window ago; by time alone they only become fewer."""

    def ask(moment: Moment) -> Answer:
        found = read(moment)
        if within is None:
            return least <= len(found) and (most is None or len(found) <= most), NEVER
        count = _later(found, moment.now - within)
        if count < least:
            return False, NEVER
        if most is None or count <= most:
            return True, found[-least] + within if least else NEVER
        leaves: int = found[-most - 1]
        # Several may leave at once, past what is asked for at least.
        return False, leaves + within if _later(found, leaves) >= least else NEVER

    return ask


def _alone(read: Callable[[Moment], int | None]) -> Callable[[Moment], Sequence[int]]:
    """Make a list of the one time that there may be."""

    def times(moment: Moment) -> Sequence[int]:
        at = read(moment)
        return () if at is None else (at,)

    return times


def _later(found: Any, since: int) -> int:
    count = 0
    for at in reversed(found):
        if at <= since:
            break
        count += 1
    return count


def _end_of_chain(rows: list[list[list[Any]]], spans: list[int | None]) -> int | None:
    """The latest time at which a whole sequence was complete; each step is strictly later than the one before."""
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


def _along(course: Callable[[Moment], Iterator[tuple[int, Any]]], test: Any) -> Callable[[Moment], Answer]:
    """Compare a value that tells its own future."""

    def ask(moment: Moment) -> Answer:
        future = course(moment)
        now, value = next(future)
        holds = test(value, now)
        for at, later in future:
            if test(later, at) is not holds:
                return holds, at
        return holds, NEVER

    return ask


def _at_a_time(read: Read, test: Any, comparison: Comparison, zone: ZoneInfo) -> Callable[[Moment], Answer]:
    """Compare a time with now."""

    def ask(moment: Moment) -> Answer:
        value, now = read(moment), moment.now
        holds = test(value, now)
        at = milliseconds_of(value, zone)
        for turn in sorted(turning_points(comparison, at)) if at is not None else ():
            if turn > now and test(value, turn) is not holds:
                return holds, turn
        return holds, NEVER

    return ask


def _at_turns(reader: Reader, test: Any, limits: list[float]) -> Callable[[Moment], Answer]:
    """Compare a value that time changes at known moments."""
    read, turns, endless = reader.read, reader.turns, reader.endless
    assert turns is not None

    def ask(moment: Moment) -> Answer:
        now = moment.now
        holds = test(read(moment), now)
        ahead = sorted({turn for turn in turns(moment, limits) if turn > now})
        try:
            for moment.now in ahead:
                if test(read(moment), moment.now) is not holds:
                    return holds, moment.now
        finally:
            moment.now = now
        if not endless or not ahead:
            return holds, NEVER
        moment.sure = False
        return holds, ahead[-1]

    return ask
