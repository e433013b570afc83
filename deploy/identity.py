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

from pydantic import ValidationError
from redis.asyncio import Redis

from deploy.configuration import DefinitionError, identity_policy
from deploy.settings import Settings
from deploy.settings import settings as process_settings
from processors.decode import explain
from processors.identify import request_for
from processors.identity import claim
from schemas.events import Touchpoint, parse
from schemas.identity import Erased, Resolution, ResolveRequest, Split
from schemas.policy import IdentityPolicy
from sinks.redis_identity import RedisIdentityStore
from sinks.redis_profiles import RedisProfileStore

PolicySource = IdentityPolicy | Path | str | Mapping[str, Any] | None
"""A policy, a YAML file with one, its fields as a dict (what is left out stays at its default), or the deployment's."""

_EVENTS_AT_ONCE = 5_000
_KEYS_AT_ONCE = 1_000


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
    """Where an event went when it was resolved."""

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
        namespace: Its name; without one, a name that nobody else has. Several resolvers may share it.
        policy: How identifiers become people; the deployment's own policy without it.
        keep: Leave the keys at the end, so that a later resolver goes on where this one stopped. Otherwise they are
            removed, which walks through the names of all keys of the server.
        settings: Where Redis is, the secret, and the rest; those of the process without it.

    Raises:
        ValueError: It is the name space of the live deployment.
        DefinitionError: The policy is not one.
        redis.RedisError: Redis does not answer.
    """
    found = settings or process_settings()
    name = namespace or f"scratch-{uuid4().hex}"
    if name == found.redis_namespace:
        raise ValueError(f"{name!r} is the name space of the live deployment: choose another one to try things out")
    effective = effective_policy(policy, found)
    async with Redis.from_url(found.redis_url, socket_timeout=30, socket_connect_timeout=5) as redis:
        resolver = Resolver(redis, name, effective, found.identity_secret.get_secret_value().encode())
        try:
            yield resolver
        finally:
            if not keep:
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
        self._places: dict[str, _Place] = {}
        self._moved: dict[str, list[tuple[int, str]]] = {}  # anchor → (version, profile) of the splits that moved it
        self._splits = 0

    async def resolve(self, events: Iterable[Touchpoint | Mapping[str, Any]]) -> list[Resolution]:
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
        answers: list[Resolution] = []
        for start in range(0, len(requests), _EVENTS_AT_ONCE):
            part = requests[start : start + _EVENTS_AT_ONCE]
            for request, answer in zip(part, await self._store.resolve(part), strict=True):
                if answer.duplicate:
                    answer = await self._first_answer(request)
                else:
                    self._places[request.event_id] = _Place(answer.profile_id, answer.anchor, answer.version)
                answers.append(answer)
        return answers

    async def final(self, event_ids: Iterable[str]) -> dict[str, str | None]:
        """Say whose each event is now, after merges, splits and erasure.

        Returns:
            Profile id by event id; None where the event is nobody's, was never resolved here, or its person erased.
        """
        owners = {event_id: self._owner_of(self._places.get(event_id)) for event_id in event_ids}
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
        return await self._store.owner(made.leaf) if made else None

    async def unmerge(self, identifiers: Sequence[tuple[str, str]], *, source: str = "") -> Split:
        """Take identifiers out of their profile into one of their own; the two can not become one again.

        Raises:
            ValueError: One of them identifies nobody, they are of several people, or they are all that a person has.
        """
        leaves = [self._leaf(identifier_type, value, source) for identifier_type, value in identifiers]
        self._splits += 1
        operation = f"{self.namespace}/{self._splits}/" + ",".join(sorted(leaf.hex() for leaf in leaves))
        split = await self._store.split(operation, leaves, occurred_ms=_milliseconds(datetime.now(UTC)))
        for anchor, _ in split.moved:
            self._moved.setdefault(anchor, []).append((split.version, split.target))
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
        return await self._store.erase(self._leaf(identifier_type, value, source), _milliseconds(time))

    def _leaf(self, identifier_type: str, value: str, source: str) -> bytes:
        made = claim(identifier_type, value, self.policy, self._secret, source)
        if made is None:
            raise ValueError(f"{identifier_type}:{value} identifies nobody: it is malformed or a blocked placeholder")
        return made.leaf

    def _request(self, position: int, event: Touchpoint | Mapping[str, Any]) -> ResolveRequest:
        try:
            touchpoint = event if isinstance(event, Touchpoint) else parse(_plain(event))
        except ValidationError as error:
            rejected = explain(error)
            named = event.get("event_id") if isinstance(event, Mapping) else None
            raise InvalidEventError(position, named, rejected.field, rejected.message) from None
        return _request(touchpoint, self.policy, self._secret)

    async def _first_answer(self, request: ResolveRequest) -> Resolution:
        """Answer a duplicate with the person of the delivery that counts."""
        place = self._places.get(request.event_id)
        if place is not None:
            live = (await self.final([request.event_id]))[request.event_id]
            return Resolution(request.event_id, live, place.anchor if live else None, duplicate=True)
        # Another resolver of this name space had it first.
        for one in request.claims:
            if owner := await self._store.owner(one.leaf):
                return Resolution(request.event_id, owner, one.anchor, duplicate=True)
        return Resolution(request.event_id, None, None, duplicate=True)

    def _owner_of(self, place: _Place | None) -> str | None:
        """Whose an event was when it was resolved, or by the latest split since."""
        if place is None or place.anchor is None:
            return None
        later = [moved for moved in self._moved.get(place.anchor, ()) if moved[0] > place.version]
        return max(later)[1] if later else place.profile_id


def _request(event: Touchpoint, policy: IdentityPolicy, secret: bytes) -> ResolveRequest:
    """Ask about an event that did not come through Kafka: it was received when it happened.

    In place of its offset stands a hash of whom it names, so that the same event again is a redelivery.
    """
    named = "\x1f".join(f"{one.type}\x1f{one.value}" for one in event.identifiers)
    content = f"{event.event_id}\x1f{event.source}\x1f{named}"
    origin = blake2b(content.encode(), digest_size=8).digest()
    return request_for(event, policy, secret, origin, _milliseconds(event.occurred_at))[0]


def _plain(event: object) -> object:
    return dict(event) if isinstance(event, Mapping) and not isinstance(event, dict) else event


def _milliseconds(time: datetime) -> int:
    return round(time.timestamp() * 1000)


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
