"""Whose request it is: a source is known by its write keys, and the keys themselves are not kept."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

from deploy.operations.definition_files import DefinitionError
from schemas.intake.sources import Source


class WriteKeys:
    """Finds the source of a write key.

    Args:
        written: `THROUGHLINE_WRITE_KEYS`: `source=key`, comma-separated; several keys of a source all count, so that a
            new one can be handed out before the old one ends.
        sources: Sources that there are.

    Raises:
        DefinitionError: A part has no key, its source is not defined, or two sources share a key.
    """

    def __init__(self, written: str, sources: Mapping[str, Source]) -> None:
        self._names: dict[bytes, str] = {}
        for number, part in enumerate(filter(None, (part.strip() for part in written.split(","))), start=1):
            name, _, key = part.partition("=")
            if name not in sources or not key:
                known = ", ".join(sources) or "none"
                # The part itself is not shown: it may be a key.
                raise DefinitionError(
                    f"THROUGHLINE_WRITE_KEYS: part {number} should be source=key, with one of the sources {known}"
                )
            if self._names.setdefault(_digest(key), name) != name:
                raise DefinitionError(f"THROUGHLINE_WRITE_KEYS: {name} has a key that another source has too")

    def __len__(self) -> int:
        return len(self._names)

    def source(self, key: str) -> str | None:
        """Name the source of a key; None for one that nobody has. The time that it takes says nothing of the keys."""
        return self._names.get(_digest(key))


def _digest(key: str) -> bytes:
    return sha256(key.encode("utf-8", "replace")).digest()
