"""The console in a browser: every page, every act with its row in the audit log, and who may not."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from pydantic import SecretStr

from deploy.operations.provision import apply_topics
from processors.recording.rows import profile_row
from sinks.clickhouse.audit_log import read_acts
from tests.integration.conftest import empty
from tests.support.builders import order, touchpoint
from tests.support.console import Client, Reader, chromium, running_console
from tests.support.in_process_pipeline import Town
from tests.support.mail_server import MailServer, mail_server
from tests.support.warehouse import Warehouse

pytestmark = pytest.mark.integration

EMAIL = "ann@shop.example"
ROLES = """
roles:
  analyst: [view-numbers]
  marketer: [view-numbers, edit]
  operator: [view-numbers, view-people, edit, publish, erase]
users: {local: [operator], vera: [analyst], mara: [marketer]}
"""
DELIVERY = "sender: Shop <news@shop.example>\nchannels: {email: {through: smtp}}\n"
PATHS = {
    "/": 200,
    "/people": 200,
    "/people?q=unknown@shop.example": 404,
    "/people/{person}": 200,
    "/people/{person}?whole=1": 200,
    "/people/{person}/erase": 200,
    "/people/{person}/suppress": 200,
    "/people/{person}/unmerge": 200,
    "/segments": 200,
    "/segments/customers": 200,
    "/journeys": 200,
    "/journeys/cart_abandonment": 200,
    "/journeys/cart_abandonment/messages/reminder": 200,
    "/journeys/no_such_journey": 404,
    "/campaigns": 200,
    "/campaigns/season_news": 200,
    "/campaigns/no_such_campaign": 404,
    "/live": 200,
    "/attribution?from=2026-01-01&market=": 200,
    "/attribution?by=colour": 400,
    "/attribution/parts/budget?total=much": 400,
    "/attribution/parts/colours": 404,
    "/attribution?to=9999-12-31": 400,
    "/people/no-profile-id/parts/timeline": 404,
    "/people/{person}/parts/timeline?day=9999-12-31": 400,
    "/audience": 200,
    "/data": 200,
    "/data/letter?topic=touchpoints.web&partition=0&offset=7": 200,
    "/system": 200,
    "/no-such-page": 404,
}
"""Pages with their status."""


class Shown:
    """A console in front of a filled deployment.

    Attributes:
        url: Its address.
        tables: The database.
        person: The profile id of Ann, who has two browsers.
        others: Further people, whom acts may take.
        mails: The mail server of test messages.
    """

    def __init__(self, url: str, tables: Warehouse, people: list[str], mails: MailServer) -> None:
        self.url, self.tables, self.mails = url, tables, mails
        self.person, *self.others = people

    def acts(self) -> list[tuple[str, str, str, str]]:
        """The audit log, newest first: who, what, on whom, result."""
        return [(one.actor, one.act, one.subject, one.outcome) for one in read_acts(self.tables.client)]


async def fill(database: Warehouse) -> list[str]:
    from redis.asyncio import Redis

    async with Redis.from_url(database.settings.redis_url) as redis:
        here = Town(database.settings, redis, database)
        both = {"email": EMAIL, "anonymous_id": "browser-of-ann"}
        traits = {"first_name": "Ann", "last_name": "<b>Smith</b>"}
        seen = {"product_id": "P1", "name": "Lamp", "price": "10.00", "currency": "EUR"}
        await here.live(
            touchpoint("Product Viewed", identifiers={"anonymous_id": "browser-of-ann"}, properties=seen),
            order("hers", identifiers={"email": EMAIL}),
            touchpoint("Identify", identifiers=both, traits=traits, consent={"marketing": True}),
            *(touchpoint("Page Viewed", identifiers={"email": f"person{number}@shop.example"}) for number in range(3)),
        )
        emails = [EMAIL, *(f"person{number}@shop.example" for number in range(3))]
        people = [await here.owner("email", email) for email in emails]
        stored = [(one, await here.profiles.get(one)) for one in people]
        rows = [profile_row(one, found.version, found.document) for one, found in stored if found and found.document]
        await here.insert("profiles", *rows)
        member = {"change_id": people[0], "segment": "customers", "profile_id": people[0], "entered": 1}
        await here.insert("segment_changes", json.dumps({**member, "changed_at": "2026-11-02T00:00:00.000Z"}).encode())
        letter = {"topic": "touchpoints.web", "partition": 0, "offset": 7, "received_at": "2026-11-22T10:15:30.123Z"}
        broken = {"stage": "identify", "reason": "missing_field", "field": "event_id", "message": "missing"}
        value = b64encode(b'{"event": "<i>broken</i>", "channel": "web"}').decode()
        spent = [(date(2026, 11, day), "Paid Search", "autumn", Decimal(day * 10), "EUR") for day in range(1, 22)]
        database.client.insert("spend", spent, column_names=["date", "channel", "campaign", "spend", "currency"])
        await here.insert("dead_letters", json.dumps({**letter, **broken, "value_base64": value}).encode())
        return people


@pytest.fixture(scope="module")
def shown(one_database: Warehouse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    empty(one_database)
    apply_topics(one_database.settings)
    people = asyncio.run(fill(one_database))
    folder = tmp_path_factory.mktemp("console")
    roles, delivery = folder / "console.yaml", folder / "delivery.yaml"
    roles.write_text(ROLES, "utf-8")
    delivery.write_text(DELIVERY, "utf-8")
    with (
        pytest.MonkeyPatch.context() as patch,
        mail_server() as mails,
        running_console(
            one_database.settings, console_file=roles, delivery_file=delivery, smtp_url=SecretStr(mails.url)
        ) as url,
    ):
        for acts in ("person_acts", "unmerge"):
            patch.setattr(f"deploy.console.{acts}.WORKERS_TIMEOUT_S", 0.2)  # no worker runs that could be waited for
        yield Shown(url, one_database, people, mails)


@pytest.fixture(scope="module")
def browser(shown: Shown) -> Iterator[Any]:  # the stores are filled first: a browser keeps a loop running
    with chromium() as found:
        yield found


@pytest.fixture
def reader(browser: Any, shown: Shown) -> Iterator[Reader]:
    found = Reader(browser, shown.url, "local")
    yield found
    found.close()


@pytest.mark.parametrize(
    ("width", "scheme"), [pytest.param(1280, "light", id="desktop"), pytest.param(390, "dark", id="phone")]
)
def test_every_page_is_whole_legible_and_asks_no_other_host(
    browser: Any, shown: Shown, width: int, scheme: str
) -> None:
    reader = Reader(browser, shown.url, "local", width, scheme)
    problems = {}
    for path, expected in PATHS.items():
        status = reader.open(path.format(person=shown.person))
        found = [one for one in reader.problems() if expected == 200 or str(expected) not in one]
        if status != expected:
            found.append(f"status {status}")
        if found:
            problems[path] = found
    reader.close()

    assert {} == problems


def test_a_person_is_found_by_an_address_and_by_a_part_of_the_name(reader: Reader, shown: Shown) -> None:
    found = []
    for asked in (EMAIL, "email:ann@shop.example", "smith"):
        reader.page.fill("form.find input", asked)
        reader.page.press("form.find input", "Enter")
        reader.page.wait_for_url("**/people/*")
        found.append(reader.page.url.rpartition("/")[2])

    assert [shown.person] * 3 == found


def test_the_page_of_a_person_says_what_happened_and_why_profiles_are_one(reader: Reader, shown: Shown) -> None:
    reader.open(f"/people/{shown.person}")
    text = reader.page.inner_text("main")

    assert ("Ann <b>Smith</b>" in text, EMAIL in text, "Order Completed" in text) == (True, True, True)
    assert ("shared identifier" in text, reader.page.locator("svg.graph .former").count()) == (True, 1)


@pytest.mark.parametrize(
    ("chosen", "why"),
    [
        pytest.param((), "choose the identifiers", id="none"),
        pytest.param(("no-hash",), "keyed hash", id="no hash"),
        pytest.param(("00000000-0000-0000-0000-000000000001",), "no profile has", id="unknown"),
    ],
)
def test_an_unmerge_that_cannot_be_is_a_sentence(
    reader: Reader, shown: Shown, chosen: tuple[str, ...], why: str
) -> None:
    reader.open(f"/people/{shown.others[0]}/unmerge?" + "&".join(f"anchor={one}" for one in chosen))
    assert why in reader.page.inner_text("main")


def test_an_export_is_all_data_of_the_person_and_is_noted(reader: Reader, shown: Shown) -> None:
    reader.open(f"/people/{shown.person}")
    with reader.page.expect_download() as download:
        reader.page.click("text=Export all data")

    exported = json.loads(Path(download.value.path()).read_text("utf-8"))
    assert (shown.person, 3) == (exported["profile"]["profile_id"], len(exported["events"]))
    assert ("local", "export", shown.person, "done") == shown.acts()[0]


def test_a_suppression_shows_its_event_first_and_is_noted(reader: Reader, shown: Shown) -> None:
    reader.open(f"/people/{shown.others[0]}/suppress")
    assert '"marketing": false' in reader.page.inner_text("main")

    reader.page.click("button:has-text('Suppress')")

    assert "The withdrawal is published" in reader.page.inner_text("main")
    assert ("local", "suppress", shown.others[0], "done") == shown.acts()[0]


def test_an_erasure_asks_for_a_confirmation_gives_a_receipt_and_is_noted(reader: Reader, shown: Shown) -> None:
    person = shown.others[1]
    reader.open(f"/people/{person}/erase")
    assert "1 email" in reader.page.inner_text("main")

    reader.page.fill("input[name=confirmed]", person[:8])
    reader.page.click("button:has-text('Erase')")

    assert "The person is erased" in reader.page.inner_text("main")
    assert ("local", "erase", person, "done") == shown.acts()[0]
    assert 404 == reader.open(f"/people/{person}")
    assert "erased" in reader.page.inner_text("main")


def test_a_journey_is_drawn_with_its_steps_and_can_be_paused_and_resumed(reader: Reader, shown: Shown) -> None:
    reader.open("/journeys/welcome")
    steps = reader.page.locator("svg.flow g.step").count()
    states = []
    for act in ("Pause", "Resume", "Stop"):
        reader.page.once("dialog", lambda dialog: dialog.accept())
        reader.page.click(f"main button:has-text('{act}')")
        reader.page.wait_for_url(f"**?done={act.lower()}*")
        states.append(reader.page.locator("main .dot").first.inner_text())

    assert (["paused", "running", "stopped"], True) == (states, steps > 3)
    assert [("local", act, "welcome", "done") for act in ("stop", "resume", "pause")] == shown.acts()[:3]


def test_a_campaign_is_forecast_approved_paused_and_cancelled(reader: Reader, shown: Shown) -> None:
    reader.open("/campaigns/season_news")
    reader.page.click("button:has-text('Forecast')")
    reader.page.wait_for_selector("text=of 1 people would get a message", timeout=20_000)
    states = []
    for button, act in (("Approve", "start"), ("Pause", "pause"), ("Resume", "resume"), ("Cancel", "cancel")):
        reader.page.once("dialog", lambda dialog: dialog.accept())
        reader.page.click(f"main button:has-text('{button}')")
        reader.page.wait_for_url(f"**?done={act}*")
        states.append(reader.page.locator("main .dot").first.inner_text())

    assert ["running", "paused", "running", "cancelled"] == states
    assert [("local", act, "season_news", "done") for act in ("cancel", "resume", "pause", "start")] == shown.acts()[:4]
    assert [] == reader.problems()


def test_a_message_is_shown_as_a_person_would_get_it(reader: Reader, shown: Shown) -> None:
    reader.open(f"/journeys/cart_abandonment/messages/reminder?who={EMAIL}")
    mail = reader.page.frame_locator("iframe.message")

    assert "Your cart is waiting" in reader.page.inner_text("main")
    assert "You left something in your cart" in mail.locator("body").inner_text()


def test_a_test_of_a_message_goes_to_the_address_alone_and_is_noted_without_it(reader: Reader, shown: Shown) -> None:
    reader.open("/journeys/cart_abandonment/messages/reminder")
    reader.page.fill("input[name=address]", "me@shop.example")
    reader.page.click("button:has-text('Send')")
    said = reader.page.inner_text("main")

    (mail,) = shown.mails.mails
    assert ("me@shop.example", True) == (mail["To"], str(mail["Subject"]).startswith("[test] "))
    assert ("The test is sent." in said, ("local", "send a test", "cart_abandonment", "done")) == (
        True,
        shown.acts()[0],
    )
    assert "me@shop.example" not in str(read_acts(shown.tables.client))


def test_a_test_that_the_mail_server_refuses_is_noted_as_failed(reader: Reader, shown: Shown) -> None:
    reader.open("/journeys/cart_abandonment/messages/reminder")
    reader.page.fill("input[name=address]", "me@shop.example")
    shown.mails.answer = "550 5.1.1 <me@shop.example>: no such mailbox"
    reader.page.click("button:has-text('Send')")
    reader.page.wait_for_url("**failed=*")
    shown.mails.answer = ""

    assert "no such mailbox" in reader.page.inner_text("main")
    assert ("local", "send a test", "cart_abandonment", "failed") == shown.acts()[0]
    assert "me@shop.example" not in str(read_acts(shown.tables.client))


def test_a_replay_is_tried_first_and_noted_when_it_is_done(reader: Reader, shown: Shown) -> None:
    reader.open("/data")
    reader.page.click("text=Try a replay …")
    tried = reader.page.inner_text("main")
    acts = shown.acts()
    reader.page.click("button:has-text('Publish 1 records')")

    assert ("1 records would be published" in tried, "replay" in {act for _, act, _, _ in acts}) == (True, False)
    assert "1 records are published" in reader.page.inner_text("main")
    assert ("local", "replay", "dead letters", "done") == shown.acts()[0]


def test_what_arrives_appears_without_loading_the_page(reader: Reader, shown: Shown) -> None:
    reader.open("/live")
    reader.page.locator("text=Connected").wait_for()
    columns = ["event_id", "event", "channel", "source", "occurred_at", "received_at", "profile_id"]
    now = datetime.now(UTC)
    row = ["live-1", "Store Entered", "store", "till <7>", now, now, shown.person]
    shown.tables.client.insert("touchpoints", [row], column_names=columns)

    reader.page.locator("#rows >> text=Store Entered").wait_for()
    assert ("till <7>", [f"/people/{shown.person}"]) == (
        reader.page.locator("#rows tr").first.locator("td").last.inner_text(),
        [reader.page.locator("#rows tr a").first.get_attribute("href")],
    )


def test_figures_of_attribution_are_those_of_the_csv(reader: Reader, shown: Shown) -> None:
    reader.open("/attribution?model=linear")
    shown_text = reader.page.inner_text("main table")
    csv = Client(shown.url, "vera").get("/attribution.csv?model=linear").text

    assert csv.startswith("model,channel,conversions,revenue")
    assert [True] * (len(csv.splitlines()) - 1) == [line.split(",")[1] in shown_text for line in csv.splitlines()[1:]]


def test_the_page_of_attribution_shows_how_buyers_came_and_what_a_budget_would_bring(
    reader: Reader, shown: Shown
) -> None:
    reader.open("/attribution?total=40")
    reader.page.locator("#budget >> text=A day's budget").wait_for()

    paths, budget = (reader.page.inner_text(f"#{part}") for part in ("paths", "budget"))

    assert "the 1 most frequent" in paths
    assert ("110.00" in budget, reader.page.input_value("#budget input[name=total]")) == (True, "40.00")


def test_a_list_for_a_network_is_hashed_and_noted(reader: Reader, shown: Shown) -> None:
    reader.open("/segments/customers")
    reader.page.once("dialog", lambda dialog: dialog.accept())
    with reader.page.expect_download() as download:
        reader.page.click("text=Export list")
    text = Path(download.value.path()).read_text("utf-8")

    assert (True, False) == (text.startswith("Email,Phone"), "@" in text)
    assert ("local", "export", "customers", "done") == shown.acts()[0]


def test_identifiers_that_do_not_belong_together_are_taken_apart_after_a_look_at_what_moves(
    reader: Reader, shown: Shown
) -> None:
    reader.open(f"/people/{shown.person}")
    reader.page.check("tr:has-text('email') input[name=anchor]")
    reader.page.click("button:has-text('What would move')")
    said = reader.page.inner_text("main")
    assert ("1 email" in said, "1 anonymous_id" in said, "orders among them" in said) == (True, True, True)

    reader.page.click("button:has-text('Take apart')")  # no worker runs: the two are split, and not yet rebuilt

    assert "throughline profile rebuild --after-split" in reader.page.inner_text("main")
    assert ("local", "unmerge", shown.person, "failed") == shown.acts()[0]
    assert 200 == reader.open(f"/people?q={EMAIL}")
    assert shown.person not in reader.page.url


@pytest.mark.parametrize(
    "path", ["/people", "/people/{person}", "/people/{person}/parts/timeline", "/people/{person}/erase"]
)
def test_who_may_not_see_people_sees_none(shown: Shown, path: str) -> None:
    answer = Client(shown.url, "vera").get(path.format(person=shown.person))

    assert (403, False) == (answer.status, EMAIL in answer.text)


def test_an_act_without_the_right_is_refused_and_noted(shown: Shown) -> None:
    client = Client(shown.url, "vera")
    answer = client.post(f"/people/{shown.person}/export", form_token=client.form_token)

    assert (403, False) == (answer.status, EMAIL in answer.text)
    assert ("vera", f"/people/{shown.person}/export", "", "refused") == shown.acts()[0]


def test_who_may_edit_may_not_approve_a_campaign(shown: Shown) -> None:
    client = Client(shown.url, "mara")
    answer = client.post("/campaigns/season_news/start", form_token=client.form_token)

    assert (403, ("mara", "/campaigns/season_news/start", "", "refused")) == (answer.status, shown.acts()[0])


def test_an_act_on_an_address_is_no_page_and_its_refusal_is_not_noted(shown: Shown) -> None:
    client = Client(shown.url, "vera")
    answer = client.post(f"/people/email:{EMAIL}/export", form_token=client.form_token)

    assert (404, False) == (answer.status, EMAIL in str(read_acts(shown.tables.client)))


def test_a_suppression_without_the_right_to_see_people_is_refused_and_noted(shown: Shown) -> None:
    client = Client(shown.url, "mara")
    answer = client.post(f"/people/{shown.person}/suppress", form_token=client.form_token)

    assert 403 == answer.status
    assert ("mara", f"/people/{shown.person}/suppress", "", "refused") == shown.acts()[0]


def test_a_form_of_another_site_does_nothing(shown: Shown) -> None:
    client, target = Client(shown.url, "local"), f"/people/{shown.others[2]}/export"
    without = client.post(target)
    cross = client.post(target, {"Sec-Fetch-Site": "cross-site"}, form_token=client.form_token)

    assert (403, 403) == (without.status, cross.status)
    assert shown.others[2] not in {subject for _, _, subject, _ in shown.acts()}


def test_who_has_not_signed_in_is_asked_to_and_guessing_is_slowed_down(shown: Shown) -> None:
    client = Client(shown.url)
    asked = client.get("/people?q=x")
    guesses = [client.post("/sign-in", token="guess") for _ in range(11)]

    assert (200, "/sign-in?next=/people?q=x") == (asked.status, unquote(asked.path))
    assert [403] * 10 + [429] == [one.status for one in guesses]
    assert int(guesses[-1].headers["Retry-After"]) > 0
