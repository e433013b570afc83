"""The part of the segment engine that journeys and gates use."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Protocol

from schemas.profiles.person import Person
from schemas.segments.conditions import Condition


class Segments(Protocol):
    """Memberships and conditions of people; `engine.SegmentEngine` is the implementation."""

    def holds(self, condition: Condition, person: Person, now_ms: int) -> bool:
        """Return whether a condition holds for a person."""
        ...

    def members(self, person: Person) -> AbstractSet[str]:
        """Return the names of the segments that the person is a member of."""
        ...
