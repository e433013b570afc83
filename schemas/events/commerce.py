"""Shopping: Segment's e-commerce events, version 2, and what a retailer's own systems say about products."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from schemas.events.properties import Number, Position, Product, Products, Properties
from schemas.money import Money
from schemas.text import Id, Name, RequiredId, Text


class Search(Properties):
    """A search for products: `query` and what was found."""

    query: Text | None = None
    results: Position | None = None
    products: Products | None = None


class ProductList(Properties):
    """A list or category of products; `filters` and `sorts` are lists of `{"type", "value"}`."""

    list_id: Id | None = None
    category: Name | None = None
    products: Products | None = None
    filters: Annotated[list[Any], Field(max_length=100)] | None = None
    sorts: Annotated[list[Any], Field(max_length=100)] | None = None


class Promotion(Properties):
    """A banner, a story, a pop-up: anything on the own pages that promotes."""

    promotion_id: Id | None = None
    creative: Name | None = None
    name: Name | None = None
    position: Name | None = None


class OneProduct(Product, Properties):
    """One product; `price` is that of one piece, `value` that of all of them."""

    value: Money | None = None
    cart_id: Id | None = None
    list_id: Id | None = None
    wishlist_id: Id | None = None
    wishlist_name: Name | None = None


class Shared(OneProduct):
    """A product or a cart, sent to a friend."""

    share_via: Name | None = None
    share_message: Text | None = None
    recipient: Name | None = None
    products: Products | None = None


class Review(Properties):
    """What a customer thinks of a product."""

    product_id: Id | None = None
    review_id: Id | None = None
    review_body: Text | None = None
    rating: Number | None = None


class Cart(Properties):
    """A cart and what is in it; `value` is what that costs."""

    cart_id: Id | None = None
    value: Money | None = None
    products: Products | None = None


class Amounts(Properties):
    """What an order costs. `revenue` is without shipping and tax; `total` with them."""

    affiliation: Name | None = None
    subtotal: Money | None = None
    total: Money | None = None
    value: Money | None = None
    shipping: Money | None = None
    tax: Money | None = None
    discount: Money | None = None
    coupon: Name | None = None
    products: Products | None = None


class Checkout(Amounts):
    """A checkout as it begins; the order may not have a number yet."""

    order_id: Id | None = None
    checkout_id: Id | None = None
    cart_id: Id | None = None


class CheckoutStep(Properties):
    """One step of a checkout."""

    checkout_id: Id | None = None
    order_id: Id | None = None
    step: Position | None = None
    shipping_method: Name | None = None
    payment_method: Name | None = None


class Order(Amounts):
    """An order. It needs its number; it may be worth nothing that is known."""

    order_id: RequiredId
    checkout_id: Id | None = None
    cart_id: Id | None = None
    store_id: Id | None = None
    receipt_id: Id | None = None
    payment_method: Name | None = None
    shipping_method: Name | None = None


class Receipt(Amounts):
    """A till's receipt: proof of a purchase that `Order Completed` may report as well."""

    receipt_id: Id | None = None
    order_id: Id | None = None
    store_id: Id | None = None
    register_id: Id | None = None
    cashier_id: Id | None = None
    payment_method: Name | None = None


class Coupon(Properties):
    """A coupon at the checkout, and what came of it."""

    coupon_id: Id | None = None
    coupon_name: Name | None = None
    order_id: Id | None = None
    cart_id: Id | None = None
    discount: Money | None = None
    reason: Name | None = None


class ProductPrice(Properties):
    """A product costs something else now. About no person."""

    product_id: RequiredId
    sku: Id | None = None
    price: Money
    previous_price: Money | None = None


class ProductStock(Properties):
    """There is more or less of a product now. About no person; `quantity` may be 0."""

    product_id: RequiredId
    sku: Id | None = None
    quantity: Position
    previous_quantity: Position | None = None
    store_id: Id | None = None


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
    Coupon: ("Coupon Entered", "Coupon Applied", "Coupon Denied", "Coupon Removed"),
    ProductPrice: ("Price Changed",),
    ProductStock: ("Stock Changed",),
}
"""The shape of each event's properties."""

ABOUT_PRODUCTS = ("Price Changed", "Stock Changed")
"""Events about a product and no person: they may come without identifiers."""
