"""Visitor tokens: what the key of a page may ask for one visitor, signed by the shop's server for a short time.

A token is a JSON Web Token with HS256, so any library for them makes one, and so do five lines of code. The key is
the SHA-256 of the server's write key, in hexadecimal: the collector keeps no write key itself. It says the person
(`sub`, as `user_id:42`), the slots, and when it ends (`exp`).
"""

from __future__ import annotations

import binascii
import hmac
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from deploy.collector.authentication import WriteKeys
from deploy.collector.refusal import RefusedError
from deploy.operations.person_lookup import identifier
from schemas.durations import DAY_S
from schemas.intake.sources import Source

MAX_TOKEN_CHARS = 2_000
LONGEST_S = DAY_S
"""The longest life that a token may have left: who got hold of one can use it for so long."""


class Visitor(NamedTuple):
    """What a token says.

    Attributes:
        person: Type and value of an identifier.
        slots: The slots that may be asked.
        source: The server that has signed it.
    """

    person: tuple[str, str]
    slots: frozenset[str]
    source: str


class VisitorTokens:
    """Reads visitor tokens.

    Args:
        keys: The write keys.
        sources: The sources; only a server's key signs.
    """

    def __init__(self, keys: WriteKeys, sources: Mapping[str, Source]) -> None:
        self._keys = [
            (digest.hex().encode(), name) for digest, name in keys.digests.items() if sources[name].kind == "server"
        ]

    def read(self, token: str, now_s: float) -> Visitor:
        """Return what a token says.

        Raises:
            RefusedError: It is none, nobody of ours has signed it, or its time is over.
        """
        said, _, signature = token.rpartition(".")
        head, _, body = said.partition(".")
        if len(token) > MAX_TOKEN_CHARS or not token.isascii() or _json(head).get("alg") != "HS256":
            raise _refused("is no JSON Web Token with HS256")
        given = _bytes(signature)
        source = next((name for key, name in self._keys if hmac.compare_digest(_mac(key, said), given)), None)
        if source is None:
            raise _refused("is signed by none of the servers' keys")
        claims = _json(body)
        ends, slots, person = claims.get("exp"), claims.get("slots"), identifier(str(claims.get("sub", "")))
        if isinstance(ends, bool) or not isinstance(ends, int | float) or not now_s < ends <= now_s + LONGEST_S:
            raise _refused("is over, or says no `exp` within a day")
        if person is None or not isinstance(slots, list) or not all(isinstance(one, str) for one in slots):
            raise _refused("needs `sub`, as user_id:42, and `slots`, a list of names")
        return Visitor(person, frozenset(slots), source)


def _mac(key: bytes, said: str) -> bytes:
    return hmac.digest(key, said.encode(), "sha256")


def _bytes(part: str) -> bytes:
    try:
        return urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except (binascii.Error, ValueError):
        return b""


def _json(part: str) -> dict[str, Any]:
    try:
        found = orjson.loads(_bytes(part))
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _refused(problem: str) -> RefusedError:
    return RefusedError(403, "visitor_token", f"The visitor token {problem}.")
