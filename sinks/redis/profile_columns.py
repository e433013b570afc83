"""What the scripts of the profile store take and answer: columns, since lists for each profile cost more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, cast

import msgpack
import orjson

from schemas.profiles.document import ProfileWrite
from sinks.redis.merged_profiles import pack_former
from sinks.redis.packing import pack
from sinks.redis.scripts import CALL_WEIGHT

ShardAsked = tuple[list[str], list[bytes], list[int]]
"""People of a shard, and the keys and times of arrival of their events."""
_DOCUMENT_ALONE = (None, None, (), (), ())
"""The fields of a change after `events` where nothing but the document and its events is written."""
APPLIED = ord("1")


def asked_columns(shards: Sequence[ShardAsked]) -> tuple[list[int], list[str], list[int], list[bytes], list[int]]:
    """Return what `read_profiles.lua` takes of shards: people and their number, events and their number."""
    return (
        [len(people) for people, _, _ in shards],
        [one for people, _, _ in shards for one in people],
        [len(keys) for _, keys, _ in shards],
        [key for _, keys, _ in shards for key in keys],
        [received_ms for _, _, received in shards for received_ms in received],
    )


def read_columns(
    names: Sequence[tuple[list[str], list[bytes]]], answers: Sequence[Any]
) -> tuple[dict[str, Sequence[Any]], set[bytes]]:
    """Return the columns of each profile, and the keys of the events that are applied.

    Args:
        names: The people and event keys of each call.
        answers: Of the calls.
    """
    found: dict[str, Sequence[Any]] = {}
    applied: set[bytes] = set()
    for (people, keys), (flat, marks) in zip(names, answers, strict=True):
        for place, one in enumerate(people):
            found[one] = flat[5 * place : 5 * place + 5]
        if APPLIED in marks:
            applied.update(key for key, mark in zip(keys, marks, strict=True) if mark == APPLIED)
    return found, applied


def write_columns(shards: Sequence[tuple[str, Sequence[ProfileWrite]]]) -> tuple[Any, ...]:
    """Return what `write_profiles.lua` takes: changes as columns, and by place what only few of them have.

    Args:
        shards: The changes by the prefix of their shard.
    """
    changes = [change for _, some in shards for change in some]
    rest = {
        place: (
            [loser for loser, _ in change.absorbed],
            pack_former(change.former) if change.absorbed and change.former else False,
            False if change.state is None else pack(change.state),
            False if change.due_ms is None else change.due_ms,
            tuple(chain.from_iterable([(one.topic, one.key, one.value) for one in change.outgoing])),
            change.held,
        )
        for place, change in enumerate(changes, 1)
        if change[5:10] != _DOCUMENT_ALONE or change.absorbed
    }
    return (
        [prefix for prefix, _ in shards],
        [len(some) for _, some in shards],
        [change.profile_id for change in changes],
        [change.expected_version for change in changes],
        [pack(change.document) for change in changes],
        [len(change.events) for change in changes],
        *event_columns(changes),
        rest,
    )


def event_columns(changes: Sequence[ProfileWrite]) -> tuple[list[bytes], list[int]]:
    """Return the keys and times of arrival of the events of changes."""
    keys = [key for change in changes for key, _ in change.events]
    return keys, [received_ms for change in changes for _, received_ms in change.events]


def weight_of(part: tuple[str, Sequence[ProfileWrite]]) -> int:
    """Return how much the changes of a shard weigh in a call."""
    return sum([max(1, len(change.events)) for change in part[1]])


def read_weight(part: tuple[int, ShardAsked]) -> int:
    """Return how much what is asked of a shard weighs in a call."""
    people, keys, _ = part[1]
    return max(len(people), len(keys))


def packed(columns: Any) -> bytes:
    """Pack columns; the server's cmsgpack has one type for text and bytes."""
    return cast(bytes, msgpack.packb(columns, use_bin_type=False))


def in_parts(changes: Sequence[ProfileWrite]) -> Iterator[list[ProfileWrite]]:
    """Yield changes of one shard in parts that are not too much for a call."""
    part: list[ProfileWrite] = []
    weight = 0
    for change in changes:
        part.append(change)
        weight += max(1, len(change.events))
        if weight >= CALL_WEIGHT:
            yield part
            part, weight = [], 0
    if part:
        yield part


def gone_document(profile_id: str) -> bytes:
    """Return the last document of a profile that was merged away or erased."""
    return orjson.dumps({"event_count": 0, "gone": True, "profile_id": profile_id})
