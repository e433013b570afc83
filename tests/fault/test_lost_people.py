"""Redis is emptied under load: no event gets another person, and after a rebuild everything goes on."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.settings import Settings
from sinks.redis.keys import patterns
from tests.support.builders import touchpoint
from tests.support.pipeline import Pipeline

pytestmark = [pytest.mark.fault, pytest.mark.timeout(600)]

PEOPLE = 30
GUARDED = ("identify", "profile")
PERSONS = """
    SELECT count(), uniqExact(event_id), uniqExact(profile_id),
        uniqExact(profile_id, JSONExtractString(properties, 'who'))
    FROM v_touchpoints
"""


class Shop:
    """Publishes views of the same people again and again."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.published = 0

    def visit(self, rounds: int, pause_s: float = 0.0) -> None:
        for _ in range(rounds):
            self.pipeline.publish(*(self._view(number) for number in range(PEOPLE)))
            time.sleep(pause_s)

    def _view(self, number: int) -> dict[str, Any]:
        self.published += 1
        who = f"person-{number}@shop.example"
        return touchpoint(event_id=f"e{self.published}", identifiers={"email": who}, properties={"who": who})


def empty(settings: Settings) -> None:
    """Delete everything of a deployment at once, as FLUSHALL does for a server."""
    with redis.Redis.from_url(settings.redis_url) as client:
        script = """
        for _, pattern in ipairs(ARGV) do
          for _, key in ipairs(redis.call('KEYS', pattern)) do redis.call('UNLINK', key) end
        end
        """
        client.eval(script, 0, *patterns(settings.redis_namespace))


def test_nobody_becomes_another_person(stack: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.settings.settings", lambda: stack)
    monkeypatch.setenv("THROUGHLINE_HOME", str(tmp_path))
    with Pipeline(stack, tmp_path) as pipeline:
        shop = Shop(pipeline)
        shop.visit(2)
        pipeline.drain()
        shop.visit(10, 0.1)
        profile = psutil.Process(pipeline.workers["profile"].pid)
        profile.suspend()  # so that it has events to apply when Redis is emptied, which is when it notices
        shop.visit(1)
        pipeline.wait(lambda: not pipeline.behind("identify"))
        empty(stack)
        profile.resume()
        shop.visit(10, 0.1)
        codes = [pipeline.workers[role].wait(60) for role in GUARDED]
        logs = [pipeline.workers[role].last_log_lines(60) for role in GUARDED]
        again = pipeline.start("identify")
        refused = again.wait(60)
        why = again.last_log_lines(5)
        pipeline.workers["deliver"].stop(10)
        rebuilt = CliRunner().invoke(app, ["rebuild", "--wipe"])
        for role in (*GUARDED, "deliver"):
            pipeline.start(role)
        shop.visit(2)
        pipeline.drain(180)
        found = pipeline.rows(PERSONS)
        differences = pipeline.value("SELECT sum(difference) FROM v_accounting")
        miscounted = pipeline.rows("SELECT * FROM v_profile_accounting WHERE counted != stored")

    assert [1, 1] == codes
    assert [True, True] == ["throughline rebuild" in log for log in logs]
    assert (1, True) == (refused, "throughline rebuild" in why)
    assert 0 == rebuilt.exit_code, rebuilt.stderr
    assert [(shop.published, shop.published, PEOPLE, PEOPLE)] == found
    assert (0, []) == (differences, miscounted)
