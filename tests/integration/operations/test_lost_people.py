"""`throughline doctor` says when Redis lacks its people, or has them as an earlier release, and what to run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import redis

from deploy.operations.doctor import examine
from deploy.operations.provision import migrate
from deploy.settings import Settings
from sinks.clickhouse.client import connect
from sinks.redis.keys import shard_prefix
from sinks.redis.layout import layout_key
from sinks.redis.people import keep_people
from tests.support.databases import create_database

pytestmark = pytest.mark.integration


def people(settings: Settings) -> list[tuple[str, str]]:
    return [(check.found, check.hint) for check in examine(settings) if check.name == "people"]


async def test_people_whom_redis_does_not_know_any_more_are_a_fault(stack: Settings) -> None:
    create_database(stack.clickhouse_url, stack.clickhouse_database)
    await asyncio.to_thread(migrate, stack)
    fresh = await asyncio.to_thread(people, stack)
    tables = connect(stack.clickhouse_url, stack.clickhouse_database)
    tables.command("INSERT INTO identity_log (version, kind) VALUES (7, 'bind')")
    tables.close()
    lost = await asyncio.to_thread(people, stack)
    with redis.Redis.from_url(stack.redis_url) as client:
        client.set(f"{{{stack.redis_namespace}}}:identity:version", 7)
        keep_people(client, stack.redis_namespace)
        back = await asyncio.to_thread(people, stack)

    assert ([], []) == (fresh, back)
    ((found, hint),) = lost
    assert "ClickHouse has people" in found
    assert "throughline rebuild" in hint


@pytest.mark.parametrize(
    ("lost", "said", "advice"),
    [
        pytest.param(layout_key, "as an earlier release has kept them", "throughline state migrate", id="no layout"),
        pytest.param(
            lambda name: f"{shard_prefix(name, 7)}shard", "some of the shards", "throughline rebuild", id="shard"
        ),
    ],
)
def test_what_keeps_workers_from_starting_is_a_fault(
    stack: Settings, lost: Callable[[str], str], said: str, advice: str
) -> None:
    with redis.Redis.from_url(stack.redis_url) as client:
        client.set(f"{{{stack.redis_namespace}}}:identity:version", 7)
        keep_people(client, stack.redis_namespace)
        client.delete(lost(stack.redis_namespace))
    ((found, hint),) = people(stack)

    assert said in found
    assert advice in hint
