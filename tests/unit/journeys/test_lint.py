"""Problems that `lint` finds in journeys with a valid shape."""

from __future__ import annotations

import pytest

from processors.journeys.lint import lint, misspelt_events
from schemas.journeys.definitions import Journey
from schemas.segments.definitions import SegmentDefinitions
from tests.support.stories import journey

SEGMENTS = SegmentDefinitions.model_validate(
    {"segments": [{"name": "vip", "description": "VIP.", "when": {"performed": "Order Completed"}}]}
)


def found(*journeys: Journey) -> list[tuple[str, str]]:
    """Return path and message of each problem."""
    problems = lint(journeys, SEGMENTS, ["welcome"], channels=["email", "sms"])
    return [(".".join(map(str, problem.path)), problem.message) for problem in problems]


GOOD = """
entry: {event: Signed Up}
steps:
  - {message: welcome, channel: email, expires_after: 1d}
"""


def test_a_correct_journey_has_no_problems() -> None:
    assert [] == found(journey(GOOD))


def test_a_segment_about_news_of_a_product_is_never_entered() -> None:
    when = {"performed": "Product Price Dropped"}
    segments = SegmentDefinitions.model_validate({"segments": [{"name": "a", "description": "A.", "when": when}]})
    ((name, message),) = misspelt_events([], segments)

    assert ("a", True) == (name, message.startswith("nobody performs 'Product Price Dropped'"))


ENTRY = "entry: {event: Signed Up}\n"
MESSAGE = "{message: welcome, expires_after: 1d}"


@pytest.mark.parametrize(
    ("text", "path", "said"),
    [
        (f"entry: {{event: Signd Up}}\nsteps: [{MESSAGE}]", "entry.event", "did you mean 'Signed Up'?"),
        (f"entry: {{event: product viewed}}\nsteps: [{MESSAGE}]", "entry.event", "did you mean 'Product Viewed'?"),
        (f"entry: {{event: Booked}}\nsteps: [{MESSAGE}]", "entry.event", "own_events"),
        (f"entry: {{segment: vipp}}\nsteps: [{MESSAGE}]", "entry.segment", "did you mean 'vip'?"),
        (f"{ENTRY}exit_when: [{{segment: gone}}]\nsteps: [{MESSAGE}]", "exit_when.0.segment", "no segment 'gone'"),
        (f"{ENTRY}goals: [{{event: Order Complete}}]\nsteps: [{MESSAGE}]", "goals.0.event", "'Order Completed'"),
        (
            f"{ENTRY}steps: [{{if: {{performed: Order Complete}}, then: [{MESSAGE}]}}]",
            "steps.0.if",
            "'Order Completed'",
        ),
        (
            f"{ENTRY}steps: [{{if: {{performed: Product Back In Stock}}, then: [{MESSAGE}]}}]",
            "steps.0.if",
            "nobody performs 'Product Back In Stock'",
        ),
        (f"{ENTRY}steps: [{{if: {{segment: gone}}, then: [{MESSAGE}]}}]", "steps.0.if", "no segment 'gone'"),
        (f"{ENTRY}steps: [{{message: welcom, expires_after: 1d}}]", "steps.0.message", "did you mean 'welcome'?"),
        (
            f"{ENTRY}steps: [{{message: welcome, expires_after: 1d, variants: "
            "[{name: a}, {name: b, template: c}]}]",
            "steps.0.variants.1.template",
            "no template 'c'",
        ),
        (
            f"{ENTRY}steps: [{{message: welcome, expires_after: 1d, channels: [email, fax]}}]",
            "steps.0.channels.1",
            "no channel 'fax'",
        ),
        (f"{ENTRY}steps: [{{message: welcome}}]", "steps.0", "expires_after"),
        (
            f"{ENTRY}steps: [{{wait_for: {{event: Order Completed}}}}, {MESSAGE}]",
            "steps.0",
            "without a `timeout`",
        ),
        (
            f"{ENTRY}steps: [{{wait_for: {{event: Order Completed}}, else: [{MESSAGE}]}}]",
            "steps.0.else",
            "unreachable without a `timeout`",
        ),
        (f"{ENTRY}steps: [{{exit: x}}, {MESSAGE}]", "steps.1", "unreachable: every path before it ends the run"),
        (
            f"{ENTRY}steps: [{{if: {{segment: vip}}, then: [{{exit: x}}], else: [{{exit: y}}]}}, {MESSAGE}]",
            "steps.1",
            "unreachable: every path before it ends the run",
        ),
        (f"{ENTRY}steps: [{{if: {{segment: vip}}}}, {MESSAGE}]", "steps.0", "splits nothing"),
        (f"{ENTRY}steps: [{{until: {{date: last.starts_at}}}}, {MESSAGE}]", "steps.0.until.date", "no wait_for before"),
        (
            f"entry: {{event: Product Added, key: cart_id}}\n"
            f"steps: [{{wait_for: {{event: Order Completed}}, timeout: 1h}}, {MESSAGE}]",
            "steps.0.wait_for",
            "without a `key`",
        ),
        (
            f"{ENTRY}steps: [{{wait_for: {{event: Order Completed, key: cart_id}}, timeout: 1h}}, {MESSAGE}]",
            "steps.0.wait_for.key",
            "the entry has no key",
        ),
        (f"{ENTRY}steps: [{{delay: 1h}}]", "steps", "it does nothing"),
        (f"{ENTRY}holdout: 0.1\nsteps: [{MESSAGE}]", "holdout", "without `goals`"),
        (
            f"{ENTRY}experiment: {{control: plainn}}\nsteps: [{{message: welcome, expires_after: 1d, "
            "variants: [{name: plain}, {name: bold}]}]",
            "experiment.control",
            "did you mean 'plain'?",
        ),
        (f"{ENTRY}experiment: {{metric: goal}}\nsteps: [{MESSAGE}]", "experiment.metric", "has no goal"),
        (f"{ENTRY}exit_when: [{{event: Signed Up}}]\nsteps: [{MESSAGE}]", "exit_when.0", "also ends"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_problem_is_found_where_it_is(text: str, path: str, said: str) -> None:
    problems = found(journey(text))

    assert [path] == [where for where, message in problems if said in message]


def test_two_journeys_of_one_name_are_an_error() -> None:
    assert [("name", "another journey has this name")] == found(journey(GOOD), journey(GOOD))


def test_a_custom_event_is_not_misspelt() -> None:
    own = journey(f"own_events: [Booked]\nentry: {{event: Booked}}\nsteps: [{MESSAGE}]")

    assert [] == found(own)


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("{}", "not a step"),
        ("{letter: welcome}", "not a step"),
        ("{message: welcome, canal: email}", "Extra inputs are not permitted"),
        ("{delay: 0h}", "greater than or equal to 1"),
        ("{delay: soon}", "not a length of time"),
        ("{until: {weekdays: [monday]}}", "a time or a date"),
        ('{until: {time: "25:00"}}', "should match pattern"),
        ('{until: {time: "10:00", offset: 1h}}', "belong to a date"),
        ("{random: [{name: a}]}", "at least 2 items"),
        ("{if: {segment: vip, performed: Order Completed}}", "exactly one of"),
    ],
    ids=lambda value: str(value),
)
def test_an_invalid_step_is_an_error(step: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        journey(f"{ENTRY}steps: [{step}]")


def test_an_hour_without_quotes_is_valid() -> None:
    until = journey(f"{ENTRY}steps: [{{until: {{time: 10:30}}}}, {MESSAGE}]").steps[0]

    assert "10:30" == until.until.time  # type: ignore[union-attr]


def test_two_steps_of_one_id_are_an_error() -> None:
    with pytest.raises(ValueError, match="two steps are called 'x'"):
        journey(f"{ENTRY}steps: [{{id: x, delay: 1h}}, {{id: x, delay: 1h}}]")
