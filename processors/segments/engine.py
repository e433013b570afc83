"""Segment memberships, updated event by event, and the times at which they change without an event.

For every event of a person: `observe`, then `evaluate`; at the time that `due` returns: `evaluate` without an event.
Only segments that the event can change, or whose time has come, are evaluated again. The state of a person is small:

* `state["features"]`: the series of `series.py`.
* `state["segments"]`: `in` (segment → member since), `due` (segment → time of the next evaluation), `at` (time of the
  last one), `of` (hash of the definitions evaluated), `addresses` (see `index.address_checksum`), `changes` (how many
  there were, which orders changes of one millisecond), `restate` (after a merge, until the next evaluation: segments
  that only one of the two was in), `filled` (the backfill that read the person's history last). `holds` uses none.
* `state["scores"]`: predictions that were written back (`scores.py`), each with the time at which it was made.

With new definitions, all segments are evaluated before a person's next event or timer (`redefine`), so that a change of
the definitions alone starts no journey. A new series begins empty; a backfill makes it from history and dates the
memberships by it (`restate`). Series that no definition needs are dropped when there are more than
`UNUSED_SERIES_KEPT` of them, so that an older worker does not drop the series of newer ones at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from hashlib import blake2b
from typing import Any

from processors.profiles.joins import canonical_json
from processors.profiles.product_news import FACTS_CHANGED
from processors.segments import scores
from processors.segments.conditions import Compiler, next_change
from processors.segments.evaluation import NEVER, CompiledCondition, EvaluationContext
from processors.segments.index import SegmentIndex, address_checksum
from processors.segments.product_conditions import PRODUCTS
from processors.segments.reachability import AddressTypes
from processors.segments.series import Series, by_event, join
from schemas.channels import ADDRESS_TYPES_OF
from schemas.profiles.person import Person
from schemas.segments.conditions import Condition, SegmentChange
from schemas.segments.definitions import Rfm, SegmentDefinitions
from schemas.territory import ONE_TERRITORY, Territory
from schemas.time import ms_of_text

Event = dict[str, Any]

UNUSED_SERIES_KEPT = 64
"""How many series are kept that no definition needs."""


class SegmentEngine:
    """All segments of one set of definitions.

    Args:
        definitions: Segments, computed traits and parameters.
        territory: Of the deployment.
        extra: Further conditions, such as those of journeys, so that the series that they need are kept too.
        address_types: The identifier types that messages of each channel are sent to, as the message policy has them.

    Attributes:
        version: Hash of the definitions.

    Raises:
        LookupError: A condition refers to an attribute or a segment that does not exist.
    """

    def __init__(
        self,
        definitions: SegmentDefinitions,
        *,
        territory: Territory = ONE_TERRITORY,
        extra: Iterable[Condition] = (),
        address_types: AddressTypes = ADDRESS_TYPES_OF,
    ) -> None:
        self._definitions, self._address_types, self._territory = definitions, address_types, territory
        self._compiler = Compiler(definitions, territory.zone)
        self._names = [segment.name for segment in definitions.segments]
        self._conditions: dict[str, CompiledCondition] = {name: self._compiler.segment(name) for name in self._names}
        # By id(), with the condition, so that Python does not give its id() to another object.
        self._extra: dict[int, tuple[Condition, CompiledCondition]] = {
            id(condition): (condition, self._compiler.compile(condition)) for condition in extra
        }
        self._series: dict[str, Series] = dict(self._compiler.series)
        self._series_by_event, self._series_of_all_events = by_event(self._series.values())
        self._series_of_products = tuple(one for one in self._series.values() if one.key == PRODUCTS)
        self._index = SegmentIndex(self._conditions)
        own = [f"{name}: {', '.join(kinds)}" for name, kinds in address_types.items() if name not in ADDRESS_TYPES_OF]
        if territory.markets.fingerprint:
            own.append(f"markets: {territory.markets.fingerprint}")
        self.version = _hash(definitions.model_dump_json(), territory.zone.key, *own)
        # `version` does not cover extra conditions, but their series have to begin with an evaluation too.
        self._state_version = _hash(self.version, *sorted(self._series))

    def part(self, names: Iterable[str]) -> SegmentEngine:
        """Return an engine of some of the segments, and of those that they refer to."""
        chosen = self._definitions.selection(names)
        return SegmentEngine(chosen, territory=self._territory, address_types=self._address_types)

    def observe(self, person: Person, event: Event) -> None:
        """Add an event to the series that the definitions need, at the time at which it happened.

        Args:
            person: Its `state["features"]` is changed.
            event: A resolved touchpoint that was not observed before; or a derived event.
        """
        if event.get("derived"):  # nothing that the person did: it may bring facts of a product
            wanted: Sequence[Series] = self._series_of_products if event["event"] == FACTS_CHANGED else ()
        else:
            wanted = self._series_by_event.get(event["event"], self._series_of_all_events)
        if not wanted:
            return
        at = ms_of_text(event["occurred_at"])
        state = person.state
        for series in wanted:
            added = series.extract(event, at)
            if added is not None:
                features = state.setdefault("features", {})
                known = features.get(series.key)
                features[series.key] = added if known is None else join(series.key, known, added, series.keep)

    def evaluate(self, person: Person, now_ms: int, event: Event | None) -> list[SegmentChange]:
        """Update the memberships.

        Args:
            person: Its `state["segments"]` is changed.
            now_ms: The time for which memberships are exact. A time before that of the last evaluation is replaced by
                it.
            event: The event that has just been observed; None when only time has passed.

        Returns:
            The segments entered and left, in the order of the definitions.
        """
        state = person.state.get("segments")
        if state is None and not self._names:
            return []
        if state is None or state["of"] != self._state_version:
            names = self._segments_for_first_event(person, event) if state is None else self._names
            return self._restart(person, max(now_ms, state["at"]) if state else now_ms, names)
        now_ms = max(now_ms, state["at"])
        due = state.get("due")
        if event is None:
            names = [name for name in self._names if due.get(name, NEVER) <= now_ms] if due else []
        else:
            checksum = address_checksum(person.document)
            changed = checksum != state["addresses"]
            names = self._index.affected(event, person.document, state["in"], addresses_changed=changed)
            state["addresses"] = checksum
            if due and (late := [name for name, at in due.items() if at <= now_ms and name not in names]):
                names = sorted([*names, *late], key=self._names.index)
        state["at"] = now_ms
        return self._evaluate(person, state, names, now_ms) if names else []

    @property
    def rfm(self) -> Rfm:
        """The rules of recency, frequency and money."""
        return self._definitions.rfm

    @property
    def names(self) -> frozenset[str]:
        """The segments."""
        return frozenset(self._names)

    @property
    def reads_catalogue(self) -> bool:
        """Whether a condition is about what the catalogue says of products."""
        return bool(self._series_of_products)

    def due(self, person: Person) -> int | None:
        """Return the time of the next `evaluate` without an event, in milliseconds; None: time changes nothing.

        A person who was evaluated with other definitions is due at once: the time of the last evaluation.
        """
        state = person.state.get("segments")
        if not state:
            return None
        if state["of"] != self._state_version and state["of"]:
            return int(state["at"])
        due = state.get("due")
        return min(due.values()) if due else None

    def is_outdated(self, person: Person) -> bool:
        """Return whether the person was evaluated with other definitions, so that `redefine` comes first."""
        state = person.state.get("segments")
        return state is not None and state["of"] not in ("", self._state_version)

    def redefine(self, person: Person, now_ms: int) -> tuple[int, list[SegmentChange]]:
        """Evaluate all segments of a person who was evaluated with other definitions.

        Returns:
            The time of the evaluation: `now_ms`, or the first time before at which a segment was to change anyway; and
            the changes. Those that were not due by then are `restated`: the definitions changed, not the person.
        """
        state = person.state["segments"]
        due: dict[str, int] = state.get("due") or {}
        at = max(state["at"], min([now_ms, *due.values()]))
        changes = self._restart(person, at, self._names)
        return at, [one if due.get(one.segment, NEVER) <= at else one._replace(restated=True) for one in changes]

    def restate(
        self,
        person: Person,
        now_ms: int,
        names: Collection[str] = (),
        dated: Sequence[SegmentChange] = (),
        stated: Collection[str] = (),
    ) -> list[SegmentChange]:
        """Evaluate all segments after the profile or its series were made anew.

        Args:
            person: Its `state["segments"]` is changed.
            now_ms: The time for which memberships are exact.
            names: Segments that history dates: their changes replace all that were published before.
            dated: Those changes, in order of time, up to `now_ms`.
            stated: Of `names`: the state at `now_ms` is a change too, whatever it is.

        Returns:
            The changes to publish; none of them is an entry.
        """
        known = person.state.get("segments")
        if known is None and "events" not in person.document:
            return []  # nothing but what bots did, which nobody is evaluated for
        before = set(known["in"]) if known else set()
        if known:
            known["of"] = ""  # as after a merge: every segment is evaluated
        changes = [one for one in self.evaluate(person, now_ms, None) if one.segment not in names]
        state = person.state.get("segments")
        if state is None:
            return changes
        first = state.get("changes", 0) + 1
        since: dict[str, int | None] = {}

        def replace(segment: str, entered: bool, at_ms: int) -> None:
            change = self._change(state, segment, entered, at_ms, restated=True)
            changes.append(change._replace(replaces_before=first))

        for one in dated:
            replace(one.segment, one.entered, one.at_ms)
            since[one.segment] = one.at_ms if one.entered else None
        for name in sorted(names):
            is_member, entered_at = name in state["in"], since.get(name)
            if is_member is (entered_at is None) or name in stated or (name in before and name not in since):
                replace(name, is_member, state["at"])
            if is_member and entered_at is not None:
                state["in"][name] = entered_at
        return changes

    def holds(self, condition: Condition, person: Person, now_ms: int) -> bool:
        """Return whether a condition holds.

        Args:
            condition: One of `extra`, or one that needs no series but those that are kept already.
            person: The person.
            now_ms: The time.

        Raises:
            LookupError: The condition needs a series that is not kept: pass it as `extra`.
        """
        return self._compiled(condition).evaluate(self._context(person, now_ms))[0]

    def changes_at(self, condition: Condition, person: Person, now_ms: int) -> int | None:
        """Return when a condition next changes without an event, in milliseconds; None: never."""
        at = next_change(self._compiled(condition), self._context(person, now_ms))[1]
        return None if at >= NEVER else at

    def members(self, person: Person) -> set[str]:
        """Return the segments that the person was in at the last evaluation."""
        state = person.state.get("segments")
        return set(state.get("in", ())) if state else set()

    def attribute(self, name: str, person: Person, now_ms: int) -> Any:
        """Return the value of an attribute; None: absent.

        Raises:
            LookupError: There is no attribute of this name.
        """
        return self._compiler.catalogue.find(name)[1].read(self._context(person, now_ms))

    def combine(self, mine: dict[str, Any], other: dict[str, Any]) -> None:
        """Merge the state of `other` into `mine`, for two profiles of one person; `other` must not be used afterwards.

        The merged person is in every segment that either was in, since the earlier time, until the next `evaluate`. It
        is due at once, evaluates all segments, and reports those that the merged person leaves.
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
            changes = max(state.get("changes", 0) for state in states)
            outdated = {state["of"] for state in states} - {"", self._state_version}
            restate = set().union(*(state.get("restate", ()) for state in states))
            joined = mine.setdefault("segments", {"in": {}, "addresses": 0})
            memberships = joined["in"]
            theirs_in = other.get("segments", {"in": {}})["in"]
            restate |= memberships.keys() ^ theirs_in.keys()
            for name, since in theirs_in.items():
                memberships[name] = min(since, memberships.get(name, since))
            joined |= {"at": at, "of": min(outdated, default=""), "due": {scores.ALL_SEGMENTS: at}, "changes": changes}
            if restate:
                joined["restate"] = sorted(restate)
            if filled := [state["filled"] for state in states if "filled" in state]:
                joined["filled"] = max(filled)

    def _compiled(self, condition: Condition) -> CompiledCondition:
        known = self._extra.get(id(condition))
        if known is None:
            compiled = self._compiler.compile(condition)
            unknown = [
                series.key
                for series in self._compiler.series.values()
                if series.key not in self._series or self._series[series.key].keep < series.keep
            ]
            if unknown:
                self._compiler.series = dict(self._series)
                raise LookupError(f"nothing is kept for the condition {condition.operator}: give it as `extra`")
            known = self._extra[id(condition)] = condition, compiled
        return known[1]

    def _segments_for_first_event(self, person: Person, event: Event | None) -> Sequence[str]:
        """Return the segments to evaluate for a person without state: after the first event, few of them."""
        happened = event is not None and "event_id" in event and not event.get("derived")
        if event is None or not happened or person.document["event_count"] != 1 or "scores" in person.state:
            return self._names
        changed = address_checksum(person.document) != 0
        affected = set(self._index.affected(event, person.document, (), addresses_changed=changed, first_event=True))
        return [name for name in self._names if name in affected or name in self._segments_of_empty_profile]

    @cached_property
    def _segments_of_empty_profile(self) -> frozenset[str]:
        """The segments that a person with an empty profile is in, or will be in as time passes."""
        context = self._context(Person("", {"event_count": 0}, {}), 0)
        return frozenset(
            name for name, compiled in self._conditions.items() if next_change(compiled, context) != (False, NEVER)
        )

    def _restart(self, person: Person, now_ms: int, names: Sequence[str]) -> list[SegmentChange]:
        features = person.state.get("features") or {}
        unused = sorted(key for key in features if key not in self._series)
        for key in unused[UNUSED_SERIES_KEPT:]:
            del features[key]
        former = person.state.get("segments", {})
        known = former.get("in", {})
        gone = [name for name in known if name not in self._conditions]
        state = {
            "in": {name: at for name, at in known.items() if name in self._conditions},
            "at": now_ms,
            "of": self._state_version,
            "addresses": address_checksum(person.document),
            "changes": former.get("changes", 0),
        }
        if "filled" in former:
            state["filled"] = former["filled"]
        person.state["segments"] = state
        left = [self._change(state, name, False, now_ms) for name in sorted(gone)]
        changes = left + self._evaluate(person, state, names, now_ms)
        if restate := former.get("restate"):
            kept = state["in"].keys() & set(restate) - {change.segment for change in changes}
            changes += [self._change(state, name, True, now_ms, restated=True) for name in sorted(kept)]
        return changes

    def _evaluate(
        self, person: Person, state: dict[str, Any], names: Iterable[str], now_ms: int
    ) -> list[SegmentChange]:
        context = self._context(person, now_ms)
        memberships = state["in"]
        due = state.get("due") or {}
        changes: list[SegmentChange] = []
        for name in names:
            holds, until = next_change(self._conditions[name], context)
            if until < NEVER:
                due[name] = until
            else:
                due.pop(name, None)
            if holds is not (name in memberships):
                if holds:
                    memberships[name] = now_ms
                else:
                    del memberships[name]
                changes.append(self._change(state, name, holds, now_ms))
        if due:
            state["due"] = due
        else:
            state.pop("due", None)
        return changes

    def _change(
        self, state: dict[str, Any], name: str, entered: bool, now_ms: int, *, restated: bool = False
    ) -> SegmentChange:
        state["changes"] = sequence = state.get("changes", 0) + 1
        return SegmentChange(name, entered, now_ms, self.version, sequence, restated)

    def _context(self, person: Person, now_ms: int) -> EvaluationContext:
        return EvaluationContext(
            person.profile_id,
            person.document,
            person.state,
            now_ms,
            self._territory,
            self._address_types,
        )


def _hash(*parts: str) -> str:
    return blake2b(canonical_json(parts), digest_size=6).hexdigest()
