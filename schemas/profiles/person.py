"""One person as the deciding engines see them: who, what is known and what is under way.

Segments, journeys and the message resolver all read the profile ``document`` and keep what they need in ``state``.
Both are plain JSON-ready dicts, stored together under one version, so that a change of a person is one atomic write.
"""

from typing import Any, NamedTuple


class Person(NamedTuple):
    """A person at one moment.

    ``document`` is the profile document with the current event already joined in. ``state`` is changed in place, and a
    section that holds nothing is absent: ``segments`` and ``features`` (segment engine), ``journeys`` (journey engine),
    ``caps`` and ``sends`` (message resolver).
    """

    profile_id: str
    document: dict[str, Any]
    state: dict[str, Any]
