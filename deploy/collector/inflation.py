"""Inflates the bodies of requests, in pieces of bounded size, for each `Content-Encoding` that clients send.

aiohttp could do it, but takes a body that breaks off for a whole one, and does not know `x-gzip`, which RFC 9110 makes
another name of `gzip`.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from deploy.collector.refusal import RefusedError

PIECE_BYTES = 65_536
"""The most bytes that are inflated at once."""
MAX_MEMBERS = 100
"""The most parts that a gzip body may be put together from: each costs far more time than its 20 bytes."""

_GZIP_BITS, _ZLIB_BITS, _RAW_BITS = 31, 15, -15
_BITS = {"gzip": _GZIP_BITS, "x-gzip": _GZIP_BITS, "deflate": _ZLIB_BITS}
_NOT_INFLATED = {"br", "zstd", "compress", "x-compress", "aes128gcm", "dcb", "dcz", "exi", "pack200-gzip"}
"""The further codings that IANA registers; any other word, such as `utf-8`, packs nothing."""
_DEFLATE_METHOD = 8
"""The lower half of the first byte of zlib's form, without which some clients send `deflate` (RFC 9110, 8.4.1.2)."""


class Inflater:
    """Inflates one body.

    Args:
        encoding: The `Content-Encoding` of its request; a word that is no coding says nothing.

    Raises:
        RefusedError: The coding is not inflated here.
    """

    def __init__(self, encoding: str) -> None:
        words = (word.strip().lower() for word in encoding.split(","))
        codings = [word for word in words if word in _BITS or word in _NOT_INFLATED]
        if len(codings) > 1 or not _NOT_INFLATED.isdisjoint(codings):
            raise RefusedError(
                415,
                "content_encoding",
                f"The Content-Encoding {', '.join(codings)[:50]} is not inflated here: send gzip, deflate or none.",
            )
        self._encoding = codings[0] if codings else ""
        self._members = 0
        self._stream: zlib._Decompress | None = None

    def pieces(self, part: bytes) -> Iterator[bytes]:
        """Inflate the next part of a body, in pieces of at most `PIECE_BYTES`.

        Raises:
            RefusedError: It is not what its encoding says.
        """
        if not self._encoding:
            yield part
            return
        more = bool(part)
        while more:
            if self._stream is None or (self._stream.eof and part):
                self._stream = self._next_member(part[0])
            try:
                piece = self._stream.decompress(part, PIECE_BYTES)
            except zlib.error:
                raise RefusedError(
                    400,
                    "unreadable",
                    f"The body is not what its Content-Encoding says: it is no {self._encoding}, or was damaged.",
                ) from None
            part = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail
            more = bool(part) or (len(piece) == PIECE_BYTES and not self._stream.eof)
            if piece:
                yield piece

    def finish(self) -> None:
        """End the body.

        Raises:
            RefusedError: It breaks off before the end of what was packed.
        """
        if self._stream is not None and not self._stream.eof:
            raise RefusedError(
                400, "cut_off", f"The {self._encoding} body breaks off before its end: send the whole of it again."
            )

    def _next_member(self, first_byte: int) -> zlib._Decompress:
        self._members += 1
        if self._members > MAX_MEMBERS:
            raise RefusedError(
                413, "too_many_parts", f"A {self._encoding} body is put together from at most {MAX_MEMBERS} parts."
            )
        bits = _BITS[self._encoding]
        if bits == _ZLIB_BITS and first_byte & 0x0F != _DEFLATE_METHOD:
            bits = _RAW_BITS
        return zlib.decompressobj(bits)


def inflated(raw: bytes, encoding: str, max_bytes: int) -> bytes:
    """Inflate a whole body.

    Raises:
        RefusedError: It is not what the encoding says, breaks off, or has more than `max_bytes`.
    """
    inflater, pieces, size = Inflater(encoding), [], 0
    for piece in inflater.pieces(raw):
        size += len(piece)
        if size > max_bytes:
            raise too_large(max_bytes)
        pieces.append(piece)
    inflater.finish()
    return b"".join(pieces)


def too_large(max_bytes: int) -> RefusedError:
    """Return the refusal of a request that is too large."""
    return RefusedError(413, "too_large", f"A request has at most {max_bytes:,} bytes: send fewer events at once.")
