"""Reads user agents: device, operating system, browser, and whether it is a bot's.

The rules are those of two maintained packages without network access: `ua-parser` (the regexes of uap-core) and
`crawler-user-agents`. Both run in Rust, since the many regexes of the latter take a millisecond in Python.
"""

from __future__ import annotations

import re
from importlib.metadata import version
from typing import NamedTuple

from crawleruseragents import CRAWLER_USER_AGENTS_DATA
from ua_parser import Parser, Result
from ua_parser.loaders import load_builtins
from ua_parser.regex import Resolver
from ua_parser_rs import UserAgentExtractor

from schemas.enrichment.bots import NO_USER_AGENT, BotDefinitions, BotReason, UserAgentReason

MAX_CHARS = 512
"""Characters of a user agent that are read: real ones have up to 400, and the time to read one grows with them."""
MAX_CACHED = 20_000
"""User agents cached before the cache is cleared, about 10 MB: anybody can make up new ones."""

RULES = f"ua-parser {version('ua-parser-builtins')}, crawler-user-agents {version('crawler-user-agents')}"
"""The versions of the rules, as stored with each event that was read by them."""

_REASON_OF_TAG: dict[str, UserAgentReason] = {
    "ai-crawler": "ai_crawler",
    "browser-automation": "automation",
    "http-library": "library",
    "monitoring": "monitoring",
    "scanner": "scanner",
    "social-preview": "link_preview",
}
# Gmail and Yahoo load the images of a message when its receiver opens it: that is the receiver's doing.
_OPENED_BY_RECEIVER = re.compile(r"GoogleImageProxy|YahooMailProxy", re.IGNORECASE)
_TELEVISION = re.compile(
    r"smart-?tv|apple ?tv|android ?tv|google ?tv|hbbtv|bravia|\bcrkey\b|\baft[a-z0-9]{1,6}\b|roku|web0s", re.IGNORECASE
)
_CONSOLE = re.compile(r"playstation|xbox|nintendo", re.IGNORECASE)
_DESKTOPS = frozenset({"Windows", "Mac OS X", "Linux", "Ubuntu", "Fedora", "Debian", "Chrome OS", "FreeBSD"})
_NAMES = {"Mac OS X": "macOS"}


class Client(NamedTuple):
    """What a user agent says; empty: nothing that is known.

    Attributes:
        device: `mobile`, `tablet`, `desktop`, `tv` or `console`.
        os: Operating system, such as `iOS`.
        browser: Browser or app, such as `Mobile Safari` or `Instagram`; of a bot its name.
        bot: Why it is a bot's; empty: it is none.
    """

    device: str = ""
    os: str = ""
    browser: str = ""
    bot: BotReason | None = None


class UserAgents:
    """Reads user agents, each once.

    Args:
        definitions: What the operator knows better.
    """

    def __init__(self, definitions: BotDefinitions) -> None:
        self._people = tuple(part.casefold() for part in definitions.people)
        self._bots = [(part.casefold(), reason) for reason, parts in definitions.bots.items() for part in parts]
        self._parser = Parser(Resolver(load_builtins()))
        entries = CRAWLER_USER_AGENTS_DATA
        # The extractor returns the name that belongs to the first pattern found: the place of its entry.
        self._crawlers = UserAgentExtractor(
            (entry["pattern"], str(at), *(None,) * 4) for at, entry in enumerate(entries)
        )
        self._reasons = [_reason(entry.get("tags", ())) for entry in entries]
        self._known: dict[str, Client] = {}

    def read(self, user_agent: str) -> Client:
        """Return what a user agent says; it never raises, whatever the text."""
        known = self._known.get(user_agent)
        if known is None:
            # Half of a surrogate pair is no text for Rust.
            known = self._read(user_agent[:MAX_CHARS].encode("utf-8", "replace").decode())
            if len(self._known) >= MAX_CACHED:
                self._known.clear()
            if len(user_agent) <= MAX_CHARS:
                self._known[user_agent] = known
        return known

    def _read(self, user_agent: str) -> Client:
        if user_agent == NO_USER_AGENT:
            return Client(bot="no_user_agent")
        found = self._parser.parse(user_agent)
        system = found.os.family if found.os else ""
        browser = found.user_agent.family if found.user_agent else ""
        bot = self._bot(user_agent)
        device = "" if bot and bot not in ("automation", "library") else _device(user_agent, found)
        return Client(device, _NAMES.get(system, system), browser, bot)

    def _bot(self, user_agent: str) -> UserAgentReason | None:
        folded = user_agent.casefold()
        if any(part in folded for part in self._people):
            return None
        for part, reason in self._bots:
            if part in folded:
                return reason
        crawler = self._crawlers.extract(user_agent)
        if crawler is None or _OPENED_BY_RECEIVER.search(user_agent):
            return None
        return self._reasons[int(crawler.family)]


def _reason(tags: tuple[str, ...]) -> UserAgentReason:
    return next((reason for tag, reason in _REASON_OF_TAG.items() if tag in tags), "crawler")


def _device(user_agent: str, found: Result) -> str:
    """Return the type of a device. An iPad that asks for desktop pages calls itself a Mac, and counts as one."""
    if _TELEVISION.search(user_agent):
        return "tv"
    if _CONSOLE.search(user_agent):
        return "console"
    system = found.os.family if found.os else ""
    family = found.device.family if found.device else ""
    brand = (found.device.brand or "") if found.device else ""
    if family.startswith("iPad") or brand == "Generic_Android_Tablet" or "Tablet" in user_agent:
        return "tablet"
    if family.startswith(("iPhone", "iPod")) or "Mobile" in user_agent or system == "Windows Phone":
        return "mobile"
    if system == "Android":  # Android's browsers on tablets leave the word Mobile out; apps leave it out everywhere
        return "tablet" if user_agent.startswith("Mozilla/") else ""
    return "desktop" if system in _DESKTOPS else ""
