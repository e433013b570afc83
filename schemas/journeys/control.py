"""Control of journeys: the published version of the definitions, and which journeys are paused or stopped.

Every change of it has a number. A worker writes a decision only if it has taken up the newest number, so nothing is
decided by what was in force before.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

JourneyState = Literal["running", "paused", "stopped"]
"""`paused`: runs are held before they send, set a trait or post. `stopped`: runs have ended, and none begins."""


class JourneyControl(NamedTuple):
    """The state of one journey; a journey without one is running.

    Attributes:
        state: The state.
        since_ms: Since when, milliseconds since 1970.
        stopped_ms: Runs that began before ended then, also where the journey has started again since; 0: none did.
        by: The person who changed it.
    """

    state: JourneyState
    since_ms: int
    stopped_ms: int = 0
    by: str = ""

    def ends(self, entered_ms: int) -> bool:
        """Return whether a run that began at `entered_ms` has been ended by a stop."""
        return self.state == "stopped" or entered_ms < self.stopped_ms


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


ChangeKind = Literal["publish", "rollback", "pause", "resume", "stop"]


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
    """

    number: int
    at_ms: int
    by: str
    kind: ChangeKind
    journeys: tuple[str, ...]
    version: str
    files: Mapping[str, str] = MappingProxyType({})
