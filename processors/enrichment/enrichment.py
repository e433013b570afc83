"""Enriches an event before its person is resolved: device, system, browser, place, and whether it is a bot's.

What is found goes into the section `enriched` of the resolved touchpoint, with the versions of the rules and of the
location database. So every later stage sees it, and a replay with newer ones restates it. What the producer says itself
stays where it is and counts first. The country of a network address is where a connection is, not where a telephone
number is at home: no identifier is read by it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import ip_address, ip_network
from typing import Any, Literal, NamedTuple

from processors.enrichment.user_agents import RULES, UserAgents
from processors.identity.countries import region_of
from schemas.enrichment.bots import FACTS, BotReason
from schemas.events.messages import STEPS
from schemas.events.touchpoint import Event

AddressPolicy = Literal["full", "truncated", "none"]
"""How much of a network address is kept once the place is known."""

MAX_CACHED, MAX_CACHED_CHARS = 50_000, 1_000
"""Combinations of user agent and address cached before the cache is cleared, about 20 MB, and the longest of them: a
producer may send texts of 8,192 characters, each another one."""

_ACTS = frozenset({"opened", "clicked", "unsubscribed"})
"""Steps of a message that its receiver takes, or a program in their place."""
_PREFETCHING = "Mozilla/5.0"
"""All that Apple's Mail Privacy Protection gives as its user agent."""
_FLAGS = ("machine", "is_machine", "machine_open", "machine_click", "sg_machine_open", "bot", "is_bot", "bot_click")
"""Properties by which senders say that a program opened or clicked: SendGrid `sg_machine_open`, Mailgun `bot`, …"""
_NESTED_FLAGS = ("client-info", "client_info")
"""Where Mailgun has its `bot`."""
_NO = frozenset({"", "false", "no", "none", "null", "0", "human"})
_NO_VERDICT, _VERDICT, _PAGE, _OPENED = range(4)


class Place(NamedTuple):
    """Where a network address is: country (ISO 3166) and city (English), each empty if it is not known."""

    country: str = ""
    city: str = ""


class LocationDatabase(NamedTuple):
    """A location database.

    Attributes:
        locate: Returns the place of a network address; it never raises, whatever the text.
        version: Name and day of the database.
    """

    locate: Callable[[str], Place]
    version: str


class Enrichment:
    """Enriches events.

    Args:
        user_agents: Reads user agents.
        locations: Finds places; None: none are found.
        addresses: How much of a network address is kept.
    """

    def __init__(
        self, user_agents: UserAgents, locations: LocationDatabase | None = None, addresses: AddressPolicy = "full"
    ) -> None:
        self._user_agents = user_agents
        self._locations = locations
        self._addresses = addresses
        self._known: dict[tuple[Any, ...], dict[str, str]] = {}

    def __call__(self, event: Event) -> None:
        """Add the section `enriched`, and shorten the network address; identifiers, time and amounts stay as they are.

        Args:
            event: In its canonical form; changed in place. Its section may be shared with other events: read only.
        """
        name = event["event"]
        step = STEPS[name][1] if name in STEPS else None
        context = event.get("context")
        found = None if context is None else self._found(name, step, event["channel"], context)
        if (
            step is not None
            and step in _ACTS
            and (properties := event.get("properties"))
            and _is_by_program(properties)
        ):
            found = {**(found or {}), "bot": "provider"}
        if found:
            event["enriched"] = found
        if context is not None and self._addresses != "full" and "ip" in context:
            self._shorten(context)

    def _found(self, name: str, step: str | None, channel: str, context: Mapping[str, Any]) -> Mapping[str, str] | None:
        """Return what the context shows: cached by all that it depends on."""
        user_agent, country = context.get("user_agent"), None
        address = context.get("ip") if self._locations else None
        if "geo" in context and (country := _stated_country(context["geo"])) is not None:
            address = None
        if user_agent is None and address is None and country is None:
            return None
        if step is not None:
            role = _OPENED if step == "opened" else _VERDICT if step in _ACTS else _NO_VERDICT
        elif name in FACTS:
            role = _NO_VERDICT
        else:
            role = _PAGE if channel == "web" and "page" in context else _VERDICT
        key = (user_agent, address, country, role)
        known = self._known.get(key)
        if known is None:
            known = self._compute(*key)
            if sum(map(len, filter(None, key[:3]))) > MAX_CACHED_CHARS:
                return known
            if len(self._known) >= MAX_CACHED:
                self._known.clear()
            self._known[key] = known
        return known

    def _compute(self, user_agent: str | None, address: str | None, country: str | None, role: int) -> dict[str, str]:
        found: dict[str, str] = {}
        versions = []
        if user_agent:
            client = self._user_agents.read(user_agent)
            found |= {"device": client.device, "os": client.os, "browser": client.browser}
            found["bot"] = _verdict(client.bot, user_agent, role) or ""
            if any(found.values()):
                versions.append(RULES)
        if country:
            code = region_of(country)
            found["country"] = code if code != country else ""
        elif address and self._locations:
            place = self._locations.locate(address)
            found |= {"country": place.country, "city": place.city}
            versions.append(self._locations.version)
        found = {name: value for name, value in found.items() if value}
        if found and versions:
            found["by"] = ", ".join(versions)
        return found

    def _shorten(self, context: dict[str, Any]) -> None:
        address = truncated(context["ip"]) if self._addresses == "truncated" else ""
        if address:
            context["ip"] = address
        else:
            del context["ip"]


def truncated(address: str) -> str:
    """Return the network of an address: without the last byte of IPv4, the first 48 bits of IPv6; empty: it is none."""
    try:
        found = ip_address(address.strip())
    except ValueError:
        return ""
    if found.version == 6 and found.ipv4_mapped:
        found = found.ipv4_mapped
    return str(ip_network((found, 24 if found.version == 4 else 48), strict=False).network_address)


def is_bot(event: Mapping[str, Any]) -> bool:
    """Return whether a resolved event is a bot's, as far as the event alone shows."""
    enriched = event.get("enriched")
    return enriched is not None and "bot" in enriched


def _stated_country(geo: Mapping[str, Any]) -> str | None:
    """Return the country that a producer names; empty: a city alone; None: no place."""
    country = geo.get("country")
    if isinstance(country, str) and country:
        return country
    return "" if geo.get("city") else None


def _verdict(bot: BotReason | None, user_agent: str, role: int) -> BotReason | None:
    if role == _NO_VERDICT:
        return None
    if role == _OPENED and user_agent.strip() == _PREFETCHING:
        return "prefetch"
    # Apps and servers send by such libraries on a person's behalf; but they show no pages.
    return None if bot in ("library", "no_user_agent") and role != _PAGE else bot


def _is_by_program(properties: Mapping[str, Any]) -> bool:
    """Return whether the sender of a message says that a program opened or clicked it."""
    if any(name in properties and _is_yes(properties[name]) for name in _FLAGS):
        return True
    for name in _NESTED_FLAGS:
        nested = properties.get(name)
        if isinstance(nested, dict) and _is_yes(nested.get("bot")):
            return True
    method = properties.get("method")
    return isinstance(method, str) and method.strip().upper() == "HEAD"  # a person's browser gets the page


def _is_yes(value: object) -> bool:
    if isinstance(value, str):
        return value.strip().lower() not in _NO
    return isinstance(value, bool | int | float) and bool(value)
