"""Erases a person from every store, so that no replay of a topic brings the person back; a later event is of a new one.

The order of the steps is essential:

1. Redis. From then on identify suppresses events that name the person, the profile worker applies none to the profile,
   and the recorder stores none.
2. Wait for the workers: a batch that they had read before may still be written.
3. Redis again: what names the person elsewhere, such as watches of products and messages that wait.
4. ClickHouse: delete the rows, count again, and repeat until none is left.

Every step may be repeated, so the same command completes an erasure that broke off.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from json import JSONDecoder
from typing import Any, NamedTuple

import orjson

from deploy.operations.deployment import Deployment, Progress
from processors.identity.claims import all_claims
from schemas.durations import DAY_MS, DAY_S
from schemas.identity.erasure import LetterPlace
from schemas.identity.resolution import ErasedPerson, uuid_bytes, uuid_text
from schemas.time import clock_ms, text_of_ms
from schemas.topics import topics
from sinks.clickhouse.erasure import PersonRows, count_rows, delete_letters, delete_rows, find_letters, person_rows
from sinks.clickhouse.history import read_events
from sinks.clickhouse.identity_log import LoggedEnd, former_ids, last_erasure, read_ends
from sinks.redis.identity import ERASED_S, anchor_after

MAX_DELETE_ROUNDS = 5
MIN_TEXT_LENGTH = 5
"""A shorter identifier is too common a text to attribute a dead letter to the person by itself."""
_JSON = JSONDecoder()


class NotErasedError(Exception):
    """Data of the person is left; the message says which, and that the command may be repeated."""


@dataclass(frozen=True, slots=True)
class ErasureReceipt:
    """The report of an erasure.

    Attributes:
        profile_ids: Every profile id that the person had, the latest first; then those that expired under their
            identifiers before.
        at: Events up to this time that name the person are suppressed from now on.
        stores: What was deleted, by store: identifiers and profiles of `redis_identity`, documents of `redis_profiles`,
            watches of products, waiting messages, held runs, what slots have shown and unpublished records of
            `redis_traces`, rows by table of `clickhouse`.
        remains: Where traces are left, one sentence each.
    """

    profile_ids: list[str]
    at: str
    stores: dict[str, Any]
    remains: list[str]

    def as_json(self) -> dict[str, Any]:
        """The receipt as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ErasureRequest:
    """The person to erase, as the operator named them.

    Attributes:
        profile_id: The profile: live, or the one that was erased.
        erased: An earlier erasure that is to be completed, or an anonymous person who has expired; None for a live one.
        identifier: The (type, value) that the operator wrote; None if it was a profile id.
    """

    profile_id: str
    erased: ErasedPerson | None = None
    identifier: tuple[str, str] | None = None


async def preview_erasure(deployment: Deployment, profile_id: str) -> dict[str, Any]:
    """Count what an erasure would delete: identifiers by type, documents, rows by table."""
    members = await deployment.identities.members(profile_id)
    stored = await deployment.profiles.get(profile_id)
    rows = await asyncio.to_thread(lambda: count_rows(deployment.tables, person_rows(deployment.tables, [profile_id])))
    by_type: dict[str, int] = {}
    for _, kind in members:
        by_type[kind] = by_type.get(kind, 0) + 1
    return {
        "profile_id": profile_id,
        "identifiers": dict(sorted(by_type.items())),
        "documents": int(bool(stored and stored.document)) + (len(stored.absorbed) if stored else 0),
        "rows": {table: count for table, count in rows.items() if count},
    }


class FormerOwners(NamedTuple):
    """Whose some identifiers were.

    Attributes:
        ends: The ends of profiles that were erased or have expired, in order.
        hashes: Anchor → the hash of the identifier that had it.
    """

    ends: list[LoggedEnd]
    hashes: dict[str, bytes]

    @property
    def expired(self) -> list[LoggedEnd]:
        """Those who have expired."""
        return [one for one in self.ends if one.kind == "expire"]


def earlier_erasure(
    deployment: Deployment, *, profile_id: str | None = None, anchor: str | None = None
) -> ErasedPerson | None:
    """Find a completed or broken-off erasure in the identity log, by profile id or anchor; None when there is none."""
    found = last_erasure(deployment.tables, profile_id=profile_id, anchor=anchor)
    return person_of_end(deployment, found) if found else None


def last_end(deployment: Deployment, profile_id: str) -> ErasedPerson | None:
    """Find the person of a profile that was erased or has expired; None: it is none."""
    ends = read_ends(deployment.tables, [profile_id], [])
    return person_of_end(deployment, ends[-1]) if ends else None


def person_of_end(deployment: Deployment, end: LoggedEnd) -> ErasedPerson:
    """Return the person of a profile that has ended."""
    former = former_ids(deployment.tables, end.profile_id)
    return ErasedPerson(end.profile_id, tuple(sorted(former)), end.anchors, end.at_ms, end.version)


def former_owners(deployment: Deployment, identifier_hashes: Iterable[bytes]) -> FormerOwners:
    """Find whose some identifiers were; one that came back after it had expired has another anchor each time."""
    hashes = {uuid_text(one): one for one in identifier_hashes}
    ends, identifiers, anchors = dict[str, LoggedEnd](), set(hashes.values()), set(hashes)
    while anchors:
        new = [one for one in read_ends(deployment.tables, [], sorted(anchors)) if one.profile_id not in ends]
        ends |= {one.profile_id: one for one in new}
        next_ones = {anchor_after(one, end.profile_id): one for one in identifiers for end in new}
        hashes |= next_ones
        anchors = set(next_ones)
    return FormerOwners(sorted(ends.values(), key=lambda one: one.version), hashes)


async def expired_before(deployment: Deployment, profile_id: str) -> list[LoggedEnd]:
    """Find the anonymous people who have expired and whose identifiers a live person has now."""
    clear = await _known_identifiers(deployment, ErasureRequest(profile_id, None, None))
    former = await asyncio.to_thread(former_owners, deployment, _identifier_hashes(deployment, clear))
    return former.expired


async def erase_person(
    deployment: Deployment, request: ErasureRequest, *, timeout_s: float, progress: Progress = lambda _: None
) -> ErasureReceipt:
    """Erase a person from every store.

    Args:
        deployment: Open.
        request: The person, or the erasure that is to be completed.
        timeout_s: Longest time of each wait for the workers, in seconds.
        progress: Called with the name of each step.

    Returns:
        What was deleted and what remains.

    Raises:
        NotErasedError: The person is unknown, or some of it is left; repeat the command then.
    """
    now_ms = clock_ms()
    clear = await _known_identifiers(deployment, request)
    erased, identifiers = await _erase_identity(deployment, request, clear, now_ms)
    former = await asyncio.to_thread(former_owners, deployment, _identifier_hashes(deployment, clear))
    expired = [await asyncio.to_thread(person_of_end, deployment, one) for one in former.expired]
    people = {one.profile_id: one for one in (erased, *expired)}.values()
    ids = [profile_id for one in people for profile_id in (one.profile_id, *one.former_ids)]
    anchors = [anchor for one in people for anchor, _ in one.anchors]
    await deployment.erasures.erase(anchors, [], now_ms)
    documents = sum([await deployment.profiles.erase(profile_id) for profile_id in ids])
    unprocessed = await _wait_for_workers(deployment, erased.version, timeout_s, progress)

    progress("what waits in Redis")
    traces = {name: count for name, count in (await deployment.erasures.forget(ids)).items() if count}
    progress("the tables")
    deleted = await _empty_tables(deployment, ids, progress)
    letters = await asyncio.to_thread(letters_of_person, deployment, clear, frozenset(ids))
    if letters:
        await deployment.erasures.erase([], letters, now_ms)
        deleted["dead_letters"] = await asyncio.to_thread(delete_letters, deployment.tables, letters)
    return ErasureReceipt(
        profile_ids=ids,
        at=text_of_ms(erased.at_ms),
        stores={
            "redis_identity": identifiers,
            "redis_profiles": documents,
            "redis_traces": traces,
            "clickhouse": deleted,
        },
        remains=[*unprocessed, *_remains(deployment)],
    )


async def _erase_identity(
    deployment: Deployment, request: ErasureRequest, clear: set[tuple[str, str]], now_ms: int
) -> tuple[ErasedPerson, dict[str, int]]:
    if request.erased is not None:
        return request.erased, {"identifiers": 0, "profiles": 0}
    # An anchor is the identifier hash, unless the identifier had a former owner: then clear text gives the hash.
    anchors = [uuid_bytes(anchor) for anchor, _ in await deployment.identities.members(request.profile_id)]
    for identifier_hash in [*_identifier_hashes(deployment, clear), *anchors]:
        if await deployment.identities.owner(identifier_hash) == request.profile_id:
            erased = await deployment.identities.erase(identifier_hash, now_ms)
            if erased is not None:
                return erased, {"identifiers": len(erased.anchors), "profiles": 1 + len(erased.former_ids)}
    expired = await asyncio.to_thread(last_end, deployment, request.profile_id)
    if expired is not None:  # its document is still there
        return expired, {"identifiers": 0, "profiles": 0}
    raise NotErasedError(
        f"profile {request.profile_id} is not known by any identifier: name one, such as email:a@b.example"
    )


def _identifier_hashes(deployment: Deployment, identifiers: Iterable[tuple[str, str]]) -> list[bytes]:
    return [
        one.identifier_hash
        for kind, value in sorted(identifiers)
        for one in all_claims(kind, value, deployment.policy, deployment.secret)
    ]


async def _known_identifiers(deployment: Deployment, request: ErasureRequest) -> set[tuple[str, str]]:
    """Return the person's identifiers in clear text: from the command, and from the person's stored events."""
    events = await asyncio.to_thread(read_events, deployment.tables, request.profile_id)
    named = {(one["type"], one["value"]) for event in events for one in event["identifiers"]}
    if request.identifier:
        named.add(request.identifier)
    erased = set[bytes]()
    if request.erased:
        former = await asyncio.to_thread(former_owners, deployment, _identifier_hashes(deployment, named))
        erased = {former.hashes[anchor] for anchor, _ in request.erased.anchors if anchor in former.hashes}
    found = set()
    for kind, value in named:
        # An event of a shared device may also name an identifier of another person, whose dead letters stay.
        for made in all_claims(kind, value, deployment.policy, deployment.secret):
            one = made.identifier_hash
            if one in erased or await deployment.identities.owner(one) == request.profile_id:
                found.add((kind, value))
    return found


async def _wait_for_workers(deployment: Deployment, version: int, timeout_s: float, progress: Progress) -> list[str]:
    """Wait for the records that workers had read before Redis was emptied; return a warning if some are left."""
    left = await deployment.catch_up("identify", timeout_s, progress)
    await deployment.wait_for_version(version, timeout_s, progress)
    left += await deployment.catch_up("record", timeout_s, progress)
    if not left:
        return []
    return [
        f"{left:,} records were still on their way after {timeout_s:g} s; the workers leave out what is this person's,"
        " but repeat the command once they are through to be sure"
    ]


async def _empty_tables(deployment: Deployment, ids: list[str], progress: Progress) -> dict[str, int]:
    rows: PersonRows = await asyncio.to_thread(person_rows, deployment.tables, ids)
    deleted: dict[str, int] = {}
    for round_ in range(MAX_DELETE_ROUNDS):
        for table, count in (await asyncio.to_thread(delete_rows, deployment.tables, rows)).items():
            deleted[table] = deleted.get(table, 0) + count
        left = await asyncio.to_thread(count_rows, deployment.tables, rows)
        if not any(left.values()):
            return deleted
        progress(f"rows that came meanwhile ({round_ + 2})")
        await asyncio.sleep(1)
    named = ", ".join(f"{count:,} in {table}" for table, count in left.items() if count)
    raise NotErasedError(f"rows keep coming: {named}; repeat the command, and see that all workers have this version")


def letters_of_person(deployment: Deployment, clear: set[tuple[str, str]], ids: frozenset[str]) -> list[LetterPlace]:
    """Find the dead letters that name one of the person's identifiers or profile ids, truncated ones included.

    Args:
        deployment: Open.
        clear: The person's identifiers (type, value).
        ids: Every profile id that the person had.
    """
    identifier_hashes, texts = set(_identifier_hashes(deployment, clear)), {value for _, value in clear}
    distinctive = [text for text in texts if len(text) >= MIN_TEXT_LENGTH]
    pattern = re.compile("|".join(rf"(?<!\w){re.escape(text)}(?!\w)" for text in distinctive) or r"(?!)", re.IGNORECASE)

    def names_person(key: bytes, value: bytes) -> bool:
        key_text = key.decode(errors="replace")
        if key_text in ids or pattern.search(key_text) or pattern.search(value.decode(errors="replace")):
            return True
        try:
            event = orjson.loads(value)
        except orjson.JSONDecodeError:
            event = _fields_of_part(value)
        if not isinstance(event, dict):
            return False
        source = event.get("source")  # its region decides what a national telephone number is
        claimed = (
            all_claims(kind, named, deployment.policy, deployment.secret, source if isinstance(source, str) else "")
            for kind, named in _claimed(event)
        )
        return event.get("profile_id") in ids or any(
            one.identifier_hash in identifier_hashes for made in claimed for one in made
        )

    return [place for place, key, value in find_letters(deployment.tables, {*texts, *ids}) if names_person(key, value)]


def _fields_of_part(value: bytes) -> dict[str, Any]:
    """Read what names a person from JSON that is truncated, as a dead letter keeps a very large record."""
    text, fields = value.decode(errors="replace"), {}
    for name in ("identifiers", "profile_id"):
        if found := re.search(rf'"{name}"\s*:\s*', text):
            with suppress(ValueError, RecursionError):
                fields[name], _ = _JSON.raw_decode(text, found.end())
    return fields


def _claimed(event: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the identifiers (type, value) of an invalid event, as far as they can be read."""
    identifiers = event.get("identifiers")
    if isinstance(identifiers, dict):
        named = [
            (kind, one)
            for kind, found in identifiers.items()
            for one in (found if isinstance(found, list) else [found])
        ]
    elif isinstance(identifiers, list):
        named = [(one.get("type"), one.get("value")) for one in identifiers if isinstance(one, dict)]
    else:
        named = []
    for kind, value in named:
        if isinstance(kind, str) and isinstance(value, str | int) and not isinstance(value, bool):
            yield kind, str(value)


def _remains(deployment: Deployment) -> list[str]:
    kept = ", ".join(
        f"{topic.name} {topic.retention_ms // DAY_MS} days"
        for topic in topics(deployment.settings.channels[:1])
        if topic.retention_ms > 0
    )
    forgotten = f"{ERASED_S // DAY_S} days"
    return [
        f"Kafka keeps the bytes until the topics' retention ends ({kept}, as far as the broker's settings are ours);"
        " the workers leave them out",
        f"Redis keeps keyed hashes of the identifiers for {forgotten}, so that a replay is recognised",
        "ClickHouse keeps the erasure itself in identity_log: profile id and keyed hashes",
        "Backups and what receivers of messages already have are out of reach",
    ]
