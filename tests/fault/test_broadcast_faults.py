"""Workers are killed in the middle of a broadcast: each person gets it at most once, and in the end all have it."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from deploy.operations.broadcasts import start
from deploy.operations.definitions_report import read_in_force
from deploy.operations.deployment import open_deployment
from deploy.operations.publication import Publication
from deploy.settings import Settings
from schemas.time import clock_ms
from schemas.topics import ACTIONS, DECISIONS, JOURNEY_EVENTS
from tests.support.builders import touchpoint
from tests.support.mail_server import mail_server
from tests.support.pipeline import Pipeline
from tests.support.stack import Addresses, corner
from tests.support.topic_reader import distinct_records

pytestmark = [pytest.mark.fault, pytest.mark.timed]

PEOPLE = 400
FILES = {
    "segments/all.yaml": "segments: [{name: known, description: K., when: {performed: Identify}}]\n",
    "broadcasts/news.yaml": "name: news\ndescription: News.\nsegment: known\nmessage: hello\nchannel: email\n",
    "templates/hello.yaml": "description: D.\nchannels: {email: {en: {subject: S, html: <p>H</p>, text: H}}}\n",
    "policy.yaml": 'holdout: {share: 0}\nquiet_hours: {"*": null}\ncaps: []\n',
    "delivery.yaml": "sender: Shop <news@shop.example>\nchannels: {email: {through: smtp}}\n",
}


def test_kill_9_in_mid_broadcast_sends_to_everybody_once(servers: Addresses, tmp_path: Path) -> None:
    folder = tmp_path / "definitions"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")
    with corner(servers) as settings, mail_server() as mails:
        changes = {
            "definitions_dir": folder,
            "policy_file": folder / "policy.yaml",
            "delivery_file": folder / "delivery.yaml",
            "smtp_url": SecretStr(mails.url),
        }
        with Pipeline(settings.model_copy(update=changes), tmp_path) as pipeline:
            pipeline.publish(*(_identified(number) for number in range(PEOPLE)))
            pipeline.drain(120)
            pipeline.workers["profile"].kill()
            asyncio.run(_start(pipeline.settings))

            for times in (1, 2):  # it dies after a page of people has entered, and again after two
                worker = pipeline.start("profile", crash_at=f"broadcast:entered:{times}")
                pipeline.wait(lambda: not worker.alive, 90, lambda: worker.last_log_lines(20))  # noqa: B023
            pipeline.start("profile")
            pipeline.wait(lambda: len(mails.keys) > PEOPLE // 10, 120)
            for role in ("profile", "deliver"):
                pipeline.workers[role].kill()
                pipeline.start(role)
            pipeline.wait(lambda: _ended(pipeline) == PEOPLE, 180, lambda: f"{_ended(pipeline)} of {PEOPLE}")
            pipeline.drain(180)

            entered, decided, sent = (
                distinct_records(pipeline.settings, topic) for topic in (JOURNEY_EVENTS, DECISIONS, ACTIONS)
            )
            assert {1} == set(_by_person(row for row in entered if row["kind"] == "journey_entered").values())
            assert PEOPLE == len(_by_person(row for row in decided if row["outcome"] == "sent"))
            assert (PEOPLE, {1}) == (len(_by_person(sent)), set(_by_person(sent).values()))
            assert len(mails.keys) == len(set(mails.keys)) <= PEOPLE
            assert 0 == pipeline.value("SELECT sum(difference) FROM v_accounting")


def _identified(number: int) -> dict[str, Any]:
    return touchpoint(
        "Identify",
        identifiers={"email": f"p{number}@shop.example"},
        event_id=f"person {number}",
        occurred_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        consent={"marketing": True, "channels": {"email": True}},
    )


async def _start(settings: Settings) -> None:
    async with open_deployment(settings) as deployment:
        publication = Publication(settings, deployment.definitions, "mia", clock_ms)
        report = await read_in_force(settings)
        changed = await start(deployment, publication, report, "news", timeout_s=60, clock=clock_ms)
        assert PEOPLE == changed.state.journeys["news"].audience


def _ended(pipeline: Pipeline) -> int:
    return int(pipeline.value("SELECT uniqExact(run_id) FROM journey_events WHERE kind = 'exited'"))


def _by_person(rows: Any) -> Counter[str]:
    return Counter(row["profile_id"] for row in rows)
