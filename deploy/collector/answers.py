"""What a person has answered about channels and topics, for the preference page: read from the live profile."""

from __future__ import annotations

from deploy.collector.people import LivePeople
from deploy.operations.definition_files import load
from deploy.settings import Settings
from processors.decisions.gates.permission import Consent
from processors.profiles.document import read_profile
from schemas.decisions.policy import MessagePolicy
from schemas.delivery.links import MessageLink


class StoredAnswers:
    """Reads answers.

    Args:
        settings: Of the deployment.
        people: Reads profiles.
    """

    def __init__(self, settings: Settings, people: LivePeople) -> None:
        self._people = people
        self._policy = load(settings.policy_file, MessagePolicy)
        self._consent = Consent(self._policy.consent)

    async def answers(self, link: MessageLink) -> tuple[dict[str, bool], dict[str, bool]]:
        """Return the channels that a person can be written to on, with their answers, and the answers about topics.

        Args:
            link: The address by which the person has come.

        Raises:
            RefusedError: Redis does not answer.
        """
        stored = await self._people.find([link.identifier_hash])
        if stored is None:
            return {link.channel: False}, {}
        document = read_profile(stored)
        types, addresses = self._policy.address_types, document.get("addresses", {})
        reachable = [name for name in self._policy.channels if any(kind in addresses for kind in types.get(name, ()))]
        channels = dict.fromkeys([link.channel, *reachable])
        topics = document.get("consent", {}).get("topics", {})
        return (
            {name: self._consent.allows(document, "marketing", name) for name in channels},
            {name: answer[0] for name, answer in topics.items()},
        )
