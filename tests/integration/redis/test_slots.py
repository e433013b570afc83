"""What slots have shown, on the real server: a decision and its ledger row, both or none, and each request once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.exceptions import ConnectionError as RedisDown

from deploy.collector.slot_rules import FollowedSlots
from deploy.connections.redis import async_redis_client
from deploy.operations.definition_bundle import Bundle, read_bundle
from deploy.settings import Settings
from schemas.durations import DAY_MS
from schemas.journeys.control import DefinitionsState, JourneyControl
from schemas.records import Outgoing
from sinks.redis import slots
from sinks.redis.definitions import RedisDefinitions
from sinks.redis.keys import person_prefix
from sinks.redis.outbox import RedisProfileOutbox
from sinks.redis.slots import RedisSlots, Stored

pytestmark = [pytest.mark.integration, pytest.mark.on_cluster]
ANN, NOW = "4ad3f1c0-0000-4000-8000-000000000001", 1_800_000_000_000
ROW = Outgoing("decisions", ANN.encode(), b"{}")


@pytest.fixture
async def store(stack: Settings) -> AsyncIterator[RedisSlots]:
    async with async_redis_client(stack, timeout_s=10) as client:
        yield RedisSlots(client, stack.redis_namespace)


async def test_a_decision_is_stored_with_its_row_once_and_none_that_another_has_overtaken(
    store: RedisSlots, stack: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = await store.read(ANN)
    entry = [NOW, "web", ["slot:a/b"], 0]

    assert Stored.DONE is await store.write(ANN, known, "r1", {"a": 1}, ("k1", entry), [ROW], NOW)
    assert Stored.CHANGED is await store.write(ANN, known, "r2", {"a": 2}, ("k2", entry), [ROW], NOW)
    now = await store.read(ANN)
    assert ({"k1": entry}, {"a": 1}, None) == (now.seen, now.answer("r1", NOW), now.answer("r2", NOW))
    assert now.answer("r1", NOW + slots.ANSWER_MS) is None
    assert Stored.DONE is await store.write(ANN, now, "", {"a": 3}, None, [], NOW)
    assert now.answers == (await store.read(ANN)).answers  # one without an id takes no place among them
    later = NOW + slots.KEPT_MS
    assert Stored.DONE is await store.write(ANN, now, "r3", {}, None, [ROW], later)
    assert {} == (await store.read(ANN)).seen
    async with async_redis_client(stack, timeout_s=10) as client:
        assert 2 == await RedisProfileOutbox(client, stack.redis_namespace).size()
        monkeypatch.setattr(slots, "MAX_WAITING", 2)
        assert Stored.FULL is await store.write(ANN, await store.read(ANN), "r4", {}, None, [ROW], later)
        await client.set(f"{person_prefix(stack.redis_namespace, ANN)}gone:{ANN}", "1")
        assert Stored.GONE is await store.write(ANN, await store.read(ANN), "r5", {}, None, [], later + DAY_MS)


SLOT = "name: banner\ndescription: A test.\nchannel: web\ncandidates: [{name: NAME, recommend: 3}]\n"


async def test_what_is_published_counts_at_once_a_bad_version_is_refused_and_a_pause_is_known(
    stack: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THROUGHLINE_HOME", str(tmp_path / "home"))
    (tmp_path / "slots").mkdir()
    (tmp_path / "slots" / "banner.yaml").write_text(SLOT.replace("NAME", "folder"))
    settings = stack.model_copy(update={"definitions_dir": tmp_path})
    files = dict(read_bundle(settings).files)
    async with async_redis_client(stack, timeout_s=10) as client:
        store, followed = RedisDefinitions(client, stack.redis_namespace), FollowedSlots(settings, client)

        def shown() -> str:
            assert followed.rules is not None
            return followed.rules.decider.slots["banner"].candidates[0].name

        async def publish(number: int, text: str, journeys: dict[str, JourneyControl]) -> None:
            bundle = Bundle({**files, "slots/banner.yaml": text})
            state = DefinitionsState(number, bundle.version, journeys)
            assert await store.change(number - 1, state, dict(bundle.files))
            await followed.follow()

        await followed.follow()
        assert "folder" == shown()
        await publish(1, SLOT.replace("NAME", "published"), {})
        assert "published" == shown()
        await publish(2, SLOT.replace("recommend", "recommends"), {"news": JourneyControl("paused", 1)})
        assert "published" == shown()
        assert followed.rules is not None
        assert "paused" == followed.rules.controls["news"].state
        await publish(3, SLOT.replace("NAME", "mended"), {})
        assert "mended" == shown()

        async def away() -> DefinitionsState:
            raise RedisDown("away")

        monkeypatch.setattr(RedisDefinitions, "state", lambda _: away())
        await followed.follow()
        assert "mended" == shown()
