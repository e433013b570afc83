"""JSON in bytes that take no more memory than they are long.

The bytes that `orjson.dumps` returns keep the buffer into which they were written: 4 KB for 250 bytes, 8 KB for 900. So
what a batch or a cache keeps is copied.
"""

from __future__ import annotations

import orjson


def json_bytes(value: object, option: int | None = None) -> bytes:
    """Encode a value as JSON that is kept for longer than a moment.

    Args:
        value: What `orjson.dumps` takes.
        option: Its options.
    """
    return b"%b" % orjson.dumps(value, option=option)
