"""Where a visitor came from: by the campaign's tag, by click ids in the address, by the referrer, in this order.

What somebody wrote into a link by hand (`utm_source`, `utm_medium`) always counts. A click id speaks where the tag says
nothing, and for its own network only: it stays in an address that is copied and shared elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote_plus

from processors.recording.sites import SiteIndex, brand, known_sites, parse, registrable_domain
from schemas.recording.touches import ArrivedBy, ClickId, Origin, SiteKind, TouchDefinitions

MAX_CACHED_REFERRERS = 20_000
MAX_CACHED_REFERRER_CHARS = 200
"""Referrers repeat; those that are cached take at most a few megabytes before the cache is cleared."""

_PASSED = "//"
"""Stands for the path of a page that visitors only pass through; no pattern of a site covers it."""
_CONTRADICTING: tuple[SiteKind, ...] = ("search", "social", "assistant")
"""Kinds of referrers that show no advertisements of other networks; but search engines show those of each other."""
_WORD_ENDS = re.compile(r"[\s_\-/|+:.]+")


class Arrival(NamedTuple):
    """Where a visitor came from.

    Attributes:
        by: The strongest sign of it.
        source: The tag's source, the click id's network or the referring host, in lower case; empty if unknown.
        path: The part of the referrer's path that decides what kind of site the host is; mostly empty.
        medium: The tag's, the click id's or `referral`, in lower case; empty if unknown.
        conflict: The network of a click id that contradicts the rest; mostly empty.
        click_id: The name of the click id that counts; mostly empty.
    """

    by: ArrivedBy
    source: str
    path: str
    medium: str
    conflict: str
    click_id: str = ""


class ArrivalRules:
    """Hosts, networks and click ids of `touches.yaml`, compiled.

    Args:
        definitions: The file's content.
    """

    def __init__(self, definitions: TouchDefinitions) -> None:
        self._definitions = definitions
        self._click_ids = {spelt: name for name in definitions.click_ids for spelt in (name.lower(), name)}
        names = "|".join(self._click_ids)
        # `;` ends `&amp;` and `&#038;`, as some mail programs and shops escape an address once too often.
        self._click_id = re.compile(rf"[?&;#]({names})=[^&;#\s]") if names else re.compile(r"(?!)(.)")
        self._click_id_values = {
            name: re.compile(rf"[?&;#](?:{name}|{name.lower()})=([^&;#\s]+)") for name in definitions.click_ids
        }
        self._own: SiteIndex[bool] = SiteIndex()
        self._passed_through: SiteIndex[bool] = SiteIndex()
        self._passed_subdomain = re.compile(definitions.ignored_subdomains or r"(?!)", re.IGNORECASE)
        self._passed_path = re.compile(definitions.ignored_paths or r"(?!)", re.IGNORECASE)
        self._ad_servers: SiteIndex[Origin] = SiteIndex()
        self._networks: SiteIndex[str] = SiteIndex()
        self._sites: SiteIndex[SiteKind] = SiteIndex()
        self._own.add(definitions.own_hosts, True)
        self._passed_through.add(definitions.ignored_referrers, True)
        for server, origin in definitions.ad_servers.items():
            self._ad_servers.add([server], origin)
        for network in definitions.networks:
            self._networks.add(network, network[0].lower())
        shipped: Mapping[Any, tuple[str, ...]] = known_sites()
        for sites in (shipped, definitions.sites):
            for kind, patterns in sites.items():
                self._sites.add(patterns, kind, covers_below=kind != "search")
        self._referrers: dict[str, str] = {}
        self._listed_networks = {network[0].lower() for network in definitions.networks}
        self._networks_of_click_ids = {name: self.network(click.source) for name, click in self._origins()}

    def click_ids_in(self, page: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the names of the click ids in a page's address, in its order; mostly none."""
        for part in (page.get("url"), page.get("search")):
            if type(part) is str and ("?" in part or "#" in part) and (found := self._click_id.findall(part)):
                return tuple([self._click_ids[name] for name in found])
        return ()

    def click_ids_of(self, campaign: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the names of the click ids that a campaign has as fields of their own; mostly none."""
        if campaign.keys().isdisjoint(self._click_ids.keys()):
            return ()
        return tuple([name for field, name in self._click_ids.items() if campaign.get(field)])

    def click_id(self, name: str, page: Mapping[str, Any], campaign: Mapping[str, Any]) -> str:
        """Return the value of a click id: the campaign's field, else in the page's address; empty if it is nowhere."""
        for field in (name, name.lower()):
            if type(value := campaign.get(field)) is str and value:
                return value
        pattern = self._click_id_values[name]
        for part in (page.get("url"), page.get("search")):
            if type(part) is str and (found := pattern.search(part)):
                return unquote_plus(found[1])
        return ""

    def referrer(self, text: object) -> str:
        """Return the referring host, with the part of its path that decides what it is; empty for no address.

        Of a path that visitors only pass through, on whichever host, that is `_PASSED`.
        """
        if type(text) is not str:
            return ""
        known = self._referrers.get(text)
        if known is not None:
            return known
        host, path = parse(text)
        indexes = (self._passed_through, self._ad_servers, self._sites)
        deciding = max((index.deciding_path(host, path.lower()) for index in indexes), key=len)
        found = host + (_PASSED if self._passed_path.search(path) else deciding)
        if len(text) <= MAX_CACHED_REFERRER_CHARS:
            if len(self._referrers) >= MAX_CACHED_REFERRERS:
                self._referrers.clear()
            self._referrers[text] = found
        return found

    def site_kind(self, source: str, path: str = "") -> SiteKind | None:
        """Return what a source is: a word of `utm_source`, a host or an address; None if that is not known."""
        if "." not in source:
            return self._sites.of_word(source)
        if not path and "/" in source:
            source, path = parse(source)
        return self._sites.of_host(source.removeprefix("www."), path.lower())

    def network(self, source: str) -> str:
        """Return the advertising network that a source belongs to; a source of no network is one alone."""
        if "." not in source:
            if found := self._networks.of_word(source):
                return found
            first = _WORD_ENDS.split(source)[0]
            return self._networks.of_word(first) or first
        host, path = parse(source)
        name = brand(host)[0].rpartition(".")[2]
        return self._networks.of_host(host, path) or self._networks.of_word(name) or name

    def arrival(
        self, source: str, medium: str, tagged: bool, click_ids: tuple[str, ...], referrer: str, host: str
    ) -> Arrival:
        """Return where a visitor came from.

        Args:
            source: The campaign's; empty if it has none.
            medium: The same.
            tagged: Whether the event has a campaign at all.
            click_ids: Names in the order of the address.
            referrer: As `referrer` returns it.
            host: The page's; empty if unknown.
        """
        source, medium = source.strip().lower(), medium.strip().lower()
        found_host, slash, found_path = referrer.partition("/")
        path = slash + found_path
        elsewhere = self._arrival_by_referrer(found_host, path, host)
        by: ArrivedBy = "campaign" if tagged else elsewhere.by
        if not click_ids:
            return Arrival(by, source, "", medium, "") if tagged else elsewhere
        if not tagged and by == "return":
            return elsewhere  # the address kept the click id of the visit that goes on
        network, conflict = self._vouching(click_ids, source, elsewhere)
        if network is None:
            return Arrival(by, source, "", medium, conflict) if tagged else elsewhere._replace(conflict=conflict)
        name = next(name for name, _ in self._origins() if name in click_ids and self._network_of(name) == network)
        click = self._definitions.click_ids[name]
        if medium in self._definitions.unpaid_media and click.medium not in self._definitions.unpaid_media:
            conflict = conflict or network
        return Arrival(
            "campaign" if tagged else "click_id", source or click.source.lower(), "", medium or click.medium.lower(),
            conflict, name if click.is_id else "",
        )  # fmt: skip

    def _vouching(self, click_ids: tuple[str, ...], source: str, elsewhere: Arrival) -> tuple[str | None, str]:
        """The network whose click id counts, if any does, and the one that contradicts the tag or the referrer."""
        networks = [self._network_of(name) for name in click_ids]
        named = self.network(source or elsewhere.source)
        if named in networks:
            return named, next((network for network in reversed(networks) if network != named), "")
        latest = networks[-1]
        if source:
            others = None if self._is_known(source) else self._sender_for_others(click_ids)
            if others is None:
                return None, latest
            return others, next((network for network in reversed(networks) if network != others), "")
        kind = self.site_kind(elsewhere.source, elsewhere.path)
        if kind in _CONTRADICTING and not (kind == "search" and self.site_kind(latest) == "search"):
            return None, latest
        return latest, next((network for network in networks if network != latest), "")

    def _is_known(self, source: str) -> bool:
        """Whether a source is a site of a known kind, or of a network that is listed."""
        return self.site_kind(source) is not None or self.network(source) in self._listed_networks

    def _sender_for_others(self, click_ids: tuple[str, ...]) -> str | None:
        """The network of the last click id of a system that sends for others; None if there is none."""
        click_id = next((one for one in reversed(click_ids) if self._definitions.click_ids[one].for_others), None)
        return None if click_id is None else self._network_of(click_id)

    def _arrival_by_referrer(self, host: str, path: str, own_host: str) -> Arrival:
        if not host:
            return _NOWHERE
        if (
            path == _PASSED
            or self._passed_through.of_host(host, path)
            or self._passed_subdomain.search(_subdomain(host))
        ):
            return Arrival("return", "", "", "", "")
        if self._own.of_host(host, path) or (own_host and registrable_domain(host) == registrable_domain(own_host)):
            return _NOWHERE
        if (server := self._ad_servers.of_host(host, path)) is not None:
            return Arrival("referrer", server.source.lower(), "", server.medium.lower(), "")
        return Arrival("referrer", host, path, "referral", "")

    def _network_of(self, click_id: str) -> str:
        return self._networks_of_click_ids[click_id]

    def _origins(self) -> list[tuple[str, ClickId]]:
        return list(self._definitions.click_ids.items())


_NOWHERE = Arrival("nothing", "", "", "", "")


def _subdomain(host: str) -> str:
    """What is before a host's registrable domain; empty for the domain itself."""
    domain = registrable_domain(host)
    return host.removesuffix(domain).rstrip(".") if host != domain else ""
