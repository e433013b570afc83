"""An act is on record, also one that happened while ClickHouse was down."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from deploy.operations.audit import AuditTrail
from deploy.settings import Settings
from schemas.time import utc
from sinks.clickhouse.client import connect
from tests.support.databases import create_database

pytestmark = pytest.mark.integration


def test_an_act_waits_for_clickhouse_and_a_line_that_was_cut_off_loses_no_other(
    stack: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    create_database(stack.clickhouse_url, stack.clickhouse_database)
    down = AuditTrail(stack.model_copy(update={"clickhouse_url": "http://127.0.0.1:9"}), tmp_path, "console")
    waited = [down.note("ann", "pause", "winback", "done"), down.note("ann", "resume", "winback", "done")]
    with (tmp_path / "audit-waiting.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"id": "cut of')  # as by a power cut

    with caplog.at_level(logging.ERROR):
        stored = AuditTrail(stack, tmp_path, "console").note("bob", "stop", "winback", "refused")
        AuditTrail(stack, tmp_path, "console").note("bob", "export", "vip", "done")

    client = connect(stack.clickhouse_url, stack.clickhouse_database)
    try:
        rows = client.query("SELECT actor, act, outcome, acted_at FROM audit_log ORDER BY acted_at, act").result_rows
    finally:
        client.close()
    assert [("ann", "pause"), ("ann", "resume"), ("bob", "stop"), ("bob", "export")] == [row[:2] for row in rows]
    assert [one.acted_at for one in (*waited, stored)] == [utc(row[3]) for row in rows[:3]]
    assert 1 == sum("is no act" in one.message for one in caplog.records)
