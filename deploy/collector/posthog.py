"""PostHog's capture API: its SDKs send to the collector as to their own server, with a write key as their `api_key`."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web

from deploy.collector.body import BodyForm, Request
from deploy.collector.inflation import inflated
from deploy.collector.refusal import RefusedError, json_answer
from deploy.collector.translation import ForeignEvents
from processors.intake.collect import CollectResult
from processors.intake.posthog_calls import FIELD_NAMES, calls_of_event

PATHS = ("/batch", "/capture", "/e", "/track", "/engage", "/i/v0/e")
CONFIG_PATHS = ("/flags", "/decide")

MAX_FORM_FIELDS = 100
"""The most fields of a form: a beacon's has `data` and `compression`, and parsing a million takes seconds."""

_GZIP = b"\x1f\x8b"


def json_text(request: web.Request, raw: bytes, max_bytes: int) -> bytes:
    """Return the JSON of a body: as it is, packed by the page (`gzip-js`), or a form with Base64, as of a beacon.

    Raises:
        RefusedError: It cannot be unpacked, or is too large then.
    """
    if raw.startswith(b"data="):
        try:
            form = parse_qsl(raw.decode("utf-8", "replace"), max_num_fields=MAX_FORM_FIELDS)
        except ValueError:
            raise RefusedError(413, "too_many_parts", f"A form has at most {MAX_FORM_FIELDS} fields.") from None
        raw = dict(form).get("data", "").encode()
        if raw[:1] not in (b"{", b"["):
            raw = _from_base64(raw)
    elif request.query.get("compression") == "base64" and raw[:1] not in (b"{", b"["):
        raw = _from_base64(raw)
    if raw[:2] != _GZIP:
        return raw
    return inflated(raw, "gzip", max_bytes)


def _from_base64(text: bytes) -> bytes:
    """Decode Base64, of a form in which `+` may have become a space."""
    try:
        return base64.b64decode(text.replace(b" ", b"+"), validate=True)
    except (binascii.Error, ValueError):
        raise RefusedError(
            400,
            "unreadable",
            "The body is neither JSON, gzip nor Base64; lz-string, of posthog-js before 2021, is not read.",
        ) from None


def key_in_body(body: Any) -> object:
    """Return the write key of a body; a list of events names it in the properties of each."""
    first = body[0] if isinstance(body, list) and body else body
    if not isinstance(first, dict):
        return None
    properties = first.get("properties")
    for place in (first, properties if isinstance(properties, dict) else {}):
        for name in ("api_key", "token", "$token"):
            if isinstance(place.get(name), str):
                return place[name]
    return None


FORM = BodyForm(key_parameter="token", key=key_in_body, text=json_text)


def events_of(request: Request) -> ForeignEvents:
    """Return the body as events: `{"batch": [...]}`, a list, or one event.

    Raises:
        RefusedError: The batch is no list.
    """
    body = request.body
    sent_at = request.http.query.get("_")  # older versions of posthog-js; newer ones write `sent_at`
    if not isinstance(body, dict) or "batch" not in body:
        return ForeignEvents(body if isinstance(body, list) else [body], calls_of_event, FIELD_NAMES, sent_at)
    batch = body["batch"]
    if not isinstance(batch, list):
        raise RefusedError(400, "batch_missing", 'The body should be an object with a list: {"batch": [...]}.')
    stated = next((body[name] for name in ("sent_at", "sentAt") if body.get(name) is not None), sent_at)
    # History is dated by its own timestamps, whenever it is sent.
    return ForeignEvents(batch, calls_of_event, FIELD_NAMES, None if body.get("historical_migration") else stated)


def answer(collected: CollectResult) -> web.Response:
    """Answer as PostHog does; what is refused is named beside it."""
    rejected: Mapping[str, Any] = {"rejected": [one.as_json() for one in collected.refusals]}
    return json_answer(200, {"status": 1, **(rejected if collected.refusals else {})})


async def flags(_: web.Request) -> web.Response:
    """Answer what the SDKs ask for feature flags: there are none, so that every flag is off."""
    return json_answer(
        200,
        {
            "flags": {},
            "featureFlags": {},
            "featureFlagPayloads": {},
            "errorsWhileComputingFlags": False,
            **_CONFIG,
        },
    )


async def config(_: web.Request) -> web.Response:
    """Answer what posthog-js asks first: events are taken, and nothing else of PostHog's is on."""
    return json_answer(200, _CONFIG)


async def config_script(_: web.Request) -> web.Response:
    """Answer the configuration as a script: it is empty, and posthog-js asks for the JSON then."""
    return web.Response(text="", content_type="application/javascript")


_CONFIG = {
    "supportedCompression": ["gzip", "gzip-js"],
    "hasFeatureFlags": False,
    "sessionRecording": False,
    "surveys": False,
    "heatmaps": False,
    "capturePerformance": False,
    "autocaptureExceptions": False,
    "captureDeadClicks": False,
    "siteApps": [],
    "isAuthenticated": False,
    "toolbarParams": {},
    "config": {"enable_collect_everything": True},
}
