"""At the limit of open files the log has one line a minute, and every other error is reported as ever."""

from __future__ import annotations

import asyncio
import errno
import logging
import resource
from typing import Any

import pytest

from deploy.collector.open_files import OPEN_FILES, AcceptErrors, raise_limit


class Loop(asyncio.SelectorEventLoop):
    """An event loop that keeps what its default handler is given."""

    def __init__(self) -> None:
        super().__init__()
        self.handled: list[dict[str, Any]] = []

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.handled.append(context)


@pytest.fixture
def loop() -> Any:
    found = Loop()
    yield found
    found.close()


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE])
def test_a_thousand_refused_connections_are_one_line(loop: Loop, caplog: pytest.LogCaptureFixture, code: int) -> None:
    handler = AcceptErrors(256)
    with caplog.at_level(logging.WARNING):
        for _ in range(1_000):
            handler(loop, {"message": "socket.accept() out of system resource", "exception": OSError(code, "Too many")})

    assert ["no new connection is accepted: Too many; the limit of open files is 256"] == caplog.messages
    assert [] == loop.handled


def test_listening_again_after_the_end_is_no_error(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    message = "Exception in callback BaseSelectorEventLoop._start_serving(<aiohttp.web_...>)"
    AcceptErrors(256)(loop, {"message": message, "exception": ValueError("Invalid file descriptor: -1")})

    assert ([], []) == (caplog.messages, loop.handled)


@pytest.mark.parametrize("error", [ValueError("x"), OSError(errno.ECONNRESET, "reset"), None])
def test_another_error_is_reported_each_time(loop: Loop, error: Exception | None) -> None:
    handler, context = AcceptErrors(256), {"message": "x", "exception": error}
    handler(loop, context)
    handler(loop, context)

    assert [context, context] == loop.handled


def test_the_limit_is_raised_as_far_as_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: asked.append(limits))

    def raised(soft: int, hard: int) -> int:
        monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
        return raise_limit()

    assert [OPEN_FILES, 4_096, 100_000, OPEN_FILES] == [
        raised(1_024, 1_000_000), raised(1_024, 4_096), raised(100_000, 1_000_000),
        raised(1_024, resource.RLIM_INFINITY),
    ]  # fmt: skip
    assert [(OPEN_FILES, 1_000_000), (4_096, 4_096), (OPEN_FILES, resource.RLIM_INFINITY)] == asked


def test_a_system_that_gives_no_more_files_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ValueError

    monkeypatch.setattr(resource, "getrlimit", lambda _: (1_024, 4_096))
    monkeypatch.setattr(resource, "setrlimit", refuse)

    assert 1_024 == raise_limit()
