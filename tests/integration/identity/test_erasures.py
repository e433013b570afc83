"""The rows that an erasure deletes from ClickHouse, and its entries in Redis."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator

import orjson
import pytest

from deploy.connections.redis import async_redis_client
from deploy.settings import Settings
from processors.delivery.link_events import Visitor, clicked
from processors.identity.stage import request_for
from schemas.delivery.links import MessageLink
from schemas.events.touchpoint import read
from schemas.identity.erasure import LetterPlace, Trace
from sinks.clickhouse.erasure import count_rows, delete_letters, delete_rows, find_letters, person_rows
from sinks.redis.erasures import RedisErasures
from tests.support.builders import order, touchpoint
from tests.support.in_process_pipeline import RECEIVED_MS, Town, town
from tests.support.warehouse import person

pytestmark = [pytest.mark.integration, pytest.mark.on_cluster]

ANN, BEN = {"email": "ann@shop.example"}, {"phone": "+14155552671"}


@pytest.fixture
async def here(stack: Settings) -> AsyncIterator[Town]:
    async with town(stack) as found:
        yield found


@pytest.mark.parametrize("who", ["source", "target"])
async def test_after_a_split_each_half_is_erased_alone(here: Town, who: str) -> None:
    hers, his = order("hers", identifiers=ANN), order("his", identifiers=BEN)
    await here.live(hers, his, touchpoint(identifiers=ANN | BEN, event_id="both"))
    split = await here.identities.split("apart", [here.identifier_hash("phone", "+14155552671")], occurred_ms=0)
    await here.relay()
    gone = split._asdict()[who]
    rows = person_rows(here.tables.client, [gone])
    deleted = delete_rows(here.tables.client, rows)
    orders = here.tables.rows("SELECT conversion_id, toString(profile_id) FROM v_conversions")

    assert not any(count_rows(here.tables.client, rows).values())
    assert ({"source": 2, "target": 1}[who], 1) == (deleted["touchpoints"], deleted["order_events"])
    assert [("his", split.target) if who == "source" else ("hers", split.source)] == orders


async def test_the_log_keeps_the_erasure_and_nothing_else_of_the_person(here: Town) -> None:
    await here.live(touchpoint(identifiers=ANN), touchpoint(identifiers=BEN))
    erased = await here.identities.erase(here.identifier_hash("email", "ann@shop.example"), 2_000_000_000_000)
    await here.relay()
    assert erased is not None
    deleted = delete_rows(here.tables.client, person_rows(here.tables.client, [erased.profile_id]))

    assert {"arrivals", "identity_log", "touchpoints"} == set(deleted)
    assert [("bind", 1), ("erase", 1)] == here.tables.rows(
        "SELECT kind, count() FROM identity_log FINAL GROUP BY kind ORDER BY kind"
    )


async def test_every_table_with_a_profile_id_is_erased_from(here: Town) -> None:
    named = here.tables.rows(
        "SELECT table FROM system.columns WHERE database = currentDatabase() AND name = 'profile_id' AND table IN"
        " (SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree')"
    )

    assert {table for (table,) in named} == set(person_rows(here.tables.client, [person(1)]).conditions)
    assert {"touchpoints", "conversions", "messages", "profiles", "identity_log", "decisions"} <= {
        one for (one,) in named
    }


async def test_dead_letters_are_found_by_their_original_bytes(here: Town) -> None:
    for offset, value in enumerate((b'{"email": "Ann@Shop.example"}', b"nothing of hers")):
        letter = {"topic": "t", "partition": 0, "offset": offset, "value_base64": b64encode(value).decode()}
        await here.insert("dead_letters", orjson.dumps({**letter, "received_at": "2026-11-22T10:15:30.123Z"}))
    found = [(place, value) for place, _, value in find_letters(here.tables.client, ["ann@shop.example"])]
    deleted = delete_letters(here.tables.client, [place for place, _ in found])

    assert [(LetterPlace("t", 0, 0), b'{"email": "Ann@Shop.example"}')] == found
    assert (1, [(1,)]) == (deleted, here.tables.rows("SELECT offset FROM dead_letters FINAL"))


async def test_an_erasure_is_remembered_until_its_entry_expires(stack: Settings) -> None:
    letter = LetterPlace("t", 0, 7)
    traces = [
        Trace(person(1)),
        Trace(person(2)),
        Trace(person(3)),
        Trace(person(3), person(30)),
        Trace(person(1), person(10)),  # a split has made the anchor somebody else's
        Trace(letter=str(letter)),
        Trace(),
    ]
    async with async_redis_client(stack, timeout_s=10) as redis:
        erasures = RedisErasures(redis, stack.redis_namespace)
        before = await erasures.are_erased(traces)
        prefix = f"{{{stack.redis_namespace}}}:alias:"
        await redis.mset({prefix + person(1): person(2), prefix + person(2): "!"})
        await erasures.erase([person(30)], [letter], now_ms=1)
        after = await erasures.are_erased(traces)
        await erasures.erase([person(31)], [], now_ms=10**13)
        later = await erasures.are_erased(traces)

    assert [False] * 7 == before
    assert [True, True, False, True, False, True, False] == after
    assert [True, True, False, False, False, True, False] == later


async def test_who_clicks_on_a_message_from_before_their_erasure_stays_erased(here: Town) -> None:
    erased_ms, later_ms = RECEIVED_MS + 3_600_000, RECEIVED_MS + 7_200_000
    people = [{"email": f"{who}@shop.example"} for who in ("ann", "ben")]
    await here.live(*(touchpoint(identifiers=one) for one in people))
    hashes = [here.identifier_hash("email", one["email"]) for one in people]
    his = await here.owner("email", "ben@shop.example")
    await here.identities.erase(hashes[0], erased_ms)

    links = [MessageLink("click", "m1", "email", "email", one, RECEIVED_MS // 1000) for one in hashes]
    events = [read(orjson.loads(clicked(link, Visitor(), later_ms).value)) for link in links]
    requests = [request_for(event, here.policy, here.secret, b"originof", later_ms)[0] for event in events]
    hers, of_ben = await here.identities.resolve(requests)

    assert (True, None) == (hers.suppressed, await here.identities.owner(hashes[0]))
    assert (False, his) == (of_ben.suppressed, of_ben.profile_id)
