"""Identity resolution to try out: the real store in a name space of its own, so that live people are never touched.

    async with open_resolver(namespace="try-out", policy="stricter.yaml") as resolver:
        for resolution in await resolver.resolve(events):
            print(resolution.event_id, resolution.profile_id, resolution.merged, resolution.refused)
        print(await resolver.final(["e1", "e2"]), await resolver.owner("email", "a@b.example"))

What the identify worker does to a record, `resolve` does to an event, in the same code and the same Redis scripts. The
time of receipt, which only Kafka knows, is the event's own time here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import orjson
from pydantic import ValidationError
from redis.asyncio import Redis

from deploy.operations.definition_files import DefinitionError, identity_policy
from deploy.settings import Settings
from processors.identity.claims import claim
from processors.identity.stage import request_for
from processors.intake.decode import explain
from schemas.events.touchpoint import Event, read
from schemas.identity.policy import IdentityPolicy
from schemas.identity.resolution import Erased, Resolution, ResolveRequest, Split, uuid_text
from schemas.time import clock_ms, ms_of_text, ms_of_time
from sinks.redis.identity import ImpossibleSplitError, RedisIdentityStore
from sinks.redis.profiles import RedisProfileStore

PolicySource = IdentityPolicy | Path | str | Mapping[str, Any] | None
"""A policy, a YAML file with one, its fields as a dict (what is left out stays at its default), or the deployment's."""

_EVENTS_AT_ONCE = 5_000
_KEYS_AT_ONCE = 1_000
_GIVEN_UP_MS = 600_000  # a resolver that was not heard of for so long has died


class InvalidEventError(ValueError):
    """An event breaks the contract; nothing of the call was resolved. The message says where and which rule.

    Attributes:
        position: Which event of the call, counted from 0.
        event_id: Its id, as far as it has one.
        field: The path of the offending field; empty: the whole event.
    """

    def __init__(self, position: int, event_id: object, field: str, message: str) -> None:
        named = f" ({event_id!r:.120})" if isinstance(event_id, str) else ""
        super().__init__(f"event {position + 1}{named}: {message}")
        self.position = position
        self.event_id = event_id
        self.field = field


class _Place(NamedTuple):
    """Where an event went when it was resolved, kept in `{namespace}:try:places` by the event's id."""

    profile_id: str | None
    anchor: str | None
    version: int


@asynccontextmanager
async def open_resolver(
    namespace: str | None = None,
    policy: PolicySource = None,
    *,
    keep: bool = False,
    settings: Settings | None = None,
) -> AsyncIterator[Resolver]:
    """Open a name space of the deployment's Redis in which events can be resolved without any consequence.

    Args:
        namespace: Its name; without one, a name that nobody else has. Several resolvers may share it, in one process
            or in many: each knows what the others resolved and took apart.
        policy: How identifiers become people; the deployment's own policy without it.
        keep: Leave the keys at the end, so that a later resolver goes on where this one stopped. Otherwise the last
            resolver of the name space removes them, which walks through the names of all keys of the server.
        settings: Where Redis is, the secret, and the rest; those of the process without it.

    Raises:
        ValueError: It is the name space of the live deployment.
        DefinitionError: The policy is not one.
        redis.RedisError: Redis does not answer.
    """
    from deploy.settings import settings as of_the_process

    found = settings or of_the_process()
    name = namespace or f"scratch-{uuid4().hex}"
    if name == found.redis_namespace:
        raise ValueError(f"{name!r} is the name space of the live deployment: choose another one to try things out")
    effective = effective_policy(policy, found)
    async with Redis.from_url(found.redis_url, socket_timeout=30, socket_connect_timeout=5) as redis:
        resolver = Resolver(redis, name, effective, found.identity_secret.get_secret_value().encode())
        await resolver.sign_in()
        try:
            yield resolver
        finally:
            if await resolver.sign_out() and not keep:
                await _remove(redis, name)


def effective_policy(source: PolicySource, deployment: Settings) -> IdentityPolicy:
    """Read a policy from wherever it is.

    Raises:
        DefinitionError: It is not a policy; the message names the field and, of a file, the line.
    """
    if source is None:
        return identity_policy(deployment)
    if isinstance(source, IdentityPolicy):
        return source
    if isinstance(source, str | Path):
        return identity_policy(deployment.model_copy(update={"identity_file": Path(source)}))
    try:
        return IdentityPolicy.model_validate({"default_region": deployment.default_region, **source})
    except ValidationError as invalid:
        first = invalid.errors()[0]
        where = ".".join(map(str, first["loc"])) or "(policy)"
        raise DefinitionError(f"policy: {where}: {first['msg']}") from invalid


class Resolver:
    """Resolves events in one name space. Made by `open_resolver`.

    Attributes:
        policy: The effective policy.
        namespace: The hash tag of its keys.
    """

    def __init__(self, redis: Redis, namespace: str, policy: IdentityPolicy, secret: bytes) -> None:
        self.policy = policy
        self.namespace = namespace
        self._secret = secret
        self._store = RedisIdentityStore(redis, namespace, policy)
        self._profiles = RedisProfileStore(redis, namespace)
        self._redis = redis
        self._token = uuid4().hex
        self._open = f"{{{namespace}}}:try:open"  # sorted set: resolver → when it last did something, ms
        self._places = f"{{{namespace}}}:try:places"  # hash: event id → its place
        self._splits = f"{{{namespace}}}:try:splits"  # hash: anchor and version of a split → the profile that has it

    async def sign_in(self) -> None:
        """Tell the other resolvers of the name space that this one needs it."""
        await self._redis.zadd(self._open, {self._token: clock_ms()})

    async def sign_out(self) -> bool:
        """Tell them that it does no longer; True when no other needs it."""
        await self._redis.zrem(self._open, self._token)
        await self._redis.zremrangebyscore(self._open, 0, clock_ms() - _GIVEN_UP_MS)
        return not await self._redis.zcard(self._open)

    async def resolve(self, events: Iterable[Mapping[str, Any]]) -> list[Resolution]:
        """Resolve events in order.

        The very same event again is answered with the person that it is of now and changes nothing; another one with
        the id of an earlier event is a duplicate, as everywhere, and answered with that event's person.

        Args:
            events: Touchpoints, or dicts as producers send them; `identifiers` may be the shorthand map.

        Returns:
            One resolution for each event. `profile_id` is None where no identifier counts, and where the event is of
            a person who was erased later than it happened.

        Raises:
            InvalidEventError: An event breaks the contract. Nothing was resolved.
        """
        requests = [self._request(position, event) for position, event in enumerate(events)]
        await self.sign_in()
        answers: list[Resolution] = []
        for start in range(0, len(requests), _EVENTS_AT_ONCE):
            part = requests[start : start + _EVENTS_AT_ONCE]
            found = await self._store.resolve(part)
            await self._keep_places(found)
            for request, answer in zip(part, found, strict=True):
                answers.append(await self._first_answer(request) if answer.duplicate else answer)
        return answers

    async def final(self, event_ids: Iterable[str]) -> dict[str, str | None]:
        """Say whose each event is now, after merges, splits and erasure.

        Returns:
            Profile id by event id; None where the event is nobody's, was never resolved here, or its person erased.
        """
        asked = list(dict.fromkeys(event_ids))
        moved = await self._moved()
        owners: dict[str, str | None] = {}
        for start in range(0, len(asked), _EVENTS_AT_ONCE):
            part = asked[start : start + _EVENTS_AT_ONCE]
            places = await self._read_places(part)
            owners |= {event_id: _owner_of(places.get(event_id), moved) for event_id in part}
        live = await self._profiles.live({owner for owner in owners.values() if owner is not None})
        return {event_id: None if owner is None else live[owner] for event_id, owner in owners.items()}

    async def owner(self, identifier_type: str, value: str, *, source: str = "") -> str | None:
        """Say who has an identifier, in any spelling; None when nobody has it or it can identify nobody.

        Args:
            identifier_type: Such as `email`.
            value: Its value.
            source: The producer, where policy gives that producer's identifiers a name space.
        """
        made = claim(identifier_type, value, self.policy, self._secret, source)
        return await self._store.owner(made.identifier_hash) if made else None

    async def unmerge(self, identifiers: Sequence[tuple[str, str]], *, source: str = "") -> Split:
        """Take identifiers out of their profile into one of their own; the two can not become one again.

        Raises:
            ValueError: One of them identifies nobody, they are of several people, or they are all that a person has.
        """
        identifier_hashes = {
            self._identifier_hash(kind, value, source): f"{kind}:{value}" for kind, value in identifiers
        }
        try:
            split = await self._store.split(uuid4().hex, list(identifier_hashes), occurred_ms=clock_ms())
        except ImpossibleSplitError as error:
            raise ImpossibleSplitError(in_clear(str(error), identifier_hashes)) from None
        for anchor, _ in split.moved:
            await self._redis.hset(self._splits, f"{anchor} {split.version}", split.target)
        return split

    async def erase(
        self, identifier_type: str, value: str, at: datetime | None = None, *, source: str = ""
    ) -> Erased | None:
        """Erase the person who has an identifier.

        Args:
            identifier_type: Such as `email`.
            value: Its value.
            at: Events up to this time that name one of the person's identifiers are suppressed from now on; later
                ones are of somebody new. Now, without it.
            source: The producer, where policy gives that producer's identifiers a name space.

        Returns:
            What was erased; None when nobody has the identifier.
        """
        time = at or datetime.now(UTC)
        if time.tzinfo is None:
            raise ValueError(f"at={time.isoformat()} has no time zone, so nobody can tell when it is")
        return await self._store.erase(self._identifier_hash(identifier_type, value, source), ms_of_time(time))

    def _identifier_hash(self, identifier_type: str, value: str, source: str) -> bytes:
        made = claim(identifier_type, value, self.policy, self._secret, source)
        if made is None:
            raise ValueError(f"{identifier_type}:{value} identifies nobody: it is malformed or a blocked placeholder")
        return made.identifier_hash

    def _request(self, position: int, event: Mapping[str, Any]) -> ResolveRequest:
        try:
            touchpoint = read(_plain(event))
        except ValidationError as error:
            rejected = explain(error)
            named = event.get("event_id") if isinstance(event, Mapping) else None
            raise InvalidEventError(position, named, rejected.field, rejected.message) from None
        return _request(touchpoint, self.policy, self._secret)

    async def _first_answer(self, request: ResolveRequest) -> Resolution:
        """Answer a duplicate with the person of the delivery that counts."""
        place = (await self._read_places([request.event_id])).get(request.event_id)
        if place is not None:
            live = (await self.final([request.event_id]))[request.event_id]
            return Resolution(request.event_id, live, place.anchor if live else None, duplicate=True)
        # Another resolver of this name space has it under way.
        for one in request.claims:
            if owner := await self._store.owner(one.identifier_hash):
                return Resolution(request.event_id, owner, one.anchor, duplicate=True)
        return Resolution(request.event_id, None, None, duplicate=True)

    async def _keep_places(self, answers: Iterable[Resolution]) -> None:
        places: dict[Any, Any] = {
            answer.event_id: orjson.dumps([answer.profile_id, answer.anchor, answer.version])
            for answer in answers
            if not answer.duplicate
        }
        if places:
            await self._redis.hset(self._places, mapping=places)

    async def _read_places(self, event_ids: list[str]) -> dict[str, _Place]:
        found: Any = await self._redis.hmget(self._places, event_ids) if event_ids else []
        return {
            event_id: _Place(*orjson.loads(place)) for event_id, place in zip(event_ids, found, strict=True) if place
        }

    async def _moved(self) -> dict[str, list[tuple[int, str]]]:
        """Version and new profile of the splits that moved an anchor, by anchor."""
        moved: dict[str, list[tuple[int, str]]] = {}
        found: Any = await self._redis.hgetall(self._splits)
        for field, target in found.items():
            anchor, _, version = field.decode().partition(" ")
            moved.setdefault(anchor, []).append((int(version), target.decode()))
        return moved


def in_clear(message: str, identifier_hashes: Mapping[bytes, str]) -> str:
    """Write identifiers as their user wrote them in place of their hashes."""
    for identifier_hash, written in identifier_hashes.items():
        message = message.replace(uuid_text(identifier_hash), written)
    return message


def _owner_of(place: _Place | None, moved: Mapping[str, list[tuple[int, str]]]) -> str | None:
    """Whose an event was when it was resolved, or by the latest split since."""
    if place is None or place.anchor is None:
        return None
    later = [split for split in moved.get(place.anchor, ()) if split[0] > place.version]
    return max(later)[1] if later else place.profile_id


def _request(event: Event, policy: IdentityPolicy, secret: bytes) -> ResolveRequest:
    """Ask about an event that did not come through Kafka: it was received when it happened.

    In place of its offset stands a hash of whom it names, so that the same event again is a redelivery.
    """
    named = "\x1f".join(f"{one['type']}\x1f{one['value']}" for one in event["identifiers"])
    content = f"{event['event_id']}\x1f{event['source']}\x1f{named}"
    origin = blake2b(content.encode(), digest_size=8).digest()
    return request_for(event, policy, secret, origin, ms_of_text(event["occurred_at"]))[0]


def _plain(event: object) -> object:
    return dict(event) if isinstance(event, Mapping) and not isinstance(event, dict) else event


async def _remove(redis: Redis, namespace: str) -> None:
    keys: list[bytes] = []
    async for key in redis.scan_iter(match=f"{{{_escaped(namespace)}}}:*", count=_KEYS_AT_ONCE):
        keys.append(key)
        if len(keys) == _KEYS_AT_ONCE:
            await redis.unlink(*keys)
            keys.clear()
    if keys:
        await redis.unlink(*keys)


def _escaped(namespace: str) -> str:
    """Write a name so that Redis takes it for itself where it expects a pattern."""
    return "".join(f"\\{char}" if char in "*?[]\\^-" else char for char in namespace)
