"""On which channel a message goes out: among those that reach the person, the one that promises most.

What a message on a channel is worth is `P(click) * margin - cost`. The person's click rate has a Beta posterior: the
expectation that the policy states (for everybody, or for a segment of theirs) and their own sent and clicked messages.
Thompson sampling draws one rate per channel and takes the best, so that channels of which little is known are tried as
often as they may be the best (Thompson 1933; Russo et al., "A Tutorial on Thompson Sampling", 2018).

Here the draw picks one of `DRAWS` equally likely joint values, by a hash of the message. That makes the choice
repeatable, and the propensity of the chosen channel exact: the share of the joint values in which it is the best.
"""

from __future__ import annotations

from functools import lru_cache
from operator import and_, ge, gt
from typing import Any

from processors.decisions import labels as words
from processors.decisions.gates.candidate import Address, Case, Check
from processors.decisions.sampling import DRAWS, beta_slice_means, index, shuffled
from schemas.decisions.policy import ChannelRule, ChoiceRules, Prior

_SECTION: dict[str, Any] = {}


def address_of(document: dict[str, Any], rule: ChannelRule, now_ms: int, *, bounced: bool) -> Address | str:
    """Find where a message on a channel goes.

    Args:
        document: The profile.
        rule: The channel, which must need an address.
        now_ms: To tell whether an address is stale.
        bounced: An address whose last delivery bounced for good does not reach anybody.

    Returns:
        The address: verified before others, then the last seen; or why there is none: `no address`, `bounced`,
        `not verified`, `stale`.
    """
    why = "no address"
    for kind in (rule.address, *rule.also):
        best: tuple[bool, int, str] | None = None
        for value, (seen, verified, _, has_bounced) in document.get("addresses", _SECTION).get(kind, _SECTION).items():
            if has_bounced and bounced:
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
    """Chooses the channel, and the address on it."""

    def __init__(self, channels: dict[str, ChannelRule], rules: ChoiceRules, *, bounced: bool) -> None:
        self._channels = channels
        self._rules = rules
        self._bounced = bounced

    def check(self, case: Case) -> Check:
        """Settle the channel, the address and the propensity; stop when no channel reaches the person."""
        reached: dict[str, Address | None] = {}
        unreached: dict[str, str] = {}
        for name in case.channels:
            rule = self._channels[name]
            if rule.address is None:
                reached[name] = None
                continue
            address = address_of(case.document, rule, case.now_ms, bounced=self._bounced)
            if isinstance(address, str):
                unreached[name] = address
            else:
                reached[name] = address
        given: dict[str, Any] = {"choose": case.message.choose, "reachable": list(reached)}
        if unreached:
            given["unreachable"] = unreached
        if not reached:
            return Check(False, given, _unreached(unreached))
        case.channel, case.propensity = self._choose(case, list(reached), given)
        case.address = reached[case.channel]
        given["chosen"] = case.channel
        return Check(True, given)

    def _choose(self, case: Case, names: list[str], given: dict[str, Any]) -> tuple[str, float]:
        choose = case.message.choose
        if choose == "preferred":
            trait = case.document.get("traits", _SECTION).get(self._rules.preferred_trait)
            given["preferred"] = preferred = trait[0] if trait else None
            return (preferred if preferred in names else names[0]), 1.0
        if choose == "declared" or len(names) == 1:
            return names[0], 1.0
        return self._best(case, names, given)

    def _best(self, case: Case, names: list[str], given: dict[str, Any]) -> tuple[str, float]:
        draw = index(DRAWS, "channel", case.key)
        margin = case.message.margin if case.message.margin is not None else self._rules.margin
        worths: list[tuple[float, ...]] = []
        scores: dict[str, Any] = {}
        for name in names:
            alpha, beta = self._posterior(case, name)
            worth = _worths(name, alpha, beta, margin, self._channels[name].cost)
            worths.append(worth)
            scores[name] = {"alpha": alpha, "beta": beta, "worth": round(worth[draw], 6)}
        given["scores"] = scores
        drawn = [worth[draw] for worth in worths]
        chosen = drawn.index(max(drawn))
        return names[chosen], _propensity(worths, chosen)

    def _posterior(self, case: Case, name: str) -> tuple[float, float]:
        sent, clicked = case.person.state.get("sends", _SECTION).get("learned", _SECTION).get(name, (0, 0))
        sent = max(sent, clicked, 0)  # a channel may report clicks and no deliveries
        if sent > self._rules.remembered:
            sent, clicked = self._rules.remembered, round(clicked * self._rules.remembered / sent)
        prior = self._prior(case, name)
        return (
            round(prior.rate * prior.strength + clicked, 6),
            round((1 - prior.rate) * prior.strength + sent - clicked, 6),
        )

    def _prior(self, case: Case, name: str) -> Prior:
        rule = self._channels[name]
        return next((prior for segment, prior in rule.segments.items() if segment in case.members), rule.prior)


@lru_cache(maxsize=8192)
def _worths(channel: str, alpha: float, beta: float, margin: float, cost: float) -> tuple[float, ...]:
    """What a message may be worth, one value for each joint draw; each channel's are in an order of its own."""
    rates = beta_slice_means(alpha, beta)
    return tuple(rates[place] * margin - cost for place in shuffled(channel))


def _propensity(worths: list[tuple[float, ...]], chosen: int) -> float:
    """The share of joint draws in which a channel is the best; of equals, the first is."""
    best = [True] * DRAWS
    for place, worth in enumerate(worths):
        if place != chosen:
            best = list(map(and_, best, map(gt if place < chosen else ge, worths[chosen], worth)))
    return sum(best) / DRAWS


_WHY = {
    "no address": "none is known",
    "bounced": "messages to it bounce",
    "not verified": "none is verified",
    "stale": "it has not been seen for long",
}


def _unreached(unreached: dict[str, str]) -> str:
    if not unreached:
        return "no channel is possible"
    each = ", ".join(f"{words.medium(name)}: {_WHY[why]}" for name, why in unreached.items())
    return f"there is no address to send it to ({each})"
