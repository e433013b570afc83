"""Whom a command is about, and the stores that it asks: what goes wrong there ends it with a line of advice."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, NamedTuple, NoReturn, TypeVar

import typer

if TYPE_CHECKING:
    from deploy.operations.deployment import Deployment
    from schemas.identity.policy import IdentityPolicy
    from sinks.redis.identity import RedisIdentityStore
    from sinks.redis.profiles import RedisProfileStore

PROFILE_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TYPED = re.compile(r"([a-z][a-z0-9_.]*):(.+)", re.DOTALL)

Answer = TypeVar("Answer")

Who = Annotated[
    str,
    typer.Argument(
        metavar="WHO",
        help="A profile id, an identifier such as email:a@b.example or user_id:42, or a value of any type.",
    ),
]
Source = Annotated[str, typer.Option(help="The producer, where the policy gives its identifiers a name space.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it; without this, only say what would happen.")]
TimeoutS = Annotated[float, typer.Option(min=1, help="Longest wait for the workers, seconds.")]


class UnknownPersonError(Exception):
    """Nobody, or more than one, is known by that name; the message says so.

    Attributes:
        erased: Somebody was, and has been erased.
    """

    def __init__(self, message: str, *, erased: bool = False) -> None:
        super().__init__(message)
        self.erased = erased


class Found(NamedTuple):
    """A person.

    Attributes:
        profile_id: The live profile.
        identifier: By which identifier (type, value) it was found; None: by its id.
    """

    profile_id: str
    identifier: tuple[str, str] | None


@dataclass(frozen=True, slots=True)
class Stores:
    """The two stores in Redis that know people.

    Attributes:
        identities: Who is who.
        profiles: The live profiles.
        policy: How identifiers are written.
        secret: Key of their hashes.
    """

    identities: RedisIdentityStore
    profiles: RedisProfileStore
    policy: IdentityPolicy
    secret: bytes


async def find(stores: Stores | Deployment, who: str, source: str = "") -> Found:
    """Find the live profile that an operator means.

    Raises:
        UnknownPersonError: There is none, or the name is ambiguous.
    """
    from processors.identity.claims import claim
    from schemas.identity.policy import OTHER

    if PROFILE_ID.fullmatch(who.lower()):
        live = await stores.identities.follow(who.lower())
        if live is None:
            raise UnknownPersonError(f"{who}: this person was erased", erased=True)
        stored = await stores.profiles.get(live)
        if (stored and stored.document) or await stores.identities.members(live):
            return Found(live, None)
    candidates = [(rule.type, who) for rule in stores.policy.types if rule.type != OTHER]
    if named := _TYPED.fullmatch(who):
        # First as it is written; a bare value may have a colon in it too.
        candidates.insert(0, (named[1], named[2]))
    found: dict[str, tuple[str, str]] = {}
    for kind, value in candidates:
        made = claim(kind, value, stores.policy, stores.secret, source)
        owner = await stores.identities.owner(made.identifier_hash) if made else None
        if owner:
            found.setdefault(owner, (kind, value))
            if named and kind == named[1]:
                break
    if not found:
        advice = "" if named else f": write the type before the value, such as email:{who}"
        raise UnknownPersonError(f"nobody is known by {who}{advice}")
    if len(found) > 1:
        names = ", ".join(f"{kind}:{value}" for kind, value in found.values())
        raise UnknownPersonError(f"{who} is {len(found)} people; say which: {names}")
    return Found(*next(iter(found.items())))


def typed(identifier: str) -> tuple[str, str]:
    """Read `TYPE:VALUE`; anything else is a wrong use of the command."""
    found = _TYPED.fullmatch(identifier)
    if found is None:
        raise typer.BadParameter(f"{identifier!r}: write TYPE:VALUE, such as email:a@b.example")
    return found[1], found[2]


def ask(question: Callable[[Stores], Awaitable[Answer]]) -> Answer:
    """Ask the stores in Redis."""
    from redis.asyncio import Redis

    from deploy.operations.definition_files import identity_policy
    from deploy.settings import settings
    from sinks.redis.identity import RedisIdentityStore
    from sinks.redis.profiles import RedisProfileStore

    async def asked() -> Answer:
        policy, namespace = identity_policy(settings()), settings().redis_namespace
        async with Redis.from_url(settings().redis_url, socket_timeout=10, socket_connect_timeout=5) as redis:
            stores = Stores(
                RedisIdentityStore(redis, namespace, policy),
                RedisProfileStore(redis, namespace),
                policy,
                settings().identity_secret.get_secret_value().encode(),
            )
            return await question(stores)

    with advised():
        return asyncio.run(asked())


def work(task: Callable[[Deployment], Awaitable[Answer]]) -> Answer:
    """Do something with all stores of the deployment."""
    from deploy.operations.deployment import open_deployment
    from deploy.settings import settings

    async def worked() -> Answer:
        async with open_deployment(settings()) as deployment:
            return await task(deployment)

    with advised():
        return asyncio.run(worked())


@contextmanager
def advised() -> Iterator[None]:
    """End the command with exit code 1 and advice when a store is not there or refuses."""
    from clickhouse_connect.driver.exceptions import ClickHouseError
    from redis.exceptions import RedisError

    from deploy.operations.definition_files import DefinitionError
    from deploy.operations.erasure import NotErasedError
    from deploy.operations.lag import KafkaUnreachableError
    from deploy.operations.rebuild import NotRebuiltError
    from sinks.clickhouse.client import StoreDown
    from sinks.redis.identity import ImpossibleSplitError

    try:
        yield
    except (UnknownPersonError, DefinitionError, ImpossibleSplitError, NotErasedError, NotRebuiltError) as error:
        fail(str(error))
    except (StoreDown, ClickHouseError) as error:
        reason = str(error).strip().partition("\n")[0]
        if "UNKNOWN_DATABASE" in reason or "UNKNOWN_TABLE" in reason:
            fail(f"{reason}\nThe tables are not there yet: `throughline migrate` makes them.")
        fail(f"{reason}\nIs ClickHouse running? `throughline status` tells; THROUGHLINE_CLICKHOUSE_URL says where.")
    except KafkaUnreachableError as error:
        fail(f"{error}\nIs it running? `throughline status` tells; THROUGHLINE_KAFKA_BOOTSTRAP says where.")
    except (RedisError, OSError) as error:
        fail(f"Redis: {error}\nIs it running? `throughline status` tells; THROUGHLINE_REDIS_URL says where.")


class Waiting:
    """Tells on standard error what is being waited for: each thing once, not each look."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, what: str) -> None:
        """Tell, if it is news."""
        if what != self._last:
            typer.echo(f"  waiting for {what}", err=True)
        self._last = what


def fail(message: str) -> NoReturn:
    """End the command with exit code 1."""
    typer.echo(message, err=True)
    raise typer.Exit(1)
