"""The adapters of providers' APIs, made of `providers` in `delivery.yaml` and of their secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from deploy.operations.definition_files import DefinitionError
from schemas.delivery.providers import ProviderName
from sinks.channels.email_apis import PostmarkAdapter, SesAdapter
from sinks.channels.firebase import FirebaseAdapter
from sinks.channels.text_apis import MessengerAdapter, TelegramAdapter, TwilioAdapter, WhatsAppCloudAdapter

if TYPE_CHECKING:
    from deploy.settings import Settings
    from processors.delivery.stage import Adapter
    from schemas.delivery.outbound import DeliveryDefinitions

_PAIRS = {"ses": "key id:secret key", "twilio": "account:auth token"}


def provider_adapters(settings: Settings, definitions: DeliveryDefinitions) -> dict[str, Adapter]:
    """Build the adapter of each provider that a channel goes through.

    Raises:
        DefinitionError: A secret is missing or has another form, or belongs to no provider.
        ValueError: A file that a provider needs is wrong.
    """
    secrets = _secrets(settings)
    used = {str(route.through) for route in definitions.channels.values()}
    return {name: _adapter(name, definitions, secrets) for name in get_args(ProviderName) if name in used}


def _adapter(name: str, definitions: DeliveryDefinitions, secrets: dict[str, str]) -> Adapter:
    rules, sender, reply_to = definitions.providers, definitions.sender, definitions.reply_to or ""
    if name == "fcm" and rules.fcm is not None:
        return FirebaseAdapter(rules.fcm)
    secret = secrets.get(name, "")
    user, _, password = secret.partition(":")
    if not secret or (name in _PAIRS and not password):
        form = _PAIRS.get(name, "secret")
        raise DefinitionError(f"a channel goes through {name}: set THROUGHLINE_SENDER_SECRETS to {name}={form}")
    if name == "postmark" and rules.postmark is not None:
        return PostmarkAdapter(secret, sender, rules.postmark, reply_to=reply_to)
    if name == "ses" and rules.ses is not None:
        return SesAdapter(user, password, sender, rules.ses, reply_to=reply_to)
    if name == "twilio" and rules.twilio is not None:
        return TwilioAdapter(user, password, rules.twilio)
    if name == "messenger" and rules.messenger is not None:
        return MessengerAdapter(secret, rules.messenger)
    if name == "whatsapp_cloud" and rules.whatsapp_cloud is not None:
        return WhatsAppCloudAdapter(secret, rules.whatsapp_cloud)
    return TelegramAdapter(secret)


def _secrets(settings: Settings) -> dict[str, str]:
    found: dict[str, str] = {}
    parts = filter(None, (part.strip() for part in settings.sender_secrets.get_secret_value().split(",")))
    for number, part in enumerate(parts, start=1):
        name, _, secret = part.partition("=")
        if name not in get_args(ProviderName) or not secret:
            known = ", ".join(get_args(ProviderName))
            # The part itself is not shown: it may be a secret.
            raise DefinitionError(
                f"THROUGHLINE_SENDER_SECRETS: part {number} should be provider=secret, with one of {known}"
            )
        found[name] = secret
    return found
