"""The ledger of points in SQL says what profiles say, and no balance below nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from random import Random
from typing import Any

import pytest

from deploy.settings import Settings
from processors.profiles.document import apply, new_profile
from processors.profiles.view import view
from tests.support.builders import DAY_ONE
from tests.support.warehouse import Warehouse, merged, person, resolved, warehouse

pytestmark = pytest.mark.integration


@pytest.fixture
def tables(stack: Settings) -> Iterator[Warehouse]:
    with warehouse(stack) as found:
        yield found


def points(verb: str, who: int, hour: int, number: int, amount: float, **properties: Any) -> dict[str, Any]:
    at = DAY_ONE + timedelta(hours=hour)
    return resolved(
        f"{number}",
        who,
        at,
        event=f"Loyalty Points {verb}",
        channel="store",
        properties={"points": amount, **properties},
    )


def test_what_is_redeemed_beyond_what_is_known_is_said(tables: Warehouse) -> None:
    events = [points("Earned", 1, 0, 1, 400), points("Earned", 1, 1, 2, 150), points("Redeemed", 1, 2, 3, 900)]
    for _ in range(2):  # twice is once
        tables.store(*events)

    assert [(400, 400, 0, 0), (150, 550, 0, 0), (-900, 0, 350, 1)] == tables.rows(
        "SELECT points, balance, overdrawn, is_last FROM v_points ORDER BY occurred_at"
    )


def test_two_people_who_turn_out_to_be_one_have_one_balance(tables: Warehouse) -> None:
    tables.store(points("Earned", 1, 0, 1, 400), points("Redeemed", 2, 1, 2, 100))
    tables.change(merged(1, 1, [2]))

    assert [(person(1), 300, 0)] == tables.rows(
        "SELECT toString(profile_id), balance, overdrawn FROM v_points WHERE is_last"
    )


def test_balances_are_those_of_profiles(tables: Warehouse) -> None:
    drawn = Random(7)
    events = [
        points(
            drawn.choice(["Earned", "Redeemed"]),
            drawn.randrange(20),
            drawn.randrange(5),
            number,
            drawn.choice([10, 99.9, 250]),
            **({"balance": drawn.choice([-5, 0, 7.5, 80])} if drawn.random() < 0.2 else {}),
        )
        for number in range(150)
    ]
    profiles: dict[str, dict[str, Any]] = {}
    for event in events:
        apply(profiles.setdefault(event["profile_id"], new_profile(event["profile_id"])), event)
    tables.store(*drawn.sample(events, len(events)))
    found = tables.rows("SELECT toString(profile_id), balance, overdrawn FROM v_points WHERE is_last")
    shown = {name: view(profile)["loyalty"] for name, profile in profiles.items()}

    assert {name: (loyalty["balance"], loyalty["overdrawn"]) for name, loyalty in shown.items()} == {
        name: tuple(rest) for name, *rest in found
    }
