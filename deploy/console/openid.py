"""Signing in with an identity provider: OpenID Connect, the authorization code flow with PKCE.

The provider's answer is believed only if it belongs to a request of this browser (a signed cookie with `state`, the
verifier and the nonce) and the ID token has the provider's signature, this client as audience, and the nonce.
"""

from __future__ import annotations

import hmac
import secrets
import time
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode

import aiohttp
from aiohttp import web
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from deploy.console.application import Console
from deploy.console.rendering import Viewer
from deploy.console.sign_in import begin_session, local_path
from schemas.durations import MINUTE_MS
from schemas.time import clock_ms

COOKIE, COOKIE_MS = "throughline_openid", 10 * MINUTE_MS
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "ES512", "EdDSA"]
"""Signatures by keys that only the provider has: none by a shared secret."""
_KNOWN_S, _TIMEOUT_S, _LEEWAY_S = 3600.0, 10.0, 60


class SignInError(Exception):
    """The provider's answer is not to be believed, or there is none; the message is for the reader."""


class Provider:
    """An identity provider.

    Args:
        issuer: Its address, as its tokens name it.
        client_id: This console's name there.
        client_secret: Its secret there; empty: a public client.
        redirect_url: Where the provider sends browsers back to.
    """

    def __init__(self, issuer: str, client_id: str, client_secret: str, redirect_url: str) -> None:
        self.issuer, self.client_id, self.redirect_url = issuer.rstrip("/"), client_id, redirect_url
        self._secret = client_secret
        self._known: dict[str, Any] = {}
        self._known_s = float("-inf")

    async def request_url(self, state: str, nonce: str, verifier: str) -> str:
        """Return the address to which a browser is sent.

        Raises:
            SignInError: The provider does not answer.
        """
        challenge = urlsafe_b64encode(sha256(verifier.encode()).digest()).decode().rstrip("=")
        asked = {
            "response_type": "code", "client_id": self.client_id, "redirect_uri": self.redirect_url,
            "scope": "openid email profile", "state": state, "nonce": nonce, "code_challenge": challenge,
            "code_challenge_method": "S256",
        }  # fmt: skip
        return f"{(await self._metadata())['authorization_endpoint']}?{urlencode(asked)}"

    async def user(self, code: str, nonce: str, verifier: str) -> tuple[str, tuple[str, ...]]:
        """Exchange a code for an ID token; return the user's name and groups.

        Raises:
            SignInError: The provider does not answer, or its token is not to be believed.
        """
        metadata = await self._metadata()
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": self.redirect_url,
                "code_verifier": verifier, "client_id": self.client_id}  # fmt: skip
        if self._secret:
            form["client_secret"] = self._secret
        token = await self._ask("POST", metadata["token_endpoint"], form)
        keys = await self._ask("GET", metadata["jwks_uri"])
        return self._name_and_groups(self._claims(str(token.get("id_token", "")), keys, nonce))

    def _claims(self, token: str, keys: Any, nonce: str) -> dict[str, Any]:
        registry = jwt.JWTClaimsRegistry(
            leeway=_LEEWAY_S,
            iss={"essential": True, "value": self.issuer_of_tokens},
            aud={"essential": True, "value": self.client_id},
            exp={"essential": True},
            sub={"essential": True},
        )
        try:
            claims = jwt.decode(token, KeySet.import_key_set(keys), algorithms=ALGORITHMS).claims
            registry.validate(claims)
        except (JoseError, ValueError, KeyError, TypeError) as error:
            raise SignInError("The identity provider's token is not valid.") from error
        if not hmac.compare_digest(str(claims.get("nonce", "")).encode(), nonce.encode()):
            raise SignInError("The identity provider's token belongs to another sign-in.")
        return dict(claims)

    @property
    def issuer_of_tokens(self) -> str:
        """The issuer as the provider itself writes it, with or without a slash at its end."""
        return str(self._known.get("issuer", self.issuer))

    @staticmethod
    def _name_and_groups(claims: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
        email = claims.get("email")
        # An address that the provider has not verified could be anybody's.
        name = str(email).lower() if email and claims.get("email_verified") is True else f"sub:{claims['sub']}"
        groups = claims.get("groups")
        return name, tuple(str(one) for one in groups) if isinstance(groups, list) else ()

    async def _metadata(self) -> dict[str, Any]:
        if time.monotonic() - self._known_s > _KNOWN_S:
            found = await self._ask("GET", f"{self.issuer}/.well-known/openid-configuration")
            if str(found.get("issuer", "")).rstrip("/") != self.issuer:
                raise SignInError(
                    "The identity provider calls itself by another name than THROUGHLINE_CONSOLE_OIDC_ISSUER."
                )
            self._known, self._known_s = found, time.monotonic()
        return self._known

    async def _ask(self, method: str, url: str, form: dict[str, str] | None = None) -> dict[str, Any]:
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.request(method, url, data=form, allow_redirects=False) as answer,
            ):
                found = await answer.json(content_type=None)
                if answer.status != 200 or not isinstance(found, dict):
                    raise SignInError("The identity provider has refused the sign-in.")
                return found
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise SignInError("The identity provider does not answer.") from error


def routes(console: Console) -> list[web.RouteDef]:
    """Return the routes of this module; none: no provider is set."""
    at = console.settings
    if not at.console_oidc_issuer:
        return []
    public = at.console_public_url or at.console_url.rstrip("/")
    secret = at.console_oidc_client_secret.get_secret_value()
    provider = Provider(at.console_oidc_issuer, at.console_oidc_client_id, secret, f"{public}/sign-in/openid/answer")

    async def start(request: web.Request) -> web.StreamResponse:
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        following = local_path(request.query.get("next", "/"))
        try:
            url = await provider.request_url(state, nonce, verifier)
        except SignInError as error:
            return console.error(request, Viewer(), 503, str(error))
        response = web.HTTPSeeOther(url)
        kept = console.sessions.signed([state, nonce, verifier, following, clock_ms() + COOKIE_MS], "openid")
        response.set_cookie(
            COOKIE, kept, path="/sign-in", max_age=COOKIE_MS // 1000, httponly=True, secure=console.secure,
            samesite="Lax",
        )  # fmt: skip
        raise response

    async def answer(request: web.Request) -> web.StreamResponse:
        kept = console.sessions.read_signed(request.cookies.get(COOKIE, ""), "openid")
        state = request.query.get("state", "")
        if (
            not isinstance(kept, list)
            or kept[4] < clock_ms()
            or not hmac.compare_digest(kept[0].encode(), state.encode())
        ):
            return console.error(
                request, Viewer(), 403, "This answer belongs to no sign-in of this browser: try again."
            )
        try:
            if "error" in request.query:
                raise SignInError("The identity provider has refused the sign-in.")
            name, groups = await provider.user(request.query.get("code", ""), kept[1], kept[2])
        except SignInError as error:
            await console.note(Viewer(), "sign in", "", "refused", f"by the identity provider, from {request.remote}")
            return console.error(request, Viewer(), 403, str(error))
        response = begin_session(console, name, groups, kept[3])
        response.del_cookie(COOKIE, path="/sign-in")
        by = Viewer(console.sessions.begin(name, clock_ms()))
        await console.note(by, "sign in", "", "done", f"by the identity provider, from {request.remote}")
        raise response

    return [web.get("/sign-in/openid", start), web.get("/sign-in/openid/answer", answer)]
