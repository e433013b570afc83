"""The error of a definition file: file, line, place, and what was expected."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from pydantic import BaseModel

from deploy.operations.definition_files import DefinitionError, load
from schemas.decisions.policy import MessagePolicy
from schemas.delivery.templates import TemplateDefinition
from schemas.intake.mappings import Mapping, ValueMapping
from schemas.journeys.definitions import Journey
from schemas.segments.definitions import SegmentDefinitions
from tests.support.definition_places import without_columns
from tests.support.stories import shipped_journeys

JOURNEY = """\
name: welcome
description: Welcomes.
entry: {event: Signed Up}
steps:
  - STEP
"""
SEGMENT = """\
segments:
  - name: some
    description: Some.
    when: CONDITION
"""


def error_of(folder: Path, text: str, model: type[BaseModel]) -> str:
    """Load a file and return the error, without the folder."""
    path = folder / "x.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(DefinitionError) as error:
        load(path, model)
    return without_columns(str(error.value)).replace(f"{folder}/", "")


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ("{message: hello, chanel: email}", "steps.0.chanel: nothing is called chanel here; did you mean channel? "
         "(known: channel, channels, choose, "),
        ("{delay: 1d, exit: done}", "steps.0.exit: exit does not belong here (known: id, delay)"),
        ("{delay: soon}", "steps.0.delay: 'soon' is not a length of time such as 30m, 24h or 7 days"),
        ("{delay: 5}", "steps.0.delay: 5 has no unit: write it as 30m, 24h or 7 days"),
        ("{until: {date: trait.day, offset: -5}}", "steps.0.until.offset: -5 has no unit: write it as "
         "30m, 24h or 7 days"),
        ('{until: {time: "25:00"}}', "steps.0.until.time: should be a time of day such as 09:30"),
        ("{wait_for: Order Completed}", "steps.0.wait_for: should have parts: {name: value}"),
        ("{wait_for: {event: []}}", "steps.0.wait_for.event: should have at least 1, and has 0"),
        ("{wait_for: {event: A, where: {chanel: web}}}", "steps.0.wait_for.where.chanel: should be a part of the "
         "event, such as channel, properties.price or campaign.source"),
        ("{message: hello, priority: high}", "steps.0.priority: should be a whole number"),
        ("{message: hello, tags: one}", "steps.0.tags: should be a list: [one, another]"),
        ("{message: hello, data: {a: [1]}}", "steps.0.data.a: should be a text, a number or true or false"),
        ("{message: hello, variants: [{weight: 1}]}", "steps.0.variants.0.name: is missing"),
        ("{random: [{name: a}]}", "steps.0.random: should have at least 2, and has 1"),
        ("{if: {segment: vip}, then: [{exit: }]}", "steps.0.then.0.exit: should be a text"),
    ],
    ids=lambda value: value[:30],
)  # fmt: skip
def test_the_error_of_a_step_names_its_line_and_what_was_expected(tmp_path: Path, step: str, expected: str) -> None:
    assert error_of(tmp_path, JOURNEY.replace("STEP", step), Journey).startswith(f"x.yaml:5: {expected}")


def test_all_errors_of_a_file_are_named_at_once_in_their_order(tmp_path: Path) -> None:
    text = (
        "name: My Journey\ndescription: Mine.\nentry: {event: Signed Up}\nsteps:\n"
        "  - send: hello\n  - wait: 1d\n  - until: {date: 2026-12-01}\n"
    )
    not_a_step = "not a step: it needs one of delay, until, wait_for, if, random, message, set_trait, webhook, exit"

    assert [
        "x.yaml:1: name: should be a name of small letters, digits, - and _, such as win-back",
        f"x.yaml:5: steps.0: {not_a_step}; did you mean `message: hello`?",
        f"x.yaml:6: steps.1: {not_a_step}; did you mean `delay: 1d`?",
        "x.yaml:7: steps.2.until.date: should be a date of the event or the person, such as event.starts_at",
    ] == error_of(tmp_path, text, Journey).splitlines()


def test_a_rule_about_several_parts_is_named_beside_a_part_that_does_not_belong(tmp_path: Path) -> None:
    text = 'description: Mine.\nchannels:\n  email:\n    en: {subject: "Hi", image: x.png, html: "<p>Hi</p>"}\n'

    assert [
        "x.yaml:1: (file): email.en needs text",
        "x.yaml:4: channels.email.en.image: nothing is called image here "
        "(known: subject, preview, html, text, title, link)",
    ] == error_of(tmp_path, text, TemplateDefinition).splitlines()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "name: big\ndescription: Big.\nwhen: {performed: Order Completed}\n",
            ["x.yaml:1: name: name, description, when belong to one of segments: begin the file with `segments:` and "
             "write `- name: …` below it, with the others under name"],
        ),
        (
            "name: clicks\ndescription: Clicks.\nevent: Page Viewed\nfunction: count\n",
            ["x.yaml:1: name: name, description, event, function belong to one of traits: begin the file with "
             "`traits:` and write `- name: …` below it, with the others under name"],
        ),
        ("segments: []\nname: big\n", ["x.yaml:2: name: name does not belong here (known: segments, traits, rfm, "
         "lifecycle, engagement, affinity)"]),
    ],
    ids=["a segment", "a trait", "one name too many"],
)  # fmt: skip
def test_the_parts_of_one_segment_at_the_top_of_a_file_belong_below_it(
    tmp_path: Path, text: str, expected: list[str]
) -> None:
    assert expected == error_of(tmp_path, text, SegmentDefinitions).splitlines()


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("{performd: A}", "it has only performd: did you mean performed?"),
        ("{engaged: emial}", "there is no channel 'emial': did you mean email?"),
        ("{stage: [new, visitr]}", "there is no stage 'visitr': use visitor, prospect, new, active, loyal, at_risk"),
        ("{attribute: orders.last, within: 1h, older_than: 2h}", "make `within` the longer one"),
        ("{performed: A, within: 7}", "should be a duration such as 30m, 12h, 7d or 2w"),
    ],
    ids=lambda value: value[:30],
)
def test_the_error_of_a_condition_names_what_was_expected(tmp_path: Path, condition: str, expected: str) -> None:
    found = error_of(tmp_path, SEGMENT.replace("CONDITION", condition), SegmentDefinitions)

    assert found.startswith("x.yaml:4: segments.0.when")
    assert expected in found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: a\nname: b\n", "x.yaml:2: name: given twice"),
        ("a: 2026-13-45\n", "x.yaml:1: 2026-13-45: month must be in 1..12"),
        ("a: &a\n  b: *a\n", "x.yaml:1: a.b.b: too much, or in itself: references (*name) multiply"),
        ("? [a, b]\n: 1\n", "x.yaml:1: (file): a name before a colon should be a single word or text"),
        ("a:\n  <<: {b: 1}\n", "x.yaml:2: a: a name before a colon should be a single word or text"),
        ("a: \x01\n", "x.yaml: not YAML: the character U+0001 is not allowed"),
        ("a:\n\t- b\n", "x.yaml:2: not YAML: found character '\\t' that cannot start any token"),
        ("caps: [{limit: 1, within: 7d}]\nsegmnts: 1\n", "x.yaml:2: segmnts: nothing is called segmnts here"),
    ],
    ids=["key twice", "no date", "in itself", "list as key", "merge key", "control character", "tab", "unknown"],
)
def test_a_file_without_plain_data_is_an_error(tmp_path: Path, text: str, expected: str) -> None:
    assert error_of(tmp_path, text, MessagePolicy).startswith(expected)


def test_a_name_before_a_colon_is_the_text_that_is_written(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    lookup = "{yes: true, No: false, 007: 7, 2.50: x, 2026-11-01: day, on: 'on', true: 1}"
    path.write_text(f"get: answer\nlookup: {lookup}\n")

    assert {
        "yes": True, "No": False, "007": 7, "2.50": "x", "2026-11-01": "day", "on": "on", "true": 1,
    } == load(path, ValueMapping).lookup  # fmt: skip


@pytest.mark.parametrize(
    ("lookup", "expected"),
    [("{yes: 1, 'yes': 2}", "lookup.yes: given twice"), ("{null: 1}", "lookup: a name before a colon should be")],
    ids=["twice", "null"],
)
def test_a_name_that_is_given_twice_or_none_is_an_error(tmp_path: Path, lookup: str, expected: str) -> None:
    assert f"x.yaml:2: {expected}" in error_of(tmp_path, f"get: answer\nlookup: {lookup}\n", ValueMapping)


def test_references_that_multiply_end_at_once(tmp_path: Path) -> None:
    names = "abcdefgh"
    lines = [f"{one}: &{one} [{', '.join(f'*{before}' for _ in range(10))}]" for before, one in pairwise(names)]

    assert "references (*name) multiply" in error_of(tmp_path, "\n".join(["a: &a [x]", *lines]), MessagePolicy)


def test_a_file_in_another_encoding_is_no_riddle(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes("name: größe".encode("latin-1"))

    with pytest.raises(DefinitionError, match="not a text in UTF-8"):
        load(path, Journey)


def test_a_class_of_customers_that_there_is_not_is_told() -> None:
    one = {"name": "some", "description": "Some.", "when": {"rfm": "champion"}}

    assert [("some", "there is no RFM class 'champion': use customers")] == SegmentDefinitions.model_validate(
        {"segments": [one]}
    ).problems()


@pytest.mark.parametrize("journey", shipped_journeys().values(), ids=shipped_journeys())
def test_every_shipped_journey_is_read_back_from_the_archive(journey: Journey) -> None:
    assert journey == Journey.model_validate_json(journey.archived())


MAPPING = """\
source: shop
events:
  - event: Order Completed
    event_id: id
    properties:
      total: VALUE
"""


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("lowr(total)", "there is no function lowr(); did you mean lower()?"),
        ("total-price", "'total-price' is no JMESPath at character 6: a path is a.b, a text 'so', a number `5`, a name "
         'with a hyphen "a-b"'),
        ("[total]", "should be an expression such as order.id, a number, true, false, or have parts: "
         "{get: order.id}"),
        ("{get: total, as: minor_money}", "minor_money needs its currency: {get: amount, as: minor_money, "
         "currency: currency}"),
        ("{get: total, value: 5}", "a value has one of get, value and fields"),
        ("{each: lines}", "a value has one of get, value and fields"),
        ("{get: total, zone: UTC}", "zone is for a value that is read as time"),
    ],
)  # fmt: skip
def test_an_error_in_a_value_of_a_mapping_is_at_its_place(tmp_path: Path, value: str, expected: str) -> None:
    assert f"x.yaml:6: events.0.properties.total: {expected}" == error_of(
        tmp_path, MAPPING.replace("VALUE", value), Mapping
    )


@pytest.mark.parametrize(
    ("value", "place", "expected"),
    [
        ("{get: total, as: cash}", "events.0.properties.total.as", "should be 'text', 'integer', 'number'"),
        ("{get: total, ass: money}", "events.0.properties.total.ass", "nothing is called ass here; did you mean as?"),
        ("{get: at, as: time, zone: Berlin}", "events.0.properties.total.zone",
         "'Berlin' is no time zone such as Europe/Berlin or UTC"),
        ("{each: lines, fields: {id: a.}}", "events.0.properties.total.fields.id", "'a.' is no JMESPath"),
    ],
)  # fmt: skip
def test_an_error_inside_a_value_of_a_mapping_is_at_its_place(
    tmp_path: Path, value: str, place: str, expected: str
) -> None:
    error = error_of(tmp_path, MAPPING.replace("VALUE", value), Mapping)

    assert error.startswith(f"x.yaml:6: {place}: {expected}")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("events:", "evnts:", "x.yaml:3: evnts: nothing is called evnts here; did you mean events? (known: "
         "source, channel, description, signature, each, minor_units, ignore, common, events)\n"
         "x.yaml:1: events: is missing"),
        ("event_id: id", "event_id: [id, 5]", "x.yaml:4: events.0.event_id.1: should be a text"),
        ("event_id: id", "event_id: []", "x.yaml:4: events.0.event_id: should have at least 1, and has 0"),
        ("event_id: id", "event_id: id\n    identifiers: {E-mail: mail}",
         "x.yaml:5: events.0.identifiers.E-mail: "
         "should be an identifier type of small letters, such as user_id or email"),
        ("source: shop", "source: My Shop", "x.yaml:1: source: should be a name of small letters, digits, -, _ and ., "
         "such as web or pos-berlin"),
    ],
)  # fmt: skip
def test_an_error_in_a_mapping_is_at_its_place(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert expected == error_of(tmp_path, MAPPING.replace(old, new).replace("VALUE", "total"), Mapping)


def test_an_error_names_the_column_of_a_name_and_what_may_stand_there(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(JOURNEY.replace("STEP", "{exit: done, why: bought}"), "utf-8")
    with pytest.raises(DefinitionError) as error:
        load(path, Journey)

    assert f"{path}:5:18: steps.0.why: nothing is called why here (known: id, exit)" == str(error.value)
