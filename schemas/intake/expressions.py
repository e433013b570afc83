"""Expressions of mappings: JMESPath (https://jmespath.org/specification.html), with some more functions, within bounds.

Of the further functions `lower`, `upper`, `trim`, `split`, `replace` and `items` are those of JMESPath Community. A
further function returns null where it is given null, since a part that is absent is no error. Sums of money are exact:
`total`, `add`, `subtract`, `multiply` and `divide` take numbers and decimal texts and return a decimal text.

| function | result |
| --- | --- |
| `lower(text)`, `upper(text)`, `trim(text)` | the text in small or capital letters; without outer white space |
| `split(text, separator)`, `replace(text, old, new)` | a list of texts; the text with each `old` replaced |
| `before(text, separator)` | what is before the first separator; the whole text if it has none |
| `after(text, separator)` | what is after the first separator; null if it has none |
| `items(object)` | a list of `[key, value]` |
| `parse_json(text)` | what a text of JSON holds, as of a field of a form |
| `add(a, …)`, `subtract(a, b, …)`, `multiply(a, b)`, `divide(a, b)` | decimal text |
| `total(list)` | the same of a list: the sum of its elements, null of none |
| `sha256(text)` | 64 hexadecimal digits |
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal, DecimalException
from hashlib import sha256
from inspect import cleandoc
from typing import Any

import jmespath
import orjson
from jmespath import functions, visitor
from jmespath.exceptions import JMESPathError
from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from schemas.spelling import nearest_names

MAX_EXPRESSION_CHARS, MAX_EXPRESSION_DEPTH, MAX_EXPRESSION_PARTS = 2_000, 40, 300
"""The longest expression, the deepest nesting of its parts, and the most of them."""
MAX_STEPS, MAX_RESULTS, MAX_RESULT_CHARS = 500_000, 50_000, 1_000_000
"""The most parts that are evaluated for one result, the most elements of a list, and the longest text on the way."""

_TEXT = {"types": ["string", "null"]}
_AMOUNT = {"types": ["string", "number", "null"]}


class ExpressionError(ValueError):
    """An expression cannot be evaluated on a value, such as `sort(@)` on a text; the message says why."""


class _Functions(functions.Functions):
    """The functions of JMESPath, and those of the module's table: the library finds `_func_<name>`."""

    @functions.signature(_TEXT)
    def _func_lower(self, text: str | None) -> str | None:
        return text and text.lower()

    @functions.signature(_TEXT)
    def _func_upper(self, text: str | None) -> str | None:
        return text and text.upper()

    @functions.signature(_TEXT)
    def _func_trim(self, text: str | None) -> str | None:
        return text and text.strip()

    @functions.signature(_TEXT, {"types": ["string"]})
    def _func_split(self, text: str | None, separator: str) -> list[str] | None:
        if text is None:
            return None
        return text.split(separator) if separator else [*text]

    @functions.signature(_TEXT, {"types": ["string"]}, {"types": ["string"]})
    def _func_replace(self, text: str | None, old: str, new: str) -> str | None:
        return text and text.replace(old, new)

    @functions.signature(_TEXT, {"types": ["string"]})
    def _func_before(self, text: str | None, separator: str) -> str | None:
        return text and text.partition(separator)[0]

    @functions.signature(_TEXT, {"types": ["string"]})
    def _func_after(self, text: str | None, separator: str) -> str | None:
        if text is None:
            return None
        _, found, rest = text.partition(separator)
        return rest if found else None

    @functions.signature({"types": ["object", "null"]})
    def _func_items(self, value: dict[str, Any] | None) -> list[list[Any]] | None:
        return None if value is None else [[key, inner] for key, inner in value.items()]

    @functions.signature(_TEXT)
    def _func_parse_json(self, text: str | None) -> Any:
        return None if text is None else orjson.loads(text)

    @functions.signature({**_AMOUNT, "variadic": True})
    def _func_add(self, *amounts: object) -> str | None:
        return _sum(amounts)

    @functions.signature({"types": ["array", "null"]})
    def _func_total(self, amounts: list[object] | None) -> str | None:
        return _sum(amounts or ())

    @functions.signature(_AMOUNT, {**_AMOUNT, "variadic": True})
    def _func_subtract(self, first: object, *others: object) -> str | None:
        if first is None:
            return None
        return format(_decimal(first) - sum((_decimal(one) for one in others if one is not None), Decimal(0)), "f")

    @functions.signature(_AMOUNT, _AMOUNT)
    def _func_multiply(self, first: object, second: object) -> str | None:
        return None if first is None or second is None else format(_decimal(first) * _decimal(second), "f")

    @functions.signature(_AMOUNT, _AMOUNT)
    def _func_divide(self, first: object, second: object) -> str | None:
        if first is None or second is None or not _decimal(second):
            return None
        return format(round(_decimal(first) / _decimal(second), 4).normalize(), "f")

    @functions.signature(_TEXT)
    def _func_sha256(self, text: str | None) -> str | None:
        return text and sha256(text.encode()).hexdigest()


def _sum(amounts: Iterable[object]) -> str | None:
    numbers = [_decimal(amount) for amount in amounts if amount is not None]
    return format(sum(numbers, Decimal(0)), "f") if numbers else None


def _decimal(value: object) -> Decimal:
    """Read an operand; one of a size that no amount has would make a text of as many digits."""
    number = Decimal(value if isinstance(value, str) and len(value) <= 100 else repr(value))
    if not number.is_finite() or abs(number) >= 10**30 or number.as_tuple().exponent < -30:  # type: ignore[operator]
        raise ValueError("a number is too large or too exact to calculate with")
    return number


_OPTIONS = visitor.Options(custom_functions=_Functions())
_KNOWN: dict[str, Any] = _Functions.FUNCTION_TABLE


class _Interpreter(visitor.TreeInterpreter):
    """Evaluates within bounds: some expressions double their value with each part."""

    def __init__(self) -> None:
        super().__init__(_OPTIONS)
        self._steps_left = MAX_STEPS

    def visit(self, node: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Evaluate one part.

        Raises:
            ExpressionError: The work or the result is beyond its bounds.
        """
        self._steps_left -= 1
        if self._steps_left < 0:
            raise ExpressionError(f"it takes more than {MAX_STEPS:,} steps")
        result = super().visit(node, *args, **kwargs)
        if type(result) is list and len(result) > MAX_RESULTS:
            raise ExpressionError(f"it gives a list of more than {MAX_RESULTS:,} elements")
        if type(result) is str and len(result) > MAX_RESULT_CHARS:
            raise ExpressionError(f"it gives a text of more than {MAX_RESULT_CHARS:,} characters")
        return result


class Expression:
    """A compiled expression; in a definition it is a text.

    Args:
        text: JMESPath.

    Attributes:
        text: The same.
        fields: Every path that it reads by name from the top, such as `("_headers", "x-shopify-topic")`.

    Raises:
        ValueError: It is no JMESPath, calls an unknown function, or is beyond the bounds.
    """

    __slots__ = ("_name", "_tree", "fields", "text")

    def __init__(self, text: str) -> None:
        if len(text) > MAX_EXPRESSION_CHARS:
            raise ValueError(f"an expression should have at most {MAX_EXPRESSION_CHARS:,} characters")
        try:
            self._tree: dict[str, Any] = jmespath.compile(text).parsed
        except (JMESPathError, ValueError, RecursionError) as error:
            raise ValueError(_syntax_problem(text, error)) from None
        self.text = text
        self._name = self._tree["value"] if self._tree["type"] == "field" else None
        parts = _checked(self._tree)
        if parts > MAX_EXPRESSION_PARTS:
            raise ValueError(
                f"{text[:60]!r} has {parts} parts: an expression should have at most {MAX_EXPRESSION_PARTS}"
            )
        self.fields = frozenset(_fields(self._tree))

    def __call__(self, value: Any) -> Any:
        """Evaluate it on a JSON value.

        Raises:
            ExpressionError: It cannot be evaluated there.
        """
        if self._name is not None and type(value) is dict:  # most columns of a file are read by their name alone
            found = value.get(self._name)
            if not isinstance(found, list | str) or len(found) <= MAX_RESULTS:
                return found
        try:
            return _Interpreter().visit(self._tree, value)
        except ExpressionError:
            raise
        except (JMESPathError, DecimalException, RecursionError, TypeError, ValueError, KeyError) as error:
            raise ExpressionError(_problem(error)) from None

    def holds(self, value: Any) -> bool:
        """Return whether its result is true: not null, false, or empty.

        Raises:
            ExpressionError: As `__call__`.
        """
        result = self(value)
        return not (result is None or result is False or result in ("", [], {}))

    def __repr__(self) -> str:
        return self.text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expression) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Read the text of a definition."""
        return core_schema.no_info_plain_validator_function(cls._read, serialization=core_schema.to_string_ser_schema())

    @classmethod
    def _read(cls, value: object) -> Expression:
        if isinstance(value, Expression):
            return value
        if not isinstance(value, str):
            raise PydanticCustomError("string_type", "should be a text")
        return cls(value)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string"}


def _checked(tree: dict[str, Any], depth: int = 0) -> int:
    """Check the functions of a tree and its depth; return the number of its parts."""
    if depth > MAX_EXPRESSION_DEPTH:
        raise ValueError(f"an expression should be nested at most {MAX_EXPRESSION_DEPTH} levels deep")
    if tree["type"] == "function_expression":
        name, given = tree["value"], len(tree["children"])
        if name not in _KNOWN:
            near = nearest_names(name, _KNOWN)
            raise ValueError(f"there is no function {name}(){f'; did you mean {near[0]}()?' if near else ''}")
        wanted = _KNOWN[name]["signature"]
        variadic = bool(wanted) and wanted[-1].get("variadic", False)
        if given < len(wanted) if variadic else given != len(wanted):
            least = "at least " if variadic else ""
            raise ValueError(f"{name}() takes {least}{len(wanted)} arguments, and has {given}")
    return 1 + sum(_checked(child, depth + 1) for child in tree["children"] if isinstance(child, dict))


def _fields(tree: dict[str, Any]) -> list[tuple[str, ...]]:
    """List the paths of names that a tree reads."""
    if path := _path(tree):
        return [path]
    return [path for child in tree["children"] if isinstance(child, dict) for path in _fields(child)]


def _path(tree: dict[str, Any]) -> tuple[str, ...]:
    """Return the path of a tree that is nothing but names, else ()."""
    if tree["type"] == "field":
        return (tree["value"],)
    if tree["type"] != "subexpression":
        return ()
    parts = [_path(child) for child in tree["children"]]
    return tuple(name for part in parts for name in part) if all(parts) else ()


def _syntax_problem(text: str, error: Exception) -> str:
    where = getattr(error, "lex_position", getattr(error, "lexer_position", None))
    at = f" at character {where + 1}" if isinstance(where, int) else ""
    return f"{text[:60]!r} is no JMESPath{at}: a path is a.b, a text 'so', a number `5`, a name with a hyphen \"a-b\""


def _problem(error: Exception) -> str:
    """Say why an evaluation failed, without the value, which may name a person."""
    function = getattr(error, "function_name", "")
    if function:
        wanted = ", ".join(str(one) for one in getattr(error, "expected_types", ()))
        return f"{function}() takes {wanted}, and is given {getattr(error, 'actual_type', 'something else')}"
    if isinstance(error, orjson.JSONDecodeError):
        return "parse_json() is given a text that is no JSON"
    if isinstance(error, DecimalException):
        return "it calculates with a text that is no decimal number"
    if isinstance(error, RecursionError):
        return "the value is nested too deep"
    return (
        cleandoc(str(error))[:200] if type(error) is ValueError else "its parts are of types that do not fit together"
    )
