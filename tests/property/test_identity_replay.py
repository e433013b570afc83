"""The identity store that is made again from its log is the store that was lost, whatever had happened."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from redis.asyncio import Redis

from deploy.settings import Settings
from schemas.identity.policy import IdentityPolicy
from schemas.identity.resolution import IdentityChange
from schemas.time import ms_of_text
from sinks.redis.identity import RedisIdentityStore
from sinks.redis.identity_replay import LoggedChange, RedisIdentityReplay
from tests.oracles.identity_audit import Audit
from tests.oracles.identity_model import IdentityModel
from tests.property.test_identity_laws import Again, Visit, laws, policies, requests_of, run, run_on_store, steps

pytestmark = pytest.mark.integration


@pytest.fixture
async def client(stack: Settings) -> AsyncIterator[Redis]:
    async with Redis.from_url(stack.redis_url) as client:
        yield client


async def contents(client: Redis, namespace: str) -> dict[str, Any]:
    """Return every key of identity with its content; packed lists without an order are sorted, marks left out."""
    found: dict[str, Any] = {}
    prefix = f"{{{namespace}}}:"
    async for raw in client.scan_iter(match=f"{prefix}*", count=1000):
        name = raw.decode().removeprefix(prefix)
        if name.startswith(("marks:", "identity:log", "absorb:")):
            continue
        kind = await client.type(raw)
        if kind == b"hash":
            value: Any = {
                field: _unordered(msgpack.unpackb(one, raw=True, strict_map_key=False)) if field == b"h" else one
                for field, one in (await client.hgetall(raw)).items()
            }
        elif kind == b"zset":
            value = sorted(await client.zrange(raw, 0, -1, withscores=True))
        else:
            value = await client.get(raw)
            if name.startswith(("erased:", "split:", "past:")):
                value = _unordered(msgpack.unpackb(value, raw=True)), await client.ttl(raw) > 0
        found[name] = value
    return found


def _unordered(value: Any) -> Any:
    if isinstance(value, dict):
        return sorted((key, one) for key, one in value.items())
    if isinstance(value, list):
        pairs = len(value) % 2 == 0 and all(isinstance(one, bytes) for one in value)
        return sorted(zip(value[::2], value[1::2], strict=True)) if pairs else [_unordered(one) for one in value]
    return value


def logged(change: IdentityChange, first_ms: int) -> LoggedChange:
    """Return a change as the replay takes it."""
    now, before = (bytes.fromhex(one.replace("-", "")) for one in (change.profile_id, change.from_profile_id))
    anchors = tuple((bytes.fromhex(anchor.replace("-", "")), kind) for anchor, kind in change.anchors)
    when = ms_of_text(change.occurred_at)
    return LoggedChange(change.version, change.kind, now, before, anchors, change.event_id, when, change.rule, first_ms)


@settings(laws, max_examples=120)
@given(steps, policies)
async def test_a_replay_of_the_log_makes_the_same_store(
    client: Redis, stack: Settings, plan: list[Any], policy: IdentityPolicy
) -> None:
    model, audit = IdentityModel(policy), Audit(client, stack.redis_namespace, policy)
    store = RedisIdentityStore(client, stack.redis_namespace, policy)
    sightings: list[tuple[str, int, int, str]] = []  # profile, time, version, event
    plan = [one for one in plan if not isinstance(one, Again)]
    plan = [
        Visit(one.named, min(one.occurred_ms, one.received_ms), one.received_ms, one.signed_out)
        if isinstance(one, Visit)
        else one
        for one in plan
    ]
    other = stack.redis_namespace + "-again"
    again = Audit(client, other, policy)
    try:
        await client.set(f"{{{stack.redis_namespace}}}:people", 1)
        await client.set(f"{{{other}}}:people", 1)
        for number, (step, asked) in enumerate(requests_of(plan, policy)):
            if asked is not None:
                (answer,) = await store.resolve([asked])
                model.resolve(asked)
                if answer.profile_id:
                    sightings.append((answer.profile_id, asked.occurred_ms, answer.version, asked.event_id))
            else:
                await run_on_store(store, model, number, step, asked)
                run(model, number, step, asked)
        log = await audit.log()
        merging = {(change.profile_id, change.event_id) for change in log if change.kind == "merge"}
        own = [one for one in sightings if (one[0], one[3]) not in merging]
        replay = RedisIdentityReplay(client, other, policy)
        changes = [
            logged(
                change,
                min((one[1] for one in own if one[0] == change.from_profile_id and one[2] < change.version), default=0)
                if change.kind == "split"
                else 0,
            )
            for change in log
        ]
        by_event: dict[Any, list[LoggedChange]] = {}
        for change in changes:
            by_event.setdefault(change.event_id or change.version, []).append(change)
        for part in by_event.values():
            await replay.apply(part)
            await replay.apply(part)  # once more, as after a crash
        await replay.lower_first_seen([(bytes.fromhex(one[0].replace("-", "")), one[1]) for one in own])
        await replay.finish()

        before, after = await contents(client, stack.redis_namespace), await contents(client, other)
        assert {} == {
            name: (before.get(name), after.get(name)) for name in before | after if before.get(name) != after.get(name)
        }
        await client.delete(f"{{{other}}}:identity:log")
    finally:
        await audit.wipe()
        await again.wipe()
