"""Identity resolution in a scratch name space: the real store and scripts, without any effect on live people.

    async with open_resolver(namespace="try-out", policy="stricter.yaml") as resolver:
        for resolution in await resolver.resolve(events):
            print(resolution.event_id, resolution.profile_id, resolution.merged, resolution.refused)
        print(await resolver.final([("shop", "e1"), ("till", "e1")]), await resolver.owner("email", "a@b.example"))

`resolve` treats an event as the identify worker treats a record, with the same code and the same Redis scripts. The
time of receipt, which Kafka sets for records, is the event's own time here.
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

from deploy.connections.redis import async_redis_client
from deploy.operations.definition_files import DefinitionError, identity_policy
from deploy.settings import Settings
from processors.identity.claims import all_claims, event_key
from processors.identity.stage import request_for
from processors.intake.decode import explain
from schemas.events.touchpoint import Event, read
from schemas.identity.policy import IdentityPolicy
from schemas.identity.resolution import Claim, ErasedPerson, Resolution, ResolveRequest, Split, uuid_text
from schemas.time import clock_ms, ms_of_text, ms_of_time
from sinks.redis.identity import ImpossibleSplitError, RedisIdentityStore
from sinks.redis.keys import patterns
from sinks.redis.profiles import RedisProfileStore

PolicySource = IdentityPolicy | Path | str | Mapping[str, Any] | None
"""A policy, the path of its YAML file, its fields as a dict (others have their defaults), or None: the deployment's."""

EventName = str | tuple[str, str]
"""(source, event id), by which an event is known; or its id alone."""

_BATCH_EVENTS = 5_000
_BATCH_KEYS = 1_000
_INACTIVE_MS = 600_000  # a resolver without a call for so long counts as ended


class InvalidEventError(ValueError):
    """An event breaks the contract; nothing of the call was resolved. The message has the field and the rule.

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
    """The resolution of an event, kept in `{namespace}:try:places` by the event's key and by its id."""

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
    """Open a scratch name space of the deployment's Redis.

    Args:
        namespace: Its name; a new unique name by default. Several resolvers may share a name space, in one process or
            in many: each sees what the others resolved and split.
        policy: The identity policy; the deployment's own by default.
        keep: Keep the keys at the end, so that a later resolver continues with them. Otherwise the last resolver of
            the name space removes them, which scans the names of all keys of the server.
        settings: Of the deployment; those of the process by default.

    Raises:
        ValueError: It is the name space of the live deployment.
        DefinitionError: The policy is not valid.
        redis.RedisError: Redis does not answer.
    """
    from deploy.settings import settings as of_the_process

    found = settings or of_the_process()
    name = namespace or f"scratch-{uuid4().hex}"
    if name == found.redis_namespace:
        raise ValueError(f"{name!r} is the name space of the live deployment: choose another one to try things out")
    effective = effective_policy(policy, found)
    async with async_redis_client(found, timeout_s=30) as redis:
        resolver = Resolver(redis, name, effective, found.identity_secret.get_secret_value().encode())
        await resolver.sign_in()
        try:
            yield resolver
        finally:
            if await resolver.sign_out() and not keep:
                await _remove(redis, name)


def effective_policy(source: PolicySource, deployment: Settings) -> IdentityPolicy:
    """Read a policy from any source.

    Raises:
        DefinitionError: The policy is not valid; the message names the field and, of a file, the line.
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
    """Resolves events in one name space; `open_resolver` creates it.

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
        self._open = f"{{{namespace}}}:try:open"  # sorted set: resolver → time of its last call, ms
        self._places = f"{{{namespace}}}:try:places"  # hash: key of an event, and its id alone → its place
        self._splits = f"{{{namespace}}}:try:splits"  # hash: anchor and version of a split → the profile that has it

    async def sign_in(self) -> None:
        """Register this resolver as a user of the name space."""
        await self._redis.zadd(self._open, {self._token: clock_ms()})

    async def sign_out(self) -> bool:
        """Remove this resolver from the users of the name space; True when it was the last one."""
        await self._redis.zrem(self._open, self._token)
        await self._redis.zremrangebyscore(self._open, 0, clock_ms() - _INACTIVE_MS)
        return not await self._redis.zcard(self._open)

    async def resolve(self, events: Iterable[Mapping[str, Any]]) -> list[Resolution]:
        """Resolve events in order.

        The same event again changes nothing and returns its present profile; another event with the id of an earlier
        one is a duplicate, as in the pipeline, and returns the profile of the earlier one.

        Args:
            events: Touchpoints, or dicts as producers send them; `identifiers` may be the shorthand map.

        Returns:
            One resolution for each event. `profile_id` is None where no identifier is usable, and where the event is
            older than the erasure of its person.

        Raises:
            InvalidEventError: An event breaks the contract. Nothing was resolved.
        """
        requests = [self._request(position, event) for position, event in enumerate(events)]
        await self.sign_in()
        answers: list[Resolution] = []
        for start in range(0, len(requests), _BATCH_EVENTS):
            part = requests[start : start + _BATCH_EVENTS]
            found = await self._store.resolve(part)
            await self._keep_places(part, found)
            for request, answer in zip(part, found, strict=True):
                answers.append(await self._first_answer(request) if answer.duplicate else answer)
        return answers

    async def final(self, events: Iterable[EventName]) -> dict[EventName, str | None]:
        """Return the present profile of each event, after merges, splits and erasures.

        Args:
            events: Each as (source, event id), by which an event is known, or by its id alone: of several sources'
                events of that id the one that was resolved last.

        Returns:
            Profile id by what was asked; None where the event has no profile, was not resolved here, or its person is
            erased.
        """
        asked = list(dict.fromkeys(events))
        moved = await self._moved()
        owners: dict[EventName, str | None] = {}
        for start in range(0, len(asked), _BATCH_EVENTS):
            part = asked[start : start + _BATCH_EVENTS]
            places = await self._read_places([_field(one) for one in part])
            owners |= {one: _owner_of(places.get(_field(one)), moved) for one in part}
        live = await self._profiles.live({owner for owner in owners.values() if owner is not None})
        return {one: None if owner is None else live[owner] for one, owner in owners.items()}

    async def owner(self, identifier_type: str, value: str, *, source: str = "") -> str | None:
        """Return the profile that has an identifier, in any spelling; None when there is none or it cannot identify.

        Args:
            identifier_type: Such as `email`.
            value: Its value.
            source: The producer, where policy gives that producer's identifiers a name space.
        """
        for made in all_claims(identifier_type, value, self.policy, self._secret, source):
            owner = await self._store.owner(made.identifier_hash)
            if owner is not None:
                return owner
        return None

    async def unmerge(self, identifiers: Sequence[tuple[str, str]], *, source: str = "") -> Split:
        """Split identifiers off their profile into a new one; the two are never merged again.

        Raises:
            ValueError: One of them cannot identify, they belong to several profiles, or the profile has no other.
        """
        identifier_hashes = {
            one: f"{kind}:{value}"
            for kind, value in identifiers
            for one in await self._identifier_hashes(kind, value, source)
        }
        try:
            split = await self._store.split(uuid4().hex, list(identifier_hashes), occurred_ms=clock_ms())
        except ImpossibleSplitError as error:
            raise ImpossibleSplitError(reveal_identifiers(str(error), identifier_hashes)) from None
        for anchor, _ in split.moved:
            await self._redis.hset(self._splits, f"{anchor} {split.version}", split.target)
        return split

    async def erase(
        self, identifier_type: str, value: str, at: datetime | None = None, *, source: str = ""
    ) -> ErasedPerson | None:
        """Erase the person who has an identifier.

        Args:
            identifier_type: Such as `email`.
            value: Its value.
            at: Events up to this time that name one of the person's identifiers are suppressed from now on; later
                ones belong to a new person. The present by default.
            source: The producer, where policy gives that producer's identifiers a name space.

        Returns:
            What was erased; None when no profile has the identifier.
        """
        time = at or datetime.now(UTC)
        if time.tzinfo is None:
            raise ValueError(f"at={time.isoformat()} has no time zone")
        for made in self._all_claims(identifier_type, value, source):
            erased = await self._store.erase(made.identifier_hash, ms_of_time(time))
            if erased is not None:
                return erased
        return None

    async def _identifier_hashes(self, identifier_type: str, value: str, source: str) -> list[bytes]:
        """Return the hashes under which an identifier is stored, else the one by which it would be."""
        made = self._all_claims(identifier_type, value, source)
        stored = [one.identifier_hash for one in made if await self._store.owner(one.identifier_hash)]
        return stored or [made[0].identifier_hash]

    def _all_claims(self, identifier_type: str, value: str, source: str) -> tuple[Claim, ...]:
        made = all_claims(identifier_type, value, self.policy, self._secret, source)
        if not made:
            raise ValueError(
                f"{identifier_type}:{value} identifies no person: it is malformed or a blocked placeholder"
            )
        return made

    def _request(self, position: int, event: Mapping[str, Any]) -> ResolveRequest:
        try:
            touchpoint = read(_plain(event))
        except ValidationError as error:
            rejected = explain(error)
            named = event.get("event_id") if isinstance(event, Mapping) else None
            raise InvalidEventError(position, named, rejected.field, rejected.message) from None
        return _request(touchpoint, self.policy, self._secret)

    async def _first_answer(self, request: ResolveRequest) -> Resolution:
        """Return the resolution of a duplicate: the current profile of the first event of its source and id."""
        place = (await self._read_places([request.event_key])).get(request.event_key)
        if place is not None:
            owner = _owner_of(place, await self._moved())
            live = None if owner is None else (await self._profiles.live({owner}))[owner]
            return Resolution(request.event_id, live, place.anchor if live else None, duplicate=True)
        # Another resolver of this name space is just resolving the first event.
        for one in request.claims:
            if known := await self._store.owner(one.identifier_hash):
                return Resolution(request.event_id, known, one.anchor, duplicate=True)
        return Resolution(request.event_id, None, None, duplicate=True)

    async def _keep_places(self, requests: Iterable[ResolveRequest], answers: Iterable[Resolution]) -> None:
        places: dict[Any, Any] = {}
        for request, answer in zip(requests, answers, strict=True):
            if not answer.duplicate:
                place = orjson.dumps([answer.profile_id, answer.anchor, answer.version])
                places[request.event_key] = places[request.event_id] = place
        if places:
            await self._redis.hset(self._places, mapping=places)

    async def _read_places(self, fields: Sequence[str | bytes]) -> dict[str | bytes, _Place]:
        found: Any = await self._redis.hmget(self._places, list(fields)) if fields else []
        return {field: _Place(*orjson.loads(place)) for field, place in zip(fields, found, strict=True) if place}

    async def _moved(self) -> dict[str, list[tuple[int, str]]]:
        """Return version and new profile of the splits that moved an anchor, by anchor."""
        moved: dict[str, list[tuple[int, str]]] = {}
        found: Any = await self._redis.hgetall(self._splits)
        for field, target in found.items():
            anchor, _, version = field.decode().partition(" ")
            moved.setdefault(anchor, []).append((int(version), target.decode()))
        return moved


def reveal_identifiers(message: str, identifier_hashes: Mapping[bytes, str]) -> str:
    """Replace identifier hashes in a message by the identifiers in clear text."""
    for identifier_hash, written in identifier_hashes.items():
        message = message.replace(uuid_text(identifier_hash), written)
    return message


def _field(event: EventName) -> str | bytes:
    """Return the field of an event's place."""
    return event if isinstance(event, str) else event_key(*event)


def _owner_of(place: _Place | None, moved: Mapping[str, list[tuple[int, str]]]) -> str | None:
    """Return the profile of an event: of the latest split since it was resolved, else of its resolution."""
    if place is None or place.anchor is None:
        return None
    later = [split for split in moved.get(place.anchor, ()) if split[0] > place.version]
    return max(later)[1] if later else place.profile_id


def _request(event: Event, policy: IdentityPolicy, secret: bytes) -> ResolveRequest:
    """Make the request for an event that did not come through Kafka: received when it happened.

    A hash of its identifiers stands in for its offset, so that the same event again counts as a redelivery.
    """
    named = "\x1f".join(f"{one['type']}\x1f{one['value']}" for one in event["identifiers"])
    content = f"{event['event_id']}\x1f{event['source']}\x1f{named}"
    origin = blake2b(content.encode(), digest_size=8).digest()
    return request_for(event, policy, secret, origin, ms_of_text(event["occurred_at"]))[0]


def _plain(event: object) -> object:
    return dict(event) if isinstance(event, Mapping) and not isinstance(event, dict) else event


async def _remove(redis: Redis, namespace: str) -> None:
    keys: list[bytes] = []
    for pattern in patterns(namespace):
        async for key in redis.scan_iter(match=pattern, count=_BATCH_KEYS):
            keys.append(key)
            if len(keys) == _BATCH_KEYS:
                await redis.unlink(*keys)
                keys.clear()
    if keys:
        await redis.unlink(*keys)
