"""What is in force: published, refused, paused, lost with Redis and restored; and who decides by what meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError
from redis.asyncio import Redis

from deploy.operations import doctor, publication
from deploy.operations.definition_bundle import Bundle
from deploy.operations.definition_files import DefinitionError
from deploy.operations.definitions_report import read_market_rows
from deploy.operations.provision import migrate
from deploy.operations.publication import NotPublishedError, Publication, state_in_force
from deploy.settings import Settings
from deploy.workers.followed_definitions import FollowedDefinitions, follow_decisions
from processors.decisions.engine import DecisionEngine
from processors.profiles.stage import DecisionRules, ProfileUpdate
from schemas.journeys.control import DefinitionChange, DefinitionsState
from schemas.time import clock_ms, text_of_ms
from schemas.topics import DECISIONS
from sinks.clickhouse.client import connect
from sinks.clickhouse.definitions import read_changes
from sinks.redis.definitions import RedisDefinitions
from sinks.redis.keys import patterns
from sinks.redis.outbox import RedisProfileOutbox
from sinks.redis.profiles import RedisProfileStore
from tests.support.profiles import resolved
from tests.support.warehouse import Warehouse

pytestmark = pytest.mark.integration

TEMPLATE = 'description: Hello.\nchannels: {email: {en: {subject: "S", html: "<p>H</p>", text: "H"}}}\n'
YES = {"marketing": True, "channels": {"email": True}}


def journey(name: str = "hello", step: str = "{message: hello, channel: email}") -> str:
    return f"name: {name}\ndescription: D.\nentry: {{event: Signed Up}}\nsteps: [{step}]\n"


class Office:
    """A deployment's folder, and what is in force."""

    def __init__(self, settings: Settings, redis: Redis) -> None:
        self.settings, self.redis = settings, redis
        self.store = RedisDefinitions(redis, settings.redis_namespace)
        self.publication = Publication(settings, self.store, "mia", clock_ms)
        self.workers: list[FollowedDefinitions[DecisionEngine, DecisionRules]] = []

    def writes(self, name: str = "hello", text: str = "") -> None:
        (self.settings.definitions_dir / "journeys" / f"{name}.yaml").write_text(text or journey(name))

    def worker(self) -> FollowedDefinitions[DecisionEngine, DecisionRules]:
        return follow_decisions(self.settings, self.store, f"w{id(self)}", clock_ms)

    def changes(self) -> list[str]:
        client = connect(self.settings.clickhouse_url, self.settings.clickhouse_database)
        try:
            return [f"{one.kind} {' '.join(one.journeys)}".strip() for one in read_changes(client)]
        finally:
            client.close()

    def markets(self) -> list[str]:
        """The markets of reports."""
        client = connect(self.settings.clickhouse_url, self.settings.clickhouse_database)
        try:
            return [name for (name,) in client.query("SELECT market FROM v_markets ORDER BY market").result_rows]
        finally:
            client.close()


@pytest.fixture
async def office(tables: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Office]:
    monkeypatch.setenv("THROUGHLINE_HOME", str(tmp_path / "home"))
    folder = tmp_path / "definitions"
    for name in ("segments", "journeys", "templates"):
        (folder / name).mkdir(parents=True)
    (folder / "policy.yaml").write_text('holdout: {share: 0}\nquiet_hours: {"*": null}\n')
    (folder / "delivery.yaml").write_text("sender: Shop <news@shop.example>\n")
    (folder / "markets.yaml").write_text("default: all\nmarkets: {all: {}}\n")
    (folder / "templates" / "hello.yaml").write_text(TEMPLATE)
    settings = tables.settings.model_copy(
        update={
            "redis_namespace": f"{tables.settings.redis_namespace}-{tmp_path.name}",
            "definitions_dir": folder,
            "policy_file": folder / "policy.yaml",
            "delivery_file": folder / "delivery.yaml",
            "markets_file": folder / "markets.yaml",
        }
    )
    async with Redis.from_url(settings.redis_url) as redis:
        yield Office(settings, redis)


def default_market(rules: DecisionRules) -> str:
    assert rules.decider is not None
    return rules.decider.markets.default


def versions(rules: DecisionRules) -> list[str]:
    engine: Any = rules.decider
    return sorted(one.definition.name for one in engine.journeys._journeys.values())


async def test_a_worker_takes_up_what_is_published_and_keeps_it_where_the_next_version_is_bad(office: Office) -> None:
    worker = office.worker()

    assert [] == versions(await worker.current())

    office.writes()
    published = await office.publication.publish()

    assert ["hello"] == versions(await worker.current(newest=True))

    bad = Bundle({**(await office.publication._bundle(published.state.version)).files, "journeys/bad.yaml": "name: ?"})
    following = DefinitionsState(published.state.number + 1, bad.version)
    await office.store.change(published.state.number, following, bad.files)
    rules = await worker.current(newest=True)

    assert (["hello"], following.number) == (versions(rules), rules.number)
    (report,) = await office.store.reports(0)
    assert published.state.version == report["version"]
    assert f"{bad.version}: " in report["refused"]
    assert "bad.yaml" in report["refused"]
    (check,) = await asyncio.to_thread(doctor._definitions, office.settings)
    assert (False, True) == (check.ok, check.found.startswith("1 of 1 workers refuse what is in force: profile: "))


async def test_markets_are_published_rolled_back_and_reported_with_the_rest(office: Office) -> None:
    worker, table = office.worker(), office.settings.markets_file
    await office.publication.publish()
    table.write_text("default: rest\nmarkets: {rest: {}, south: {countries: [IT], time_zone: Europe/Rome}}\n")
    before = await worker.current(newest=True)

    changed = await office.publication.publish()
    after = await worker.current(newest=True)

    assert ["all", "rest"] == [default_market(rules) for rules in (before, after)]
    assert changed.difference is not None
    assert (["table of markets changed"], True) == (changed.difference.lines(), changed.recorded)
    assert ["rest", "south"] == office.markets()
    table.write_text("default: nowhere\nmarkets: {rest: {}}\n")
    with pytest.raises(DefinitionError, match=r"markets\.yaml"):
        await office.publication.publish()
    await office.publication.roll_back()
    assert "all" == default_market(await worker.current(newest=True))
    assert ["all"] == office.markets()


async def test_markets_are_listed_as_they_are_in_force_and_as_the_file_has_them(office: Office) -> None:
    table = office.settings.markets_file
    table.write_text("default: rest\nmarkets: {rest: {}, south: {countries: [IT]}, north: {countries: [SE]}}\n")

    async def listed() -> list[tuple[str, str, str]]:
        rows = await read_market_rows(office.settings)
        return [(row["market"], row["state"], " ".join(row["countries"])) for row in rows]

    before = await listed()
    await office.publication.publish()
    published = await listed()
    table.write_text("default: rest\nmarkets: {rest: {}, south: {countries: [IT, ES]}, west: {countries: [PT]}}\n")

    same = [("rest", "in force", ""), ("south", "in force", "IT"), ("north", "in force", "SE")]
    assert same == before == published
    assert [
        ("rest", "in force", ""),
        ("south", "in force, not as in the file", "IT"),
        ("south", "in the file, not published", "IT ES"),
        ("north", "in force, not as in the file", "SE"),
        ("west", "in the file, not published", "PT"),
    ] == await listed()


async def test_markets_of_the_file_are_listed_where_redis_does_not_answer(office: Office) -> None:
    alone = office.settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})

    rows = await read_market_rows(alone)

    assert [("all", "in the file")] == [(row["market"], row["state"]) for row in rows]


async def test_files_with_errors_are_refused_with_all_of_them_and_nothing_changes(office: Office) -> None:
    office.writes("one", journey("one", "{message: missing, channel: email}"))
    office.writes("two", "name: two\n")
    (office.settings.definitions_dir / "templates" / "hello.yaml").write_text(
        TEMPLATE.replace('"H"', '"{{ nothing }}"')
    )

    with pytest.raises(DefinitionError) as raised:
        await office.publication.publish()

    assert "two.yaml" in str(raised.value)
    assert DefinitionsState() == await state_in_force(office.settings, office.store)
    assert [] == office.changes()


async def test_a_journey_alone_is_published_and_rolled_back_and_the_others_stay(office: Office) -> None:
    office.writes("one")
    office.writes("two")
    first = (await office.publication.publish()).state.version
    office.writes("one", journey("one", "{exit: done}"))
    office.writes("two", journey("two", "{exit: done}"))
    changed = await office.publication.publish(["one"])

    assert changed.difference is not None
    assert ["journeys changed: one"] == changed.difference.lines()

    back = await office.publication.roll_back(["one"])

    assert first == back.state.version
    assert ["rollback one", "publish one", "publish"] == office.changes()
    with pytest.raises(NotPublishedError, match="no such version"):
        await office.publication.roll_back(version="123")


async def test_two_who_change_at_once_both_take_effect(office: Office) -> None:
    for name in ("one", "two", "three"):
        office.writes(name)
    await office.publication.publish()
    await asyncio.gather(*(office.publication.control("pause", [name]) for name in ("one", "two", "three")))
    state = await state_in_force(office.settings, office.store)

    assert {"one": "paused", "two": "paused", "three": "paused"} == {
        name: one.state for name, one in state.journeys.items()
    }
    assert 4 == state.number


async def test_what_is_in_force_survives_the_loss_of_redis(office: Office) -> None:
    office.writes("one")
    office.writes("two")
    await office.publication.publish()
    await office.publication.control("pause", ["one"])
    stopped = await office.publication.stop(["two"])
    worker = office.worker()
    for pattern in patterns(office.settings.redis_namespace):
        async for key in office.redis.scan_iter(match=pattern):
            await office.redis.delete(key)
    (office.settings.definitions_dir / "journeys" / "one.yaml").write_text("no longer valid")
    rules = await worker.current(newest=True)

    assert (["one", "two"], stopped.state.number) == (versions(rules), rules.number)
    assert stopped.state == await state_in_force(office.settings, office.store)
    assert ["one", "two"] == versions(await office.worker().current())


async def test_a_stopped_journey_is_not_paused_and_starts_again_when_it_is_published_by_name(office: Office) -> None:
    office.writes()
    await office.publication.publish()
    await office.publication.stop(["hello"])
    with pytest.raises(NotPublishedError, match="stopped already"):
        await office.publication.control("pause", ["hello"])
    with pytest.raises(NotPublishedError, match=r"helo: not in force; there are hello"):
        await office.publication.control("pause", ["helo"])
    await office.publication.publish()

    assert "stopped" == (await state_in_force(office.settings, office.store)).journeys["hello"].state

    started = await office.publication.publish(["hello"])

    assert "running" == started.state.journeys["hello"].state


async def test_a_decision_that_was_made_before_a_pause_is_not_written_after_it(office: Office) -> None:
    office.writes()
    await office.publication.publish()
    profiles = RedisProfileStore(office.redis, office.settings.redis_namespace)
    outbox = RedisProfileOutbox(office.redis, office.settings.redis_namespace)

    class Slow(RedisProfileStore):
        """Pauses the journey between the decision and its write."""

        async def write(self, changes: Any, definitions: int | None = None) -> list[str]:
            if not (await state_in_force(office.settings, office.store)).journeys:
                await office.publication.control("pause", ["hello"])
            return await profiles.write(changes, definitions)

    update = ProfileUpdate(Slow(office.redis, office.settings.redis_namespace), rules=office.worker())
    address = [{"type": "email", "value": "ann@shop.example"}]
    now = text_of_ms(clock_ms())
    event = {**resolved("Signed Up", occurred_at=now, identifiers=address, consent=YES), "received_at": now}
    updated = await update([event])

    assert (1, 1) == (updated.applied, updated.conflicts)
    rows = [one.value for _, one in await outbox.pending(100) if one.topic == DECISIONS]
    assert 1 == len(rows)
    assert b'"paused"' in rows[0]

    # Somebody who died on the way has resumed it: the next worker to look lets it go on.
    await office.publication.control("resume", ["hello"])
    for _ in range(2):  # the first one may learn of it by being refused
        await update.fire(await profiles.due(clock_ms(), 10), clock_ms())

    assert 2 == len([one for _, one in await outbox.pending(100) if one.topic == DECISIONS])


async def test_a_worker_waits_while_clickhouse_cannot_answer_what_was_in_force(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.writes()
    published = await office.publication.publish()
    worker = office.worker()
    await office.redis.delete(f"{{{office.settings.redis_namespace}}}:definitions")
    answers = iter([DatabaseError("Code: 241. MEMORY_LIMIT_EXCEEDED"), OSError("connection reset")])

    def read(client: Any) -> list[DefinitionChange]:
        if (error := next(answers, None)) is not None:
            raise error
        return read_changes(client)

    monkeypatch.setattr(publication, "read_changes", read)
    rules = await worker.current(newest=True)

    assert (["hello"], published.state.number) == (versions(rules), rules.number)


async def test_migrate_publishes_the_rules_in_force_whatever_the_folder_has_since(
    office: Office, tables: Warehouse
) -> None:
    traits = office.settings.definitions_dir / "segments" / "traits.yaml"
    traits.write_text("rfm: {frequency: [3, 5, 7, 9]}\n")
    await office.publication.publish()
    traits.write_text("rfm: {frequency: [4, 6, 8, 10]}\n")

    await asyncio.to_thread(migrate, office.settings)

    assert [([3.0, 5.0, 7.0, 9.0],)] == tables.rows("SELECT argMax(frequency, changed_at) FROM rfm_settings")
