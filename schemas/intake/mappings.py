"""Mappings: how the payload of a webhook, or a row of a file, becomes touchpoints. Definitions, without any code.

A mapping has rules. Every rule whose `when` holds for a record gives one touchpoint. What an expression reads is the
record itself, and beside its own fields these:

| name | what it is |
| --- | --- |
| `_headers` | the headers of the request, their names in small letters |
| `_query` | the parameters of its address |
| `_body` | the whole payload, where `each` makes several records of it |
| `_received_at` | when it came in, as a text |
| `_record` | in a list (`each` of a value or a rule, or the last of several `each`): the record that the list is in |
| `_value` | the record or element itself, where it is no object |

`null`, and an empty text where a type is named, is the same as not given, as everywhere in events.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from schemas.intake.expressions import Expression
from schemas.intake.sources import SourceName
from schemas.time import known_zone

Cast = Literal["text", "integer", "number", "quantity", "boolean", "money", "minor_money", "time", "date"]
"""What a value is read as.

- `text`: a text; a number becomes its digits.
- `integer`, `number`, `quantity`: a JSON number, also from its text.
- `boolean`: true or false, also from true, yes, on, 1 and their opposites.
- `money`: a decimal text in major units.
- `minor_money`: the same, from a whole number of minor units and a currency.
- `time`: RFC 3339 in UTC, from RFC 3339, seconds or milliseconds since 1970, an e-mail's date, or a `format`.
- `date`: a day, `2026-11-28`, from the same.
"""

Scalar = str | int | float | bool

SCOPE = ("_headers", "_query", "_body", "_received_at", "_record", "_value")
"""The names that expressions may read beside the fields of a record."""

MAX_RULES, MAX_FIELDS = 100, 300


def _from_text(value: object) -> object:
    """Read the short form of a value: a text is an expression; a number, true or false a constant."""
    if isinstance(value, str):
        return {"get": value}
    if not isinstance(value, dict | int | float | ValueMapping):
        raise ValueError(
            "should be an expression such as order.id, a number, true, false, or have parts: {get: order.id}"
        )
    return {"value": value} if isinstance(value, int | float) else value


def _from_name(value: object) -> object:
    """Read the short form of a name: a text is the name itself."""
    return {"value": value} if isinstance(value, str) else value


class ValueMapping(BaseModel):
    """How one value is made. A text alone is `get`; a number, true or false alone is `value`.

    Attributes:
        get: The expression.
        value: A constant in its place.
        fields: An object in its place, made of further values.
        each: With `fields`: a list of objects, one for each element that this expression gives.
        lookup: The value for each text that the expression may give: `{paid: true}`. Another text is as not given.
        read_as: `as` in a file: what to read it as; without it, it stays as it is.
        currency: Of `minor_money`: the expression of its currency.
        decimal: Of `money`, `number` and `quantity` as a text: the decimal separator. Where it is given, spaces and the
            other one separate thousands. Without it a text is a plain decimal number with a point.
        format: Of `time` and `date`: the form of a text, in the codes of `strftime`; or `excel`, days since 1899.
        zone: Of `time` as a text without an offset: the time zone, IANA name.
        default: A constant where it is not given.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    get: Expression | None = None
    value: Scalar | None = None
    fields: Annotated[dict[str, Value], Field(min_length=1, max_length=MAX_FIELDS)] | None = None
    each: Expression | None = None
    lookup: dict[str, Scalar] | None = None
    read_as: Cast | None = Field(None, alias="as")
    currency: Expression | None = None
    decimal: Literal[".", ","] | None = None
    format: str | None = None
    zone: Annotated[str, AfterValidator(known_zone)] | None = None
    default: Scalar | None = None

    @model_validator(mode="after")
    def _has_one_origin(self) -> Self:
        if sum(origin is not None for origin in (self.get, self.value, self.fields)) != 1:
            raise ValueError("a value has one of get, value and fields")
        if self.each and not self.fields:
            raise ValueError("each makes a list of objects: name their fields")
        if self.get is None and (self.lookup or self.read_as or self.default is not None):
            raise ValueError("lookup, as and default are for what get reads")
        needs = {
            "currency": ("minor_money",),
            "decimal": ("money", "number", "quantity"),
            "format": ("time", "date"),
            "zone": ("time",),
        }
        for name, casts in needs.items():
            if getattr(self, name) is not None and self.read_as not in casts:
                raise ValueError(f"{name} is for a value that is read as {' or '.join(casts)}")
        if self.read_as == "minor_money" and self.currency is None:
            raise ValueError("minor_money needs its currency: {get: amount, as: minor_money, currency: currency}")
        return self


Value = Annotated[ValueMapping, BeforeValidator(_from_text)]
Name = Annotated[ValueMapping, BeforeValidator(_from_name)]
Fields = dict[str, Value]
ValueMapping.model_rebuild()


class IdentifierMapping(ValueMapping):
    """An identifier; of a list each element is one.

    Attributes:
        verified: An expression that is true where the vendor has checked that it is the person's.
    """

    verified: Expression | None = None

    @model_validator(mode="after")
    def _is_text(self) -> Self:
        if self.fields or self.read_as not in (None, "text"):
            raise ValueError("an identifier is a text: it has no fields, and no `as`")
        return self


def _several(value: object) -> object:
    return value if isinstance(value, list) else [value]


def _expressions(value: object) -> object:
    """Read one as a list of one; an error in it is then at its own place, which has no number."""
    return [Expression(value)] if isinstance(value, str) else value


IdentifierType = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_.]{0,49}$")]
Identifiers = Annotated[
    tuple[Annotated[IdentifierMapping, BeforeValidator(_from_text)], ...], BeforeValidator(_several)
]


class ConsentMapping(BaseModel):
    """What the person agrees to: each is true or false, or not given."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    marketing: Value | None = None
    analytics: Value | None = None
    channels: Fields = {}


class EventParts(BaseModel):
    """The parts of a touchpoint that several rules may have in common.

    Attributes:
        channel: The channel's name, or a value; without it that of the source.
        occurred_at: The time, read as `time`; without it, or where it is not given, the time of arrival.
        identifiers: One value or a list of them for each identifier type. An empty text is none.
        campaign: As of a touchpoint; so are context, properties, traits and consent.
        context: Circumstances.
        properties: What it was about.
        traits: What is now known of the person.
        consent: What the person agrees to.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    channel: Name | None = None
    occurred_at: Value | None = None
    identifiers: dict[IdentifierType, Identifiers] = {}
    campaign: Fields = {}
    context: Fields = {}
    properties: Fields = {}
    traits: Fields = {}
    consent: ConsentMapping = ConsentMapping()


class EventRule(EventParts):
    """One kind of touchpoint that a record may give.

    Attributes:
        each: An expression that gives a list in the record, each element of which may give one, such as the refunds of
            an order. The other expressions read the element then, and the record as `_record`.
        when: The condition; without it every record gives one.
        event: The event's name, or a value.
        event_id: Expressions of the parts of its id, which `:` joins. A second delivery of the same must give the same
            id, another event another one. Each part has to be there: an id with a part missing would be that of
            many events.
    """

    each: Expression | None = None
    when: Expression | None = None
    event: Name
    event_id: Annotated[tuple[Expression, ...], Field(min_length=1, max_length=10), BeforeValidator(_expressions)]


class IgnoreRule(BaseModel):
    """Records that are none of our business.

    Attributes:
        when: The condition.
        reason: Why, for the answer and the count.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    when: Expression
    reason: str = Field(min_length=1, max_length=200)


class SignatureCheck(BaseModel):
    """How a vendor proves that a webhook is its own; what a scheme takes is checked by it.

    Attributes:
        scheme: The name of the scheme.
        options: Its options, such as `header` and `encoding`; written beside `scheme`.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    scheme: str = Field(min_length=1, max_length=50)

    @property
    def options(self) -> dict[str, Any]:
        """The options of the scheme."""
        return self.model_extra or {}


class Mapping(BaseModel):
    """How payloads become touchpoints: one file of `hooks/`, or the file of an import.

    Attributes:
        source: The name of the source that the events have if nothing else names one.
        channel: The channel of its events if the source has none.
        description: For people.
        signature: How a webhook proves its origin.
        each: The expression that gives the list of records; without it the payload is the record, or the list of them.
            Each of several is applied to what the one before gives: a report about a message, then its receivers.
        minor_units: Decimal places of minor units: `iso_4217`, a provider whose table differs, or an own table.
        ignore: Conditions on which a record gives nothing, asked first.
        common: Parts of all rules; a rule's own fields take precedence.
        events: The rules.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: SourceName
    channel: str | None = Field(None, min_length=1, max_length=100)
    description: str = ""
    signature: SignatureCheck | None = None
    each: Annotated[tuple[Expression, ...], Field(max_length=5), BeforeValidator(_expressions)] = ()
    minor_units: Literal["iso_4217", "stripe", "adyen", "sumup"] | dict[str, Annotated[int, Field(ge=0, le=6)]] = (
        "iso_4217"
    )
    ignore: tuple[IgnoreRule, ...] = ()
    common: EventParts = EventParts()
    events: Annotated[tuple[EventRule, ...], Field(min_length=1, max_length=MAX_RULES)]
