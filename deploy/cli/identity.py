"""The command group `identity`: explain a person, try a policy, unmerge, list refused identifiers, erase."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from deploy.cli.acts import noted_act
from deploy.cli.arguments import AsJson, Source, TimeoutS, Who, Yes, required_identifier
from deploy.cli.output import fail
from deploy.cli.profile import erase
from deploy.cli.stores import Stores, WaitNotice, exit_on_store_error, with_deployment, with_stores
from deploy.connections.clickhouse import clickhouse_client
from deploy.operations.person_lookup import PROFILE_ID, find_person

if TYPE_CHECKING:
    from deploy.identity import Resolver
    from deploy.operations.deployment import Deployment
    from schemas.events.touchpoint import Event
    from schemas.identity.resolution import Resolution, TypedAnchor

BATCH_LINES = 1_000

Identifiers = Annotated[
    list[str], typer.Argument(metavar="TYPE:VALUE", help="Identifiers to take out, such as email:a@b.example.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to `throughline`."""
    identity = typer.Typer(help="Who is who, and why.", no_args_is_help=True)
    identity.command("explain")(identity_explain)
    identity.command("resolve")(identity_resolve)
    identity.command("unmerge")(identity_unmerge)
    identity.command("refusals")(identity_refusals)
    identity.command("erase")(erase)
    app.add_typer(identity, name="identity")


def identity_explain(who: Who, source: Source = "", as_json: AsJson = False) -> None:
    """Show a person's identifiers, as keyed hashes, and the events that merged them, or were refused."""

    async def read(stores: Stores) -> tuple[str, list[TypedAnchor]]:
        profile_id = (await find_person(stores, who, source)).profile_id
        return profile_id, await stores.identities.members(profile_id)

    profile_id, members = with_stores(read)
    changes = _changes(profile_id, members)
    if as_json:
        named = [{"anchor": anchor, "type": kind} for anchor, kind in members]
        print(json.dumps({"profile_id": profile_id, "identifiers": named, "changes": changes}, indent=2))
        return
    print(f"profile {profile_id}: {_counts_text(Counter(kind for _, kind in members))}")
    for anchor, kind in sorted(members, key=lambda member: (member[1], member[0])):
        print(f"  {kind:16} {anchor}")
    for change in changes or ():
        print(f"{change['occurred_at']}  {_change_text(change, profile_id)}")


def identity_resolve(
    file: Annotated[str, typer.Argument(metavar="FILE", help="JSON Lines, one event a line; - for standard input.")],
    policy: Annotated[Path | None, typer.Option(help="Try this policy instead of the deployment's.")] = None,
    final: Annotated[
        bool, typer.Option("--final", help="Add final_profile_id: the profile of each event after the last one.")
    ] = False,
    namespace: Annotated[str, typer.Option(help="Name of the scratch name space; a new one by default.")] = "",
    keep: Annotated[bool, typer.Option("--keep", help="Keep the name space, to continue in it later.")] = False,
) -> None:
    """Resolve a file of events in order, in a scratch name space of the real store: live people are not touched.

    Prints one JSON object a line for each event: event_id, profile_id (null: none), anchor, merged (winner, loser),
    refused (type, anchor, rule). With --final they are printed after the last event, each with final_profile_id. A
    line that is no valid event is reported on standard error with the field and the rule; the others are resolved, and
    the exit code is 1.
    """
    from deploy.identity import open_resolver

    async def resolved() -> int:
        held: list[tuple[str, Resolution]] = []
        bad = 0
        async with open_resolver(namespace or None, policy, keep=keep) as resolver:
            with _opened(file) as lines:
                for events, broken in _parsed(lines):
                    bad += broken
                    answers = await resolver.resolve(events)
                    if final:
                        held += zip((event["source"] for event in events), answers, strict=True)
                    else:
                        _print_lines(answers)
            if final:
                await _print_final(resolver, held)
        return bad

    with exit_on_store_error():
        try:
            bad = asyncio.run(resolved())
        except ValueError as error:
            fail(str(error))
    if bad:
        fail(f"{bad:,} lines are no valid events")


def identity_unmerge(
    identifiers: Identifiers, source: Source = "", yes: Yes = False, timeout_s: TimeoutS = 300, as_json: AsJson = False
) -> None:
    """Split identifiers off a profile into a new one, and keep the two from being merged again.

    Events that were recorded by those identifiers move with them, in every report at once; both profiles are rebuilt
    from history, as if they had never been merged.
    """
    asked = [required_identifier(identifier) for identifier in identifiers]

    async def unmerge(deployment: Deployment) -> dict[str, Any]:
        from deploy.identity import reveal_identifiers
        from deploy.operations.unmerge import preview_unmerge
        from sinks.redis.identity import ImpossibleSplitError

        named = {
            identifier_hash: written
            for (kind, value), written in zip(asked, identifiers, strict=True)
            for identifier_hash in await _identifier_hashes(deployment, kind, value, source)
        }
        hashes = list(named)
        try:
            if yes:
                return await _unmerge(deployment, hashes, timeout_s)
            return (await preview_unmerge(deployment, hashes))._asdict()
        except ImpossibleSplitError as error:
            fail(reveal_identifiers(str(error), named))

    answer = with_deployment(unmerge)
    if as_json:
        print(json.dumps(answer, indent=2))
    elif yes:
        moved = _counts_text(answer["moved"])
        print(f"{answer['target']} has {moved} ({answer['rebuilt'][answer['target']]:,} events)")
        kept = _counts_text(answer["stayed"])
        print(f"{answer['source']} keeps {kept} ({answer['rebuilt'][answer['source']]:,} events)")
    else:
        print(f"profile {answer['source']}")
        print(f"  would lose {_counts_text(answer['moved'])}: {answer['events']:,} events, {answer['orders']:,} orders")
        print(f"  would keep {_counts_text(answer['stayed'])}")
    if not yes:
        typer.echo("nothing was changed: add --yes to do it", err=True)


def identity_refusals(
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of identifiers.")] = 20,
    release: Annotated[
        str, typer.Option(metavar="TYPE:VALUE|ANCHOR", help="Release this identifier from quarantine.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """List the identifiers with the most refusals: kiosks, shared mailboxes, constants.

    An identifier with too many refusals (quarantine_after in the policy) is in quarantine: identity resolution ignores
    it until it is released.
    """
    from schemas.identity.resolution import uuid_bytes, uuid_text

    async def read(stores: Stores) -> list[tuple[str, str, int, bool]]:
        if release:
            anchor = release.lower()
            named = PROFILE_ID.fullmatch(anchor)
            hashes = (
                [uuid_bytes(anchor)]
                if named
                else await _identifier_hashes(stores, *required_identifier(release), "", stored_only=False)
            )
            with noted_act("release", [uuid_text(one) for one in hashes]):
                if not any([await stores.identities.release(one) for one in hashes]):
                    fail(f"{release} is not in quarantine")
            typer.echo(f"{release} is released from quarantine", err=True)
        return await stores.identities.most_refused(limit)

    refused = with_stores(read)
    if as_json:
        names = ("anchor", "type", "refusals", "quarantined")
        print(json.dumps([dict(zip(names, row, strict=True)) for row in refused], indent=2))
        return
    if not refused:
        typer.echo("no identifier was refused", err=True)
    for anchor, kind, times, quarantined in refused:
        print(f"{times:10,}  {kind:16} {anchor}{'  in quarantine' if quarantined else ''}")


async def _unmerge(deployment: Deployment, identifier_hashes: list[bytes], timeout_s: float) -> dict[str, Any]:
    from deploy.operations.rebuild import load_rebuild_decider
    from deploy.operations.unmerge import rebuild_both, split_off

    decider = await load_rebuild_decider(deployment.settings)
    split = await split_off(deployment, identifier_hashes)
    with noted_act("unmerge", split.source, detail=f"into {split.target}"):
        done = await rebuild_both(deployment, split, decider, timeout_s=timeout_s, progress=WaitNotice())
    return done._asdict()


async def _identifier_hashes(
    stores: Stores | Deployment, kind: str, value: str, source: str, *, stored_only: bool = True
) -> list[bytes]:
    """Return the hashes of an identifier: those that have an owner, else the one by which it would be stored."""
    from deploy.operations.person_lookup import UnknownPersonError
    from processors.identity.claims import all_claims

    made = [one.identifier_hash for one in all_claims(kind, value, stores.policy, stores.secret, source)]
    if not made:
        raise UnknownPersonError(f"{kind}:{value} identifies no person: it is malformed or a blocked placeholder")
    if not stored_only:
        return made
    return [one for one in made if await stores.identities.owner(one)] or made[:1]


def _opened(file: str) -> BinaryIO:
    if file == "-":
        return sys.stdin.buffer
    try:
        return Path(file).open("rb")
    except OSError as error:
        fail(f"cannot read {file}: {error.strerror}")


def _parsed(lines: Iterable[bytes]) -> Iterator[tuple[list[Event], int]]:
    """Yield events in batches of up to `BATCH_LINES`, each with the number of invalid lines among them."""
    from deploy.settings import settings
    from processors.intake.decode import decode
    from schemas.outcomes import Reject

    channels, max_bytes = frozenset(settings().channels), settings().max_event_bytes
    events: list[Event] = []
    broken = 0
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        event = decode(line.strip(), channels=channels, max_bytes=max_bytes)
        if isinstance(event, Reject):
            broken += 1
            typer.echo(f"line {number}: {event.field or 'event'}: {event.message}", err=True)
        else:
            events.append(event)
        if len(events) == BATCH_LINES:
            yield events, broken
            events, broken = [], 0
    yield events, broken


def _print_lines(answers: Iterable[Resolution]) -> None:
    for answer in answers:
        print(json.dumps(_line(answer), ensure_ascii=False))


async def _print_final(resolver: Resolver, answers: list[tuple[str, Resolution]]) -> None:
    owners = await resolver.final((source, answer.event_id) for source, answer in answers)
    for source, answer in answers:
        owner = owners[source, answer.event_id]
        print(json.dumps({**_line(answer), "final_profile_id": owner}, ensure_ascii=False))


def _line(answer: Resolution) -> dict[str, Any]:
    return {
        "event_id": answer.event_id,
        "profile_id": answer.profile_id,
        "anchor": answer.anchor,
        "merged": [merge._asdict() for merge in answer.merged],
        "refused": [refusal._asdict() for refusal in answer.refused],
    }


def _counts_text(kinds: dict[str, int]) -> str:
    return ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items())) or "no identifier"


def _change_text(change: dict[str, Any], profile_id: str) -> str:
    """Describe an identity change in one line."""
    about = ", ".join(f"{kind} {anchor}" for anchor, kind in change["anchors"]) or "nothing"
    before, after = change["from_profile_id"], change["profile_id"]
    what = {
        "bind": f"bind: {about}" + (f" to {after}" if after != profile_id else ""),
        "merge": f"merge of {before}" + (f" into {after}" if after != profile_id else "") + f": {about}",
        "split": f"split from {before}: {about}" if after == profile_id else f"split into {after}: {about}",
        "transfer": f"transfer from {before} to {after or 'no profile'}: {about}",
        "refuse": f"refuse: {about}" + (f", which is of {before}" if before else ""),
        "erase": f"erase: {about}",
        "release": f"release from quarantine: {about}",
        "expire": f"expire: {about}",
    }[change["kind"]]
    evidence = f"event {change['event_id']}" if change["event_id"] else "an operator's command"
    if change["kind"] in ("split", "erase", "release"):
        evidence = "an operator's command"
    elif change["kind"] == "expire":
        evidence = "the time"
    return f"{what} (by {evidence}; {change['rule']})"


def _changes(profile_id: str, members: list[TypedAnchor]) -> list[dict[str, Any]] | None:
    """Read the identity changes of a profile from ClickHouse; None, with a message, when it does not answer."""
    from clickhouse_connect.driver.exceptions import ClickHouseError

    from deploy.settings import settings
    from schemas.time import text_of_ms
    from sinks.clickhouse.client import StoreDown
    from sinks.clickhouse.identity_log import read_changes

    try:
        client = clickhouse_client(settings())
        try:
            changes = read_changes(client, profile_id, [anchor for anchor, _ in members])
        finally:
            client.close()
    except (StoreDown, ClickHouseError) as error:
        typer.echo(f"no history, because ClickHouse does not answer: {str(error).strip().splitlines()[0]}", err=True)
        return None
    return [{**change, "occurred_at": text_of_ms(change.pop("occurred_ms"))} for change in changes]
