"""A marketer's day: a new journey goes live, is paused under load, goes on, is rolled back; no worker is restarted."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.settings import Settings
from tests.support.builders import touchpoint
from tests.support.mail_server import MailServer, mail_server
from tests.support.pipeline import Pipeline
from tests.support.topic_reader import everything

pytestmark = [pytest.mark.e2e, pytest.mark.timed]

JOURNEY = """
name: spring
description: A greeting on two channels.
entry: {event: Signed Up}
re_entry: once
steps:
  - {message: greeting, channel: email}
  - {message: greeting, channel: sms}
"""
TEMPLATE = """
description: Says hello.
channels:
  email: {en: {subject: "GREETING", html: "<p>Hello</p>", text: "Hello"}}
  sms: {en: {text: "GREETING"}}
"""


@pytest.fixture
def mails() -> Iterator[MailServer]:
    with mail_server() as found:
        yield found


@pytest.fixture
def settings(stack: Settings, tmp_path: Path, mails: MailServer, monkeypatch: pytest.MonkeyPatch) -> Settings:
    folder = tmp_path / "definitions"
    for name in ("segments", "journeys", "templates"):
        (folder / name).mkdir(parents=True)
    (folder / "policy.yaml").write_text('holdout: {share: 0}\nquiet_hours: {"*": null}\ncaps: []\n')
    (folder / "delivery.yaml").write_text("sender: Shop <news@shop.example>\nchannels: {email: {through: smtp}}\n")
    found = stack.model_copy(
        update={
            "definitions_dir": folder,
            "policy_file": folder / "policy.yaml",
            "delivery_file": folder / "delivery.yaml",
            "smtp_url": SecretStr(mails.url),
        }
    )
    monkeypatch.setattr("deploy.settings.settings", lambda: found)
    monkeypatch.setenv("THROUGHLINE_HOME", str(tmp_path / "desk"))
    return found


class Desk:
    """The marketer: the folder, and the command line."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.folder = settings.definitions_dir

    def writes(self, journey: str = JOURNEY, greeting: str = "Hello") -> None:
        (self.folder / "journeys" / "spring.yaml").write_text(journey)
        (self.folder / "templates" / "greeting.yaml").write_text(TEMPLATE.replace("GREETING", greeting))

    def does(self, *command: str, fails: bool = False) -> str:
        told = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["journeys", *command])
        assert (1 if fails else 0) == told.exit_code, told.output
        return told.output


class Load:
    """People who sign up, all the time."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.numbers = count()
        self.going = True
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while self.going:
            self.people(4)
            time.sleep(0.1)

    def people(self, number: int) -> None:
        self.pipeline.publish(*(self.signs_up(f"p{next(self.numbers)}") for _ in range(number)))

    @staticmethod
    def signs_up(who: str) -> dict[str, Any]:
        digits = f"{int(who[1:]):07d}"
        return touchpoint(
            "Signed Up",
            identifiers={"email": f"{who}@shop.example", "phone": f"+4915{digits[0]}{digits}"},
            occurred_at=datetime.now(UTC).isoformat(),
            consent={"marketing": True, "channels": {"email": True, "sms": True}},
        )


def left(settings: Settings, mails: MailServer) -> tuple[int, int]:
    """How many messages have left by each way."""
    return len(mails.mails), len(everything(settings, "deliver.sms"))


def settled(look: Callable[[], tuple[int, int]]) -> tuple[int, int]:
    """Wait until what an adapter was handing over has arrived: nothing changes for a second; at most half a minute."""
    before = look()
    for _ in range(30):
        time.sleep(1)
        if (now := look()) == before:
            break
        before = now
    return before


def test_a_journey_goes_live_is_paused_under_load_goes_on_and_is_rolled_back(
    settings: Settings, tmp_path: Path, mails: MailServer
) -> None:
    desk = Desk(settings)
    with Pipeline(settings, tmp_path / "workers") as pipeline:
        load = Load(pipeline)
        load.people(1)
        pipeline.drain()
        processes = {name: worker.pid for name, worker in pipeline.workers.items()}

        assert (0, 0) == left(settings, mails)

        # Live, without a restart.
        desk.writes()
        said = desk.does("publish", "--by", "mia")

        assert "journeys new: spring" in said
        assert "taken up by 2 workers" in said

        load.people(1)
        pipeline.wait(lambda: mails.mails)

        assert "Hello" == mails.mails[0]["Subject"]

        # Paused under load: a second after the command nothing leaves, whoever comes.
        load.thread.start()
        pipeline.wait(lambda: len(mails.mails) > 20)
        desk.does("pause", "spring", "--by", "mia")
        before = settled(lambda: left(settings, mails))
        load.people(50)
        load.going = False
        load.thread.join()
        pipeline.drain()

        after = left(settings, mails)

        assert before == after, (before, after)

        people = next(load.numbers) - 1  # the first one came before the journey
        held = pipeline.value("SELECT count() FROM v_decisions WHERE outcome = 'postponed' AND gate = 'paused'")

        assert held >= 50
        assert held == pipeline.value("SELECT uniqExact(run_id, step) FROM v_decisions WHERE gate = 'paused'")
        assert held == pipeline.value("SELECT countIf(held) FROM v_journey_runs WHERE ended_at IS NULL")

        # It goes on: everybody gets both, once.
        desk.does("resume", "spring")
        pipeline.wait(lambda: len(mails.mails) >= people)
        pipeline.wait(lambda: len(everything(settings, "deliver.sms")) >= people)
        pipeline.drain()

        assert (people, people) == (len(mails.mails), len({mail["To"] for mail in mails.mails}))
        assert people == len({key for *_, key, _ in everything(settings, "deliver.sms")})

        # A bad file is refused with all its errors, and the good version stays.
        desk.writes(
            JOURNEY + "  - {message: nothing-like-it, channel: email}\n  - {message: greeting, channel: whatsapp}\n"
        )
        said = desk.does("publish", fails=True)

        assert "nothing-like-it" in said
        assert "no text for whatsapp" in said

        # Another text, and back again.
        desk.writes(greeting="Good day")
        desk.does("publish", "spring", "--by", "mia")
        load.people(1)
        pipeline.wait(lambda: len(mails.mails) > people)
        desk.does("rollback", "spring", "--by", "tom")
        load.people(1)
        pipeline.wait(lambda: len(mails.mails) > people + 1)

        assert ["Good day", "Hello"] == [mail["Subject"] for mail in mails.mails[-2:]]

        # Stopped: nobody enters any more.
        desk.does("stop", "spring")
        load.people(3)
        pipeline.drain()

        assert people + 2 == len(mails.mails)
        assert 3 == pipeline.value("SELECT count() FROM v_journey_events WHERE kind = 'stopped'")

        kinds = [one["kind"] for one in json.loads(desk.does("history", "--json"))]

        assert ["stop", "rollback", "publish", "resume", "pause", "publish"] == kinds
        assert processes == {name: worker.pid for name, worker in pipeline.workers.items()}
        assert 0 == pipeline.value("SELECT sum(difference) FROM v_accounting")
