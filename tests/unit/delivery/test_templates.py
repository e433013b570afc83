"""Templates: closed, strict, escaped, measured; and every shipped one says what it should."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from deploy.operations.definition_files import DefinitionError, load, yaml_files
from deploy.operations.engines import load_journeys
from deploy.operations.template_files import load_templates
from deploy.settings import DEFINITIONS
from processors.delivery.templates import TemplateError, Templates, nearest, sms_segments
from processors.profiles.document import join, new_profile, profile_of_event
from processors.profiles.view import view
from schemas.delivery.outbound import DeliveryDefinitions
from schemas.delivery.templates import Content, Layout, TemplateDefinition
from schemas.journeys.definitions import MessageNode
from tests.support.builders import at, touchpoint

ANN = {"traits": {"first_name": "<Ann>", "nickname": None}, "loyalty": {"balance": 500}, "cart": [{"name": "Lamp"}]}
EVENT = {
    "url": "javascript:alert(1)",
    "at": "2026-12-24T18:00:00Z",
    "price": "1234.50",
    "page": "https://shop.example/?a=1&b",
}
CONTEXT = {"profile": ANN, "event": EVENT}
PRODUCTS = [
    {"product_id": "p1", "name": "Lamp", "why": "together"},
    {"product_id": "p2", "name": "Vase & Co", "why": "category"},
]


def templates(**parts: str) -> Templates:
    content = {"subject": "Hi", "html": "<p></p>", "text": "Hi", **parts}
    return Templates({"t": TemplateDefinition(description="A test.", channels={"email": {"en": Content(**content)}})})


def text(source: str, **options: Any) -> str:
    return templates(text=source).render("t", "email", CONTEXT, recommended=PRODUCTS, **options).text


@pytest.mark.parametrize(
    ("traits", "expected"),
    [
        pytest.param({"firstName": "Ann"}, "Ann", id="as Segment's libraries write it"),
        pytest.param({"firstName": "Ann", "first_name": "Anna"}, "Anna", id="both"),
        pytest.param({"firstname": "Ann"}, "you", id="another word"),
    ],
)
def test_a_trait_goes_by_its_name_with_underlines(traits: dict[str, str], expected: str) -> None:
    source = "{{ profile.traits.first_name | default: 'you' }}"

    assert expected == templates(text=source).render("t", "email", {"profile": {"traits": traits}}).text


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        pytest.param("{{ profile.traits.first_name }}", "<Ann>", id="plain text is not escaped"),
        pytest.param("{{ profile.traits.last_name | default: 'you' }}", "you", id="a default for what is not known"),
        pytest.param("{{ profile.traits.nickname | default: 'you' }}", "you", id="null is not known"),
        pytest.param("{% if profile.traits.last_name %}a{% else %}b{% endif %}", "b", id="asking is allowed"),
        pytest.param("{{ event.price | money: 'EUR' }}", "€1,234.50", id="money"),
        pytest.param("{{ event.at | day }}", "December 24, 2026", id="a day"),
        pytest.param("{{ 500 | minus: event.price }}", "-734.50", id="decimal arithmetic"),
        pytest.param("{% assign p = 9 | recommend %}{{ p | map: 'product_id' | join }}", "p1 p2", id="recommended"),
        pytest.param(
            "{% assign p = 1 | recommend: 'category' %}{{ p | map: 'name' | join }}", "Vase & Co", id="of a kind"
        ),
        pytest.param("a\n\n{% if true %}\n{% endif %}\n\n\nb", "a\n\nb", id="empty lines of tags are left out"),
    ],
)
def test_what_a_template_says(source: str, expected: str) -> None:
    assert expected == text(source)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        pytest.param(
            "a\n{{ profile.traits.last_name }}", "t.email.en.text line 2: profile.traits.last_name", id="unknown"
        ),
        pytest.param("{{ profile.traits.nickname }}", "profile.traits.nickname is not known", id="null"),
        pytest.param("{{ profile.orders.count }}", "profile.orders is not known", id="unknown on the way"),
        pytest.param("{% for line in profile.lines %}{% endfor %}", "profile.lines is not known", id="unknown list"),
        pytest.param("{{ event.url | link }}", "no web address", id="a script as an address"),
        pytest.param("{{ profile.traits.first_name | minus: 1 }}", "'<Ann>' is no number", id="a name as a number"),
        pytest.param("{{ event.price | day }}", "it should be a time", id="a price as a day"),
        pytest.param("{{ profile.__class__.__mro__ }}", "profile.__class__ is not known", id="the object behind"),
        pytest.param("{% assign p = 0 | recommend %}", "no product to recommend", id="nothing to recommend"),
    ],
)
def test_what_is_missing_is_named(source: str, said: str) -> None:
    with pytest.raises(TemplateError) as error:
        text(source)

    assert said in str(error.value)


@pytest.mark.parametrize(
    ("part", "source", "said"),
    [
        pytest.param("text", "a\n{{ prfile.traits }}", "line 2: prfile: a template knows coupon", id="misspelt root"),
        pytest.param("text", "{{ profile | shout }}", "shout: there is no such filter", id="unknown filter"),
        pytest.param("text", "{% if profile %}", "expected tag endif", id="unfinished"),
        pytest.param("text", "{% render 'other' %}", "unexpected tag 'render'", id="other files"),
        pytest.param("text", "{% include 'other' %}", "unexpected tag 'include'", id="other files, the old way"),
        pytest.param("text", "{% for i in (1..9) %}{% endfor %}", "ranges", id="a range"),
        pytest.param("text", "{{ (1..999999999) | join }}", "ranges", id="a range that would fill the memory"),
        pytest.param("text", "{{ 'now' | date: '%Y' }}", "date: there is no such filter", id="the clock"),
        pytest.param("text", "{{ profile.x | replace: 'a', 'aa' }}", "no such filter", id="a filter that grows"),
        pytest.param("html", "<a href='{{ event.url }}'>", "an address from data", id="an unchecked address"),
        pytest.param("html", "{{ event.url | safe }}", "safe: there is no such filter", id="no way around escaping"),
        pytest.param("text", "{{ _recommended }}", "_recommended: a template knows", id="what is ours"),
    ],
)
def test_what_no_template_may_is_refused_when_it_is_read(part: str, source: str, said: str) -> None:
    with pytest.raises(TemplateError) as error:
        templates(**{part: source})

    assert said in str(error.value)


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("{{" + "(" * 10_000, id="ten thousand brackets"),
        pytest.param("{% if true %}" * 200 + "{% endif %}" * 200, id="two hundred blocks in each other"),
        pytest.param(
            "".join(f"{{% for a{n} in profile.many %}}" for n in range(7)) + "x" + "{% endfor %}" * 7,
            id="seven loops in each other",
        ),
        pytest.param(
            "{% assign a = 'xxxxxxxxxxxxxxxx' %}{% for i in profile.many %}{% assign a = a | append: a %}{% endfor %}",
            id="a text that doubles",
        ),
        pytest.param("{{" + "profile." * 5_000 + "x }}", id="a path of five thousand names"),
    ],
)
def test_a_bomb_fails_at_once(source: str) -> None:
    started = time.thread_time()  # of this thread alone: other programs do not count
    with pytest.raises(TemplateError):
        templates(text=source).render("t", "email", {"profile": {"many": list(range(100))}})

    assert time.thread_time() - started < 1.0


def test_html_is_escaped_and_addresses_are_checked() -> None:
    html = '<p>{{ profile.traits.first_name }}</p><a href="{{ event.page | link }}">x</a>'

    shown = templates(html=html).render("t", "email", CONTEXT)

    assert '<p>&lt;Ann&gt;</p><a href="https://shop.example/?a=1&amp;b">x</a>' == shown.html


def test_a_subject_is_one_line() -> None:
    shown = templates(subject="Hi {{ profile.x }}").render("t", "email", {"profile": {"x": "a\r\nBcc: b@c.example"}})

    assert "Hi a Bcc: b@c.example" == shown.subject


def test_the_layout_stands_around_the_message_and_does_not_escape_it_again() -> None:
    layout = Layout(html={"en": "<body>{{ content }}</body>"}, text={"en": "{{ content }}\n--"})
    content = Content(subject="s", html="<b>{{ profile.traits.first_name }}</b>", text="Hi")
    definition = TemplateDefinition(description="A test.", channels={"email": {"en": content}})

    shown = Templates({"t": definition}, layout).render("t", "email", CONTEXT)

    assert ("<body><b>&lt;Ann&gt;</b></body>", "Hi\n--") == (shown.html, shown.text)


@pytest.mark.parametrize(
    ("locale", "expected"),
    [
        pytest.param("pt-BR", "pt-BR", id="itself"),
        pytest.param("pt_br", "pt-BR", id="written otherwise"),
        pytest.param("de-AT", "de", id="its language"),
        pytest.param("fr", "en", id="the default"),
        pytest.param("", "en", id="not known"),
    ],
)
def test_the_nearest_language_is_taken(locale: str, expected: str) -> None:
    assert expected == nearest(locale, ["en", "de", "pt-BR"], "en")


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        pytest.param("a" * 160, 1, id="160 letters"),
        pytest.param("a" * 161, 2, id="161 letters"),
        pytest.param("a" * 306, 2, id="two times 153"),
        pytest.param("€" * 80, 1, id="80 signs that count twice"),
        pytest.param("€" * 81, 2, id="81 signs that count twice"),
        pytest.param("ż" * 70, 1, id="70 other letters"),
        pytest.param("ż" * 71, 2, id="71 other letters"),
        pytest.param("😀" * 35, 1, id="35 pictures"),
        pytest.param("😀" * 36, 2, id="36 pictures"),
    ],
)
def test_the_parts_of_an_sms(message: str, expected: int) -> None:
    assert expected == sms_segments(message)


@pytest.mark.parametrize(
    ("channel", "parts", "said"),
    [
        pytest.param("sms", {"text": "{{ profile.long }}"}, "4 SMS, at most 3", id="a long SMS"),
        pytest.param("app_push", {"title": "t", "text": "{{ profile.long }}"}, "at most 240", id="a long push"),
        pytest.param("app_push", {"title": "t", "text": "t", "link": "{{ profile.bad }}"}, "no address", id="a link"),
        pytest.param("telegram", {"text": "{{ profile.nothing }}"}, "it is empty", id="an empty message"),
    ],
)
def test_a_message_that_its_channel_does_not_bear_fails(channel: str, parts: dict[str, str], said: str) -> None:
    found = Templates({"t": TemplateDefinition(description="A test.", channels={channel: {"en": Content(**parts)}})})
    profile = {"long": "a" * 500, "bad": "javascript:alert(1)", "nothing": " "}

    with pytest.raises(TemplateError) as error:
        found.render("t", channel, {"profile": profile})

    assert said in str(error.value)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        pytest.param("description: d\nchannels:\n  sms: {de: {text: x}}\n", "default language, en", id="no default"),
        pytest.param("description: d\nchannels:\n  email: {en: {text: x}}\n", "needs subject, html", id="half a mail"),
        pytest.param(
            "description: d\nchannels:\n  sms: {en: {text: x, html: y}}\n", "has no html", id="a part too many"
        ),
        pytest.param(
            "description: d\nchannels:\n  sms: {en: {txt: x}}\n", "t.yaml:3:14: channels.sms.en.txt", id="misspelt"
        ),
        pytest.param(
            "description: d\nchannels:\n  sms:\n    en:\n      text: |\n        a\n        {{ nobody.x }}\n",
            "t.yaml:7:12: channels.sms.en.text: nobody: a template knows",
            id="the line in the text",
        ),
    ],
)
def test_a_wrong_file_is_named_with_line_and_path(tmp_path: Path, written: str, said: str) -> None:
    (tmp_path / "t.yaml").write_text(written, "utf-8")

    with pytest.raises(DefinitionError) as error:
        load_templates(tmp_path)

    assert said in str(error.value)


SHIPPED = load_templates(DEFINITIONS / "templates")
MESSAGES = [(name, channel, language) for name in SHIPPED.names() for channel in SHIPPED.channels(name)
            for language in SHIPPED.languages(name, channel)]  # fmt: skip


def shopper() -> dict[str, Any]:
    """A person as the pipeline knows her."""
    product = {"product_id": "lamp", "name": "Blue lamp", "price": "49.90", "currency": "EUR", "cart_id": "c1"}
    document = new_profile("4ad3f1c0-0000-4000-8000-000000000001")
    for event in (
        touchpoint("Identify", traits={"first_name": "Zoë <b>"}),
        touchpoint("Product Added", properties=product, occurred_at=at(days=1)),
        touchpoint("Loyalty Points Earned", "store", properties={"points": 500, "balance": 500}),
    ):
        join(document, profile_of_event({**event, "identifiers": [], "received_at": event["occurred_at"]}))
    return view(document)


WHAT_HAPPENED = {
    "name": "Blue lamp", "product_id": "lamp", "price": "39.90", "amount": "39.90", "currency": "EUR", "order_id": "o1",
    "starts_at": "2026-12-24T18:00:00.000Z", "due_at": "2026-12-01T00:00:00.000Z",
}  # fmt: skip


@pytest.mark.parametrize(("name", "channel", "language"), MESSAGES, ids=str)
def test_every_shipped_message_can_be_written(name: str, channel: str, language: str) -> None:
    context = {
        "profile": shopper(),
        "event": {"event_id": "e", "event": "E", "channel": "web", "properties": WHAT_HAPPENED},
        "run": {"key": "c1", "data": {"coupon": "CODE10"}, "last": {"properties": {"prize": "a bicycle"}}},
        "message": {"id": "0a1b2c3d-0000", "unsubscribe_url": "https://shop.example/u?m=1", "channel": channel},
    }

    shown = SHIPPED.render(name, channel, context, locale=language, timezone="Europe/Berlin", recommended=PRODUCTS)

    everything = " ".join(shown[1:])
    assert language == shown.language
    assert not {"{{", "{%", "Zoë <b>!</p>"} & {one for one in ("{{", "{%", "Zoë <b>!</p>") if one in everything}


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        pytest.param("birthday", "run.data is not known", id="birthday"),
        pytest.param("welcome-offer", "run.data is not known", id="welcome-offer"),
        pytest.param("win-back-offer", "run.data is not known", id="win-back-offer"),
        pytest.param("cart-reminder", "profile.cart is not known", id="cart-reminder"),
        pytest.param("loyalty-milestone", "profile.loyalty is not known", id="loyalty-milestone"),
        pytest.param("payment-due", "event.properties is not known", id="payment-due"),
        pytest.param("event-reminder", "event.properties is not known", id="event-reminder"),
        pytest.param("contest-won", "message.id is not known", id="contest-won"),
        pytest.param("back-in-stock", "event.properties is not known", id="back-in-stock"),
        pytest.param("cross-sell-together", "no product to recommend", id="cross-sell-together"),
    ],
)
def test_a_shipped_message_fails_loudly_without_what_it_is_about(name: str, missing: str) -> None:
    with pytest.raises(TemplateError) as error:
        SHIPPED.render(name, "email", {"profile": {"traits": {}}, "event": {}, "run": {}, "message": {}})

    assert missing in str(error.value)


def test_every_message_of_a_shipped_journey_has_a_text_on_each_of_its_channels() -> None:
    journeys, _ = load_journeys(yaml_files(DEFINITIONS / "journeys"))
    wanted = {
        (name, channel)
        for journey in journeys
        for _, step in journey.walk()
        if isinstance(step, MessageNode)
        for name in (step.template, *(variant.template for variant in step.variants if variant.template))
        for channel in step.channels
    }

    assert set() == {(name, channel) for name, channel in wanted if channel not in SHIPPED.channels(name)}


def test_the_shipped_delivery_file_is_the_one_that_the_model_reads() -> None:
    found = load(DEFINITIONS / "delivery.yaml", DeliveryDefinitions)

    assert ("topic", {}) == (found.channels["email"].through, found.webhooks)
