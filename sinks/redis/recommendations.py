"""What goes with what, worked out in ClickHouse from orders, and kept in Redis for templates.

| key | type | content |
| --- | --- | --- |
| `{ns}:recommend:<product>` | string | JSON: `together` and `category`, lists of `[product, score]`, best first |
| `{ns}:recommend_best` | string | JSON: best sellers, `[product, score]` |
| `{ns}:recommend_turn` | string | whoever set it refreshes; it expires when it is time again |
| `{ns}:recommend_products` | hash | product → JSON of what a template shows: `product_id`, `name`, `category`, `price`, `currency`, `url`, `image_url` |

Frequently bought together: for products a and b the cosine `orders with both / sqrt(orders with a × orders with b)`
(Sarwar et al., "Item-based collaborative filtering", 2001), so that what everybody buys does not go with everything.
Next category: which category people's next order went to, most often, after an order of this one; its best sellers.
"""  # noqa: E501 - a table

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import orjson
from redis.asyncio import Redis

Scored = list[tuple[str, float]]
"""Products with their scores, best first."""

_ORDERS = """
    SELECT event_id, profile_id, occurred_at, arraySlice(arrayDistinct(arrayFilter(id -> id != '', arrayMap(
        one -> JSONExtractString(one, 'product_id'), JSONExtractArrayRaw(properties, 'products')))), 1, 50) AS products
    FROM v_touchpoints
    WHERE event = 'Order Completed' AND occurred_at >= {since:DateTime64(3, 'UTC')}
    LIMIT 1 BY if(order_id = '', event_id, order_id)
"""

_PRODUCTS = """
    SELECT product, argMaxIf(named, at, named != '') AS name, argMaxIf(kind, at, kind != '') AS category,
        argMaxIf((price, currency), at, price != '') AS cost, argMaxIf(url, at, url != '') AS page,
        argMaxIf(image, at, image != '') AS picture
    FROM
    (
        SELECT occurred_at AS at, JSONExtractString(properties, 'currency') AS order_currency,
            arrayJoin(if(event = 'Order Completed', JSONExtractArrayRaw(properties, 'products'), [properties])) AS one,
            JSONExtractString(one, 'product_id') AS product, JSONExtractString(one, 'name') AS named,
            JSONExtractString(one, 'category') AS kind,
            replaceAll(JSONExtractRaw(one, 'price'), '"', '') AS price,
            if(JSONExtractString(one, 'currency') = '', order_currency, JSONExtractString(one, 'currency')) AS currency,
            JSONExtractString(one, 'url') AS url, JSONExtractString(one, 'image_url') AS image
        FROM v_touchpoints
        WHERE event IN ('Order Completed', 'Product Viewed', 'Product Added')
            AND occurred_at >= {since:DateTime64(3, 'UTC')}
    )
    WHERE product != ''
    GROUP BY product
"""

_BEST = """
    SELECT arrayJoin(products) AS product, count() AS orders FROM (ORDERS)
    GROUP BY product ORDER BY orders DESC, product LIMIT {most:UInt32}
""".replace("ORDERS", _ORDERS)

_TOGETHER = """
    WITH baskets AS (ORDERS),
        sold AS (SELECT arrayJoin(products) AS product, count() AS orders FROM baskets GROUP BY product),
        pairs AS
        (
            SELECT a, b, count() AS both
            FROM (SELECT products, arrayJoin(products) AS a FROM baskets WHERE length(products) > 1)
            ARRAY JOIN products AS b
            WHERE a != b
            GROUP BY a, b
            HAVING both >= {support:UInt32}
        )
    SELECT a, b, both / sqrt(x.orders * y.orders) AS score
    FROM pairs INNER JOIN sold AS x ON x.product = a INNER JOIN sold AS y ON y.product = b
    ORDER BY a, score DESC, b
    LIMIT {most:UInt32} BY a
""".replace("ORDERS", _ORDERS)

_NEXT_CATEGORY = """
    WITH bought AS
        (
            SELECT profile_id, occurred_at, groupUniqArray(catalogue.category) AS categories
            FROM (SELECT profile_id, occurred_at, arrayJoin(products) AS product FROM (ORDERS)) AS sold
            INNER JOIN (PRODUCTS) AS catalogue ON catalogue.product = sold.product
            WHERE profile_id != toUUID('00000000-0000-0000-0000-000000000000') AND catalogue.category != ''
            GROUP BY profile_id, occurred_at
        ),
        steps AS
        (
            SELECT categories, leadInFrame(categories) OVER (PARTITION BY profile_id ORDER BY occurred_at
                ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS later
            FROM bought
        )
    SELECT category, argMax(next, (people, next)) FROM
    (
        SELECT category, next, count() AS people
        FROM (SELECT arrayJoin(categories) AS category, later FROM steps WHERE notEmpty(later)) ARRAY JOIN later AS next
        WHERE next != category
        GROUP BY category, next
        HAVING people >= {support:UInt32}
    )
    GROUP BY category
""".replace("ORDERS", _ORDERS).replace("PRODUCTS", _PRODUCTS)


@dataclass(frozen=True, slots=True)
class Recommendations:
    """What was worked out.

    Attributes:
        together: For each product, what is bought with it.
        category: For each product, the best sellers of the category that people go to next.
        best: Best sellers.
        products: What a template shows of each product.
    """

    together: dict[str, Scored] = field(default_factory=dict)
    category: dict[str, Scored] = field(default_factory=dict)
    best: Scored = field(default_factory=list)
    products: dict[str, dict[str, str]] = field(default_factory=dict)


def work_out(client: Any, now: datetime, *, days: int = 180, most: int = 24, support: int = 2) -> Recommendations:
    """Work recommendations out of the orders of the last days.

    Args:
        client: Of the deployment's database, as `sinks.clickhouse.client.connect` opens it.
        now: The end of the time looked at.
        days: Its length.
        most: Recommendations kept for each product.
        support: A pair of products, or of categories, must have come together at least so often.
    """
    asked: dict[str, Any] = {"since": now - timedelta(days=days), "most": most, "support": support}
    together: dict[str, Scored] = {}
    for product, other, score in client.query(_TOGETHER, parameters=asked).result_rows:
        together.setdefault(product, []).append((other, round(float(score), 6)))
    sold = [
        (product, float(orders))
        for product, orders in client.query(_BEST, parameters={**asked, "most": 5000}).result_rows
    ]
    top = sold[0][1] if sold else 1.0
    best = [(product, round(orders / top, 6)) for product, orders in sold]
    products = {
        product: {
            name: value
            for name, value in {
                "product_id": product, "name": name, "category": category, "price": price[0], "currency": price[1],
                "url": _web(url), "image_url": _web(image),
            }.items()
            if value
        }
        for product, name, category, price, url, image in client.query(_PRODUCTS, parameters=asked).result_rows
    }  # fmt: skip
    categories = {product: one["category"] for product, one in products.items() if "category" in one}
    following: dict[str, str] = dict(client.query(_NEXT_CATEGORY, parameters=asked).result_rows)
    by_category: dict[str, Scored] = {}
    for product, score in best:
        by_category.setdefault(categories.get(product, ""), []).append((product, score))
    return Recommendations(
        together=together,
        category={
            product: by_category.get(following[category], [])[:most]
            for product, category in categories.items()
            if category in following
        },
        best=best[: 4 * most],
        products=products,
    )


class RedisRecommendations:
    """Keeps recommendations where the delivery worker reads them.

    Args:
        redis: A client that answers bytes.
        namespace: The hash tag of all keys.
    """

    KEPT_S = 30 * 86_400
    AT_ONCE = 1_000

    def __init__(self, redis: Redis, namespace: str) -> None:
        self._redis = redis
        self._prefix = f"{{{namespace}}}:"

    async def store(self, found: Recommendations) -> None:
        """Put them in place of the former ones; what is not renewed expires."""
        names = sorted({*found.together, *found.category})
        for start in range(0, len(names), self.AT_ONCE):
            pipeline = self._redis.pipeline(transaction=False)
            for name in names[start : start + self.AT_ONCE]:
                value = {"together": found.together.get(name, []), "category": found.category.get(name, [])}
                pipeline.set(f"{self._prefix}recommend:{name}", orjson.dumps(value), ex=self.KEPT_S)
            await pipeline.execute()
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.set(f"{self._prefix}recommend_best", orjson.dumps(found.best), ex=self.KEPT_S)
        pipeline.delete(f"{self._prefix}recommend_products")
        if found.products:
            pairs = [part for name, one in found.products.items() for part in (name, orjson.dumps(one))]
            pipeline.hset(f"{self._prefix}recommend_products", items=pairs)
            pipeline.expire(f"{self._prefix}recommend_products", self.KEPT_S)
        await pipeline.execute()

    async def take_turn(self, every_s: int) -> bool:
        """Ask for the right to refresh, which nobody else then has for so long."""
        return bool(await self._redis.set(f"{self._prefix}recommend_turn", b"1", nx=True, ex=every_s))

    async def shorten_turn(self, to_s: int) -> None:
        """Let the next turn come sooner."""
        await self._redis.expire(f"{self._prefix}recommend_turn", to_s)

    async def related(self, products: Sequence[str]) -> list[dict[str, Scored]]:
        """What goes with each of some products: `together` and `category`; empty where nothing is known."""
        if not products:
            return []
        found = await self._redis.mget([f"{self._prefix}recommend:{name}" for name in products])
        return [orjson.loads(one) if one else {} for one in found]

    async def best(self) -> Scored:
        """Best sellers."""
        found = await self._redis.get(f"{self._prefix}recommend_best")
        return orjson.loads(found) if found else []

    async def shown(self, products: Iterable[str]) -> list[dict[str, Any]]:
        """What a template shows of products, in their order; the bare id where nothing is known."""
        names = list(products)
        if not names:
            return []
        found = await self._redis.hmget(f"{self._prefix}recommend_products", names)
        return [orjson.loads(one) if one else {"product_id": name} for name, one in zip(names, found, strict=True)]


def _web(address: str) -> str:
    """Producers say where a product's page is; anything but a web address is left out."""
    return address if address.startswith(("https://", "http://")) else ""
