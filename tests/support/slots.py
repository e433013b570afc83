"""A person before a slot: what a story of journeys has made of them, and what the slot shows them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import yaml

from deploy.operations.engines import load_broadcasts, load_slots
from processors.decisions.engine import DecisionEngine
from processors.decisions.slots import SlotDecider, SlotDecision, SlotRequest
from schemas.decisions.policy import MessagePolicy
from schemas.decisions.slots import Slot
from schemas.journeys.broadcasts import Broadcast
from schemas.journeys.control import Controls
from schemas.journeys.definitions import Journey
from schemas.territory import ONE_TERRITORY
from tests.support.stories import DEFINITIONS, NO_HOLDOUT, Story


@cache
def shipped_slot(name: str) -> Slot:
    """Return a shipped slot without its control group."""
    slots, _ = load_slots(sorted((DEFINITIONS / "slots").glob("*.yaml")))
    return next(one for one in slots if one.name == name).model_copy(update={"holdout": 0.0})


@cache
def shipped_broadcasts() -> tuple[Broadcast, ...]:
    """Return the shipped broadcasts."""
    return load_broadcasts(sorted((DEFINITIONS / "broadcasts").glob("*.yaml")))[0]


def slot(text: str, **fields: Any) -> Slot:
    """Return a slot from YAML, with defaults."""
    given = {"name": "banner", "description": "A test.", "channel": "web", **yaml.safe_load(text), **fields}
    return Slot.model_validate(given)


class Visitor:
    """Somebody who looks at slots now and then, with what caps remember of it.

    Args:
        story: What they have done.
        slots: The slots in force.
        journeys: The journeys in force.
        broadcasts: The broadcasts in force.
        policy: The message policy; the shipped one without a control group, unless given.
    """

    def __init__(
        self, story: Story, *slots: Slot, journeys: Iterable[Journey] = (), broadcasts: Iterable[Broadcast] = (),
        policy: MessagePolicy | None = None,
    ) -> None:  # fmt: skip
        self.story = story
        self.seen: dict[str, list[Any]] = {}
        self.controls: Controls = {}
        policy = policy or MessagePolicy(holdout=NO_HOLDOUT)
        engine: DecisionEngine = story.decider
        self._decider = SlotDecider(
            slots, journeys, broadcasts, policy, segments=engine.segments, territory=ONE_TERRITORY
        )
        self._number = 0

    def look(self, at: str = "banner", request: str = "", without: dict[str, str] | None = None) -> SlotDecision:
        """Ask a slot, and remember for caps what it has shown."""
        self._number += 1
        asked = SlotRequest(at, request or f"request {self._number}")
        self._decider.bring_up_to(self.story.person, self.story.now)
        found = self._decider.decide(
            self.story.person, asked, self.seen, self.story.now, controls=self.controls, without=without or {}
        )
        if found.counted:
            self.seen[found.row["idempotency_key"]] = found.counted
        return found

    def sees(self, at: str = "banner") -> str:
        """Return the candidate that a slot shows; `fallback: <reason>` if it shows none."""
        found = self.look(at)
        return found.shown.name if found.shown else f"fallback: {found.reason}"
