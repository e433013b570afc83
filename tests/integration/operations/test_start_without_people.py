"""Workers start on a new deployment and on one that has its people, and on no other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from confluent_kafka import Producer
from redis.asyncio import Redis
from redis.exceptions import ResponseError
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.operations.lost_people import check_people
from deploy.operations.provision import apply_topics
from deploy.operations.state_migration import migrate_state
from deploy.settings import Settings
from processors.profiles.document import encode, new_profile
from schemas.identity.policy import IdentityPolicy
from schemas.identity.resolution import Claim, ResolveRequest
from schemas.profiles.document import ProfileWrite
from sinks.clickhouse.client import connect
from sinks.redis.identity import RedisIdentityStore
from sinks.redis.keys import patterns, shard_prefix
from sinks.redis.people import LedgerOfPeople, LostPeopleError, has_its_people, keep_people
from sinks.redis.profiles import RedisProfileStore
from tests.support.databases import create_database

pytestmark = pytest.mark.integration


def prepare(settings: Settings) -> None:
    apply_topics(settings)
    create_database(settings.clickhouse_url, settings.clickhouse_database)


def in_clickhouse(settings: Settings) -> None:
    tables = connect(settings.clickhouse_url, settings.clickhouse_database)
    tables.command("INSERT INTO identity_log (version, kind) VALUES (7, 'bind')")
    tables.close()


def in_kafka(settings: Settings) -> None:
    producer = Producer({"bootstrap.servers": settings.kafka_bootstrap})
    producer.produce(f"{settings.topic_prefix}identity-changes", b"{}")
    assert 0 == producer.flush(10)


def rebuild_begun(settings: Settings) -> None:
    with redis.Redis.from_url(settings.redis_url) as client:
        client.sadd(f"{{{settings.redis_namespace}}}:rebuild", "begun")


def knows(settings: Settings) -> bool:
    with redis.Redis.from_url(settings.redis_url) as client:
        return has_its_people(client, settings.redis_namespace)


def test_a_new_deployment_starts_and_has_its_people_from_then_on(stack: Settings) -> None:
    before = knows(stack)  # also before the topics and the tables are there
    check_people(stack)
    prepare(stack)
    in_clickhouse(stack)
    check_people(stack)

    assert (False, True) == (before, knows(stack))


@pytest.mark.parametrize("role", ["identify", "profile", "record", "deliver"])
def test_a_store_of_a_release_without_shards_is_refused_until_it_is_migrated(
    stack: Settings, monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    monkeypatch.setattr("deploy.settings.settings", lambda: stack)
    prepare(stack)
    in_clickhouse(stack)
    with redis.Redis.from_url(stack.redis_url) as client:
        client.set(f"{{{stack.redis_namespace}}}:identity:version", 7)
        client.set(f"{{{stack.redis_namespace}}}:people", 1)
    refused = CliRunner().invoke(app, ["worker", role])
    migrated = CliRunner().invoke(app, ["state", "migrate"])
    check_people(stack)

    assert (1, True) == (refused.exit_code, "run `throughline state migrate`" in refused.stderr.replace("\n", " "))
    assert (0, True) == (migrated.exit_code, knows(stack))


def test_commands_that_count_what_waits_say_that_it_is_not_counted_before_a_migration(
    stack: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("deploy.settings.settings", lambda: stack)
    monkeypatch.setattr("deploy.home.home", lambda: tmp_path)
    prepare(stack)
    with redis.Redis.from_url(stack.redis_url) as client:
        client.set(f"{{{stack.redis_namespace}}}:identity:version", 7)
        client.set(f"{{{stack.redis_namespace}}}:people", 1)
        client.xadd(f"{{{stack.redis_namespace}}}:outbox", {"t": "decisions", "k": "p1", "v": "1"})
    drained = CliRunner().invoke(app, ["drain", "--timeout", "0"])
    status = CliRunner().invoke(app, ["status"])

    assert (1, 0) == (drained.exit_code, status.exit_code)
    for one in (drained, status):
        assert "run `throughline state migrate`" in one.stderr.replace("\n", " ")


async def test_a_store_where_nobody_has_come_yet_needs_no_migration(stack: Settings) -> None:
    async with Redis.from_url(stack.redis_url) as client:
        await client.set(f"{{{stack.redis_namespace}}}:people", 1)  # an earlier release was started, or began anew
        found = await RedisProfileStore(client, stack.redis_namespace).changed(10)

    assert (found, None) == ([], await asyncio.to_thread(migrate_state, stack, lambda _: None))


def test_a_shard_that_is_lost_alone_is_noticed(stack: Settings) -> None:
    prepare(stack)
    check_people(stack)
    with redis.Redis.from_url(stack.redis_url) as client:
        client.set(f"{{{stack.redis_namespace}}}:identity:version", 7)
        client.delete(f"{shard_prefix(stack.redis_namespace, 17)}shard")

    with pytest.raises(LostPeopleError, match="throughline rebuild"):
        check_people(stack)


def test_who_wants_to_begin_anew_sets_a_key(stack: Settings) -> None:
    prepare(stack)
    in_clickhouse(stack)
    with redis.Redis.from_url(stack.redis_url) as client:
        client.set(f"{{{stack.redis_namespace}}}:people", 1)
    check_people(stack)

    assert knows(stack)


@pytest.mark.parametrize("people", [in_clickhouse, in_kafka, rebuild_begun])
def test_a_store_that_has_lost_them_is_refused(stack: Settings, people: Callable[[Settings], None]) -> None:
    prepare(stack)
    people(stack)

    with pytest.raises(LostPeopleError, match="throughline rebuild"):
        check_people(stack)
    assert not knows(stack)


@pytest.mark.parametrize("role", ["identify", "profile", "deliver"])
def test_a_worker_says_so_and_ends(stack: Settings, monkeypatch: pytest.MonkeyPatch, role: str) -> None:
    monkeypatch.setattr("deploy.settings.settings", lambda: stack)
    prepare(stack)
    in_clickhouse(stack)
    refused = CliRunner().invoke(app, ["worker", role])

    assert (1, True) == (refused.exit_code, "run `throughline rebuild`" in refused.stderr.replace("\n", " "))


@pytest.mark.parametrize("store", ["kafka_bootstrap", "redis_url", "clickhouse_url"])
def test_a_store_that_does_not_answer_is_asked_again(stack: Settings, store: str) -> None:
    prepare(stack)
    away = getattr(stack, store).replace(getattr(stack, store).rpartition(":")[2].partition("/")[0], "1")

    with pytest.raises(OSError, match="does not answer"):
        check_people(stack.model_copy(update={store: away}), tries=1)
    assert not knows(stack)


async def test_no_event_is_resolved_no_profile_written_and_no_message_claimed_without_them(stack: Settings) -> None:
    async with Redis.from_url(stack.redis_url) as client:
        identities = RedisIdentityStore(client, stack.redis_namespace, IdentityPolicy(), guarded=True)
        profiles = RedisProfileStore(client, stack.redis_namespace, guarded=True)
        ledger = LedgerOfPeople(client, stack.redis_namespace)
        profile_id = "00000000-0000-4000-8000-000000000001"
        document = encode(new_profile(profile_id))
        change = ProfileWrite(profile_id, 0, document, (), ())
        request = ResolveRequest("e1", bytes(16), bytes(8), 1, 1, (Claim("email", bytes(16)),), bytes(range(16)))
        with pytest.raises(ResponseError, match="throughline rebuild"):
            await identities.resolve([request])
        with pytest.raises(LostPeopleError):
            await profiles.write([change])
        with pytest.raises(LostPeopleError):
            await ledger.claim("key", b"{}", 1, 1)
        left = [key for one in patterns(stack.redis_namespace) async for key in client.scan_iter(match=one)]
        await asyncio.to_thread(keep, stack)
        resolved = await identities.resolve([request])
        written = await profiles.write([change])
        claimed = await ledger.claim("key", b"{}", 1, 1)

    assert [] == left
    assert (True, [], "claimed") == (resolved[0].profile_id is not None, written, claimed.state)


def keep(settings: Settings) -> None:
    with redis.Redis.from_url(settings.redis_url) as client:
        keep_people(client, settings.redis_namespace)
