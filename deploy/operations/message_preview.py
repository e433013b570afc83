"""Renders a message of a journey for one person as it would be now, without sending it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

from deploy.connections.redis import async_redis_client
from deploy.operations.definitions_report import DefinitionsReport
from deploy.operations.deployment import Deployment
from deploy.settings import Settings
from processors.delivery.products import ProductCards
from processors.delivery.recommend import Recommender
from processors.delivery.rendering import MessageRenderer
from processors.delivery.templates import TemplateError, Templates
from processors.journeys.compiled import CompiledJourney
from processors.journeys.matching import Matcher
from processors.journeys.step_context import event_data
from processors.profiles.document import new_profile, read_profile
from schemas.delivery.templates import Rendered
from schemas.journeys.definitions import Journey, MessageNode
from schemas.territory import Territory
from schemas.time import clock_ms
from sinks.clickhouse.history import read_events
from sinks.redis.products import RedisProducts
from sinks.redis.recommendations import RedisRecommendations

Event = dict[str, Any]

_EXAMPLE_COUPON = {"code": "EXAMPLE-CODE", "expires_at": "2030-12-31T23:00:00.000Z"}


class UnknownStepError(Exception):
    """A journey has no such message step; the message names those that it has."""


class Preview(NamedTuple):
    """A message on one channel.

    Attributes:
        channel: The channel.
        variant: The variant that the person gets; empty: there are none.
        rendered: The message; None: it cannot be rendered.
        error: Why not.
    """

    channel: str
    variant: str
    rendered: Rendered | None
    error: str = ""


async def preview(
    journey: Journey,
    step_id: str,
    document: dict[str, Any],
    events: Sequence[Event],
    *,
    templates: Templates,
    renderer: MessageRenderer,
    territory: Territory,
) -> tuple[list[Preview], list[str]]:
    """Render a message on each of its channels.

    The entry event and the event that a wait was for are the person's last ones that fit; where there are none, the
    message is rendered without. A coupon is an example: a preview takes no code of the pool.

    Args:
        journey: The journey.
        step_id: Its message step, as `throughline journeys show` names it; or the name of its template.
        document: The person's profile.
        events: All events of the person, in order.
        templates: The texts.
        renderer: Renders them.
        territory: Of the deployment.

    Returns:
        The messages, and what the person lacks for them.

    Raises:
        UnknownStepError: There is no such message step.
    """
    compiled = CompiledJourney(journey, territory.zone)
    messages = [(one, one.node) for one in compiled.steps.values() if isinstance(one.node, MessageNode)]
    steps = {node.template: one for one, node in reversed(messages)} | {one.id: one for one, _ in messages}
    step = steps.get(step_id)
    if step is None:
        names = ", ".join(f"{one.id} ({node.template})" for one, node in messages)
        raise UnknownStepError(f"{journey.name} has no message step {step_id}; there are {names}")
    node, variant = compiled.message_of(step, document["profile_id"], "")
    missing: list[str] = []
    entered = _last(events, compiled.entry) if isinstance(compiled.entry, Matcher) else None
    if isinstance(compiled.entry, Matcher) and entered is None:
        missing.append(f"no {' or '.join(sorted(compiled.entry.names))} of this person: `event` is empty")
    awaited = [one.trigger for one in compiled.steps.values() if isinstance(one.trigger, Matcher)]
    last = max(
        (found for one in awaited if (found := _last(events, one)) is not None),
        key=lambda event: str(event["occurred_at"]),
        default=None,
    )
    key = next(iter(compiled.entry.keys(entered)), "") if entered and isinstance(compiled.entry, Matcher) else ""
    run: dict[str, Any] = {"key": key, "entered_at": entered["received_at"] if entered else "", "data": node.data}
    if last is not None:
        run["last"] = event_data(last)
    previews = []
    for channel in node.channels or templates.channels(node.template):
        action = {
            "idempotency_key": "preview",
            "journey": journey.name,
            "step": step.id,
            "template": node.template,
            "channel": channel,
            "campaign": dict(node.campaign),
            "tags": list(node.tags),
            "context": {"event": event_data(entered) if entered else {}, "run": run},
        }
        try:
            coupon = None if node.coupon is None else {**_EXAMPLE_COUPON, "pool": node.coupon.pool}
            link = "https://shop.example/unsubscribe"
            rendered = await renderer.render(templates, action, document, link, coupon, territory)
            previews.append(Preview(channel, variant, rendered))
        except TemplateError as error:
            previews.append(Preview(channel, variant, None, f"template {error}"))
    return previews, missing


async def preview_for(
    deployment: Deployment, report: DefinitionsReport, journey: Journey, step: str, profile_id: str
) -> tuple[list[Preview], list[str]]:
    """Render a message of a journey for a person by definitions, as `preview` does.

    Raises:
        UnknownStepError: There is no such message step.
    """
    settings = deployment.settings
    stored = await deployment.profiles.get(profile_id)
    document = read_profile(stored) if stored and stored.document else new_profile(profile_id)
    events = await asyncio.to_thread(read_events, deployment.tables, profile_id)
    templates, territory = report.definitions.templates, report.definitions.territory
    async with async_redis_client(settings, timeout_s=10) as redis:
        renderer = renderer_of(redis, settings)
        return await preview(
            journey, step, document, events, templates=templates, renderer=renderer, territory=territory
        )


def renderer_of(redis: Any, settings: Settings) -> MessageRenderer:
    """Return a renderer with the recommendations and products of a deployment.

    Args:
        redis: A client for coroutines.
        settings: Of the deployment.
    """
    related = RedisRecommendations(redis, settings.redis_namespace)
    products = ProductCards(RedisProducts(redis, settings.redis_namespace), related, clock_ms)
    return MessageRenderer(Recommender(related), products)


def _last(events: Sequence[Event], matcher: Matcher) -> Event | None:
    return next((event for event in reversed(events) if matcher.matches(event)), None)
