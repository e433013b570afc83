"""`publish` against a real broker: every line arrives exactly once, in order, on the topic of its channel."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner, Result

from deploy.cli.main import app
from deploy.demo.simulator import Options, Simulation
from deploy.operations.provision import apply_topics
from deploy.operations.publish import KafkaNotReadyError, publish
from deploy.settings import Settings
from tests.support.builders import touchpoint
from tests.support.topic_reader import everything

pytestmark = pytest.mark.integration


@pytest.fixture
def topics(stack: Settings) -> Settings:
    """A deployment whose topics are there, and empty."""
    apply_topics(stack)
    return stack


def run(settings: Settings, monkeypatch: pytest.MonkeyPatch, *arguments: str, stdin: str = "") -> Result:
    """Run the command line on the test's own deployment."""
    monkeypatch.setattr("deploy.settings.settings", lambda: settings)
    return CliRunner().invoke(app, arguments, input=stdin)


def test_every_line_arrives_exactly_once(topics: Settings) -> None:
    lines = list(Simulation(Options(people=300, seed=5)).lines())
    outcome = publish(lines, topics)
    arrived = everything(topics)
    assert (len(lines), 0, 0) == (outcome.published, outcome.refused, outcome.failed)
    assert Counter(lines) == Counter(value for _, _, _, value in arrived)
    assert [] == [topic for topic, _, _, value in arrived if topic != f"touchpoints.{orjson.loads(value)['channel']}"]


def test_a_persons_events_on_a_channel_stay_in_order(topics: Settings) -> None:
    lines = list(Simulation(Options(people=100, seed=6)).lines())
    publish(lines, topics)
    place = {line: number for number, line in reversed(list(enumerate(lines)))}
    read: dict[tuple[str, bytes | None], list[int]] = defaultdict(list)
    partitions: dict[tuple[str, bytes | None], set[int]] = defaultdict(set)
    once = set()
    for topic, partition, key, value in everything(topics):
        if key is not None and value not in once:
            once.add(value)
            read[topic, key].append(place[value])
            partitions[topic, key].add(partition)
    assert [] == [places for places in read.values() if places != sorted(places)]
    assert {1} == {len(several) for several in partitions.values()}


def test_no_address_leaves_the_value(topics: Settings) -> None:
    publish([orjson.dumps(touchpoint(identifiers={"email": "ada@b.example"}))], topics)
    ((_, _, key, _),) = everything(topics)
    assert key is not None
    assert b"ada" not in key


def test_a_bad_line_is_named_and_the_rest_goes_on(topics: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    good = json.dumps(touchpoint())
    ended = run(topics, monkeypatch, "publish", "-", stdin=f'{good}\nnope\n{{"channel": "mars"}}\n\n{good}\n')
    assert 1 == ended.exit_code
    assert "line 2: not JSON: " in ended.stderr
    assert "line 3: channel: 'mars' is not known; add it to THROUGHLINE_CHANNELS" in ended.stderr
    assert [good.encode()] * 2 == [value for *_, value in everything(topics)]


def test_what_the_pipeline_is_to_judge_is_sent(topics: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = run(topics, monkeypatch, "publish", "-", stdin='{"channel": "web"}\n')
    assert (0, 1) == (ended.exit_code, len(everything(topics)))


def test_strict_sends_no_event_that_is_not_valid(topics: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = json.dumps(touchpoint(occurred_at="2026-11-01T10:00:00")) + "\n" + json.dumps(touchpoint()) + "\n"
    ended = run(topics, monkeypatch, "publish", "--strict", "-", stdin=lines)
    assert (1, 1) == (ended.exit_code, len(everything(topics)))
    assert "line 1: occurred_at" in ended.stderr


def test_a_line_that_the_client_may_not_send_is_counted(topics: Settings) -> None:
    outcome = publish([orjson.dumps(touchpoint(traits={"a": "x" * 2_000_000})), orjson.dumps(touchpoint())], topics)
    assert (1, 1) == (outcome.published, outcome.failed)
    assert outcome.problems[0].startswith("line 1: ")


def test_json_gives_the_numbers(topics: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text("".join(json.dumps(touchpoint()) + "\n" for _ in range(5)))
    ended = run(topics, monkeypatch, "publish", str(file), "--json")
    numbers = json.loads(ended.stdout)
    assert 0 == ended.exit_code, ended.stderr
    assert (5, 0, 0, []) == tuple(numbers[name] for name in ("published", "refused", "failed", "problems"))


def test_the_rate_is_kept(topics: Settings) -> None:
    outcome = publish((orjson.dumps(touchpoint()) for _ in range(300)), topics, rate=400)
    assert 300 == outcome.published
    assert 0.7 < outcome.seconds < 3


def test_the_simulation_goes_through_the_command_line(
    topics: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    events, spend, truth = (str(tmp_path / name) for name in ("events.jsonl", "spend.csv", "truth.jsonl"))
    options = ("--people", "20", "--days", "10", "--out", events, "--spend", spend, "--truth", truth)
    simulated = run(topics, monkeypatch, "simulate", *options)
    published = run(topics, monkeypatch, "publish", events)
    lines = Path(events).read_bytes().splitlines()
    assert (0, 0) == (simulated.exit_code, published.exit_code), simulated.stderr + published.stderr
    assert Counter(lines) == Counter(value for *_, value in everything(topics))
    assert (
        Path(spend).read_text().startswith("date,channel,source,campaign,creative,spend,currency,impressions,clicks\n")
    )
    assert {"person", "profiles", "shared"} == json.loads(Path(truth).read_text().splitlines()[0]).keys()


def test_missing_topics_are_named(stack: Settings) -> None:
    with pytest.raises(KafkaNotReadyError, match=r"no topic for web, app, .*: run `throughline topics apply`"):
        publish([orjson.dumps(touchpoint())], stack)


def test_no_broker_is_said_at_once(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = stack.model_copy(update={"kafka_bootstrap": "127.0.0.1:1"})
    ended = run(nowhere, monkeypatch, "publish", "-", stdin="{}\n")
    assert 1 == ended.exit_code
    assert "Kafka does not answer at 127.0.0.1:1" in ended.stderr
