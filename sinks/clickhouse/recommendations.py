"""Computes product recommendations from the orders in ClickHouse.

Frequently bought together: for products a and b the cosine `orders with both / sqrt(orders with a × orders with b)`
(Sarwar et al., "Item-based collaborative filtering", 2001), so that a product of nearly every order does not go with
everything. Next category: the other category that most people's next order had after an order of the product's own;
its best sellers are recommended.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from schemas.delivery.recommendations import Recommendations, ScoredProducts

MAX_BEST_SELLERS = 5_000
"""Best sellers that are read: enough for every category to have some."""

_ORDERS = """
    SELECT profile_id, converted_at AS occurred_at, arraySlice(arrayDistinct(arrayFilter(id -> id != '', arrayMap(
        one -> if(JSONHas(one, 'quantity') AND JSONExtractFloat(one, 'quantity') <= 0, '',
            JSONExtractString(one, 'product_id')),
        JSONExtractArrayRaw(lines)))), 1, 50) AS products
    FROM (SELECT profile_id, converted_at, products AS lines FROM order_sales)
    WHERE occurred_at >= {since:DateTime64(3, 'UTC')}
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


def compute_recommendations(
    client: Any, now: datetime, *, days: int = 180, max_products: int = 24, support: int = 2
) -> Recommendations:
    """Compute recommendations from the orders of the last days.

    Args:
        client: Of the deployment's database, as `sinks.clickhouse.client.connect` opens it.
        now: End of the period.
        days: Length of the period.
        max_products: The most recommendations of each product; there are four times as many best sellers.
        support: A pair of products needs at least this many orders, a pair of categories this many people.
    """
    parameters: dict[str, Any] = {"since": now - timedelta(days=days), "most": max_products, "support": support}
    together: dict[str, ScoredProducts] = {}
    for product, other, score in client.query(_TOGETHER, parameters=parameters).result_rows:
        together.setdefault(product, []).append((other, round(float(score), 6)))
    sold = [
        (product, float(orders))
        for product, orders in client.query(_BEST, parameters={**parameters, "most": MAX_BEST_SELLERS}).result_rows
    ]
    top = sold[0][1] if sold else 1.0
    best = [(product, round(orders / top, 6)) for product, orders in sold]
    products = {
        product: {
            name: value
            for name, value in {
                "product_id": product, "name": name, "category": category, "price": price[0], "currency": price[1],
                "url": _web_address(url), "image_url": _web_address(image),
            }.items()
            if value
        }
        for product, name, category, price, url, image in client.query(_PRODUCTS, parameters=parameters).result_rows
    }  # fmt: skip
    categories = {product: one["category"] for product, one in products.items() if "category" in one}
    following: dict[str, str] = dict(client.query(_NEXT_CATEGORY, parameters=parameters).result_rows)
    by_category: dict[str, ScoredProducts] = {}
    for product, score in best:
        by_category.setdefault(categories.get(product, ""), []).append((product, score))
    return Recommendations(
        together=together,
        category={
            product: by_category.get(following[category], [])[:max_products]
            for product, category in categories.items()
            if category in following
        },
        best=best[: 4 * max_products],
        products=products,
    )


def _web_address(address: str) -> str:
    """Return an address of a producer if a browser can open it, else an empty text."""
    return address if address.startswith(("https://", "http://")) else ""
