"""Control of journeys and broadcasts: the published version of the definitions, and what is paused or stopped.

Every change of it has a number. A worker writes a decision only if it has taken up the newest number, so nothing is
decided by what was in force before.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

JourneyState = Literal["running", "paused", "stopped"]
"""`paused`: runs are held before they send, set a trait or post. `stopped`: runs have ended, and none begins."""


class JourneyControl(NamedTuple):
    """The state of one journey; a journey without one is running.

    Attributes:
        state: The state.
        since_ms: Since when, milliseconds since 1970.
        stopped_ms: Runs that began before ended then, also where the journey has started again since; 0: none did.
        by: The person who changed it.
        version: Of a broadcast: the version of its journey that was started; empty: it is none.
        started_ms: Of a broadcast: when it was started, milliseconds since 1970.
        audience: Of a broadcast: how many people it is for.
        paused_ms: Of a broadcast: how long it was paused so far, without a pause that lasts, milliseconds.
        winner: Of a broadcast: the variant that has won; empty: none has been chosen.
    """

    state: JourneyState
    since_ms: int
    stopped_ms: int = 0
    by: str = ""
    version: str = ""
    started_ms: int = 0
    audience: int = 0
    paused_ms: int = 0
    winner: str = ""

    def ends(self, entered_ms: int) -> bool:
        """Return whether a run that began at `entered_ms` has been ended by a stop."""
        return self.state == "stopped" or entered_ms < self.stopped_ms

    @property
    def is_cancelled(self) -> bool:
        """It is a broadcast that was cancelled, which is for good."""
        return self.state == "stopped" and bool(self.version)


Controls = Mapping[str, JourneyControl]
"""By name of the journey."""


class DefinitionsState(NamedTuple):
    """What is in force.

    Attributes:
        number: Number of the last change; 0: nothing was ever published, paused or stopped.
        version: Version of the published definitions; empty: the files of each worker's folder are in force.
        journeys: States of journeys.
    """

    number: int = 0
    version: str = ""
    journeys: Controls = MappingProxyType({})


ChangeKind = Literal["publish", "rollback", "pause", "resume", "stop", "start", "winner"]


class DefinitionChange(NamedTuple):
    """One change of what is in force.

    Attributes:
        number: Its number; they are counted up.
        at_ms: When, milliseconds since 1970.
        by: The person who made it.
        kind: What was done.
        journeys: The journeys that it named; none: all.
        version: The version of the definitions that was in force afterwards; empty: none was published.
        files: What was published: path → text; empty for other changes.
        detail: Of `start`: the `version` of the broadcast's journey and its `audience`; of `winner`: the `winner`.
    """

    number: int
    at_ms: int
    by: str
    kind: ChangeKind
    journeys: tuple[str, ...]
    version: str
    files: Mapping[str, str] = MappingProxyType({})
    detail: Mapping[str, Any] = MappingProxyType({})
