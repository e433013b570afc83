"""Signing in with an identity provider and with the header of a proxy: who is believed, and who is not."""

from __future__ import annotations

import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import ClientSession, CookieJar, web
from aiohttp.test_utils import TestServer
from joserfc import jwt
from joserfc.jwk import RSAKey

from deploy.console.server import build
from deploy.settings import Settings

pytestmark = pytest.mark.integration

ROLES = """
roles: {analyst: [view-numbers]}
users: {ann@shop.example: [analyst]}
groups: {data: [analyst]}
"""


class FakeProvider:
    """An identity provider that signs in whoever asks, and may be told to lie.

    Attributes:
        claims: What its next token says besides issuer, audience, end and nonce; these override.
        key: Of its signatures.
    """

    def __init__(self) -> None:
        self.key = RSAKey.generate_key(2048, {"kid": "one"})
        self.signs_with = self.key
        self.claims: dict[str, Any] = {}
        self.url = ""
        self._asked: dict[str, list[str]] = {}

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes(
            [
                web.get("/.well-known/openid-configuration", self._describe),
                web.get("/keys", self._keys),
                web.post("/token", self._token),
            ]
        )
        return app

    async def _describe(self, _: web.Request) -> web.Response:
        return web.json_response(
            {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "jwks_uri": f"{self.url}/keys",
            }
        )

    async def _keys(self, _: web.Request) -> web.Response:
        return web.json_response({"keys": [self.key.as_dict(private=False)]})

    def authorize(self, location: str) -> str:
        """Answer with the state of a request."""
        self._asked = parse_qs(urlsplit(location).query)
        return self._asked["state"][0]

    async def _token(self, request: web.Request) -> web.Response:
        form = await request.post()
        challenge = urlsafe_b64encode(sha256(str(form["code_verifier"]).encode()).digest()).decode().rstrip("=")
        if form["code"] != "good" or challenge != self._asked["code_challenge"][0]:
            return web.json_response({"error": "invalid_grant"}, status=400)
        claims = {
            "iss": self.url, "aud": "console", "sub": "1", "exp": int(time.time()) + 300,
            "nonce": self._asked["nonce"][0], **self.claims,
        }  # fmt: skip
        return web.json_response({"id_token": jwt.encode({"alg": "RS256", "kid": "one"}, claims, self.signs_with)})


@pytest.fixture
async def provider() -> AsyncIterator[FakeProvider]:
    found = FakeProvider()
    async with TestServer(found.app()) as server:
        found.url = str(server.make_url("")).rstrip("/")
        yield found


@pytest.fixture
async def console(provider: FakeProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    monkeypatch.setenv("THROUGHLINE_HOME", str(tmp_path))
    roles = tmp_path / "console.yaml"
    roles.write_text(ROLES, "utf-8")
    settings = Settings(
        clickhouse_url="http://127.0.0.1:1",  # acts wait in a file then
        console_file=roles,
        console_oidc_issuer=provider.url,
        console_oidc_client_id="console",
        console_proxy_header="X-User",
        console_proxy_networks=("127.0.0.1/32",),
    )
    found, app = build(settings)
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")
    await found.stores.close()


async def sign_in(console: str, provider: FakeProvider, code: str = "good", state: str = "") -> tuple[int, str]:
    """Go to the provider and back; answer with the status and the page that follows."""
    async with ClientSession(cookie_jar=CookieJar(unsafe=True)) as session:
        begun = await session.get(f"{console}/sign-in/openid?next=/theme", allow_redirects=False)
        found = provider.authorize(begun.headers["Location"])
        asked = {"code": code, "state": state or found}
        answer = await session.get(f"{console}/sign-in/openid/answer", params=asked, allow_redirects=False)
        again = await session.get(f"{console}/no-such-page")
        return answer.status, await again.text()


@pytest.mark.parametrize(
    ("claims", "user"),
    [
        pytest.param({"email": "Ann@shop.example", "email_verified": True}, "ann@shop.example", id="verified address"),
        pytest.param({"email": "ann@shop.example"}, "sub:1", id="address that may be anybody's"),
    ],
)
async def test_who_signs_in_is_who_the_provider_says(
    console: str, provider: FakeProvider, claims: dict[str, Any], user: str
) -> None:
    provider.claims = claims
    status, page = await sign_in(console, provider)

    assert (303, True) == (status, f">{user}</span>" in page)


@pytest.mark.parametrize(
    ("claims", "code", "state"),
    [
        pytest.param({"aud": "another"}, "good", "", id="token for another"),
        pytest.param({"iss": "https://evil.example"}, "good", "", id="token of another"),
        pytest.param({"exp": 1}, "good", "", id="token that has ended"),
        pytest.param({"nonce": "x"}, "good", "", id="token of another sign-in"),
        pytest.param({}, "bad", "", id="wrong code"),
        pytest.param({}, "good", "x", id="answer to another browser"),
    ],
)
async def test_an_answer_that_is_not_to_be_believed_signs_in_nobody(
    console: str, provider: FakeProvider, claims: dict[str, Any], code: str, state: str
) -> None:
    provider.claims = {"email": "ann@shop.example", "email_verified": True, **claims}
    status, page = await sign_in(console, provider, code, state)

    assert (403, False) == (status, "ann@shop.example" in page)


async def test_a_member_of_hundreds_of_groups_gets_a_cookie_that_a_browser_takes(
    console: str, provider: FakeProvider
) -> None:
    provider.claims = {"groups": ["data", *(f"a-group-of-the-directory-{number}" for number in range(300))]}
    async with ClientSession(cookie_jar=CookieJar(unsafe=True)) as session:
        begun = await session.get(f"{console}/sign-in/openid", allow_redirects=False)
        asked = {"code": "good", "state": provider.authorize(begun.headers["Location"])}
        answer = await session.get(f"{console}/sign-in/openid/answer", params=asked, allow_redirects=False)
        page = await session.get(f"{console}/system")

    assert (True, 200) == (all(len(one.OutputString()) < 4096 for one in answer.cookies.values()), page.status)


async def test_a_cookie_of_other_bytes_signs_in_nobody(console: str) -> None:
    async with ClientSession() as session:
        first = await session.get(f"{console}/people", allow_redirects=False)
        cookie = b"throughline_8090=a.\xff".decode(errors="surrogateescape")
        answer = await session.get(f"{console}/people", headers={"Cookie": cookie}, allow_redirects=False)

    assert (303, 303, True) == (first.status, answer.status, "Content-Security-Policy" in first.headers)


async def test_a_token_with_another_signature_signs_in_nobody(console: str, provider: FakeProvider) -> None:
    provider.signs_with = RSAKey.generate_key(2048, {"kid": "one"})
    status, _ = await sign_in(console, provider)

    assert 403 == status


async def test_a_proxy_of_a_trusted_network_says_who_it_is(console: str) -> None:
    async with ClientSession() as session:
        named = await (await session.get(f"{console}/no-such-page", headers={"X-User": "ann@shop.example"})).text()
        twice = await session.get(
            f"{console}/people", headers=[("X-User", "a"), ("X-User", "b")], allow_redirects=False
        )

    assert (">ann@shop.example</span>" in named, 303) == (True, twice.status)
