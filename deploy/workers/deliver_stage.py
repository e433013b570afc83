"""Builds the stage `deliver`: adapters from the definitions, people from the two Redis stores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from deploy.operations.definition_files import DefinitionError, identity_policy, load
from deploy.operations.engines import load_policy
from deploy.operations.message_links import link_writer
from deploy.operations.senders import provider_adapters
from deploy.settings import Settings
from processors.delivery.coupons import CouponPools
from processors.delivery.products import Catalogue, ProductCards
from processors.delivery.recommend import Recommender, RelatedProducts
from processors.delivery.rendering import MessageRenderer
from processors.delivery.stage import Adapter, Deliver, DeliveryLedger, SendingRulesInForce
from processors.identity.claims import claim
from processors.profiles.document import read_profile
from processors.stream.ports import Durability, Publisher
from schemas.delivery.outbound import DeliveryClaim, DeliveryDefinitions
from schemas.identity.policy import IdentityPolicy
from schemas.metrics import NO_METER, Meter
from schemas.profiles.document import StoredProfile
from sinks.channels.smtp import SmtpAdapter
from sinks.channels.webhook import Destinations, WebhookAdapter


class Profiles(Protocol):
    """The profile store."""

    async def get(self, profile_id: str) -> StoredProfile | None:
        """Return a person's live profile; None when the person was erased."""


class Identities(Protocol):
    """The identity store."""

    async def owner(self, identifier_hash: bytes) -> str | None:
        """Return the id of the profile that has an identifier; None when no profile has it."""

    async def follow(self, profile_id: str) -> str | None:
        """Return the live id of a profile, after merges; None when the person was erased."""


class StoredPeople:
    """Reads people from the profile store and the identity store."""

    def __init__(self, profiles: Profiles, identities: Identities, policy: IdentityPolicy, secret: bytes) -> None:
        self._profiles = profiles
        self._identities = identities
        self._policy = policy
        self._secret = secret

    async def document(self, profile_id: str) -> dict[str, Any] | None:
        """Return the profile document; None when the person was erased."""
        stored = await self._profiles.get(profile_id)
        return None if stored is None else read_profile(stored)

    async def reached_at(self, profile_id: str, address: Mapping[str, str]) -> bool:
        """Return whether an address still belongs to a person; true for types that do not pass to others."""
        kind, value = address["type"], address["value"]
        if not self._policy.rule(kind).transferable:
            return True  # a family's mailbox reaches both, though only one of them owns the identifier
        made = claim(kind, value, self._policy, self._secret)
        owner = await self._identities.owner(made.identifier_hash) if made else None
        return owner is None or owner == await self._identities.follow(profile_id)


class DurableLedger:
    """A ledger whose claims are durable before their messages are sent: a claim that is lost would let them go twice.

    Args:
        ledger: The ledger.
        durability: Waits until its writes are durable.
    """

    def __init__(self, ledger: DeliveryLedger, durability: Durability) -> None:
        self._ledger = ledger
        self._durability = durability
        self.postpone, self.hold = ledger.postpone, ledger.hold
        self.settle, self.acknowledge = ledger.settle, ledger.acknowledge

    async def claim(self, key: str, action: bytes, now_ms: int, lease_ms: int) -> DeliveryClaim:
        """Claim a message; return when the claim is durable."""
        server = await self._durability.begin()
        claim = await self._ledger.claim(key, action, now_ms, lease_ms)
        if claim.state == "claimed":
            await self._durability.reached(server)
        return claim

    async def due(self, now_ms: int, lease_ms: int, count: int) -> list[tuple[str, DeliveryClaim]]:
        """Claim messages that are due; return when the claims are durable."""
        server = await self._durability.begin()
        claims = await self._ledger.due(now_ms, lease_ms, count)
        if any(claim.state == "claimed" for _, claim in claims):
            await self._durability.reached(server)
        return claims


def build_deliver(
    settings: Settings, *, rules: SendingRulesInForce, ledger: DeliveryLedger, publisher: Publisher,
    profiles: Profiles, identities: Identities, related: RelatedProducts, catalogue: Catalogue,
    coupons: CouponPools, clock: Callable[[], int], failpoint: Callable[[str], None],
    durability: Durability | None = None, meter: Meter = NO_METER,
) -> Deliver:  # fmt: skip
    """Read the definitions and build the stage.

    Raises:
        DefinitionError: A file is wrong, or names a destination that the settings do not have.
    """
    definitions = load(settings.delivery_file, DeliveryDefinitions)
    load_policy(settings, definitions)  # an undeliverable channel is an error at the start, not at its first message
    return Deliver(
        ledger if durability is None else DurableLedger(ledger, durability),
        publisher,
        people=StoredPeople(
            profiles, identities, identity_policy(settings), settings.identity_secret.get_secret_value().encode()
        ),
        renderer=MessageRenderer(Recommender(related), ProductCards(catalogue, related, clock)),
        coupons=coupons,
        rules=rules,
        definitions=definitions,
        adapters=adapters(settings, definitions),
        clock=clock,
        failpoint=failpoint,
        topic_prefix=settings.topic_prefix,
        meter=meter,
        links=link_writer(settings, definitions),
    )


def adapters(settings: Settings, definitions: DeliveryDefinitions) -> dict[str, Adapter]:
    """Build an adapter for each route in use: `smtp`, a provider's, and `webhook:NAME` for each webhook.

    Raises:
        DefinitionError: A setting that an adapter needs is missing or wrong.
    """
    found: dict[str, Adapter] = {}
    try:
        if any(route.through == "smtp" for route in definitions.channels.values()):
            url = settings.smtp_url.get_secret_value()
            found["smtp"] = SmtpAdapter(url, definitions.sender, reply_to=definitions.reply_to or "")
        found |= provider_adapters(settings, definitions)
        destinations = Destinations(settings.webhook_hosts, settings.webhook_networks)
        secrets = [secret.strip() for secret in settings.webhook_secret.get_secret_value().split(",")]
        for name, target in definitions.webhooks.items():
            found[f"webhook:{name}"] = WebhookAdapter(target, secrets, destinations)
    except ValueError as error:
        raise DefinitionError(f"{settings.delivery_file}: {error}") from error
    return found
