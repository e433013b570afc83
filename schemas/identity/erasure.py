"""Traces: the ids by which a record names its person, for finding records of erased people."""

from __future__ import annotations

from typing import NamedTuple


class Trace(NamedTuple):
    """The ids by which a record names its person.

    Attributes:
        profile_id: The profile id in the record; empty: none.
        anchor: The identifier by which the event was resolved, as a UUID's text; empty: the record has none. It takes
            precedence over `profile_id`, because a split may have moved it to another profile.
        letter: Place of the record that a dead letter is about, as `LetterPlace` writes it; empty for other records.
    """

    profile_id: str = ""
    anchor: str = ""
    letter: str = ""


class LetterPlace(NamedTuple):
    """The place of the record that a dead letter is about.

    Attributes:
        topic: The full name of its topic.
        partition: Its partition.
        offset: Its offset.
    """

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"
