"""Keeps recommendations in Redis for templates. They are computed by `sinks/clickhouse/recommendations.py`.

| key | type | content |
| --- | --- | --- |
| `{ns}:recommend:<product>` | string | JSON: `together` and `category`, lists of `[product, score]`, best first |
| `{ns}:recommend_best` | string | JSON: best sellers, `[product, score]` |
| `{ns}:recommend_turn` | string | held by the process that refreshed last; expires when a refresh is due |
| `{ns}:recommend_products` | hash | product → JSON of what a template shows |
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson
from redis.asyncio import Redis

from schemas.delivery.recommendations import Recommendations, ScoredProducts
from schemas.durations import DAY_S


class RedisRecommendations:
    """Keeps recommendations where the delivery worker reads them.

    Args:
        redis: A client that answers bytes.
        namespace: The hash tag of all keys.
    """

    TTL_S = 30 * DAY_S
    """Life of a recommendation that is not stored again, seconds."""
    PIPELINED_KEYS = 1_000
    """The most keys of one pipeline."""

    def __init__(self, redis: Redis, namespace: str) -> None:
        self._redis = redis
        self._prefix = f"{{{namespace}}}:"

    async def store(self, found: Recommendations) -> None:
        """Replace the stored recommendations; those of products that are no longer sold expire."""
        names = sorted({*found.together, *found.category})
        for start in range(0, len(names), self.PIPELINED_KEYS):
            pipeline = self._redis.pipeline(transaction=False)
            for name in names[start : start + self.PIPELINED_KEYS]:
                value = {"together": found.together.get(name, []), "category": found.category.get(name, [])}
                pipeline.set(f"{self._prefix}recommend:{name}", orjson.dumps(value), ex=self.TTL_S)
            await pipeline.execute()
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.set(f"{self._prefix}recommend_best", orjson.dumps(found.best), ex=self.TTL_S)
        pipeline.delete(f"{self._prefix}recommend_products")
        if found.products:
            pairs = [part for name, one in found.products.items() for part in (name, orjson.dumps(one))]
            pipeline.hset(f"{self._prefix}recommend_products", items=pairs)
            pipeline.expire(f"{self._prefix}recommend_products", self.TTL_S)
        await pipeline.execute()

    async def acquire_refresh(self, every_s: int) -> bool:
        """Acquire the right to refresh for `every_s` seconds; False while another process holds it."""
        return bool(await self._redis.set(f"{self._prefix}recommend_turn", b"1", nx=True, ex=every_s))

    async def allow_refresh_in(self, seconds: int) -> None:
        """Shorten the wait for the next refresh to some seconds."""
        await self._redis.expire(f"{self._prefix}recommend_turn", seconds)

    async def related(self, products: Sequence[str]) -> list[dict[str, ScoredProducts]]:
        """Read the recommendations of some products: `together` and `category` of each, or an empty dict."""
        if not products:
            return []
        found = await self._redis.mget([f"{self._prefix}recommend:{name}" for name in products])
        return [orjson.loads(one) if one else {} for one in found]

    async def best(self) -> ScoredProducts:
        """Read the best sellers."""
        found = await self._redis.get(f"{self._prefix}recommend_best")
        return orjson.loads(found) if found else []

    async def product_details(self, products: Iterable[str]) -> list[dict[str, Any]]:
        """Read the details of products for a template, in their order; only `product_id` where nothing is known."""
        names = list(products)
        if not names:
            return []
        found = await self._redis.hmget(f"{self._prefix}recommend_products", names)
        return [orjson.loads(one) if one else {"product_id": name} for name, one in zip(names, found, strict=True)]
