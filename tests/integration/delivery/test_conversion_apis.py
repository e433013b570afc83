"""Destinations of conversions against a server that answers as each network documents."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from schemas.export.destinations import Google, Meta, Microsoft, TikTok, Webhook
from schemas.export.exports import ExportAnswer, ExportItem, ExportKind
from sinks.channels.conversion_apis import MetaConversions, MicrosoftConversions, TikTokConversions
from sinks.channels.conversion_webhook import ConversionWebhook
from sinks.channels.google_conversions import GoogleConversions
from sinks.channels.webhook import Destinations
from tests.integration.delivery.test_provider_apis import account

pytestmark = pytest.mark.integration

NOW = 1_790_000_000_000
Reply = tuple[int, Any]


@dataclass
class Network:
    """A server: what it got, and what it answers to each request."""

    url: str = ""
    answer: Callable[[str, Any], Reply] = lambda _path, _body: (200, {})
    got: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)
    retry_after: str = ""

    def bodies(self, path: str) -> list[Any]:
        return [body for where, _, body in self.got if path in where]


@pytest.fixture
async def network() -> AsyncIterator[Network]:
    found = Network()

    async def take(request: web.Request) -> web.Response:
        raw = await request.read()
        body = orjson.loads(raw) if request.content_type == "application/json" else raw
        if request.path == "/token":
            return web.json_response({"access_token": "google-token", "expires_in": 3600})
        found.got.append((request.path, {name.lower(): one for name, one in request.headers.items()}, body))
        status, answer = found.answer(request.path, body)
        headers = {"Retry-After": found.retry_after} if found.retry_after else {}
        if isinstance(answer, str):
            return web.Response(text=answer, status=status, headers=headers, content_type="text/html")
        return web.json_response(answer, status=status, headers=headers)

    app = web.Application()
    app.router.add_post("/{path:.*}", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield found
    await runner.cleanup()


def items(count: int, kind: ExportKind = "conversion", **body: Any) -> list[ExportItem]:
    return [ExportItem(str(number), kind, {"n": number, **body}) for number in range(count)]


async def sent(adapter: Any, batch: list[ExportItem]) -> list[ExportAnswer]:
    try:
        found: list[ExportAnswer] = await adapter.send(batch, NOW)
        return found
    finally:
        await adapter.close()


def outcomes(answers: list[ExportAnswer]) -> list[str]:
    return [one.outcome for one in answers]


def meta(network: Network) -> MetaConversions:
    return MetaConversions(Meta(pixel_id="12", test_event_code="T1", api=network.url), "EA-token")


def tiktok(network: Network) -> TikTokConversions:
    return TikTokConversions(TikTok(pixel_code="C4", api=network.url), "tt-token")


def microsoft(network: Network) -> MicrosoftConversions:
    return MicrosoftConversions(Microsoft(tag_id="34", api=network.url), "ms-token")


def meta_error(code: int, message: str = "no", **more: Any) -> Reply:
    return 400, {"error": {"message": message, "type": "OAuthException", "code": code, "fbtrace_id": "A", **more}}


async def test_meta_gets_a_batch_with_the_token_in_the_body_and_not_in_the_address(network: Network) -> None:
    network.answer = lambda *_: (200, {"events_received": 2, "messages": [], "fbtrace_id": "AbC"})
    answers = await sent(meta(network), items(2))

    assert [ExportAnswer("sent", "HTTP 200 AbC")] * 2 == answers
    [(path, _, body)] = network.got
    assert "/v24.0/12/events" == path
    assert {"data": [{"n": 0}, {"n": 1}], "access_token": "EA-token", "test_event_code": "T1"} == body


async def test_meta_refuses_a_whole_batch_for_one_bad_event_and_the_others_leave(network: Network) -> None:
    def answer(_: str, body: Any) -> Reply:
        if any(one["n"] == 3 for one in body["data"]):
            return meta_error(100, "Invalid parameter", error_user_msg="The timestamp is too old")
        return 200, {"events_received": len(body["data"])}

    network.answer = answer
    answers = await sent(meta(network), items(5))

    assert ["sent", "sent", "sent", "refused", "sent"] == outcomes(answers)
    assert "100: Invalid parameter The timestamp is too old" == answers[3].detail


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        pytest.param(meta_error(190), "unauthorised", id="the token has expired"),
        pytest.param(meta_error(200), "unauthorised", id="no permission"),
        pytest.param(meta_error(100, error_subcode=33), "unauthorised", id="no such data set"),
        pytest.param(meta_error(17), "later", id="too many calls"),
        pytest.param(meta_error(80004), "later", id="too many calls to the account"),
        pytest.param(meta_error(2, is_transient=True), "later", id="a fault of Meta"),
        pytest.param((503, {}), "later", id="down"),
    ],
)
async def test_errors_of_meta_that_are_of_no_event_hold_the_batch(network: Network, reply: Reply, outcome: str) -> None:
    network.answer = lambda *_: reply

    assert ([outcome] * 2, 1) == (outcomes(await sent(meta(network), items(2))), len(network.got))


async def test_the_pause_that_a_network_asks_for_is_told(network: Network) -> None:
    network.answer, network.retry_after = lambda *_: (429, {}), "30"

    assert [30_000] == [one.retry_after_ms for one in await sent(microsoft(network), items(1))]


async def test_a_network_that_cannot_be_reached_is_asked_later(network: Network) -> None:
    adapter = MetaConversions(Meta(pixel_id="1", api="http://127.0.0.1:9"), "t")

    assert ["later"] == outcomes(await sent(adapter, items(1)))


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (0, "sent"),
        (40002, "refused"),
        (40105, "unauthorised"),
        (40001, "unauthorised"),
        (40100, "later"),
        (50000, "later"),
    ],
)
async def test_tiktok_says_in_the_body_what_became_of_a_request(network: Network, code: int, outcome: str) -> None:
    network.answer = lambda *_: (200, {"code": code, "message": "words", "request_id": "r1"})
    [answer] = await sent(tiktok(network), items(1))

    assert (outcome, f"{code}: words r1") == (answer.outcome, answer.detail)
    [(path, headers, body)] = network.got
    assert ("/open_api/v1.3/event/track/", "tt-token") == (path, headers["access-token"])
    assert {"event_source": "web", "event_source_id": "C4", "data": [{"n": 0}]} == body


async def test_microsoft_takes_the_good_events_of_a_batch_and_names_the_others(network: Network) -> None:
    detail = {"index": 1, "propertyName": "userData.em", "errorMessage": "is no SHA-256"}
    network.answer = lambda *_: (200, {"eventsReceived": 2, "error": {"code": "BadRequest", "details": [detail]}})
    answers = await sent(microsoft(network), items(3))

    assert ["sent", "refused", "sent"] == outcomes(answers)
    assert "userData.em is no SHA-256" == answers[1].detail
    [(path, headers, _)] = network.got
    assert ("/v1/34/events", "Bearer ms-token") == (path, headers["authorization"])


async def test_an_answer_may_name_an_error_of_each_event_of_a_full_batch(network: Network) -> None:
    details = [{"index": place, "propertyName": "em", "errorMessage": "is no SHA-256 " * 10} for place in range(499)]
    network.answer = lambda *_: (200, {"eventsReceived": 1, "error": {"details": details}})

    assert [*["refused"] * 499, "sent"] == outcomes(await sent(microsoft(network), items(500)))


@pytest.mark.parametrize("of", [meta, tiktok, microsoft])
async def test_a_page_in_place_of_an_answer_is_none(network: Network, of: Callable[[Network], Any]) -> None:
    network.answer = lambda *_: (200, "<html>We will be back soon</html>")
    answers = await sent(of(network), items(2))

    assert [ExportAnswer("later", "HTTP 200: <html>We will be back soon</html>")] * 2 == answers


async def test_microsoft_that_took_nothing_gets_the_good_events_again(network: Network) -> None:
    def answer(_: str, body: Any) -> Reply:
        bad = [place for place, one in enumerate(body["data"]) if one["n"] == 0]
        return (400, {"error": {"details": [{"index": place} for place in bad]}}) if bad else (200, {})

    network.answer = answer

    assert ["refused", "sent", "sent"] == outcomes(await sent(microsoft(network), items(3)))


async def test_an_error_of_an_event_that_was_not_sent_is_asked_about_once_for_each_half(network: Network) -> None:
    network.answer = lambda *_: (400, {"error": {"details": [{"index": 7, "errorMessage": "is wrong"}]}})
    answers = await sent(microsoft(network), items(2))

    assert (["refused"] * 2, [2, 1, 1]) == (outcomes(answers), [len(body["data"]) for _, _, body in network.got])


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_credentials_that_are_refused_hold_the_batch(network: Network, status: int) -> None:
    network.answer = lambda *_: (status, {})

    assert ["unauthorised"] * 2 == outcomes(await sent(microsoft(network), items(2)))


@pytest.fixture
def google(network: Network, tmp_path: Path) -> GoogleConversions:
    file = account(tmp_path, network.url).service_account_file
    rules = Google(
        customer_id="77", login_customer_id="88", service_account_file=file, api=network.url, ads_api=network.url
    )
    return GoogleConversions(rules, "dev-token")


def violation(*fields: str) -> Reply:
    found = [{"field": one, "description": "is wrong", "reason": "INVALID_FORMAT"} for one in fields]
    kind = "type.googleapis.com/google.rpc.BadRequest"
    return 400, {
        "error": {"code": 400, "status": "INVALID_ARGUMENT", "details": [{"@type": kind, "fieldViolations": found}]}
    }


async def test_google_gets_events_with_their_actions_and_an_access_token(
    network: Network, google: GoogleConversions
) -> None:
    network.answer = lambda *_: (200, {"requestId": "req-1"})
    answers = await sent(google, items(2, destinationReferences=["5"]))

    assert [ExportAnswer("sent", "request req-1")] * 2 == answers
    [(path, headers, body)] = network.got
    assert ("/v1/events:ingest", "Bearer google-token", "HEX") == (path, headers["authorization"], body["encoding"])
    account = {"accountType": "GOOGLE_ADS"}
    assert [
        {
            "reference": "5",
            "operatingAccount": account | {"accountId": "77"},
            "loginAccount": account | {"accountId": "88"},
            "productDestinationId": "5",
        }
    ] == body["destinations"]


async def test_google_names_the_events_that_are_wrong_and_gets_the_others_again(
    network: Network, google: GoogleConversions
) -> None:
    def answer(_: str, body: Any) -> Reply:
        bad = [place for place, one in enumerate(body["events"]) if one["n"] == 1]
        return violation(*(f"events.events[{place}].currency" for place in bad)) if bad else (200, {})

    network.answer = answer
    answers = await sent(google, items(3, destinationReferences=["5"]))

    assert (["sent", "refused", "sent"], "events.events[1].currency: is wrong") == (
        outcomes(answers),
        answers[1].detail,
    )


async def test_an_account_that_google_does_not_know_refuses_no_event(
    network: Network, google: GoogleConversions
) -> None:
    network.answer = lambda *_: violation("destinations[0].operating_account")

    assert ["unauthorised"] * 2 == outcomes(await sent(google, items(2, destinationReferences=["5"])))


def failure(place: int, code: str, kind: str = "conversionAdjustmentUploadError") -> dict[str, Any]:
    path = [{"fieldName": "conversion_adjustments", "index": place}]
    return {"errorCode": {kind: code}, "message": "words", "location": {"fieldPathElements": path}}


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("internalError", "TRANSIENT_ERROR"),
        ("databaseError", "CONCURRENT_MODIFICATION"),
        ("quotaError", "RESOURCE_TEMPORARILY_EXHAUSTED"),
    ],
)
async def test_an_adjustment_that_google_could_not_store_just_now_is_sent_again(
    network: Network, google: GoogleConversions, kind: str, code: str
) -> None:
    failed = {"code": 3, "message": "words", "details": [{"errors": [failure(0, code, kind)]}]}
    network.answer = lambda *_: (200, {"partialFailureError": failed, "results": [{}, {}]})

    assert ["not_yet", "sent"] == outcomes(await sent(google, items(2, "value")))


async def test_a_failure_of_adjustments_that_google_does_not_name_is_found_by_halves(
    network: Network, google: GoogleConversions
) -> None:
    def answer(_: str, body: Any) -> Reply:
        bad = any(one["n"] == 1 for one in body["conversionAdjustments"])
        return 200, {"partialFailureError": {"code": 3, "message": "It is wrong."}} if bad else {"results": [{}]}

    network.answer = answer
    answers = await sent(google, items(3, "value"))

    assert (["sent", "refused", "sent"], "It is wrong.") == (outcomes(answers), answers[1].detail)


async def test_google_answers_each_adjustment(network: Network, google: GoogleConversions) -> None:
    errors = [
        failure(1, "TOO_RECENT_CONVERSION"),
        failure(2, "CONVERSION_EXPIRED"),
        failure(3, "CONVERSION_ALREADY_RETRACTED"),
    ]
    failed = {"code": 3, "message": "Multiple errors", "details": [{"errors": errors}]}
    network.answer = lambda *_: (200, {"partialFailureError": failed, "results": [{}, {}, {}, {}]})
    answers = await sent(google, items(4, "value"))

    assert ["sent", "not_yet", "refused", "sent"] == outcomes(answers)
    [(path, headers, body)] = network.got
    assert "/v22/customers/77:uploadConversionAdjustments" == path
    assert ("dev-token", "88", True) == (
        headers["developer-token"], headers["login-customer-id"], body["partialFailure"],
    )  # fmt: skip


async def test_a_version_that_google_has_switched_off_refuses_no_adjustment(
    network: Network, google: GoogleConversions
) -> None:
    error = {"errorCode": {"requestError": "UNSUPPORTED_VERSION"}, "message": "Version v22 is deprecated."}
    network.answer = lambda *_: (400, {"error": {"code": 400, "details": [{"errors": [error]}]}})
    answers = await sent(google, items(2, "value"))

    assert (["unauthorised"] * 2, 1) == (outcomes(answers), len(network.got))
    assert "Version v22 is deprecated." in answers[0].detail


async def test_conversions_and_adjustments_of_one_batch_get_their_own_answers(
    network: Network, google: GoogleConversions
) -> None:
    network.answer = lambda path, _: (200, {"requestId": "r1"}) if "ingest" in path else (503, {})
    [conversion] = items(1, destinationReferences=["5"])
    [adjustment] = items(1, "value")

    assert ["later", "sent", "later"] == outcomes(await sent(google, [adjustment, conversion, adjustment]))


async def test_a_system_of_ones_own_gets_signed_webhooks_with_one_id(network: Network) -> None:
    rules = Webhook(url=f"{network.url}/hook")
    allowed = Destinations(["127.0.0.1"], ["127.0.0.0/8"])
    network.answer = lambda _path, body: (422 if body["data"]["n"] == 1 else 200, {})
    answers = await sent(ConversionWebhook(rules, ["key"], allowed), items(3, destination="d", goal="purchase"))

    assert ["sent", "refused", "sent"] == outcomes(answers)
    assert {"d:purchase:0", "d:purchase:1", "d:purchase:2"} == {headers["webhook-id"] for _, headers, _ in network.got}
    assert {"conversion.exported"} == {body["type"] for _, _, body in network.got}
    assert all(re.match("v1,", headers["webhook-signature"]) for _, headers, _ in network.got)


async def test_a_webhook_to_a_host_that_is_not_allowed_pauses_the_destination(network: Network) -> None:
    adapter = ConversionWebhook(Webhook(url=f"{network.url}/hook"), ["key"], Destinations([]))

    assert ["unauthorised"] == outcomes(await sent(adapter, items(1, destination="d", goal="purchase")))
