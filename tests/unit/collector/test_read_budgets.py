"""Bodies of each kind of sender have a share of memory of their own while they are read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from aiohttp import web

from deploy.collector import body
from deploy.collector.authentication import Authenticator, WriteKeys
from deploy.collector.body import ANONYMOUS, WEBHOOK, Reader
from deploy.collector.refusal import RefusedError


class Post:
    """A request with a body of ten bytes."""

    content_length = 10

    def __init__(self, **headers: str) -> None:
        self.headers = headers
        self.content = self

    async def iter_any(self) -> AsyncIterator[bytes]:
        yield b"0123456789"


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Reader:
    """A reader with memory for one such body of each kind."""
    monkeypatch.setattr(body, "MAX_BUFFERED_BYTES", dict.fromkeys(body.MAX_BUFFERED_BYTES, 15))
    return Reader(Authenticator(WriteKeys("", {}), {}), 1000, trusts_proxy=False)


@pytest.mark.parametrize(
    ("first", "second", "refused"),
    [
        pytest.param(ANONYMOUS, WEBHOOK, False, id="a webhook beside SDKs without a key in their head"),
        pytest.param(WEBHOOK, ANONYMOUS, False, id="an SDK beside webhooks"),
        pytest.param(WEBHOOK, WEBHOOK, True, id="too many webhooks"),
        pytest.param(ANONYMOUS, ANONYMOUS, True, id="too many requests without a key in their head"),
    ],
)
def test_only_senders_of_the_same_kind_take_memory_from_each_other(
    reader: Reader, first: str, second: str, refused: bool
) -> None:
    async def both() -> bytes:
        async with reader.raw(_request(), first), reader.raw(_request(), second) as raw:
            return raw

    if refused:
        with pytest.raises(RefusedError, match="Too much is being read at once"):
            asyncio.run(both())
    else:
        assert b"0123456789" == asyncio.run(both())


def test_memory_is_free_again_when_a_body_was_refused(reader: Reader) -> None:
    async def one_after_the_other() -> bytes:
        for encoding in ("gzip", "br"):
            with pytest.raises(RefusedError):
                async with reader.raw(_request(**{"Content-Encoding": encoding}), WEBHOOK):
                    pass
        async with reader.raw(_request(), WEBHOOK) as raw:
            return raw

    assert b"0123456789" == asyncio.run(one_after_the_other())


def _request(**headers: str) -> web.Request:
    return cast("Any", Post(**headers))  # type: ignore[no-any-return]
