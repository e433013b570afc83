"""Folds events step by step, so that an error costs only the step that raised it.

Before each step document and state are encoded; a step that raises, or after which they cannot be encoded, is taken
back. The steps of an event, and what an error in each of them costs:

| step | an error costs |
| --- | --- |
| what was due before the event | the decisions of the event; the timers of the person are put off |
| joining it into the document | the event: it is not applied, and may be published again once the cause is mended |
| what follows from the event | the decisions of the event |

Where the stored state cannot be read, or the states of merged people cannot be combined, nothing is decided for the
person (`suspended`), since caps, consent and runs under way would be known by half. The document still takes the
events, and the states are kept as they are, for a version that can read them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import orjson

from processors.profiles import link_scans
from processors.profiles.cache import UNKNOWN_TIMER
from processors.profiles.document import Event, encode, join, read_profile
from processors.profiles.fold import (
    Decider,
    FoldedProfile,
    PendingEvent,
    combine_states,
    due_time,
    encode_emits,
    encode_state,
    held_journeys,
    read_state,
    timer_from_ms,
)
from processors.profiles.product_news import news_for, watched_products
from schemas.decisions.decision import Emit
from schemas.durations import HOUR_MS
from schemas.markets import ONE_MARKET
from schemas.outcomes import Reject, rejected_for_bug
from schemas.profiles.document import StoredProfile
from schemas.profiles.person import UNMERGED, Person
from schemas.records import Outgoing

TIMER_RETRY_MS = HOUR_MS
"""Pause after a failed timer: a bug is not fixed within minutes, and each retry is a line in the log."""


def fold_events_isolated(
    stored: StoredProfile, pending: Sequence[PendingEvent], decider: Decider | None
) -> FoldedProfile:
    """Do what `fold_events` does; an error costs only its step, and is returned in `rejected`.

    Args:
        stored: Whose.
        pending: In order.
        decider: Decides; None: nothing does, and the state stays.

    Returns:
        The profile, with all events that it could take; `unreadable`, with all events rejected, where the document, or
        one that it is to absorb, cannot be read.
    """
    try:
        fold = _IsolatedFold(stored, decider)
    except Exception as error:  # noqa: BLE001 - whatever is stored, it costs this person alone
        return _unreadable(stored, rejected_for_bug(error), pending, 0)
    for one in pending:
        fold.apply(one)
    return fold.result(fold.timer_from_ms)


def fold_time_isolated(stored: StoredProfile, now_ms: int, decider: Decider) -> FoldedProfile:
    """Do what `fold_time` does; after an error, which `suspended` names, the timers are put off.

    Args:
        stored: Whose.
        now_ms: The time, milliseconds since 1970.
        decider: Decides.
    """
    try:
        fold = _IsolatedFold(stored, decider)
    except Exception as error:  # noqa: BLE001 - as above
        return _unreadable(stored, rejected_for_bug(error), (), now_ms + TIMER_RETRY_MS)
    if fold.suspended is None:
        fold.suspended = fold.attempt(lambda: decider.on_time(fold.person, now_ms))
        if fold.suspended is None:
            return fold.result(timer_from_ms(fold.due_ms, now_ms))
    return fold.result(now_ms + TIMER_RETRY_MS)


def _unreadable(
    stored: StoredProfile, reject: Reject, pending: Sequence[PendingEvent], timer_from_ms: int
) -> FoldedProfile:
    return FoldedProfile(
        stored,
        UNKNOWN_TIMER,
        None,
        stored.document or b"",
        None,
        None,
        timer_from_ms,
        rejected=[(one.event, reject) for one in pending],
        suspended=reject,
        unreadable=True,
    )


class _IsolatedFold:
    """A person between two steps, with an encoded copy to restore after an error."""

    def __init__(self, stored: StoredProfile, decider: Decider | None) -> None:
        self._stored = stored
        self._decider = decider
        self.person = Person(stored.profile_id, read_profile(stored), {})
        self.suspended: Reject | None = None
        self.due_ms: int | None = None
        self.timer_from_ms = 0
        self._state_stays = decider is None
        self._document = encode(self.person.document)
        self._state = b""
        self._outgoing: list[Outgoing] = []
        self._held: list[str] = []
        self._watches: dict[str, None] = {}
        self._applied: list[PendingEvent] = []
        self._rejected: list[tuple[Event, Reject]] = []
        if decider is not None:
            self._open_state(stored, decider)

    def apply(self, one: PendingEvent) -> None:
        """Apply an event, as far as it goes."""
        at_ms = one.request.received_ms
        reject = self.suspended or self._catch_up(at_ms)
        if reject is not None:
            self.timer_from_ms = at_ms + TIMER_RETRY_MS
        counted: list[Event] = []
        not_joined = self.attempt(lambda: self._join(one, counted))
        if not_joined is not None:
            self._rejected.append((one.event, not_joined))
            return
        self._applied.append(one)
        if self._decider is not None:
            self._watches.update(dict.fromkeys(watched_products(one.event)))
        for event in counted:
            failed = reject or self._decide(event, at_ms)
            if failed is not None:
                self._rejected.append((one.event if event.get("derived") else event, failed))

    def attempt(self, step: Callable[[], Sequence[Emit]]) -> Reject | None:
        """Do a step and keep its records; after an error, undo it and return the reason."""
        try:
            emits = step()
            outgoing, held = encode_emits(self.person.profile_id, emits), held_journeys(emits)
            document, state, due_ms = self._encoded()
        except Exception as error:  # noqa: BLE001 - a bug costs this step, not the others
            self.person = self.person._replace(document=orjson.loads(self._document), state=read_state(self._state))
            return rejected_for_bug(error)
        self._document, self._state, self.due_ms = document, state, due_ms
        self._outgoing += outgoing
        self._held += held
        return None

    def result(self, timer_from_ms: int) -> FoldedProfile:
        """Return the folded profile after the successful steps."""
        return FoldedProfile(
            self._stored,
            None if self._decider is None else UNKNOWN_TIMER,
            None if self.suspended else self.person,
            self._document,
            None if self._state_stays else self._state,
            self.due_ms,
            timer_from_ms,
            self._outgoing,
            tuple(self._watches),
            self._applied,
            self._rejected,
            self.suspended,
            held=self._held,
        )

    def _open_state(self, stored: StoredProfile, decider: Decider) -> None:
        """Decode the state and combine it with those of the absorbed profiles; or suspend decisions."""
        losers = [loser.state for loser in stored.absorbed if loser.state]
        try:
            own = read_state(stored.state)
        except Exception as error:
            if losers:
                raise  # there is no place in which to keep them
            self._state_stays, self.suspended = True, rejected_for_bug(error)
            return
        try:
            combine_states(decider, own, [read_state(loser) for loser in losers])
            self.person.state.update(own)
            _, self._state, self.due_ms = self._encoded()
        except Exception as error:  # noqa: BLE001 - whatever it is, it costs decisions and not the profile
            kept = read_state(stored.state)
            if losers:
                kept[UNMERGED] = [*kept.get(UNMERGED, ()), *map(read_state, losers)]
            self.person = self.person._replace(state=kept)
            self._state, self.suspended = encode_state(kept), rejected_for_bug(error)

    def _encoded(self) -> tuple[bytes, bytes, int | None]:
        """Encode the person; raises where what was made cannot be stored, or cannot be read again."""
        due_ms = None
        if self._decider is not None and self.suspended is None and self.person.state:
            due_ms = due_time(self._decider, self.person)
        return encode(self.person.document), encode_state(self.person.state), due_ms

    def _catch_up(self, at_ms: int) -> Reject | None:
        """Handle what was due before an event, on the profile without the event."""
        decider = self._decider
        if decider is None or self.due_ms is None or self.due_ms > at_ms:
            return None
        self.timer_from_ms = 0
        return self.attempt(lambda: decider.on_time(self.person, at_ms))

    def _join(self, one: PendingEvent, counted: list[Event]) -> Sequence[Emit]:
        """Join an event into the document; add to `counted` what is to be decided on."""
        document, state, event, addition = self.person.document, self.person.state, one.event, one.take_addition()
        if self._decider is None or self.suspended is not None or not link_scans.concerns(state, event):
            join(document, addition)
            markets = ONE_MARKET if self._decider is None else self._decider.markets
            if (news := news_for(document, event, markets, one.facts)) is not None:
                counted.append(news)
            return ()
        admitted = link_scans.admit(document, state, event, addition)
        for added in (admitted.added, *(one for _, one in admitted.events)):
            if added:
                join(document, added)
        counted += [event for event, _ in admitted.events]
        return [link_scans.verdict_record(self.person.profile_id, *judged) for judged in admitted.judged]

    def _decide(self, event: Event, at_ms: int) -> Reject | None:
        decider = self._decider
        return None if decider is None else self.attempt(lambda: decider.on_event(self.person, event, at_ms))
