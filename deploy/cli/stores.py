"""The stores that commands open. An error of a store ends the command with exit code 1 and a line of advice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from deploy.cli.output import fail
from deploy.connections.clickhouse import clickhouse_client
from deploy.connections.faults import explain
from deploy.connections.redis import async_redis_client
from deploy.operations.person_lookup import UnknownPersonError

if TYPE_CHECKING:
    from deploy.operations.deployment import Deployment
    from schemas.identity.policy import IdentityPolicy
    from sinks.redis.identity import RedisIdentityStore
    from sinks.redis.profiles import RedisProfileStore

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Stores:
    """The two stores in Redis that hold people.

    Attributes:
        identities: Identifiers and the profile that each belongs to.
        profiles: The live profiles.
        policy: The effective identity policy.
        secret: Key of the identifier hashes.
    """

    identities: RedisIdentityStore
    profiles: RedisProfileStore
    policy: IdentityPolicy
    secret: bytes


@contextmanager
def clickhouse() -> Iterator[Any]:
    """Open a client of the deployment's database; exit code 1 and advice when the server or a table is missing."""
    from clickhouse_connect.driver.exceptions import ClickHouseError

    from deploy.settings import settings
    from sinks.clickhouse.client import StoreDown

    try:
        client = clickhouse_client(settings())
        try:
            yield client
        finally:
            client.close()
    except (StoreDown, ClickHouseError) as error:
        if sentence := explain("clickhouse", error):
            fail(sentence)
        reason = str(error).strip().partition("\n")[0]
        advice = (
            "Is it running? `throughline status` shows it, THROUGHLINE_CLICKHOUSE_URL is its address, `throughline up`"
            " starts a local stack, and `throughline migrate` creates the tables."
        )
        fail(f"{reason}\n{advice}")


def with_stores(task: Callable[[Stores], Awaitable[Result]]) -> Result:
    """Run a coroutine on the two stores in Redis."""
    from deploy.operations.definition_files import identity_policy
    from deploy.settings import settings
    from sinks.redis.identity import RedisIdentityStore
    from sinks.redis.profiles import RedisProfileStore

    async def run() -> Result:
        policy, namespace = identity_policy(settings()), settings().redis_namespace
        async with async_redis_client(settings(), timeout_s=10) as redis:
            stores = Stores(
                RedisIdentityStore(redis, namespace, policy),
                RedisProfileStore(redis, namespace),
                policy,
                settings().identity_secret.get_secret_value().encode(),
            )
            return await task(stores)

    with exit_on_store_error():
        return asyncio.run(run())


def with_deployment(task: Callable[[Deployment], Awaitable[Result]]) -> Result:
    """Run a coroutine on all stores of the deployment."""
    from deploy.operations.deployment import open_deployment
    from deploy.settings import settings

    async def run() -> Result:
        async with open_deployment(settings()) as deployment:
            return await task(deployment)

    with exit_on_store_error():
        return asyncio.run(run())


@contextmanager
def exit_on_store_error() -> Iterator[None]:
    """Turn the errors of stores and of operations on them into exit code 1 and advice."""
    from clickhouse_connect.driver.exceptions import ClickHouseError
    from redis.exceptions import RedisError

    from deploy.operations.definition_files import DefinitionError
    from deploy.operations.erasure import NotErasedError
    from deploy.operations.lag import KafkaUnreachableError
    from deploy.operations.rebuild import NotRebuiltError
    from sinks.clickhouse.client import StoreDown
    from sinks.redis.identity import ImpossibleSplitError
    from sinks.redis.layout import UnmigratedStateError

    try:
        yield
    except (
        UnknownPersonError,
        DefinitionError,
        ImpossibleSplitError,
        NotErasedError,
        NotRebuiltError,
        UnmigratedStateError,
    ) as error:
        fail(str(error))
    except (StoreDown, ClickHouseError) as error:
        if sentence := explain("clickhouse", error):
            fail(sentence)
        reason = str(error).strip().partition("\n")[0]
        if "UNKNOWN_DATABASE" in reason or "UNKNOWN_TABLE" in reason:
            fail(f"{reason}\nThe tables are not there yet: `throughline migrate` makes them.")
        fail(f"{reason}\nIs ClickHouse up? `throughline status` shows it; THROUGHLINE_CLICKHOUSE_URL is its address.")
    except KafkaUnreachableError as error:
        if "THROUGHLINE_" in str(error):  # it says what to set
            fail(str(error))
        fail(f"{error}\nIs it running? `throughline status` shows it; THROUGHLINE_KAFKA_BOOTSTRAP is its address.")
    except (RedisError, OSError) as error:
        if sentence := explain("redis", error):
            fail(sentence)
        fail(f"Redis: {error}\nIs it running? `throughline status` shows it; THROUGHLINE_REDIS_URL is its address.")


class WaitNotice:
    """Prints the progress of a wait on standard error, a line for each new subject."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, what: str) -> None:
        """Print the subject of the wait, unless it is that of the last line."""
        if what != self._last:
            typer.echo(f"  waiting for {what}", err=True)
        self._last = what
