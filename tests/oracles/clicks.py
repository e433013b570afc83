"""Clicks on messages and the visits that they open, one touch at a time: slow and obvious, what SQL has to meet."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

SOON = timedelta(minutes=5)
"""A visit so soon after a click is the one that it opens."""


@dataclass(frozen=True)
class Seen:
    """A click on a message, or a touch of a visit.

    Attributes:
        event_id: Its id.
        person: Whose it is, after all merges.
        at: When it happened.
        tie: Orders touches of one instant.
        channel: Marketing channel.
        campaign: Campaign; empty: none.
        is_click: Whether it is a click on a message.
    """

    event_id: str
    person: str
    at: datetime
    tie: int
    channel: str
    campaign: str
    is_click: bool


def one_touch_each(seen: Iterable[Seen], direct: str = "Direct") -> list[Seen]:
    """Leave out the clicks whose visit is their touch, and name the visits by them."""
    found: list[Seen] = []
    for one in sorted(seen, key=lambda one: (one.person, one.at, not one.is_click, one.tie)):
        before = found[-1] if found and found[-1].person == one.person else None
        if (
            before is not None
            and before.is_click
            and not one.is_click
            and one.at - before.at <= SOON
            and one.channel in (before.channel, direct)
        ):
            found[-1] = replace(one, channel=before.channel, campaign=one.campaign or before.campaign)
        else:
            found.append(one)
    return found
