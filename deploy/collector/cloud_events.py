"""CloudEvents 1.0 over HTTP, at `/v1/touchpoints`: structured, as a batch, and binary with `ce-…` headers."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from deploy.collector.body import Request
from deploy.collector.refusal import RefusedError
from processors.intake.cloud_events import BATCH, attributes_of_http, is_structured, not_json, unknown_format
from schemas.outcomes import Reject


def json_text(request: web.Request, raw: bytes, _: int) -> bytes:
    """Return the JSON of a body; data in the binary mode may be absent.

    Raises:
        RefusedError: It is of a type that is not read.
    """
    content_type = request.headers.get("Content-Type", "")
    if is_structured(content_type):
        _refuse(unknown_format(content_type))
    elif _is_binary(request):
        _refuse(not_json(content_type))
        return raw or b"null"
    return raw


def cloud_events_of(request: Request) -> tuple[list[Any], bool] | None:
    """Return the CloudEvents of a request, and whether it is a single one; None if it holds none.

    Raises:
        RefusedError: It should be a batch and is none.
    """
    content_type = request.http.headers.get("Content-Type", "")
    if is_structured(content_type):
        if content_type.partition(";")[0].strip().lower() != BATCH:
            return [request.body], True
        if not isinstance(request.body, list):
            raise RefusedError(400, "batch_missing", f"A body of the type {BATCH} should be a list of CloudEvents.")
        return request.body, False
    if _is_binary(request.http):
        attributes: dict[str, Any] = {**attributes_of_http(request.http.headers)}
        return [attributes if request.body is None else {**attributes, "data": request.body}], True
    return None


def _is_binary(request: web.Request) -> bool:
    return "ce-specversion" in request.headers


def _refuse(rejected: Reject | None) -> None:
    if rejected is not None:
        raise RefusedError(400, rejected.reason.value, rejected.message)
