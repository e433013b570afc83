"""An error costs the step that raised it: nothing of its neighbours, and nothing that was decided before it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from processors.profiles.fold import Decider
from processors.profiles.isolation import TIMER_RETRY_MS
from processors.profiles.stage import ProfileUpdate
from schemas.dead_letters import Reason
from schemas.decisions.decision import Emit
from schemas.markets import ONE_MARKET
from schemas.profiles.document import ProfileReading, ProfileRequest, ProfileWrite, StoredProfile
from schemas.profiles.person import UNMERGED, Person
from schemas.records import Outgoing
from schemas.time import ms_of_text
from tests.support.profiles import resolved, told

Event = dict[str, Any]
RECEIVED = ms_of_text(resolved()["received_at"])
BUG = "Boom"


class MemoryStore:
    """Profiles in memory, written by compare-and-set as the real store does.

    Attributes:
        profiles: By id.
        timers: By id, milliseconds.
        published: What was written with profiles, in order.
        marks: Keys of applied events.
        conflicts: So many of the next writes are refused.
        forgotten: Ids whose timers were removed.
    """

    def __init__(self, *stored: StoredProfile) -> None:
        self.profiles = {one.profile_id: one for one in stored}
        self.timers: dict[str, int] = {}
        self.published: list[Outgoing] = []
        self.marks: set[bytes] = set()
        self.conflicts = 0
        self.forgotten: list[str] = []
        self.writes: list[ProfileWrite] = []

    async def read(self, requests: Sequence[ProfileRequest]) -> ProfileReading:
        reading = await self.people([request.profile_id for request in requests])
        reading.applied.extend(request.event_key in self.marks for request in requests)
        return reading

    async def people(self, profile_ids: Sequence[str]) -> ProfileReading:
        found = {one: self.profiles.get(one, StoredProfile(one, 0, None)) for one in profile_ids}
        return ProfileReading(list(profile_ids), [], found)

    async def forget_timers(self, profile_ids: Sequence[str]) -> None:
        self.forgotten += profile_ids

    async def write(self, changes: Sequence[ProfileWrite], definitions: int | None = None) -> list[str]:
        if self.conflicts:
            self.conflicts -= 1
            return [change.profile_id for change in changes]
        for change in changes:
            stored = self.profiles.get(change.profile_id, StoredProfile(change.profile_id, 0, None))
            assert stored.version == change.expected_version
            assert {one.profile_id for one in stored.absorbed} == {loser for loser, _ in change.absorbed}
            assert not self.marks & {key for key, _ in change.events}
            state = stored.state if change.state is None else change.state
            self.profiles[change.profile_id] = StoredProfile(
                change.profile_id, stored.version + 1, change.document, (), state
            )
            if change.due_ms is not None:
                self.timers[change.profile_id] = change.due_ms
            self.published += change.outgoing
            self.marks |= {key for key, _ in change.events}
            self.writes.append(change)
        return []

    def document(self, profile_id: str = "p1") -> Any:
        return orjson.loads(self.profiles[profile_id].document or b"")

    def state(self, profile_id: str = "p1") -> Any:
        return orjson.loads(self.profiles[profile_id].state or b"{}")

    def decisions(self) -> list[Any]:
        return [orjson.loads(record.value) for record in self.published]


class Counting:
    """Counts a person's events and publishes each count; rings once, a minute after the first.

    Events named `BUG` raise after the state was half changed. `fails` names methods that raise.
    """

    markets = ONE_MARKET

    def __init__(self, *fails: str) -> None:
        self.fails = {*fails}

    def _may_fail(self, method: str) -> None:
        if method in self.fails:
            raise KeyError(f"{method}: words of ann@shop.example")

    def on_event(self, person: Person, event: Event, now_ms: int) -> list[Emit]:
        count = person.state["count"] = person.state.get("count", 0) + 1
        person.document.setdefault("traits", {})["count"] = [count, now_ms]
        if event["event"] == BUG:
            raise ZeroDivisionError("words of ann@shop.example")
        self._may_fail("on_event")
        if event["event"] == "Not Json":
            person.state["count"] = 2**70
        person.state.setdefault("rings_at", now_ms + 60_000)
        return [Emit("decisions", {"of": event["event_id"], "count": person.state["count"]})]

    def on_time(self, person: Person, now_ms: int) -> list[Emit]:
        self._may_fail("on_time")
        if 0 < person.state.get("rings_at", 0) <= now_ms:
            person.state["rings_at"] = 0
            return [Emit("actions", {"rang": person.profile_id})]
        return []

    def due(self, person: Person) -> int | None:
        self._may_fail("due")
        return person.state.get("rings_at") or None

    def combine(self, winner: dict[str, Any], loser: dict[str, Any]) -> None:
        winner["half"] = "done"
        self._may_fail("combine")
        del winner["half"]
        winner["count"] = winner.get("count", 0) + loser.get("count", 0)


def after(seconds: int, event: str = "Page Viewed", person: str = "p1") -> Event:
    """An event received so many seconds after `RECEIVED`."""
    base = resolved(event, person=person)
    return {**base, "received_at": f"2026-12-01T12:{seconds // 60:02d}:{seconds % 60:02d}.000Z"}


def stored(profile_id: str = "p1", state: Any = None, document: bytes | None = None, **fields: Any) -> StoredProfile:
    written = orjson.dumps({**told(resolved()), "profile_id": profile_id}) if document is None else document
    return StoredProfile(profile_id, 1, written, state=None if state is None else orjson.dumps(state), **fields)


async def test_of_three_events_the_second_of_which_raises_one_and_three_keep_their_decisions() -> None:
    first, second, third = events = [after(1), after(2, BUG), after(3)]
    store = MemoryStore()
    updated = await ProfileUpdate(store, Counting())(events)

    ((event, reject),) = updated.rejected
    assert (second, Reason.BUG) == (event, reject.reason)
    assert [{"of": first["event_id"], "count": 1}, {"of": third["event_id"], "count": 2}] == store.decisions()
    assert (2, 3, 3) == (store.state()["count"], store.document()["event_count"], updated.applied)
    assert 2 == store.document()["traits"]["count"][0]


@pytest.mark.parametrize("seed", range(8))
async def test_whichever_events_raise_the_others_have_the_decisions_and_the_state_that_they_have_without_them(
    seed: int,
) -> None:
    rng = random.Random(seed)
    events = [after(second, rng.choice([BUG, "Page Viewed"]), rng.choice("ab")) for second in range(0, 200, 5)]
    whole, alone = MemoryStore(), MemoryStore()
    stage = ProfileUpdate(whole, Counting())
    while events:
        size = rng.randrange(1, 12)
        batch, events = events[:size], events[size:]
        whole.conflicts = rng.randrange(2)
        updated = await stage(batch)

        assert [one for one in batch if one["event"] == BUG] == sorted(
            (event for event, _ in updated.rejected), key=lambda event: event["received_at"]
        )
        for event in batch:
            if event["event"] != BUG:
                await ProfileUpdate(alone, Counting())([event])

    for store in (whole, alone):
        await ProfileUpdate(store, Counting()).fire(["a", "b"], RECEIVED + 10**6)

    assert sorted(whole.published) == sorted(alone.published)
    assert {one: whole.state(one) for one in whole.profiles} == {one: alone.state(one) for one in alone.profiles}


async def test_the_reason_is_kept_where_the_answer_to_the_write_was_lost_and_the_write_is_sent_again() -> None:
    class Forgetful(MemoryStore):
        async def write(self, changes: Sequence[ProfileWrite], definitions: int | None = None) -> list[str]:
            """Store, and answer what the second of two equal writes is answered."""
            first = not self.writes
            conflicts = await super().write(changes)
            return [change.profile_id for change in changes] if first else conflicts

    events = [after(1), after(2, BUG), after(3)]
    store = Forgetful()
    updated = await ProfileUpdate(store, Counting())(events)

    assert [(events[1], Reason.BUG)] == [(event, reject.reason) for event, reject in updated.rejected]
    assert (0, 3, [1, 2]) == (updated.applied, updated.repeated, [one["count"] for one in store.decisions()])


async def test_what_was_due_before_an_event_that_raises_is_published_once() -> None:
    store = MemoryStore()
    stage = ProfileUpdate(store, Counting())
    await stage([after(0)])
    await stage([after(70, BUG), after(71)])

    assert [1, None, 2] == [one.get("count") for one in store.decisions()]
    assert {"count": 2, "rings_at": 0} == store.state()


async def test_the_reason_names_the_type_and_the_place_of_an_error_and_quotes_nothing() -> None:
    updated = await ProfileUpdate(MemoryStore(), Counting())([after(1, BUG)])

    assert updated.rejected[0][1].message.startswith(f"ZeroDivisionError in {__name__}.on_event, line ")
    assert "ann" not in updated.rejected[0][1].message


async def test_a_state_that_cannot_be_written_costs_the_decisions_of_the_event_that_made_it() -> None:
    events = [after(1), after(2, "Not Json"), after(3)]
    store = MemoryStore()
    updated = await ProfileUpdate(store, Counting())(events)

    assert [events[1]] == [event for event, _ in updated.rejected]
    assert ([1, 2], 3) == ([one["count"] for one in store.decisions()], store.document()["event_count"])


async def test_a_document_that_cannot_take_an_event_is_left_as_it_was_and_takes_the_others() -> None:
    points = [
        {**after(second, "Loyalty Points Earned"), "properties": {"points": 1, "balance": balance}}
        for second, balance in enumerate((1, 1e300, 3))
    ]
    store = MemoryStore()
    updated = await ProfileUpdate(store, Counting())(points)

    assert [points[1]] == [event for event, _ in updated.rejected]
    assert (2, 2, 2) == (updated.applied, store.document()["event_count"], len(store.marks))
    assert {"earned": 2, "reported": [3, ms_of_text(points[2]["occurred_at"])]} == store.document()["loyalty"]


@pytest.mark.parametrize("method", ["due", "on_time"])
async def test_a_state_that_the_decider_cannot_read_costs_decisions_and_the_document_takes_the_events(
    method: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = {"count": 7, "rings_at": RECEIVED}
    events = [after(second) for second in range(2)]
    store = MemoryStore(stored(state=before))
    updated = await ProfileUpdate(store, Counting(method))(events)

    assert events == [event for event, _ in updated.rejected]
    assert (3, before, []) == (store.document()["event_count"], store.state(), store.published)
    assert ms_of_text(events[1]["received_at"]) + TIMER_RETRY_MS == store.timers["p1"]
    assert "ann@" not in caplog.text

    await ProfileUpdate(store, Counting())([after(2)])  # a version that can read it

    assert [{"rang": "p1"}, 8] == [store.decisions()[0], store.state()["count"]]


@pytest.mark.parametrize("state", [b"{", b"[]", b"\xff", b'"text"'], ids=["half of it", "a list", "no text", "a text"])
async def test_a_state_that_is_no_state_stays_where_it_is(state: bytes) -> None:
    store = MemoryStore(stored()._replace(state=state))
    updated = await ProfileUpdate(store, Counting())([after(1)])

    assert (1, 1, state) == (updated.applied, len(updated.rejected), store.profiles["p1"].state)
    assert 2 == store.document()["event_count"]
    assert (await ProfileUpdate(store, Counting()).fire(["p1"], RECEIVED))[0].startswith("p1: ")
    assert (state, RECEIVED + TIMER_RETRY_MS) == (store.profiles["p1"].state, store.timers["p1"])


async def test_states_that_cannot_be_combined_are_kept_until_they_can_be() -> None:
    second = stored("p3", state={"count": 4, UNMERGED: [{"count": 5}]})
    losers = (stored("p2", state={"count": 3, "newer": 1}), second)
    store = MemoryStore(stored(state={"count": 2}, absorbed=losers))
    updated = await ProfileUpdate(store, Counting("combine"))([after(1)])

    assert (1, 1, 1, 0) == (updated.applied, len(updated.rejected), 1, len(store.published))
    assert 4 == store.document()["event_count"]
    assert {"count": 2, UNMERGED: [{"count": 3, "newer": 1}, {"count": 4, UNMERGED: [{"count": 5}]}]} == store.state()

    await ProfileUpdate(store, Counting("combine"))([after(2)])

    assert 2 == len(store.state()[UNMERGED])

    await ProfileUpdate(store, Counting())([after(3)])

    assert (2 + 3 + 4 + 5 + 1, 1) == (store.state()["count"], store.state()["newer"])
    assert UNMERGED not in store.state()


@pytest.mark.parametrize(
    "broken", [b"{", b"[]", b'{"profile_id": "p1", "channels": 7}'], ids=["half of it", "a list", "another shape"]
)
@pytest.mark.parametrize("whose", ["their own", "of one to absorb"])
async def test_a_document_that_cannot_be_read_stays_as_it_is_and_its_events_are_rejected(
    broken: bytes, whose: str
) -> None:
    bad = stored("p2", document=broken)
    held = stored(absorbed=(bad,)) if whose == "of one to absorb" else stored(document=broken)
    store = MemoryStore(held)
    stage = ProfileUpdate(store, Counting())
    events = [after(1), after(2), after(3, person="other")]
    updated = await stage(events)

    assert (events[:2], 1) == ([event for event, _ in updated.rejected], updated.applied)
    assert (held, 1) == (store.profiles["p1"], store.document("other")["event_count"])
    assert 1 == len(store.marks)


@pytest.mark.parametrize("whose", ["their own", "of one to absorb"])
async def test_the_timer_of_a_document_that_cannot_be_read_is_put_off_or_removed_and_the_others_fire(
    whose: str,
) -> None:
    bad = stored("p2", document=b"{")
    held = stored(absorbed=(bad,)) if whose == "of one to absorb" else stored(document=b"{")
    store = MemoryStore(held, stored("other", state={"rings_at": RECEIVED}))
    errors = await ProfileUpdate(store, Counting()).fire(["p1", "other"], RECEIVED)

    assert 1 == len(errors)
    assert errors[0].startswith("p1: ")
    assert [{"rang": "other"}] == store.decisions()
    if whose == "their own":
        assert (b"{", RECEIVED + TIMER_RETRY_MS) == (store.profiles["p1"].document, store.timers["p1"])
    else:
        assert (["p1"], held) == (store.forgotten, store.profiles["p1"])


@pytest.mark.parametrize("method", ["due", "on_time", "combine"])
async def test_a_timer_that_fails_is_put_off_by_an_hour_and_the_others_fire(method: str) -> None:
    before = {"count": 7, "rings_at": RECEIVED}
    absorbed = (stored("p2", state={"count": 1}),) if method == "combine" else ()
    store = MemoryStore(stored(state=before, absorbed=absorbed))
    errors = await ProfileUpdate(store, Counting(method)).fire(["p1"], RECEIVED)

    assert [f"p1: KeyError in {__name__}._may_fail"] == [error.split(",")[0] for error in errors]
    assert (RECEIVED + TIMER_RETRY_MS, []) == (store.timers["p1"], store.published)
    assert before == {name: store.state()[name] for name in before}


async def test_a_timer_for_which_nothing_is_due_is_removed() -> None:
    """As after a change of definitions: it would fire again at once, for ever, and keep later timers from firing."""
    store = MemoryStore(stored(state={"count": 1}))
    store.timers["p1"] = RECEIVED
    assert [] == await ProfileUpdate(store, Counting()).fire(["p1"], RECEIVED)

    assert {"p1": 0} == store.timers  # 0: no timer


async def test_a_timer_that_fires_too_early_is_set_to_what_is_due() -> None:
    store = MemoryStore(stored(state={"count": 1, "rings_at": RECEIVED + 5_000}))
    store.timers["p1"] = RECEIVED
    assert [] == await ProfileUpdate(store, Counting()).fire(["p1"], RECEIVED)

    assert {"p1": RECEIVED + 5_000} == store.timers


@pytest.mark.parametrize("due", ["soon", [1], {"at": 1}])
async def test_a_state_whose_timer_is_no_number_costs_decisions_and_no_other_person_theirs(due: object) -> None:
    before = {"count": 7, "rings_at": due}
    store = MemoryStore(stored(state=before), stored("other", state={"rings_at": RECEIVED}))
    updated = await ProfileUpdate(store, Counting())([after(1)])

    assert (1, 1) == (updated.applied, len(updated.rejected))
    assert (2, before) == (store.document()["event_count"], store.state())

    errors = await ProfileUpdate(store, Counting()).fire(["p1", "other"], RECEIVED)

    assert (1, [{"rang": "other"}]) == (len(errors), store.decisions())
    assert RECEIVED + TIMER_RETRY_MS == store.timers["p1"]


@pytest.mark.parametrize("derived", [True, False])
@pytest.mark.parametrize("name", ["Product Added to Wishlist", "Product Viewed", "Product Added"])
@pytest.mark.parametrize("properties", [["lamp"], "lamp", 7])
async def test_a_look_at_a_product_in_another_shape_stops_nothing(derived: bool, name: str, properties: object) -> None:
    look = {**after(1, name), "properties": properties, "derived": derived}
    updated = await ProfileUpdate(MemoryStore(), Counting())([look, after(2, person="other")])

    assert updated.applied + len(updated.rejected) >= 2
    assert "other" in updated.profiles


async def test_sections_of_a_newer_version_are_kept_as_they_are_through_events_timers_and_merges() -> None:
    newer = {"wishes": {"lamp": 1}, "profile_id": "p1", "event_count": 1, "mood": None}
    loser = stored(
        "p2", document=orjson.dumps({"wishes": {"rug": 2}, "tastes": ["oak"], "profile_id": "p2", "event_count": 1})
    )._replace(state=b'{"count":1,"plans":{"of":"p2"},"quests":[1]}')
    store = MemoryStore(
        StoredProfile("p1", 1, orjson.dumps(newer), (loser,), b'{"count":1,"plans":{"of":"p1"}}'),
    )
    stage = ProfileUpdate(store, Counting())
    updated = await stage([after(1), after(2, BUG)])
    await stage.fire(["p1"], RECEIVED + 10**6)
    await stage([after(3)])

    assert 1 == len(updated.rejected)
    assert ({"lamp": 1}, ["oak"], 5) == tuple(store.document()[name] for name in ("wishes", "tastes", "event_count"))
    assert ({"of": "p1"}, [1], 4) == tuple(store.state()[name] for name in ("plans", "quests", "count"))


@pytest.mark.parametrize("change", [{"profile_id": 7}, {"profile_id": ["p1"]}, {"event_id": 7}, {"received_at": None}])
async def test_an_event_that_no_profile_can_be_found_for_costs_itself(change: Event) -> None:
    bad, good = {**after(1), **change}, after(2)
    updated = await ProfileUpdate(MemoryStore(), Counting())([bad, good])

    assert ([bad], 1) == ([event for event, _ in updated.rejected], updated.applied)


async def test_many_failing_events_of_one_person_take_time_in_proportion() -> None:
    class Calls(Counting):
        calls = 0

        def on_event(self, person: Person, event: Event, now_ms: int) -> list[Emit]:
            self.calls += 1
            return super().on_event(person, event, now_ms)

    decider = Calls()
    await ProfileUpdate(MemoryStore(), decider)([after(second, BUG) for second in range(300)])

    assert decider.calls <= 2 * 300


async def test_an_error_where_nothing_decides_leaves_state_and_timer_as_they_are() -> None:
    bad = {**after(1, "Loyalty Points Earned"), "properties": {"points": 1, "balance": 1e300}}
    store = MemoryStore(stored(state={"count": 7}))
    updated = await ProfileUpdate(store)([bad, after(2)])

    assert ([bad], 1, {}) == ([event for event, _ in updated.rejected], updated.applied, store.timers)
    assert ({"count": 7}, 2) == (store.state(), store.document()["event_count"])


def test_the_decider_of_the_tests_is_one() -> None:
    _: Decider = Counting()
