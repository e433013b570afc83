"""The links of our own messages: their keys, by the settings, and what writes them, by the definitions."""

from __future__ import annotations

from hashlib import blake2b

from deploy.operations.definition_files import DefinitionError, identity_policy
from deploy.settings import Settings
from processors.delivery.link_tokens import LinkTokens
from processors.delivery.links import LinkWriter
from processors.identity.claims import claim
from schemas.delivery.outbound import DeliveryDefinitions
from schemas.identity.resolution import OWN_SOURCE, Claim

DERIVED = "derived"
"""The word in `THROUGHLINE_LINK_SECRET` that stands for the key of a deployment that sets none."""


def link_tokens(settings: Settings) -> LinkTokens:
    """Return what signs and reads the tokens of links.

    Raises:
        DefinitionError: A key is too short.
    """
    stated = [part.strip() for part in settings.link_secret.get_secret_value().split(",") if part.strip()]
    try:
        return LinkTokens([_derived(settings) if part == DERIVED else part for part in stated or [DERIVED]])
    except ValueError as error:
        raise DefinitionError(str(error)) from error


def link_writer(settings: Settings, definitions: DeliveryDefinitions) -> LinkWriter | None:
    """Return what writes the links of messages; None: the definitions have no section `links`.

    Raises:
        DefinitionError: The collector's public address is not set, or a key is too short.
    """
    if definitions.links is None:
        return None
    if not settings.collector_public_url:
        raise DefinitionError(
            f"{settings.delivery_file}: links: set THROUGHLINE_COLLECTOR_PUBLIC_URL, where they lead: the address"
            " of the collector as the programs of people call it, such as https://links.shop.example"
        )
    policy, secret = identity_policy(settings), settings.identity_secret.get_secret_value().encode()

    def hashed(kind: str, value: str) -> Claim | None:
        return claim(kind, value, policy, secret, OWN_SOURCE)

    return LinkWriter(link_tokens(settings), settings.collector_public_url, definitions.links, hashed)


def _derived(settings: Settings) -> str:
    secret = settings.identity_secret.get_secret_value().encode()
    return blake2b(secret, digest_size=32, person=b"link secret").hexdigest()
