"""Mends the values of an event that have one meaning though they break a rule, and notes what it mended.

`schemas.events.touchpoint.read` comes to `read_mended` only with an event that validation has refused, so valid events
pay nothing. Each error names a place and a rule; where the value there can mean one thing only, that is put in its
place and the event is validated again. What may mean two things stays an error: two people must not become one, nor two
amounts.

| rule | what is sent | what is stored |
| --- | --- | --- |
| `float_sum` | a number for money or a quantity that is a decimal but for the noise of binary sums | the decimal |
| `digits` | decimal digits of another script in a number or a time | the same digits in ASCII |
| `blanks` | blanks around a number or a time | it without them |
| `whole_number` | a whole number as a double where an id is expected | its digits |
| `empty` | an empty text where no text can stand, an empty list where an object belongs | nothing |
| `nul` | NUL characters in free text | none at its end, elsewhere U+FFFD |
| `surrogate` | half a surrogate pair in free text | U+FFFD |
| `event_name` | the name of a known event in other case or with other blanks | its name |
| `whole_currency` | a fraction in what is paid in yen, or in a currency alike | the nearest whole amount |
| `currency` | a currency by its symbol, short name or number, which mean one: `€`, `US$`, `978` | its three letters |
| `unknown_currency` | letters for a currency that no list has: `XYZ`, `POINTS` | those; no sum has it without a rate |
| `cut` | a text of more characters than its field takes, or than any text may have | the first of them |
| `clock` | a time of no year from 1970 to 2100: `0001-01-01T00:00:00Z` | 1970: the event is dated by its arrival |
| `rounded` | a quantity of more than 5 decimal places | the nearest one of 5, half to even |
| `lines_cut` | more products than an event may have, with too many keys or too long a text in all | the first of them |

`null` is absent everywhere, so it is left out and not noted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from pydantic import ValidationError

from schemas.currencies import currency_code, is_unknown, sharing
from schemas.digits import with_ascii_digits
from schemas.events.envelope import ORIGINAL_TIMESTAMP
from schemas.events.limits import MAX_DEPTH, MAX_KEYS, MAX_PRODUCTS, Path
from schemas.minor_units import MINOR
from schemas.money import WHOLE_CURRENCIES, nearest_amount, plain
from schemas.quantity import MAX_QUANTITY_PLACES, rounded_quantity
from schemas.text import CUT_TO, MAX_TEXT
from schemas.time import UNSET_CLOCK, is_of_no_year

MENDED = "mended"
"""The key of an event's `context` that lists what was mended.

Each note has `field` (positions in lists left out), `rule`, and `count`: in how many places.
"""

LINES_CUT = "lines_cut"
CUT = "cut"
UNKNOWN_CURRENCY = "unknown_currency"

MAX_NOTES = 50
"""Most notes of one event; further ones are left out."""

_MAX_FIELD_CHARS = 200
_MAX_PASSES = 6  # an error may hide others, which show in the next pass: minor units those of all properties
_EXACT_INTEGERS = 2**53  # a larger double has lost digits already

_KEYS_KEPT_FREE = 500  # for what validation adds to identifiers, and for the notes

_PRODUCTS: Path = ("properties", "products")
_FREE_PARTS = ("campaign", "context", "properties", "traits")
_ADDRESSES = frozenset({("traits", "email"), ("traits", "phone")})
_NUMBERS = frozenset({"money", "quantity", "int_parsing", "float_parsing"})
_NEVER_EMPTY = frozenset({"missing", "extra_forbidden", "string_too_short", "text", "time", "identifier"})
_HALF_PAIR = re.compile("[\ud800-\udfff]")
_GONE = object()
_PAID = (
    "revenue", "total", "subtotal", "value", "shipping", "tax", "discount", "refunded_total",
)  # fmt: skip
"""Amounts that are paid or given back. A price is not: a screw may cost a quarter of a yen."""
_DECIMAL = re.compile(r"-?[0-9]{1,12}\.[0-9]{1,4}", re.ASCII)
_WHOLE = re.compile(r"-?[0-9]+\.0*", re.ASCII)

Note = dict[str, Any]
Error = Any


def read_mended(
    event: dict[str, Any], error: ValidationError, validate: Callable[[dict[str, Any]], dict[str, Any]]
) -> dict[str, Any]:
    """Mend an event that validation has refused, and validate it again.

    Args:
        event: The event; it is left alone.
        error: Why it was refused.
        validate: Gives the canonical form of an event.

    Returns:
        The canonical form, with notes of what was mended in its context.

    Raises:
        ValidationError: The event breaks a rule in a way that has more than one meaning, or none.
    """
    copy = _Copy(event)
    try:
        for _ in range(_MAX_PASSES):
            if not copy.mend(error):
                raise error
            try:
                written = validate(copy.event)
            except ValidationError as found:
                error = found
            else:
                return with_notes(written, copy.notes())
        raise error
    finally:
        # The error's traceback holds this frame, and by it the frames of all callers with the whole batch: if the frame
        # held the error, they would stay in memory until the garbage collector runs, which workers let it do rarely.
        del error


def in_whole_currency(written: dict[str, Any]) -> dict[str, Any]:
    """Round the amounts of an event whose currency has no smaller unit, and note it: JPY 49.99 is 50.

    In other currencies up to 4 places stay: sums without tax are computed so, and add up to what was paid.

    Args:
        written: The canonical form; amounts are changed in it.
    """
    properties = written.get("properties")
    if not properties or properties.get("currency") not in WHOLE_CURRENCIES:
        return written
    notes: list[Note] = []
    for name in _PAID:
        amount = properties.get(name)
        # A custom event may have anything there but in `revenue`.
        if type(amount) is str and _DECIMAL.fullmatch(amount) and not _WHOLE.fullmatch(amount):
            rounded = Decimal(amount).quantize(Decimal(1), ROUND_HALF_EVEN)
            properties[name] = plain(rounded if rounded else abs(rounded))
            notes.append({"field": f"properties.{name}", "rule": "whole_currency", "count": 1})
    return with_notes(written, notes)


def with_unknown_currencies(written: dict[str, Any]) -> dict[str, Any]:
    """Note the currencies of an event and of its products that no list has, once."""
    properties = written.get("properties")
    if not properties:
        return written
    counts = {"properties.currency": 1} if "currency" in properties and is_unknown(properties["currency"]) else {}
    products = properties.get("products")
    if type(products) is list:
        found = [line["currency"] for line in products if type(line) is dict and "currency" in line]
        counts["properties.products.currency"] = sum(map(is_unknown, found)) if found else 0
    if not any(counts.values()):
        return written
    known = [(note["field"], note["rule"]) for note in mended_notes((written.get("context") or {}).get(MENDED))]
    notes: list[Note] = [
        {"field": field, "rule": UNKNOWN_CURRENCY, "count": count}
        for field, count in counts.items()
        if count and (field, UNKNOWN_CURRENCY) not in known
    ]
    return with_notes(written, notes)


def with_shared_symbol_read(event: dict[str, Any], currency: str) -> dict[str, Any]:
    """Read a symbol that several currencies share, such as `kr`, as the currency of the event's source, and note it.

    Args:
        event: A parsed event that is not validated yet; it is left alone.
        currency: The source's. Where it is none of those that share the symbol, nothing changes.
    """
    properties = event.get("properties")
    if not isinstance(properties, dict) or not sharing(properties.get("currency")):
        return event
    if currency_code(properties["currency"], currency) != currency:
        return event
    changed = {**event, "properties": {**properties, "currency": currency}}
    context = event.get("context")
    if context is None or isinstance(context, dict):
        changed["context"] = context or {}
        with_notes(changed, [{"field": "properties.currency", "rule": "currency", "count": 1}])
    return changed


def mended_notes(noted: object) -> list[Note]:
    """Return field and rule of the notes in an event's context; a producer may have put anything there itself."""
    return [
        {"field": note["field"], "rule": note["rule"]}
        for note in (noted if type(noted) is list else ())
        if type(note) is dict and type(note.get("field")) is str and type(note.get("rule")) is str
    ]


class _Copy:
    """A refused event, which is copied before the first change, and what was mended in it."""

    def __init__(self, event: dict[str, Any]) -> None:
        self.event = event
        self._is_copy = False
        self._counts: dict[tuple[str, str], int] = {}
        self._containers: set[Path] = set()
        self._cut_texts: set[Path] = set()

    def notes(self) -> list[Note]:
        """What was mended, in the order of the fields' first notes."""
        return [
            {"field": field, "rule": rule, "count": count}
            for (field, rule), count in list(self._counts.items())[:MAX_NOTES]
        ]

    def mend(self, error: ValidationError) -> bool:
        """Mend what the errors name; tell whether anything was mended, so that another validation may succeed."""
        changed = [self._mend_one(one) for one in error.errors(include_url=False)]
        self._drop_gone()
        return any(changed)

    def _mend_one(self, error: Error) -> bool:
        kind, path, context = error["type"], error["loc"], error.get("ctx") or {}
        if kind == "bounds":
            return self._mend_texts()
        if kind == "identifier":
            return self._mend_identifiers()
        if kind == "too_many_keys" or (kind == "too_long" and path == _PRODUCTS):
            return self._cut_products()
        value = error["input"]
        if "at" in context:  # a rule over several fields names the one at fault in its context
            path, value = (*path, *_steps(context["at"])), context.get("value")
        if kind == "text" and CUT_TO in context and isinstance(value, str):
            return self._cut(path, value, context[CUT_TO])
        if path == ("occurred_at",) and is_of_no_year(value):
            return self._set_clock(value)
        if value is None:
            return kind not in ("missing", "missing_currency", "extra_forbidden") and self._remove_null(path)
        mended = _mended_value(kind, path, value, self._currency()) if path else None
        if mended is None:
            return False
        rule, new = mended
        return self._put(path, new) and self._note(path, rule)

    def _currency(self) -> str:
        """The currency of the event, which decides what a symbol in one of its lines means."""
        properties = self.event.get("properties")
        return currency_code(properties.get("currency")) or "" if isinstance(properties, dict) else ""

    def _remove_null(self, path: Path) -> bool:
        """Remove a null; an identifier whose value is null is not given at all."""
        return self._put(path[:2] if path[:1] == ("identifiers",) and path[2:] == ("value",) else path, _GONE)

    def _mend_identifiers(self) -> bool:
        """Write whole numbers in the shorthand map of identifiers as their digits, all of them at once."""
        found = self.event.get("identifiers")
        changed = False
        for kind, values in found.items() if isinstance(found, dict) else ():
            path: Path = ("identifiers", kind)
            places: list[tuple[Path, Any]] = (
                [((*path, place), one) for place, one in enumerate(values)]
                if isinstance(values, list)
                else [(path, values)]
            )
            for place, value in places:
                digits = _digits_of_whole(value)
                if digits is not None:
                    changed = self._put(place, digits) and self._note(place, "whole_number")
        return changed

    def _cut(self, path: Path, text: str, longest: int) -> bool:
        """Cut a free text; of an id or an address no part is the same."""
        if path[0] not in _FREE_PARTS or is_id_field(path[-1]) or path in _ADDRESSES:
            return False
        known = path in self._cut_texts
        self._cut_texts.add(path)
        return self._put(path, text[:longest]) and (known or self._note(path, CUT))

    def _set_clock(self, stated: str) -> bool:
        """Write the time that a clock has before it is set, by which the event is dated by its arrival."""
        if not self._put(("occurred_at",), UNSET_CLOCK):
            return False
        context = self.event.get("context")
        if context is None or isinstance(context, dict):
            self.event["context"] = {ORIGINAL_TIMESTAMP: stated, **(context or {})}
        return self._note(("occurred_at",), "clock")

    def cut_texts(self) -> bool:
        """Cut all free texts that are longer than any text may be."""
        cut = [self._cut(path, text, MAX_TEXT) for path, text in self._free_texts() if len(text) > MAX_TEXT]
        return any(cut)

    def _free_texts(self) -> list[tuple[Path, str]]:
        return [found for part in _FREE_PARTS for found in _texts(self.event.get(part), (part,))]

    def _mend_texts(self) -> bool:
        """Take what no store can keep out of all free texts, and cut those that are too long."""
        changed = self.cut_texts()
        for path, text in self._free_texts():
            mended = _mended_text(path, text)
            if mended is not None:
                rule, new = mended
                changed = self._put(path, new) and self._note(path, rule)
        return changed

    def _cut_products(self) -> bool:
        """Keep the first products of too many: the order, its amount and its person are worth more than its last lines.

        The note's count is the number of products that were cut.
        """
        properties = self.event.get("properties")
        products = properties.get("products") if isinstance(properties, dict) else None
        if not isinstance(products, list):
            return False
        left = MAX_KEYS - _KEYS_KEPT_FREE - (_key_count(self.event, 0) - _key_count(products, 2))
        kept = 0
        for product in products[:MAX_PRODUCTS]:
            left -= _key_count(product, 3) + 1  # validation adds the quantity
            if left < 0:
                break
            kept += 1
        if kept == len(products) or not kept:
            return False
        return self._put(_PRODUCTS, products[:kept]) and self._note(_PRODUCTS, LINES_CUT, len(products) - kept)

    def _put(self, path: Path, value: object) -> bool:
        """Put a value in its place; False if the event as it was sent has no such place."""
        if not path:
            return False
        if not self._is_copy:
            self.event, self._is_copy = _copied(self.event, 0), True
        part: Any = self.event
        try:
            for step in path[:-1]:
                part = part[step]
            if part[path[-1]] is _GONE:
                return False
            part[path[-1]] = value
        except (KeyError, IndexError, TypeError):
            return False
        if value is _GONE:
            self._containers.add(path[:-1])
        return True

    def _drop_gone(self) -> None:
        """Drop what was removed: once all errors are seen, and deepest first, since places in lists shift then."""
        for path in sorted(self._containers, key=len, reverse=True):
            part: Any = self.event
            for step in path:
                part = part if part is _GONE else part[step]
            if isinstance(part, dict):
                for key in [key for key, inner in part.items() if inner is _GONE]:
                    del part[key]
            elif isinstance(part, list):
                part[:] = [inner for inner in part if inner is not _GONE]
        self._containers.clear()

    def _note(self, path: Path, rule: str, count: int = 1) -> bool:
        field = ".".join(step for step in path if isinstance(step, str))[:_MAX_FIELD_CHARS]
        self._counts[field, rule] = self._counts.get((field, rule), 0) + count
        return True


def _mended_value(kind: str, path: Path, value: object, currency: str) -> tuple[str, object] | None:
    """Find the one meaning of a value that breaks a rule of this kind: the rule's name and the value, or None."""
    if str(path[-1]).endswith(MINOR) and value != "":
        return None  # a whole number, or nothing: its unit is too small for a mistake
    if kind == "money" and type(value) is float:
        amount = nearest_amount(value)
        return None if amount is None else ("float_sum", plain(amount))
    if kind == "quantity" and type(value) is float:
        amount = nearest_amount(value, MAX_QUANTITY_PLACES)
        if amount is not None:
            return "float_sum", plain(amount)
    if kind == "quantity" and (quantity := rounded_quantity(value)) is not None:
        return "rounded", plain(quantity)
    if path[-1] == "currency" and path[0] == "properties" and value not in ("", None):
        return _mended_currency(value, currency)
    if kind == "text":
        digits = _digits_of_whole(value)
        return None if digits is None else ("whole_number", digits)
    if value == [] and kind == "dict_type" and path[0] in _FREE_PARTS:
        return "empty", _GONE  # PHP writes an empty map so
    if not isinstance(value, str):
        return None
    if not value.strip():
        # An answer of consent is not guessed: some systems write their `false` as an empty text.
        kept = kind in _NEVER_EMPTY or path[0] == "consent" or (len(path) == 1 and kind == "string_pattern_mismatch")
        return None if kept else ("empty", _GONE)
    if kind == "time" or kind in _NUMBERS:
        # The Arabic decimal separator is that and nothing else.
        written = value.strip()  # fields of fixed width are padded
        digits = with_ascii_digits(written if kind == "time" else written.replace("٫", "."))
        return None if digits == value else ("blanks" if digits == written else "digits", digits)
    return None


def _mended_currency(value: object, currency: str) -> tuple[str, object] | None:
    if isinstance(value, str) and not value.strip():
        return "empty", _GONE
    code = currency_code(value, currency)
    if code is None:
        return None
    return "blanks" if isinstance(value, str) and code == value.strip().upper() else "currency", code


def _digits_of_whole(value: object) -> str | None:
    if type(value) is float and value.is_integer() and abs(value) < _EXACT_INTEGERS:
        return str(int(value))
    return None


def _mended_text(path: Path, text: str) -> tuple[str, str] | None:
    """Mend a text that holds NUL characters or half surrogate pairs.

    Of an id only the NUL characters at its end are cut, as fields of fixed width are padded: a character in place of
    another could make two things one. Addresses of people are left alone, and so are refused.
    """
    padded = text.rstrip("\0")
    if path in _ADDRESSES:
        return None
    is_id = is_id_field(path[-1])
    if "\0" in text:
        return None if is_id and "\0" in padded else ("nul", padded.replace("\0", "\ufffd"))
    if is_id or (whole := whole_text(text)) == text:
        return None
    return "surrogate", whole


def whole_text(text: str) -> str:
    """Return a text with U+FFFD in place of half surrogate pairs, which UTF-8 cannot hold."""
    return text if text.isascii() else _HALF_PAIR.sub("\ufffd", text)


def is_id_field(name: str | int) -> bool:
    """Return whether a field of an event, by its last name, holds an id: of one, no part is the same."""
    return name in ("id", "sku") or str(name).endswith("_id")


def _texts(value: object, path: Path) -> Iterator[tuple[Path, str]]:
    """List the texts of a part with their places."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict | list) and len(path) < MAX_DEPTH:
        for step, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _texts(inner, (*path, step))


def _key_count(value: object, depth: int) -> int:
    """Count the keys of a part and of what it holds, as deep as events may be."""
    if depth > MAX_DEPTH or not isinstance(value, dict | list):
        return 0
    inner = value.values() if isinstance(value, dict) else value
    return (len(value) if isinstance(value, dict) else 0) + sum(_key_count(one, depth + 1) for one in inner)


def with_texts_cut(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event whose free texts are no longer than any text may be, with notes; the event itself if all are."""
    copy = _Copy(event)
    return with_notes(copy.event, copy.notes()) if copy.cut_texts() else event


def _copied(value: Any, depth: int) -> Any:
    """Copy a parsed event as deep as events may be; what is deeper is refused before it could be changed."""
    if depth > MAX_DEPTH:
        return value
    if isinstance(value, dict):
        return {key: _copied(inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, list):
        return [_copied(inner, depth + 1) for inner in value]
    return value


def _steps(at: object) -> Path:
    return tuple(int(step) if step.isdecimal() else step for step in str(at).split("."))


def with_notes(written: dict[str, Any], notes: list[Note]) -> dict[str, Any]:
    """Add the notes to the event's context, after those that it had."""
    if notes:
        context = written.get("context") or {}
        known = context.get(MENDED)
        written["context"] = {**context, MENDED: [*(known if isinstance(known, list) else ()), *notes][:MAX_NOTES]}
    return written
