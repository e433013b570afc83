"""Traces: what a record names its person by, so that records of erased people are recognised."""

from __future__ import annotations

from typing import NamedTuple


class Trace(NamedTuple):
    """What a record names its person by.

    Attributes:
        profile_id: The person as the record knows it; empty: none.
        anchor: The identifier by which the event was resolved, as a UUID's text; empty: the record has none. It takes
            precedence over `profile_id`, because a split may have moved it to another profile.
        letter: Of a dead letter, the place of its record, as `LetterPlace` writes it; else empty.
    """

    profile_id: str = ""
    anchor: str = ""
    letter: str = ""


class LetterPlace(NamedTuple):
    """Where the record of a dead letter is.

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
