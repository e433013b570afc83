"""Who is in which segment now, kept up to date event by event, and the moment at which time alone changes it.

For every event of a person: `observe`, then `evaluate`; when `due` has come, `evaluate` without an event. Only what the
event touches or whose time has come is asked again. The state of a person is small:

* `state["features"]`: the series of `series.py`.
* `state["segments"]`: `in` (segment → since when), `due` (segment → when to ask again), `at` (last evaluated), `of`
  (for which definitions), `addresses` (see `touched.address_mark`). To ask a condition (`holds`), none of it is needed.
* `state["scores"]`: predictions that were written back (`scores.py`), each with the time at which it was made.

New definitions ask everything again at a person's next event or timer. A series that is new begins there: `segments
preview` and a rebuild of the profiles read history. Series that no definition needs are dropped when there are more
than `STRANGERS_KEPT` of them: an older worker beside newer ones does not throw away what is theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from hashlib import blake2b
from typing import Any
from zoneinfo import ZoneInfo

from processors.profiles.joins import json, milliseconds
from processors.segments import scores
from processors.segments.conditions import Compiler, next_change
from processors.segments.evaluation import NEVER, Check, Moment
from processors.segments.index import Touched, address_mark
from processors.segments.series import Series, by_event, join
from schemas.profiles.person import Person
from schemas.segments.conditions import Condition, SegmentChange
from schemas.segments.definitions import SegmentDefinitions

Event = dict[str, Any]

STRANGERS_KEPT = 64
"""Series kept that the definitions do not need."""


class SegmentEngine:
    """All segments of one set of definitions.

    Args:
        definitions: Segments, computed traits and parameters.
        timezone: Where dates begin, and local time of people whose own time zone is not known; IANA name.
        extra: Conditions of others, such as journeys, so that what they need is kept too.

    Attributes:
        version: Hash of the definitions.

    Raises:
        LookupError: A condition refers to an attribute or a segment that there is not.
    """

    def __init__(
        self, definitions: SegmentDefinitions, *, timezone: str = "UTC", extra: Iterable[Condition] = ()
    ) -> None:
        self._zone = ZoneInfo(timezone)
        self._compiler = Compiler(definitions, self._zone)
        self._names = [segment.name for segment in definitions.segments]
        self._checks: dict[str, Check] = {name: self._compiler.segment(name) for name in self._names}
        # By identity, with the condition, so that the identity is not given to another.
        self._extra: dict[int, tuple[Condition, Check]] = {
            id(condition): (condition, self._compiler.compile(condition)) for condition in extra
        }
        self._series: dict[str, Series] = dict(self._compiler.series)
        self._by_event, self._every = by_event(self._series.values())
        self._touched = Touched(self._checks)
        self.version = _hash(definitions.model_dump_json(), timezone)
        # What others ask for has no place in the version of a segment, but what is kept for them has to begin too.
        self._of = _hash(self.version, *sorted(self._series))

    def observe(self, person: Person, event: Event, now_ms: int) -> None:
        """Keep what the definitions need of an event; it counts by the time at which it happened.

        Args:
            person: Whose `state["features"]` is changed.
            event: A resolved touchpoint that was not observed before.
            now_ms: Not needed to keep it; part of the call for the sake of symmetry.
        """
        wanted = self._by_event.get(event["event"], self._every)
        if not wanted:
            return
        at = milliseconds(event["occurred_at"])
        state = person.state
        for series in wanted:
            one = series.one(event, at)
            if one is not None:
                features = state.setdefault("features", {})
                known = features.get(series.key)
                features[series.key] = one if known is None else join(series.key, known, one, series.keep)

    def evaluate(self, person: Person, now_ms: int, event: Event | None) -> list[SegmentChange]:
        """Bring the memberships up to date.

        Args:
            person: Whose `state["segments"]` is changed.
            now_ms: The time; memberships are exact then. Time does not run backwards: a time before the last one counts
                as the last one.
            event: What has just been observed; None when only time has passed.

        Returns:
            Who entered and left, in the order of the definitions.
        """
        state = person.state.get("segments")
        if state is None and not self._names:
            return []
        if state is None or state["of"] != self._of:
            asked = self._of_newcomer(person, event) if state is None else self._names
            return self._begin(person, max(now_ms, state["at"]) if state else now_ms, asked)
        now_ms = max(now_ms, state["at"])
        due = state.get("due")
        if event is None:
            asked = [name for name in self._names if due.get(name, NEVER) <= now_ms] if due else []
        else:
            mark = address_mark(person.document)
            asked = self._touched.by(event, person.document, state["in"], addresses=mark != state["addresses"])
            state["addresses"] = mark
            if due and (late := [name for name, at in due.items() if at <= now_ms and name not in asked]):
                asked = sorted([*asked, *late], key=self._names.index)
        state["at"] = now_ms
        return self._ask(person, state, asked, now_ms) if asked else []

    def due(self, person: Person) -> int | None:
        """When `evaluate` is to be called next, if no event comes before; None: time alone changes nothing."""
        state = person.state.get("segments")
        due = state.get("due") if state else None
        return min(due.values()) if due else None

    def holds(self, condition: Condition, person: Person, now_ms: int) -> bool:
        """Tell whether a condition holds.

        Args:
            condition: One of `extra`, or one that needs nothing but what is kept already.
            person: Who.
            now_ms: When.

        Raises:
            LookupError: The condition needs something that is not kept: give it as `extra`.
        """
        return self._check(condition).ask(self._moment(person, now_ms))[0]

    def changes_at(self, condition: Condition, person: Person, now_ms: int) -> int | None:
        """When time alone next changes whether a condition holds; None: never."""
        at = next_change(self._check(condition), self._moment(person, now_ms))[1]
        return None if at >= NEVER else at

    def members(self, person: Person) -> set[str]:
        """The segments that the person was in when last evaluated."""
        state = person.state.get("segments")
        return set(state.get("in", ())) if state else set()

    def attribute(self, name: str, person: Person, now_ms: int) -> Any:
        """Read one attribute; None: absent.

        Raises:
            LookupError: There is no such attribute.
        """
        return self._compiler.catalogue.find(name)[1].read(self._moment(person, now_ms))

    def combine(self, mine: dict[str, Any], other: dict[str, Any]) -> None:
        """Put what is kept of two people who turned out to be one together; `other` is given away.

        Until the next `evaluate`, which is due at once and asks everything, the person is in every segment that either
        was in: what one of them has entered was entered, and the person leaves what they do not belong to together.
        """
        if theirs := other.get("features"):
            features = mine.setdefault("features", {})
            for key, series in theirs.items():
                known = features.get(key)
                keep = self._series[key].keep if key in self._series else None
                features[key] = (
                    series if known is None else join(key, known, series, keep) if keep else join(key, known, series)
                )
        scores.join(mine, other)
        states = [state["segments"] for state in (mine, other) if "segments" in state]
        if states:
            at = max(state["at"] for state in states)
            joined = mine.setdefault("segments", {"in": {}, "addresses": 0})
            memberships = joined["in"]
            for name, since in other.get("segments", {"in": {}})["in"].items():
                memberships[name] = min(since, memberships.get(name, since))
            joined |= {"at": at, "of": "", "due": {scores.EVERYTHING: at}}

    def _check(self, condition: Condition) -> Check:
        known = self._extra.get(id(condition))
        if known is None:
            check = self._compiler.compile(condition)
            unknown = [
                series.key
                for series in self._compiler.series.values()
                if series.key not in self._series or self._series[series.key].keep < series.keep
            ]
            if unknown:
                self._compiler.series = dict(self._series)
                raise LookupError(f"nothing is kept for the condition {condition.operator}: give it as `extra`")
            known = self._extra[id(condition)] = condition, check
        return known[1]

    def _of_newcomer(self, person: Person, event: Event | None) -> Sequence[str]:
        """Name what has to be asked of somebody of whom nothing is kept yet: after the first event, mostly little."""
        happened = event is not None and "event_id" in event and not event.get("derived")
        if event is None or not happened or person.document["event_count"] != 1 or "scores" in person.state:
            return self._names
        mark = address_mark(person.document)
        touched = set(self._touched.by(event, person.document, (), addresses=mark != 0, newcomer=True))
        return [name for name in self._names if name in touched or name in self._of_nobody]

    @cached_property
    def _of_nobody(self) -> frozenset[str]:
        """The segments that a person of whom nothing is known is in, or will be in as time goes by."""
        nobody = self._moment(Person("", {"event_count": 0}, {}), 0)
        return frozenset(name for name, check in self._checks.items() if next_change(check, nobody) != (False, NEVER))

    def _begin(self, person: Person, now_ms: int, asked: Sequence[str]) -> list[SegmentChange]:
        features = person.state.get("features") or {}
        strangers = sorted(key for key in features if key not in self._series)
        for key in strangers[STRANGERS_KEPT:]:
            del features[key]
        known = person.state.get("segments", {}).get("in", {})
        gone = [name for name in known if name not in self._checks]
        state = {
            "in": {name: at for name, at in known.items() if name in self._checks},
            "at": now_ms,
            "of": self._of,
            "addresses": address_mark(person.document),
        }
        person.state["segments"] = state
        left = [SegmentChange(name, False, now_ms, self.version) for name in sorted(gone)]
        return left + self._ask(person, state, asked, now_ms)

    def _ask(self, person: Person, state: dict[str, Any], names: Iterable[str], now_ms: int) -> list[SegmentChange]:
        moment = self._moment(person, now_ms)
        memberships = state["in"]
        due = state.get("due") or {}
        changes: list[SegmentChange] = []
        for name in names:
            holds, until = next_change(self._checks[name], moment)
            if until < NEVER:
                due[name] = until
            else:
                due.pop(name, None)
            if holds is not (name in memberships):
                if holds:
                    memberships[name] = now_ms
                else:
                    del memberships[name]
                changes.append(SegmentChange(name, holds, now_ms, self.version))
        if due:
            state["due"] = due
        else:
            state.pop("due", None)
        return changes

    def _moment(self, person: Person, now_ms: int) -> Moment:
        return Moment(person.profile_id, person.document, person.state, now_ms, self._zone)


def _hash(*parts: str) -> str:
    return blake2b(json(parts), digest_size=6).hexdigest()
