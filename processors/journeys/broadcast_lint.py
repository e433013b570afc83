"""Lint of broadcasts: unknown names, times that contradict each other, and likely mistakes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple
from zoneinfo import ZoneInfo

from processors.journeys.broadcasts import LONGEST_MS, chosen_at, send_time
from processors.journeys.lint import Path, Problem
from schemas.decisions.policy import WILDCARD, MessagePolicy, QuietHours
from schemas.durations import DAY_MS, duration_text
from schemas.journeys.broadcasts import Broadcast
from schemas.segments.definitions import SegmentDefinitions, unknown_channels, unknown_names
from schemas.spelling import known_names, nearest_names


class Surroundings(NamedTuple):
    """What broadcasts refer to.

    Attributes:
        segments: The segments and computed traits.
        policy: The message policy.
        templates: Names of the templates.
        journeys: Names of the journeys.
        zone: Time zone of the deployment.
    """

    segments: SegmentDefinitions
    policy: MessagePolicy
    templates: Collection[str]
    journeys: Collection[str]
    zone: ZoneInfo


Problems = Iterator[tuple[Path, str, bool]]


def lint_broadcasts(broadcasts: Iterable[Broadcast], around: Surroundings) -> list[Problem]:
    """Check broadcasts against the definitions that they refer to; all problems, in the order of the broadcasts."""
    found: list[Problem] = []
    seen: set[str] = set()
    for broadcast in broadcasts:
        for path, message, serious in (
            *_name(broadcast, around, seen),
            *_audience(broadcast, around),
            *_message(broadcast, around),
            *_times(broadcast, around),
            *_split(broadcast, around),
            *_money(broadcast, around),
        ):
            found.append(Problem(broadcast.name, path, message, serious))
        seen.add(broadcast.name)
    return found


def _name(broadcast: Broadcast, around: Surroundings, seen: Collection[str]) -> Problems:
    if broadcast.name in seen:
        yield ("name",), "another broadcast has this name", True
    if broadcast.name in around.journeys:
        yield (
            ("name",),
            f"a journey has this name: say what is sent and when, such as `{broadcast.name}_december`",
            True,
        )


def _audience(broadcast: Broadcast, around: Surroundings) -> Problems:
    names = [segment.name for segment in around.segments.segments]
    traits = [trait.name for trait in around.segments.traits]
    asked: list[tuple[Path, str]] = [(("segment",), broadcast.segment)]
    asked += [(("exclude", index), name) for index, name in enumerate(broadcast.exclude)]
    for path, name in asked:
        if name not in names:
            yield path, f"there is no segment {name!r}{_nearest(name, names)}", True
    if broadcast.segment in broadcast.exclude:
        yield ("exclude",), f"{broadcast.segment} is the segment itself: nobody would be left", True
    for problem in (
        (
            *unknown_names(broadcast.condition, names, traits),
            *around.segments.unknown_classes(broadcast.condition),
            *unknown_channels(broadcast.condition, around.policy.address_types),
        )
        if broadcast.condition is not None
        else ()
    ):
        yield ("if",), problem, True


def _message(broadcast: Broadcast, around: Surroundings) -> Problems:
    wanted: list[tuple[Path, str]] = [(("message",), broadcast.template)]
    for index, variant in enumerate(broadcast.split.variants if broadcast.split else ()):
        if variant.template is not None:
            wanted.append((("split", "variants", index, "template"), variant.template))
    for path, name in wanted:
        if name not in around.templates:
            yield path, f"there is no template {name!r}{_nearest(name, around.templates)}", True
    channels = tuple(around.policy.channels)
    for index, channel in enumerate(broadcast.channels):
        if channel not in channels:
            yield ("channels", index), f"the policy knows no channel {channel!r}{_nearest(channel, channels)}", True
    if broadcast.choose in ("preferred", "next_best") and len(broadcast.channels) == 1:
        yield ("choose",), "there is one channel to choose from", False
    if broadcast.purpose == "transactional":
        yield ("purpose",), "a broadcast is no service message: use `marketing`, or a journey", True


def _times(broadcast: Broadcast, around: Surroundings) -> Problems:
    if broadcast.expires_after > LONGEST_MS // 2:
        longest = duration_text(LONGEST_MS // 2)
        yield ("expires_after",), f"at most {longest}, such as `expires_after: 1 day`", True
    at, rules = broadcast.send.at, around.policy.quiet_hours
    if at is None or broadcast.send.zone != "person":
        return
    quiet = {}
    for channel in broadcast.channels or around.policy.channels:
        span = rules[channel] if channel in rules else rules.get(WILDCARD)
        if span is not None and channel in around.policy.channels and _covers(span, f"{at:%H:%M}"):
            quiet[channel] = f"{span.start}-{span.end}"
    if quiet:
        channels, hours = ", ".join(quiet), next(iter(quiet.values()))
        yield ("send", "at"), f"{at:%H:%M} is in the quiet hours of {channels} ({hours}): it is sent after them", False


def _covers(span: QuietHours, hour: str) -> bool:
    if span.start < span.end:
        return span.start <= hour < span.end
    return hour >= span.start or hour < span.end


def _split(broadcast: Broadcast, around: Surroundings) -> Problems:
    split = broadcast.split
    if split is None:
        return
    looks = [(one.template or broadcast.template, tuple(sorted(one.data.items()))) for one in split.variants]
    if len(set(looks)) < len(looks):
        yield ("split", "variants"), "two variants are the same: give one a `template` or `data` of its own", True
    winner = split.winner
    if winner is None:
        return
    path = ("split", "winner")
    chosen = chosen_at(winner, around.zone)
    sent = send_time(broadcast.send, around.zone)
    if sent is not None and chosen < sent + winner.within:
        example = f"`at` at least {duration_text(winner.within)} after {broadcast.send.at:%Y-%m-%d %H:%M}"
        yield (*path, "at"), f"nobody has had the message for as long as `within` by then: choose {example}", True
    if sent is not None and chosen > sent + LONGEST_MS // 2:
        yield (*path, "at"), f"it is more than {duration_text(LONGEST_MS // 2)} after it is sent", True
    if broadcast.expires_after > 7 * DAY_MS and winner.metric == "clicked":
        yield ("expires_after",), "the rest gets the winner for that long after it was chosen", False


def _money(broadcast: Broadcast, around: Surroundings) -> Problems:
    costs = channel_costs(broadcast, around.policy)
    if broadcast.budget is not None and broadcast.budget.cost is not None and not any(costs):
        text = "no channel of it costs anything by the policy: give `channels` a `cost` there, or use `messages`"
        yield ("budget", "cost"), text, True
    elif most_people(broadcast, around.policy) == 0:
        yield ("budget",), "it does not cover the messages of one person: nobody would get it", True
    if broadcast.holdout > 0.5:
        yield ("holdout",), "more than half of the people do not get it", False


def channel_costs(broadcast: Broadcast, policy: MessagePolicy) -> list[float]:
    """Return what a message on each channel of a broadcast costs, in the policy's currency."""
    return [policy.channels[name].cost for name in broadcast.channels or policy.channels if name in policy.channels]


def most_people(broadcast: Broadcast, policy: MessagePolicy) -> int | None:
    """Return how many people a broadcast may take by its budget; None: it has none."""
    budget, costs = broadcast.budget, channel_costs(broadcast, policy)
    if budget is None:
        return None
    found: list[int] = []
    if budget.messages is not None:
        found.append(budget.messages // broadcast.messages_a_person)
    a_person = sum(costs) if broadcast.choose == "all" else max(costs, default=0.0)
    if budget.cost is not None and a_person > 0:
        found.append(int(budget.cost / a_person + 1e-9))
    return min(found, default=None)


def _nearest(name: str, names: Iterable[str]) -> str:
    known = list(names)
    near = nearest_names(name, known, 0.75)
    return f"{f' (did you mean {near[0]!r}?)' if near else ''}{known_names(name, known)}"
