"""Segment's pixel API: calls in the address of an image, from mails and pages that run no JavaScript."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import orjson
from aiohttp import web

from deploy.collector.body import BodyForm
from deploy.collector.refusal import RefusedError
from processors.intake.collect import CollectResult

PATH = "/v1/pixel"
_GIF = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")  # transparent, 1 x 1
_MAX_DEPTH = 8
"""The most parts of a parameter's name: `properties.products` has two."""


def json_of_address(request: web.Request, _: bytes, __: int) -> bytes:
    """Return the call that an address holds: JSON in `data`, in Base64 or as it is, or a parameter for each field.

    A parameter's name is a path, such as `properties.subject`, and its value a text.

    Raises:
        RefusedError: `data` is neither, or parameters contradict.
    """
    data = request.query.get("data")
    if data is None:
        return orjson.dumps(_object_of({key: value for key, value in request.query.items() if key != "writeKey"}))
    if data.lstrip().startswith("{"):
        return data.encode("utf-8", "replace")
    # A plus that nobody escaped arrives as a blank; padding is often left out.
    packed = data.strip().replace(" ", "+").replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise RefusedError(400, "not_base64", "The parameter data should be JSON, best in Base64.") from None


def answer(_: CollectResult) -> web.Response:
    """Answer with an empty image, also where the event is refused; it is a dead letter then."""
    return web.Response(body=_GIF, content_type="image/gif", headers={"Cache-Control": "no-store"})


FORM = BodyForm(text=json_of_address)


def _object_of(parameters: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in parameters.items():
        path = name.split(".")
        inner: Any = found
        for part in path[:-1]:
            inner = inner.setdefault(part, {}) if isinstance(inner, dict) else None
        if len(path) > _MAX_DEPTH or not isinstance(inner, dict) or isinstance(inner.get(path[-1]), dict):
            raise RefusedError(400, "parameters", f"The parameter {name[:100]} contradicts another, or is too deep.")
        inner[path[-1]] = value
    return found
