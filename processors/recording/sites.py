"""Hosts of addresses, their registrable domains, and what kind of site a host is.

A **pattern** is a host with or without a path: `t.co`, `x.com/i/grok`. `google.*` is `google` under any public suffix
(`google.com`, `google.co.uk`), and `*.bing.com` is `bing.com` with every host below it. A path covers what is below it.
The most specific pattern decides, so `mail.google.com` can be another kind of site than `google.*`. A leading `www.`
counts neither in a pattern nor in a host.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import orjson
from publicsuffixlist import PublicSuffixList

KNOWN_SITES_FILE = Path(__file__).with_name("known_sites.json")

MAX_HOST_CHARS = 253
"""What the domain name system allows. Addresses are of any length; looking up a host takes the square of its labels."""

MAX_CACHED_HOSTS = 20_000
"""Hosts whose registrable domain is remembered: a look into the list takes 6 us, and hosts repeat."""

_ADDRESS = re.compile(
    r"(?:[a-z][a-z0-9+.-]*:)?//(?:[^/?#@]*@)?(\[[^\]/]*\]|[^/?#:\s]+)(?::\d*)?([^?#\s]*)"
    r"|((?:[^/?#:@\s.]+\.)+[^/?#:@\s.]+)\.?(?::\d+)?(?![^/?#])([^?#\s]*)",
    re.IGNORECASE,
)
"""An address, or a bare host as some SDKs send it: that needs a dot, which `direct` and `about:blank` have not."""
_PLAIN_HOST = re.compile(r"https?://(?:www\.)?([a-z0-9.-]{0,252}[a-z0-9])(?:[/?#]|\Z)")
"""What nearly all addresses begin with, for which the general pattern is too slow."""
_NUMERIC = re.compile(r"[\d.]+|\[.*\]?")
_Value = TypeVar("_Value")


class Address(NamedTuple):
    """Host and path of an address; both empty for a text that is none.

    Attributes:
        host: In lower case, without port, user, trailing dot and leading `www.`.
        path: As it is written; empty if there is none.
    """

    host: str
    path: str


NO_ADDRESS = Address("", "")


def parse(text: object) -> Address:
    """Return host and path of an address or a bare host; a host that is too long to be one makes it none."""
    found = _ADDRESS.match(text) if type(text) is str else None
    if found is None:
        return NO_ADDRESS
    host, path, bare, bare_path = found.groups()
    host = (host or bare).lower().rstrip(".")
    return Address(host.removeprefix("www."), path or bare_path or "") if len(host) <= MAX_HOST_CHARS else NO_ADDRESS


def host_of(text: object) -> str:
    """Return what `parse` returns as host, in less time."""
    found = _PLAIN_HOST.match(text) if type(text) is str else None
    return found[1] if found else parse(text).host


@lru_cache(maxsize=MAX_CACHED_HOSTS)
def registrable_domain(host: str) -> str:
    """Return what one registers, at a registry or at a platform: `shop.co.uk` of `a.shop.co.uk`, `ada.github.io`.

    A host that has none (`localhost`, an IP address, a public suffix) is its own.
    """
    if _NUMERIC.fullmatch(host):
        return host
    if not host.isascii():
        try:
            host = host.encode("idna").decode()
        except UnicodeError:
            return host
    return _suffixes(only_icann=False).privatesuffix(host) or host


@lru_cache(maxsize=MAX_CACHED_HOSTS)
def brand(host: str) -> tuple[str, str]:
    """Split a host at its registry's suffix: `("news.google", "co.uk")`; the suffix is empty for hosts without one.

    Platforms such as `github.io` are no registries here: `google.github.io` is somebody's page at GitHub.
    """
    if _NUMERIC.fullmatch(host):
        return host, ""
    suffix = _suffixes(only_icann=True).publicsuffix(host) or ""
    return (host, "") if not suffix or suffix == host else (host[: -len(suffix) - 1], suffix)


@cache
def _suffixes(only_icann: bool) -> PublicSuffixList:
    return PublicSuffixList(only_icann=only_icann)


@cache
def known_sites() -> Mapping[str, tuple[str, ...]]:
    """The patterns of search engines, social networks and AI assistants that ship, by kind of site."""
    content = orjson.loads(KNOWN_SITES_FILE.read_bytes())
    return {kind: tuple(found) for kind, found in content.items() if kind != "about"}


class _Entry(NamedTuple, Generic[_Value]):
    path: str
    covers_below: bool
    value: _Value


class SiteIndex(Generic[_Value]):
    """Finds the most specific pattern of a host and path.

    A name without a dot in place of a pattern is a word, as links carry it in `utm_source`.
    """

    def __init__(self) -> None:
        self._words: dict[str, _Value] = {}
        self._hosts: dict[str, list[_Entry[_Value]]] = {}

    def add(self, names: Iterable[str], value: _Value, *, covers_below: bool = True) -> None:
        """Add patterns and words. Of two equal ones the later counts.

        Args:
            names: Patterns and words, in any case.
            value: What the index answers for them.
            covers_below: Whether hosts below a pattern's host belong to it.
        """
        for name in names:
            host, slash, path = name.lower().removeprefix("www.").partition("/")
            if "." not in host:
                self._words[host] = value
                continue
            entry = _Entry((slash + path).rstrip("/"), covers_below or host.startswith("*."), value)
            entries = self._hosts.setdefault(host.removeprefix("*."), [])
            entries[:] = [other for other in entries if other.path != entry.path]
            entries.append(entry)
            entries.sort(key=lambda other: -len(other.path))

    def of_word(self, word: str) -> _Value | None:
        """Return the value of a word; None if there is none."""
        return self._words.get(word)

    def of_host(self, host: str, path: str = "") -> _Value | None:
        """Return the value of the most specific pattern that covers an address; None if none does."""
        for entry in self._candidates(host):
            if _is_below(path, entry.path):
                return entry.value
        return None

    def deciding_path(self, host: str, path: str) -> str:
        """Return the longest path of a pattern that covers an address: the rest of its path decides nothing."""
        found = (entry.path for entry in self._candidates(host) if entry.path and _is_below(path, entry.path))
        return max(found, key=len, default="")

    def _candidates(self, host: str) -> list[_Entry[_Value]]:
        """The patterns that cover a host, the most specific first; their paths are not compared yet."""
        hosts = self._hosts
        return [
            entry
            for name, is_exact in _covering(host)
            if name in hosts
            for entry in hosts[name]
            if is_exact or entry.covers_below
        ]


@lru_cache(maxsize=MAX_CACHED_HOSTS)
def _covering(host: str) -> tuple[tuple[str, bool], ...]:
    """The hosts of patterns that may cover a host, the most specific first, and whether each is the host itself."""
    name, suffix = brand(host)
    labels, under = host.split("."), name.split(".") if suffix else []
    found: list[tuple[str, bool]] = []
    for at in range(len(labels)):
        found.append((".".join(labels[at:]), at == 0))
        if at < len(under):
            found.append((".".join(under[at:]) + ".*", at == 0))
    return tuple(found)


def _is_below(path: str, covering: str) -> bool:
    return not covering or path == covering or path.startswith(covering + "/")
