"""What a person has answered about channels and topics, for the preference page: read from the live profile."""

from __future__ import annotations

import logging

from redis.exceptions import RedisError

from deploy.collector.refusal import RefusedError
from deploy.connections.redis import async_redis_client
from deploy.operations.definition_files import identity_policy, load
from deploy.settings import Settings
from processors.decisions.gates.permission import Consent
from processors.profiles.document import read_profile
from schemas.decisions.policy import MessagePolicy
from schemas.delivery.links import MessageLink
from sinks.redis.identity import RedisIdentityStore
from sinks.redis.profiles import RedisProfileStore

log = logging.getLogger(__name__)

TIMEOUT_S = 2.0


class StoredAnswers:
    """Reads answers from Redis; it connects when the first page asks.

    Args:
        settings: Of the deployment.
    """

    def __init__(self, settings: Settings) -> None:
        client = async_redis_client(settings, timeout_s=TIMEOUT_S, connect_timeout_s=TIMEOUT_S)
        self._identities = RedisIdentityStore(client, settings.redis_namespace, identity_policy(settings))
        self._profiles = RedisProfileStore(client, settings.redis_namespace)
        self._policy = load(settings.policy_file, MessagePolicy)
        self._consent = Consent(self._policy.consent)

    async def answers(self, link: MessageLink) -> tuple[dict[str, bool], dict[str, bool]]:
        """Return the channels that a person can be written to on, with their answers, and the answers about topics.

        Args:
            link: The address by which the person has come.

        Raises:
            RefusedError: Redis does not answer.
        """
        try:
            owner = await self._identities.owner(link.identifier_hash)
            stored = None if owner is None else await self._profiles.get(owner)
        except (RedisError, OSError) as error:
            log.warning("the answers of a person cannot be read: %s", type(error).__name__)
            raise RefusedError(503, "profiles_unreachable", "Profiles cannot be read now: try again.", 2) from None
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
