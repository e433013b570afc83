"""The audit log: who did what, to whom or what, when, and how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

from sinks.clickhouse.client import without_deduplication

Outcome = Literal["done", "failed", "refused"]
Via = Literal["console", "cli"]


class Act(NamedTuple):
    """One act of a person on the deployment.

    Attributes:
        act_id: Names it: the same act stored again replaces itself.
        acted_at: When.
        actor: Who.
        via: Where from.
        act: What, a verb.
        subject: On whom or what: a profile id, the name of a journey or a segment; never an address.
        outcome: How it ended.
        detail: More, in words; never an address.
    """

    act_id: str
    acted_at: datetime
    actor: str
    via: Via
    act: str
    subject: str
    outcome: Outcome
    detail: str


def insert_acts(client: Any, acts: Sequence[Act]) -> None:
    """Store acts."""
    if acts:
        client.insert("audit_log", acts, column_names=Act._fields, settings=without_deduplication())


def read_acts(client: Any, *, subject: str = "", limit: int = 100) -> list[Act]:
    """Read the last acts, newest first.

    Args:
        client: Of the deployment's database, as `sinks.clickhouse.client.connect` opens it.
        subject: Only those on this person, journey or segment; empty: all.
        limit: Most acts.
    """
    rows = client.query(
        """
        SELECT toString(act_id), acted_at, actor, via, act, subject, outcome, detail
        FROM v_audit_log
        WHERE {subject:String} IN ('', subject)
        ORDER BY acted_at DESC, act_id
        LIMIT {limit:UInt32}
        """,
        parameters={"subject": subject, "limit": limit},
    ).result_rows
    return [Act(*row) for row in rows]
