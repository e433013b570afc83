"""After an erasure no store has the person's identifiers, and nothing but marks of the erasure has the profile id.

Every key of `sinks/redis/README.md` and every table of ClickHouse is filled with the person first, then searched. A
new key or table fails here until it is filled and emptied, or listed as one that names nobody.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any
from uuid import UUID

import orjson
import pytest

from deploy.operations.deployment import open_deployment
from deploy.operations.erasure import ErasureReceipt, ErasureRequest, erase_person
from deploy.operations.provision import apply_topics
from deploy.settings import Settings
from schemas.coupons import CouponCode
from sinks.redis.coupons import RedisCoupons
from sinks.redis.delivery import RedisDeliveryLedger
from sinks.redis.keys import patterns, person_prefix
from sinks.redis.packing import unpack
from tests.support.builders import order, touchpoint
from tests.support.in_process_pipeline import Town, town
from tests.unit.repository.test_redis_keys import named_in_table

pytestmark = [pytest.mark.integration, pytest.mark.on_cluster]

PERSONAL_KEYS = {
    "i:", "p:", "absorb:", "absorbed:", "profile:", "timers", "outbox", "watch:", "delivered:", "held:", "released:",
    "slots:", "shown:",
}  # fmt: skip
"""They have the person before an erasure, and nothing of the person after it."""
MARKS_OF_AN_ERASURE = {
    "alias:", "past:", "split:", "erased:", "erased:anchors", "erased:letters", "identity:log", "profiles:changed",
    "gone:",
}  # fmt: skip
"""They have profile ids and keyed hashes of identifiers, so that no replay restores the person; never clear text."""
IMPERSONAL_KEYS = {
    "identity:past", "identity:refusals", "identify:refused", "identity:version", "marks:", "seen:", "product_facts:",
    "identity:relay", "outbox:relay", "delivery:due", "recommend:", "recommend_best",
    "recommend_products", "recommend_turn", "segments:defined", "segments:filled", "segments:checked",
    "segments:backfill", "segments:dated", "coupons:", "coupon_codes", "coupon_taken:", "journeys:archive",
    "definitions", "definitions:", "held", "workers", "replay:anchors", "replay:free", "rebuild",
    "broadcast:", "durable", "people", "applied:", "shard", "shards", "migration", "expiry",
}  # fmt: skip
"""They name nobody: an event or a message is named by a hash."""
IMPERSONAL_TABLES = {
    "arrivals", "attribution_days", "attribution_models", "attribution_settings", "backups", "bot_verdicts",
    "country_names", "coupon_codes", "dead_letter_replays", "definition_changes", "dropped_touchpoints",
    "event_deliveries", "ltv_calibration", "ltv_refused_runs", "ltv_runs", "margins", "markets", "policy_channels",
    "product_facts", "product_sightings", "rates", "report_settings", "retention", "rfm_settings", "schema_migrations",
    "score_runs", "source_starts", "spend", "tracking_plan",
}  # fmt: skip
"""They have no profile id: sums, settings, products, and events by an id that the erasure removes."""
RECORDS_OF_ACTS = {"audit_log"}
"""It keeps on which profile id somebody acted, such as who erased whom; never clear text."""
EMAIL, BROWSER = "ann@shop.example", "browser-of-ann"
LETTER = b'{"event_id": "broken", "identifiers": {"email": "Ann@shop.example"}}'


@pytest.fixture
async def here(stack: Settings) -> AsyncIterator[Town]:
    apply_topics(stack)
    async with town(stack) as found:
        yield found


async def test_nothing_of_an_erased_person_is_left_in_any_store(here: Town, stack: Settings) -> None:
    assert PERSONAL_KEYS | MARKS_OF_AN_ERASURE | IMPERSONAL_KEYS == named_in_table()

    ids = await lived(here)
    hashes = [here.identifier_hash("email", EMAIL), here.identifier_hash("anonymous_id", BROWSER)]
    tables = columns_of_tables(here)
    await fill_redis(here, ids)
    await fill_tables(here, ids[0], hashes[0], tables)
    keys_before, tables_before = await keys_with(here, ids, hashes), tables_with(here, tables, [EMAIL, *ids])
    receipt = await erase(stack, ids[0])
    keys_after, tables_after = await keys_with(here, ids, hashes), tables_with(here, tables, [EMAIL, BROWSER, *ids])

    assert set(ids) == set(receipt.profile_ids)
    # The first names a former profile until the next write, the second until that is dropped.
    assert PERSONAL_KEYS - {"absorb:", "absorbed:"} <= keys_before
    assert {one for one in tables if "profile_id" in tables[one]} | {"dead_letters"} <= tables_before
    assert tables.keys() - tables_before <= IMPERSONAL_TABLES | RECORDS_OF_ACTS
    assert keys_after <= MARKS_OF_AN_ERASURE
    assert set() == await keys_with(here, [EMAIL, BROWSER], [])
    assert set() == tables_after
    assert {"watches": 1, "messages": 3, "held": 2, "slots": 2, "outbox": 1} == receipt.stores["redis_traces"]


async def lived(here: Town) -> list[str]:
    """Let the person do things as two profiles that become one; answer with their ids, the live one first."""
    both = {"email": EMAIL, "anonymous_id": BROWSER}
    seen = {"product_id": "P1", "price": "10.00", "currency": "EUR"}
    happened = [
        *await here.live(touchpoint("Product Viewed", identifiers={"anonymous_id": BROWSER}, properties=seen)),
        *await here.live(order("hers", identifiers={"email": EMAIL})),
        *await here.live(touchpoint("Email Sent", "email", identifiers=both, properties={"message_id": "m1"})),
    ]
    live = await here.owner("email", EMAIL)
    return [live, *sorted({event["profile_id"] for event in happened} - {live})]


async def fill_redis(here: Town, ids: list[str]) -> None:
    """Fill the keys that other workers than identify write, with the person's live and former ids."""
    live, former = ids
    prefix, redis = f"{{{here.namespace}}}:", here.redis
    action = orjson.dumps({"idempotency_key": "m1", "profile_id": live, "address": {"type": "email", "value": EMAIL}})
    ledger = RedisDeliveryLedger(redis, here.namespace)
    for key, state in (("waiting", "postpone"), ("sending", ""), ("settled", "settle")):
        await ledger.claim(key, action, 0, 60_000)
        if state == "postpone":
            await ledger.postpone(key, 1)
        elif state:
            await ledger.settle(key, action, b'["Failed", "550 ann@shop.example"]', 0, 60_000)
    await ledger.claim("of another", orjson.dumps({"profile_id": "another"}), 0, 60_000)
    coupons = RedisCoupons(redis, here.namespace)
    await coupons.add("welcome", [CouponCode("A-1")])
    await coupons.take("waiting", "welcome", 0, 0)
    await redis.zadd(f"{prefix}watch:P1", {former: 1, "another": 2})
    await redis.sadd(f"{prefix}held", "welcome")
    for who in (live, "another"):
        shard = person_prefix(here.namespace, who)
        await redis.zadd(f"{shard}timers", {who: 1})
        await redis.sadd(f"{shard}held:welcome", who)
        await redis.sadd(f"{shard}released:welcome", who)
        await redis.set(f"{shard}slots:{who}", orjson.dumps({who: [0, "web", [], 0]}))
        await redis.set(f"{shard}shown:{who}", orjson.dumps({"r": [0, {"content": f"for {who}"}]}))
        await redis.xadd(f"{shard}outbox", {"t": "decisions", "k": who, "v": orjson.dumps({"profile_id": who})})


async def fill_tables(here: Town, profile_id: str, anchor: bytes, tables: dict[str, dict[str, str]]) -> None:
    """Write a row of the person into every table with a profile id that has none, her address in all of its texts."""
    for table, columns in tables.items():
        if "profile_id" not in columns or tables_with(here, {table: columns}, [profile_id]):
            continue
        texts = {
            name: EMAIL
            for name, kind in columns.items()
            if kind in ("String", "LowCardinality(String)", "SimpleAggregateFunction(max, String)")
        }
        row = {
            **texts,
            "profile_id": profile_id,
            **({"anchor": str(UUID(bytes=anchor))} if "anchor" in columns else {}),
        }
        await here.insert(table, orjson.dumps(row))
    letter = {"topic": "touchpoints.web", "partition": 0, "offset": 7, "received_at": "2026-11-22T10:15:30.123Z"}
    encoded = here.tables.rows("SELECT base64Encode({value:String})", value=LETTER.decode())[0][0]
    await here.insert("dead_letters", orjson.dumps({**letter, "message": EMAIL, "value_base64": encoded}))


async def erase(settings: Settings, profile_id: str) -> ErasureReceipt:
    async with open_deployment(settings) as deployment:
        request = ErasureRequest(profile_id, None, ("email", EMAIL))
        return await erase_person(deployment, request, timeout_s=0.2)


async def keys_with(here: Town, texts: list[str], raw: Iterable[bytes]) -> set[str]:
    """Return the names, as in the key table, of the keys that contain one of the texts or bytes."""
    needles = [*(text.encode() for text in texts), *raw]
    needles += [UUID(text).bytes for text in texts if len(text) == 36]
    found = set()
    for pattern in patterns(here.namespace):
        async for key in here.redis.scan_iter(match=pattern, count=1000):
            stored = key + b"\n" + await content(here.redis, key)
            if any(needle in stored for needle in needles):
                found.add(name_of(key.decode("latin-1").partition("}:")[2]))
    return found


def name_of(key: str) -> str:
    return max(
        (name for name in named_in_table() if key == name or (name[-1] == ":" and key.startswith(name))), key=len
    )


async def content(redis: Any, key: bytes) -> bytes:
    """Return all of a key, one part after the other."""
    parts: list[Any]
    match await redis.type(key):
        case b"string":
            parts = [await redis.get(key)]
        case b"hash":
            parts = [unpack(part) for pair in (await redis.hgetall(key)).items() for part in pair]
        case b"set":
            parts = [*await redis.smembers(key)]
        case b"zset":
            parts = await redis.zrange(key, 0, -1)
        case b"stream":
            parts = [part for _, fields in await redis.xrange(key) for pair in fields.items() for part in pair]
        case other:
            raise AssertionError(f"{key!r} is a {other!r}")
    return b"\n".join(parts)


def columns_of_tables(here: Town) -> dict[str, dict[str, str]]:
    """Return each table's columns that can be written and read, with their types."""
    rows = here.tables.rows(
        "SELECT table, groupArray((name, type)) FROM system.columns WHERE database = currentDatabase()"
        " AND default_kind IN ('', 'DEFAULT') AND NOT startsWith(type, 'AggregateFunction') AND table IN"
        " (SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree')"
        " GROUP BY table"
    )
    return {table: dict(columns) for table, columns in rows}


def tables_with(here: Town, tables: dict[str, dict[str, str]], texts: list[str]) -> set[str]:
    """Return the tables with a row that contains one of the texts; the row of the erasure itself may stay."""
    kept = {"identity_log": "kind != 'erase'", "profiles": "NOT is_deleted"}
    found = set()
    for table, columns in tables.items():
        ((count,),) = here.tables.rows(
            f"SELECT count() FROM {table} WHERE {kept.get(table, '1')} AND arrayExists(text ->"
            f" positionCaseInsensitive(toString(tuple({', '.join(columns)})), text) > 0, {{texts:Array(String)}})",
            texts=texts,
        )
        found |= {table} if count else set()
    return found
