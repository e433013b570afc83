"""Which events are touches, which marketing channel they are credited to, and which are conversions.

The rules of `deploy/definitions/touches.yaml`, compiled. What a rule reads is a handful of values, and events repeat
them, so the answer for each combination is computed once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from schemas.events.messages import STEPS
from schemas.recording.touches import ArrivedBy, Conditions, TouchDefinitions, TouchKind

MAX_CACHED = 50_000
"""Combinations cached before the cache is cleared: campaign names are unbounded, memory is not."""

_HOST = re.compile(r"[a-z][a-z0-9+.-]*://(?:[^/?#@]*@)?(?:www\.)?([^/?#:]+)", re.IGNORECASE)
_OTHER_CAMPAIGN_FIELDS = ("id", "term", "content", "creative", "click_id")
_NOTHING: Mapping[str, Any] = {}


class Touch(NamedTuple):
    """The role of an event in attribution.

    Attributes:
        kind: `rule`: a touch; `session`: a touch if it is the first event of its session; empty: none.
        marketing_channel: The channel that is credited; empty for no touch.
    """

    kind: TouchKind
    marketing_channel: str


class _Facts(NamedTuple):
    """The values of an event that rules read."""

    event: str
    channel: str
    arrived_by: ArrivedBy
    source: str
    medium: str
    campaign: str


NO_TOUCH = Touch("", "")
_Test = Callable[[_Facts], bool]


class TouchRules:
    """The compiled rules.

    Args:
        definitions: The file's content.

    Attributes:
        definitions: The same.
    """

    def __init__(self, definitions: TouchDefinitions) -> None:
        self.definitions = definitions
        self._touches = [(_compile(rule, definitions), rule.touch) for rule in definitions.touches]
        self._channels = [(_compile(rule, definitions), rule.name) for rule in definitions.marketing_channels]
        self._goals: dict[str, list[tuple[str, frozenset[str] | None]]] = {}
        for goal in definitions.goals:
            for event in goal.events:
                channels = frozenset(goal.channels) if goal.channels else None
                self._goals.setdefault(event, []).append((goal.name, channels))
        names = "|".join(definitions.click_ids)
        self._click_id = re.compile(rf"[?&]({names})=.") if names else re.compile(r"(?!)(.)")
        self._known: dict[tuple[Any, ...], tuple[str, str]] = {}

    def classify(self, event: Mapping[str, Any]) -> Touch:
        """Return whether a resolved event is a touch, and of which marketing channel.

        A `campaign.channel` names the channel outright and makes any event a touch.
        """
        source = medium = name = None
        more = False
        if campaign := event.get("campaign"):
            if named := campaign.get("channel"):
                return Touch("rule", named)
            source, medium, name = campaign.get("source"), campaign.get("medium"), campaign.get("name")
            more = not (source or medium or name) and any(map(campaign.get, _OTHER_CAMPAIGN_FIELDS))
        context = event.get("context") or _NOTHING
        properties = event.get("properties") or _NOTHING
        page = context.get("page") or properties
        network = properties.get("network")
        if "url" in page or "search" in page or "referrer" in page:
            click_id, referrer, host = self._click_id_in(page), _host(page.get("referrer")), _host(page.get("url"))
        else:
            click_id = referrer = host = ""
        key = (event["event"], event["channel"], source, medium, name, more, network, click_id, referrer, host)
        known = self._known.get(key)
        if known is None:
            known = self._compute(*key)
            if len(self._known) >= MAX_CACHED:
                self._known.clear()
            self._known[key] = known
        when, channel = known
        if when == "always":
            return Touch("rule", channel)
        return Touch("session", channel) if when == "first_of_session" and context.get("session_id") else NO_TOUCH

    def goals(self, event: Mapping[str, Any]) -> list[str]:
        """Return the names of the goals that an event reaches, in the order of the file; mostly none."""
        found = self._goals.get(event["event"])
        if found is None:
            return []
        return [name for name, channels in found if channels is None or event["channel"] in channels]

    def _click_id_in(self, page: Mapping[str, Any]) -> str:
        for part in (page.get("url"), page.get("search")):
            if type(part) is str and (found := self._click_id.search(part)):
                return found[1]
        return ""

    def _compute(
        self, event: str, channel: str, source: str | None, medium: str | None, name: str | None, more: bool,
        network: object, click_id: str, referrer: str, host: str,
    ) -> tuple[str, str]:  # fmt: skip
        arrived_by: ArrivedBy = "nothing"
        clicked = self.definitions.click_ids.get(click_id)
        if source or medium or name or more:
            arrived_by = "campaign"
        if clicked is not None:
            arrived_by = "click_id" if arrived_by == "nothing" else arrived_by
            source, medium = source or clicked.source, medium or clicked.medium
        elif arrived_by == "nothing" and self._is_elsewhere(referrer, host):
            arrived_by, source, medium = "referrer", referrer, "referral"
        if not source and isinstance(network, str):
            source = network
        facts = _Facts(event, channel, arrived_by, (source or "").lower(), (medium or "").lower(), name or "")
        when = next((when for test, when in self._touches if test(facts)), "never")
        return when, next(name for test, name in self._channels if test(facts)) if when != "never" else ""

    def _is_elsewhere(self, referrer: str, host: str) -> bool:
        if not referrer or any(_below(referrer, ignored.lower()) for ignored in self.definitions.ignored_referrers):
            return False
        return not (host and (_below(referrer, host) or _below(host, referrer)))


def _compile(rule: Conditions, definitions: TouchDefinitions) -> _Test:
    """Turn a rule's conditions into one function."""
    tests: list[_Test] = []

    def among(values: tuple[str, ...] | None, read: Callable[[_Facts], object]) -> None:
        if values is not None:
            wanted = frozenset(values)
            tests.append(lambda facts: read(facts) in wanted)

    def matching(pattern: str | None, read: Callable[[_Facts], str]) -> None:
        if pattern is not None:
            found_in = re.compile(pattern, re.IGNORECASE).search
            tests.append(lambda facts: found_in(read(facts)) is not None)

    def listed(values: tuple[str, ...]) -> frozenset[str]:
        parts = (definitions.lists[value[1:]] if value.startswith("$") else (value,) for value in values)
        return frozenset(value.lower() for part in parts for value in part)

    among(rule.events, lambda facts: facts.event)
    among(rule.channels, lambda facts: facts.channel)
    among(rule.message_kinds, lambda facts: STEPS.get(facts.event, ("", ""))[0])
    among(rule.message_steps, lambda facts: STEPS.get(facts.event, ("", ""))[1])
    among(rule.arrived_by, lambda facts: facts.arrived_by)
    matching(rule.medium_matches, lambda facts: facts.medium)
    matching(rule.campaign_matches, lambda facts: facts.campaign)
    if rule.medium is not None:
        media = listed(rule.medium)
        tests.append(lambda facts: facts.medium in media)
    if rule.source is not None:
        sources = listed(rule.source)
        tests.append(lambda facts: not sources.isdisjoint(_source_names(facts.source)))
    return lambda facts: all(test(facts) for test in tests)


def _source_names(source: str) -> list[str]:
    """All names by which a list may mean a source: itself, a host's labels but the last, the domains above it."""
    labels = source.split(".")
    if len(labels) == 1:
        return [source]
    return [*labels[:-1], *(".".join(labels[at:]) for at in range(len(labels) - 1))]


def _host(url: object) -> str:
    found = _HOST.match(url) if type(url) is str else None
    return found[1].lower() if found else ""


def _below(host: str, domain: str) -> bool:
    return host == domain or host.endswith("." + domain)
