"""Conditions of segments and journeys: a closed language in YAML.

A condition is a mapping. One of its keys names the operator (`performed`, `attribute`, `all`, …), others qualify it:

    when:
      all:
        - performed: Product Added
          within: 7d
          where: {properties.price: {gte: 50}}
        - not_performed: Order Completed
          within: 7d
        - can_reach: email

Journeys use the same conditions for entry filters, splits and waits.

**Time.** `within: 7d` means that an event happened later than seven days ago, by event time, to the millisecond. So a
result may change without an event, and the engine computes when. **Days** (`7d`) have 24 hours. **Absent values:** a
comparison with a value that is not known does not hold, except `ne`, `not_in` and `exists: false`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, date
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from schemas.channels import ADDRESSED_CHANNELS, TOUCHPOINT_CHANNELS
from schemas.durations import DAY_MS, MAX_DURATION_MS, parse_duration
from schemas.money import MAX_DECIMAL_PLACES, MAX_WHOLE_DIGITS, Currency
from schemas.segments.attributes import ATTRIBUTES, OPEN_FAMILIES, find_attribute
from schemas.spelling import nearest_names, suggestion
from schemas.time import lenient_time

MAX_TIMES = 200
"""The maximum of `at_least`, `at_most` and `exactly`: a person's state keeps up to so many times of an event."""
MAX_AGGREGATE_DAYS = 400
"""The longest window of an `aggregate` or a computed trait; without a window it is about all time."""

_PATH = r"^(event|channel|source|occurred_at|(properties|context|campaign|traits)(\.[^.\s][^.]*)+)$"


class SegmentChange(NamedTuple):
    """A person has entered or left a segment.

    Attributes:
        segment: Its name.
        entered: True: entered; False: left.
        at_ms: Milliseconds since 1970: of the event, or the exact time at which the condition changed without one.
        definition_version: Hash of the definitions, `SegmentEngine.version`.
        sequence: Number of this change among all of the person's, from 1: several may have one time.
        restated: After a merge: the person is still a member, as one of the merged profiles was. Only the ledger needs
            it; it is no entry.
        replaces_before: Of changes that history was read for: earlier ones of this person and segment, by sequence,
            count no more; 0: all count.
    """

    segment: str
    entered: bool
    at_ms: int
    definition_version: str
    sequence: int = 0
    restated: bool = False
    replaces_before: int = 0


class SegmentHistory(NamedTuple):
    """What history says about a person's memberships.

    Attributes:
        names: The segments that it is about.
        changes: Their changes, in order of time, by when the events happened.
        stated: Those of `names` of which it has to be said whether the person is a member now.
        journeys: Journeys that members of their segment enter now.
        backfill: Id of the backfill. A person enters those journeys once for each.
    """

    names: frozenset[str]
    changes: tuple[SegmentChange, ...]
    stated: frozenset[str] = frozenset()
    journeys: frozenset[str] = frozenset()
    backfill: str = ""


def _duration(value: object, info: ValidationInfo) -> object:
    """Read a duration; a bare number says no unit, but in JSON, which only programs write, it is milliseconds."""
    if info.mode == "json" and type(value) is int:
        return value
    try:
        if isinstance(value, str):
            return parse_duration(value)
    except ValueError:
        pass
    raise PydanticCustomError("duration", "should be a duration such as 30m, 12h, 7d or 2w")


def _instant(value: object) -> object:
    """Write a date or a time with its zone as text; YAML reads both by itself."""
    text = value.isoformat() if isinstance(value, date) else value
    advice = "should be a date such as 2026-11-22, or a time with its zone such as 2026-11-22T08:00:00Z"
    if not isinstance(text, str):
        raise PydanticCustomError("instant", advice)
    try:
        lenient_time(text.replace(" ", "T", 1), UTC if len(text) <= len("2026-11-22") else None)
    except ValueError:
        raise PydanticCustomError("instant", advice) from None
    return text


def _scalar(value: object) -> object:
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bool | int | float | str):
        return value
    raise PydanticCustomError("scalar", "should be a text, a number, true or false")


def _many(value: object) -> object:
    return value if isinstance(value, list | tuple) else [value]


def _comparison(value: object) -> object:
    """Let `country: FR` and `country: [FR, BE]` stand for `eq` and `in`."""
    if isinstance(value, dict):
        for key in ("within", "within_next", "older_than"):
            if key in value:
                raise PydanticCustomError(
                    "comparison", "`{key}` compares with now, but a filter is about one event", {"key": key}
                )
    if isinstance(value, dict | Comparison):
        return value
    return {"in": value} if isinstance(value, list) else {"eq": value}


Duration = Annotated[int, Field(gt=0, le=MAX_DURATION_MS), BeforeValidator(_duration)]
"""Milliseconds; written as 30m, 12h, 7d or 2w, or in words."""
Instant = Annotated[str, BeforeValidator(_instant)]
"""A date, which begins at midnight of the configured zone, or a time with its zone."""
Scalar = Annotated[bool | int | float | str, BeforeValidator(_scalar)]
Scalars = Annotated[tuple[Scalar, ...], Field(min_length=1, max_length=1000), BeforeValidator(_many)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"\S")]
Texts = Annotated[tuple[Text, ...], Field(min_length=1, max_length=100), BeforeValidator(_many)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Path = Annotated[str, StringConstraints(pattern=_PATH, max_length=200)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Price = Annotated[
    Decimal, Field(gt=0, max_digits=MAX_WHOLE_DIGITS + MAX_DECIMAL_PLACES, decimal_places=MAX_DECIMAL_PLACES)
]
Times = Annotated[int, Field(ge=0, le=MAX_TIMES)]
Function = Literal["count", "sum", "average", "min", "max", "unique_count", "first", "last", "most_frequent", "unique"]
"""How values of many events become one. `unique` is the list of different values, `unique_count` how many they are."""

STAGES = ("visitor", "prospect", "new", "active", "loyal", "at_risk", "lapsed")
"""Stages of the life cycle; `schemas.segments.definitions.Lifecycle` says which is which."""
PRODUCT_LISTS = ("viewed", "cart", "wishlist")
"""The lists of a person's products."""
NUMERIC_FUNCTIONS = frozenset({"count", "sum", "average", "min", "max"})


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Comparison(_Model):
    """What a value is compared with; all that is given must hold.

    Attributes:
        eq: Equal. A list: it has this element.
        ne: Not equal, or absent.
        in_: One of these.
        not_in: None of these, or absent.
        gt, gte, lt, lte: A number is greater, at least, less, at most.
        exists: There is a value, or (false) there is none.
        contains: A text contains this, a list has it; upper and lower case are the same.
        starts_with, ends_with: Of a text; upper and lower case are the same.
        before, after: A time is before, or at or after.
        within: A time is in the past, by less than this.
        within_next: A time is to come, in at most this.
        older_than: A time is in the past, by at least this.
    """

    eq: Scalar | None = None
    ne: Scalar | None = None
    in_: Scalars | None = Field(None, alias="in")
    not_in: Scalars | None = None
    gt: Number | None = None
    gte: Number | None = None
    lt: Number | None = None
    lte: Number | None = None
    exists: bool | None = None
    contains: Scalar | None = None
    starts_with: Text | None = None
    ends_with: Text | None = None
    before: Instant | None = None
    after: Instant | None = None
    within: Duration | None = None
    within_next: Duration | None = None
    older_than: Duration | None = None


Where = dict[Path, Annotated[Comparison, BeforeValidator(_comparison)]]
"""Comparisons by path of an event, such as `properties.price` or `channel`; of a list any element may match."""


class Step(_Model):
    """One step of a sequence.

    Attributes:
        event: Name of its event, or any of several.
        where: Filter on the event.
        within: At most this long after the step before; any time after it if left out.
    """

    event: Texts
    where: Where = Field(default_factory=dict)
    within: Duration | None = None


_NUMBERS = ("eq", "ne", "in", "not_in", "gt", "gte", "lt", "lte", "exists")
_TEXTS = ("eq", "ne", "in", "not_in", "exists", "contains", "starts_with", "ends_with")
_TIMES = ("before", "after", "within", "within_next", "older_than", "exists")
_FITTING: dict[str, tuple[str, ...]] = {
    "number": _NUMBERS,
    "money": _NUMBERS,
    "time": _TIMES,
    "text": _TEXTS,
    "list": ("eq", "ne", "in", "not_in", "contains", "exists"),
    "yes/no": ("eq", "ne", "exists"),
}
_COMPARISONS = tuple(dict.fromkeys((*_NUMBERS, *_TEXTS, *_TIMES)))

OPERATORS: dict[str, tuple[str, ...]] = {
    "all": (),
    "any": (),
    "not": (),
    "attribute": _COMPARISONS,
    "performed": ("within", "at_least", "at_most", "exactly", "where", "after", "before"),
    "not_performed": ("within", "where", "after", "before"),
    "sequence": ("within", "same"),
    "aggregate": ("event", "of", "where", "within", *_TEXTS, *_NUMBERS),
    "engaged": ("within", "opens"),
    "can_reach": (),
    "consent": ("granted",),
    "stage": (),
    "rfm": (),
    "segment": (),
    "bucket": ("from", "to"),
    "product": ("within", "in_stock", "cheaper", "cheaper_by", "price_below", "price_from", "currency"),
}
"""Operators, each with the keys that may qualify it."""


class Condition(Comparison):
    """One condition; exactly one of the operators is given.

    Attributes:
        all, any, not_: Of other conditions.
        attribute: The name of an attribute; the comparisons are about its value.
        performed: An event, or any of several, happened `at_least` (1 unless said), `at_most`, `exactly` so many times
            `within` a duration, or from `after` to `before`.
        not_performed: It did not happen then.
        sequence: Events that happened one after the other, the last one `within` a duration. With `same`, all of them
            have the same value there, such as `properties.product_id`.
        aggregate: A function over the values `of` a property of an `event`; the comparisons are about its result.
        engaged: Clicked or answered a message of a channel, or (`opens`) opened it; was met on any other channel.
        can_reach: There is consent and an address that works, on any of these channels.
        consent: A purpose, or `channels.<channel>`, was `granted` (or, false, refused). No answer is neither.
        stage: Is at one of these stages of the life cycle.
        rfm: Is of one of these classes.
        segment: Is in another segment.
        bucket: A hash of the person, from 0 up to 100, is at least `from` and below `to`. The same name gives a person
            the same number, another name another.
        product: One of the products that the person `viewed`, or has in the `cart` or on the `wishlist`, of which all
            that is said is true by the catalogue of now: it is `in_stock` (false: sold out) where the person buys; it
            is `cheaper` than when the person saw it last (false: it is not), or `cheaper_by` so many percent; it costs
            at least `price_from`, less than `price_below` in a `currency`, in their market. `within`: viewed or put in
            so lately.
    """

    all: Annotated[tuple[Condition, ...], Field(min_length=1)] | None = None
    any: Annotated[tuple[Condition, ...], Field(min_length=1)] | None = None
    not_: Condition | None = Field(None, alias="not")
    attribute: Text | None = None
    performed: Texts | None = None
    not_performed: Texts | None = None
    at_least: Annotated[int, Field(ge=1, le=MAX_TIMES)] | None = None
    at_most: Times | None = None
    exactly: Times | None = None
    where: Where = Field(default_factory=dict)
    sequence: Annotated[tuple[Step, ...], Field(min_length=2, max_length=5)] | None = None
    same: Path | None = None
    aggregate: Function | None = None
    event: Texts | None = None
    of: Path | Literal["revenue"] | None = None
    engaged: Texts | None = None
    opens: bool = False
    can_reach: Texts | None = None
    consent: Text | None = None
    granted: bool = True
    stage: Texts | None = None
    rfm: Texts | None = None
    segment: Name | None = None
    bucket: Text | None = None
    product: Texts | None = None
    in_stock: bool | None = None
    cheaper: bool | None = None
    cheaper_by: Annotated[float, Field(gt=0, lt=100)] | None = None
    price_below: Price | None = None
    price_from: Price | None = None
    currency: Currency | None = None
    from_: Annotated[float, Field(ge=0, le=100)] = Field(0, alias="from")
    to: Annotated[float, Field(ge=0, le=100)] = 100

    @model_validator(mode="before")
    @classmethod
    def _one_operator(cls, value: object) -> object:
        if not isinstance(value, dict):
            if isinstance(value, Condition):
                return value
            raise PydanticCustomError("condition", "should be a condition, such as `performed: Order Completed`")
        given = {"not" if key == "not_" else key: inner for key, inner in value.items() if inner is not None}
        found = [key for key in given if key in OPERATORS]
        if len(found) != 1:
            raise PydanticCustomError(
                "condition",
                "should have exactly one of {operators}; it has {found}",
                {
                    "operators": ", ".join(OPERATORS),
                    "found": " and ".join(found) or f"only {', '.join(map(str, given))}{_suggestion(given)}",
                },
            )
        surplus = [key for key in given if key != found[0] and key not in OPERATORS[found[0]]]
        if surplus:
            raise PydanticCustomError(
                "condition",
                "`{surplus}` does not go with `{operator}`, which takes {fitting}",
                {
                    "surplus": surplus[0],
                    "operator": found[0],
                    "fitting": ", ".join(OPERATORS[found[0]]) or "nothing else",
                },
            )
        return value

    @model_validator(mode="after")
    def _sensible(self) -> Condition:
        check = _CHECKS.get(self.operator)
        if check is not None and (problem := check(self)):
            raise PydanticCustomError("condition", "{problem}", {"problem": problem})
        return self

    @property
    def operator(self) -> str:
        """The key that names the operator."""
        return next(name for name in OPERATORS if getattr(self, "not_" if name == "not" else name) is not None)

    @property
    def inner(self) -> tuple[Condition, ...]:
        """The conditions directly inside this one."""
        return self.all or self.any or ((self.not_,) if self.not_ else ())

    def walk(self) -> Iterator[Condition]:
        """Yield this condition and all inside it."""
        yield self
        for one in self.inner:
            yield from one.walk()

    def events(self) -> Iterator[str]:
        """Yield the names of events in this condition, without those of conditions inside it."""
        for names in (self.performed, self.not_performed, self.event, *(step.event for step in self.sequence or ())):
            yield from names or ()

    def comparisons(self) -> dict[str, Any]:
        """Return the comparisons that are given, by their key in YAML."""
        return given_comparisons(self)


def given_comparisons(comparison: Comparison) -> dict[str, Any]:
    """Return the comparisons that are given, by their key in YAML."""
    found = {}
    for key in _COMPARISONS:
        value = getattr(comparison, "in_" if key == "in" else key)
        if value is not None:
            found[key] = value
    return found


def _check_attribute(condition: Condition) -> str:
    name = condition.attribute or ""
    found = find_attribute(name)
    if found is None:
        return f"there is no attribute {name!r}{_nearest(name)}; `throughline segments attributes` lists them"
    given = condition.comparisons()
    if not given:
        return f"say what {name} should be: {', '.join(_FITTING.get(found[0].type, _COMPARISONS))}"
    if condition.within is not None and condition.older_than is not None and condition.older_than >= condition.within:
        return "nothing is older than `older_than` and still `within` less: make `within` the longer one"
    fitting = _FITTING.get(found[0].type, _COMPARISONS)
    for key in given:
        if key not in fitting:
            return f"`{key}` does not go with {name}, a {found[0].type}: use {', '.join(fitting)}"
    return ""


def _suggestion(given: Iterable[object]) -> str:
    near = [near for key in given for near in nearest_names(str(key), OPERATORS, 0.75)]
    return f": did you mean {near[0]}?" if near else ""


def _nearest(name: str) -> str:
    return suggestion(name, [*ATTRIBUTES, *(one.name for one in OPEN_FAMILIES)], before=": ")


def _check_performed(condition: Condition) -> str:
    if condition.exactly is not None and (condition.at_least is not None or condition.at_most is not None):
        return "`exactly` does not go with `at_least` and `at_most`"
    if condition.at_least is not None and condition.at_most is not None and condition.at_least > condition.at_most:
        return "`at_least` should not be above `at_most`"
    return ""


def _check_aggregate(condition: Condition) -> str:
    if condition.event is None:
        return "say of which `event`"
    given = {key for key in condition.comparisons() if key != "within"}
    if not given:
        return "say what the result should be, such as `gte: 100`"
    texts = {"contains", "starts_with", "ends_with"} & given
    if texts and condition.aggregate in {*NUMERIC_FUNCTIONS, "unique_count"}:
        return f"`{min(texts)}` does not go with a number"
    return check_function(condition.aggregate or "count", condition.of, condition.within)


def check_function(function: str, of: str | None, within: int | None) -> str:
    """Return the error in an aggregate function, its path and its window; empty if there is none."""
    if function == "count":
        if of is not None:
            return "`count` counts events: leave `of` out"
    elif of is None:
        return f"say what to take the {function} `of`, such as properties.price"
    if within is not None and within > MAX_AGGREGATE_DAYS * DAY_MS:
        return f"`within` should be at most {MAX_AGGREGATE_DAYS}d"
    return ""


def _check_reach(condition: Condition) -> str:
    """Return an error for a channel that looks misspelt; the message policy may name further ones."""
    for name in condition.can_reach or ():
        if name not in ADDRESSED_CHANNELS and nearest_names(name, ADDRESSED_CHANNELS, 0.75):
            return f"no messages are sent on {name!r}{suggestion(name, ADDRESSED_CHANNELS, 0.75, before=': ')}"
    return ""


def _check_bucket(condition: Condition) -> str:
    return "" if condition.from_ < condition.to else "`from` should be below `to`"


def _check_stage(condition: Condition) -> str:
    unknown = [name for name in condition.stage or () if name not in STAGES]
    return f"there is no stage {unknown[0]!r}: use {', '.join(STAGES)}" if unknown else ""


def _check_engaged(condition: Condition) -> str:
    """Return an error for a channel that looks misspelt; a deployment may have further channels."""
    for name in condition.engaged or ():
        if name not in TOUCHPOINT_CHANNELS and nearest_names(name, TOUCHPOINT_CHANNELS, 0.75):
            return f"there is no channel {name!r}{suggestion(name, TOUCHPOINT_CHANNELS, 0.75, before=': ')}"
    return ""


def _check_product(condition: Condition) -> str:
    unknown = [name for name in condition.product or () if name not in PRODUCT_LISTS]
    if unknown:
        return f"there is no list of products {unknown[0]!r}: use {', '.join(PRODUCT_LISTS)}"
    priced = condition.price_below is not None or condition.price_from is not None
    if priced is not (condition.currency is not None):
        return "a price needs its currency, such as `price_below: 20` with `currency: EUR`"
    if condition.in_stock is None and condition.cheaper is None and condition.cheaper_by is None and not priced:
        return "say what the product should be, such as `in_stock: true` or `cheaper: true`"
    below, start = condition.price_below, condition.price_from
    if below is not None and start is not None and start >= below:
        return "`price_from` should be below `price_below`"
    if condition.cheaper is False and condition.cheaper_by is not None:
        return "`cheaper: false` does not go with `cheaper_by`"
    return ""


_CHECKS = {
    "product": _check_product,
    "stage": _check_stage,
    "engaged": _check_engaged,
    "attribute": _check_attribute,
    "performed": _check_performed,
    "aggregate": _check_aggregate,
    "can_reach": _check_reach,
    "bucket": _check_bucket,
}
