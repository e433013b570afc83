"""Providers of messages: which adapters are built of the definitions, and what is said of a missing secret."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from deploy.operations.definition_files import DefinitionError
from deploy.operations.senders import provider_adapters
from deploy.settings import Settings
from schemas.delivery.outbound import DeliveryDefinitions

PROVIDERS: dict[str, Any] = {
    "postmark": {}, "ses": {"region": "eu-central-1"}, "twilio": {"sender": "+4930123"}, "telegram": {},
    "messenger": {}, "whatsapp_cloud": {"phone_number_id": "77"},
}  # fmt: skip
SECRETS = "postmark=a,ses=id:key,twilio=AC1:token,telegram=1:a,messenger=b,whatsapp_cloud=c"


def definitions(channels: dict[str, str], providers: dict[str, Any] = PROVIDERS) -> DeliveryDefinitions:
    routes = {channel: {"through": through} for channel, through in channels.items()}
    return DeliveryDefinitions.model_validate(
        {"sender": "Shop <news@shop.example>", "channels": routes, "providers": providers}
    )


def built(channels: dict[str, str], secrets: str = SECRETS) -> list[str]:
    return sorted(provider_adapters(Settings(sender_secrets=SecretStr(secrets)), definitions(channels)))


def test_the_providers_that_channels_go_through_are_built() -> None:
    everywhere = {"email": "postmark", "sms": "twilio", "telegram": "telegram", "whatsapp": "whatsapp_cloud"}

    assert ["postmark", "telegram", "twilio", "whatsapp_cloud"] == built(everywhere)
    assert ["messenger", "ses", "twilio"] == built({"email": "ses", "messenger": "messenger", "whatsapp": "twilio"})
    assert [] == built({"email": "topic"}, "")


@pytest.mark.parametrize(
    ("secrets", "said"),
    [
        pytest.param("", "set THROUGHLINE_SENDER_SECRETS to ses=key id:secret key", id="none"),
        pytest.param("ses=key", "set THROUGHLINE_SENDER_SECRETS to ses=key id:secret key", id="half of it"),
        pytest.param("hunter2", "part 1 should be provider=secret", id="of nobody"),
        pytest.param("ses=id:key,mailgun=hunter2", "part 2 should be provider=secret", id="of no provider"),
    ],
)
def test_a_secret_that_is_missing_is_said_to_be_and_never_shown(secrets: str, said: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        built({"email": "ses"}, secrets)

    assert said in str(refused.value)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("channels", "providers", "said"),
    [
        pytest.param({"email": "twilio"}, PROVIDERS, "email: twilio sends sms, whatsapp", id="another channel"),
        pytest.param({"sms": "twilio"}, {}, "sms: providers has no twilio", id="without its section"),
    ],
)
def test_a_route_that_cannot_work_is_an_error_of_the_file(
    channels: dict[str, str], providers: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        definitions(channels, providers)
