"""Refusals of whole requests, and the JSON answers of the collector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web


class RefusedError(Exception):
    """A whole request is refused.

    Attributes:
        status: The HTTP status.
        code: For programs.
        message: For people: what is wrong and what to do.
        retry_after_s: Pause before the same request may be sent again, in seconds; 0: it will be refused again.
    """

    def __init__(self, status: int, code: str, message: str, retry_after_s: int = 0) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s


def refusal_answer(status: int, code: str, message: str, retry_after_s: int = 0) -> web.Response:
    """Return the answer to a refused request."""
    response = json_answer(status, {"success": False, "code": code, "message": message})
    if retry_after_s:
        response.headers["Retry-After"] = str(retry_after_s)
    return response


def http_refusal(request: web.BaseRequest, refused: web.HTTPException) -> web.Response:
    """Return the answer to a request that aiohttp refuses: no such path, another method, an unknown `Expect`."""
    code = refused.reason.lower().replace(" ", "_")
    response = refusal_answer(refused.status, code, f"{request.method} {request.path}: {refused.reason}.")
    if "Allow" in refused.headers:
        response.headers["Allow"] = refused.headers["Allow"]
    return response


def json_answer(status: int, answer: Mapping[str, Any]) -> web.Response:
    """Return an answer with a JSON object."""
    return web.Response(status=status, body=orjson.dumps(answer), content_type="application/json")
