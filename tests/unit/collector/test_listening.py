"""What the collector listens at: a socket that it was started with, else its own."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator

import pytest
from aiohttp import web

from deploy.collector import listening
from deploy.local.ports import LOOPBACK, free_port, listen
from deploy.settings import Settings


@pytest.fixture
def runner() -> web.AppRunner:
    """A collector's runner that answers nothing."""
    return web.AppRunner(web.Application())


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A listening socket that this process was started with."""
    with listen(LOOPBACK, free_port()) as listener:
        descriptor = os.dup(listener.fileno())
        monkeypatch.setattr(listening, "passed_descriptors", lambda: [descriptor])
        yield listener


def names(runner: web.AppRunner, settings: Settings) -> list[str]:
    """The addresses that a collector listens at once it has started."""

    async def started() -> list[str]:
        await runner.setup()
        found = listening.sites(runner, settings.collector_url)
        for site in found:
            await site.start()
        addresses = [site.name for site in found]
        await runner.cleanup()
        return addresses

    return asyncio.run(started())


def test_a_socket_that_was_passed_comes_before_the_address_of_the_settings(
    runner: web.AppRunner, passed: socket.socket
) -> None:
    url = f"http://{LOOPBACK}:{free_port()}"

    assert [f"http://{LOOPBACK}:{passed.getsockname()[1]}"] == names(runner, Settings(collector_url=url))


def test_without_one_it_listens_at_the_address_of_the_settings(runner: web.AppRunner) -> None:
    url = f"http://{LOOPBACK}:{free_port()}"

    assert [url] == names(runner, Settings(collector_url=url))


def test_a_descriptor_that_is_no_listening_socket_is_named_with_what_to_do(
    runner: web.AppRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, writing = os.pipe()
    monkeypatch.setattr(listening, "passed_descriptors", lambda: [reading])

    with pytest.raises(
        OSError, match=f"descriptor {reading} of LISTEN_FDS is no listening socket: write ListenStream="
    ):
        names(runner, Settings())
    for descriptor in (reading, writing):
        os.close(descriptor)
