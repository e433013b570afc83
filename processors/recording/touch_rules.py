"""Classifies events as touches, with their marketing channel, and as conversions.

The rules of `deploy/definitions/touches.yaml`, compiled. Rules read few values, which many events share, so the result
for each combination is cached.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from processors.recording.arrivals import ArrivalRules
from processors.recording.sites import MAX_HOST_CHARS, brand, host_of
from schemas.events.messages import STEPS
from schemas.orders import KINDS, ORDER_PLACED, REPORTS
from schemas.recording.touches import ArrivedBy, Conditions, SiteKind, TouchDefinitions, TouchKind

MAX_CACHED = 50_000
"""Combinations cached before the cache is cleared: campaign names are unbounded, memory is not."""

_OTHER_CAMPAIGN_FIELDS = ("id", "term", "content", "creative", "click_id")
_NOTHING: Mapping[str, Any] = {}


class Touch(NamedTuple):
    """The role of an event in attribution.

    Attributes:
        kind: A touch, an event of a visit, or neither. Which events of a visit are its touches is decided when reports
            are read: events come late.
        marketing_channel: The channel that is credited; empty for no touch.
        conflict: The network of a click id in the address that contradicts what the touch is credited to; mostly empty.
        click_id: The name of the click id that counts; mostly empty.
    """

    kind: TouchKind
    marketing_channel: str
    conflict: str = ""
    click_id: str = ""


class _Facts(NamedTuple):
    """The values of an event that rules read."""

    event: str
    channel: str
    arrived_by: ArrivedBy
    source: str
    source_kind: SiteKind | None
    medium: str
    campaign: str


NO_TOUCH, VISIT, RETURN = Touch("", ""), Touch("visit", ""), Touch("return", "")
_OF_VISITS = frozenset({"session", "referral", "return", "visit"})
_BROWSERS = frozenset({"anonymous_id", "device_id"})
_Test = Callable[[_Facts], bool]


class TouchRules:
    """The compiled rules.

    Args:
        definitions: The file's content.

    Attributes:
        definitions: The same.
        checkout_steps: Events after which a visitor may come back from the page of a bank.
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
        # An order counts for its goals whichever report of it comes: the update or the receipt may be the only one.
        for event, kind in KINDS.items():
            if kind in REPORTS and event != ORDER_PLACED:
                own = self._goals.get(event, [])
                named = {name for name, _ in own}
                inherited = [one for one in self._goals.get(ORDER_PLACED, ()) if one[0] not in named]
                if inherited:
                    self._goals[event] = own + inherited
        self._arrivals = ArrivalRules(definitions)
        self.checkout_steps = frozenset(definitions.checkout_steps)
        self._visit_channels = frozenset(definitions.visit_channels)
        self._known: dict[tuple[Any, ...], Touch] = {}

    def classify(self, event: Mapping[str, Any]) -> Touch:
        """Return whether a resolved event is a touch, and of which marketing channel.

        A `campaign.channel` names the channel outright and makes any event a touch; an event of a visit that names it
        is one once a visit.
        """
        source = medium = name = named = None
        more = False
        click_ids: tuple[str, ...] = ()
        if campaign := campaign_of(event):
            named = campaign.get("channel")
            source, medium, name = campaign.get("source"), campaign.get("medium"), campaign.get("name")
            more = not (source or medium or name) and any(map(campaign.get, _OTHER_CAMPAIGN_FIELDS))
            click_ids = self._arrivals.click_ids_of(campaign)
        context = event.get("context") or _NOTHING
        properties = event.get("properties") or _NOTHING
        page = context.get("page") or properties
        network = properties.get("network")
        if page and ("url" in page or "search" in page or "referrer" in page):
            click_ids += self._arrivals.click_ids_in(page)
            referrer, host = self._arrivals.referrer(page.get("referrer")), host_of(page.get("url"))
        else:
            referrer = host = ""
        key = (event["event"], event["channel"], named, source, medium, name, more, network, click_ids, referrer, host)
        known = self._known.get(key)
        if known is None:
            known = self._compute(*key)
            if len(self._known) >= MAX_CACHED:
                self._known.clear()
            self._known[key] = known
        if "order" in event and known.kind in _OF_VISITS and _is_from_server(event):
            return NO_TOUCH
        return known

    def click_id(self, event: Mapping[str, Any], name: str) -> str:
        """Return the value of the click id that `classify` named."""
        context, properties = event.get("context") or _NOTHING, event.get("properties") or _NOTHING
        return self._arrivals.click_id(name, context.get("page") or properties, campaign_of(event))

    def goals(self, event: Mapping[str, Any]) -> list[str]:
        """Return the names of the goals that an event reaches, in the order of the file; mostly none."""
        found = self._goals.get(event["event"])
        if found is None:
            return []
        return [name for name, channels in found if channels is None or event["channel"] in channels]

    def _compute(
        self, event: str, channel: str, named: str | None, source: str | None, medium: str | None, name: str | None,
        more: bool, network: object, click_ids: tuple[str, ...], referrer: str, host: str,
    ) -> Touch:  # fmt: skip
        tagged = bool(source or medium or name or more or named)
        arrival = self._arrivals.arrival(source or "", medium or "", tagged, click_ids, referrer, host)
        if not arrival.source and isinstance(network, str) and len(network) <= MAX_HOST_CHARS:
            arrival = arrival._replace(source=network.lower())
        kind = self._arrivals.site_kind(arrival.source, arrival.path)
        facts = _Facts(event, channel, arrival.by, arrival.source, kind, arrival.medium, name or "")
        when = next((when for test, when in self._touches if test(facts)), "never")
        if when == "never":
            if channel in self._visit_channels and event not in STEPS:
                return VISIT  # who says something of themselves is still there
            return Touch("rule", named, arrival.conflict, arrival.click_id) if named else NO_TOUCH
        if when == "first_of_session" and arrival.by == "return":
            return RETURN
        marketing_channel = named or next(name for test, name in self._channels if test(facts))
        role: TouchKind = "rule"
        if when == "once_per_visit" or (named and when == "first_of_session"):
            role = "campaign"
        elif when == "first_of_session":
            role = "referral" if arrival.by == "referrer" and arrival.medium == "referral" and not kind else "session"
        return Touch(role, marketing_channel, arrival.conflict, arrival.click_id)


def _is_from_server(event: Mapping[str, Any]) -> bool:
    """Whether a server tells of an order, checkout or customer without naming the browser: nobody is on the site."""
    if event["order"].get("source_kind") != "server" or (event.get("context") or _NOTHING).get("session_id"):
        return False
    return _BROWSERS.isdisjoint(one["type"] for one in event["identifiers"])


def campaign_of(event: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an event's campaign; of `Install Attributed` also the one in its properties, where mobile SDKs put it."""
    if campaign := event.get("campaign"):
        return campaign  # type: ignore[no-any-return]
    if event["event"] != "Install Attributed":
        return _NOTHING
    found = (event.get("properties") or _NOTHING).get("campaign")
    if type(found) is not dict:
        return _NOTHING
    campaign = {name: value for name, value in found.items() if type(value) is str and value.strip()}
    if "creative" not in campaign and (creative := campaign.pop("ad_creative", "")):
        campaign["creative"] = creative
    return campaign


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
    among(rule.source_kinds, lambda facts: facts.source_kind)
    matching(rule.source_matches, lambda facts: facts.source)
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
    """All names by which a list may mean a source: itself, a host's registered name, the domains above the host."""
    labels = source.split(".")
    if len(labels) == 1:
        return [source]
    return [brand(source)[0].rpartition(".")[2], *(".".join(labels[at:]) for at in range(len(labels) - 1))]
