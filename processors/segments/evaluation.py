"""The context in which a condition is evaluated, and the compiled condition."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from processors.profiles.time_zone import zone_of
from processors.segments.reachability import AddressTypes
from schemas.channels import ADDRESS_TYPES_OF
from schemas.territory import ONE_TERRITORY, Territory
from schemas.time import time_of_ms

NEVER: Final = 1 << 62
"""A time later than any other: the passing of time alone never changes the result."""


class EvaluationContext:
    """One person at one time, which is what attributes and conditions are evaluated on.

    Attributes:
        profile_id: The person.
        document: The profile document.
        features: `state["features"]`: series of events, by key.
        state: The person's whole state.
        now_ms: The time of the evaluation, in milliseconds since 1970; `next_change` moves it ahead.
        territory: Of the deployment.
        address_types: The identifier types that messages of each channel are sent to.
        cache: Intermediate results that several conditions use and that do not depend on `now_ms`, by name.
        exact: Set to False by a condition that only knows a time before which its result cannot change, and not whether
            it changes then.
    """

    __slots__ = (
        "address_types", "cache", "document", "exact", "features", "now_ms", "profile_id", "state", "territory",
    )  # fmt: skip

    def __init__(
        self,
        profile_id: str,
        document: dict[str, Any],
        state: dict[str, Any],
        now_ms: int,
        territory: Territory = ONE_TERRITORY,
        address_types: AddressTypes = ADDRESS_TYPES_OF,
    ) -> None:
        self.profile_id = profile_id
        self.document = document
        self.features: dict[str, Any] = state.get("features") or {}
        self.state = state
        self.now_ms = now_ms
        self.territory = territory
        self.address_types = address_types
        self.cache: dict[str, Any] = {}
        self.exact = True

    def local_zone(self) -> ZoneInfo:
        """Return the person's own time zone; if it is not known or not valid, that of their market."""
        return zone_of(self.document, self.territory)

    def local_time(self) -> datetime:
        """Return the person's date and time."""
        return time_of_ms(self.now_ms, self.local_zone())


Evaluation = tuple[bool, int]
"""Whether a condition holds, and the time in milliseconds until which that cannot change without an event.

The result changes at that time, unless `EvaluationContext.exact` was set to False: then it may.
"""


class CompiledCondition:
    """A compiled condition.

    Entry and exit triggers are separate because an event that can only make a condition true does not matter while it
    is true: at most it stays true for longer. Likewise for an event that can only make it false. The time of the next
    change that was stored before such an event may therefore be too early, never too late, and the evaluation at that
    time gives the right result.

    Attributes:
        evaluate: Evaluates the condition in a context.
        entry_triggers: The triggers (see `index.SegmentIndex`) that can make it true.
        exit_triggers: The triggers that can make it false.
    """

    __slots__ = ("entry_triggers", "evaluate", "exit_triggers")

    def __init__(
        self,
        evaluate: Callable[[EvaluationContext], Evaluation],
        entry_triggers: frozenset[str],
        exit_triggers: frozenset[str] | None = None,
    ) -> None:
        self.evaluate = evaluate
        self.entry_triggers = entry_triggers
        self.exit_triggers = entry_triggers if exit_triggers is None else exit_triggers

    @property
    def triggers(self) -> frozenset[str]:
        """All triggers that can change the result."""
        return self.entry_triggers | self.exit_triggers
