"""Everything that a name space of Redis holds, in a form in which two states can be compared."""

from __future__ import annotations

from typing import Any

import msgpack
import orjson
from redis import Redis

from sinks.redis.keys import name_of, patterns
from sinks.redis.packing import unpack

_PACKED = ("erased:", "split:", "past:")
_OF_A_PASS = "expiry"
"""When all people were last looked at for who expires: lost, they are looked at again."""


def contents(client: Redis, namespace: str) -> dict[str, Any]:
    """Return every key without its prefix, with its content; packed lists whose order means nothing are sorted.

    Keys of one name in several shards are as one.
    """
    found: dict[str, Any] = {}
    for pattern in patterns(namespace):
        for raw in client.scan_iter(match=pattern, count=1000):
            name = name_of(raw, namespace)
            if name == _OF_A_PASS:
                continue
            content = _content(client, raw, name)
            if isinstance(content, list) and name in found:
                content = sorted([*found[name], *content])
            elif isinstance(content, int):
                content += found.get(name, 0)
            found[name] = content
    return found


def differences(before: dict[str, Any], after: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the keys that are not equal, each with both of its contents."""
    return {
        name: (before.get(name), after.get(name))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    }


def _content(client: Any, key: bytes, name: str) -> Any:
    kind = client.type(key)
    if kind == b"hash":
        fields = client.hgetall(key)
        if name.startswith("p:") and b"h" in fields:
            fields[b"h"] = unordered(msgpack.unpackb(fields[b"h"], raw=True, strict_map_key=False))
        if name.startswith("profile:"):
            return {
                field: value if field == b"former" else orjson.loads(unpack(value)) for field, value in fields.items()
            }
        return fields
    if kind == b"zset":
        return sorted(client.zrange(key, 0, -1, withscores=True))
    if kind == b"set":
        return sorted(client.smembers(key))
    if kind == b"stream":
        return client.xlen(key)
    value = client.get(key)
    return unordered(msgpack.unpackb(value, raw=True)) if name.startswith(_PACKED) else value


def unordered(value: Any) -> Any:
    """Sort what a script has packed in no order: maps, and flat lists of pairs."""
    if isinstance(value, dict):
        return sorted(value.items())
    if isinstance(value, list):
        pairs = len(value) % 2 == 0 and all(isinstance(one, bytes) for one in value)
        return sorted(zip(value[::2], value[1::2], strict=True)) if pairs else [unordered(one) for one in value]
    return value
