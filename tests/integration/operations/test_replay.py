"""A replay on purpose: profiles are those of their events again, nothing is sent, and the account closes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import orjson
import pytest
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.operations import replay as replaying
from deploy.operations.deployment import Deployment
from deploy.operations.lag import LagReader
from deploy.operations.replay import ReplayAccount, ReplayOrder, ReplayProgress, replay
from deploy.settings import Settings
from processors.decisions.engine import DecisionEngine
from schemas.decisions.policy import MessagePolicy
from schemas.segments.definitions import SegmentDefinitions
from schemas.topics import ACTIONS, DECISIONS
from sinks.redis.broadcasts import RedisBroadcasts
from sinks.redis.definitions import RedisDefinitions
from sinks.redis.erasures import RedisErasures
from sinks.redis.keys import person_prefix
from sinks.redis.outbox import RedisProfileOutbox
from sinks.redis.packing import unpack
from sinks.redis.segment_backfill import RedisSegmentBackfill
from tests.support.builders import DAY_ONE, at, touchpoint
from tests.support.in_process_pipeline import Town, town
from tests.support.stories import NO_HOLDOUT, simple

pytestmark = pytest.mark.integration

POLICY = MessagePolicy(holdout=NO_HOLDOUT, quiet_hours={})
DECIDER = DecisionEngine(SegmentDefinitions(), (simple("  - {message: hello, channel: email}"),), POLICY)
ORDER = ReplayOrder(DAY_ONE + timedelta(days=16), DAY_ONE + timedelta(days=17), ("shop", "till"))
PEOPLE = 5


class _NoLag:
    def lags(self) -> list[Any]:
        return []


@pytest.fixture
async def here(stack: Settings) -> AsyncIterator[Town]:
    async with town(stack, decider=DECIDER) as found:
        for number in range(PEOPLE):
            who = {"email": f"nr{number}@shop.example"}
            consent = {"marketing": True, "channels": {"email": True}}
            await found.live(
                touchpoint("Signed Up", identifiers=who, source="shop", occurred_at=at(days=16.9), consent=consent),
                touchpoint("Product Viewed", identifiers=who, source="till", occurred_at=at(days=16.5)),
                touchpoint("Product Viewed", identifiers=who, source="other", occurred_at=at(days=16.5)),
                touchpoint("Product Viewed", identifiers=who, source="shop", occurred_at=at(days=9)),
            )
        await found.live(
            touchpoint("Stock Changed", "api", identifiers={}, source="shop", occurred_at=at(days=16.8),
                       properties={"product_id": "p1", "quantity": 3}),
        )  # fmt: skip
        yield found


def deployment(stack: Settings, here: Town) -> Deployment:
    return Deployment(
        settings=stack,
        policy=here.policy,
        identities=here.identities,
        profiles=here.profiles,
        erasures=RedisErasures(here.redis, stack.redis_namespace),
        broadcasts=RedisBroadcasts(here.redis, stack.redis_namespace),
        backfills=RedisSegmentBackfill(here.redis, stack.redis_namespace),
        definitions=RedisDefinitions(here.redis, stack.redis_namespace),
        outbox=RedisProfileOutbox(here.redis, stack.redis_namespace),
        tables=here.tables.client,
        lags=cast("LagReader", _NoLag()),
    )


async def documents(here: Town) -> list[dict[str, Any]]:
    found = []
    for number in range(PEOPLE):
        stored = await here.profiles.get(await here.owner("email", f"nr{number}@shop.example"))
        assert stored is not None
        found.append(orjson.loads(stored.document or b"{}"))
    return found


async def messages(here: Town, stack: Settings) -> int:
    pending = await RedisProfileOutbox(here.redis, stack.redis_namespace).pending(10_000)
    return sum(record.topic in (ACTIONS, DECISIONS) for _, record in pending)


async def test_profiles_that_lost_something_are_whole_again_and_nobody_is_written_to(
    here: Town, stack: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replaying, "PEOPLE_A_STEP", 2)
    before, sent = await documents(here), await messages(here, stack)
    for number in range(PEOPLE):
        person = await here.owner("email", f"nr{number}@shop.example")
        key = f"{person_prefix(here.namespace, person)}profile:{person}"
        packed: Any = await here.redis.hget(key, "document")
        document = orjson.loads(unpack(packed))
        lacking = orjson.dumps({**document, "event_count": 1, "events": {}})
        await here.redis.hset(key, mapping={"document": lacking})
    erased = await here.owner("email", "nr0@shop.example")
    await here.identities.erase(here.identifier_hash("email", "nr0@shop.example"), 1)
    await here.profiles.erase(erased)
    progress, waits = ReplayProgress(tmp_path, ORDER), list[float]()

    class BrokenOffError(Exception):
        """The process dies after its first step."""

    async def die(_: float) -> None:
        raise BrokenOffError

    async def wait(seconds: float) -> None:
        waits.append(seconds)

    options: dict[str, Any] = {"people_a_second": 0.5, "timeout_s": 1, "clock": lambda: 0.0}
    with pytest.raises(BrokenOffError):
        await replay(deployment(stack, here), ORDER, DECIDER, progress, sleep=die, **options)
    seen: list[int] = []
    account = await replay(
        deployment(stack, here),
        ORDER,
        DECIDER,
        progress,
        sleep=wait,
        report=lambda one: seen.append(one.people),
        **options,
    )

    assert sent > 0
    assert sent == await messages(here, stack)
    assert ReplayAccount(events=10, replayed=8, gone=2, people=4, unowned=1) == account
    assert 0 == account.difference
    assert (2, [4.0, 2.0]) == (len(seen), waits)  # it went on with the third person, two a step, one in two seconds
    again = {one["profile_id"]: one for one in before[1:]}
    for number in range(1, PEOPLE):
        stored = await here.profiles.get(await here.owner("email", f"nr{number}@shop.example"))
        assert stored is not None
        document = orjson.loads(stored.document or b"{}")
        assert again[document["profile_id"]] == document
    assert progress.read() is None


@pytest.mark.parametrize("into", ["messages", "journeys", "everything"])
def test_there_is_no_effect_that_sends(into: str) -> None:
    result = CliRunner().invoke(app, ["replay", "--from", "2026-01-01", "--to", "2026-01-02", "--into", into])

    assert 2 == result.exit_code
    assert (into != "everything") == ("a replay sends" in " ".join(result.stderr.replace("│", " ").split()))


def test_progress_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    progress = ReplayProgress(tmp_path, ORDER)
    progress.write("p1", ReplayAccount(events=3, replayed=3))
    read = progress.read()
    (tmp_path / "replays" / f"{ORDER.name}.json").write_text(json.dumps({"after": 1}))

    assert ("p1", ReplayAccount(events=3, replayed=3)) == read
    assert progress.read() is None
    assert ORDER.name != ReplayOrder(ORDER.start, datetime(2027, 1, 1, tzinfo=UTC)).name
