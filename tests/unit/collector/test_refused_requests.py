"""Whatever is refused before any route is answered in the form of all other refusals."""

from __future__ import annotations

import asyncio

import orjson
import pytest
from aiohttp import web

from deploy.collector.protocol import JsonRunner
from deploy.local.ports import LOOPBACK, free_port, listen


async def answer_to(request: bytes) -> tuple[bytes, bytes]:
    """Send bytes to a server of one route; return head and body of the answer."""
    app = web.Application()
    app.router.add_post("/taken", _taken)
    runner = JsonRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    listener = listen(LOOPBACK, free_port())
    await web.SockSite(runner, listener).start()
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    writer.write(request)
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await runner.cleanup()
    return head, body


async def _taken(_: web.Request) -> web.Response:
    raise AssertionError("no test calls it")


@pytest.mark.parametrize(
    ("request_bytes", "status", "code"),
    [
        pytest.param(b"nonsense\r\n\r\n", 400, "bad_request", id="no request line"),
        pytest.param(b"POST /taken HTTP/x\r\n\r\n", 400, "bad_request", id="a version that is none"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "bad_request", id="TLS"),
        pytest.param(b"POST /taken HTTP/1.1\r\nHost\r\n\r\n", 400, "bad_request", id="a header without a value"),
        pytest.param(
            b"POST /taken HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 20_000 + b"\r\n\r\n", 400, "bad_request",
            id="a header that is too long",
        ),
        pytest.param(
            b"POST /taken HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400, "bad_request", id="a length of text"
        ),
        pytest.param(
            b"POST /none HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 404, "not_found", id="no such path"
        ),
        pytest.param(
            b"GET /taken HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 405, "method_not_allowed",
            id="another method",
        ),
        pytest.param(
            b"POST /taken HTTP/1.1\r\nHost: a\r\nExpect: a miracle\r\nConnection: close\r\n\r\n", 417,
            "expectation_failed", id="an expectation that nobody knows",
        ),
    ],
)  # fmt: skip
def test_the_answer_is_json_with_code_and_message(request_bytes: bytes, status: int, code: str) -> None:
    head, body = asyncio.run(answer_to(request_bytes))
    answer = orjson.loads(body)

    assert head.startswith((f"HTTP/1.1 {status} ".encode(), f"HTTP/1.0 {status} ".encode()))
    assert b"content-type: application/json" in head.lower()
    assert (False, code) == (answer["success"], answer["code"])
    assert answer["message"].endswith(".")
    assert "\n" not in answer["message"]


def test_another_method_is_told_which_there_are() -> None:
    head, _ = asyncio.run(answer_to(b"GET /taken HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"))

    assert b"\r\nAllow: POST\r\n" in head


def test_the_answer_does_not_quote_a_key_of_the_request() -> None:
    _, body = asyncio.run(answer_to(b"GET /x?writeKey=secret HTTP/1.1\r\nBad Header\r\nAuthorization: secret\r\n\r\n"))

    assert b"secret" not in body
