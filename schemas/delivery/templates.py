"""Template files: the texts of one message, by channel and language.

The texts are Liquid; `processors/delivery/templates.py` renders them. `MESSAGE_FORMATS` has the parts of a message on
each channel, and their greatest lengths.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

SMS_SEGMENTS = 3
"""The most parts that an SMS may be sent in: each part is paid for, and some networks drop longer messages."""
SUBJECT_CHARACTERS = 200
"""Longest subject: mail programs show some 60 characters, and a header line may not pass 998 bytes."""


class MessageFormat(NamedTuple):
    """The parts of a message on one channel.

    Attributes:
        required: Parts that a template must have.
        optional: Parts that a template may have.
        longest: The most characters of a rendered part, by part.
    """

    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    longest: Mapping[str, int] = {}


_PUSH = MessageFormat(("title", "text"), ("link",), {"title": 65, "text": 240})
DEFAULT_MESSAGE_FORMAT = MessageFormat(("text",), ("title", "link"))
"""The format of a channel that is not in `MESSAGE_FORMATS`."""
MESSAGE_FORMATS: dict[str, MessageFormat] = {
    "email": MessageFormat(("subject", "html", "text"), ("preview",), {"subject": SUBJECT_CHARACTERS, "preview": 200}),
    "sms": MessageFormat(("text",)),  # counted in segments, not in characters
    "app_push": _PUSH,
    "web_push": _PUSH,
    "whatsapp": MessageFormat(("text",), ("link",), {"text": 1024}),
    "messenger": MessageFormat(("text",), ("link",), {"text": 2000}),
    "telegram": MessageFormat(("text",), ("link",), {"text": 4096}),
}
"""The format of each channel, with the limits that the networks publish."""

Liquid = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=100_000)]
Language = Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}(-[A-Z][A-Za-z]{1,3})?$")]


class _Definition(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Content(_Definition):
    """One message on one channel in one language.

    Attributes:
        subject: Subject of an e-mail.
        preview: The text that mail programs show after the subject.
        html: HTML of an e-mail; values are escaped.
        text: Plain text; in an e-mail, for programs that show no HTML.
        title: Title of a push message.
        link: The address that a tap on the message opens.
    """

    subject: Liquid | None = None
    preview: Liquid | None = None
    html: Liquid | None = None
    text: Liquid | None = None
    title: Liquid | None = None
    link: Liquid | None = None

    def parts(self) -> dict[str, str]:
        """Return the parts that have a text, by name."""
        return {name: value for name, value in self if value is not None}


class TemplateDefinition(_Definition):
    """One template file: a message on all its channels, in all its languages.

    Attributes:
        description: The purpose of the message, for the marketers who choose it.
        default_language: The language for people in whose language there is no text; every channel must have it.
        channels: The texts by channel, then by language.
    """

    description: Annotated[str, StringConstraints(min_length=1, max_length=500)]
    default_language: Language = "en"
    channels: Annotated[dict[str, Annotated[dict[Language, Content], Field(min_length=1)]], Field(min_length=1)]

    @model_validator(mode="after")
    def _complete(self) -> Self:
        for channel, languages in self.channels.items():
            if self.default_language not in languages:
                raise ValueError(f"{channel} has no text in the default language, {self.default_language}")
            form = MESSAGE_FORMATS.get(channel, DEFAULT_MESSAGE_FORMAT)
            for language, content in languages.items():
                given = set(content.parts())
                if missing := [part for part in form.required if part not in given]:
                    raise ValueError(f"{channel}.{language} needs {', '.join(missing)}")
                if surplus := sorted(given - {*form.required, *form.optional}):
                    raise ValueError(f"{channel}.{language} has no {', '.join(surplus)}")
        return self


class Layout(_Definition):
    """The frame of every e-mail, by language; `{{ content }}` marks the place of the message.

    Attributes:
        html: The frame of the part `html`.
        text: The frame of the part `text`.
    """

    html: Annotated[dict[Language, Liquid], Field(min_length=1)]
    text: Annotated[dict[Language, Liquid], Field(min_length=1)]


class Rendered(NamedTuple):
    """A message rendered for one person; parts that its channel does not have are empty.

    Attributes:
        language: The language of the texts.
        subject: Subject of an e-mail, one line.
        preview: The text after the subject, one line.
        html: A complete HTML document.
        text: Plain text.
        title: Title of a push message, one line.
        link: A web address.
    """

    language: str
    subject: str = ""
    preview: str = ""
    html: str = ""
    text: str = ""
    title: str = ""
    link: str = ""
