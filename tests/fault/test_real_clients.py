"""Seven real clients send 1,000 events each, the collector is killed three times: what it acknowledged is stored once.

The clients are what producers install: no adapter of ours is between them and the collector. Some give up by design
while a server is away for longer than their retries last, so what counts is what the collector has acknowledged.
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from deploy.settings import Settings
from tests.support.browser import Shop, visitor
from tests.support.collector import RunningCollector, collector
from tests.support.packages import java_packages, npm_packages
from tests.support.pipeline import Pipeline

pytestmark = [pytest.mark.fault, pytest.mark.timeout(600), pytest.mark.timed]

EVENTS = 1_000
PAUSE_MS = 20
KILLS = 3
UP_S = 5.0
AWAY_S = 1.0
GIVES_UP = frozenset({"rudderstack-node"})
"""It tries a batch for a few seconds only, so a slow machine decides how many batches outlast a start."""

NPM = (
    "@segment/analytics-next@1.84.3",
    "@rudderstack/analytics-js@3.34.1",
    "@segment/analytics-node@2.2.1",
    "@rudderstack/rudder-sdk-node@3.0.13",
)
MAVEN = ("com.segment.analytics.java:analytics:3.5.4", "org.apache.groovy:groovy:4.0.28")

SEGMENT_NODE = """
const { Analytics } = require('@segment/analytics-node')
const [url, key, mark, count, pause] = process.argv.slice(2)
const options = { writeKey: key, host: url, path: '/v1/batch', flushAt: 20, flushInterval: 200, maxRetries: 100 }
const client = new Analytics(options)
client.on('error', () => {})
;(async () => {
  for (let n = 0; n < +count; n++) {
    const messageId = `${mark}-${n}`
    const call = { event: 'Seen', userId: `${mark}-u${n % 20}`, messageId }
    client.track(call, error => { if (!error) console.log(messageId) })
    await new Promise(done => setTimeout(done, +pause))
  }
  await client.closeAndFlush({ timeout: 60000 })
})()
"""

RUDDER_NODE = """
const Analytics = require('@rudderstack/rudder-sdk-node')
const [url, key, mark, count, pause] = process.argv.slice(2)
process.on('unhandledRejection', () => {})
const client = new Analytics(key, { dataPlaneUrl: url, flushAt: 20, flushInterval: 200, gzip: true })
;(async () => {
  for (let n = 0; n < +count; n++) {
    const messageId = `${mark}-${n}`
    const call = { event: 'Seen', userId: `${mark}-u${n % 20}`, messageId }
    client.track(call, error => { if (!error) console.log(messageId) })
    await new Promise(done => setTimeout(done, +pause))
  }
  await new Promise(done => client.flush(() => done()))
  setTimeout(() => process.exit(0), 8000)
})()
"""

SEGMENT_JAVA = """
import com.segment.analytics.Analytics
import com.segment.analytics.Callback
import com.segment.analytics.messages.Message
import com.segment.analytics.messages.TrackMessage
import java.util.concurrent.CountDownLatch
import java.util.concurrent.TimeUnit

def (url, key, mark, count, pause) = args as List
def answered = new CountDownLatch(count as int)
def client = Analytics.builder(key).endpoint(url).flushQueueSize(20).flushInterval(1000, TimeUnit.MILLISECONDS)
  .retries(1000).callback(new Callback() {
    void success(Message message) { synchronized (System.out) { println message.messageId() }; answered.countDown() }
    void failure(Message message, Throwable reason) { System.err.println(reason); answered.countDown() }
  }).build()
(0..<(count as int)).each { n ->
  client.enqueue(TrackMessage.builder("Seen").userId("$mark-u${n % 20}".toString()).messageId("$mark-$n".toString()))
  Thread.sleep(pause as long)
}
client.flush()
answered.await(150, TimeUnit.SECONDS) // after a failure this client waits 15 s, then 30 s, and all that follows with it
client.shutdown()
System.exit(0)
"""

PAGE = {
    "segment-web": """<script src="/segment/index.js"></script><script>
window.analytics = AnalyticsNext.AnalyticsBrowser.load({writeKey: "web-key", cdnURL: "ADDRESS"})</script>""",
    "rudderstack-web": """<script src="/rudderstack/index.js"></script><script>
window.analytics = new rudderanalytics.RudderAnalytics()
analytics.load("web-key", "ADDRESS", {configUrl: "ADDRESS", plugins: []})</script>""",
}


Run = Callable[[RunningCollector, threading.Barrier], set[str]]
"""Waits at the barrier when it is ready, sends the events, and returns the ids of those that were acknowledged."""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The clients of npm and that of Maven Central, with Groovy to write its program in, which needs no compiler."""
    with ThreadPoolExecutor() as threads:  # each waits for the other's registry else
        modules = threads.submit(npm_packages, tmp_path_factory.mktemp("npm"), *NPM)
        jars = threads.submit(java_packages, tmp_path_factory.mktemp("maven"), *MAVEN)
        return modules.result(), jars.result()


@pytest.fixture
def running(stack: Settings, tmp_path: Path) -> Iterator[tuple[Pipeline, RunningCollector]]:
    """The pipeline with a collector before it."""
    with Pipeline(stack, tmp_path) as pipeline, collector(stack, tmp_path) as service:
        yield pipeline, service


def node(modules: Path, mark: str, program: str) -> Run:
    def run(service: RunningCollector, begun: threading.Barrier) -> set[str]:
        file = modules.parent / f"{mark}.js"
        file.write_text(program, "utf-8")
        begun.wait(180)
        return _acknowledged(["node", str(file)], service, mark)

    return run


def java(jars: Path, mark: str) -> Run:
    def run(service: RunningCollector, begun: threading.Barrier) -> set[str]:
        file = jars.parent / "client.groovy"
        file.write_text(SEGMENT_JAVA, "utf-8")
        begun.wait(180)
        return _acknowledged(["java", "-Xmx256m", "-cp", f"{jars}/*", "groovy.ui.GroovyMain", str(file)], service, mark)

    return run


def _acknowledged(command: list[str], service: RunningCollector, mark: str) -> set[str]:
    arguments = [service.url, "server-key", mark, str(EVENTS), str(PAUSE_MS)]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=240, check=False)
    assert 0 == done.returncode, done.stderr[-2000:]
    return {line for line in done.stdout.split() if line.startswith(f"{mark}-")}


def python(mark: str, package: str) -> Run:
    def run(service: RunningCollector, begun: threading.Barrier) -> set[str]:
        if package == "segment":
            from segment.analytics.client import Client as Sdk
        else:
            from rudderstack.analytics.client import Client as Sdk
        failures: list[str] = []
        client = Sdk(
            "server-key", host=service.url, upload_size=20, upload_interval=0.2, timeout=5,
            on_error=lambda _, batch: failures.extend(one["messageId"] for one in batch),
        )  # fmt: skip
        begun.wait(180)
        for number in range(EVENTS):
            client.track(f"{mark}-u{number % 20}", "Seen", message_id=f"{mark}-{number}")
            time.sleep(PAUSE_MS / 1000)
        client.flush()
        client.join()
        return {f"{mark}-{number}" for number in range(EVENTS)} - set(failures)

    return run


def browser(shop: Shop, mark: str, profile: Path) -> Run:
    def run(service: RunningCollector, begun: threading.Barrier) -> set[str]:
        shop.pages[f"{mark}.example/"] = PAGE[mark].replace("ADDRESS", service.url)
        with visitor(shop, profile) as person:
            person.page.goto(f"http://{mark}.example/")
            person.page.evaluate(f"void analytics.identify('{mark}-u0')")
            person.wait_for(1, 120)
            begun.wait(180)
            person.page.evaluate(
                f"""async () => {{ for (let n = 0; n < {EVENTS}; n++) {{
                    analytics.track('Seen', {{number: n}})
                    await new Promise(done => setTimeout(done, {PAUSE_MS})) }} }}"""
            )
            person.wait_until_quiet(EVENTS + 1)
            assert {f"{mark}.example", service.url.removeprefix("http://")} == person.hosts
            return person.acknowledged

    return run


def test_what_seven_clients_had_acknowledged_is_stored_once_through_three_kills(
    packages: tuple[Path, Path], running: tuple[Pipeline, RunningCollector], tmp_path: Path
) -> None:
    (modules, jars), (pipeline, service) = packages, running
    shop = Shop(
        {
            "segment": modules / "@segment/analytics-next/dist/umd",
            "rudderstack": modules / "@rudderstack/analytics-js/dist/npm/legacy/bundled/umd",
        }
    )
    clients = {
        "segment-web": browser(shop, "segment-web", tmp_path / "segment"),
        "rudderstack-web": browser(shop, "rudderstack-web", tmp_path / "rudderstack"),
        "segment-node": node(modules, "segment-node", SEGMENT_NODE),
        "rudderstack-node": node(modules, "rudderstack-node", RUDDER_NODE),
        "segment-java": java(jars, "segment-java"),
        "segment-python": python("segment-python", "segment"),
        "rudderstack-python": python("rudderstack-python", "rudderstack"),
    }

    begun = threading.Barrier(len(clients) + 1)
    with ThreadPoolExecutor(len(clients)) as threads:
        races = {mark: threads.submit(run, service, begun) for mark, run in clients.items()}
        _wait(begun, races.values())
        _kill_three_times(service)
        acknowledged = {mark: race.result(300) for mark, race in races.items()}
    shop.stop()
    pipeline.drain()

    rows = Counter(event_id for (event_id,) in pipeline.rows("SELECT event_id FROM touchpoints FINAL"))
    lost = {mark: len(ids - rows.keys()) for mark, ids in acknowledged.items()}
    assert dict.fromkeys(acknowledged, 0) == lost
    assert {1} == set(rows.values())
    least = {mark: EVENTS / (10 if mark in GIVES_UP else 2) for mark in acknowledged}
    assert {} == {mark: len(ids) for mark, ids in acknowledged.items() if len(ids) < least[mark]}


def _wait(begun: threading.Barrier, races: Iterable[Future[set[str]]]) -> None:
    """Wait until every client is ready; a client that failed before says why."""
    try:
        begun.wait(180)
    except threading.BrokenBarrierError:
        for race in races:
            if race.done() and not isinstance(race.exception(), threading.BrokenBarrierError):
                race.result()
        raise


def _kill_three_times(service: RunningCollector) -> None:
    """Each time after it took events for a while, however long it needs to start on this machine."""
    for _ in range(KILLS):
        time.sleep(UP_S)
        service.process.kill()
        time.sleep(AWAY_S)
        service.start()
