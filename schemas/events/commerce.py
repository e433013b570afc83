"""Shopping: Segment's e-commerce events, version 2, and what a retailer's own systems say about products."""

from typing import Annotated, Any, Required

from pydantic import Field, StringConstraints

from schemas.events.properties import Number, Open, Position, Product, Products, Properties
from schemas.money import Currency, Money
from schemas.text import Id, Name, RequiredId, Text


class Search(Properties, total=False):
    """A search for products: `query` and what was found."""

    query: Text
    results: Position
    products: Products


class ProductList(Properties, total=False):
    """A list or category of products; `filters` and `sorts` are lists of `{"type", "value"}`."""

    list_id: Id
    category: Name
    products: Products
    filters: Annotated[list[Any], Field(max_length=100)]
    sorts: Annotated[list[Any], Field(max_length=100)]


class Promotion(Properties, total=False):
    """A banner, a story, a pop-up: anything on the own pages that promotes."""

    promotion_id: Id
    creative: Name
    name: Name
    position: Name


class OneProduct(Properties, Product, total=False):
    """One product; `price` is that of one piece, `value` that of all of them."""

    value: Money
    cart_id: Id
    list_id: Id
    wishlist_id: Id
    wishlist_name: Name


class Shared(OneProduct, total=False):
    """A product or a cart, sent to a friend."""

    share_via: Name
    share_message: Text
    recipient: Name
    products: Products


class Review(Properties, total=False):
    """What a customer thinks of a product."""

    product_id: Id
    review_id: Id
    review_body: Text
    rating: Number


class Cart(Properties, total=False):
    """A cart and what is in it; `value` is what that costs."""

    cart_id: Id
    value: Money
    products: Products


class Amounts(Properties, total=False):
    """What an order costs. `revenue` is without shipping and tax; `total` with them."""

    affiliation: Name
    subtotal: Money
    total: Money
    value: Money
    shipping: Money
    tax: Money
    discount: Money
    coupon: Name
    products: Products


class Checkout(Amounts, total=False):
    """A checkout as it begins; the order may not have a number yet."""

    order_id: Id
    checkout_id: Id
    cart_id: Id


class CheckoutStep(Properties, total=False):
    """One step of a checkout."""

    checkout_id: Id
    order_id: Id
    step: Position
    shipping_method: Name
    payment_method: Name


class Order(Amounts, total=False):
    """An order. It needs its number; it may be worth nothing that is known.

    The amount of a refund is what it gives back. `refunded_total` is what was given back of the order so far, in terms
    of `revenue`: for producers who know no single refunds. With a `part_id` both are of one part of the order, such as
    one of several payments: the order is worth the sum of its parts.
    """

    order_id: Required[RequiredId]
    checkout_id: Id
    cart_id: Id
    store_id: Id
    receipt_id: Id
    part_id: Id
    payment_method: Name
    shipping_method: Name
    refunded_total: Money


class Receipt(Amounts, total=False):
    """A till's receipt: proof of a purchase that `Order Completed` may report as well."""

    receipt_id: Id
    order_id: Id
    store_id: Id
    register_id: Id
    cashier_id: Id
    payment_method: Name


class Coupon(Properties, total=False):
    """A coupon that a message gave, or at the checkout, and what came of it. `coupon_id` is its code."""

    coupon_id: Id
    coupon_name: Name
    pool: Id
    message_id: Id
    order_id: Id
    cart_id: Id
    discount: Money
    reason: Name


class ProductDetails(Properties, total=False):
    """What the catalogue has of a product; what it leaves out stays as it was. About no person.

    `price` is that of the market, or of all; `quantity` is the stock of the store, or online. `quantity` may be 0.
    """

    product_id: Required[RequiredId]
    sku: Id
    name: Name
    brand: Name
    category: Name
    url: Text
    image_url: Text
    price: Money
    market: Id
    quantity: Position
    store_id: Id


class ProductPrice(Properties, total=False):
    """A product costs something else now. About no person; without `market` in all markets."""

    product_id: Required[RequiredId]
    sku: Id
    price: Required[Money]
    previous_price: Money
    market: Id


class ProductStock(Properties, total=False):
    """There is more or less of a product now: in a store, or online. About no person; `quantity` may be 0."""

    product_id: Required[RequiredId]
    sku: Id
    quantity: Required[Position]
    previous_quantity: Position
    store_id: Id


class TillAmount(Open, total=False):
    """What a till has taken in one currency, refunds taken off."""

    currency: Required[Currency]
    amount: Required[Money]


class TillClosing(Properties, total=False):
    """A till's count of its business day, which `v_till_sums` compares with what is stored. About no person.

    The events that it counts have `properties.till`: `{"id", "day", "number", "amount"}`, numbered by day from 1.
    """

    till_id: Required[RequiredId]
    business_day: Required[Annotated[str, StringConstraints(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")]]
    events: Required[Annotated[int, Field(ge=0, le=1_000_000)]]
    amounts: Annotated[list[TillAmount], Field(max_length=50)]


EVENTS: dict[type[Properties], tuple[str, ...]] = {
    Search: ("Products Searched",),
    ProductList: ("Product List Viewed", "Product List Filtered"),
    Promotion: ("Promotion Viewed", "Promotion Clicked"),
    OneProduct: (
        "Product Clicked",
        "Product Viewed",
        "Product Added",
        "Product Removed",
        "Product Added to Wishlist",
        "Product Removed from Wishlist",
        "Wishlist Product Added to Cart",
    ),
    Shared: ("Product Shared", "Cart Shared"),
    Review: ("Product Reviewed",),
    Cart: ("Cart Viewed",),
    Checkout: ("Checkout Started",),
    CheckoutStep: ("Checkout Step Viewed", "Checkout Step Completed", "Payment Info Entered"),
    Order: ("Order Completed", "Order Updated", "Order Refunded", "Order Cancelled"),
    Receipt: ("Receipt Issued",),
    Coupon: ("Coupon Issued", "Coupon Entered", "Coupon Applied", "Coupon Denied", "Coupon Removed"),
    ProductDetails: ("Product Updated",),
    ProductPrice: ("Price Changed",),
    ProductStock: ("Stock Changed",),
    TillClosing: ("Till Closed",),
}
"""The shape of each event's properties."""
