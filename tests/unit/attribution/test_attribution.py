"""Rule models of attribution on journeys small enough to check by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from processors.attribution.rules import (
    MODELS,
    UNATTRIBUTED,
    Conversion,
    Touch,
    channel_totals,
    credits_of,
    journey_of,
    journeys,
    null_journeys,
    totals,
    with_milestones,
)
from tests.support.builders import DAY_ONE

DAY = timedelta(days=1)


def touch(channel: str, days_before: float, event_id: str = "", person: str = "anna") -> Touch:
    return Touch(event_id or f"{channel} {days_before}", person, DAY_ONE - days_before * DAY, channel)


def conversion(conversion_id: str = "o1", days: float = 0, person: str | None = "anna") -> Conversion:
    return Conversion(conversion_id, "purchase", person, DAY_ONE + days * DAY, Decimal("90.00"))


def weights(model: str, *channels: str) -> list[str]:
    path = [touch(channel, len(channels) - place, str(place)) for place, channel in enumerate(channels)]
    return [str(credit.weight) for credit in credits_of(conversion(), path) if credit.model == model]


@pytest.mark.parametrize(
    ("model", "path", "expected"),
    [
        ("first_touch", "ABC", ["1", "0", "0"]),
        ("last_touch", "ABC", ["0", "0", "1"]),
        ("linear", "ABCA", ["1/4"] * 4),
        ("linear_distinct_channels", "ABCA", ["1/6", "1/3", "1/3", "1/6"]),
        ("participation", "ABCA", ["1/2", "1", "1", "1/2"]),
        ("position_based", "A", ["1"]),
        ("position_based", "AB", ["1/2", "1/2"]),
        ("position_based", "ABC", ["2/5", "1/5", "2/5"]),
        ("position_based", "ABCD", ["2/5", "1/10", "1/10", "2/5"]),
        ("j_shaped", "A", ["1"]),
        ("j_shaped", "AB", ["1/4", "3/4"]),
        ("j_shaped", "ABCD", ["1/5", "1/10", "1/10", "3/5"]),
        ("inverse_j", "AB", ["3/4", "1/4"]),
        ("inverse_j", "ABC", ["3/5", "1/5", "1/5"]),
    ],
)
def test_a_model_weighs_a_path(model: str, path: str, expected: list[str]) -> None:
    assert expected == weights(model, *path)


@pytest.mark.parametrize(
    ("count", "milestone", "expected"),
    [
        pytest.param(5, 3, ["3/10", "1/20", "3/10", "1/20", "3/10"], id="three roles, two others"),
        pytest.param(3, 2, ["1/3", "1/3", "1/3"], id="no others"),
        pytest.param(4, 1, ["3/5", "1/20", "1/20", "3/10"], id="the first is the milestone too"),
        pytest.param(3, 3, ["3/10", "1/10", "3/5"], id="the last is the milestone too"),
        pytest.param(2, 1, ["2/3", "1/3"], id="two touches"),
        pytest.param(1, 1, ["1"], id="one touch"),
        pytest.param(4, 0, ["2/5", "1/10", "1/10", "2/5"], id="no milestone: position based"),
    ],
)
def test_w_shaped_has_a_role_for_the_milestone(count: int, milestone: int, expected: list[str]) -> None:
    path = [touch("A", count - place, str(place)) for place in range(count)]
    reached = DAY_ONE - (count - milestone + 1) * DAY + DAY / 2 if milestone else None
    given = credits_of(replace(conversion(), milestone_at=reached), path)

    assert expected == [str(credit.weight) for credit in given if credit.model == "w_shaped"]


def test_a_milestone_is_the_latest_at_or_before_and_never_the_conversion_itself() -> None:
    signups = [replace(conversion(f"s{n}", n), conversion_type="signup") for n in (0, 2, 4)]
    orders = [conversion("o1", 2), conversion("o2", 3)]

    reached = {one.conversion_id: one.milestone_at for one in with_milestones([*orders, *signups], "signup")}

    days = {"s0": None, "s2": 0, "s4": 2, "o1": 2, "o2": 2}
    assert {name: None if day is None else DAY_ONE + day * DAY for name, day in days.items()} == reached


def test_time_decay_does_not_change_when_the_conversion_moves_and_the_touches_stay() -> None:
    path = [touch("A", 9), touch("B", 4), touch("C", 3)]

    now, later = (
        [one.weight for one in credits_of(conversion(days=days), path) if one.model == "time_decay"] for days in (0, 7)
    )

    assert now == later


def test_totals_of_many_journeys_are_the_sums_of_single_credits() -> None:
    paths = [([touch("A", 3), touch("B", 2), touch("A", 1)], conversion("o1")), ([], conversion("o2"))]
    one_by_one = totals(credit for path, one in paths for credit in credits_of(one, path))

    found = channel_totals(((journey_of(one, path), 1.0, 90.0) for path, one in paths), MODELS)

    assert found.keys() == one_by_one.keys()
    for key, (conversions, revenue) in one_by_one.items():
        assert (float(conversions), float(revenue)) == pytest.approx(found[key], abs=1e-12)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"only": ["A"]}, ["A", "A"]),
        ({"without": ["A"]}, ["B"]),
        ({"contacts": "views"}, ["A"]),
        ({"contacts": "clicks"}, ["B", "A"]),
    ],
    ids=["only", "without", "views", "clicks"],
)
def test_options_choose_the_touches_of_a_journey(options: dict[str, Any], expected: list[str]) -> None:
    path = [replace(touch("A", 3, "1"), view=True), touch("B", 2, "2"), touch("A", 1, "3")]

    assert [expected] == journey(path, **options)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param(["Email", "Direct", "Direct"], ["1", "0", "0"], id="directs are passed over"),
        pytest.param(["Direct", "Direct"], ["0", "1"], id="unless there is nothing else"),
        pytest.param(["direct", "Direct"], ["1", "0"], id="names are compared as they are"),
    ],
)
def test_last_non_direct(path: list[str], expected: list[str]) -> None:
    assert expected == weights("last_non_direct", *path)


def test_a_half_life_halves() -> None:
    path = [touch("A", 14), touch("B", 7), touch("C", 0)]

    decayed = [float(one.weight) for one in credits_of(conversion(), path) if one.model == "time_decay"]

    assert [1 / 7, 2 / 7, 4 / 7] == pytest.approx(decayed, abs=1e-15)


@pytest.mark.parametrize("model", sorted(set(MODELS) - {"participation"}))
@pytest.mark.parametrize("path", ["A", "AB", "AAB", "ABCABC"])
def test_credits_of_an_additive_model_add_up_to_one(model: str, path: str) -> None:
    assert 1 == pytest.approx(float(sum(Fraction(weight) for weight in weights(model, *path))), abs=1e-15)


def test_a_conversion_without_a_touch_is_kept_by_every_model() -> None:
    found = totals(credits_of(conversion(), []))

    assert {(model, UNATTRIBUTED): (Fraction(1), Fraction(90)) for model in MODELS} == found


def journey(touches: list[Touch], *conversions: Conversion, **options: Any) -> list[list[str]]:
    found = journeys(touches, conversions or [conversion()], **options)
    return [[one.channel for one in path] for path in found.values()]


@pytest.mark.parametrize(
    ("days_before", "counts"),
    [(30, True), (30 + 1 / 86_400_000, False), (0, True), (-1 / 86_400_000, False)],
    ids=["thirty days", "a millisecond more", "the same instant", "a millisecond after"],
)
def test_both_ends_of_the_window_belong_to_it(days_before: float, counts: bool) -> None:
    assert [["A"] if counts else []] == journey([touch("A", days_before)])


def test_touches_of_one_instant_are_ordered_by_event_id() -> None:
    assert [["A", "B", "C"]] == journey([touch("C", 1, "3"), touch("A", 1, "1"), touch("B", 1, "2")])


def test_touches_of_another_person_are_not_in_a_journey() -> None:
    assert [[]] == journey([touch("A", 1, person="ben")])


def test_the_first_delivery_of_an_event_counts() -> None:
    assert [["A"]] == journey([touch("A", 1, "e1"), touch("B", 2, "e1")])


def test_a_touch_can_be_in_several_journeys() -> None:
    both = conversion("o1", 0), conversion("o2", 1)

    assert [["A"], ["A"]] == journey([touch("A", 1)], *both)
    assert [["A"], []] == journey([touch("A", 1)], *both, scope="since_previous")


def test_the_touch_at_the_previous_conversion_is_not_since_it() -> None:
    both = conversion("o1", 0), conversion("o2", 1)

    assert [["A"], ["B"]] == journey([touch("A", 0), touch("B", -0.5)], *both, scope="since_previous")


def test_the_first_touch_of_a_run_is_kept() -> None:
    path = [touch("A", 5), touch("A", 4), touch("B", 3), touch("A", 2)]
    found = journeys(path, [conversion()], repeats="collapse")

    assert ["A 5", "B 3", "A 2"] == [one.event_id for one in next(iter(found.values()))]


def test_an_event_is_no_touch_of_its_own_conversion() -> None:
    own = Touch("e1", "anna", DAY_ONE, "In-Store", conversion_id="o1")

    assert [[], ["In-Store"]] == journey([own], conversion("o1"), conversion("o2", 1))


def test_a_null_journey_ends_with_the_persons_own_last_touch() -> None:
    touches = [touch("A", 40), touch("B", 30), touch("C", 0), touch("D", 1, person="buyer")]

    found = null_journeys(touches, {"buyer"})

    assert {"anna": ["B", "C"]} == {who: [one.channel for one in path] for who, path in found.items()}
