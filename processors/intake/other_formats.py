"""Names the format of bytes that are no JSON, so that a dead letter says what its producer has sent."""

from __future__ import annotations

_COMPRESS = "let the producer compress batches (compression.type), not values"
_JSON = "send one JSON object a record"

_BEGINNINGS = (
    (b"\x1f\x8b", "gzip", _COMPRESS),
    (b"\x28\xb5\x2f\xfd", "Zstandard", _COMPRESS),
    (b"\x04\x22\x4d\x18", "LZ4", _COMPRESS),
    (b"\xff\x06\x00\x00sNaPpY", "Snappy", _COMPRESS),
    (b"\x82SNAPPY\x00", "Snappy", _COMPRESS),
    (b"PK\x03\x04", "a ZIP archive", _JSON),
    (b"Obj\x01", "an Avro file", "send single values in Confluent's wire format, or JSON"),
    (b"\xc3\x01", "Avro in its single-object encoding", "send it in Confluent's wire format, or JSON"),
    (b"PAR1", "a Parquet file", "import it by `throughline import`, or send one JSON object a record"),
    (b"ORC", "an ORC file", _JSON),
    (b"ARROW1", "an Arrow file", _JSON),
    (b"\xff\xfe\x00\x00", "text in UTF-32", "send UTF-8"),
    (b"\x00\x00\xfe\xff", "text in UTF-32", "send UTF-8"),
    (b"\xff\xfe", "text in UTF-16", "send UTF-8"),
    (b"\xfe\xff", "text in UTF-16", "send UTF-8"),
    (b"{\x00", "text in UTF-16", "send UTF-8"),
    (b'\x00{\x00"', "text in UTF-16", "send UTF-8"),
    (b"<?xml", "XML", _JSON),
    (b"\xac\xed", "a serialised object of Java", _JSON),
    (b"\x80\x04", "a pickled object of Python", _JSON),
    (b"\x80\x05", "a pickled object of Python", _JSON),
    (b"\x03\x00", "AWS Glue's wire format", "send JSON, or use a registry with Confluent's interface"),
    (b"\x03\x05", "AWS Glue's wire format", "send JSON, or use a registry with Confluent's interface"),
)


def other_format(value: bytes) -> str:
    """Return what bytes are, and what to send; empty if their beginning does not tell."""
    for beginning, name, advice in _BEGINNINGS:
        if value.startswith(beginning):
            return f"{name}: {advice}"
    first = value[:1]
    if b"\x80" <= first <= b"\x8f" or first in (b"\xde", b"\xdf"):
        return f"binary, perhaps MessagePack: {_JSON}"
    return ""
