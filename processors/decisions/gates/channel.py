"""The gate `channel`: of the channels that reach the person, the declared, the preferred or the next best one.

The value of a message on a channel is `P(click) * margin - cost`. The person's click rate has a Beta posterior: the
prior of the policy (for everybody, or for a segment) updated by their own sent and clicked messages. Thompson sampling
draws one rate per channel and takes the best, so that a channel with little data is tried as often as it may be the
best (Thompson 1933; Russo et al., "A Tutorial on Thompson Sampling", 2018).

Here the draw picks one of `DRAWS` equally likely joint values, by a hash of the message. That makes the choice
repeatable, and the propensity of the chosen channel exact: the share of the joint values in which it is the best.
"""

from __future__ import annotations

from functools import lru_cache
from operator import and_, ge, gt
from typing import Any

from processors.decisions import labels
from processors.decisions.gates.candidate import Address, Candidate, Check
from processors.decisions.sampling import DRAWS, beta_slice_means, index, shuffled
from processors.profiles.contact import has_bounced
from schemas.decisions.policy import ChannelRule, ChoiceRules, Prior

_SECTION: dict[str, Any] = {}


def address_of(document: dict[str, Any], rule: ChannelRule, now_ms: int, *, bounced: bool) -> Address | str:
    """Find the address of a message on a channel.

    Args:
        document: The profile.
        rule: The channel's rule; it must need an address.
        now_ms: The time, to which the age of an address is compared.
        bounced: Leave out addresses whose last delivery bounced permanently.

    Returns:
        The address: verified before others, then the one seen last; or the reason why there is none: `no address`,
        `bounced`, `not verified`, `stale`.
    """
    why = "no address"
    for kind in (rule.address, *rule.also):
        best: tuple[bool, int, str] | None = None
        for value, address in document.get("addresses", _SECTION).get(kind, _SECTION).items():
            seen, verified = address[:2]
            if bounced and has_bounced(document, str(kind), value, address):
                why = "bounced"
            elif rule.verified_only and not verified:
                why = "not verified"
            elif rule.fresh_for is not None and seen < now_ms - rule.fresh_for:
                why = "stale"
            elif best is None or (verified, seen, value) > best:
                best = (verified, seen, value)
        if best is not None:
            return {"type": str(kind), "value": best[2]}
    return why


class ChannelChoice:
    """The gate `channel`: chooses the channel and the address on it."""

    def __init__(self, channels: dict[str, ChannelRule], rules: ChoiceRules, *, bounced: bool) -> None:
        self._channels = channels
        self._rules = rules
        self._bounced = bounced

    def check(self, candidate: Candidate) -> Check:
        """Set channel, address and propensity; fail when no channel reaches the person."""
        reachable: dict[str, Address | None] = {}
        unreachable: dict[str, str] = {}
        for name in candidate.channels:
            rule = self._channels[name]
            if rule.address is None:
                reachable[name] = None
                continue
            address = address_of(candidate.document, rule, candidate.now_ms, bounced=self._bounced)
            if isinstance(address, str):
                unreachable[name] = address
            else:
                reachable[name] = address
        gate_input: dict[str, Any] = {"choose": candidate.message.choose, "reachable": list(reachable)}
        if unreachable:
            gate_input["unreachable"] = unreachable
        if not reachable:
            return Check(False, gate_input, _unreachable(unreachable))
        candidate.channel, candidate.propensity = self._choose(candidate, list(reachable), gate_input)
        candidate.address = reachable[candidate.channel]
        gate_input["chosen"] = candidate.channel
        return Check(True, gate_input)

    def _choose(self, candidate: Candidate, names: list[str], gate_input: dict[str, Any]) -> tuple[str, float]:
        choose = candidate.message.choose
        if choose == "preferred":
            trait = candidate.document.get("traits", _SECTION).get(self._rules.preferred_trait)
            gate_input["preferred"] = preferred = trait[0] if trait else None
            return (preferred if preferred in names else names[0]), 1.0
        if choose == "declared" or len(names) == 1:
            return names[0], 1.0
        return self._best(candidate, names, gate_input)

    def _best(self, candidate: Candidate, names: list[str], gate_input: dict[str, Any]) -> tuple[str, float]:
        draw = index(DRAWS, "channel", candidate.key)
        margin = candidate.message.margin if candidate.message.margin is not None else self._rules.margin
        values: list[tuple[float, ...]] = []
        scores: dict[str, Any] = {}
        for name in names:
            alpha, beta = self._posterior(candidate, name)
            value = _values_of_draws(name, alpha, beta, margin, self._channels[name].cost)
            values.append(value)
            scores[name] = {"alpha": alpha, "beta": beta, "worth": round(value[draw], 6)}
        gate_input["scores"] = scores
        drawn = [value[draw] for value in values]
        chosen = drawn.index(max(drawn))
        return names[chosen], _propensity(values, chosen)

    def _posterior(self, candidate: Candidate, name: str) -> tuple[float, float]:
        sent, clicked = candidate.person.state.get("sends", _SECTION).get("learned", _SECTION).get(name, (0, 0))
        sent = max(sent, clicked, 0)  # a channel may report clicks and no deliveries
        if sent > self._rules.remembered:
            sent, clicked = self._rules.remembered, round(clicked * self._rules.remembered / sent)
        prior = self._prior(candidate, name)
        return (
            round(prior.rate * prior.strength + clicked, 6),
            round((1 - prior.rate) * prior.strength + sent - clicked, 6),
        )

    def _prior(self, candidate: Candidate, name: str) -> Prior:
        rule = self._channels[name]
        return next((prior for segment, prior in rule.segments.items() if segment in candidate.members), rule.prior)


@lru_cache(maxsize=8192)
def _values_of_draws(channel: str, alpha: float, beta: float, margin: float, cost: float) -> tuple[float, ...]:
    """Return the value of a message for each of `DRAWS` joint draws; each channel has an order of its own."""
    rates = beta_slice_means(alpha, beta)
    return tuple(rates[place] * margin - cost for place in shuffled(channel))


def _propensity(values: list[tuple[float, ...]], chosen: int) -> float:
    """Return the share of joint draws in which a channel is the best; of equals, the first is."""
    best = [True] * DRAWS
    for place, value in enumerate(values):
        if place != chosen:
            best = list(map(and_, best, map(gt if place < chosen else ge, values[chosen], value)))
    return sum(best) / DRAWS


_REASONS = {
    "no address": "none is known",
    "bounced": "messages to it bounce",
    "not verified": "none is verified",
    "stale": "it has not been seen for long",
}


def _unreachable(unreachable: dict[str, str]) -> str:
    if not unreachable:
        return "no channel is possible"
    each = ", ".join(f"{labels.channel_label(name)}: {_REASONS[why]}" for name, why in unreachable.items())
    return f"there is no address to send it to ({each})"
