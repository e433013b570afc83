"""What a message says: one file a message, for each channel that it may go out on and each language.

The texts are Liquid; `processors/delivery/templates.py` renders them. What a channel needs and bears is in `FORMS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

SMS_SEGMENTS = 3
"""Most parts that an SMS may be sent in: each is paid for, and some networks drop longer ones."""
SUBJECT_CHARACTERS = 200
"""Longest subject: mail programs show some 60 characters, and a header line may not pass 998 bytes."""


class Form(NamedTuple):
    """What a channel's message is made of.

    Attributes:
        required: Parts that it must have.
        optional: Parts that it may have.
        longest: Most characters of a rendered part.
    """

    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    longest: Mapping[str, int] = {}


_PUSH = Form(("title", "text"), ("link",), {"title": 65, "text": 240})
PLAIN = Form(("text",), ("title", "link"))
"""The form of a channel that is not in `FORMS`."""
FORMS: dict[str, Form] = {
    "email": Form(("subject", "html", "text"), ("preview",), {"subject": SUBJECT_CHARACTERS, "preview": 200}),
    "sms": Form(("text",)),  # counted in segments, not in characters
    "app_push": _PUSH,
    "web_push": _PUSH,
    "whatsapp": Form(("text",), ("link",), {"text": 1024}),
    "messenger": Form(("text",), ("link",), {"text": 2000}),
    "telegram": Form(("text",), ("link",), {"text": 4096}),
}
"""What each channel's message is made of, with the limits that its networks publish."""

Liquid = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=100_000)]
Language = Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}(-[A-Z][A-Za-z]{1,3})?$")]


class _Definition(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Content(_Definition):
    """One message on one channel in one language.

    Attributes:
        subject: Of an e-mail.
        preview: What mail programs show after the subject.
        html: Of an e-mail; values are escaped.
        text: The words; of an e-mail, for programs that show no HTML.
        title: Of a push message.
        link: Where a tap leads.
    """

    subject: Liquid | None = None
    preview: Liquid | None = None
    html: Liquid | None = None
    text: Liquid | None = None
    title: Liquid | None = None
    link: Liquid | None = None

    def parts(self) -> dict[str, str]:
        """The parts that are there, by name."""
        return {name: value for name, value in self if value is not None}


class TemplateDefinition(_Definition):
    """A message in all its forms.

    Attributes:
        description: What it is for, for those who choose it.
        default_language: The language of people whose own is not there; every channel must have it.
        channels: By channel, then by language.
    """

    description: Annotated[str, StringConstraints(min_length=1, max_length=500)]
    default_language: Language = "en"
    channels: Annotated[dict[str, Annotated[dict[Language, Content], Field(min_length=1)]], Field(min_length=1)]

    @model_validator(mode="after")
    def _complete(self) -> Self:
        for channel, languages in self.channels.items():
            if self.default_language not in languages:
                raise ValueError(f"{channel} has no text in the default language, {self.default_language}")
            form = FORMS.get(channel, PLAIN)
            for language, content in languages.items():
                given = set(content.parts())
                if missing := [part for part in form.required if part not in given]:
                    raise ValueError(f"{channel}.{language} needs {', '.join(missing)}")
                if surplus := sorted(given - {*form.required, *form.optional}):
                    raise ValueError(f"{channel}.{language} has no {', '.join(surplus)}")
        return self


class Layout(_Definition):
    """What stands around every e-mail, by language: `{{ content }}` is where the message goes.

    Attributes:
        html: Around `html`.
        text: Around `text`.
    """

    html: Annotated[dict[Language, Liquid], Field(min_length=1)]
    text: Annotated[dict[Language, Liquid], Field(min_length=1)]


class Rendered(NamedTuple):
    """A message as its receiver gets it; parts that its channel does not have are empty.

    Attributes:
        language: The language it is in.
        subject: One line.
        preview: One line.
        html: Complete HTML.
        text: The words.
        title: One line.
        link: An address.
    """

    language: str
    subject: str = ""
    preview: str = ""
    html: str = ""
    text: str = ""
    title: str = ""
    link: str = ""
