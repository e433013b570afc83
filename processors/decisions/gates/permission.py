"""The gates `consent`, `suppression` and `holdout`: whether the person may get messages."""

from __future__ import annotations

from typing import Any

from processors.decisions import labels
from processors.decisions.gates.candidate import Candidate, Check
from processors.decisions.sampling import uniform
from processors.profiles.contact import has_bounced
from schemas.decisions.policy import WILDCARD, ChannelRule, ConsentRules, HoldoutRules, OptOutRegime, SuppressionRules
from schemas.time import time_of_ms

_SECTION: dict[str, Any] = {}
_YES = [True]


def channel_answer(document: dict[str, Any], channel: str) -> list[Any] | None:
    """Return the last consent to a channel, `[granted, at, explicit]`; None: no answer."""
    answer: list[Any] | None = document.get("consent", _SECTION).get("channels", _SECTION).get(channel)
    return answer


class Consent:
    """The gate `consent`: the person must have agreed to the purpose and to the channel; no answer is a no.

    A message that has a topic (a tag) which the person has said no to is not for them; no answer is a yes there, since
    the purpose was agreed to.
    """

    def __init__(self, rules: ConsentRules) -> None:
        self._regimes = rules.opt_out

    def check(self, candidate: Candidate) -> Check:
        """Keep the channels that the person has agreed to; fail without one."""
        document, purpose = candidate.document, candidate.message.purpose
        stated = document.get("consent", _SECTION).get("purposes", _SECTION).get(purpose)
        to_purpose = stated[0] if stated else None
        to_channels = {
            name: answer[0] if (answer := channel_answer(document, name)) else None for name in candidate.channels
        }
        country = _country(document)
        gate_input: dict[str, Any] = {"purpose": {purpose: to_purpose}, "channels": to_channels}
        if self._regimes:
            gate_input["country"] = country
        topics = document.get("consent", _SECTION).get("topics", _SECTION)
        if refused := [tag for tag in candidate.message.tags if topics.get(tag, _YES)[0] is False]:
            gate_input["topics"] = dict.fromkeys(refused, False)
            return Check(False, gate_input, f"the person wants nothing about {labels.alternatives(refused)}")
        candidate.channels = [
            name for name in candidate.channels if self._agreed(to_purpose, to_channels[name], name, country)
        ]
        if candidate.channels:
            return Check(True, gate_input)
        return Check(False, gate_input, _refusal(purpose, to_purpose, to_channels))

    def allows(self, document: dict[str, Any], purpose: str, channel: str) -> bool:
        """Return whether a person has agreed to messages of a purpose on a channel."""
        stated = document.get("consent", _SECTION).get("purposes", _SECTION).get(purpose)
        answer = channel_answer(document, channel)
        return self._agreed(stated[0] if stated else None, answer[0] if answer else None, channel, _country(document))

    def _agreed(self, to_purpose: bool | None, to_channel: bool | None, channel: str, country: str) -> bool:
        if to_purpose is False or to_channel is False:
            return False
        missing = [part for part, answer in (("purpose", to_purpose), ("channel", to_channel)) if answer is None]
        return not missing or any(_covers(regime, channel, country, missing) for regime in self._regimes)


def _country(document: dict[str, Any]) -> str:
    known = document.get("known", _SECTION).get("country")
    return str(known[0]).upper() if known else ""


def _covers(regime: OptOutRegime, channel: str, country: str, missing: list[str]) -> bool:
    return (
        not regime.channels.isdisjoint((WILDCARD, channel))
        and not regime.countries.isdisjoint((WILDCARD, country))
        and regime.unknown.issuperset(missing)
    )


def _refusal(purpose: str, to_purpose: bool | None, to_channels: dict[str, bool | None]) -> str:
    if to_purpose is False:
        return f"the person has said no to {purpose}"
    refused = [name for name, answer in to_channels.items() if answer is False]
    if to_channels and len(refused) == len(to_channels):
        return f"the person has said no to {purpose} by {labels.alternatives(map(labels.channel_label, refused))}"
    if to_purpose is None:
        return f"the person has not agreed to {purpose}"
    names = labels.alternatives(map(labels.channel_label, to_channels or ["message"]))
    return f"the person has not agreed to {purpose} by {names}"


class Suppression:
    """The gate `suppression`: people on suppression lists, and channels that bounced or were reported as spam."""

    def __init__(self, rules: SuppressionRules, channels: dict[str, ChannelRule]) -> None:
        self._rules = rules
        self._channels = channels
        self._segments = frozenset(rules.segments)

    def check(self, candidate: Candidate) -> Check:
        """Remove suppressed channels; fail for a suppressed person, or without a channel left."""
        if candidate.document.get("gone"):
            return Check(False, {"erased": True}, "the person was erased or merged into another")
        traits = candidate.document.get("traits", _SECTION)
        for name in self._rules.traits:
            if (trait := traits.get(name)) and trait[0] not in (None, False, 0, "", "false", "no"):
                return Check(False, {"trait": name}, f"the person is on the suppression list ({name})")
        if self._segments and (found := sorted(self._segments.intersection(candidate.members))):
            return Check(False, {"segment": found[0]}, f"the person is in the suppressed segment {found[0]}")
        gate_input: dict[str, Any] = {}
        for name in candidate.channels:
            if why := self._closed(candidate.document, name):
                gate_input.setdefault(why, []).append(name)
        if not gate_input:
            return Check(True, gate_input)
        closed = {name for names in gate_input.values() for name in names}
        candidate.channels = [name for name in candidate.channels if name not in closed]
        if candidate.channels:
            return Check(True, gate_input)
        each = "; ".join(
            f"{_CLOSED[why]} by {labels.alternatives(map(labels.channel_label, names))}"
            for why, names in gate_input.items()
        )
        return Check(False, gate_input, each)

    def _closed(self, document: dict[str, Any], channel: str) -> str:
        if self._rules.complained and _complained(document, channel):
            return "complained"
        return "bounced" if self._rules.bounced and _bounced(document, self._channels[channel]) else ""


_CLOSED = {
    "complained": "the person has marked an earlier message as spam",
    "bounced": "every known address bounces",
}


def _bounced(document: dict[str, Any], rule: ChannelRule) -> bool:
    addresses = document.get("addresses", _SECTION)
    known = [
        has_bounced(document, kind, value, address)
        for kind in map(str, (rule.address, *rule.also))
        for value, address in addresses.get(kind, _SECTION).items()
    ]
    return bool(known) and all(known)


def _complained(document: dict[str, Any], channel: str) -> bool:
    tally = document.get("messages", _SECTION).get(channel, _SECTION).get("complained")
    if not tally:
        return False
    answer = channel_answer(document, channel)
    return not (answer and answer[0] and answer[2] and answer[1] > tally[1])


def journey_draw(journey: str, profile_id: str) -> float:
    """Return the number of a person, from [0, 1), that is below the share of a journey if it holds them out."""
    return uniform("journey holdout", journey, profile_id)


class Holdout:
    """The gate `holdout`: control groups, against which the effect of messages is measured."""

    def __init__(self, rules: HoldoutRules) -> None:
        self._rules = rules

    def check(self, candidate: Candidate) -> Check:
        """Mark the candidate of a person who is held out; it still passes the other gates, as for everybody else.

        So a ghost row stands at the time at which a message would have been sent. Ghosts use up no caps, so a person
        who is held out may have more ghosts than another has messages: compare people, not messages.
        """
        person, share = candidate.person.profile_id, candidate.request.holdout_share
        drawn = uniform(self.salt(candidate.now_ms), person)
        gate_input: dict[str, Any] = {"global": {"drawn": round(drawn, 6), "share": self._rules.share}}
        if drawn < self._rules.share:
            candidate.holdout = "global"
        if share:
            journey = journey_draw(candidate.request.journey, person)
            gate_input["journey"] = {"drawn": round(journey, 6), "share": share}
            if journey < share and not candidate.holdout:
                candidate.holdout = "journey"
        scope = "all messages" if candidate.holdout == "global" else "this journey"
        reason = f"the person is in the control group of {scope}" if candidate.holdout else ""
        return Check(not candidate.holdout, gate_input, reason)

    def salt(self, now_ms: int) -> str:
        """Return the salt of the current quarter (or month, or year; in UTC)."""
        now = time_of_ms(now_ms)
        period = {
            "never": "",
            "year": f"{now.year}",
            "quarter": f"{now.year}Q{(now.month + 2) // 3}",
            "month": f"{now.year}-{now.month:02d}",
        }[self._rules.renew]
        return f"global holdout {self._rules.salt} {period}"
