"""What the SDKs of others ask of a collector, by paths and headers of their own, is answered and gives no rights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deploy.settings import Settings
from tests.support.collector import Ids, RunningCollector, collector, stored, track

pytestmark = pytest.mark.integration

PAGE = {"Origin": "https://shop.example"}


@pytest.mark.parametrize(
    ("asked", "allowed"),
    [
        ("authorization,content-type,anonymousid,sentat", "authorization,content-type,anonymousid,sentat"),
        ("rsa-retry-attempt, rsa-since-first-attempt", "rsa-retry-attempt, rsa-since-first-attempt"),
        ("x-of-tomorrows-sdk", "x-of-tomorrows-sdk"),
        (None, "content-type"),
        ("x: y", "content-type"),
        ("a" * 65, "content-type"),
        (",".join(["x"] * 33), "content-type"),
    ],
)
def test_a_preflight_allows_the_headers_that_an_sdk_asks_for_but_no_credentials(
    service: RunningCollector, asked: str | None, allowed: str
) -> None:
    headers = {**PAGE, "Access-Control-Request-Method": "POST"}
    answer = service.request(
        "OPTIONS", "/v1/track", None, headers if asked is None else {**headers, "Access-Control-Request-Headers": asked}
    )

    assert (204, PAGE["Origin"]) == (answer.status, answer.headers["Access-Control-Allow-Origin"])
    assert allowed in answer.headers["Access-Control-Allow-Headers"]
    assert "Access-Control-Allow-Credentials" not in answer.headers
    assert "Access-Control-Request-Headers, Origin" == answer.headers["Vary"]


def test_a_preflight_of_a_page_that_no_source_knows_is_not_allowed(place: Settings, tmp_path: Path) -> None:
    sources = tmp_path / "sources.yaml"
    sources.write_text(
        "sources:\n  web: {channel: web, kind: browser, origins: ['https://shop.example']}\n  server: {channel: api}\n"
    )
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "sentat"}
    with collector(place, tmp_path, sources_file=str(sources)) as service:
        known, other = (
            service.request("OPTIONS", "/v1/track", None, {**asked, "Origin": origin})
            for origin in (PAGE["Origin"], "https://other.example")
        )

    assert PAGE["Origin"] == known.headers["Access-Control-Allow-Origin"]
    assert "Access-Control-Allow-Origin" not in other.headers


@pytest.mark.parametrize(
    "path", ["/v1/import/", "/v1/batch/", "/v1/b/", "//v1/batch", "/beacon/v1/batch", "/beacon/v1/batch/"]
)
def test_a_slash_too_many_and_the_paths_of_other_sdks_lead_to_the_same_place(
    place: Settings, service: RunningCollector, ids: Ids, path: str
) -> None:
    one = ids()
    answer = service.post(
        f"{path}?writeKey=web-key", {"batch": [track(one)]}, "", **PAGE, **{"Content-Type": "text/plain;charset=UTF-8"}
    )

    assert (200, 1) == (answer.status, answer.body.get("accepted"))
    assert [one] == [event["event_id"] for event in stored(place, one)]


@pytest.mark.parametrize("path", ["/v1/track/", "//v1/track", "/v1/t/"])
def test_a_single_call_may_have_a_slash_too_many(service: RunningCollector, ids: Ids, path: str) -> None:
    assert 200 == service.post(path, track(ids())).status
    assert 404 == service.post("/v1/track/more", track(ids())).status
    assert 401 == service.post(path, track(ids()), "other").status


def test_sdks_learn_that_they_report_to_nobody_but_the_collector(service: RunningCollector) -> None:
    segment = service.get("/v1/projects/web-key/settings")
    rudder = [
        service.get(path, **PAGE)
        for path in ("/sourceConfig?writeKey=web-key", "/sourceConfig/?writeKey=web-key&p=npm")
    ]
    unknown = [service.get(path) for path in ("/sourceConfig?writeKey=other", "/sourceConfig")]

    assert {"sampleRate": 0} == segment.body["metrics"]
    assert [200, 200, 401, 401] == [answer.status for answer in (*rudder, *unknown)]
    source = rudder[0].body["source"]
    assert ("web", True, [], "web-key") == tuple(source[name] for name in ("id", "enabled", "destinations", "writeKey"))
    assert {False} == {one["enabled"] for one in source["config"]["statsCollection"].values()}


def test_settings_name_the_host_that_the_page_has_asked_and_a_proxys_only_with_the_setting(
    place: Settings, service: RunningCollector, tmp_path: Path
) -> None:
    forwarded = {"X-Forwarded-Host": "events.shop.example, inner", "X-Forwarded-Proto": "https"}
    direct = service.get("/v1/projects/web-key/settings", **forwarded)
    with collector(place, tmp_path, collector_trusts_proxy="true") as behind:
        proxied = behind.get("/v1/projects/web-key/settings", **forwarded)

    def address(answer: Any) -> tuple[str, str]:
        found = answer.body["integrations"]["Segment.io"]
        return found["protocol"], found["apiHost"]

    assert ("http", service.url.removeprefix("http://") + "/v1") == address(direct)
    assert ("https", "events.shop.example/v1") == address(proxied)
    assert {"no-store"} == {answer.headers["Cache-Control"] for answer in (direct, proxied)}
