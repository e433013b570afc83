"""The oracle of `make faults` sees each kind of loss and of invention, and nothing where all is well."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.fault.table.faults import POINTS
from tests.fault.table.oracle import Seen, compare
from tests.fault.table.traffic import Ledger, Sent

LEDGER = Ledger(
    {
        "a-cart": Sent("a", 10.0, 10.1, in_cart=True),
        "a-order": Sent("a", 11.0, 11.1, Decimal("1.10")),
        "b-cart": Sent("b", 10.0, 10.1, in_cart=True),
        "c-cart": Sent("c", 10.0, 10.1, in_cart=True),
        "c-order": Sent("c", 11.0, 16.0, Decimal("2.20")),  # Kafka had it when its reminder was due
        "c-sign-in": Sent("c", 10.0, signs_in=True),
        "d-view": Sent("d", 10.0),  # Kafka never said that it has it
    }
)
WELL = Seen(
    rows=dict.fromkeys(["a-cart", "a-order", "b-cart", "c-cart", "c-order"], 1),
    profiles={"a-cart": "A", "a-order": "A", "b-cart": "B", "c-cart": "C", "c-order": "C"},
    revenue={"a-order": Decimal("1.10"), "c-order": Decimal("2.20")},
    stored={"A": 2, "B": 2, "C": 2},
    counted={"A": 2, "B": 2, "C": 2},
    letters={"b": 1},
)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({}, id="as it must be"),
        pytest.param({"letters": {"b": 1, "c": 1}}, id="a letter that an order may have come too late for"),
        pytest.param({"letters": {}, "in_doubt": {"b": 1}}, id="a letter that is in doubt"),
        pytest.param({"rows": {**WELL.rows, "d-view": 1}}, id="an event that Kafka did not acknowledge"),
        pytest.param(
            {
                "profiles": {**WELL.profiles, "c-order": "E"},
                "stored": {**WELL.stored, "C": 1, "E": 1},
                "counted": {**WELL.counted, "C": 1, "E": 1},
            },
            id="a browser and an address of which Kafka did not acknowledge the sign-in",
        ),
    ],
)
def test_what_may_be_is_neither_missing_nor_invented(change: dict[str, Any]) -> None:
    found = compare(LEDGER, replace(WELL, **change))

    assert ([], []) == (found.missing, found.invented)


def without(name: str, key: str) -> Callable[[Seen], Seen]:
    change: dict[str, Any] = {name: {one: value for one, value in getattr(WELL, name).items() if one != key}}
    return lambda seen: replace(seen, **change)


def having(name: str, **items: Any) -> Callable[[Seen], Seen]:
    change: dict[str, Any] = {name: {**getattr(WELL, name), **items}}
    return lambda seen: replace(seen, **change)


@pytest.mark.parametrize(
    ("change", "missing", "invented"),
    [
        pytest.param(without("rows", "b-cart"), ["event b-cart"], [], id="an event"),
        pytest.param(having("rows", z=1), [], ["event z was never sent"], id="an event that nobody sent"),
        pytest.param(having("rows", **{"b-cart": 2}), [], ["event b-cart is stored 2 times"], id="an event twice"),
        pytest.param(without("revenue", "a-order"), ["order a-order is worth 0"], [], id="money"),
        pytest.param(
            having("revenue", **{"a-order": Decimal(9)}), [], ["order a-order is worth 9"], id="money of nobody"
        ),
        pytest.param(
            having("profiles", **{"a-order": "D"}), ["profile D has counted 0 of 1 events"], ["a is 2 people"],
            id="a person who is two",
        ),
        pytest.param(having("profiles", **{"b-cart": "C"}), ["2 people are one"], [], id="two people who are one"),
        pytest.param(having("counted", B=1), ["profile B has counted 1 of 2 events"], [], id="an event of a profile"),
        pytest.param(having("counted", B=3), [], ["profile B has counted 3 of 2 events"], id="an event counted twice"),
        pytest.param(without("letters", "b"), ["the letter to b"], [], id="a letter"),
        pytest.param(having("letters", b=2), [], ["b has 2 letters"], id="a letter twice"),
        pytest.param(having("letters", a=1), [], ["a is reminded of what was ordered"], id="a letter after the order"),
        pytest.param(having("letters", z=1), [], ["z has a letter and had no cart"], id="a letter to nobody"),
        pytest.param(
            lambda seen: replace(seen, unaccounted=3), ["3 records are not accounted for"], [], id="a record"
        ),
    ],
)  # fmt: skip
def test_what_differs_is_named(change: Callable[[Seen], Seen], missing: list[str], invented: list[str]) -> None:
    seen = change(WELL)
    if seen.profiles.get("a-order") == "D":
        seen = replace(seen, stored={**seen.stored, "D": 1})
    found = compare(LEDGER, seen)

    assert (missing, invented) == (found.missing, found.invented)


def test_a_worker_dies_at_every_failpoint() -> None:
    code = [Path("processors", name).read_text("utf-8") for name in ("agents.py", "delivery/stage.py")]
    steps = "taken|resolved|published|written|fired|inserted|claimed|sent|settled|entered"
    named = {point for text in code for point in re.findall(rf'"([a-z]+:(?:{steps}))"', text)}

    # A broadcast, which the traffic has none of, has fault tests of its own.
    assert named - {"broadcast:entered"} == {point for points in POINTS.values() for point in points}
