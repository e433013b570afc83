"""Moves the profiles of a release without shards into their shards: once, offline, on the one server that has them.

Each step may be repeated: a key is renamed, or an entry added to its new place before it is removed from the old one.
So a migration that broke off goes on where it was. `{namespace}:migration`, a hash, has what there was at its
beginning, and is compared with what is in the shards at its end. What identity keeps stays where it is, the marks of
events too: `layout.py` says up to which time of arrival they count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from redis.exceptions import ResponseError

from schemas.durations import DAY_MS
from schemas.shards import shard_of
from sinks.redis.keys import name_of, patterns, shard_prefix, shard_prefixes, shared_prefix
from sinks.redis.layout import has_layout
from sinks.redis.outbox import waiting_in_shards
from sinks.redis.people import keep_people
from sinks.redis.rebuild import LEASES, is_under_way, knows_people

_PART = 1000
"""Keys or entries of one round trip."""


class NotMigratedError(Exception):
    """The state was not migrated; the message says why."""


class StateCounts(NamedTuple):
    """What there is of profiles.

    Attributes:
        profiles: Profiles, those that others have yet to absorb among them.
        timers: People with a timer.
        changed: Changed profiles whose snapshot is not in ClickHouse.
        records: Records of outboxes.
        held: People whose runs are held, once for each journey.
    """

    profiles: int
    timers: int
    changed: int
    records: int
    held: int


class StateMigration:
    """The migration of one deployment.

    Args:
        redis: A synchronous client that answers bytes.
        namespace: Of all keys.
    """

    def __init__(self, redis: Any, namespace: str) -> None:
        self._redis = redis
        self._namespace = namespace
        self._prefix = shared_prefix(namespace)
        self._progress = f"{self._prefix}migration"

    def is_due(self) -> bool:
        """Return whether there are profiles that are not in shards."""
        return (
            knows_people(self._redis, self._namespace)
            and not has_layout(self._redis, self._namespace)
            and not is_under_way(self._redis, self._namespace)  # a rebuild makes shards
        )

    def running(self) -> list[str]:
        """Return the roles of which a worker renews its lease: `identify`, `profile`."""
        return [role for role, lease in LEASES.items() if self._redis.exists(f"{self._prefix}{lease}")]

    def unsharded(self) -> StateCounts:
        """Count what is not in shards."""
        held = sum(self._redis.scard(key) for key in self._scan("held:*"))
        return StateCounts(
            sum(1 for _ in self._scan("profile:*")),
            self._redis.zcard(f"{self._prefix}timers"),
            self._redis.zcard(f"{self._prefix}profiles:changed"),
            self._redis.xlen(f"{self._prefix}outbox"),
            held,
        )

    def sharded(self) -> StateCounts:
        """Count what is in shards."""
        found = {"profile": 0, "held": 0}
        for key in self._redis.scan_iter(match=patterns(self._namespace)[1], count=_PART):
            kind = name_of(key, self._namespace).partition(":")[0]
            if kind in found:
                found[kind] += self._redis.scard(key) if kind == "held" else 1
        timers, changed, records = (
            waiting_in_shards(self._redis, self._namespace, counting, name)
            for counting, name in (("ZCARD", "timers"), ("ZCARD", "profiles:changed"), ("XLEN", "outbox"))
        )
        return StateCounts(found["profile"], timers, changed, records, found["held"])

    def migrate(self, now_ms: int, report: Callable[[str], None]) -> StateCounts:
        """Move everything into shards, and note that it is done.

        Args:
            now_ms: The time, milliseconds since 1970.
            report: Takes lines about the progress.

        Returns:
            What is in the shards now.

        Raises:
            NotMigratedError: The shards do not have what there was; nothing is deleted, and no worker starts.
        """
        if not self._redis.exists(self._progress):
            counts: Any = self.unsharded()._asdict()
            self._redis.hset(self._progress, mapping=counts)
        expected = StateCounts(*(int(count) for count in self._redis.hmget(self._progress, StateCounts._fields)))
        for name, step in (
            ("profiles", self._move_profiles),
            ("timers", lambda: self._move_members("timers")),
            ("changed profiles", lambda: self._move_members("profiles:changed")),
            ("records of the outbox", self._move_records),
            ("held people", self._move_held),
        ):
            report(f"{step():,} {name} moved into shards")
        found = self.sharded()
        if found != expected:
            raise NotMigratedError(f"there were {_said(expected)}; the shards have {_said(found)}")
        number = self._redis.hget(f"{self._prefix}definitions", "number")
        pipeline = self._redis.pipeline(transaction=False)
        for prefix in shard_prefixes(self._namespace) if number else ():
            pipeline.hset(f"{prefix}shard", "definitions", number)
        pipeline.execute()
        keep_people(self._redis, self._namespace, now_ms + DAY_MS)  # the broker's clock may be ahead
        self._redis.delete(self._progress, f"{self._prefix}outbox")  # which is empty
        return found

    def _move_profiles(self) -> int:
        moved, keys = 0, []
        for key in self._scan("profile:*"):
            keys.append(key)
            if len(keys) == _PART:
                moved += self._rename(keys)
                keys = []
        return moved + self._rename(keys)

    def _rename(self, keys: list[bytes]) -> int:
        pipeline = self._redis.pipeline(transaction=False)
        for key in keys:
            profile_id = key.rpartition(b":")[2]
            pipeline.renamenx(key, f"{self._shard(profile_id)}profile:{profile_id.decode()}")
        answers = pipeline.execute(raise_on_error=False)
        for key, answer in zip(keys, answers, strict=True):
            if isinstance(answer, ResponseError) and "no such key" in str(answer):
                continue  # SCAN may list a key twice
            if isinstance(answer, Exception):
                raise answer
            if not answer:
                raise NotMigratedError(f"{key.decode()} is in its shard already, with another content")
        return sum(answer is True or answer == 1 for answer in answers)

    def _move_members(self, name: str) -> int:
        """Move a sorted set of profile ids."""
        key, moved = f"{self._prefix}{name}", 0
        while members := self._redis.zrange(key, 0, _PART - 1, withscores=True):
            pipeline = self._redis.pipeline(transaction=False)
            for profile_id, score in members:
                pipeline.zadd(f"{self._shard(profile_id)}{name}", {profile_id: score})
            pipeline.execute()
            self._redis.zrem(key, *(profile_id for profile_id, _ in members))
            moved += len(members)
        return moved

    def _move_records(self) -> int:
        key, moved = f"{self._prefix}outbox", 0
        while entries := self._redis.xrange(key, count=_PART):
            pipeline = self._redis.pipeline(transaction=False)
            for entry_id, fields in entries:
                pipeline.xadd(f"{self._shard(fields.get(b'k', b''))}outbox", fields, id=entry_id)
            for answer in pipeline.execute(raise_on_error=False):
                # A former attempt has moved it: the ids of a stream only rise.
                if isinstance(answer, Exception) and "equal or smaller" not in str(answer):
                    raise answer
            self._redis.xdel(key, *(entry_id for entry_id, _ in entries))
            moved += len(entries)
        return moved

    def _move_held(self) -> int:
        moved = 0
        for key in list(self._scan("held:*")):
            name = name_of(key, self._namespace)
            while people := self._redis.srandmember(key, _PART):
                pipeline = self._redis.pipeline(transaction=False)
                for profile_id in people:
                    pipeline.sadd(f"{self._shard(profile_id)}{name}", profile_id)
                pipeline.execute()
                self._redis.srem(key, *people)
                moved += len(people)
        return moved

    def _scan(self, name: str) -> Iterator[bytes]:
        yield from self._redis.scan_iter(match=patterns(self._namespace, name)[0], count=_PART)

    def _shard(self, profile_id: bytes) -> str:
        return shard_prefix(self._namespace, shard_of(profile_id))


def _said(counts: StateCounts) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts._asdict().items())
