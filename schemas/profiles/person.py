"""One person as the deciding engines see them: who, what is known and what is under way.

Segments, journeys and the message resolver all read the profile ``document`` and keep what they need in ``state``.
Both are plain JSON-ready dicts, stored together under one version, so that a change of a person is one atomic write.

During a rolling deploy a newer version may store sections that this one does not know. They are kept as they are.
"""

from typing import Any, NamedTuple

STATE_SECTIONS = frozenset({"segments", "features", "scores", "journeys", "caps", "sends", "scans"})
"""Sections of a state that the engines of this version know; what becomes of them in a merge is theirs to decide."""

UNMERGED = "unmerged"
"""Section of a state: a list of the states of merged people that no engine could combine with it yet."""


class Person(NamedTuple):
    """A person at one moment.

    ``document`` is the profile document with the current event already joined in. ``state`` is changed in place, and a
    section that holds nothing is absent: ``segments``, ``features`` and ``scores`` (segment engine), ``journeys``
    (journey engine), ``caps`` and ``sends`` (message resolver). ``scans`` and `UNMERGED` belong to the profile stage.
    """

    profile_id: str
    document: dict[str, Any]
    state: dict[str, Any]
