"""Answers the addresses in our messages: `/c/` a click, `/o/` an opening, `/u/` unsubscription, `/p/` preferences.

Opening an address changes nothing about a person: a mail filter opens all of them. Who wants to unsubscribe presses a
button, here or in the mail program, which posts for them (RFC 8058); both are stored before they are answered.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Protocol

import orjson
from aiohttp import web

from deploy.collector.authentication import SOURCE_NAME
from deploy.collector.body import Reader, header_text
from deploy.collector.link_pages import Choice, notice, preference_page, unsubscribe_page
from deploy.collector.link_records import LinkRecords
from deploy.collector.page_texts import PageTexts, channel_name, texts_for
from deploy.collector.publication import Publication
from deploy.collector.refusal import RefusedError
from deploy.collector.tally import Tally
from processors.delivery import link_events
from processors.delivery.link_events import Visitor
from processors.delivery.link_tokens import LinkTokens
from processors.delivery.templates import nearest
from processors.intake.mapping import form_fields
from schemas.delivery.links import LINK_PATHS, LinkKind, MessageLink, PreferenceRules
from schemas.records import Outgoing
from schemas.time import clock_ms

LINKS = "(links)"
"""What stands for the source in the tally."""
PIXEL = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")  # transparent, 1 x 1
_BROWSERS = ("Mozilla/", "Opera/")
"""Every browser in which a person opens a link says one of these first; programs that fetch it mostly do not."""
_FETCHED_AHEAD = ("Purpose", "Sec-Purpose", "X-Purpose", "X-Moz")
_NOT_KEPT = {"Cache-Control": "no-store, no-cache, max-age=0", "X-Robots-Tag": "noindex"}


class Preferences(Protocol):
    """What people have answered so far."""

    async def answers(self, link: MessageLink) -> tuple[dict[str, bool], dict[str, bool]]:
        """Return the channels that a person can be written to on, with their answers, and the answers about topics.

        Raises:
            RefusedError: The store does not answer.
        """


class LinkReceiver:
    """Answers the addresses in messages.

    Args:
        tokens: Reads and signs tokens.
        publication: Publishes what has to be stored before it is answered.
        reader: Reads bodies, and the client's address.
        tally: Counts.
        preferences: Reads answers.
        rules: Topics, and names of channels.
        public_url: The collector's address as browsers call it; empty: that of each request.
    """

    def __init__(
        self, tokens: LinkTokens, publication: Publication, reader: Reader, tally: Tally,
        preferences: Preferences, rules: PreferenceRules, public_url: str = "",
    ) -> None:  # fmt: skip
        self._tokens = tokens
        self._publication = publication
        self._reader = reader
        self._tally = tally
        self._preferences = preferences
        self._rules = rules
        self._base = public_url.rstrip("/")
        self.records = LinkRecords(publication, tally)

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Add the paths."""
        router.add_get("/c/{token}", self.click)
        router.add_get("/o/{token}.gif", self.open)
        router.add_get("/u/{token}", self.ask)
        router.add_post("/u/{token}", self.unsubscribe)
        router.add_get("/p/{token}", self.show)
        router.add_post("/p/{token}", self.save)

    async def click(self, http: web.Request) -> web.Response:
        """Redirect to where a link leads, whatever becomes of its event."""
        link = self._link(http, "click")
        if link is None:
            return self._no_link(http)
        visitor = self._visitor(http)
        if not visitor.user_agent.startswith(_BROWSERS):
            visitor = visitor._replace(is_program=True)
        await self._note(link_events.clicked(link, visitor, clock_ms()), "clicked")
        return web.Response(status=302, headers={"Location": link.target, **_NOT_KEPT})

    async def open(self, http: web.Request) -> web.Response:
        """Answer with an empty image, also to a token that is none."""
        link = self._link(http, "open")
        if link is not None:
            await self._note(link_events.opened(link, self._visitor(http), clock_ms()), "opened")
        return web.Response(body=PIXEL, content_type="image/gif", headers=_NOT_KEPT)

    async def ask(self, http: web.Request) -> web.Response:
        """Ask whether somebody wants to unsubscribe."""
        link = self._link(http, "unsubscribe")
        if link is None:
            return self._no_link(http)
        texts = texts_for(link.language)
        return unsubscribe_page(texts, self._channel(texts, link.channel), self._onward(link))

    async def unsubscribe(self, http: web.Request) -> web.Response:
        """Unsubscribe somebody, by the button of the page or of a mail program.

        Raises:
            RefusedError: Kafka has not confirmed; a mail provider sends it again.
        """
        link = self._link(http, "unsubscribe")
        if link is None:
            return self._no_link(http)
        texts = texts_for(link.language)
        by_program = "One-Click" in (await self._form(http)).get("List-Unsubscribe", "")
        try:
            await self._publication.publish([link_events.unsubscribed(link, clock_ms())])
        except RefusedError:
            if by_program:
                raise
            return notice(texts, texts.unsubscribe, texts.later, status=503)
        self._tally.add(LINKS, "accepted")
        said = texts.unsubscribed.format(channel=self._channel(texts, link.channel))
        return notice(texts, texts.unsubscribe, said, onward=self._onward(link))

    async def show(self, http: web.Request) -> web.Response:
        """Show what somebody has answered so far."""
        link = self._link(http, "preferences")
        if link is None:
            return self._no_link(http)
        texts = texts_for(link.language)
        try:
            channels, topics = await self._preferences.answers(link)
        except RefusedError:
            return notice(texts, texts.preferences, texts.later, status=503)
        return preference_page(
            texts,
            [Choice(f"channel.{name}", _title(self._channel(texts, name)), is_on) for name, is_on in channels.items()],
            [
                Choice(f"topic.{name}", _in_language(names, texts), topics.get(name, True))
                for name, names in self._rules.topics.items()
            ],
        )

    async def save(self, http: web.Request) -> web.Response:
        """Store somebody's answers."""
        link = self._link(http, "preferences")
        if link is None:
            return self._no_link(http)
        texts, form = texts_for(link.language), await self._form(http)
        channels, topics = _answers(form)
        try:
            known, _ = await self._preferences.answers(link)
            channels = {name: answer for name, answer in channels.items() if name in known}
            topics = {name: answer for name, answer in topics.items() if name in self._rules.topics}
            if channels or topics:
                await self._publication.publish([link_events.preferences(link, channels, topics, clock_ms())])
                self._tally.add(LINKS, "accepted")
        except RefusedError:
            return notice(texts, texts.preferences, texts.later, status=503)
        return notice(texts, texts.preferences, texts.saved, onward=self._base + http.path)

    def _link(self, http: web.Request, kind: LinkKind) -> MessageLink | None:
        http[SOURCE_NAME] = LINKS
        return self._tokens.read(http.match_info["token"], kind)

    def _no_link(self, http: web.Request) -> web.Response:
        self._tally.add(LINKS, "refused", detail="token")
        texts = texts_for(header_text(http.headers.get("Accept-Language", ""))[:2])
        return notice(texts, texts.preferences, texts.invalid, status=404)

    async def _note(self, record: Outgoing, what: str) -> None:
        await self.records.publish(record, str(orjson.loads(record.value)["event_id"]))
        self._tally.add(LINKS, "accepted")

    def _visitor(self, http: web.Request) -> Visitor:
        ahead = " ".join(http.headers.get(name, "") for name in _FETCHED_AHEAD).lower()
        return Visitor(
            http.method,
            header_text(http.headers.get("User-Agent", ""))[:500].strip(),
            self._reader.client_address(http),
            "prefetch" in ahead or "preview" in ahead,
        )

    async def _form(self, http: web.Request) -> dict[str, Any]:
        async with self._reader.raw(http) as raw:
            if (
                http.content_type == "multipart/form-data"
            ):  # as some mail providers post: one field, whose name says all
                return {"List-Unsubscribe": "One-Click"} if b"One-Click" in raw else {}
            try:
                return form_fields(raw)
            except ValueError:
                raise RefusedError(413, "too_many_parts", "The form has too many fields.") from None

    def _onward(self, link: MessageLink) -> str:
        return self._base + LINK_PATHS["preferences"] + self._tokens.sign(link._replace(kind="preferences"))

    def _channel(self, texts: PageTexts, channel: str) -> str:
        names = self._rules.channels.get(channel)
        return _in_language(names, texts) if names else channel_name(texts, channel)


def _answers(form: Mapping[str, Any]) -> tuple[dict[str, bool], dict[str, bool]]:
    """Return the answers about channels and topics that a form holds, for the boxes that it has shown."""
    asked = form.get("asked", ())
    names = [asked] if isinstance(asked, str) else [name for name in asked if isinstance(name, str)]
    found: dict[str, dict[str, bool]] = {"channel": {}, "topic": {}}
    for field in names[:100]:
        part, _, name = field.partition(".")
        if part in found and name:
            found[part][name] = form.get(field) == "yes"
    return found["channel"], found["topic"]


def _in_language(names: Mapping[str, str], texts: PageTexts) -> str:
    return names[nearest(texts.language, names, next(iter(names)))]


def _title(name: str) -> str:
    return name[:1].upper() + name[1:]
