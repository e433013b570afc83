"""Names in a template that do not exist: found before the first message, with an example of what is right."""

from __future__ import annotations

from pathlib import Path
from shutil import copytree

import pytest

from deploy.operations.definition_bundle import checked
from deploy.operations.definition_files import DefinitionError
from deploy.operations.engines import lint_all, lint_journeys, load_definitions
from deploy.operations.template_files import load_templates
from deploy.settings import DEFINITIONS, Settings
from processors.delivery.template_names import NAMES
from processors.delivery.templates import TemplateError, Templates
from processors.profiles.document import join, new_profile, profile_of_event
from processors.profiles.view import view
from schemas.delivery.templates import Content, TemplateDefinition
from tests.support.profiles import resolved


def templates(text: str) -> Templates:
    content = Content(subject="Hi", html="<p></p>", text=text)
    return Templates({"t": TemplateDefinition(description="A test.", channels={"email": {"en": content}})})


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("{{ profile.first_name }}", "a trait is profile.traits.first_name; profile has "),
        ('{{ profile["first_name"] }}', "a trait is profile.traits.first_name"),
        ('{{ profile.first_name | default: "you" }}', "profile.first_name is not known"),
        ("{% if profile.vip %}x{% endif %}", "profile.vip is not known"),
        ("{{ profile.loyality.balance }}", "did you mean profile.loyalty?"),
        ("{{ profile.loyalty.points }}", "profile.loyalty has balance, earned, overdrawn"),
        ("{{ profile.cart.name }}", "go through it, as in {% for item in profile.cart %}"),
        ("{{ profile.cart[0].namez }}", "did you mean profile.cart.0.name?"),
        ("{{ event.prize }}", "a property of the event that led here is event.properties.prize"),
        ("{{ run.prize }}", "run.data.prize, of the awaited event run.last.properties.prize"),
        ("{{ run.last.prize }}", "run.last has "),
        ("{{ message.campaignn.name }}", "did you mean message.campaign?"),
        ("{% for line in profile.cart %}{{ line.title }}{% endfor %}", "line.title is not known: line has "),
        (
            "{% assign found = 2 | recommend %}{% for one in found %}{{ one.titlee }}{% endfor %}",
            "one.titlee is not known",
        ),
        ("{{ run.key.id }}", "run.key is a value and has no parts"),
    ],
)
def test_a_name_that_does_not_exist_is_found(source: str, problem: str) -> None:
    found = templates(f"Hello\n{source}").unknown_names

    assert [2] == [error.line for error in found]
    assert problem in found[0].message


@pytest.mark.parametrize(
    "source",
    [
        "{{ profile.traits.first_name }}{{ profile.traits.any.depth }}",
        "{{ event.properties.anything.at.all }}{{ run.data.coupon }}{{ run.last.properties.prize }}",
        "{{ profile.cart.size }}{{ profile.cart[0].name }}{{ profile.cart.last.name.size }}",
        "{% for one in event.properties.products %}{{ one.anything }}{{ forloop.index }}{% endfor %}",
        "{% assign lamp = profile.cart | first %}{{ lamp.anything }}",
        "{{ profile[event.properties.which] }}",
        "{% capture name %}{{ profile.profile_id }}{% endcapture %}{{ name }}",
        "{% for a in profile.cart %}{{ a.name }}{% endfor %}{% for a in event.properties.x %}{{ a.y }}{% endfor %}",
    ],
)
def test_a_name_that_may_exist_is_none_of_them(source: str) -> None:
    assert [] == templates(source).unknown_names


def test_no_shipped_template_has_an_unknown_name() -> None:
    assert [] == load_templates(DEFINITIONS / "templates").unknown_names


def test_the_names_of_a_profile_are_those_of_its_readable_form() -> None:
    document = new_profile("p1")
    for event in (
        resolved("Order Completed", properties={"order_id": "o", "total": "5", "currency": "EUR"}),
        resolved("Loyalty Points Earned", properties={"points": 5}),
    ):
        join(document, profile_of_event(event))
    shown = view(document)

    assert set(shown) == set(NAMES["profile"])
    assert set(shown["orders"]) == set(NAMES["profile"]["orders"])
    assert set(shown["loyalty"]) == set(NAMES["profile"]["loyalty"])
    assert set(shown["consent"]) == set(NAMES["profile"]["consent"])


@pytest.mark.parametrize(
    ("redeemed", "said"),
    [(100, "Enjoy your reward! You have 450 points left."), (900, "Enjoy your reward!")],
    ids=["exact", "more than is known"],
)
def test_a_customer_is_told_no_balance_that_is_not_exact(redeemed: int, said: str) -> None:
    document = new_profile("p1")
    for event, points in (("Loyalty Points Earned", 550), ("Loyalty Points Redeemed", redeemed)):
        join(document, profile_of_event(resolved(event, event_id=event, properties={"points": points})))
    shown = load_templates(DEFINITIONS / "templates").render("loyalty-thanks", "app_push", {"profile": view(document)})

    assert said == shown.text


def test_errors_of_all_texts_are_raised_at_once() -> None:
    with pytest.raises(TemplateError) as error:
        templates("{{ first_name }}\n{{ profile.x | shout }}{{ customer.name }}")

    assert [
        (1, "first_name: a template knows coupon, event, message, product, profile, run, such as "
         "profile.traits.first_name, event.properties.order_id, run.data.coupon"),
        (2, "shout: there is no such filter"),
        (2, "customer: a template knows coupon, event, message, product, profile, run, such as "
         "profile.traits.first_name, event.properties.order_id, run.data.coupon"),
        (2, "profile.x is not known: a trait is profile.traits.x"),
    ] == [(one.line, one.message.partition(";")[0]) for one in (error.value, *error.value.further)]  # fmt: skip


def test_lint_names_file_line_and_place_of_each_and_the_deployment_still_starts(tmp_path: Path) -> None:
    folder = tmp_path / "definitions"
    copytree(DEFINITIONS, folder)
    (folder / "templates" / "welcome.yaml").write_text(
        "description: Hello.\nchannels:\n  sms:\n    en:\n      text: |\n        Hello\n"
        '        {{ profile.first_name }}\n    de:\n      text: "Hallo {{ event.name }}"\n'
        "  email:\n    en: {subject: a, html: b, text: c}\n"
    )
    definitions = load_definitions(Settings(definitions_dir=folder))
    found = [str(finding).removeprefix(f"{folder}/") for finding in lint_all(definitions) if finding.serious]

    assert [
        "templates/welcome.yaml:7:12: channels.sms.en.text: profile.first_name is not known",
        "templates/welcome.yaml:9:7: channels.sms.de.text: event.name is not known",
    ] == [": ".join(text.split(": ")[:3]) for text in found if "is not known" in text]
    assert [] == [one for one in lint_journeys(definitions) if "is not known" in one.message]


def test_one_error_hides_no_other(tmp_path: Path) -> None:
    folder = tmp_path / "definitions"
    for name in ("segments", "journeys", "templates"):
        (folder / name).mkdir(parents=True)
    text = (
        'description: T.\nchannels: {email: {en: {subject: "{{ profile.first_name }}", html: "{{ foo }}", text: t}}}\n'
    )
    (folder / "templates" / "names.yaml").write_text(text)
    with pytest.raises(DefinitionError) as raised:
        load_templates(folder / "templates")

    assert "foo: a template knows" in str(raised.value)
    assert "profile.first_name" in str(raised.value)

    (folder / "templates" / "names.yaml").unlink()
    begin = "description: J.\nentry: {event: Signed Up}\nsteps: "
    (folder / "journeys" / "a.yaml").write_text(f"name: A Name\n{begin}[{{exit: done}}]\n")
    (folder / "journeys" / "b.yaml").write_text(f"name: b\n{begin}[{{message: missing, channel: email}}]\n")
    with pytest.raises(DefinitionError) as raised:
        checked(Settings(definitions_dir=folder))

    assert ["a.yaml:1:1: name", "b.yaml:4:10: steps.0.message"] == [
        line.rpartition("/journeys/")[2].rpartition(": ")[0].partition(": should")[0].partition(": there")[0]
        for line in str(raised.value).splitlines()
    ]


@pytest.mark.parametrize(
    ("source", "column", "problem"),
    [
        ("{{ event.properties.price | monye }}", 29, "monye: there is no such filter; did you mean money? (known: "),
        ("{% iff event %}{% endif %}", 4, "unexpected tag 'iff'; did you mean if? (known: "),
    ],
    ids=["a filter", "a tag"],
)
def test_what_a_text_cannot_use_is_answered_by_what_it_can(source: str, column: int, problem: str) -> None:
    with pytest.raises(TemplateError) as error:
        templates(f"Hello\n{source}")

    assert (2, column) == (error.value.line, error.value.column)
    assert error.value.message.startswith(problem)
