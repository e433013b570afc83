"""Commands about one person: the profile, and why these identifiers are theirs."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

if TYPE_CHECKING:
    from sinks.redis_identity import RedisIdentityStore
    from sinks.redis_profiles import RedisProfileStore

_PROFILE_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
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


def register(app: typer.Typer) -> None:
    """Add the commands to `throughline`."""
    profile = typer.Typer(help="What is known of one person.", no_args_is_help=True)
    profile.callback()(_group)
    profile.command("show")(profile_show)
    app.add_typer(profile, name="profile")
    identity = typer.Typer(help="Who is who, and why.", no_args_is_help=True)
    identity.callback()(_group)
    identity.command("explain")(identity_explain)
    app.add_typer(identity, name="identity")


def _group() -> None:
    """Keep a group with one command a group."""


@dataclass(frozen=True, slots=True)
class Stores:
    """The two stores in Redis that know people."""

    identities: RedisIdentityStore
    profiles: RedisProfileStore


def profile_show(who: Who, source: Source = "", as_json: AsJson = False) -> None:
    """Show a person's profile: channels, orders, cart, consent, messages, touches."""

    async def read(stores: Stores) -> dict[str, Any]:
        from processors.profile_update import load
        from processors.profile_view import view

        profile_id = await find(stores, who, source)
        stored = await stores.profiles.get(profile_id)
        if stored is None:
            _fail(f"{who}: this person was erased")
        kinds = Counter(kind for _, kind in await stores.identities.members(profile_id))
        return {**view(load(stored)), "identifiers": dict(kinds), "version": stored.version}

    person = _ask(read)
    if as_json:
        print(json.dumps(person, indent=2, ensure_ascii=False))
        return
    from rich.console import Console

    from deploy.profile_page import show

    show(person, Console())


def identity_explain(who: Who, source: Source = "", as_json: AsJson = False) -> None:
    """Say which identifiers a person has, as keyed hashes, and which events brought them together."""

    async def read(stores: Stores) -> tuple[str, list[tuple[str, str]]]:
        profile_id = await find(stores, who, source)
        return profile_id, await stores.identities.members(profile_id)

    profile_id, members = _ask(read)
    changes = _changes(profile_id)
    if as_json:
        named = [{"anchor": anchor, "type": kind} for anchor, kind in members]
        print(json.dumps({"profile_id": profile_id, "identifiers": named, "changes": changes}, indent=2))
        return
    counted = ", ".join(f"{number} {kind}" for kind, number in sorted(Counter(kind for _, kind in members).items()))
    print(f"profile {profile_id}: {counted or 'no identifier'}")
    for anchor, kind in sorted(members, key=lambda member: (member[1], member[0])):
        print(f"  {kind:16} {anchor}")
    for change in changes or ():
        about = ", ".join(f"{kind} {anchor}" for anchor, kind in change["anchors"])
        merged = f" of {change['from_profile_id']}" if change["from_profile_id"] else ""
        evidence = f"event {change['event_id']}" if change["event_id"] else "an operator's command"
        print(f"{change['occurred_at']}  {change['kind']}{merged}: {about} (by {evidence}; {change['rule']})")


async def find(stores: Stores, who: str, source: str) -> str:
    """Find the live profile that an operator means; end the command when there is none or the name is ambiguous."""
    from deploy.configuration import identity_policy
    from deploy.settings import settings
    from processors.identity import claim
    from schemas.policy import OTHER

    if _PROFILE_ID.fullmatch(who.lower()):
        live = await stores.identities.follow(who.lower())
        if live is None:
            _fail(f"{who}: this person was erased")
        stored = await stores.profiles.get(live)
        if (stored and stored.document) or await stores.identities.members(live):
            return live
    policy = identity_policy(settings())
    secret = settings().identity_secret.get_secret_value().encode()
    candidates = [(rule.type, who) for rule in policy.types if rule.type != OTHER]
    if typed := _TYPED.fullmatch(who):
        # First as it is written; a bare value may have a colon in it too.
        candidates.insert(0, (typed[1], typed[2]))
    found: dict[str, str] = {}
    for kind, value in candidates:
        made = claim(kind, value, policy, secret, source)
        owner = await stores.identities.owner(made.leaf) if made else None
        if owner:
            found.setdefault(owner, f"{kind}:{value}")
            if typed and kind == typed[1]:
                break
    if not found:
        _fail(f"nobody is known by {who}: write the type before the value, such as email:{who}" if not typed else
              f"nobody is known by {who}")  # fmt: skip
    if len(found) > 1:
        _fail(f"{who} is {len(found)} people; say which: {', '.join(found.values())}")
    return next(iter(found))


def _ask(question: Callable[[Stores], Awaitable[Answer]]) -> Answer:
    """Ask the stores; what goes wrong there ends the command with exit code 1 and advice."""
    from redis.asyncio import Redis
    from redis.exceptions import RedisError

    from deploy.configuration import DefinitionError, identity_policy
    from deploy.settings import settings
    from sinks.redis_identity import RedisIdentityStore
    from sinks.redis_profiles import RedisProfileStore

    async def asked() -> Answer:
        async with Redis.from_url(settings().redis_url, socket_timeout=10, socket_connect_timeout=5) as redis:
            namespace = settings().redis_namespace
            identities = RedisIdentityStore(redis, namespace, identity_policy(settings()))
            return await question(Stores(identities, RedisProfileStore(redis, namespace)))

    try:
        return asyncio.run(asked())
    except (RedisError, OSError) as error:
        _fail(f"Redis: {error}\nIs it running? `throughline status` tells; THROUGHLINE_REDIS_URL says where.")
    except DefinitionError as error:
        _fail(str(error))


def _changes(profile_id: str) -> list[dict[str, Any]] | None:
    """Read why from ClickHouse; None, and a word on standard error, when it cannot tell."""
    from clickhouse_connect.driver.exceptions import ClickHouseError

    from deploy.settings import settings
    from processors.identify import utc_text
    from sinks.clickhouse import StoreDown, connect
    from sinks.identity_log import read_changes

    try:
        client = connect(settings().clickhouse_url, settings().clickhouse_database)
        try:
            changes = read_changes(client, profile_id)
        finally:
            client.close()
    except (StoreDown, ClickHouseError) as error:
        typer.echo(f"no history, ClickHouse does not tell: {str(error).strip().splitlines()[0]}", err=True)
        return None
    return [{**change, "occurred_at": utc_text(change.pop("occurred_ms"))} for change in changes]


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(1)
