"""Headers by which a mail provider gives back, in its webhooks, which message a report is about.

Without them a report names the provider's own id alone, and the ledger, caps and journeys cannot find their message.
Each provider reads headers of its own and removes them before delivery, so only those of the provider that the mail
goes to are written. The mappings of `deploy/definitions/hooks` read the same names: `message_id`, `journey_id`,
`template_id`, `campaign_id`, `campaign_name` and `sender`.

Sources: SendGrid, *Building an X-SMTPAPI header*; Mailgun, *Passing data to Mailgun*; Postmark, *Custom metadata*;
Amazon SES, *Specifying message tags*.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from textwrap import wrap
from typing import Any

_METADATA_CHARS = 80
"""Postmark keeps 80 characters of a value; more is for none of the providers."""
_LINE_CHARS = 60
_NOT_IN_A_TAG = re.compile(r"[^A-Za-z0-9_.@-]")


def tracking_headers(host: str, key: str, data: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers that the provider behind a mail server takes.

    Args:
        host: The mail server.
        key: The message's idempotency key.
        data: The message's fields, as in the record of `deliver.<channel>`.

    Returns:
        Header values by name, ASCII; none for a server of nobody known.
    """
    host = host.lower().rstrip(".")
    facts = message_facts(key, data)
    if host.endswith(".sendgrid.net"):
        return {"X-SMTPAPI": json.dumps({"unique_args": facts})}
    if host.endswith(".mailgun.org"):
        return {"X-Mailgun-Variables": json.dumps(facts)}
    if host == "postmarkapp.com" or host.endswith(".postmarkapp.com"):
        return {f"X-PM-Metadata-{name}": _ascii(value) for name, value in facts.items()}
    if host.startswith("email-smtp.") and host.endswith((".amazonaws.com", ".amazonaws.com.cn")):
        return {"X-SES-MESSAGE-TAGS": ", ".join(f"{n}={_NOT_IN_A_TAG.sub('_', value)}" for n, value in facts.items())}
    return {}


def message_facts(key: str, data: Mapping[str, Any]) -> dict[str, str]:
    """Return what a provider is told of a message, by the names that the mappings of its webhooks read.

    Args:
        key: The message's idempotency key.
        data: The message's fields, as in the record of `deliver.<channel>`.
    """
    campaign = data.get("campaign") or {}
    stated = {
        "message_id": key,
        "sender": "throughline",  # which has reported that it was sent: the provider's own report would be a second one
        "journey_id": data.get("journey"),
        "template_id": data.get("template"),
        "campaign_id": campaign.get("id"),
        "campaign_name": campaign.get("name"),
    }
    return {name: str(value)[:_METADATA_CHARS] for name, value in stated.items() if value}


def header_lines(headers: Mapping[str, str]) -> bytes:
    """Write headers, folded at spaces only.

    Python's own folding turns a long word into an encoded word (RFC 2047), which neither
    providers nor mail programs read in these headers.
    """
    return "".join(f"{name}: {_folded(value)}\r\n" for name, value in headers.items()).encode("ascii")


def _folded(value: str) -> str:
    return "\r\n ".join(wrap(value, _LINE_CHARS, break_long_words=False, break_on_hyphens=False))


def _ascii(value: str) -> str:
    """Escape what a header cannot hold: encoded words would come back as they are."""
    return value if value.isascii() and value.isprintable() else json.dumps(value)[1:-1]
