"""The mark of a record whose value the collector has validated, so that the stage `identify` need not do it again.

The mark is a record header with a MAC of the value: keyed BLAKE2b, whose key is derived from the identity secret and
used for nothing else. A header that is absent, forged, of another secret or of another canonical form is no error: such
a record is validated in full like any other. A copy of a marked record is the same event, so it is a duplicate.
"""

from __future__ import annotations

from hashlib import blake2b
from hmac import compare_digest

from schemas.records import Headers

VALIDATED_HEADER = "throughline-validated"

CANONICAL_FORM = 9
"""Version of the canonical form of events, part of every mark. Raise it whenever a rule, a known event or the way that
a value is written changes: then a newer `identify` validates what an older collector has written."""

_MARK_BYTES = 16


class ValidationMark:
    """Makes and verifies marks.

    Args:
        secret: The identity secret, the same in the collector and the workers; its first 64 bytes count.
        canonical_form: Version of the canonical form that is marked.
        rules: Digest of the deployment's own rules, its tracking plan and transforms; empty without any.

    Raises:
        ValueError: The secret is empty: any producer could forge marks.
    """

    def __init__(self, secret: bytes, canonical_form: int = CANONICAL_FORM, rules: bytes = b"") -> None:
        if not secret:
            raise ValueError("the identity secret is empty: set THROUGHLINE_IDENTITY_SECRET")
        key = blake2b(digest_size=32, key=secret[: blake2b.MAX_KEY_SIZE], person=b"validation mark").digest()
        self._keyed = blake2b(digest_size=_MARK_BYTES, key=key, person=b"canonical %d" % canonical_form, salt=rules)

    def headers(self, value: bytes) -> Headers:
        """Make the headers of a record whose value is the canonical JSON of a valid event."""
        return ((VALIDATED_HEADER, self._mac(value)),)

    def verify(self, value: bytes, headers: Headers) -> bool:
        """Return whether one of a record's headers is the mark of its value."""
        return any(
            name == VALIDATED_HEADER and mark is not None and compare_digest(mark, self._mac(value))
            for name, mark in headers
        )

    def _mac(self, value: bytes) -> bytes:
        hasher = self._keyed.copy()
        hasher.update(value)
        return hasher.digest()
