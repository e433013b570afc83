"""The slots in force are followed without reading again what was refused."""

from __future__ import annotations

import pytest

from deploy.collector.slot_rules import FollowedSlots
from deploy.connections.redis import async_redis_client
from deploy.settings import Settings
from schemas.journeys.control import DefinitionsState
from sinks.redis.definitions import RedisDefinitions


async def test_a_version_that_was_refused_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    async def state(_: RedisDefinitions) -> DefinitionsState:
        return DefinitionsState(1, "bad", {})

    async def files(_: RedisDefinitions, version: str) -> dict[str, str]:
        read.append(version)
        return {"no-definitions.txt": ""}

    monkeypatch.setattr(RedisDefinitions, "state", state)
    monkeypatch.setattr(RedisDefinitions, "files", files)
    settings = Settings()
    followed = FollowedSlots(settings, async_redis_client(settings, timeout_s=1))

    for _ in range(3):
        await followed.follow()

    assert (["bad"], None) == (read, followed.rules)
