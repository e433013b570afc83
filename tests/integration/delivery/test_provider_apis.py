"""Providers' APIs against a local server that answers as their documentation says: what is sent, and what follows."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from aiohttp import web
from joserfc import jwt
from joserfc.jwk import RSAKey

from deploy.local.ports import free_port
from schemas.delivery.outbound import OutboundMessage
from schemas.delivery.providers import (
    AmazonSes,
    FirebaseMessaging,
    Messenger,
    Postmark,
    Twilio,
    WhatsAppCloud,
)
from schemas.delivery.templates import Rendered
from sinks.channels.email_apis import PostmarkAdapter, SesAdapter, signing_key
from sinks.channels.firebase import FirebaseAdapter
from sinks.channels.text_apis import MessengerAdapter, TelegramAdapter, TwilioAdapter, WhatsAppCloudAdapter

pytestmark = pytest.mark.integration

NOW = 1_795_342_530_000
SENDER = "Shop <news@shop.example>"
SECRET = "a secret key"
KEY = RSAKey.generate_key(2048)


@dataclass
class Provider:
    """A provider's server: what it was asked, and its next answers."""

    port: int = 0
    answers: list[tuple[int, Any, dict[str, str]]] = field(default_factory=list)
    got: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def says(self, status: int, body: Any, **headers: str) -> None:
        self.answers.append((status, body, {name.replace("_", "-"): value for name, value in headers.items()}))


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    found = Provider()

    async def take(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if request.path == "/token":  # as Google's: a signed assertion for an access token
            grant = dict(parse_qsl(body.decode()))
            claims = jwt.decode(grant["assertion"], KEY).claims
            assert ("robot@shop.example", NOW // 1000) == (claims["iss"], claims["iat"])
            return web.json_response({"access_token": "an access token", "expires_in": 3599})
        found.got.append((request.path, {name.lower(): value for name, value in request.headers.items()}, body))
        status, answer, headers = found.answers.pop(0)
        if status == 0:
            assert request.transport is not None
            request.transport.abort()
        return web.json_response(answer, status=status or 200, headers=headers)

    app = web.Application()
    app.router.add_post("/{path:.*}", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.port = runner.addresses[0][1]
    yield found
    await runner.cleanup()


def account(folder: Path, url: str) -> FirebaseMessaging:
    """Write the file of a service account."""
    (folder / "account.json").write_text(
        json.dumps(
            {
                "project_id": "shop", "client_email": "robot@shop.example", "private_key_id": "k1",
                "private_key": KEY.as_pem(private=True).decode(), "token_uri": f"{url}/token",
            }
        )
    )  # fmt: skip
    return FirebaseMessaging(service_account_file=folder / "account.json")


ADAPTERS: dict[str, Callable[[str, Path], Any]] = {
    "postmark": lambda url, _: PostmarkAdapter("a token", SENDER, Postmark(), base_url=url),
    "ses": lambda url, _: SesAdapter("AKID", SECRET, SENDER, AmazonSes(region="eu-central-1"), base_url=url),
    "twilio": lambda url, _: TwilioAdapter(
        "AC1", "a token", Twilio(sender="+4930123", reports="https://events.shop.example/v1/hooks/twilio"), base_url=url
    ),
    "telegram": lambda url, _: TelegramAdapter("123:token", base_url=url),
    "messenger": lambda url, _: MessengerAdapter("a token", Messenger(), base_url=url),
    "whatsapp_cloud": lambda url, _: WhatsAppCloudAdapter(
        "a token",
        WhatsAppCloud.model_validate(
            {"phone_number_id": "77", "templates": {"cart": {"name": "cart_reminder", "languages": {"de": "de_DE"}}}}
        ),
        base_url=url,
    ),
    "fcm": lambda url, folder: FirebaseAdapter(account(folder, url), base_url=url),
}
CHANNELS = {
    "postmark": "email", "ses": "email", "twilio": "sms", "telegram": "telegram", "messenger": "messenger",
    "whatsapp_cloud": "whatsapp", "fcm": "app_push",
}  # fmt: skip
ADDRESSES = {
    "email": ("email", "ann@shop.example"), "sms": ("phone", "+4930456"), "telegram": ("telegram_id", "99"),
    "messenger": ("messenger_id", "psid"), "whatsapp": ("whatsapp_id", "4930456"), "app_push": ("push_token", "token"),
}  # fmt: skip
WHOLE = Rendered(
    "de",
    subject="Grüße",
    html="<p>Hallo</p>",
    text="Hallo Ann\nWie geht's?",
    title="Hallo",
    link="https://shop.example/x",
)


def outbound(name: str, **data: Any) -> OutboundMessage:
    channel = CHANNELS[name]
    kind, value = ADDRESSES[channel]
    facts = {"journey": "cart", "template": "hello", "campaign": {"name": "autumn"}, **data}
    return OutboundMessage("m1", channel, {"type": kind, "value": value}, WHOLE, "https://l.example/u/1", facts)


ACCEPTED: dict[str, tuple[int, Any]] = {
    "postmark": (200, {"To": "ann@shop.example", "MessageID": "b7bc", "ErrorCode": 0, "Message": "OK"}),
    "ses": (200, {"MessageId": "0100"}),
    "twilio": (201, {"sid": "SM1", "status": "queued", "error_code": None}),
    "telegram": (200, {"ok": True, "result": {"message_id": 5}}),
    "messenger": (200, {"recipient_id": "psid", "message_id": "mid.1"}),
    "whatsapp_cloud": (200, {"messaging_product": "whatsapp", "messages": [{"id": "wamid.1"}]}),
    "fcm": (200, {"name": "projects/shop/messages/0:1"}),
}


def graph(code: int, subcode: int | None = None) -> dict[str, Any]:
    """An error of Meta's."""
    return {"error": {"message": "(#1) Sorry", "type": "OAuthException", "code": code, "error_subcode": subcode}}


def google(status: str, code: str) -> dict[str, Any]:
    """An error of Google's."""
    kind = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
    return {"error": {"status": status, "message": "Sorry", "details": [{"@type": kind, "errorCode": code}]}}


def telegram(code: int, said: str, wait_s: int = 0) -> dict[str, Any]:
    """An error of Telegram's."""
    wait = {"parameters": {"retry_after": wait_s}} if wait_s else {}
    return {"ok": False, "error_code": code, "description": said, **wait}


REFUSALS = [
    # the provider, its answer, what follows, the pause in seconds
    ("postmark", 422, {"ErrorCode": 406, "Message": "The recipient is inactive."}, "bounced", 0),
    ("postmark", 422, {"ErrorCode": 300, "Message": "Invalid 'To' address."}, "refused", 0),
    ("postmark", 429, {"ErrorCode": 429, "Message": "Rate limit exceeded"}, "retry", 7),
    ("postmark", 503, {}, "retry", 7),
    ("ses", 400, {"__type": "TooManyRequestsException", "message": "Maximum sending rate exceeded."}, "retry", 0),
    ("ses", 429, {"__type": "TooManyRequestsException"}, "retry", 7),
    ("ses", 400, {"__type": "MessageRejected", "message": "Email address is not verified."}, "refused", 0),
    ("twilio", 400, {"code": 21211, "message": "Invalid 'To' Phone Number"}, "bounced", 0),
    ("twilio", 400, {"code": 21610, "message": "Attempt to send to unsubscribed recipient"}, "refused", 0),
    ("twilio", 429, {"code": 20429, "message": "Too Many Requests"}, "retry", 7),
    ("telegram", 403, telegram(403, "Forbidden: bot was blocked by the user"), "bounced", 0),
    ("telegram", 400, telegram(400, "Bad Request: chat not found"), "bounced", 0),
    ("telegram", 400, telegram(400, "Bad Request: message is too long"), "refused", 0),
    ("telegram", 429, telegram(429, "Too Many Requests: retry after 35", 35), "retry", 35),
    ("messenger", 400, graph(551, 1545041), "bounced", 0),
    ("messenger", 400, graph(10, 2018278), "refused", 0),
    ("messenger", 400, graph(613), "retry", 0),
    ("whatsapp_cloud", 400, graph(131026), "bounced", 0),
    ("whatsapp_cloud", 400, graph(131047), "refused", 0),
    ("whatsapp_cloud", 429, graph(130429), "retry", 7),
    ("whatsapp_cloud", 400, graph(131056), "retry", 0),
    ("fcm", 404, google("NOT_FOUND", "UNREGISTERED"), "bounced", 0),
    ("fcm", 403, google("PERMISSION_DENIED", "SENDER_ID_MISMATCH"), "bounced", 0),
    ("fcm", 400, google("INVALID_ARGUMENT", "INVALID_ARGUMENT"), "refused", 0),
    ("fcm", 429, google("RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED"), "retry", 7),
    ("fcm", 503, google("UNAVAILABLE", "UNAVAILABLE"), "retry", 7),
    ("fcm", 401, google("UNAUTHENTICATED", "THIRD_PARTY_AUTH_ERROR"), "retry", 0),
    *((name, 500, {}, "unknown", 0) for name in ADAPTERS),  # it may have been taken
    *((name, 0, {}, "unknown", 0) for name in ADAPTERS),  # the connection broke after the request
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "status", "body", "outcome", "pause_s"), REFUSALS, ids=[f"{one[0]} {one[1]} {one[3]}" for one in REFUSALS]
)
async def test_an_answer_means_what_the_provider_says(
    provider: Provider, tmp_path: Path, name: str, status: int, body: Any, outcome: str, pause_s: int
) -> None:
    adapter = ADAPTERS[name](provider.url, tmp_path)
    provider.says(status, body, **({"Retry_After": "7"} if status in (429, 503) else {}))

    result = await adapter.send(outbound(name), NOW)
    await adapter.close()

    assert (outcome, pause_s * 1000) == (result.status, result.retry_after_ms)
    assert SECRET not in result.detail
    assert "token" not in result.detail


@pytest.mark.parametrize(
    ("head", "pieces", "outcome"),
    [
        pytest.param("422 No", [b'{"ErrorCode": 406, "Mes', b'sage": "Inactive"}'], "bounced", id="in pieces"),
        pytest.param("200 OK\r\nContent-Length: 99", [b'{"Mess'], "sent", id="accepted, and cut off"),
        pytest.param("200 OK\r\nContent-Length: 99", [], "sent", id="accepted, and cut off before its body"),
        pytest.param("429 No\r\nContent-Length: 99", [], "retry", id="too many, and cut off"),
        pytest.param("429 No\r\nRetry-After: Sat, 21 Nov 2026 07:28:00 +" + "9" * 20, [], "retry", id="no date"),
        pytest.param("200 OK\r\nContent-Encoding: gzip", [b"hello"], "sent", id="badly packed"),
        pytest.param("500 No", [b"<html>\xff</html>"], "unknown", id="a page"),
    ],
)
async def test_the_status_counts_however_the_body_comes(head: str, pieces: list[bytes], outcome: str) -> None:
    closed = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b'"TrackOpens"')
        for piece in [f"HTTP/1.1 {head}\r\nConnection: close\r\n\r\n".encode(), *pieces]:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.05)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        closed.set()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        adapter = ADAPTERS["postmark"](f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", Path())
        result = await adapter.send(outbound("postmark"), NOW)
        await adapter.close()
        await closed.wait()

    assert outcome == result.status


@pytest.mark.parametrize("name", ADAPTERS)
async def test_a_provider_that_cannot_be_reached_has_taken_nothing(name: str, tmp_path: Path) -> None:
    adapter = ADAPTERS[name](f"http://127.0.0.1:{free_port()}", tmp_path)

    result = await adapter.send(outbound(name), NOW)
    await adapter.close()

    assert "retry" == result.status


async def sent(provider: Provider, folder: Path, name: str, **data: Any) -> tuple[str, dict[str, str], bytes]:
    """Send one message that is accepted; what the provider got."""
    provider.says(*ACCEPTED[name])
    adapter = ADAPTERS[name](provider.url, folder)
    assert "sent" == (await adapter.send(outbound(name, **data), NOW)).status
    await adapter.close()
    return provider.got[-1]


async def test_postmark_gets_the_mail_with_its_stream_and_metadata(provider: Provider, tmp_path: Path) -> None:
    path, headers, body = await sent(provider, tmp_path, "postmark")

    mail = json.loads(body)
    assert ("/email", "a token") == (path, headers["x-postmark-server-token"])
    assert {
        "From": SENDER, "To": "ann@shop.example", "Subject": "Grüße", "MessageStream": "broadcast",
        "TextBody": WHOLE.text, "HtmlBody": WHOLE.html,
    }.items() <= mail.items()  # fmt: skip
    assert {"message_id": "m1", "journey_id": "cart", "sender": "throughline"}.items() <= mail["Metadata"].items()
    assert {"Name": "List-Unsubscribe", "Value": "<https://l.example/u/1>"} in mail["Headers"]

    _, _, body = await sent(provider, tmp_path, "postmark", purpose="transactional")
    assert "outbound" == json.loads(body)["MessageStream"]


async def test_ses_gets_a_signed_request_with_the_whole_mail(provider: Provider, tmp_path: Path) -> None:
    path, headers, body = await sent(provider, tmp_path, "ses")

    stated = json.loads(body)
    mail = message_from_bytes(base64.b64decode(stated["Content"]["Raw"]["Data"]), policy=policy.default)
    assert ("Grüße", "<https://l.example/u/1>", "List-Unsubscribe=One-Click") == (
        mail["Subject"], mail["List-Unsubscribe"], mail["List-Unsubscribe-Post"],
    )  # fmt: skip
    assert {"Name": "message_id", "Value": "m1"} in stated["EmailTags"]
    # As AWS verifies it, from what has arrived.
    names = "host;x-amz-content-sha256;x-amz-date"
    canonical = "\n".join(
        ["POST", path, "", *(f"{name}:{headers[name]}" for name in names.split(";")), "", names,
         hashlib.sha256(body).hexdigest()]
    )  # fmt: skip
    day = headers["x-amz-date"][:8]
    scope = f"{day}/eu-central-1/ses/aws4_request"
    to_sign = f"AWS4-HMAC-SHA256\n{headers['x-amz-date']}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = signing_key(SECRET, day, "eu-central-1", "ses")
    expected = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
    assert headers["authorization"].endswith(f"Credential=AKID/{scope}, SignedHeaders={names}, Signature={expected}")


async def test_ses_gets_a_long_address_of_unsubscription_in_one_piece(provider: Provider, tmp_path: Path) -> None:
    address = f"https://links.shop.example/u/{'Ab-_9' * 60}"  # as long as that of a link of ours
    provider.says(*ACCEPTED["ses"])
    adapter = ADAPTERS["ses"](provider.url, tmp_path)
    await adapter.send(outbound("ses")._replace(unsubscribe_url=address), NOW)
    await adapter.close()

    raw = base64.b64decode(json.loads(provider.got[-1][2])["Content"]["Raw"]["Data"])
    assert f"\r\nList-Unsubscribe: <{address}>\r\n".encode() in b"\r\n" + raw


def test_a_signing_key_is_that_of_the_example_of_aws() -> None:
    key = signing_key("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "20120215", "us-east-1", "iam")

    assert "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d" == key.hex()


async def test_twilio_reports_about_the_message_itself(provider: Provider, tmp_path: Path) -> None:
    path, headers, body = await sent(provider, tmp_path, "twilio")

    form = dict(parse_qsl(body.decode()))
    assert ("/2010-04-01/Accounts/AC1/Messages.json", "Basic " + base64.b64encode(b"AC1:a token").decode()) == (
        path, headers["authorization"],
    )  # fmt: skip
    assert ("+4930456", "+4930123", f"{WHOLE.text}\n{WHOLE.link}") == (form["To"], form["From"], form["Body"])
    assert ["m1"] == parse_qs(urlsplit(form["StatusCallback"]).query)["message_id"]


async def test_telegram_gets_text_and_link(provider: Provider, tmp_path: Path) -> None:
    path, _, body = await sent(provider, tmp_path, "telegram")

    assert "/bot123:token/sendMessage" == path
    assert {"chat_id": "99", "text": f"{WHOLE.text}\n{WHOLE.link}"} == json.loads(body)


async def test_messenger_gets_an_update(provider: Provider, tmp_path: Path) -> None:
    path, headers, body = await sent(provider, tmp_path, "messenger")

    assert ("/v24.0/me/messages", "Bearer a token") == (path, headers["authorization"])
    stated = json.loads(body)
    assert ({"id": "psid"}, "UPDATE", "m1") == (
        stated["recipient"], stated["messaging_type"], stated["message"]["metadata"],
    )  # fmt: skip


async def test_whatsapp_gets_an_approved_template_or_free_text(provider: Provider, tmp_path: Path) -> None:
    path, _, body = await sent(provider, tmp_path, "whatsapp_cloud", template="cart")
    stated = json.loads(body)
    assert ("/v24.0/77/messages", "4930456", "cart_reminder", "de_DE") == (
        path, stated["to"], stated["template"]["name"], stated["template"]["language"]["code"],
    )  # fmt: skip
    (variable,) = stated["template"]["components"][0]["parameters"]
    assert f"Hallo Ann Wie geht's? {WHOLE.link}" == variable["text"]
    assert ["m1"] == parse_qs(stated["biz_opaque_callback_data"])["message_id"]

    _, _, body = await sent(provider, tmp_path, "whatsapp_cloud", template="another")
    assert f"{WHOLE.text}\n{WHOLE.link}" == json.loads(body)["text"]["body"]


async def test_firebase_gets_the_message_with_a_token_that_is_asked_for_once(
    provider: Provider, tmp_path: Path
) -> None:
    adapter = ADAPTERS["fcm"](provider.url, tmp_path)
    for _ in range(2):
        provider.says(*ACCEPTED["fcm"])
        assert "sent" == (await adapter.send(outbound("fcm"), NOW)).status
    await adapter.close()

    path, headers, body = provider.got[-1]
    assert ("/v1/projects/shop/messages:send", "Bearer an access token") == (path, headers["authorization"])
    stated = json.loads(body)["message"]
    assert ("token", {"title": "Hallo", "body": WHOLE.text}, WHOLE.link) == (
        stated["token"], stated["notification"], stated["webpush"]["fcm_options"]["link"],
    )  # fmt: skip
    assert {"message_id": "m1", "link": WHOLE.link}.items() <= stated["data"].items()


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"project_id": "p", "client_email": "e", "private_key": "no"}'])
def test_a_file_that_is_no_service_account_is_refused_without_its_text(tmp_path: Path, text: str) -> None:
    (tmp_path / "account.json").write_text(text)

    with pytest.raises(ValueError, match="no file of a service account"):
        FirebaseAdapter(FirebaseMessaging(service_account_file=tmp_path / "account.json"))
