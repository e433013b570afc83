"""What is in force: the published definitions, and the states of journeys, with a number that each change counts up.

* `{ns}:definitions` hash of `number`, `version` and, for each journey that was ever paused or stopped, and each
  broadcast that was started, `journey:<name>` → its control as JSON;
* `{ns}:definitions:<version>` the published files as JSON: path → text.

Workers read the hash twice a second. Each shard of profiles keeps the number too (`shard`): a change writes it there,
and so does the first write of decisions by newer definitions. A write by older ones is refused
(`lua/write_profiles.lua`), so in no shard do decisions go back to older definitions, and after a change none are made
by them. ClickHouse keeps the history (`sinks/clickhouse/definitions.py`): from it this is restored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgpack
import orjson
from redis.asyncio import Redis

from schemas.journeys.control import DefinitionsState, JourneyControl
from schemas.shards import shard_of
from sinks.redis.keys import shard_prefix, shard_prefixes, shared_prefix, slot_key
from sinks.redis.lua import source
from sinks.redis.profiles import RedisProfileStore
from sinks.redis.scripts import Call, Script, ScriptCalls, ShardPart

_JOURNEY = "journey:"
_FIELDS_OF_JOURNEYS = 4
_RELEASED_A_CALL = 1000
_BEGIN, _WAKE = Script(source("begin_release")), Script(source("wake_people"))
_PUBLISH, _END = Script(source("publish_number")), Script(source("end_release"))


class RedisDefinitions:
    """Reads and changes what is in force.

    Args:
        redis: A client that answers with bytes.
        namespace: Hash tag of all keys.
    """

    def __init__(self, redis: Redis, namespace: str) -> None:
        self._redis = redis
        self._namespace = namespace
        self._prefix = shared_prefix(namespace)
        self._key = f"{self._prefix}definitions"
        self._calls = ScriptCalls(redis)
        self._profiles = RedisProfileStore(redis, namespace)
        self._change = redis.register_script(source("change_definitions"))

    async def state(self) -> DefinitionsState | None:
        """Return what is in force; None: Redis does not know, it is new or was lost."""
        found: Any = await self._redis.hgetall(self._key)
        if not found:
            return None
        journeys = {
            name.decode().removeprefix(_JOURNEY): JourneyControl(*orjson.loads(value))
            for name, value in found.items()
            if name.startswith(_JOURNEY.encode())
        }
        return DefinitionsState(int(found[b"number"]), found[b"version"].decode(), journeys)

    async def files(self, version: str) -> dict[str, str] | None:
        """Return the published files of a version that is, or was a short time ago, in force."""
        found: Any = await self._redis.get(f"{self._prefix}definitions:{version}")
        return None if found is None else dict(orjson.loads(found))

    async def change(
        self,
        expected: int,
        state: DefinitionsState,
        files: Mapping[str, str] | None = None,
        archived: Mapping[str, bytes] | None = None,
    ) -> bool:
        """Put something else in force, all at once.

        Args:
            expected: The number that is in force; 0 also where Redis knows of none.
            state: What is to be in force, with a new number; states of journeys that are not in it stay.
            files: The files of its version, if it is a new one.
            archived: Its journeys by version, which workers keep for the runs that enter with them.

        Returns:
            False, with nothing changed, when the number in force is another one.
        """
        await self.archive(archived or {})
        controls: list[Any] = []
        for name, control in state.journeys.items():
            # Workers of former releases read no more than the first fields, which are all that a journey has.
            fields = control if control.version else control[:_FIELDS_OF_JOURNEYS]
            controls += [f"{_JOURNEY}{name}", orjson.dumps(list(fields))]
        bundle = orjson.dumps(dict(files)) if files is not None else b""
        arguments = [self._prefix, expected, state.number, state.version, bundle, *controls]
        if not await self._change(keys=[self._key], args=arguments):
            return False
        # Where Redis knew of none, its shards are to have no greater number, whatever they had.
        await self._publish(state.number, exactly=not expected)
        return True

    async def archive(self, journeys: Mapping[str, bytes]) -> None:
        """Keep journeys, version → JSON, for the runs that enter with them."""
        if journeys:
            await self._redis.hset(f"{self._prefix}journeys:archive", mapping=cast(Any, dict(journeys)))

    async def archived(self) -> dict[str, bytes]:
        """Return every version of a journey that was ever in force, as JSON."""
        found: Any = await self._redis.hgetall(f"{self._prefix}journeys:archive")
        return {version.decode(): journey for version, journey in found.items()}

    async def holding(self) -> set[str]:
        """Return the journeys that hold runs, or have held them until now."""
        found: Any = await self._redis.smembers(f"{self._prefix}held")
        return {name.decode() for name in found}

    async def release(self, journey: str, now_ms: int) -> int:
        """Make the people whose runs a journey has held due at once; returns how many they were."""
        number = int(await self._redis.hget(self._key, "number") or 0)
        await self._publish(number)  # no older definitions hold anybody from now on
        released = 0
        prefixes = shard_prefixes(self._namespace)
        keys = [(f"{prefix}held:{journey}", f"{prefix}released:{journey}") for prefix in prefixes]
        while keys:
            found = await self._calls.run([Call(_BEGIN, pair, [_RELEASED_A_CALL]) for pair in keys])
            keys = [pair for pair, people in zip(keys, found, strict=True) if people]
            held = [person.decode() for people in found for person in people]
            await self._wake(held, now_ms)
            ended = [people for people in found if people]
            pipeline = self._redis.pipeline(transaction=False)
            for (_, begun), people in zip(keys, ended, strict=True):
                pipeline.srem(begun, *people)
            await pipeline.execute()
            released += len(held)
        await self._calls.run([Call(_END, [f"{self._prefix}held", self._key], [journey, number])])
        return released

    async def _publish(self, number: int, *, exactly: bool = False) -> None:
        parts = [ShardPart(slot_key(prefix), (prefix,)) for prefix in shard_prefixes(self._namespace)]
        await self._calls.run(self._calls.over_shards(_PUBLISH, parts, [number, "1" if exactly else ""]))

    async def _wake(self, profile_ids: Sequence[str], now_ms: int) -> None:
        shards: dict[str, list[str]] = {}
        for live in (await self._profiles.live(profile_ids)).values():
            if live is not None:
                shards.setdefault(shard_prefix(self._namespace, shard_of(live.encode())), []).append(live)
        parts = [
            ShardPart(slot_key(prefix), (prefix, msgpack.packb(people, use_bin_type=False)), len(people))
            for prefix, people in shards.items()
        ]
        await self._calls.run(self._calls.over_shards(_WAKE, parts, [now_ms]))

    async def wake(self, journey: str, profile_ids: Sequence[str], now_ms: int) -> None:
        """Make people with runs of a journey due at once; who has nothing to do is left alone by the worker."""
        for start in range(0, len(profile_ids), _RELEASED_A_CALL):
            await self._wake(profile_ids[start : start + _RELEASED_A_CALL], now_ms)

    async def report(self, worker: str, seen: Mapping[str, Any]) -> None:
        """Store what a worker has in force, for `throughline status`."""
        await self._redis.hset(f"{self._prefix}workers", worker, orjson.dumps(dict(seen)))

    async def reports(self, since_ms: int) -> list[dict[str, Any]]:
        """Return the reports of workers that were alive at `since_ms`; older ones are deleted."""
        found: Any = await self._redis.hgetall(f"{self._prefix}workers")
        reports = {worker: orjson.loads(report) for worker, report in found.items()}
        if gone := [worker for worker, report in reports.items() if report["at"] < since_ms]:
            await self._redis.hdel(f"{self._prefix}workers", *gone)
        return [report for worker, report in reports.items() if worker not in gone]
