"""Guesses the mapping of a file from its header and its first rows, as YAML that a person can read and correct."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from deploy.operations.importers import column_names as names
from deploy.operations.importers.value_forms import (
    DateOrder,
    are_numbers,
    decimal_form,
    signs_of,
    time_form,
)
from schemas.intake.file_mappings import FILE_TIME, ROW_HASH, ROWS, ImportKind

_BARE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_MONEY_PROPERTIES = frozenset({"revenue", "total", "value", "price", "amount", "discount", "tax", "shipping"})
_MAX_PROPERTIES = 100
_MAX_SHARED_BY = 5
"""The most values of another identifier beside which a value is one person's or one family's."""
_MAX_SHARED = 20


class GuessError(ValueError):
    """The header does not say enough; the message says what is missing and what to do."""


@dataclass(frozen=True, slots=True)
class GuessOptions:
    """What the header of a file does not say.

    Attributes:
        source: The source of the events.
        zone: Time zone of times without an offset, IANA name.
        currency: Of amounts, where no column has it; empty: unknown.
        encoding: Of the file.
        date_order: What comes first in dates such as 04/05/2026; None: to be found out.
        decimal: The decimal separator; None: to be found out.
    """

    source: str
    zone: str = "UTC"
    currency: str = ""
    encoding: str = "utf-8"
    date_order: DateOrder | None = None
    decimal: str | None = None


def guess_mapping(
    kind: ImportKind, columns: Sequence[str], rows: Sequence[Mapping[str, Any]], options: GuessOptions
) -> str:
    """Write the mapping of a file.

    Args:
        kind: What its rows are about.
        columns: The names of its columns.
        rows: Its first rows.
        options: What the header does not say.

    Returns:
        A file for `--map`.

    Raises:
        GuessError: Something that every event of this kind needs is in no column.
        AmbiguousFormError: The values of a column may mean two things.
    """
    guess = _Guess(columns, rows, options)
    body = {
        "people": guess.people, "orders": guess.orders, "events": guess.events, "products": guess.products,
    }[kind]()  # fmt: skip
    file = {**({"encoding": options.encoding} if options.encoding != "utf-8" else {}), **body.pop("file", {})}
    head: dict[str, Any] = {"kind": kind, "source": options.source, **({"file": file} if file else {}), **body}
    unused = [column for column in columns if column not in guess.used and not column.startswith("_")]
    shared = "".join(f"# Not used as an identifier, since rows of many people have it: {one}\n" for one in guess.shared)
    text = yaml.dump(head, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None)
    return (
        f"# Guessed from the header; correct what is wrong, and import with --map. A column is read by its name, in\n"
        f'# double quotes where it has spaces: "First name". deploy/definitions/README.md, "Imports", has all parts.\n'
        f"# Columns that are not used: {', '.join(unused) or 'none'}\n{shared}{text}"
    )


class _Dumper(yaml.SafeDumper):
    """Writes what occurs twice twice: people read the file."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write no references."""
        return True


@dataclass
class _Guess:
    """The guess of one file, with the columns that it has used."""

    columns: Sequence[str]
    rows: Sequence[Mapping[str, Any]]
    options: GuessOptions
    used: dict[str, None] = field(default_factory=dict)
    shared: list[str] = field(default_factory=list)

    def people(self) -> dict[str, Any]:
        identifiers = self._identifiers(ids=("id",))
        if not identifiers:
            raise GuessError(
                "no column names a person: expected one such as Email, Phone or Customer ID; or give --map"
            )
        traits = {name: self._trait(name, column) for name, column in self._found(names.TRAITS)}
        proof = {name: self._proof(name, column) for name, column in self._found(names.PROOF)}
        updated = self._column(names.UPDATED)
        rule: dict[str, Any] = {
            "event": "Identify",
            "event_id": self._event_id(
                "person",
                " || ".join(identifiers[kind] for kind in ("user_id", "email", "phone") if kind in identifiers),
                ROW_HASH,
            ),
            "occurred_at": self._time(updated) if updated else FILE_TIME,
            "identifiers": identifiers,
            "traits": _nested(traits),
        }
        if consent := self._consent():
            rule["consent"] = consent
        if proof:
            rule["context"] = {"consent_proof": {"fields": proof}}
        return {"channel": "api", "events": [rule]}

    def orders(self) -> dict[str, Any]:
        found = dict(self._found(names.ORDER))
        for needed, meaning in (("order_id", "the number of the order"), ("occurred_at", "the time of the order")):
            if needed not in found:
                raise GuessError(f"no column is {meaning}: rename one, such as {names.ORDER[needed][0]}; or give --map")
        order_id, occurred_at = found.pop("order_id"), found.pop("occurred_at")
        lines = dict(self._found(names.LINE))
        amounts = {name: column for name, column in found.items() if name not in names.ORDER_TEXTS}
        properties: dict[str, Any] = {"order_id": self._text(order_id)}
        properties |= {name: self._text(column) for name, column in found.items() if name in names.ORDER_TEXTS}
        properties |= {name: self._money(column) for name, column in amounts.items()}
        if "currency" not in properties and (amounts or "price" in lines):
            if not self.options.currency:
                raise GuessError("no column is the currency of the amounts: add --currency EUR, or give --map")
            properties["currency"] = {"value": self.options.currency}
        products = self._products(lines)
        if products:
            properties["products"] = products
        identifiers = self._identifiers()
        rule = {
            "event": "Order Completed",
            "event_id": self._event_id("order", _path(order_id), ROW_HASH),
            "occurred_at": self._time(occurred_at),
            "identifiers": identifiers,
            "properties": properties,
        }
        rules = [rule]
        if cancelled := self._column(names.CANCELLED):
            rules.append(
                {
                    "when": _path(cancelled),
                    "event": "Order Cancelled",
                    "event_id": self._event_id("order cancelled", _path(order_id)),
                    "occurred_at": self._time(cancelled),
                    "identifiers": identifiers,
                    "properties": {"order_id": self._text(order_id)},
                }
            )
        if refund := self._refund(rule, amounts):
            rules.append(refund)
        head: dict[str, Any] = {"channel": "web"}
        if store := found.get("store_id"):
            head = {"common": {"channel": {"get": f"{_path(store)} && 'store' || 'web'"}}}
        if products:
            head["file"] = {"group_by": self._same_in_all_rows(order_id)}
        return {**head, "events": rules}

    def events(self) -> dict[str, Any]:
        found = dict(self._found(names.EVENT))
        if "event_id" in found and not self._differs_by_row(found["event_id"]):
            del self.used[found.pop("event_id")]
        for needed, meaning in (("event", "the name of the event"), ("occurred_at", "its time")):
            if needed not in found:
                raise GuessError(f"no column is {meaning}: rename one, such as {names.EVENT[needed][0]}; or give --map")
        identifiers = self._identifiers()
        channel = self._column(("channel", "kanal"))
        rest = [one for one in self.columns if one not in self.used and not one.startswith("_")][:_MAX_PROPERTIES]
        self.used.update(dict.fromkeys(rest))
        known = _path(found["event_id"]) if "event_id" in found else ROW_HASH
        rule: dict[str, Any] = {
            "event": {"get": _path(found["event"])},
            "event_id": self._event_id("event", known),
            "occurred_at": self._time(found["occurred_at"]),
            "identifiers": identifiers,
            "properties": {_property_name(column): self._property(column) for column in rest},
        }
        if channel:
            rule["channel"] = {"get": _path(channel), "default": "api"}
        return {"channel": "api", "events": [rule]}

    def products(self) -> dict[str, Any]:
        found = dict(self._found(names.PRODUCT))
        if "product_id" not in found:
            raise GuessError("no column is the product: rename one, such as product id; or give --map")
        properties = {name: self._text(column) for name, column in found.items() if name not in names.PRODUCT_AMOUNTS}
        if "price" in found:
            properties["price"] = self._money(found["price"])
            if "currency" not in found:
                if not self.options.currency:
                    raise GuessError("no column is the currency of the price: add --currency EUR, or give --map")
                properties["currency"] = {"value": self.options.currency}
        if "quantity" in found:
            properties["quantity"] = self._money(found["quantity"], "quantity")
        updated = self._column(names.UPDATED)
        rule = {
            "event": "Product Updated",
            # With its time, as a price may return to what it was: that is a new event of an equal row.
            "event_id": self._event_id(
                "product", _path(found["product_id"]), _path(updated) if updated else FILE_TIME, ROW_HASH
            ),
            "occurred_at": self._time(updated) if updated else FILE_TIME,
            "properties": properties,
        }
        return {"channel": "api", "events": [rule]}

    # Columns

    def _column(self, wanted: Iterable[str]) -> str | None:
        column = names.find([one for one in self.columns if one not in self.used], wanted)
        if column is not None:
            self.used[column] = None
        return column

    def _found(self, table: names.Names) -> list[tuple[str, str]]:
        return [(name, column) for name, wanted in table.items() if (column := self._column(wanted)) is not None]

    def _values(self, column: str) -> list[Any]:
        return [value for row in self.rows if (value := row.get(column)) not in (None, "")]

    def _same_in_all_rows(self, order_id: str) -> str:
        """Return the column that every row of an order has: Shopify writes the id into the first row alone."""
        wanted = names.ORDER["order_id"]
        columns = [order_id, *(column for column in self.columns if names.normalised(column) in wanted)]
        return next((one for one in columns if len(self._values(one)) == len(self.rows)), order_id)

    # Values

    def _event_id(self, what: str, *parts: str) -> list[str]:
        return [f"'{self.options.source}'", f"'{what}'", *parts]

    def _identifiers(self, ids: Sequence[str] = ()) -> dict[str, str]:
        table = {**names.IDENTIFIERS, "user_id": (*names.IDENTIFIERS["user_id"], *ids)}
        columns, found = dict(self._found(table)), {}
        for kind, column in columns.items():
            quoted = kind == "phone" and any(str(value).startswith("'") for value in self._values(column))
            # Shop systems put an apostrophe before a +, so that spreadsheets take it for a text.
            path = f"replace({_path(column)}, '\\'', '')" if quoted else _path(column)
            shared = self._shared(column, [other for other in columns.values() if other != column])
            if len(shared) > _MAX_SHARED:
                self.shared.append(f"the column {column}")
                continue
            if shared:
                listed = json.dumps(shared, ensure_ascii=False)
                self.shared.append(f"{column} {listed[1:-1]}")
                path = f"!contains(`{listed}`, {_path(column)}) && {path} || `null`"
            found[kind] = path
        return found

    def _shared(self, column: str, others: Sequence[str]) -> list[str | int]:
        """List the values that rows of many people have, such as the shop's own telephone number."""
        beside: dict[tuple[str | int, str], set[str]] = {}
        for row in self.rows:
            value = row.get(column)
            if not isinstance(value, str | int) or value == "" or "`" in str(value):
                continue
            for other in others:
                if row.get(other) not in (None, ""):
                    beside.setdefault((value, other), set()).add(str(row[other]).lower())
        return list(dict.fromkeys(value for (value, _), found in beside.items() if len(found) > _MAX_SHARED_BY))

    def _differs_by_row(self, column: str) -> bool:
        """Return whether no value of a column is in two different rows: else it is no id of a row."""
        rows: dict[str, Mapping[str, Any]] = {}
        return all(rows.setdefault(str(row.get(column)), row) == row for row in self.rows)

    def _text(self, column: str) -> Any:
        return {"get": _path(column), "as": "text"}

    def _trait(self, name: str, column: str) -> Any:
        if name == "birthday":
            form = time_form(column, self._values(column), self.options.date_order)
            return {"get": _path(column), "as": "date", **form} if form else _path(column)
        return self._time(column) if name == "created_at" else _path(column)

    def _proof(self, name: str, column: str) -> Any:
        return self._time(column) if name == "given_at" else self._text(column)

    def _time(self, column: str) -> dict[str, str]:
        form = time_form(column, self._values(column), self.options.date_order) or {}
        zone = {} if form.get("format", "").endswith("%z") else {"zone": self.options.zone}
        return {"get": _path(column), "as": "time", **form, **zone}

    def _money(self, column: str, read_as: str = "money") -> dict[str, str]:
        values, path = self._values(column), _path(column)
        for sign in signs_of(values):
            path = f"replace({path}, '{sign}', '')"
        form = decimal_form(column, values, self.options.decimal)
        return {"get": f"trim({path})" if path != _path(column) else path, "as": read_as, **form}

    def _products(self, lines: Mapping[str, str]) -> dict[str, Any]:
        if not lines:
            return {}
        fields: dict[str, Any] = {}
        for name, column in lines.items():
            make: Callable[[str], Any] = self._text
            if name in ("price", "quantity"):
                fields[name] = self._money(column, "money" if name == "price" else "quantity")
            else:
                fields[name] = make(column)
        if "product_id" not in fields and "name" in fields:
            fields["product_id"] = fields["name"]
        named = lines.get("product_id") or lines.get("name")
        each = f"{ROWS}[?{_path(named)}]" if named else ROWS
        return {"each": each, "fields": fields}

    def _refund(self, order: Mapping[str, Any], amounts: Mapping[str, str]) -> dict[str, Any] | None:
        """Make the rule of what was given back of an order: the same share of its revenue, without tax and shipping."""
        column = self._column(names.REFUNDED)
        if column is None or "total" not in amounts or "decimal" in self._money(column):
            return None
        total, properties = _path(amounts["total"]), order["properties"]
        others = [f"{_path(amounts[name])} || `null`" for name in ("tax", "shipping") if name in amounts]
        revenue = f"subtract({', '.join([total, *others])})" if others else total
        return {
            "when": f"to_number({_path(column)}) > `0`",
            "event": "Order Refunded",
            "event_id": [*order["event_id"][:1], "'order refunded'", properties["order_id"]["get"], _path(column)],
            "occurred_at": order["occurred_at"],
            "identifiers": order["identifiers"],
            "properties": {
                "order_id": properties["order_id"],
                "currency": properties["currency"],
                "refunded_total": {"get": f"divide(multiply({revenue}, {_path(column)}), {total})", "as": "money"},
            },
        }

    def _consent(self) -> dict[str, Any]:
        found = self._found(names.CONSENT)
        if not found:
            return {}
        channels = {channel: self._answer(column) for channel, column in found}
        answers = ", ".join(_lowered(column) for _, column in found)
        listed = ", ".join(f"'{word}'" for word in names.YES)
        # A yes to one channel is one to marketing; a no to one is no answer about the others.
        return {"marketing": f"[{answers}][?contains([{listed}], @)] | [0] && `true`", "channels": channels}

    def _answer(self, column: str) -> Any:
        lookup = {**dict.fromkeys(names.YES, True), **dict.fromkeys(names.NO, False)}
        return {"get": _lowered(column), "lookup": lookup}

    def _property(self, column: str) -> Any:
        values = self._values(column)
        if _property_name(column) in _MONEY_PROPERTIES:
            return self._money(column)
        return {"get": _path(column), "as": "number"} if are_numbers(values) else _path(column)


def _path(column: str) -> str:
    """Write the expression of a column."""
    return column if _BARE.fullmatch(column) else json.dumps(column, ensure_ascii=False)


def _lowered(column: str) -> str:
    """Write the expression of a column in small letters, whether it holds texts, true or numbers."""
    return f"lower(to_string({_path(column)}))"


def _property_name(column: str) -> str:
    return names.normalised(column).replace(" ", "_") or "unnamed"


def _nested(traits: Mapping[str, Any]) -> dict[str, Any]:
    """Put `address.city` into an object `address`."""
    flat = {name: how for name, how in traits.items() if "." not in name}
    inner = {name.partition(".")[2]: how for name, how in traits.items() if "." in name}
    return {**flat, "address": {"fields": inner}} if inner else flat
