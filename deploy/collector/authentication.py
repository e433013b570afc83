"""Step 1, authenticate: find the source of a request by its write key. The keys themselves are not kept."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import NamedTuple

from aiohttp import BasicAuth, web

from deploy.collector.refusal import RefusedError
from deploy.operations.definition_files import DefinitionError
from schemas.intake.sources import Source

SOURCE_NAME = web.RequestKey("source", str)
"""Key of the name of a request's source, for the tally."""


class WriteKeys:
    """Finds the source of a write key.

    Args:
        setting: `THROUGHLINE_WRITE_KEYS`: `source=key`, comma-separated; several keys of a source all count, so that a
            new one can be handed out before the old one ends.
        sources: The defined sources, by name.

    Raises:
        DefinitionError: A part has no key, its source is not defined, or two sources share a key.
    """

    def __init__(self, setting: str, sources: Mapping[str, Source]) -> None:
        self._names: dict[bytes, str] = {}
        for number, part in enumerate(filter(None, (part.strip() for part in setting.split(","))), start=1):
            name, _, key = part.partition("=")
            if name not in sources or not key:
                known = ", ".join(sources) or "none"
                # The part itself is not shown: it may be a key.
                raise DefinitionError(
                    f"THROUGHLINE_WRITE_KEYS: part {number} should be source=key, with one of the sources {known}"
                )
            if self._names.setdefault(_digest(key), name) != name:
                raise DefinitionError(f"THROUGHLINE_WRITE_KEYS: {name} has a key that another source has too")

    @property
    def digests(self) -> Mapping[bytes, str]:
        """The SHA-256 of each key, with the name of its source: by those servers sign tokens (`visitor_tokens.py`)."""
        return self._names

    def __len__(self) -> int:
        return len(self._names)

    def source(self, key: str) -> str | None:
        """Return the name of the source of a key; None: no source has it. The time does not depend on the keys."""
        return self._names.get(_digest(key))


class Sender(NamedTuple):
    """The source that a request comes from, and its name."""

    name: str
    source: Source


class Credentials(NamedTuple):
    """The credentials in the head of a request.

    Attributes:
        key: The write key; empty if the head has none: then the body has to hold it.
        sender: The source of the key; None likewise.
    """

    key: str = ""
    sender: Sender | None = None


class Authenticator:
    """Finds the source of a request.

    Args:
        keys: The write keys.
        sources: The defined sources, by name.
    """

    def __init__(self, keys: WriteKeys, sources: Mapping[str, Source]) -> None:
        self._keys = keys
        self._sources = sources

    def head(self, request: web.Request, parameter: str = "writeKey") -> Credentials:
        """Read the write key from the Authorization header and the query, before the body is read.

        Args:
            request: The request.
            parameter: The parameter of the query that may hold the key.

        Raises:
            RefusedError: There is a write key, and no source has it.
        """
        key = _user_name(request.headers.get("Authorization", "")) or request.query.get(parameter, "")
        return Credentials(key, self._sender(request, key)) if key else Credentials()

    def body(self, request: web.Request, credentials: Credentials, stated: object) -> Sender:
        """Read the write key from the body too, and return the sender.

        Args:
            request: The request.
            credentials: What its head proves.
            stated: The write key in its body, if there is one.

        Raises:
            RefusedError: No write key, an unknown one or two different ones; or the request comes from a page that
                may not send with the source's key.
        """
        body_key = stated if isinstance(stated, str) else ""
        if not (credentials.key or body_key):
            raise _unauthorized("is missing")
        if credentials.key and body_key and credentials.key != body_key:
            raise _unauthorized("of the request and that of its body differ")
        sender = credentials.sender or self._sender(request, body_key)
        origin = request.headers.get("Origin")
        if origin and not sender.source.allows(origin):
            raise RefusedError(
                403,
                "origin",
                f"The source {sender.name} takes nothing from pages of this origin: add it to its origins.",
            )
        return sender

    def _sender(self, request: web.Request, key: str) -> Sender:
        name = self._keys.source(key)
        if name is None:
            raise _unauthorized("is not known")
        request[SOURCE_NAME] = name
        return Sender(name, self._sources[name])


def _unauthorized(problem: str) -> RefusedError:
    return RefusedError(
        401, "write_key", f"The write key {problem}: send it as the user name of HTTP Basic, or as writeKey."
    )


def _user_name(header: str) -> str:
    """Read the user name of HTTP Basic; the password does not count, and another scheme has no user name."""
    try:
        return BasicAuth.decode(header, encoding="utf-8").login if header else ""
    except ValueError:
        return ""


def _digest(key: str) -> bytes:
    return sha256(key.encode("utf-8", "replace")).digest()
