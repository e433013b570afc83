"""Lists of the people of broadcasts, written when one is started and read by workers, and what broadcasts brought."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from schemas.shards import SHARDS
from schemas.time import time_of_ms

_MEMBERS = (
    "SELECT DISTINCT profile_id FROM v_segment_memberships"
    " WHERE segment = {segment:String} AND since <= {at:DateTime64(3)} AND until > {at:DateTime64(3)}"
)
_LISTED = (
    f"SELECT toUInt8(CRC32(toString(profile_id)) % {SHARDS}) AS shard, cityHash64(profile_id) AS place, profile_id"  # noqa: S608 - fixed texts
    f" FROM ({_MEMBERS}) WHERE empty({{exclude:Array(String)}}) OR profile_id NOT IN (SELECT profile_id"
    " FROM v_segment_memberships WHERE has({exclude:Array(String)}, toString(segment))"
    " AND since <= {at:DateTime64(3)} AND until > {at:DateTime64(3)})"
)
NO_LIMIT = 2**62


class BroadcastTotals(NamedTuple):
    """What became of the people of a broadcast.

    Attributes:
        entered: People who have entered it.
        under_way: Those of them who wait for their time, or for the winner.
        last_sent_at: When the last message was sent; None: none was.
        rows: Rows with `variant`, `channel`, `outcome`, `gate`, `messages`; of postponed ones those that still are.
    """

    entered: int
    under_way: int
    last_sent_at: datetime | None
    rows: list[dict[str, Any]]


class VariantResults(NamedTuple):
    """What a variant of a broadcast brought, of the messages that were sent: the sample and the rest."""

    variant: str
    channel: str
    sent: int
    delivered: int
    opened: int
    clicked: int
    failed: int
    unsubscribed: int


def list_members(
    client: Any, broadcast: str, segment: str, exclude: Sequence[str], listed_ms: int, most: int | None = None
) -> int:
    """Write the members of a segment at a time as the list of a broadcast.

    Args:
        client: Of the deployment's database, as `sinks.clickhouse.client.connect` opens it.
        broadcast: Its name.
        segment: Name of the segment.
        exclude: Members of these segments are left out.
        listed_ms: The time, milliseconds since 1970; with the name it is the list's key.
        most: The most people, chosen by a hash; None: all.

    Returns:
        How many people are on the list.
    """
    at = time_of_ms(listed_ms)
    parameters = {"segment": segment, "exclude": list(exclude), "at": at, "broadcast": broadcast}
    client.command(
        "INSERT INTO broadcast_members (broadcast, listed_at, shard, place, profile_id)"  # noqa: S608 - fixed texts
        f" SELECT {{broadcast:String}}, {{at:DateTime64(3)}}, shard, place, profile_id FROM ({_LISTED})"
        " ORDER BY place LIMIT {most:UInt64}",
        {**parameters, "most": NO_LIMIT if most is None else most},
    )
    return int(
        client.query(
            "SELECT uniqExact(profile_id) FROM broadcast_members"
            " WHERE broadcast = {broadcast:String} AND listed_at = {at:DateTime64(3)}",
            parameters,
        ).first_row[0]
    )


def sample_members(client: Any, segment: str, exclude: Sequence[str], at: datetime, most: int) -> tuple[int, list[str]]:
    """Return how many members a segment has at a time, without those of others, and the ids of at most some of them."""
    parameters = {"segment": segment, "exclude": list(exclude), "at": at, "most": most}
    rows = client.query(
        f"SELECT toString(profile_id), count() OVER () FROM ({_LISTED}) ORDER BY place LIMIT {{most:UInt64}}",  # noqa: S608
        parameters,
    ).result_rows
    return (int(rows[0][1]) if rows else 0), [str(profile_id) for profile_id, _ in rows]


def read_members(
    client: Any, broadcast: str, listed_ms: int, after: Mapping[int, int | None], count: int
) -> list[tuple[int, int, str]]:
    """Read a page of a broadcast's list.

    Args:
        client: Of the deployment's database.
        broadcast: Its name.
        listed_ms: When it was listed.
        after: For each shard that is asked for, the place after which to go on; None: from the beginning.
        count: About how many people; those of one place are all on one page.

    Returns:
        Shard, place and profile id of people, in order of shards and places. If they are fewer than `count`, there are
        no more in any of the shards; else none are left in the shards before that of the last one.
    """
    asked = " OR ".join(
        f"shard = {shard}" if place is None else f"(shard = {shard} AND place > {place})"
        for shard, place in after.items()
    )
    rows = client.query(
        "SELECT shard, place, toString(profile_id) FROM broadcast_members"  # noqa: S608 - numbers
        " WHERE broadcast = {broadcast:String} AND listed_at = {at:DateTime64(3)}"
        f" AND ({asked}) ORDER BY shard, place LIMIT {count} WITH TIES",
        {"broadcast": broadcast, "at": time_of_ms(listed_ms)},
    ).result_rows
    return [(int(shard), int(place), str(profile_id)) for shard, place, profile_id in rows]


def read_totals(client: Any, broadcast: str) -> BroadcastTotals:
    """Read what became of the people of a broadcast so far, as far as it is recorded."""
    asked = {"broadcast": broadcast}
    entered, ended = client.query(
        "SELECT uniqExactIf(run_id, kind = 'journey_entered'), uniqExactIf(run_id, kind IN ('exited', 'collapsed'))"
        " FROM journey_events WHERE journey = {broadcast:String}",
        asked,
    ).first_row
    rows = client.query(
        """
        SELECT variant, channel, outcome, gate, count() AS messages, max(at)
        FROM
        (
            SELECT argMax(variant, place) AS variant, argMax(channel, place) AS channel,
                argMax(outcome, place) AS outcome, argMax(gate, place) AS gate, max(decided_at) AS at
            FROM (SELECT *, (outcome != 'postponed', decided_at, outcome = 'failed') AS place FROM decisions
                WHERE journey = {broadcast:String})
            GROUP BY idempotency_key
        )
        GROUP BY variant, channel, outcome, gate ORDER BY messages DESC
        """,
        asked,
    ).result_rows
    names = ("variant", "channel", "outcome", "gate", "messages")
    sent = [at for *_, outcome, _gate, _count, at in rows if outcome == "sent"]
    found = [dict(zip(names, row[:-1], strict=True)) for row in rows]
    return BroadcastTotals(int(entered), max(0, int(entered) - int(ended)), max(sent, default=None), found)


def read_variants(client: Any, broadcast: str) -> list[VariantResults]:
    """Read what the messages of a broadcast brought, by variant and channel."""
    rows = client.query(
        """
        SELECT d.variant, d.channel, count(), countIf(m.delivered), countIf(m.opened), countIf(m.responded),
            countIf(m.failed OR m.bounced OR d.failed), countIf(m.unsubscribed)
        FROM
        (
            SELECT idempotency_key, toString(any(variant)) AS variant, toString(any(channel)) AS channel,
                countIf(outcome = 'failed') > 0 AS failed
            FROM decisions WHERE journey = {broadcast:String} AND outcome IN ('sent', 'failed')
            GROUP BY idempotency_key
        ) AS d
        LEFT JOIN (SELECT * FROM v_messages WHERE journey = {broadcast:String}) AS m ON m.message_id = d.idempotency_key
        GROUP BY d.variant, d.channel ORDER BY d.variant, d.channel
        """,
        {"broadcast": broadcast},
    ).result_rows
    return [VariantResults(str(row[0]), str(row[1]), *map(int, row[2:8])) for row in rows]
