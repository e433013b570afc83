"""ClickHouse and Redis are wiped, restored and rebuilt: every event is there once, and nobody is written to again."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from redis import Redis
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.settings import Settings
from sinks.clickhouse.client import connect
from tests.e2e.test_identity_operations import replay
from tests.e2e.test_rebuild_story import fills, joins, lost, run, stop
from tests.support.builders import order, touchpoint
from tests.support.pipeline import Pipeline

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

WORKERS = ("identify", "profile", "record", "deliver")
FACTS = {
    "events": "SELECT source, event_id, toString(profile_id) FROM v_touchpoints ORDER BY ALL",
    "money": "SELECT conversion_id, revenue FROM v_conversions ORDER BY ALL",
    "decisions": "SELECT idempotency_key, decided_at, outcome FROM decisions FINAL ORDER BY ALL",
    "letters": "SELECT topic, partition, offset FROM dead_letters FINAL ORDER BY ALL",
    "difference": "SELECT sum(abs(difference)) FROM v_accounting",
    "profiles": "SELECT toString(profile_id), stored, counted FROM v_profile_accounting ORDER BY ALL",
}


def facts(pipeline: Pipeline) -> dict[str, Any]:
    return {name: pipeline.rows(query) for name, query in FACTS.items()}


def refused(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["restore", *arguments])
    assert 1 == result.exit_code
    return result.stderr.replace("\n", " ")


def test_everything_is_wiped_and_comes_back_once(
    stack: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = stack.model_copy(update={"session_timeout_s": 10})
    monkeypatch.setattr("deploy.settings.settings", lambda: stack)
    monkeypatch.setenv("THROUGHLINE_HOME", str(tmp_path))
    name, whose = f"backup-{secrets.token_hex(4)}", [f"nr{number}" for number in range(8)]
    with Pipeline(stack, tmp_path) as pipeline, Redis.from_url(stack.redis_url) as client:
        pipeline.publish(*(joins(who) for who in whose), touchpoint("Page Viewed", occurred_at="never"))
        pipeline.publish(*(fills(who) for who in whose[:4]), order("o1", identifiers={"email": "nr1@shop.example"}))
        pipeline.drain(180)
        made = run("backup", name)
        pipeline.publish(*(fills(who, "sofa") for who in whose[2:6]), joins("late"))
        pipeline.publish(order("o2", "40.00", identifiers={"email": "late@shop.example"}))
        pipeline.drain(180)
        before = facts(pipeline)
        assert (len(before["events"]) - 6, [(0,)]) == (made["events"], before["difference"])

        stop(pipeline, *WORKERS)
        kept, missing = refused(name), refused("no-such-backup", "--replace")
        with monkeypatch.context() as other:
            secret = stack.model_copy(update={"identity_secret": SecretStr("another secret")})
            other.setattr("deploy.settings.settings", lambda: secret)
            foreign = refused(name, "--replace")
        assert "--replace deletes" in kept
        assert "no-such-backup" in missing
        assert "another THROUGHLINE_IDENTITY_SECRET" in foreign
        assert before == facts(pipeline)

        with connect(stack.clickhouse_url) as server:
            server.command(f"DROP DATABASE {stack.clickhouse_database} SYNC")
        lost(stack, client)
        found = run("restore", name)
        assert (made["events"], 0, 0) == (found["events"], found["lost"], found["snapshots"])
        pipeline.start("record")
        pipeline.wait(lambda: not pipeline.behind("record"))
        assert before["events"] == pipeline.rows(FACTS["events"])
        run("rebuild")
        for role in WORKERS:
            if role != "record":
                pipeline.start(role)
        pipeline.drain(240)
        assert before == facts(pipeline)

        # What Kafka still has is taken no second time, from the beginning too.
        stop(pipeline, *WORKERS)
        replay(stack)
        for role in WORKERS:
            pipeline.start(role)
        pipeline.publish(fills("nr7", "lamp"))
        pipeline.drain(240)
        after = facts(pipeline)
        assert (len(before["events"]) + 1, before["money"], before["decisions"], [(0,)]) == (
            len(after["events"]),
            after["money"],
            after["decisions"],
            after["difference"],
        )
        assert [] == [row for row in after["profiles"] if row[1] != row[2]]
