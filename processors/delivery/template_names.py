"""The names of the values that a template may use, and the names in a template that are none of them.

A name that does not exist fails every message of its template, and a condition on it never holds, so it is an error
before the first message. A name that exists and is not known of a person is not: `default` and `if` are for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from liquid import BoundTemplate, RenderContext
from liquid.builtin.expressions import FilteredExpression, LoopExpression, Path

from schemas.spelling import known_names, nearest_names

Names = Mapping[str, Any]
"""Names below a name; `ITEM` instead: it is a list, and what is below it is below its items; empty: any name."""

ITEM = "[]"
ANY: Names = {}
_TEXT: Names = {"size": ANY}
_EVENT: Names = {**dict.fromkeys(("event_id", "event", "channel", "occurred_at"), _TEXT), "properties": ANY}
_TOUCH: Names = {"at": _TEXT, "channel": _TEXT, "campaign": ANY}
_PRODUCT: Names = dict.fromkeys(
    ("product_id", "name", "category", "price", "currency", "url", "image_url", "why"), _TEXT
)
_CATALOGUE: Names = {
    **dict.fromkeys(
        ("product_id", "name", "sku", "brand", "category", "url", "image_url", "price", "currency", "stock",
         "in_stock"), _TEXT,
    ),
    "stores": ANY,
}  # fmt: skip
_LINE: Names = dict.fromkeys(("product_id", "quantity", "price", "currency", "name", "cart_id", "added_at"), _TEXT)
_PROFILE: Names = {
    **dict.fromkeys(("profile_id", "first_seen", "last_seen", "event_count"), _TEXT),
    **dict.fromkeys(
        ("channels", "events", "traits", "known", "viewed", "seen", "bought", "abandoned", "messages", "bots",
         "addresses", "stores"), ANY,
    ),
    "first_touch": _TOUCH,
    "last_touch": _TOUCH,
    "cart": {ITEM: _LINE},
    "orders": {
        **dict.fromkeys(("count", "first_at", "last_at", "discounted"), _TEXT),
        **dict.fromkeys(("channels", "by_currency", "refunded_in_other_currencies", "by_id"), ANY),
    },
    "loyalty": dict.fromkeys(("balance", "earned", "redeemed", "overdrawn"), _TEXT),
    "consent": {"purposes": ANY, "channels": ANY, "topics": ANY},
}  # fmt: skip
NAMES: Mapping[str, Names] = {
    "profile": _PROFILE,
    "event": _EVENT,
    "run": {"key": _TEXT, "entered_at": _TEXT, "data": ANY, "last": _EVENT},
    "message": {
        **dict.fromkeys(("id", "channel", "unsubscribe_url", "preferences_url", "journey", "step"), _TEXT),
        "campaign": ANY,
        "tags": {ITEM: _TEXT},
    },
    "product": _CATALOGUE,
    "coupon": dict.fromkeys(("code", "pool", "expires_at"), _TEXT),
}
"""The names of a template's values, as `processors/delivery/stage.py` gives them."""
EXAMPLES = {
    "profile": "a trait is profile.traits.{name}",
    "event": "a property of the event that led here is event.properties.{name}",
    "product": "the product that the message is about is product.name, product.price",
    "coupon": "the coupon of the message is coupon.code",
    "run": "a value of the step is run.data.{name}, of the awaited event run.last.properties.{name}",
}
"""Where a name is most probably, by the first name."""


def unknown_root(name: str) -> str:
    """Return the error for a first name that is none, with examples of what is right."""
    near = nearest_names(name, NAMES, 0.75)
    meant = f" (did you mean {near[0]}?)" if near else ""
    return (
        f"{name}: a template knows {', '.join(sorted(NAMES))}{meant}, such as profile.traits.first_name, "
        "event.properties.order_id, run.data.coupon"
    )


def unknown_names(template: BoundTemplate) -> Iterator[tuple[int, str]]:
    """Find the names below known ones that do not exist.

    Yields:
        The place in the source, and the error with an example of what is right.
    """
    scope = {**NAMES, **_locals(template)}
    for root, variables in template.analyze().variables.items():
        for variable in variables:
            if root in scope and (problem := _problem(variable.segments, scope[root])):
                yield variable.span.index, problem


def _problem(segments: list[Any], names: Names) -> str:
    for index, segment in enumerate(segments[1:], 1):
        inside = names.get(ITEM)
        if not names or isinstance(segment, list):  # any name, or one that another value names
            return ""
        if inside is not None and (isinstance(segment, int) or segment in ("first", "last")):
            names = inside
        elif segment in names:
            names = names[segment]
        elif segment != "size":
            return _unknown([str(one) for one in segments[: index + 1]], names)
    return ""


def _unknown(path: list[str], names: Names) -> str:
    whole, parent, name = ".".join(path), ".".join(path[:-1]), path[-1]
    if ITEM in names:
        return f"{whole}: {parent} is a list: go through it, as in {{% for item in {parent} %}}"
    if list(names) == ["size"]:
        return f"{whole}: {parent} is a value and has no parts"
    near = nearest_names(name, names, 0.75)
    if near:
        return f"{whole} is not known: did you mean {parent}.{near[0]}?{known_names(name, names)}"
    listed = f"{parent} has {', '.join(sorted(names))}"
    example = EXAMPLES.get(parent, "").format(name=name)
    return f"{whole} is not known: {f'{example}; ' if example else ''}{listed}"


def _locals(template: BoundTemplate) -> dict[str, Names]:
    """Return the names that a template itself gives to values; a name that it gives twice may have any."""
    found: dict[str, Names] = {}
    context = RenderContext(template)

    def visit(node: Any) -> None:
        for expression in node.expressions():
            if isinstance(expression, LoopExpression):
                named(str(expression.identifier), _below(expression.iterable, found).get(ITEM, ANY))
        if type(node).__name__ == "AssignNode":
            named(str(node.name), _below(node.expression, found))
        elif type(node).__name__ == "CaptureNode":
            named(str(node.name), _TEXT)
        for child in node.children(context):
            visit(child)

    def named(name: str, names: Names) -> None:
        found[name] = ANY if found.get(name, names) != names else names

    for node in template.nodes:
        visit(node)
    return found


def _below(expression: Any, scope: Mapping[str, Names]) -> Names:
    """Return the names below the value of an expression."""
    filters = [one.name for one in expression.filters or ()] if isinstance(expression, FilteredExpression) else []
    if "recommend" in filters[-1:]:
        return {ITEM: _PRODUCT}
    if filters:
        return ANY
    path = expression.left if isinstance(expression, FilteredExpression) else expression
    if not isinstance(path, Path):
        return ANY
    names: Names = {**NAMES, **scope}
    for segment in path.path:
        if not isinstance(segment, str):
            return ANY
        names = names.get(segment, ANY)
    return names
