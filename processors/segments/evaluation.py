"""What every part of a condition is asked about, and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo

NEVER: Final = 1 << 62
"""Later than any time: time alone changes nothing."""
DAY_MS: Final = 86_400_000


class Moment:
    """One person at one time.

    Attributes:
        profile_id: The person.
        document: The profile.
        features: What the definitions' series have kept of the events.
        state: The whole state.
        now: Milliseconds since 1970.
        zone: Time zone of a person whose own is not known.
        worked_out: What several conditions ask for and time does not change, by name, once it was asked for.
        sure: Cleared by a condition that cannot tell whether its answer changes at the time that it names.
    """

    __slots__ = ("document", "features", "now", "profile_id", "state", "sure", "worked_out", "zone")

    def __init__(
        self, profile_id: str, document: dict[str, Any], state: dict[str, Any], now: int, zone: ZoneInfo
    ) -> None:
        self.profile_id = profile_id
        self.document = document
        self.features: dict[str, Any] = state.get("features") or {}
        self.state = state
        self.now = now
        self.zone = zone
        self.worked_out: dict[str, Any] = {}
        self.sure = True

    def local_zone(self) -> ZoneInfo:
        """The person's time zone, as far as it is known and is one."""
        known = self.document.get("known", {}).get("timezone")
        return (_zone(known[0]) if known else None) or self.zone

    def local(self) -> datetime:
        """The person's date and time."""
        return datetime.fromtimestamp(self.now / 1000, self.local_zone())


Answer = tuple[bool, int]
"""Whether a condition holds, and until when: time alone changes the answer then, or (`Moment.sure`) not before then."""


class Check:
    """A compiled condition.

    An event that can only make a condition hold need not be looked at while it holds: at most it goes on holding for
    longer, now and at any time to come. Likewise the other way round. So the moment until which an answer is known may
    then be too early, never too late: whoever asks again at that moment is told the right one.

    Attributes:
        ask: Answers for a moment.
        makes: What of an event can make it hold, as the words of `touched.Touched`.
        breaks: What of an event can end it.
    """

    __slots__ = ("ask", "breaks", "makes")

    def __init__(
        self, ask: Callable[[Moment], Answer], makes: frozenset[str], breaks: frozenset[str] | None = None
    ) -> None:
        self.ask = ask
        self.makes = makes
        self.breaks = makes if breaks is None else breaks

    @property
    def needs(self) -> frozenset[str]:
        """What of an event can change the answer."""
        return self.makes | self.breaks


@lru_cache(maxsize=1000)
def _zone(name: object) -> ZoneInfo | None:
    try:
        return ZoneInfo(name) if isinstance(name, str) else None
    except (ValueError, OSError):
        return None
