"""Carts and products: what a person viewed, added to a cart, left there, bought.

A cart is kept as its changes since it was last ordered, in order of event time, because a late event may belong between
two of them. Reading it is replaying them (`lines`).

* `added`, `listed` put a product in; `removed` takes it out.
* `cleared` empties a cart, because a snapshot of it follows (as `listed`); `sold` empties it, because it was ordered.
* An operation with a cart id is about that cart and about what was put in without a cart id; one without is about all.

A product with a quantity of 0 or less comes back: it is neither put into a cart nor bought.

At the same millisecond, operations count in the order of the alphabet: an order comes after what it sold.
"""

from __future__ import annotations

from typing import Any

from processors.profiles.joins import bounded_text, most_recent
from schemas.profiles.document import CART_ENDS_KEPT, CART_OPERATIONS_KEPT, ITEMS_KEPT
from schemas.quantity import MAX_QUANTITY, plus, total

CARTLESS_CHANNELS = frozenset({"store", "call_center"})
"""Channels whose orders empty no cart, unless they name one; the products that they list count as bought."""

_ENDS = frozenset({"cleared", "sold"})
_PUTS = frozenset({"added", "listed"})

Operation = list[Any]


def view(addition: dict[str, Any], properties: dict[str, Any], at: int) -> None:
    """Add a viewed product."""
    if product := _product(properties):
        addition["viewed"] = {product: at}


def add(addition: dict[str, Any], properties: dict[str, Any], at: int) -> None:
    """Put a product into a cart."""
    if (product := _product(properties)) and not _comes_back(properties):
        addition["carted"] = {product: [at, False]}
        addition["cart"] = [_operation(at, "added", bounded_text(properties.get("cart_id")), product, properties)]


def remove(addition: dict[str, Any], properties: dict[str, Any], at: int) -> None:
    """Take a product out of a cart: in the quantity of the event, all of it where the event has none."""
    if product := _product(properties):
        addition["carted"] = {product: [at, True]}
        quantity = properties.get("quantity")
        stated = {"quantity": quantity if _is_quantity(quantity) else 0}
        addition["cart"] = [_operation(at, "removed", bounded_text(properties.get("cart_id")), product, stated)]


def snapshot(addition: dict[str, Any], properties: dict[str, Any], at: int) -> None:
    """Replace a cart by the products that the event lists; an event that lists none leaves the cart as it is."""
    products = _products(properties)
    if products:
        cart = bounded_text(properties.get("cart_id"))
        listed = [_operation(at, "listed", cart, product, about) for product, about in products]
        addition["cart"] = join_cart([[at, "cleared", cart]], listed)
        addition["carted"] = most_recent({product: [at, False] for product, _ in products}, ITEMS_KEPT)


def buy(addition: dict[str, Any], properties: dict[str, Any], at: int, channel: str) -> None:
    """Add bought products, and empty their cart."""
    products = _products(properties)
    if products:
        addition["bought"] = most_recent({product: at for product, _ in products}, ITEMS_KEPT)
    elif properties.get("products"):
        return  # goods came back, and nothing was bought
    else:
        addition["settled"] = at
    cart = bounded_text(properties.get("cart_id"))
    if cart or not products or channel not in CARTLESS_CHANNELS:
        addition["cart"] = [[at, "sold", cart]]


def join_cart(mine: list[Operation], other: list[Operation]) -> list[Operation]:
    """Merge two histories of carts in order of time; operations before a later end of their cart are dropped."""
    if (
        len(other) == 1
        and mine
        and mine[-1] <= other[0]
        and other[0][1] not in _ENDS
        and len(mine) < CART_OPERATIONS_KEPT
    ):
        mine.append(other[0])  # the usual case: one more change, in time
        return mine
    kept: list[Operation] = []
    ended: set[str] = set()
    ends = 0
    for operation in sorted(mine + other, reverse=True):
        _, action, cart = operation[:3]
        if cart in ended or (ended and not cart and action in _PUTS):
            continue
        kept.append(operation)
        if action in _ENDS:
            ended.add(cart)
            ends += 1
            if not cart or ends == CART_ENDS_KEPT:
                break
        if len(kept) == CART_OPERATIONS_KEPT:
            break
    kept.reverse()
    return kept


def lines(profile: dict[str, Any]) -> list[dict[str, Any]]:
    """List the products in the person's carts now.

    Returns:
        Per product and cart: `product_id`, `quantity`, `price`, `currency`, `name`, `cart_id` (empty strings where not
        known) and `added_at`, the time of its last change, in milliseconds; oldest first.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for operation in profile.get("cart", ()):
        at, action, cart = operation[:3]
        if action in _ENDS:
            found = {key: line for key, line in found.items() if cart and key[0] not in (cart, "")}
            continue
        product, quantity, price, currency, name = operation[3:]
        if action == "removed":
            _remove_quantity(found, cart, product, quantity)
        else:
            line = found.setdefault((cart, product), {"product_id": product, "quantity": 0, "cart_id": cart})
            line["quantity"] = plus(line["quantity"], quantity)
            for field, value in (("price", price), ("currency", currency), ("name", name)):
                line[field] = value or line.get(field, "")
            line["added_at"] = at
    return [line for line in found.values() if not _was_bought(profile, line["product_id"], line["added_at"])]


def abandoned(profile: dict[str, Any]) -> dict[str, int]:
    """Find the products that were added to a cart and neither removed nor bought since.

    Returns:
        Product → when it was put in, most recent first.
    """
    found = {
        product: at
        for product, (at, removed) in profile.get("carted", {}).items()
        if not removed and at > profile.get("settled", at - 1) and not _was_bought(profile, product, at)
    }
    found |= {line["product_id"]: line["added_at"] for line in lines(profile)}
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def _remove_quantity(found: dict[tuple[str, str], dict[str, Any]], cart: str, product: str, quantity: float) -> None:
    """Take a product out of the lines of its cart and of no named cart; a quantity of 0 takes all."""
    wanted = quantity or total(line["quantity"] for line in found.values())
    for key in sorted(found):
        if key[1] == product and (not cart or key[0] in (cart, "")):
            taken = min(wanted, found[key]["quantity"])
            wanted = plus(wanted, taken, -1)
            found[key]["quantity"] = plus(found[key]["quantity"], taken, -1)
            if not found[key]["quantity"]:
                del found[key]


def _was_bought(profile: dict[str, Any], product: str, since: int) -> bool:
    """Tell whether a product was bought at or after a time.

    The list of bought products is bounded: a product older than all of a full list counts as bought too.
    """
    bought = profile.get("bought", {})
    if product in bought:
        return bool(bought[product] >= since)
    return len(bought) >= ITEMS_KEPT and min(bought.values()) > since


def _product(properties: dict[str, Any]) -> str:
    return bounded_text(properties.get("product_id")) or bounded_text(properties.get("sku"))


def _products(properties: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    listed = properties.get("products")
    if not isinstance(listed, list):
        return []
    return [
        (product, about)
        for about in listed
        if isinstance(about, dict) and (product := _product(about)) and not _comes_back(about)
    ]


def _comes_back(about: dict[str, Any]) -> bool:
    quantity = about.get("quantity", 1)
    return isinstance(quantity, int | float) and quantity <= 0


def _is_quantity(value: object) -> bool:
    return isinstance(value, int | float) and type(value) is not bool and 0 < value <= MAX_QUANTITY


def _operation(at: int, action: str, cart: str, product: str, about: dict[str, Any]) -> Operation:
    quantity = about.get("quantity", 1)
    return [
        at,
        action,
        cart,
        product,
        quantity if _is_quantity(quantity) or action == "removed" else 1,
        bounded_text(about.get("price")),
        bounded_text(about.get("currency")),
        bounded_text(about.get("name")),
    ]
