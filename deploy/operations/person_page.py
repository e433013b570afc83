"""The page of one person: the profile, and a summary by the definitions in force and by all stored events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from deploy.operations.definition_files import DefinitionError
from deploy.operations.engines import load_message_policy, load_segments
from deploy.settings import Settings
from processors.decisions.reach import obstacles
from processors.profiles.view import view
from processors.segments.summary import Summarizer, coupons, product_names
from schemas.decisions.policy import MessagePolicy
from schemas.profiles.document import StoredProfile
from schemas.segments.definitions import SegmentDefinitions


def person_page(
    stored: StoredProfile, events: Sequence[dict[str, Any]] | None, settings: Settings, now_ms: int
) -> dict[str, Any]:
    """Describe a person.

    Args:
        stored: The live profile.
        events: All events of the person; None: they cannot be read now.
        settings: Of the deployment.
        now_ms: The time.

    Returns:
        The sections of `processors.profiles.view.view`, and `summary`: that of `Summarizer`, `reach` (why not, by
        channel; empty: reachable), `coupons`, `product_names`, and `incomplete`: what is missing of it, and why.
    """
    incomplete = []
    try:
        definitions, policy = load_segments(settings), load_message_policy(settings)
    except DefinitionError as error:
        definitions, policy = SegmentDefinitions(), MessagePolicy()
        incomplete.append(f"segments and policy are not those of the deployment, whose files have errors: {error}")
    if events is None:
        incomplete.append("names of products, interests, hours and coupons: ClickHouse, which has the events, is down")
    summarizer = Summarizer(definitions, settings.timezone)
    person = summarizer.person(stored)
    segments = frozenset(person.state.get("segments", {}).get("in", {}))
    return {
        **view(person.document),
        "summary": {
            **summarizer.summarize(person, events or (), now_ms),
            "reach": obstacles(policy, person, segments, now_ms),
            "coupons": coupons(events or ()),
            "product_names": product_names(events or ()),
            "incomplete": incomplete,
        },
    }
