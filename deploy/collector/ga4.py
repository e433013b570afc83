"""GA4's Measurement Protocol: servers send to the collector as to Google, with a write key as their `api_secret`."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from deploy.collector.body import BodyForm, Request
from deploy.collector.refusal import RefusedError, json_answer
from deploy.collector.translation import ForeignEvents
from processors.intake.collect import CollectResult, Refusal
from processors.intake.ga4_calls import FIELD_NAMES, calls_of_event, events_of_body
from schemas.dead_letters import Reason

PATH = "/mp/collect"
DEBUG_PATH = "/debug/mp/collect"
FORM = BodyForm(key_parameter="api_secret", key=lambda _: None)

_OF_THE_REQUEST = ("client_id", "app_instance_id", "user_id", "user_properties")


def events_of(request: Request) -> ForeignEvents:
    """Return the body as events.

    Raises:
        RefusedError: The body is no object.
    """
    if not isinstance(request.body, dict):
        raise RefusedError(400, "not_an_object", 'The body should be an object: {"client_id": …, "events": [...]}.')
    return ForeignEvents(events_of_body(request.body), calls_of_event, FIELD_NAMES)


def answer(_: CollectResult) -> web.Response:
    """Answer as Google does: without content, also where an event is refused; it is a dead letter then."""
    return web.Response(status=204)


def debug_answer(collected: CollectResult) -> web.Response:
    """Answer as Google's validation server does."""
    return json_answer(200, {"validationMessages": [_message(one) for one in collected.refusals]})


def _message(refusal: Refusal) -> dict[str, Any]:
    rejected = refusal.rejected
    field = rejected.field
    at = field if not field or field.startswith(_OF_THE_REQUEST) else f"events[{refusal.place}].{field}"
    missing = rejected.reason is Reason.MISSING_FIELD
    return {
        "fieldPath": at,
        "description": rejected.message,
        "validationCode": "VALUE_REQUIRED" if missing else "VALUE_INVALID",
    }
