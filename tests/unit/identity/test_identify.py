"""The stage `identify`: every record ends on exactly one topic, whatever it holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import orjson
import pytest

from processors.identity.stage import Identify, TooManyDeadLettersError
from processors.stream.ports import IdentityStore
from processors.stream.routing import route
from schemas.channels import TOUCHPOINT_CHANNELS
from schemas.dead_letters import Reason
from schemas.identity.policy import IdentityPolicy
from schemas.identity.resolution import Refusal, Resolution, ResolveRequest
from schemas.outcomes import Ok, Reject
from schemas.records import Headers, Outgoing, Record
from schemas.topics import DEAD_LETTERS, DROPPED_TOUCHPOINTS, RESOLVED_TOUCHPOINTS
from tests.support.builders import touchpoint

PERSON = "00000000-0000-0000-0000-000000000001"


@dataclass
class Raw:
    value: bytes | None
    offset: int = 0
    topic: str = "touchpoints.web"
    partition: int = 3
    timestamp: int = 1_700_000_000_123
    key: bytes | None = b"k"
    headers: Headers = ()


class OnePerson:
    """An identity store that knows one person and calls a second `event_id` a duplicate."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    async def resolve(self, requests: Sequence[ResolveRequest]) -> list[Resolution]:
        answers = []
        for request in requests:
            known = request.event_id in self.seen
            self.seen.add(request.event_id)
            anchor = request.claims[0].anchor if request.claims else None
            answers.append(Resolution(request.event_id, PERSON if request.claims else None, anchor, duplicate=known))
        return answers


class Routed:
    """The stage, with its outcomes as the records that the router makes of them."""

    def __init__(self, identities: IdentityStore, **options: Any) -> None:
        self.identify = Identify(
            identities,
            policy=IdentityPolicy(),
            secret=b"secret",
            channels=frozenset(TOUCHPOINT_CHANNELS),
            max_event_bytes=65_536,
            **options,
        )

    async def __call__(self, records: Sequence[Record]) -> list[Outgoing]:
        return route("identify", records, await self.identify(records))


def stage(**options: Any) -> Routed:
    return Routed(OnePerson(), **options)


async def test_a_valid_event_goes_on_with_its_person_and_its_place_in_the_log() -> None:
    event = touchpoint(identifiers={"email": " Anna@Shop.Example "}, received_at="1999-01-01T00:00:00Z")

    [out] = await stage()([Raw(orjson.dumps(event), offset=7)])

    value = orjson.loads(out.value)
    assert (RESOLVED_TOUCHPOINTS, PERSON.encode()) == (out.topic, out.key)
    assert PERSON == value["profile_id"]
    assert [{"type": "email", "value": "anna@shop.example"}] == [
        {key: one[key] for key in ("type", "value")} for one in value["identifiers"]
    ]
    assert "2023-11-14T22:13:20.123Z" == value["received_at"]  # the broker's time, not the client's
    assert {"topic": "touchpoints.web", "partition": 3, "offset": 7} == value["origin"]


async def test_an_event_about_nobody_goes_on_without_a_person() -> None:
    price = {"product_id": "p1", "price": "9.99", "currency": "EUR"}
    event = touchpoint("Price Changed", identifiers=[], properties=price)

    [out] = await stage()([Raw(orjson.dumps(event))])

    assert (RESOLVED_TOUCHPOINTS, event["event_id"].encode()) == (out.topic, out.key)
    assert orjson.loads(out.value)["profile_id"] is None


async def test_a_second_delivery_is_dropped_and_says_so() -> None:
    event = orjson.dumps(touchpoint())

    first, second = await stage()([Raw(event, offset=1), Raw(event, offset=2)])

    assert RESOLVED_TOUCHPOINTS == first.topic
    assert DROPPED_TOUCHPOINTS == second.topic
    assert ("duplicate", 2) == (orjson.loads(second.value)["reason"], orjson.loads(second.value)["offset"])


async def test_every_record_of_a_mixed_batch_ends_in_one_place_in_order() -> None:
    good = [orjson.dumps(touchpoint()) for _ in range(3)]
    batch = [Raw(good[0]), Raw(b"not json"), Raw(good[1]), Raw(None), Raw(b"{}"), Raw(good[2])]

    out = await stage()(batch)

    assert [
        RESOLVED_TOUCHPOINTS, DEAD_LETTERS, RESOLVED_TOUCHPOINTS, DEAD_LETTERS, DEAD_LETTERS, RESOLVED_TOUCHPOINTS
    ] == [one.topic for one in out]  # fmt: skip


async def test_mostly_dead_letters_stop_the_stage_rather_than_emptying_the_topic_into_the_bin() -> None:
    identify = stage(dead_letter_limit_ratio=0.5)

    with pytest.raises(TooManyDeadLettersError, match="THROUGHLINE_DEAD_LETTER_LIMIT_RATIO"):
        for _ in range(Identify.WINDOW // 100 + 1):
            await identify([Raw(b"junk")] * 100)


async def test_a_burst_of_dead_letters_below_the_limit_passes() -> None:
    identify = stage(dead_letter_limit_ratio=0.5)
    good = orjson.dumps(touchpoint())

    for _ in range(3 * Identify.WINDOW // 100):
        assert 100 == len(await identify([Raw(b"junk")] * 40 + [Raw(good)] * 60))


class KeptShare:
    """The counts that outlive a stage."""

    def __init__(self) -> None:
        self.kept, self.saves = (0, 0), 0

    async def load(self) -> tuple[int, int]:
        return self.kept

    async def save(self, records: int, refused: int) -> None:
        self.kept = (records, refused)
        self.saves += 1


async def test_a_restart_empties_no_more_of_the_topic_into_the_bin() -> None:
    share, rejected = KeptShare(), 0
    for _ in range(20):
        identify = stage(refused_share=share)
        with pytest.raises(TooManyDeadLettersError):
            for _ in range(10 * Identify.WINDOW // 1_000):
                rejected += len(await identify([Raw(b"junk")] * 1_000))

    assert rejected < Identify.WINDOW
    assert (Identify.WINDOW, Identify.WINDOW) == share.kept


async def test_good_records_pass_after_the_cause_is_mended_and_release_the_brake() -> None:
    share, good = KeptShare(), orjson.dumps(touchpoint())
    share.kept = (Identify.WINDOW, Identify.WINDOW)
    identify = stage(refused_share=share)
    with pytest.raises(TooManyDeadLettersError):
        await identify([Raw(b"junk")])
    for _ in range(2 * Identify.WINDOW // 1_000):
        await identify([Raw(good)] * 1_000)

    assert 1 == len(await stage(refused_share=share)([Raw(b"junk")]))
    assert share.kept[1] < Identify.WINDOW // 10


async def test_the_limit_of_the_settings_lets_all_pass() -> None:
    share = KeptShare()
    share.kept = (Identify.WINDOW, Identify.WINDOW)

    assert 1 == len(await stage(refused_share=share, dead_letter_limit_ratio=1.0)([Raw(b"junk")]))


async def test_good_records_cost_no_write_each() -> None:
    share, good = KeptShare(), orjson.dumps(touchpoint())
    identify = stage(refused_share=share)
    for _ in range(Identify.WINDOW // 100):
        await identify([Raw(good)] * 100)

    assert 10 == share.saves


class Answering:
    """An identity store that gives one answer, and keeps what it was asked."""

    def __init__(self, **answer: Any) -> None:
        self.answer = answer
        self.asked: list[ResolveRequest] = []

    async def resolve(self, requests: Sequence[ResolveRequest]) -> list[Resolution]:
        self.asked += requests
        return [Resolution(request.event_id, PERSON, PERSON)._replace(**self.answer) for request in requests]


async def identified(store: Answering, event: dict[str, Any]) -> Outgoing:
    [out] = await Routed(store)([Raw(orjson.dumps(event))])
    return out


async def test_an_event_of_somebody_who_was_erased_is_suppressed() -> None:
    out = await identified(Answering(profile_id=None, suppressed=True), touchpoint())

    assert (DROPPED_TOUCHPOINTS, "erased") == (out.topic, orjson.loads(out.value)["reason"])


async def test_an_event_says_up_to_which_change_its_person_is_known() -> None:
    out = await identified(Answering(version=7), touchpoint())

    assert 7 == orjson.loads(out.value)["identity_version"]


async def test_what_was_taken_apart_from_a_person_is_no_identifier_of_their_event() -> None:
    both = touchpoint(identifiers={"email": "ann@shop.example", "user_id": "ann"})
    store = Answering()
    await identified(store, both)
    (email,) = [claim for claim in store.asked[0].claims if claim.type == "email"]

    kept = [
        [one["type"] for one in orjson.loads(out.value)["identifiers"]]
        for rule in ("separated", "limit")
        for out in [await identified(Answering(refused=(Refusal("email", email.anchor, rule),)), both)]
    ]
    assert [["user_id"], ["user_id", "email"]] == kept


@pytest.mark.parametrize(("event", "signed_out"), [("Signed Out", True), ("Signed In", False)])
async def test_the_store_is_told_that_somebody_signed_out(event: str, signed_out: bool) -> None:
    store = Answering()
    await identified(store, touchpoint(event))

    assert [signed_out] == [request.signed_out for request in store.asked]


async def test_a_bug_in_writing_one_event_costs_that_event_alone() -> None:
    class Unwritable(Answering):
        """Answers with a profile id that is no text for the second request."""

        async def resolve(self, requests: Sequence[ResolveRequest]) -> list[Resolution]:
            answers = await super().resolve(requests)
            return [answers[0], answers[1]._replace(profile_id=cast(Any, b"raw")), answers[2]]

    events = [Raw(orjson.dumps(touchpoint())) for _ in range(3)]
    first, second, third = await Routed(Unwritable()).identify(events)

    assert isinstance(first, Ok)
    assert isinstance(third, Ok)
    assert isinstance(second, Reject)
    assert Reason.BUG == second.reason


@pytest.mark.parametrize(
    ("fields", "trait"),
    [
        ({"identifiers": {"loyalty_id": "F-1", "phone": "06 12 34 56 78"}}, "06 12 34 56 78"),
        ({"identifiers": {"loyalty_id": "F-1", "phone": "Tel. 06.12.34.56.78"}}, "Tel. 06.12.34.56.78"),
        ({"identifiers": {"phone": "98765 43210"}, "traits": {"name": "Asha"}}, "98765 43210"),
        ({"identifiers": {"phone": "98765 43210"}, "traits": {"phone": "another"}}, "another"),
        # A number that counts is an identifier, and what is no number is nothing.
        ({"identifiers": {"phone": "06 12 34 56 78"}, "context": {"geo": {"country": "FR"}}}, None),
        ({"identifiers": {"phone": "(415) 555-0132", "user_id": "null"}}, None),
        ({"identifiers": {"phone": "call me", "user_id": "7"}}, None),
        ({"identifiers": {"phone": "0000000000", "user_id": "7"}}, None),
        ({"identifiers": {"phone": "MX.4155552671", "user_id": "7"}}, None),
        ({"identifiers": {"crm_id": "98765 43210", "user_id": "null"}}, None),
    ],
)
async def test_a_number_of_an_unknown_country_is_kept_as_a_trait(fields: dict[str, Any], trait: str | None) -> None:
    (outgoing,) = await stage()([Raw(orjson.dumps(touchpoint(**fields)))])
    written = orjson.loads(outgoing.value)

    assert trait == written.get("traits", {}).get("phone")
    assert (trait is None) or "phone" not in [one["type"] for one in written["identifiers"]]
