"""The addresses in a message that lead over the collector: clicks, the opening, unsubscription and preferences.

Only links to the hosts of `LinkRules` are replaced, so the collector redirects nowhere that the operator has not named,
whatever a product's address or an event's property says. A link that cannot be replaced stays as it is: a message whose
clicks are not counted is better than one without its link.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from processors.delivery.actions import Action, identifiers_of
from processors.delivery.link_tokens import LinkTokens
from processors.delivery.templates import sms_segments
from schemas.delivery.links import LINK_PATHS, LinkKind, LinkRules, MessageLink
from schemas.delivery.templates import DEFAULT_MESSAGE_FORMAT, MESSAGE_FORMATS, SMS_SEGMENTS, Rendered
from schemas.identity.resolution import Claim

MAX_TARGET_CHARS = 2_000
"""Longer addresses stay as they are: with the token around them they would be too long for some programs."""

HashIdentifier = Callable[[str, str], Claim | None]
"""Returns the claim of an identifier of a type and a value; None: it is malformed."""

_ANCHOR = re.compile(r"<(?:a|area|v:[a-z]+)\b[^>]*>", re.IGNORECASE)
_HREF = re.compile(r"""((?<![\w-])href\s*=\s*)(?:"([^"]*)"|'([^']*)')""", re.IGNORECASE)
_UNTRACKED = re.compile(r"\bdata-untracked\b", re.IGNORECASE)
_ADDRESS = re.compile(r"https?://[^\s<>\"'\\]+", re.IGNORECASE)
_HOST = re.compile(r"[a-z0-9_.-]+")
"""A host that every program reads alike; whatever else stands there, such as %2F, some take for its end."""
_URL_CHARACTERS = "!#$%&'()*+,-./:;=?@[]_~"
"""Characters of an address that stay as they are: those of RFC 3986. A header can hold no others."""
_AFTER_ADDRESS = ".,;:!?)]}"
_NAMED_BY_SOURCE = frozenset({"messenger", "telegram"})
"""Channels that the rules of touches tell by `utm_source`: no medium is common for them."""
_END_OF_BODY = re.compile(r"</body\s*>", re.IGNORECASE)
_SECTION: Mapping[str, Any] = {}


class MessageLinks(NamedTuple):
    """The addresses of one message.

    Attributes:
        unsubscribe_url: Where the person unsubscribes from the channel.
        preferences_url: Where the person says which channels and topics they want.
    """

    unsubscribe_url: str
    preferences_url: str
    link: MessageLink
    writer: LinkWriter
    is_followed: bool

    def replaced(self, rendered: Rendered) -> Rendered:
        """Return the message with the addresses of the collector in place of its links."""
        return self.writer.replaced(self.link, rendered) if self.is_followed else rendered


class LinkWriter:
    """Writes the addresses of messages.

    Args:
        tokens: Signs them.
        base_url: The collector's public address.
        rules: Which links are followed.
        hash_identifier: Makes the hash by which a message's person is found.
    """

    def __init__(self, tokens: LinkTokens, base_url: str, rules: LinkRules, hash_identifier: HashIdentifier) -> None:
        self._tokens = tokens
        self._base = base_url.rstrip("/")
        self._rules = rules
        self._hash = hash_identifier

    def of(self, action: Action, document: Mapping[str, Any], now_ms: int) -> MessageLinks | None:
        """Return the addresses of a message; None: its person cannot be named by an identifier.

        Links of a person who has said no to being measured are not followed; unsubscription and preferences work.
        """
        claims = (self._hash(one["type"], one["value"]) for one in identifiers_of(action))
        claim = next((one for one in claims if one is not None), None)
        if claim is None:
            return None
        campaign = action.get("campaign") or {}
        link = MessageLink(
            kind="click",
            message_id=action["idempotency_key"],
            channel=action["channel"],
            identifier_type=claim.type,
            identifier_hash=claim.identifier_hash,
            sent_s=now_ms // 1000,
            language=_text(action.get("language")),
            journey=_text(action.get("journey")),
            template=_text(action.get("template")),
            variant=_text(action.get("variant")),
            campaign_id=_text(campaign.get("id")),
            campaign_name=_text(campaign.get("name")),
        )
        measured = document.get("consent", _SECTION).get("purposes", _SECTION).get("analytics")
        return MessageLinks(
            self._address(link, "unsubscribe"),
            self._address(link, "preferences"),
            link,
            self,
            link.channel in self._rules.channels and not (measured and measured[0] is False),
        )

    def replaced(self, link: MessageLink, rendered: Rendered) -> Rendered:
        """Return a message with the addresses of the collector in place of its links, and the pixel of an e-mail."""
        link = link._replace(language=rendered.language)
        written = {"text": self._in_text(link, rendered.text), "link": self._followed(link, rendered.link)}
        if rendered.html:
            written["html"] = self._in_html(link, rendered.html)
        replaced = rendered._replace(**{part: text for part, text in written.items() if text})
        return replaced if _fits(link.channel, replaced) else replaced._replace(text=rendered.text)

    def _in_html(self, link: MessageLink, page: str) -> str:
        def in_tag(tag: re.Match[str]) -> str:
            return tag[0] if _UNTRACKED.search(tag[0]) else _HREF.sub(in_attribute, tag[0], count=1)

        def in_attribute(found: re.Match[str]) -> str:
            address = html.unescape(found[2] if found[2] is not None else found[3]).strip()
            followed = self._followed(link, address)
            return found[0] if followed == address else f'{found[1]}"{html.escape(followed)}"'

        page = _ANCHOR.sub(in_tag, page)
        if not self._rules.opens:
            return page
        pixel = (
            f'<img src="{self._address(link, "open")}.gif" width="1" height="1" alt="" '
            'style="display:block;border:0;width:1px;height:1px">'
        )
        ends = list(_END_OF_BODY.finditer(page))
        at = ends[-1].start() if ends else len(page)
        return page[:at] + pixel + page[at:]

    def _in_text(self, link: MessageLink, text: str) -> str:
        def in_address(found: re.Match[str]) -> str:
            address = found[0].rstrip(_AFTER_ADDRESS)
            return self._followed(link, address) + found[0][len(address) :]

        return _ADDRESS.sub(in_address, text)

    def _followed(self, link: MessageLink, address: str) -> str:
        """Return the address of the collector for a link; the link itself, if it is not followed."""
        if not _ADDRESS.fullmatch(address) or address.startswith(f"{self._base}/"):
            return address
        try:
            host = (urlsplit(address).hostname or "").rstrip(".")
            target = quote(self._with_parameters(link, address), safe=_URL_CHARACTERS)
        except ValueError:
            return address
        if not _HOST.fullmatch(host) or not any(host == one or host.endswith(f".{one}") for one in self._rules.hosts):
            return address
        return address if len(target) > MAX_TARGET_CHARS else self._address(link._replace(target=target), "click")

    def _with_parameters(self, link: MessageLink, address: str) -> str:
        if not self._rules.utm_source:
            return address
        parts = urlsplit(address)
        given = {name.lower() for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
        wanted = {
            "utm_source": link.channel if link.channel in _NAMED_BY_SOURCE else self._rules.utm_source,
            "utm_medium": link.channel,
            "utm_campaign": link.campaign_name or link.journey,
            "utm_id": link.campaign_id,
            "utm_content": link.variant or link.template,
        }
        added = urlencode({name: value for name, value in wanted.items() if value and name not in given})
        if any(name.startswith("utm_") for name in given) or not added:
            return address  # a campaign that the author has tagged is theirs, whole
        return urlunsplit(parts._replace(query=f"{parts.query}&{added}" if parts.query else added))

    def _address(self, link: MessageLink, kind: LinkKind) -> str:
        target = link.target if kind == "click" else ""
        return self._base + LINK_PATHS[kind] + self._tokens.sign(link._replace(kind=kind, target=target))


def _fits(channel: str, rendered: Rendered) -> bool:
    """Return whether a text with longer addresses still is within the limits of its channel."""
    if channel == "sms":
        return sms_segments(rendered.text) <= SMS_SEGMENTS
    longest = MESSAGE_FORMATS.get(channel, DEFAULT_MESSAGE_FORMAT).longest.get("text")
    return longest is None or len(rendered.text) <= longest


def _text(value: object) -> str:
    return value[:200] if isinstance(value, str) else ""
