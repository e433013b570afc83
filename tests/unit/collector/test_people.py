"""Reads of live profiles while Redis takes connections and answers nothing."""

from __future__ import annotations

import asyncio
import logging

import pytest

from deploy.collector import people
from deploy.collector.people import LivePeople
from deploy.collector.refusal import RefusedError
from deploy.settings import Settings


async def test_reads_give_up_their_turn_and_one_line_is_logged_while_redis_is_silent(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(people, "TIMEOUT_S", 0.2)
    monkeypatch.setattr(people, "ANSWER_WITHIN_S", 0.3)
    monkeypatch.setattr(people, "CONCURRENT_READS", 1)
    connections: list[asyncio.StreamWriter] = []

    async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        found = LivePeople(Settings(redis_url=f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"))
        with caplog.at_level(logging.INFO, people.__name__):
            answers = await asyncio.gather(*(found.find([bytes(16)]) for _ in range(8)), return_exceptions=True)
        for writer in connections:
            writer.close()

    assert [(RefusedError, 503)] * 8 == [(type(one), getattr(one, "status", 0)) for one in answers]
    assert (True, 1) == (len(connections) < 8, len(caplog.records))
