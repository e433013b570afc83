"""The profiles of a release without shards are moved into shards: all of them, once, wherever it breaks off."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from deploy.operations.state_migration import migrate_state
from deploy.settings import Settings
from schemas.shards import SHARDS, shard_of
from sinks.redis.keys import name_of, patterns, shard_prefix
from sinks.redis.migration import NotMigratedError, StateCounts, StateMigration
from sinks.redis.people import has_its_people

pytestmark = pytest.mark.integration

PEOPLE = [f"00000000-0000-4000-8000-{number:012d}" for number in range(300)]
NOW_MS = 1_790_000_000_000


@pytest.fixture
def client(stack: Settings) -> Iterator[Redis]:
    with Redis.from_url(stack.redis_url) as client:
        yield client


def former(client: Any, namespace: str) -> None:
    """What a release without shards has left."""
    prefix, chance = f"{{{namespace}}}:", random.Random(7)
    client.set(f"{prefix}identity:version", 7)
    client.set(f"{prefix}people", 1)
    client.hset(f"{prefix}definitions", mapping={"number": 5, "version": "v"})
    for number, person in enumerate(PEOPLE):
        client.hset(f"{prefix}profile:{person}", mapping={"version": 3, "document": f"document of {person}"})
        if number % 3 == 0:
            client.zadd(f"{prefix}timers", {person: NOW_MS + number})
        if number % 4 == 0:
            client.zadd(f"{prefix}profiles:changed", {person: 3})
        if number % 5 == 0:
            client.sadd(f"{prefix}held:welcome", person)
    client.sadd(f"{prefix}held", "welcome")
    for number in range(500):
        client.xadd(f"{prefix}outbox", {"t": "decisions", "k": chance.choice(PEOPLE), "v": str(number)})


def sharded(client: Any, namespace: str) -> dict[str, Any]:
    """What is in the shards, by kind; each person's records in order."""
    found: dict[str, Any] = {"profile": {}, "timers": {}, "changed": {}, "held": set(), "records": {}}
    for shard in range(SHARDS):
        prefix = shard_prefix(namespace, shard)
        for raw in client.scan_iter(match=f"{prefix}*", count=1000):
            name = name_of(raw, namespace)
            if name.startswith("profile:"):
                assert shard == shard_of(name.removeprefix("profile:").encode())
                found["profile"][name.removeprefix("profile:")] = client.hget(raw, "document")
        found["timers"] |= dict(client.zrange(f"{prefix}timers", 0, -1, withscores=True))
        found["changed"] |= dict(client.zrange(f"{prefix}profiles:changed", 0, -1, withscores=True))
        found["held"] |= client.smembers(f"{prefix}held:welcome")
        for _, fields in client.xrange(f"{prefix}outbox"):
            found["records"].setdefault(fields[b"k"], []).append(int(fields[b"v"]))
    return found


def expected(client: Any, namespace: str) -> dict[str, Any]:
    """The same, as it is before."""
    prefix = f"{{{namespace}}}:"
    records: dict[bytes, list[int]] = {}
    for _, fields in client.xrange(f"{prefix}outbox"):
        records.setdefault(fields[b"k"], []).append(int(fields[b"v"]))
    return {
        "profile": {person: client.hget(f"{prefix}profile:{person}", "document") for person in PEOPLE},
        "timers": dict(client.zrange(f"{prefix}timers", 0, -1, withscores=True)),
        "changed": dict(client.zrange(f"{prefix}profiles:changed", 0, -1, withscores=True)),
        "held": client.smembers(f"{prefix}held:welcome"),
        "records": records,
    }


def left(client: Any, namespace: str) -> set[str]:
    """The names of what is not in shards."""
    return {name_of(key, namespace) for key in client.scan_iter(match=patterns(namespace)[0], count=1000)}


class Mortal:
    """A client whose process dies after some commands that change something."""

    def __init__(self, client: Any, changes: int) -> None:
        self._client, self.changes = client, changes

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if name not in ("pipeline", "zrem", "xdel", "srem", "hset", "set", "delete"):
            return found

        def step(*arguments: Any, **named: Any) -> Any:
            self.changes -= 1
            if self.changes < 0:
                raise RedisConnectionError("the process died")
            return found(*arguments, **named)

        return step


def test_everything_is_moved_and_a_second_run_does_nothing(client: Redis, stack: Settings) -> None:
    namespace = stack.redis_namespace
    former(client, namespace)
    before, lines = expected(client, namespace), list[str]()
    dry = migrate_state(stack, lines.append, dry_run=True)
    made = migrate_state(stack, lines.append)

    assert StateCounts(300, 100, 75, 500, 60) == dry == made
    assert before == sharded(client, namespace)
    assert {"identity:version", "people", "definitions", "held", "shards"} == left(client, namespace)
    assert {b"5"} == {client.hget(f"{shard_prefix(namespace, shard)}shard", "definitions") for shard in range(SHARDS)}
    assert has_its_people(client, namespace)
    assert migrate_state(stack, lines.append) is None


def test_it_goes_on_wherever_it_broke_off(client: Redis, stack: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sinks.redis.migration._PART", 60)
    namespace = stack.redis_namespace
    former(client, namespace)
    before, died = expected(client, namespace), 0
    for changes in range(2, 200):
        migration = StateMigration(Mortal(client, changes), namespace)
        if not migration.is_due():
            break
        try:
            migration.migrate(NOW_MS, lambda _: None)
        except RedisConnectionError:
            died += 1
            assert not has_its_people(client, namespace)

    assert died > 5
    assert before == sharded(client, namespace)
    assert has_its_people(client, namespace)


@pytest.mark.parametrize("lease", ["identity:relay", "outbox:relay"])
def test_while_workers_run_nothing_is_moved(
    client: Redis, stack: Settings, monkeypatch: pytest.MonkeyPatch, lease: str
) -> None:
    monkeypatch.setattr("deploy.operations.state_migration._LEASE_S", 0.0)
    former(client, stack.redis_namespace)
    client.set(f"{{{stack.redis_namespace}}}:{lease}", "token")
    with pytest.raises(NotMigratedError, match="Stop all workers"):
        migrate_state(stack, lambda _: None)

    assert {} == sharded(client, stack.redis_namespace)["profile"]


def test_what_is_not_as_it_was_at_the_beginning_is_said_and_no_worker_starts(client: Redis, stack: Settings) -> None:
    former(client, stack.redis_namespace)
    migration = StateMigration(client, stack.redis_namespace)
    counts: Any = migration.unsharded()._replace(timers=101)._asdict()
    client.hset(f"{{{stack.redis_namespace}}}:migration", mapping=counts)
    with pytest.raises(NotMigratedError, match="there were 300 profiles, 101 timers"):
        migration.migrate(NOW_MS, lambda _: None)

    assert not has_its_people(client, stack.redis_namespace)
