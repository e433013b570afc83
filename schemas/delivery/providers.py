"""The section `providers` of `delivery.yaml`: what the senders of messages need besides their secrets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from schemas.delivery.templates import Language

ProviderName = Literal["postmark", "ses", "twilio", "telegram", "messenger", "whatsapp_cloud", "fcm"]
"""A provider whose API an adapter calls."""

CHANNELS_OF: Mapping[str, tuple[str, ...]] = {
    "postmark": ("email",),
    "ses": ("email",),
    "twilio": ("sms", "whatsapp"),
    "telegram": ("telegram",),
    "messenger": ("messenger",),
    "whatsapp_cloud": ("whatsapp",),
    "fcm": ("app_push", "web_push"),
}
"""The channels that each provider sends on."""

Text = Annotated[str, StringConstraints(pattern=r"^[^\s/?#&]+$", max_length=200)]


class _Provider(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Postmark(_Provider):
    """Postmark's API; `stream` is the message stream of what is no transaction."""

    stream: Text = "broadcast"
    transactional_stream: Text = "outbound"


class AmazonSes(_Provider):
    """Amazon SES, API version 2; `configuration_set` has the event destination of its reports."""

    region: Annotated[str, StringConstraints(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$")]
    configuration_set: Text | None = None


class Twilio(_Provider):
    """Twilio's Messages API.

    Attributes:
        sender: A number such as +4930123, or the SID of a messaging service, `MG…`.
        whatsapp_sender: The number of WhatsApp messages.
        reports: The address of the source `twilio` at the collector, such as
            `https://events.shop.example/v1/hooks/twilio`: reports about each message go there.
    """

    sender: Text
    whatsapp_sender: Text | None = None
    reports: Annotated[str, StringConstraints(pattern=r"^https://[^\s?#]+$")] | None = None


class Telegram(_Provider):
    """Telegram's Bot API."""


class Messenger(_Provider):
    """The Send API of Facebook Messenger, for the page of its token."""

    version: Annotated[str, StringConstraints(pattern=r"^v\d+\.\d$")] = "v24.0"


class ApprovedTemplate(_Provider):
    """A template that WhatsApp has approved; its one variable, if it has one, is the text of the message.

    Attributes:
        name: Its name at WhatsApp.
        languages: Its languages there, by the language of our text, such as `{en: en_US}`; others have our code.
        has_text: It has a variable for the text in its body.
    """

    name: Text
    languages: dict[Language, Text] = Field(default_factory=dict)
    has_text: bool = True


class WhatsAppCloud(_Provider):
    """WhatsApp's Cloud API.

    Attributes:
        phone_number_id: The id of the number that sends.
        templates: The approved templates, by the name of our template. A message of any other template is free text,
            which WhatsApp delivers only within 24 hours of the person's last message.
        version: Of the API.
    """

    phone_number_id: Annotated[str, StringConstraints(pattern=r"^\d+$")]
    templates: dict[str, ApprovedTemplate] = Field(default_factory=dict)
    version: Annotated[str, StringConstraints(pattern=r"^v\d+\.\d$")] = "v24.0"


class FirebaseMessaging(_Provider):
    """Firebase Cloud Messaging, HTTP v1; the file of a service account that may send."""

    service_account_file: Path


class Providers(_Provider):
    """The providers in use, by name."""

    postmark: Postmark | None = None
    ses: AmazonSes | None = None
    twilio: Twilio | None = None
    telegram: Telegram | None = None
    messenger: Messenger | None = None
    whatsapp_cloud: WhatsAppCloud | None = None
    fcm: FirebaseMessaging | None = None
