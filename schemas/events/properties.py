"""The base of every event's properties: further keys are kept, `null` is absent, minor units become major ones."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, get_args

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from schemas.money import Currency, Money, from_minor
from schemas.text import Id, Name, Text

MINOR = "_minor"
TIDY = "_tidy"
"""Name of the validators that take out `null` and turn minor units into major ones. None of them may do anything else:
what `surely_tidy` says of an event is that they have nothing to do."""

Quantity = Annotated[int, Field(gt=0, le=1_000_000_000)]
Position = Annotated[int, Field(ge=0, le=1_000_000_000)]
Number = Annotated[float, Field(ge=-1e15, le=1e15)]
Seconds = Annotated[float, Field(ge=0, le=1e9)]


def without_nulls(value: object) -> object:
    """Treat `null` as absent: the analytics SDKs send it for what they do not know."""
    if type(value) is dict and None in value.values():
        return {key: inner for key, inner in value.items() if inner is not None}
    return value


def surely_tidy(raw: bytes) -> bool:
    """Tell from the bytes of JSON alone that there is nothing to tidy: no `null`, no minor units.

    False means only that one has to look; a name may be written in escapes.
    """
    return b"null" not in raw and b"_minor" not in raw and b"\\u" not in raw


class Open(BaseModel):
    """A part of an event that takes further keys beside the known ones and keeps them as they are."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _tidy(cls, value: object) -> object:
        return without_nulls(value)


class Priced(Open):
    """A part of an event that has money in it; `price_minor: 4990` may stand for `price: "49.90"`."""

    money_fields: ClassVar[frozenset[str]] = frozenset()
    minor_fields: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Note which fields are money."""
        marker = get_args(Money)[1]
        cls.money_fields = frozenset(
            name
            for name, field in cls.model_fields.items()
            if marker in field.metadata or Money in get_args(field.annotation)
        )
        cls.minor_fields = frozenset(name + MINOR for name in cls.money_fields)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        exported = handler.resolve_ref_schema(handler(schema))
        for name in sorted(cls.money_fields):
            exported["properties"][name + MINOR] = {
                "type": "integer",
                "description": f"`{name}` in minor units of `currency`, instead of `{name}`.",
            }
            if name in exported.get("required", ()):
                exported["required"] = [other for other in exported["required"] if other != name]
                exported.setdefault("anyOf", [{"required": [name]}, {"required": [name + MINOR]}])
        return exported


class Product(Priced):
    """One product of an order, a cart or a list, or the one that an event is about. Segment's names.

    `price` is that of one piece.
    """

    product_id: Id | None = None
    sku: Id | None = None
    name: Name | None = None
    brand: Name | None = None
    category: Name | None = None
    variant: Name | None = None
    price: Money | None = None
    currency: Currency | None = None
    quantity: Quantity = 1
    coupon: Name | None = None
    position: Position | None = None
    url: Text | None = None
    image_url: Text | None = None


Products = Annotated[tuple[Product, ...], Field(max_length=500)]


class Properties(Priced):
    """What an event is about. Any event may be worth something: `revenue` and `currency` mean the same in all."""

    revenue: Money | None = None
    currency: Currency | None = None

    @model_validator(mode="before")
    @classmethod
    def _tidy(cls, value: object) -> object:
        value = without_nulls(value)
        if type(value) is not dict:
            return value
        if not cls.minor_fields.isdisjoint(value):
            value = _convert(value, cls.minor_fields, value.get("currency"), "")
        products = value.get("products")
        # A product without a currency of its own has that of the event.
        if (
            type(products) is list
            and any(type(product) is dict and not Product.minor_fields.isdisjoint(product) for product in products)
            and "products" in cls.model_fields
        ):
            value = {**value, "products": _convert_products(products, value.get("currency"))}
        return value


def _convert_products(products: list[Any], currency: object) -> list[Any]:
    return [
        _convert(product, Product.minor_fields, product.get("currency") or currency, f"products.{position}.")
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
            part[major] = from_minor(value, currency.upper())
        except PydanticCustomError as error:
            raise PydanticCustomError("money", error.message_template, context) from None
    return part
