"""Reach: on which channels a person can be written to now, and why not on the others, by the message policy."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from zoneinfo import ZoneInfo

from processors.decisions.gates.candidate import Candidate, Check
from processors.decisions.gates.channel import ChannelChoice
from processors.decisions.gates.permission import Consent, Suppression
from schemas.decisions.decision import MessageRequest
from schemas.decisions.policy import MessagePolicy
from schemas.journeys.definitions import MessageNode
from schemas.profiles.person import Person


def obstacles(
    policy: MessagePolicy, person: Person, members: AbstractSet[str], now_ms: int, purpose: str = "marketing"
) -> dict[str, list[str]]:
    """Ask the gates that are about a person and a channel: consent, suppression, and an address that works.

    Caps, quiet hours and control groups are about one message, and are not asked.

    Args:
        policy: The message policy.
        person: The person.
        members: The person's segments.
        now_ms: The time.
        purpose: What the person must have agreed to.

    Returns:
        By channel of the policy, why nothing can be sent there, as the rest of a sentence that starts with "Not sent:
        "; empty: the channel reaches the person.
    """
    gates: tuple[Callable[[Candidate], Check], ...] = (
        Consent(policy.consent).check,
        Suppression(policy.suppression, policy.channels).check,
        ChannelChoice(policy.channels, policy.choice, bounced=policy.suppression.bounced).check,
    )
    found: dict[str, list[str]] = {}
    for channel in policy.channels:
        message = MessageNode.model_validate({"message": "reach", "channel": channel, "purpose": purpose})
        request = MessageRequest("", "", "", "", message, now_ms)
        checks = [
            gate(Candidate(person, request, "", now_ms, ZoneInfo("UTC"), now_ms, [channel], members)) for gate in gates
        ]
        found[channel] = list(dict.fromkeys(check.reason for check in checks if not check.passed))
    return found
