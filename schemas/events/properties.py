"""The base of every event's properties: further keys are kept, `null` is absent, minor units become major ones.

Shapes are `TypedDict`s, so that validation gives the canonical form itself: dicts of JSON values, no objects that have
to be written afterwards. The annotation of a field says what is read and what is written.
"""

# No `from __future__ import annotations` in modules with shapes: a TypedDict finds `Required` in real annotations only.

from collections.abc import Callable
from typing import Annotated, Any, get_args, get_type_hints

from pydantic import BeforeValidator, ConfigDict, Field
from pydantic.config import with_config
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from schemas.events.limits import MAX_PRODUCTS
from schemas.minor_units import MINOR
from schemas.money import Currency, Money, from_minor, plain
from schemas.quantity import Quantity
from schemas.text import Id, Name, Text

Position = Annotated[int, Field(ge=0, le=1_000_000_000)]
Number = Annotated[float, Field(ge=-1e15, le=1e15)]
Seconds = Annotated[float, Field(ge=0, le=1e9)]


def without_nulls(value: object) -> object:
    """Treat `null` as absent: the analytics SDKs send it for what they do not know."""
    if type(value) is dict and None in value.values():
        return {key: inner for key, inner in value.items() if inner is not None}
    return value


WITHOUT_NULLS = BeforeValidator(without_nulls)
"""Annotates a part of an event in which `null` is the same as absent."""


@with_config(ConfigDict(extra="allow", allow_inf_nan=False))
class Open(TypedDict, total=False):
    """A part of an event that takes further keys beside the known ones and keeps them as they are."""


class Product(Open, total=False):
    """One product of an order, a cart or a list, or the one that an event is about. Segment's names.

    `price` is that of one piece, or of one unit of what is weighed or measured.
    """

    product_id: Id
    sku: Id
    name: Name
    brand: Name
    category: Name
    variant: Name
    price: Money
    currency: Currency
    quantity: Annotated[Quantity, Field(default=1)]
    coupon: Name
    position: Position
    url: Text
    image_url: Text


Products = Annotated[list[Product], Field(max_length=MAX_PRODUCTS)]


class Properties(Open, total=False):
    """What an event is about. Any event may be worth something: `revenue` and `currency` mean the same in all."""

    revenue: Money
    currency: Currency


def money_fields(shape: type[Any]) -> frozenset[str]:
    """The fields of a shape that are money: `price_minor: 4990` may stand for `price: "49.90"`."""
    hints = get_type_hints(shape, include_extras=True)
    return frozenset(name for name, hint in hints.items() if Money in (hint, *get_args(hint)))


def has_defaults(shape: type[Any]) -> bool:
    """Whether a shape fills in fields that are absent, so that absent properties are not empty ones."""
    hints = get_type_hints(shape, include_extras=True).values()
    notes = [note for hint in hints for note in getattr(hint, "__metadata__", ())]
    return any(isinstance(note, FieldInfo) and not note.is_required() for note in notes)


_PRODUCT_MINOR = frozenset(name + MINOR for name in money_fields(Product))


def in_major_units(shape: type[Any]) -> Callable[[object], object]:
    """Make the function that runs before the validation of properties: `null` is absent, minor units become major.

    Args:
        shape: Of the properties: a `TypedDict`.

    Returns:
        A function that gives a changed copy, or the very object where there is nothing to change. It raises
        `PydanticCustomError` of type `money` or `missing_currency` with `at`, the field at fault, and its `value`.
    """
    minor_fields = frozenset(name + MINOR for name in money_fields(shape))
    has_products = "products" in shape.__annotations__

    def convert(value: object) -> object:
        value = without_nulls(value)
        if type(value) is not dict:
            return value
        if not value.keys().isdisjoint(minor_fields):
            value = _convert(value, minor_fields, value.get("currency"), "")
        products = value.get("products") if has_products else None
        if type(products) is list:
            for product in products:  # a loop, not `any`: most events have no null and no minor units
                if type(product) is not dict:
                    continue
                if None in product.values() or not product.keys().isdisjoint(_PRODUCT_MINOR):
                    return {**value, "products": _convert_products(products, value.get("currency"))}
        return value

    return convert


def _convert_products(products: list[Any], currency: object) -> list[Any]:
    """Convert each product; one without a currency of its own has that of the event."""
    return [
        without_nulls(_convert(product, _PRODUCT_MINOR, product.get("currency") or currency, f"products.{position}."))
        if type(product) is dict
        else product
        for position, product in enumerate(products)
    ]


def _convert(part: dict[str, Any], minor_fields: frozenset[str], currency: object, at: str) -> dict[str, Any]:
    """Replace the fields of minor units by the plain ones; `at` is where the part is, for the error."""
    part = dict(part)
    for name in sorted(minor_fields.intersection(part)):
        major = name.removesuffix(MINOR)
        value = part.pop(name)
        if value is None:
            continue
        context = {"at": at + name, "value": value}
        if part.get(major) is not None:
            raise PydanticCustomError(
                "money", "it is given twice: send it or the field without _minor, not both", context
            )
        if not isinstance(currency, str):
            said = {"at": at + "currency", "value": currency, "name": name}
            raise PydanticCustomError("missing_currency", "{name} is in minor units of it", said)
        try:
            part[major] = plain(from_minor(value, currency.upper()))
        except PydanticCustomError as error:
            raise PydanticCustomError("money", error.message_template, context) from None
    return part
