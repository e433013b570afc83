"""The command group `coupons`: pools of codes, each for one use, that message steps give to people."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy.cli.arguments import AsJson
from deploy.cli.output import fail, print_json, print_table
from deploy.cli.publish import SummaryAsJson
from deploy.cli.stores import clickhouse, exit_on_store_error
from deploy.connections.redis import async_redis_client

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sinks.redis.coupons import RedisCoupons

_POOL = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_CODES_SHOWN = 10


def register(app: typer.Typer) -> None:
    """Add the commands to `throughline`."""
    coupons = typer.Typer(help="Pools of coupon codes, each for one use.", no_args_is_help=True)
    coupons.command("import")(coupons_import)
    coupons.command("list")(coupons_list)
    app.add_typer(coupons, name="coupons")


def coupons_import(
    pool: Annotated[str, typer.Argument(help="The pool, as journeys name it: `coupon: POOL` of a message.")],
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="One code a line, or CSV: code,expires_at.")
    ],
    expires: Annotated[
        str, typer.Option(help="Until when codes without an end of their own may be used: a day, or a time.")
    ] = "",
    channels: Annotated[
        str,
        typer.Option(help="Channels in which they may be used, such as web,store; else all. v_coupons has breaches."),
    ] = "",
    as_json: SummaryAsJson = False,
) -> None:
    """Add codes to a pool. A code is given to one person; the ones that end first go first.

    Nothing is added unless the whole file is valid. A code that the pool has already gets its new end, if it is still
    free; one that another pool has is not added.
    """
    from zoneinfo import ZoneInfo

    from deploy.operations.importers.coupons import end_of, read_codes
    from deploy.operations.importers.tables import TableError
    from deploy.settings import settings
    from sinks.clickhouse.coupons import insert_codes
    from sinks.redis.coupons import AddedCodes

    if not _POOL.fullmatch(pool):
        raise typer.BadParameter(
            f"{pool!r} should be 1 to 64 small letters, digits, - and _, the first a letter", param_hint="POOL"
        )
    valid_in = _channels(channels, settings().channels)
    zone = ZoneInfo(settings().timezone)
    try:
        ends_ms = end_of(expires, zone) if expires else None
    except ValueError:
        raise typer.BadParameter(
            f"{expires!r} is no day such as 2026-12-31, and no time such as 2026-12-31T18:00:00Z",
            param_hint="--expires",
        ) from None
    try:
        with file.open(encoding="utf-8") as lines:
            codes = read_codes(lines, zone, ends_ms)
    except (TableError, UnicodeDecodeError) as error:
        fail(f"{file}: {error}")

    async def add(pools: RedisCoupons) -> AddedCodes:
        return await pools.add(pool, codes)

    # Redis first: what breaks off in between is completed by the same import again.
    with clickhouse() as client:
        found = _with_pools(add)
        elsewhere = set(found.elsewhere)
        insert_codes(client, pool, (one for one in codes if one.code not in elsewhere), valid_in)
    if as_json:
        print_json({"pool": pool, **found._asdict()})
    else:
        print(f"{pool}: added {found.added:,} codes, {found.known:,} were there already")
    if elsewhere:
        named = ", ".join(found.elsewhere[:_CODES_SHOWN])
        more = f" and {len(elsewhere) - _CODES_SHOWN:,} more" if len(elsewhere) > _CODES_SHOWN else ""
        typer.echo(f"not added, since another pool has them: {named}{more}", err=True)


def coupons_list(as_json: AsJson = False) -> None:
    """List the pools: codes left, given, used, expired; used by another person, after their end, or elsewhere."""
    from schemas.time import clock_ms
    from sinks.clickhouse.coupons import count_pools
    from sinks.redis.coupons import PoolLevel

    with clickhouse() as client:
        pools = count_pools(client)

    async def levels(stored: RedisCoupons) -> list[PoolLevel]:
        now = clock_ms()
        return [await stored.level(one.pool, now) for one in pools]

    free = [level.free for level in _with_pools(levels)]
    if as_json:
        print_json([{**one._asdict(), "free": left} for one, left in zip(pools, free, strict=True)])
        return
    if not pools:
        typer.echo("there is no pool: `throughline coupons import POOL FILE` makes one", err=True)
        return
    print_table(
        ("pool", "free", "given", "redeemed", "expired", "by another", "too late", "elsewhere"),
        [
            (one.pool, *(f"{number:,}" for number in (left, one.given, one.redeemed, one.expired, *one[-3:])))
            for one, left in zip(pools, free, strict=True)
        ],
        text_columns=1,
    )


def _channels(text: str, known: Sequence[str]) -> list[str]:
    wanted = [one.strip() for one in text.split(",") if one.strip()]
    if unknown := [one for one in wanted if one not in known]:
        raise typer.BadParameter(
            f"{unknown[0]!r} is no channel of this deployment: {', '.join(known)}", param_hint="--channels"
        )
    return wanted


def _with_pools(task: Callable[[RedisCoupons], Awaitable[Any]]) -> Any:
    """Run a coroutine on the pools in Redis."""
    import asyncio

    from deploy.settings import settings
    from sinks.redis.coupons import RedisCoupons

    async def run() -> Any:
        async with async_redis_client(settings(), timeout_s=10) as redis:
            return await task(RedisCoupons(redis, settings().redis_namespace))

    with exit_on_store_error():
        return asyncio.run(run())
