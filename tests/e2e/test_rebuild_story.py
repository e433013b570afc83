"""Redis is lost with all its people, and made again from ClickHouse and Kafka: everybody is who they were."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgpack
import pytest
from redis import Redis
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.demo.simulator import Options, Simulation
from deploy.settings import Settings
from sinks.redis.deduplication import UNKNOWN_ORIGIN
from sinks.redis.keys import patterns
from tests.e2e.test_identity_operations import replay
from tests.support.builders import touchpoint
from tests.support.pipeline import Pipeline, environment
from tests.support.redis_contents import contents, differences

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

PEOPLE = 40
NOT_REBUILT = (
    "workers", "identify:refused", "erased:letters", "segments:", "timers:lease", "identity:relay", "outbox:relay",
    "recommend", "profiles:changed", "applied:", "gone:", "absorbed:", "shard",
)  # fmt: skip
"""Says nothing about people, is made anew, or is in `marks:` after a rebuild; `erased:letters` is in no table."""


def live(found: dict[str, Any], profile_id: bytes) -> bytes:
    while onward := found.get(f"alias:{profile_id.decode()}"):
        profile_id = onward
    return profile_id


def comparable(found: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is allowed to differ: times of entries that expire or rank, and the answer to a former price."""
    kept: dict[str, Any] = {}
    for name, content in found.items():
        if name.startswith(NOT_REBUILT) or content == 0:  # 0: an empty outbox
            continue
        if name.startswith("watch:"):  # an id of before a merge is as good as the present one
            content = {live(found, member) for member, _ in content}
        elif name == "erased:anchors":
            content = [member for member, _ in content]
        elif name.startswith("product_facts:"):
            content = {field: msgpack.unpackb(packed)[0][:3] for field, packed in content.items()}
        elif name.startswith("delivered:"):
            content = content[b"state"]
        elif name.startswith("marks:"):  # who applied an event is noted in shards before, and here after a rebuild;
            # so are the events that follow from a price, which `identify` never sees.
            marks = {field: mark.removesuffix(b"!") if len(mark) % 2 else mark for field, mark in content.items()}
            content = {field: mark for field, mark in marks.items() if mark != UNKNOWN_ORIGIN}
        elif name.startswith("profile:"):
            content = {field: value for field, value in content.items() if field != b"former"}
        kept[name] = content
    return kept


def said(name: str, who: str, **fields: Any) -> dict[str, Any]:
    """An event of now."""
    now = datetime.now(UTC).isoformat()
    return touchpoint(name, identifiers={"email": f"{who}@shop.example"}, occurred_at=now, **fields)


def joins(who: str) -> dict[str, Any]:
    return said("Identify", who, consent={"marketing": True, "channels": {"email": True}})


def fills(who: str, product: str = "lamp") -> dict[str, Any]:
    about = {"cart_id": f"cart of {who}", "product_id": product, "name": "Lamp", "price": "49.90", "currency": "EUR"}
    return said("Product Added", who, properties=about)


def run(*arguments: str) -> Any:
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert 0 == result.exit_code, result.stderr
    return json.loads(result.stdout)


def stop(pipeline: Pipeline, *roles: str) -> None:
    for role in roles:
        pipeline.workers[role].terminate()
    for role in roles:
        pipeline.workers[role].stop(10)


def rebuild_and_kill(settings: Settings, home: Path, line: str) -> None:
    """Run the command and end it at once when it has said something."""
    arguments = [sys.executable, "-m", "deploy.cli.main", "rebuild"]
    variables = {**environment(settings), "THROUGHLINE_HOME": str(home)}
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, env=variables) as command:
        assert command.stderr is not None
        for said_line in command.stderr:
            if line in said_line:
                command.kill()
                break
    assert -9 == command.returncode


def lost(settings: Settings, client: Redis) -> None:
    for pattern in patterns(settings.redis_namespace):
        for key in list(client.scan_iter(match=pattern, count=1000)):
            client.unlink(key)


def test_a_lost_redis_is_made_again_as_it_was(stack: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.settings.settings", lambda: stack)
    monkeypatch.setenv("THROUGHLINE_HOME", str(tmp_path))
    decided = "SELECT idempotency_key, decided_at, outcome FROM decisions FINAL ORDER BY ALL"
    with Pipeline(stack, tmp_path) as pipeline, Redis.from_url(stack.redis_url) as client:
        pipeline.publish_lines(Simulation(Options(people=PEOPLE)).lines())
        pipeline.publish(*(joins(who) for who in ("ann", "ben", "cem", "dana")))
        pipeline.drain(180)
        together = {"email": "ann@shop.example", "phone": "+14155552671"}
        pipeline.publish(touchpoint("Identify", identifiers=together), fills("ben"), fills("ann"), joins("eve"))
        pipeline.drain()
        run("identity", "unmerge", "phone:+14155552671", "--yes")
        run("identity", "erase", "email:dana@shop.example", "--yes")
        pipeline.drain()
        stop(pipeline, "profile")
        pipeline.publish(fills("cem", "kettle"))  # which no profile has when Redis is lost
        pipeline.wait(lambda: not pipeline.behind("identify") + pipeline.behind("record"))
        stop(pipeline, "identify", "record", "deliver")
        before = contents(client, stack.redis_namespace)
        decisions, events = pipeline.rows(decided), pipeline.value("SELECT count() FROM touchpoints FINAL")
        refused = CliRunner().invoke(app, ["rebuild"])
        lost(stack, client)

        rebuild_and_kill(stack, tmp_path, "changes of identity")
        rebuild_and_kill(stack, tmp_path, "events marked as seen")
        made = run("rebuild")
        after = contents(client, stack.redis_namespace)

        assert (1, True) == (refused.exit_code, "--wipe" in refused.stderr)
        # Of an erased person nothing is left in ClickHouse that would mark their events; they are suppressed.
        found = differences(comparable(before), comparable(after))
        assert (None, 1) == (
            found["watch:kettle"][0],
            len(found.pop("watch:kettle")[1]),
        )  # by the event that no profile has
        assert {} == {name: both for name, both in found.items() if not name.startswith("marks:")}
        marks = [mark for both in found.values() for mark in both[0].keys() - both[1].keys()]
        changed = [name for name, (was, now) in found.items() if {f: was[f] for f in now if f in was} != now]
        assert ([], 1) == (changed, len(marks))
        assert made["profiles"] == sum(name.startswith("profile:") for name in before) > PEOPLE

        for role in ("identify", "profile", "record", "deliver"):
            pipeline.start(role)
        pipeline.publish(fills("ben", "sofa"))
        pipeline.drain(180)
        assert (events + 1, decisions) == (
            pipeline.value("SELECT count() FROM touchpoints FINAL"),
            pipeline.rows(decided),
        )
        assert [2, 2] == [
            run("profile", "show", f"email:{who}@shop.example")["event_count"] - extra
            for who, extra in (("cem", 0), ("ben", 1))
        ]
        waiting = {
            row[0]
            for row in pipeline.rows(
                "SELECT profile_id FROM v_journey_events WHERE kind = 'journey_entered'"
                " AND journey = 'cart_abandonment'"
            )
        }
        assert {run("profile", "show", f"email:{who}@shop.example")["profile_id"] for who in ("ann", "ben", "cem")} <= {
            str(one) for one in waiting
        }

        # Whatever is read from the beginning again is known.
        stop(pipeline, "identify", "profile", "record", "deliver")
        replay(stack)
        for role in ("identify", "profile", "record", "deliver"):
            pipeline.start(role)
        pipeline.drain(240)
        assert (events + 1, decisions) == (
            pipeline.value("SELECT count() FROM touchpoints FINAL"),
            pipeline.rows(decided),
        )
        assert 0 == pipeline.value("SELECT sum(difference) FROM v_accounting")
        assert 0 == pipeline.value("SELECT count() FROM v_profile_accounting WHERE counted != stored")
