"""Signs the addresses in our messages, and reads them again: a token says what it is for, and nobody else can make one.

A token is Base64 of a keyed BLAKE2b (16 bytes) and of what it signs. It holds no personal data, only the keyed hash of
an identifier, and no secret: whoever has the message may use it. It does not expire, since an unsubscription has to
work for as long as somebody keeps the message.
"""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from hashlib import blake2b
from hmac import compare_digest

import msgpack

from schemas.delivery.links import LinkKind, MessageLink

MAX_TOKEN_CHARS = 6_000
"""Longer tokens are not looked at: addresses of 8 kB are more than servers and programs take."""
_MAC_BYTES = 16
_PERSON = b"message link"
_VERSION = 1
_CODES: dict[LinkKind, str] = {"click": "c", "open": "o", "unsubscribe": "u", "preferences": "p"}
_KINDS = {code: kind for kind, code in _CODES.items()}


class LinkTokens:
    """Signs and reads tokens.

    Args:
        secrets: The keys: the first one signs, all of them count, so that messages which were sent before a rotation go
            on working.

    Raises:
        ValueError: There is no key, or one is shorter than 16 characters.
    """

    def __init__(self, secrets: Sequence[str]) -> None:
        if not secrets or any(len(secret) < 16 for secret in secrets):
            raise ValueError("THROUGHLINE_LINK_SECRET: each key needs 16 characters or more")
        self._keys = [blake2b(secret.encode(), digest_size=32).digest() for secret in secrets]

    def sign(self, link: MessageLink) -> str:
        """Return the token of a link."""
        written: bytes = msgpack.packb((_VERSION, _CODES[link.kind], *link[1:]))
        return urlsafe_b64encode(self._mac(self._keys[0], written) + written).decode().rstrip("=")

    def read(self, token: str, kind: LinkKind) -> MessageLink | None:
        """Return what a token says; None: it is none of ours, or is for something else."""
        if len(token) > MAX_TOKEN_CHARS or not token.isascii():
            return None
        try:
            raw = urlsafe_b64decode(token + "=" * (-len(token) % 4))
        except (binascii.Error, ValueError):
            return None
        mac, written = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        if not any(compare_digest(mac, self._mac(key, written)) for key in self._keys):
            return None
        version, code, *values = msgpack.unpackb(written)  # ours, so it has the form that `sign` gives
        link = MessageLink(_KINDS[code], *values) if version == _VERSION else None
        return link if link is not None and link.kind == kind else None

    @staticmethod
    def _mac(key: bytes, written: bytes) -> bytes:
        return blake2b(written, digest_size=_MAC_BYTES, key=key, person=_PERSON).digest()
