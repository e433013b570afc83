"""`throughline journeys`: list, check, simulate over history, and tell why."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from typer.testing import CliRunner, Result

from deploy.cli.main import app
from deploy.operations.definition_files import DefinitionError
from deploy.operations.engines import load_decision_engine, load_segments
from deploy.settings import Settings
from processors.decisions.engine import DecisionEngine
from processors.profiles.document import join, new_profile, profile_of_event
from processors.profiles.stage import update
from processors.recording.decision_rows import decision_rows, journey_event_rows
from schemas.profiles.person import Person
from schemas.time import ms_of_text
from schemas.topics import DECISIONS, JOURNEY_EVENTS
from sinks.redis.profiles import RedisProfileStore
from tests.support.builders import DAY_ONE
from tests.support.definition_places import without_columns
from tests.support.stack import Addresses, corner
from tests.support.warehouse import Warehouse, instant, person, resolved, warehouse

pytestmark = pytest.mark.integration

WELCOME = """\
name: welcome
description: Welcomes members.
entry: {event: Signed Up}
re_entry: always
goals:
  - {event: Order Completed, within: 14d}
steps:
  - id: hello
    message: hello
    channel: email
    expires_after: 2d
  - delay: 1d
  - id: again
    message: hello
    channel: email
    expires_after: 2d
"""
HELLO = """\
description: Says hello.
channels:
  email: {en: {subject: Hello, html: <p>Hello</p>, text: Hello}}
"""
POLICY = """\
holdout: {share: 0}
quiet_hours: {"*": null}
caps:
  - {limit: 1, within: 30h}
"""


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path = path.with_name(f"{path.name}.yaml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, policy=POLICY, journeys__welcome=WELCOME, templates__hello=HELLO)
    return tmp_path


@pytest.fixture(scope="module")
def database(servers: Addresses) -> Iterator[Warehouse]:
    with corner(servers) as settings, warehouse(settings) as found:
        yield found


@pytest.fixture
def settings(database: Warehouse, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    found = database.settings.model_copy(update={"definitions_dir": folder, "policy_file": folder / "policy.yaml"})
    monkeypatch.setattr("deploy.settings.settings", lambda: found)
    return found


def run(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, ["journeys", *arguments])


def said(result: Result) -> str:
    return result.stdout + result.stderr


def signed_up(who: int, day: int, *, consent: bool = True) -> dict[str, Any]:
    return resolved(
        f"s{who}-{day}", who, DAY_ONE + timedelta(days=day), event="Signed Up",
        identifiers=[{"type": "email", "value": f"p{who}@shop.example", "verified": False}],
        consent={"marketing": consent, "channels": {"email": consent}},
    )  # fmt: skip


def test_the_list_says_what_lets_people_in_and_what_they_may_get(settings: Settings, folder: Path) -> None:
    (row,) = json.loads(run("list", "--json").stdout)

    file = str(folder / "journeys" / "welcome.yaml")
    names = ("name", "enabled", "entry", "messages", "goals", "holdout", "file")
    expected = ("welcome", True, "Signed Up", ["hello", "hello"], ["goal"], 0.0, file)
    assert expected == tuple(row[name] for name in names)
    assert "Welcomes members." in run("list").stdout


class TestLint:
    def test_what_is_right_passes(self, settings: Settings) -> None:
        assert 0 == run("lint").exit_code

    @pytest.mark.parametrize(
        ("old", "new", "complaint"),
        [
            pytest.param("message: hello", "message: hallo", "welcome.yaml:9: steps.0.message: there", id="template"),
            pytest.param("channel: email", "channel: sms", "message: template hello has no text for sms", id="text"),
            pytest.param("channel: email", "channel: pigeon", "the policy knows no channel 'pigeon'", id="channel"),
            pytest.param("Signed Up", "Signedd Up", "no event is called 'Signedd Up' (did you mean", id="event"),
            pytest.param("delay: 1d", "dely: 1d", "welcome.yaml:12: steps.1: not a step", id="step"),
            pytest.param("re_entry: always", "re_entry: allways", "welcome.yaml:4: re_entry", id="value"),
            pytest.param("re_entry: always", "name: twice", "welcome.yaml:4: name: given twice", id="key twice"),
        ],
    )  # fmt: skip
    def test_what_is_wrong_is_named_with_file_line_and_path(
        self, settings: Settings, folder: Path, old: str, new: str, complaint: str
    ) -> None:
        write(folder, journeys__welcome=WELCOME.replace(old, new, 1))

        result = run("lint")

        assert 1 == result.exit_code
        assert complaint in without_columns(said(result))

    @pytest.mark.parametrize(
        ("data", "hint"),
        [
            ("{}", "welcome.yaml:9: steps.0.message: template hello asks for run.data.coupon, which `data` does not"),
            ("{cupon: X, coupon: Y}", "welcome.yaml:12: steps.0.data: no text asks for run.data.cupon"),
        ],
        ids=["missing", "misspelt"],
    )
    def test_values_that_do_not_fit_the_text_are_hinted_at(
        self, settings: Settings, folder: Path, data: str, hint: str
    ) -> None:
        write(folder, templates__hello=HELLO.replace("text: Hello", 'text: "{{ run.data.coupon }}"'))
        write(folder, journeys__welcome=WELCOME.replace("expires_after: 2d", f"expires_after: 2d\n    data: {data}", 1))

        result = run("lint")

        assert 0 == result.exit_code
        assert hint in without_columns(said(result))

    @pytest.mark.parametrize(
        ("text", "coupon", "complaint"),
        [
            ("{{ coupon.code }}", "", "template hello says coupon, which the step does not have: `coupon: POOL`"),
            ("Hello", "coupon: welcome", "welcome.yaml:12: steps.0.coupon: no text of template hello says the coupon"),
            ("{{ coupon.code }}", "coupon: {pool: welcome, valid: 14d, if_empty: send}", ""),
            ("{{ coupon.code }}", "coupon: {pool: welcome, if_empty: maybe}", "steps.0.coupon.if_empty"),
        ],
        ids=["no coupon", "not said", "right", "wrong"],
    )
    def test_a_coupon_is_given_and_said(
        self, settings: Settings, folder: Path, text: str, coupon: str, complaint: str
    ) -> None:
        write(folder, templates__hello=HELLO.replace("text: Hello", f'text: "{text}"'))
        write(folder, journeys__welcome=WELCOME.replace("expires_after: 2d", f"expires_after: 2d\n    {coupon}"))

        result = run("lint")

        assert bool(complaint) == result.exit_code
        assert complaint in without_columns(said(result))

    def test_a_draft_is_checked_against_what_is_in_force(self, settings: Settings, tmp_path: Path) -> None:
        write(tmp_path, draft=WELCOME.replace("message: hello", "message: hallo", 1))

        result = run("lint", str(tmp_path / "draft.yaml"), "--json")

        (finding,) = [one for one in json.loads(result.stdout) if one["serious"]]
        assert (1, "steps.0.message", 9, 5) == (
            result.exit_code,
            *(finding[name] for name in ("path", "line", "column")),
        )

    def test_a_segment_about_an_event_that_is_hardly_meant_is_hinted_at(self, settings: Settings, folder: Path) -> None:
        steps = "[{event: Product Vieved}, {event: My Own Event}]"
        write(folder, segments__a=f"segments:\n  - {{name: a, description: d, when: {{sequence: {steps}}}}}\n")

        result = run("lint")

        assert 0 == result.exit_code
        assert "a.yaml:2:5: a: no event that comes with the pipeline is called 'Product Vieved'" in said(result)
        assert "My Own Event" not in said(result)

    def test_a_worker_does_not_start_with_a_journey_that_cannot_work(self, settings: Settings, folder: Path) -> None:
        write(folder, journeys__welcome=WELCOME.replace("message: hello", "message: hallo", 1))

        with pytest.raises(DefinitionError, match=r"welcome.yaml:9:\d+: steps.0.message"):
            load_decision_engine(settings)

    def test_segments_of_several_files_are_one_and_an_error_names_its_file(
        self, settings: Settings, folder: Path
    ) -> None:
        one = "segments:\n  - {name: buyers, description: d, when: {performed: Order Completed}}\n"
        other = "segments:\n  - {name: others, description: d, when: {segment: SEGMENT}}\n"
        write(folder, segments__a=one, segments__b=other.replace("SEGMENT", "buyers"))
        both = [segment.name for segment in load_segments(settings).segments]
        write(folder, segments__b=other.replace("SEGMENT", "byers"))

        assert ["buyers", "others"] == both
        with pytest.raises(DefinitionError, match=r"b.yaml:2:5: others: there is no segment 'byers'"):
            load_segments(settings)


class TestSimulate:
    """Days 0 to 3: person 1 signs up before the time looked at, 2 and 3 in it, 4 says no, 5 signs up twice."""

    EVENTS = (
        signed_up(1, 0), signed_up(2, 1), signed_up(3, 2), signed_up(4, 2, consent=False), signed_up(5, 1),
        {**signed_up(5, 1), "event_id": "once more", "occurred_at": signed_up(5, 1)["received_at"]},
    )  # fmt: skip
    SPAN = ("--from", "2026-11-02", "--to", "2026-11-03")

    @pytest.fixture(autouse=True)
    def history(self, database: Warehouse) -> None:
        database.client.command("TRUNCATE TABLE touchpoints")
        database.store(*self.EVENTS)

    def test_it_reports_who_would_enter_and_what_they_would_get(self, settings: Settings, folder: Path) -> None:
        report = json.loads(run("simulate", str(folder / "journeys" / "welcome.yaml"), *self.SPAN, "--json").stdout)

        assert (5, 6) == (report["people_replayed"], report["events_replayed"])
        assert (4, 5) == (report["draft"]["people"], report["draft"]["runs"])
        assert report["draft"] == report["live"]
        assert {"people": 0, "runs": 0, "messages": 0, "caps_hit": 0, "goals": 0} == report["difference"]

    def test_history_that_was_imported_later_counts_as_if_it_had_come_in_time(
        self, database: Warehouse, settings: Settings, folder: Path
    ) -> None:
        database.store({**signed_up(6, 1), "received_at": instant(DAY_ONE + timedelta(days=12))})
        file = str(folder / "journeys" / "welcome.yaml")

        live = json.loads(run("simulate", file, *self.SPAN, "--json").stdout)
        timely = json.loads(run("simulate", file, *self.SPAN, "--as-it-happened", "--json").stdout)

        assert (4, 5) == (live["draft"]["people"], timely["draft"]["people"])

    def test_it_decides_as_the_worker_does(self, settings: Settings, folder: Path) -> None:
        report = json.loads(run("simulate", str(folder / "journeys" / "welcome.yaml"), *self.SPAN, "--json").stdout)

        decided = self.oracle(load_decision_engine(settings))
        sent = [row for row in decided if row["outcome"] == "sent"]
        by_day = {(row["decided_at"][:10], row["channel"]) for row in sent}
        assert len(sent) == report["draft"]["messages"] > 0
        assert {(row["day"], row["channel"]) for row in report["draft"]["messages_by_day"]} == by_day
        assert sum(row["gate"] == "caps" for row in decided) == report["draft"]["caps_hit"] > 0
        assert 1 <= report["draft"]["held_back_by_gate"]["consent"]

    def test_a_draft_is_compared_with_the_version_in_force(self, settings: Settings, tmp_path: Path) -> None:
        write(tmp_path, draft=WELCOME.replace("event: Signed Up", "event: Order Completed"))

        printed = run("simulate", str(tmp_path / "draft.yaml"), *self.SPAN)
        report = json.loads(run("simulate", str(tmp_path / "draft.yaml"), *self.SPAN, "--json").stdout)

        assert (0, 0, -4, -5) == (
            printed.exit_code,
            report["draft"]["people"],
            report["difference"]["people"],
            report["difference"]["runs"],
        )
        assert "nothing was sent" in printed.stdout

    @pytest.mark.parametrize("option", [("--from", "yesterday", "--to", "2026-11-03"), ("--from", "2026-11-02")])
    def test_a_wrong_time_is_a_usage_error(self, settings: Settings, folder: Path, option: tuple[str, ...]) -> None:
        assert 2 == run("simulate", str(folder / "journeys" / "welcome.yaml"), *option).exit_code

    def oracle(self, decider: DecisionEngine) -> list[dict[str, Any]]:
        """The decisions of these two days, by feeding the decider by hand."""
        rows = []
        start, stop = ms_of_text("2026-11-02T00:00:00.000Z"), ms_of_text("2026-11-04T00:00:00.000Z")
        for who in range(1, 6):
            someone = Person(person(who), new_profile(person(who)), {})
            theirs = [event for event in self.EVENTS if event["profile_id"] == person(who)]
            emits = []
            for event in sorted(theirs, key=lambda event: (event["received_at"], event["event_id"])):
                now = ms_of_text(event["received_at"])
                emits += decider.on_time(someone, now)
                join(someone.document, profile_of_event(event))
                emits += decider.on_event(someone, event, now)
            emits += decider.on_time(someone, stop - 1)
            rows += [emit.value for emit in emits if emit.topic == DECISIONS]
        return [row for row in rows if start <= ms_of_text(row["decided_at"]) < stop]


class TestWhy:
    @pytest.fixture
    async def decided(self, settings: Settings, database: Warehouse) -> str:
        """Ann, about whom the welcome journey has decided; her profile id."""
        event = signed_up(1, 0)
        async with Redis.from_url(settings.redis_url) as redis:
            await update(RedisProfileStore(redis, settings.redis_namespace), [event])
        ann = Person(person(1), new_profile(person(1)), {})
        join(ann.document, profile_of_event(event))
        rows = {DECISIONS: decision_rows, JOURNEY_EVENTS: journey_event_rows}
        for topic, value in load_decision_engine(settings).on_event(ann, event, ms_of_text(event["received_at"])):
            for table, row in rows[topic](value) if topic in rows else ():
                database.client.raw_insert(
                    table, insert_block=row, fmt="JSONEachRow", settings={"date_time_input_format": "best_effort"}
                )
        return person(1)

    def test_it_tells_the_story_in_words(self, decided: str) -> None:
        told = run("why", decided)

        assert 0 == told.exit_code, said(told)
        for part in ("Journey welcome", "Entered the journey", "message hello: Sent by e-mail", "waits until"):
            assert part in told.stdout

    def test_the_json_has_every_gate(self, decided: str) -> None:
        told = json.loads(run("why", decided, "--json").stdout)

        (row,) = told["decisions"]
        assert (decided, "sent", "email") == (told["profile_id"], row["outcome"], row["channel"])
        assert {"consent", "caps", "expiry"} <= {gate["gate"] for gate in row["gates"]}
        assert "journey_entered" in {event["kind"] for event in told["journey_events"]}

    def test_nobody_is_said_clearly(self, decided: str) -> None:
        assert (1, True) == (
            (told := run("why", "email:nobody@shop.example")).exit_code,
            "no person is known" in told.stderr,
        )


class TestShow:
    @pytest.fixture
    async def ann(self, settings: Settings, database: Warehouse) -> str:
        """Ann, who has signed up; her profile id."""
        database.client.command("TRUNCATE TABLE touchpoints")
        await asyncio.to_thread(database.store, signed_up(1, 0))
        async with Redis.from_url(settings.redis_url) as redis:
            await update(RedisProfileStore(redis, settings.redis_namespace), [signed_up(1, 0)])
        return person(1)

    def test_a_journey_is_drawn_with_its_state(self, settings: Settings) -> None:
        shown = run("show", "welcome").stdout

        assert "welcome: Welcomes members.\nrunning, version" in shown
        assert "enter   Signed Up, each time\n├─ hello  message hello by e-mail" in shown
        assert "did you mean welcome?" in said(run("show", "welcom"))

    def test_a_message_is_rendered_for_a_person_and_not_sent(self, ann: str, folder: Path) -> None:
        write(folder, templates__hello=HELLO.replace("<p>Hello</p>", "'<p>Hello {{ event.channel }}</p>'"))
        shown = run("preview", "welcome", "again", "--person", ann, "--json")
        (message,) = json.loads(shown.stdout)["messages"]

        assert ("email", "") == (message["channel"], message["error"])
        assert "Hello web" in json.dumps(message["rendered"])
        assert "no message step 7; there are again (hello), hello (hello)" in said(
            run("preview", "welcome", "7", "--person", ann)
        )
