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

    Attributes:
        ask: Answers for a moment.
        needs: What of an event can change the answer, as the words of `touched.Touched`.
    """

    __slots__ = ("ask", "needs")

    def __init__(self, ask: Callable[[Moment], Answer], needs: frozenset[str]) -> None:
        self.ask = ask
        self.needs = needs


@lru_cache(maxsize=1000)
def _zone(name: object) -> ZoneInfo | None:
    try:
        return ZoneInfo(name) if isinstance(name, str) else None
    except (ValueError, OSError):
        return None
